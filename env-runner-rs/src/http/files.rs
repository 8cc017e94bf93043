//! `/v1/files`: read, write, delete and list files of a workspace.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use cap_std::fs::MetadataExt;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{Params, Raw, Segment};
use super::{App, blocking, blocking_single, glob};
use crate::error::{Error, ErrorBody, Result};
use crate::files::{self, Kind, RelPath, open_root, walk};

const DEFAULT_LIMIT: usize = 1_000;
const MAX_LIMIT: usize = 100_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FileParams {
    /// `main` or the id of a fork.
    workspace: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// `main` or the id of a fork.
    workspace: Option<String>,
    /// Only paths that match; `**` crosses directories.
    glob: Option<String>,
    /// Most files, at most 100000. Default 1000.
    limit: Option<usize>,
}

/// A regular file.
#[derive(Debug, Serialize, ToSchema)]
pub struct FileInfo {
    path: String,
    bytes: u64,
    /// Permission bits in octal, such as `0644`.
    mode: String,
}

/// Files in order of path.
#[derive(Debug, Serialize, ToSchema)]
pub struct FileList {
    files: Vec<FileInfo>,
    /// There are more than `limit`.
    truncated: bool,
}

/// Lists regular files.
#[utoipa::path(get, path = "/v1/files", params(ListParams), security(("bearer" = [])), responses(
    (status = 200, body = FileList),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 404, body = ErrorBody, description = "WorkspaceNotFound"),
    (status = 413, body = ErrorBody, description = "TooLarge"),
    (status = 429, body = ErrorBody, description = "TooManyRequests; see Retry-After"),
))]
pub async fn list(State(app): State<Arc<App>>, Params(params): Params<ListParams>) -> Result<Json<FileList>> {
    let root = workspace(&app, params.workspace.as_deref())?;
    let matcher = glob(params.glob.as_deref())?;
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let list = blocking(&app, move |app| {
        let mut list = FileList { files: Vec::new(), truncated: false };
        walk(&open_root(&root)?, app.workspaces.limits(), |entry| {
            if entry.kind != Kind::File || matcher.as_ref().is_some_and(|glob| !glob.is_match(&entry.path)) {
                return Ok(true);
            }
            if list.files.len() == limit {
                list.truncated = true;
                return Ok(false);
            }
            let path = entry.path.to_string_lossy().into_owned();
            let mode = format!("{:04o}", entry.meta.mode() & 0o7777);
            list.files.push(FileInfo { path, bytes: entry.meta.len(), mode });
            Ok(true)
        })?;
        Ok(list)
    });
    Ok(Json(list.await?))
}

/// Reads a file.
#[utoipa::path(get, path = "/v1/files/{*path}", params(("path" = String, Path), FileParams), security(("bearer" = [])), responses(
    (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 404, body = ErrorBody, description = "FileNotFound, WorkspaceNotFound"),
    (status = 413, body = ErrorBody, description = "TooLarge"),
))]
pub async fn read(
    State(app): State<Arc<App>>,
    Segment(path): Segment<String>,
    Params(params): Params<FileParams>,
) -> Result<impl IntoResponse> {
    let (root, path) = (workspace(&app, params.workspace.as_deref())?, parse(&path)?);
    let bytes =
        blocking_single(&app, move |app| files::read(&open_root(&root)?, &path, app.max_transfer_bytes)).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes))
}

/// Writes a file in one step, making its directories. An existing file keeps its mode.
#[utoipa::path(put, path = "/v1/files/{*path}", params(("path" = String, Path), FileParams), security(("bearer" = [])),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 204, description = "Written"),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 404, body = ErrorBody, description = "WorkspaceNotFound"),
    (status = 413, body = ErrorBody, description = "TooLarge"),
))]
pub async fn write(
    State(app): State<Arc<App>>,
    Segment(path): Segment<String>,
    Params(params): Params<FileParams>,
    Raw(body): Raw,
) -> Result<StatusCode> {
    let (root, path) = (workspace(&app, params.workspace.as_deref())?, parse(&path)?);
    blocking_single(&app, move |_| files::write(&open_root(&root)?, &path, &body)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a file, a link, or a directory with everything below it.
#[utoipa::path(delete, path = "/v1/files/{*path}", params(("path" = String, Path), FileParams), security(("bearer" = [])), responses(
    (status = 204, description = "Deleted"),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 404, body = ErrorBody, description = "FileNotFound, WorkspaceNotFound"),
))]
pub async fn delete(
    State(app): State<Arc<App>>,
    Segment(path): Segment<String>,
    Params(params): Params<FileParams>,
) -> Result<StatusCode> {
    let (root, path) = (workspace(&app, params.workspace.as_deref())?, parse(&path)?);
    blocking_single(&app, move |_| files::delete(&open_root(&root)?, &path)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn workspace(app: &App, id: Option<&str>) -> Result<std::path::PathBuf> {
    app.workspaces.path(id.unwrap_or("main"))
}

fn parse(path: &str) -> Result<RelPath> {
    RelPath::parse(path).map_err(|why| Error::BadRequest(format!("the path {why}")))
}
