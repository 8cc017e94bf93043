//! `/v1/blobs`: content by its SHA-256.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;

use super::error::{ErrorBody, HttpError};
use super::{Caller, Shared};
use crate::auth::Scope;
use crate::store::blobs::{BlobError, BlobId};

#[derive(Serialize, ToSchema)]
pub struct Stored {
    sha256: String,
    bytes: u64,
}

/// Stores a blob under whatever its content hashes to; durable when the reply comes.
#[utoipa::path(post, path = "/v1/blobs", request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
    (status = 201, description = "Stored", body = Stored),
    (status = 413, description = "BlobTooLarge", body = ErrorBody),
))]
pub async fn create(State(api): Shared, _caller: Caller, body: Body) -> Result<(StatusCode, Json<Stored>), HttpError> {
    let (id, bytes) = api.blobs.put(body.into_data_stream(), None).await?;
    Ok((StatusCode::CREATED, Json(Stored { sha256: id.as_str().to_owned(), bytes })))
}

/// Stores a blob whose hash is known; refused if the content does not hash to it.
#[utoipa::path(put, path = "/v1/blobs/{sha256}", params(("sha256" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 201, description = "Stored", body = Stored),
    (status = 413, description = "BlobTooLarge", body = ErrorBody),
    (status = 422, description = "HashMismatch", body = ErrorBody),
))]
pub async fn write(
    State(api): Shared,
    _caller: Caller,
    Path(sha256): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Stored>), HttpError> {
    let expected = parse_id(&sha256)?;
    let (id, bytes) = api.blobs.put(body.into_data_stream(), Some(&expected)).await?;
    Ok((StatusCode::CREATED, Json(Stored { sha256: id.as_str().to_owned(), bytes })))
}

/// Reads a blob; HEAD tells whether it is there and its size.
#[utoipa::path(get, path = "/v1/blobs/{sha256}", params(("sha256" = String, Path)), responses(
    (status = 200, description = "The content", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 404, description = "BlobNotFound", body = ErrorBody),
))]
pub async fn read(State(api): Shared, _caller: Caller, Path(sha256): Path<String>) -> Result<Response, HttpError> {
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
    Path(sha256): Path<String>,
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
            BlobError::Upload(_) => Self::bad_request("The upload broke off; send it again."),
            BlobError::Io(cause) => Self::internal("cannot store a blob", &cause),
        }
    }
}
