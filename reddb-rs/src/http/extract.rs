//! What handlers take from a request. Whatever is wrong with it is answered in this service's form of an error.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Api;
use super::error::HttpError;
use crate::auth::Scope;
use crate::resp::value::RespValue;

/// Who asks: the scope of the bearer token.
pub struct Caller(pub Scope);

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, HttpError> {
        let header = parts.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let token = header.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
        api.master.scope(token).map(Caller).ok_or_else(HttpError::unauthorized)
    }
}

/// A request of somebody with a token about what the path names.
pub struct Target<P> {
    pub path: P,
    scope: Scope,
    api: Arc<Api>,
}

impl<P> Target<P> {
    /// Runs one command for the caller.
    ///
    /// # Errors
    /// As [`Api::run`].
    pub async fn run(&self, args: Vec<Vec<u8>>) -> Result<RespValue, HttpError> {
        self.api.run(self.scope.clone(), args).await
    }
}

impl<P: DeserializeOwned + Send> FromRequestParts<Arc<Api>> for Target<P> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, HttpError> {
        let Caller(scope) = Caller::from_request_parts(parts, api).await?;
        let Path(path) = Path::from_request_parts(parts, api).await?;
        Ok(Self { path, scope, api: Arc::clone(api) })
    }
}

/// What the path names.
#[derive(FromRequestParts)]
#[from_request(via(Path), rejection(HttpError))]
pub struct PathOf<P>(pub P);

/// A JSON body.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(HttpError))]
pub struct JsonBody<T>(pub T);

/// The body as it came.
pub struct RawBody(pub Bytes);

impl FromRequest<Arc<Api>> for RawBody {
    type Rejection = HttpError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, HttpError> {
        Ok(Self(Bytes::from_request(request, api).await?))
    }
}

/// Parameters after the `?`.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(HttpError))]
pub struct Parameters<T>(pub T);

fn rejected(status: StatusCode, message: String) -> HttpError {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            HttpError::new(status, "BodyTooLarge", "The body is larger than the store accepts; send less.")
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            HttpError::new(status, "UnsupportedMediaType", "Send JSON, with the header Content-Type: application/json.")
        }
        _ => HttpError::bad_request(format!("{message}.")),
    }
}

macro_rules! rejections {
    ($($rejection:ty),*) => {$(
        impl From<$rejection> for HttpError {
            fn from(rejection: $rejection) -> Self {
                rejected(rejection.status(), rejection.body_text())
            }
        }
    )*};
}

rejections!(BytesRejection, JsonRejection, PathRejection, QueryRejection);
