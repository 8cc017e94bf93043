//! `PUT /v1/environment`: what a warm runner's commands get, told once.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::App;
use super::access::Body;
use crate::binding::BindRequest;
use crate::error::{ErrorBody, Result};

/// Binds environment and network permission for all commands of a runner that was started with `--bindable`. The same
/// again changes nothing; something else is refused until the runner is started anew, which forgets it.
#[utoipa::path(put, path = "/v1/environment", request_body = BindRequest, security(("bearer" = [])), responses(
    (status = 204, description = "Commands get it from now on"),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 404, body = ErrorBody, description = "NotBindable: the runner was started without `--bindable`"),
    (status = 409, body = ErrorBody, description = "BoundToAnother: it holds another environment"),
    (status = 413, body = ErrorBody, description = "TooLarge"),
))]
pub async fn bind(State(app): State<Arc<App>>, Body(request): Body<BindRequest>) -> Result<StatusCode> {
    app.planner.bind(request.try_into()?)?;
    Ok(StatusCode::NO_CONTENT)
}
