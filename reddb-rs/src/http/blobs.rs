//! `/v1/blobs`: content by its SHA-256.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio_util::io::ReaderStream;
use utoipa::{IntoParams, ToSchema};

use super::error::{ErrorBody, HttpError};
use super::extract::{Caller, Parameters, PathOf};
use super::{Api, Shared};
use crate::auth::Scope;
use crate::resp::event_loop::now_ms;
use crate::store::blobs::{BlobError, BlobId};

#[derive(Serialize, ToSchema)]
pub struct Stored {
    sha256: String,
    bytes: u64,
    /// Unix time in milliseconds when the blob may go; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_ms: Option<u64>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    /// Seconds after which the blob goes; absent: never. Of several uploads of the same content the one that lasts longest
    /// counts, so a later one can put the end off, and one without an end removes it.
    expires_seconds: Option<u64>,
}

/// Stores a blob under whatever its content hashes to; durable when the reply comes.
#[utoipa::path(post, path = "/v1/blobs", params(UploadQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 201, description = "Stored", body = Stored),
    (status = 413, description = "BlobTooLarge", body = ErrorBody),
    (status = 507, description = "DiskFull", body = ErrorBody),
))]
pub async fn create(
    State(api): Shared,
    _caller: Caller,
    Parameters(query): Parameters<UploadQuery>,
    body: Body,
) -> Result<(StatusCode, Json<Stored>), HttpError> {
    store(&api, body, None, &query).await
}

/// Stores a blob whose hash is known; refused if the content does not hash to it.
#[utoipa::path(put, path = "/v1/blobs/{sha256}", params(("sha256" = String, Path), UploadQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 201, description = "Stored", body = Stored),
    (status = 413, description = "BlobTooLarge", body = ErrorBody),
    (status = 422, description = "HashMismatch", body = ErrorBody),
    (status = 507, description = "DiskFull", body = ErrorBody),
))]
pub async fn write(
    State(api): Shared,
    _caller: Caller,
    PathOf(sha256): PathOf<String>,
    Parameters(query): Parameters<UploadQuery>,
    body: Body,
) -> Result<(StatusCode, Json<Stored>), HttpError> {
    store(&api, body, Some(&parse_id(&sha256)?), &query).await
}

async fn store(
    api: &Api,
    body: Body,
    expected: Option<&BlobId>,
    query: &UploadQuery,
) -> Result<(StatusCode, Json<Stored>), HttpError> {
    let expires_ms = query.expires_seconds.map(|seconds| now_ms().saturating_add(seconds.saturating_mul(1000)));
    let stored = api.blobs.put(body.into_data_stream(), expected, expires_ms).await?;
    let sha256 = stored.id.as_str().to_owned();
    Ok((StatusCode::CREATED, Json(Stored { sha256, bytes: stored.bytes, expires_ms: stored.expires_ms })))
}

/// Reads a blob; HEAD tells whether it is there and its size.
#[utoipa::path(get, path = "/v1/blobs/{sha256}", params(("sha256" = String, Path)), responses(
    (status = 200, description = "The content", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 404, description = "BlobNotFound", body = ErrorBody),
))]
pub async fn read(State(api): Shared, _caller: Caller, PathOf(sha256): PathOf<String>) -> Result<Response, HttpError> {
    let id = parse_id(&sha256)?;
    let found = api.blobs.get(&id).await.map_err(|error| HttpError::internal("cannot read a blob", &error))?;
    let (file, bytes) = found.ok_or_else(not_found)?;
    let headers = [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_LENGTH, bytes.to_string())];
    Ok((headers, Body::from_stream(ReaderStream::new(file))).into_response())
}

/// Deletes a blob. Blobs are shared by everybody who knows the hash, so this takes the master token.
#[utoipa::path(delete, path = "/v1/blobs/{sha256}", params(("sha256" = String, Path)), responses(
    (status = 204, description = "Deleted"),
    (status = 403, description = "Forbidden", body = ErrorBody),
    (status = 404, description = "BlobNotFound", body = ErrorBody),
))]
pub async fn remove(
    State(api): Shared,
    Caller(scope): Caller,
    PathOf(sha256): PathOf<String>,
) -> Result<StatusCode, HttpError> {
    if scope != Scope::All {
        return Err(HttpError::forbidden("Blobs are shared; deleting one takes the master token."));
    }
    let id = parse_id(&sha256)?;
    let deleted = api.blobs.delete(&id).await.map_err(|error| HttpError::internal("cannot delete a blob", &error))?;
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(not_found()) }
}

fn parse_id(sha256: &str) -> Result<BlobId, HttpError> {
    BlobId::parse(sha256)
        .ok_or_else(|| HttpError::bad_request("Name the blob by its SHA-256 in 64 lower-case hexadecimal digits."))
}

fn not_found() -> HttpError {
    HttpError::not_found("BlobNotFound", "There is no blob with this hash; upload it first.")
}

impl From<BlobError> for HttpError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::HashMismatch { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "HashMismatch", format!("{error}; nothing was stored."))
            }
            BlobError::TooLarge(_) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "BlobTooLarge", format!("{error}; nothing was stored."))
            }
            BlobError::DiskFull => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "DiskFull",
                "The store's disk is nearly full; delete blobs or give it more room, then upload again.",
            ),
            BlobError::Upload(_) => Self::bad_request("The upload broke off; send it again."),
            BlobError::Io(cause) => Self::internal("cannot store a blob", &cause),
        }
    }
}
