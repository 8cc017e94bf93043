//! Errors of the HTTP interface: `{"error":{"code","message"}}`. Causes go to the log only.

use std::fmt::Display;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A refused or failed request.
#[derive(Debug)]
pub struct HttpError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

/// Body of every error reply.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

#[derive(Serialize, ToSchema)]
pub struct ErrorDetail {
    /// For programs, in CamelCase.
    pub code: String,
    /// For people: says what to do.
    pub message: String,
}

impl HttpError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        let message = "Send a valid token in the header Authorization: Bearer <token>.";
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    pub fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    pub fn not_found(code: &'static str, message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub fn not_ready() -> Self {
        let message = "The store is recovering, stopping or overloaded; try again shortly.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "NotReady", message)
    }

    pub fn internal(what: &str, cause: &dyn Display) -> Self {
        tracing::error!(%cause, "{what}");
        let message = "The store failed; its log has the cause.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal", message)
    }

    /// From the text of a RESP error.
    pub fn from_command(text: &str) -> Self {
        let (word, rest) = text.split_once(' ').unwrap_or(("ERR", text));
        match word {
            "NOPERM" => Self::forbidden("This token may only touch keys that begin with its prefix."),
            "WRONGTYPE" => Self::new(StatusCode::CONFLICT, "WrongType", "The key holds another kind of value."),
            "NOGROUP" => Self::not_found("GroupNotFound", "No such stream or group; create the group first."),
            "BUSYGROUP" => Self::new(StatusCode::CONFLICT, "GroupExists", "The group exists already."),
            _ if rest.contains("equal or smaller") => {
                Self::new(StatusCode::CONFLICT, "IdNotIncreasing", "The stream already has this id or a later one.")
            }
            _ => Self::bad_request(format!("The store refused this: {rest}.")),
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let error = ErrorDetail { code: self.code.to_owned(), message: self.message };
        (self.status, Json(ErrorBody { error })).into_response()
    }
}

pub async fn no_route() -> HttpError {
    HttpError::not_found("NoSuchRoute", "There is no such route; `reddb openapi` prints those that exist.")
}
