//! Probes and metrics; no token, nothing secret.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::App;
use crate::error::{Error, ErrorBody, Result};

/// The process answers.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = String)))]
pub async fn healthz() -> &'static str {
    "ok"
}

/// Commands can run: listening began only after a probe of the sandbox succeeded.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, body = String),
    (status = 404, body = ErrorBody, description = "WorkspaceNotFound: the main workspace is gone"),
    (status = 503, body = ErrorBody, description = "Stopping: no command can be started any more"),
))]
pub async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str> {
    if !app.sandbox.is_alive() {
        return Err(Error::Stopping);
    }
    let workspace = app.workspaces.path("main")?;
    if workspace.is_dir() { Ok("ok") } else { Err(Error::WorkspaceNotFound("main".to_owned())) }
}

/// Prometheus metrics.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
pub async fn metrics(State(app): State<Arc<App>>) -> Result<impl IntoResponse> {
    let text = app.metrics.encode().map_err(Error::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}
