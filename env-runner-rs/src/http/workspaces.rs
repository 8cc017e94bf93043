//! `/v1/workspaces`: workspaces held by the SHA-256 of their archive.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio_util::io::{StreamReader, SyncIoBridge};
use utoipa::ToSchema;

use super::access::Segment;
use super::{App, blocking};
use crate::error::{Error, ErrorBody, Result};
use crate::held::{Digest, HeldWorkspace};
use crate::telemetry;

/// An upload that stands still for this long is given up: others wait for their turn.
const STALL: Duration = Duration::from_secs(30);
/// A body that nobody needs is read for so long, so that its client can read the answer.
const LINGER: Duration = Duration::from_secs(10);

/// Workspaces, most recently used first.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeldList {
    workspaces: Vec<HeldWorkspace>,
}

/// Holds a workspace, so that commands can name it: a tar archive, gzip or not, whose SHA-256 is in the path. One
/// that is held already is not read again. Uploads are unpacked one after another; to make room, workspaces
/// that no command uses are let go, the least recently used first.
#[utoipa::path(put, path = "/v1/workspaces/{sha256}", security(("bearer" = [])),
    params(("sha256" = String, Path, description = "Of the archive's bytes: 64 lower-case hexadecimal digits")),
    request_body(content = Vec<u8>, content_type = "application/x-tar"), responses(
    (status = 200, body = HeldWorkspace, description = "It was held already"),
    (status = 201, body = HeldWorkspace, description = "It is held from now on"),
    (status = 400, body = ErrorBody, description = "BadRequest, DigestMismatch, ArchiveEscapes, ArchiveInvalid"),
    (status = 413, body = ErrorBody, description = "ArchiveTooLarge"),
    (status = 507, body = ErrorBody, description = "WorkspacesFull: all that is held is in use"),
))]
pub async fn put(
    State(app): State<Arc<App>>,
    Segment(sha256): Segment<String>,
    body: Body,
) -> Result<(StatusCode, Json<HeldWorkspace>)> {
    let digest = match parse(&sha256) {
        Ok(digest) => digest,
        Err(refusal) => {
            read_on(body);
            return Err(refusal);
        }
    };
    if let Some(workspace) = app.held.get(&digest, true) {
        return Ok(held_already(workspace, body));
    }
    let turn = app.held.turn().await;
    if let Some(workspace) = app.held.get(&digest, true) {
        return Ok(held_already(workspace, body));
    }
    let reader = SyncIoBridge::new(StreamReader::new(Box::pin(impatient(body))));
    let held = Arc::clone(&app.held);
    let received = telemetry::spawn_blocking(move || {
        let _turn = turn; // until the work is done, even when its client has gone
        held.receive(digest, reader)
    });
    Ok((StatusCode::CREATED, Json(received.await.map_err(Error::internal)??)))
}

/// Lists what is held.
#[utoipa::path(get, path = "/v1/workspaces", security(("bearer" = [])), responses((status = 200, body = HeldList)))]
pub async fn list(State(app): State<Arc<App>>) -> Json<HeldList> {
    Json(HeldList { workspaces: app.held.list() })
}

/// Tells about a workspace, which does not count as a use; HEAD too.
#[utoipa::path(get, path = "/v1/workspaces/{sha256}", params(("sha256" = String, Path)), security(("bearer" = [])),
    responses(
    (status = 200, body = HeldWorkspace),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 404, body = ErrorBody, description = "WorkspaceUnknown"),
))]
pub async fn get(State(app): State<Arc<App>>, Segment(sha256): Segment<String>) -> Result<Json<HeldWorkspace>> {
    let digest = parse(&sha256)?;
    app.held.get(&digest, false).map(Json).ok_or(Error::WorkspaceUnknown(digest))
}

/// Lets a workspace go that no command uses.
#[utoipa::path(delete, path = "/v1/workspaces/{sha256}", params(("sha256" = String, Path)), security(("bearer" = [])),
    responses(
    (status = 204, description = "Deleted"),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 404, body = ErrorBody, description = "WorkspaceUnknown"),
    (status = 409, body = ErrorBody, description = "WorkspaceBusy"),
    (status = 429, body = ErrorBody, description = "TooManyRequests; see Retry-After"),
))]
pub async fn delete(State(app): State<Arc<App>>, Segment(sha256): Segment<String>) -> Result<StatusCode> {
    let digest = parse(&sha256)?;
    blocking(&app, move |app| app.held.delete(&digest)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse(sha256: &str) -> Result<Digest> {
    let refuse = || Error::BadRequest("a workspace is named by 64 lower-case hexadecimal digits".to_owned());
    Digest::parse(sha256).ok_or_else(refuse)
}

/// Answers at once.
fn held_already(workspace: HeldWorkspace, body: Body) -> (StatusCode, Json<HeldWorkspace>) {
    read_on(body);
    (StatusCode::OK, Json(workspace))
}

/// Reads a body beside the answer: closing a connection with unread bytes would reset it, and the answer might be lost
/// on the way.
fn read_on(body: Body) {
    tokio::spawn(async move {
        let mut body = body.into_data_stream();
        let read_on = async { while let Some(Ok(_)) = body.next().await {} };
        let _gone = tokio::time::timeout(LINGER, read_on).await;
    });
}

/// The body's bytes, ended by an error when none come for long.
fn impatient(body: Body) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(body.into_data_stream(), |mut body| async {
        let next = tokio::time::timeout(STALL, body.next()).await;
        let stalled = || io::Error::new(io::ErrorKind::TimedOut, "nothing more came for a while");
        match next {
            Ok(chunk) => chunk.map(|chunk| (chunk.map_err(io::Error::other), body)),
            Err(_) => Some((Err(stalled()), body)),
        }
    })
}
