//! Errors of the HTTP interface: `{"error":{"code","message"}}`. Causes go to the log only.

use std::fmt::Display;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::CommandError;

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

    pub fn key_not_found() -> Self {
        Self::not_found("KeyNotFound", "There is no such key, or it has expired.")
    }

    pub fn group_not_found() -> Self {
        Self::not_found("GroupNotFound", "No such stream or group; create the group first.")
    }

    fn conflict(code: &'static str, message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// The text of a RESP error, without its code.
    fn refused(error: &CommandError) -> Self {
        let text = error.to_string();
        let (_, reason) = text.split_once(' ').unwrap_or(("", &text));
        Self::bad_request(format!("The store refused this: {reason}."))
    }
}

impl From<CommandError> for HttpError {
    fn from(error: CommandError) -> Self {
        use CommandError as E;
        match error {
            E::NoAuth | E::WrongPass => Self::unauthorized(),
            E::NoPermKey | E::NoPermCommand(_) => {
                Self::forbidden("This token may only touch keys that begin with its prefix.")
            }
            E::WrongType => Self::conflict("WrongType", "The key holds another kind of value."),
            E::BusyGroup => Self::conflict("GroupExists", "The group exists already."),
            E::IdTooSmall => Self::conflict("IdNotIncreasing", "The stream already has this id or a later one."),
            E::NoSuchKey => Self::key_not_found(),
            E::NoGroup { .. } | E::NoGroupForKey { .. } | E::NoStreamForGroup => Self::group_not_found(),
            E::ReplyTooLarge => Self::new(
                StatusCode::BAD_REQUEST,
                "ReplyTooLarge",
                "The reply is larger than the store sends; ask for less, such as with `count`.",
            ),
            E::Loading => Self::not_ready(),
            E::Storage => Self::internal("a command failed", &error),
            E::Syntax
            | E::NotAnInteger
            | E::Overflow
            | E::InvalidExpire(_)
            | E::Arity(_)
            | E::UnknownCommand(_)
            | E::InvalidStreamId
            | E::IdZero
            | E::IdExhausted
            | E::KeyTooLong(_)
            | E::NameTooLong(_)
            | E::Other(_) => Self::refused(&error),
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

pub async fn no_method() -> HttpError {
    let message = "The route does not know this method; `reddb openapi` prints those that it knows.";
    HttpError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
}
