//! `PUT /v1/archive`: replace a workspace's content.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use futures_util::TryStreamExt;
use serde::Deserialize;
use tokio_util::io::{StreamReader, SyncIoBridge};
use utoipa::IntoParams;

use super::access::Params;
use super::{App, blocking};
use crate::error::{ErrorBody, Result};
use crate::files::archive::{Bounds, Unpacked};
use crate::files::{archive, open_root};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ArchiveParams {
    /// `main` or the id of a fork.
    workspace: Option<String>,
}

/// Unpacks a tar archive, gzip or not, in place of everything that the workspace held. A refused archive
/// changes nothing. Waits for running commands of the workspace to end.
#[utoipa::path(put, path = "/v1/archive", params(ArchiveParams), security(("bearer" = [])),
    request_body(content = Vec<u8>, content_type = "application/x-tar"), responses(
    (status = 200, body = Unpacked),
    (status = 400, body = ErrorBody, description = "ArchiveEscapes, ArchiveInvalid"),
    (status = 404, body = ErrorBody, description = "WorkspaceNotFound"),
    (status = 409, body = ErrorBody, description = "WorkspaceBusy"),
    (status = 413, body = ErrorBody, description = "ArchiveTooLarge"),
    (status = 429, body = ErrorBody, description = "TooManyRequests"),
))]
pub async fn replace(
    State(app): State<Arc<App>>,
    Params(params): Params<ArchiveParams>,
    body: Body,
) -> Result<Json<Unpacked>> {
    let (path, lease) = app.workspaces.own(params.workspace.as_deref().unwrap_or("main")).await?;
    let reader = SyncIoBridge::new(StreamReader::new(body.into_data_stream().map_err(io::Error::other)));
    let unpacked = blocking(&app, move |app| {
        let _lease = lease;
        let bounds = Bounds { max_bytes: app.max_archive_bytes, max_entries: app.workspaces.limits().max_entries };
        archive::replace(&open_root(&path)?, reader, bounds)
    });
    Ok(Json(unpacked.await?))
}
