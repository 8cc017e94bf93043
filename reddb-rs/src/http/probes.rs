//! Health, readiness, metrics.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::error::HttpError;

/// The process lives.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "The process lives")))]
pub async fn healthz() -> &'static str {
    "ok"
}

/// Whether commands are served.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, description = "Recovered and serving"),
    (status = 503, description = "Recovering or stopping", body = super::error::ErrorBody),
))]
pub async fn readyz(State(api): Shared) -> Result<&'static str, HttpError> {
    if api.ready.load(Ordering::Acquire) { Ok("ok") } else { Err(HttpError::not_ready()) }
}

/// Prometheus metrics.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Prometheus text")))]
pub async fn metrics(State(api): Shared) -> Result<Response, HttpError> {
    let text = api.metrics.render().map_err(|error| HttpError::internal("cannot render metrics", &error))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}
