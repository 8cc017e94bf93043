//! `/v1/forks`: independent copies of workspaces.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::{Body, Segment};
use super::{App, blocking};
use crate::error::{ErrorBody, Result};
use crate::snapshot::{Fork, ForkInfo};

/// What to fork.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkRequest {
    /// `main` (default) or the id of a fork.
    from: Option<String>,
}

/// Forks, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ForkList {
    forks: Vec<ForkInfo>,
}

/// Forks a workspace as it is now.
#[utoipa::path(post, path = "/v1/forks", request_body = ForkRequest, security(("bearer" = [])), responses(
    (status = 201, body = Fork),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 404, body = ErrorBody, description = "WorkspaceNotFound"),
    (status = 413, body = ErrorBody, description = "TooLarge"),
    (status = 429, body = ErrorBody, description = "TooManyRequests: too many forks or too much at one time"),
))]
pub async fn create(State(app): State<Arc<App>>, Body(request): Body<ForkRequest>) -> Result<(StatusCode, Json<Fork>)> {
    let from = request.from.unwrap_or_else(|| "main".to_owned());
    // Until the copy ends nobody replaces, resets or deletes the origin.
    let (_, lease) = app.workspaces.share(&from).await?;
    let fork = blocking(&app, move |app| {
        let _lease = lease;
        app.workspaces.fork(&from)
    })
    .await?;
    app.metrics.fork_seconds.observe(fork.took_ms / 1000.0);
    Ok((StatusCode::CREATED, Json(fork)))
}

/// Lists the forks there are.
#[utoipa::path(get, path = "/v1/forks", security(("bearer" = [])), responses((status = 200, body = ForkList)))]
pub async fn list(State(app): State<Arc<App>>) -> Json<ForkList> {
    Json(ForkList { forks: app.workspaces.list() })
}

/// Deletes a fork once its commands have ended.
#[utoipa::path(delete, path = "/v1/forks/{id}", params(("id" = String, Path)), security(("bearer" = [])), responses(
    (status = 204, description = "Deleted"),
    (status = 404, body = ErrorBody, description = "WorkspaceNotFound"),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 409, body = ErrorBody, description = "WorkspaceBusy"),
    (status = 429, body = ErrorBody, description = "TooManyRequests; see Retry-After"),
))]
pub async fn delete(State(app): State<Arc<App>>, Segment(id): Segment<String>) -> Result<StatusCode> {
    let (_, lease) = app.workspaces.own(&id).await?;
    blocking(&app, move |app| {
        let _lease = lease;
        app.workspaces.delete(&id)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts a fork back to its origin's state at the time of the fork, once its commands have ended.
#[utoipa::path(post, path = "/v1/forks/{id}/reset", params(("id" = String, Path)), security(("bearer" = [])), responses(
    (status = 204, description = "Reset"),
    (status = 404, body = ErrorBody, description = "WorkspaceNotFound"),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 409, body = ErrorBody, description = "WorkspaceBusy"),
    (status = 429, body = ErrorBody, description = "TooManyRequests; see Retry-After"),
))]
pub async fn reset(State(app): State<Arc<App>>, Segment(id): Segment<String>) -> Result<StatusCode> {
    let (_, lease) = app.workspaces.own(&id).await?;
    blocking(&app, move |app| {
        let _lease = lease;
        app.workspaces.reset(&id)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
