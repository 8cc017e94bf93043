//! `/v1/kv/{key}`: strings.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::{ErrorBody, HttpError};
use super::extract::{Parameters, RawBody, Target};
use super::words;
use crate::resp::value::RespValue;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
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
pub async fn read(target: Target<String>) -> Result<Response, HttpError> {
    match target.run(words(["GET", &target.path])).await? {
        RespValue::Bulk(value) => Ok(([(CONTENT_TYPE, "application/octet-stream")], value).into_response()),
        _ => Err(HttpError::key_not_found()),
    }
}

/// Writes a value; durable when the reply comes.
#[utoipa::path(put, path = "/v1/kv/{key}", params(("key" = String, Path, description = "Percent-encoded"), WriteQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 204, description = "Written"),
    (status = 403, description = "Forbidden", body = ErrorBody),
    (status = 413, description = "BodyTooLarge", body = ErrorBody),
))]
pub async fn write(
    target: Target<String>,
    Parameters(query): Parameters<WriteQuery>,
    RawBody(value): RawBody,
) -> Result<StatusCode, HttpError> {
    let mut args = words(["SET", &target.path]);
    args.push(value.to_vec());
    if let Some(seconds) = query.ttl_seconds {
        args.extend(words(["EX", &seconds.to_string()]));
    }
    target.run(args).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a key of any kind.
#[utoipa::path(delete, path = "/v1/kv/{key}", params(("key" = String, Path, description = "Percent-encoded")), responses(
    (status = 204, description = "Deleted"),
    (status = 404, description = "KeyNotFound", body = ErrorBody),
))]
pub async fn remove(target: Target<String>) -> Result<StatusCode, HttpError> {
    match target.run(words(["DEL", &target.path])).await? {
        RespValue::Integer(0) => Err(HttpError::key_not_found()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
