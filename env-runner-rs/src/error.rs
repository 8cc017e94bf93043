//! One error type that becomes responses. Clients see what to do; the log sees the cause.

use std::io;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use crate::held::Digest;

pub type Result<T> = std::result::Result<T, Error>;

/// Everything a request can end in but success.
#[derive(Debug, Error)]
pub enum Error {
    #[error("{0}")]
    BadRequest(String),
    #[error("Send the runner's token as `Authorization: Bearer <token>`.")]
    Unauthorized,
    #[error("Commands of this runner may not use the network; start it with --network allow to permit it.")]
    NetworkNotAllowed,
    #[error("This runner was started without --bindable; its commands have the environment that it has itself.")]
    NotBindable,
    #[error("No command starts before this runner's environment is bound; send it with PUT /v1/environment.")]
    NotBound,
    #[error("This runner holds another environment; it forgets it when it is started anew.")]
    BoundToAnother,
    #[error("There is no workspace `{0}`; GET /v1/forks lists the forks.")]
    WorkspaceNotFound(String),
    #[error(
        "This runner does not hold the workspace {0}; upload its archive with PUT /v1/workspaces/{0}, then try again."
    )]
    WorkspaceUnknown(Digest),
    #[error("The archive's SHA-256 is {actual}, not the one in the path; send the archive that has it.")]
    DigestMismatch { actual: Digest },
    #[error(
        "The runner has no room for this workspace beside those that are in use; delete some, or raise its bounds."
    )]
    WorkspacesFull,
    #[error("There is no such route; `env-runner openapi` lists them.")]
    RouteNotFound,
    #[error("There is no file `{0}` in this workspace.")]
    FileNotFound(String),
    #[error("The workspace `{0}` is in use by running commands; wait for them or cancel them, then try again.")]
    WorkspaceBusy(String),
    #[error("{0}")]
    ArchiveEscapes(String),
    #[error("{0}")]
    ArchiveInvalid(String),
    #[error("{0}")]
    ArchiveTooLarge(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    CannotStart(String),
    #[error("The runner is busy with as many requests as it takes; try again after the time in Retry-After.")]
    TooManyRequests,
    #[error("This machine does not grant the required isolation ({}); the command was not started.", .0.join(", "))]
    IsolationUnavailable(Vec<String>),
    #[error("The runner can start no more commands and is ending; try again once it has been started anew.")]
    Stopping,
    #[error("The runner failed; its log tells why.")]
    Internal(#[source] io::Error),
}

/// The body of every reply that is not a success.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

/// What went wrong and what to do about it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// Stable name for programs.
    #[schema(example = "WorkspaceNotFound")]
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl Error {
    /// An internal failure with a cause that is not an I/O error.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(io::Error::other(cause))
    }

    fn classify(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::NetworkNotAllowed => (StatusCode::FORBIDDEN, "NetworkNotAllowed"),
            Self::NotBindable => (StatusCode::NOT_FOUND, "NotBindable"),
            Self::NotBound => (StatusCode::SERVICE_UNAVAILABLE, "NotBound"),
            Self::BoundToAnother => (StatusCode::CONFLICT, "BoundToAnother"),
            Self::WorkspaceNotFound(_) => (StatusCode::NOT_FOUND, "WorkspaceNotFound"),
            Self::WorkspaceUnknown(_) => (StatusCode::NOT_FOUND, "WorkspaceUnknown"),
            Self::DigestMismatch { .. } => (StatusCode::BAD_REQUEST, "DigestMismatch"),
            Self::WorkspacesFull => (StatusCode::INSUFFICIENT_STORAGE, "WorkspacesFull"),
            Self::RouteNotFound => (StatusCode::NOT_FOUND, "RouteNotFound"),
            Self::FileNotFound(_) => (StatusCode::NOT_FOUND, "FileNotFound"),
            Self::WorkspaceBusy(_) => (StatusCode::CONFLICT, "WorkspaceBusy"),
            Self::ArchiveEscapes(_) => (StatusCode::BAD_REQUEST, "ArchiveEscapes"),
            Self::ArchiveInvalid(_) => (StatusCode::BAD_REQUEST, "ArchiveInvalid"),
            Self::ArchiveTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "ArchiveTooLarge"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge"),
            Self::CannotStart(_) => (StatusCode::UNPROCESSABLE_ENTITY, "CannotStart"),
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Self::IsolationUnavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "IsolationUnavailable"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "Stopping"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Internal"),
        }
    }

    /// The body that clients see.
    pub fn body(&self) -> ErrorBody {
        ErrorBody { error: ErrorDetail { code: self.classify().1.to_owned(), message: self.to_string() } }
    }
}

impl From<io::Error> for Error {
    fn from(cause: io::Error) -> Self {
        // How walks and copies say that a workspace passes their bounds.
        if cause.kind() == io::ErrorKind::FileTooLarge {
            return Self::TooLarge(cause.to_string());
        }
        Self::Internal(cause)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, _) = self.classify();
        if let Self::Internal(cause) = &self {
            tracing::error!(%cause, "request failed");
        }
        let mut response = (status, Json(self.body())).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
