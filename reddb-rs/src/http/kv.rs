//! `/v1/kv/{key}`: strings.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::{ErrorBody, HttpError};
use super::{Caller, Shared};
use crate::resp::value::RespValue;

#[derive(Deserialize, IntoParams)]
pub struct WriteQuery {
    /// Seconds after which the key goes; absent: never.
    ttl_seconds: Option<u64>,
}

/// Reads a value.
#[utoipa::path(get, path = "/v1/kv/{key}", params(("key" = String, Path, description = "Percent-encoded")), responses(
    (status = 200, description = "The value", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 404, description = "KeyNotFound", body = ErrorBody),
    (status = 409, description = "WrongType", body = ErrorBody),
))]
pub async fn read(State(api): Shared, Caller(scope): Caller, Path(key): Path<String>) -> Result<Response, HttpError> {
    match api.run(scope, vec![b"GET".to_vec(), key.into_bytes()]).await? {
        RespValue::Bulk(value) => Ok(([(CONTENT_TYPE, "application/octet-stream")], value).into_response()),
        _ => Err(HttpError::not_found("KeyNotFound", "There is no such key, or it has expired.")),
    }
}

/// Writes a value; durable when the reply comes.
#[utoipa::path(put, path = "/v1/kv/{key}", params(("key" = String, Path, description = "Percent-encoded"), WriteQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 204, description = "Written"),
    (status = 403, description = "Forbidden", body = ErrorBody),
))]
pub async fn write(
    State(api): Shared,
    Caller(scope): Caller,
    Path(key): Path<String>,
    Query(query): Query<WriteQuery>,
    value: Bytes,
) -> Result<StatusCode, HttpError> {
    let mut args = vec![b"SET".to_vec(), key.into_bytes(), value.to_vec()];
    if let Some(seconds) = query.ttl_seconds {
        args.extend([b"EX".to_vec(), seconds.to_string().into_bytes()]);
    }
    api.run(scope, args).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a key of any kind.
#[utoipa::path(delete, path = "/v1/kv/{key}", params(("key" = String, Path, description = "Percent-encoded")), responses(
    (status = 204, description = "Deleted"),
    (status = 404, description = "KeyNotFound", body = ErrorBody),
))]
pub async fn remove(
    State(api): Shared,
    Caller(scope): Caller,
    Path(key): Path<String>,
) -> Result<StatusCode, HttpError> {
    match api.run(scope, vec![b"DEL".to_vec(), key.into_bytes()]).await? {
        RespValue::Integer(0) => Err(HttpError::not_found("KeyNotFound", "There is no such key, or it has expired.")),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
