//! `POST /v1/noop`: everything of an execution but the execution, to measure transport and queue.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::App;
use super::access::Body;
use crate::error::{ErrorBody, Result};

/// Does nothing, behind the same token, admission and parsing as an execution.
#[utoipa::path(post, path = "/v1/noop", request_body = serde_json::Value, security(("bearer" = [])), responses(
    (status = 200, body = serde_json::Value, description = "An empty object"),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 413, body = ErrorBody, description = "TooLarge"),
    (status = 429, body = ErrorBody, description = "TooManyRequests; see Retry-After"),
))]
pub async fn noop(State(app): State<Arc<App>>, _body: Body<serde_json::Value>) -> Result<Json<serde_json::Value>> {
    let _permit = app.admit()?;
    Ok(Json(serde_json::json!({})))
}
