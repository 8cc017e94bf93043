//! What happens around every request: the token, the trace, the count.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Bytes, HttpBody, to_bytes};
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, EXPECT};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use tokio::time::timeout;

use super::App;
use crate::error::Error;
use crate::metrics::ResponseLabels;
use crate::telemetry::{TRACE_ID, trace_id};

/// Of a refused request's body, this much is read.
const TAKEN_IN_BYTES: usize = 64 << 10;
const TAKEN_IN_TIME: Duration = Duration::from_secs(1);

/// Lets requests with the runner's token through.
pub async fn authorize(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let header = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    let given = header.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    // Takes the same time wherever the first wrong byte is.
    if bool::from(given.ct_eq(app.token.as_bytes())) {
        next.run(request).await
    } else {
        take_in(request).await;
        Error::Unauthorized.into_response()
    }
}

/// Reads a small body before its refusal: many a client that still sends when the connection closes never sees the
/// reply. Whoever expects to be asked for the body first has not sent it.
async fn take_in(request: Request) {
    let small = request.body().size_hint().upper().is_some_and(|bytes| bytes <= TAKEN_IN_BYTES as u64);
    if small && !request.headers().contains_key(EXPECT) {
        // It is refused whatever it was, and whether it came or not.
        let _body = timeout(TAKEN_IN_TIME, to_bytes(request.into_body(), TAKEN_IN_BYTES)).await;
    }
}

/// Makes the trace id known to the log.
pub async fn trace(request: Request, next: Next) -> Response {
    let header = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let id = header.and_then(trace_id).unwrap_or_default().to_owned();
    TRACE_ID.scope(id, next.run(request)).await
}

/// Counts the response under its route's pattern.
pub async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    app.metrics.responses.get_or_create(&ResponseLabels { route, status }).inc();
    response
}

/// A JSON body whose errors are ours.
#[derive(FromRequest)]
#[from_request(via(Json), rejection(Error))]
pub struct Body<T>(pub T);

/// A body of any bytes whose errors are ours.
pub struct Raw(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        Ok(Self(Bytes::from_request(request, state).await?))
    }
}

/// Parts of the path whose errors are ours.
#[derive(FromRequestParts)]
#[from_request(via(Path), rejection(Error))]
pub struct Segment<T>(pub T);

/// A query whose errors are ours.
#[derive(FromRequestParts)]
#[from_request(via(Query), rejection(Error))]
pub struct Params<T>(pub T);

impl From<JsonRejection> for Error {
    fn from(rejection: JsonRejection) -> Self {
        refused_body(rejection.status(), rejection.body_text())
    }
}

impl From<BytesRejection> for Error {
    fn from(rejection: BytesRejection) -> Self {
        refused_body(rejection.status(), rejection.body_text())
    }
}

fn refused_body(status: StatusCode, text: String) -> Error {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        return Error::TooLarge("The request's body is too large.".to_owned());
    }
    Error::BadRequest(text)
}

impl From<PathRejection> for Error {
    fn from(rejection: PathRejection) -> Self {
        Self::BadRequest(rejection.body_text())
    }
}

impl From<QueryRejection> for Error {
    fn from(rejection: QueryRejection) -> Self {
        Self::BadRequest(rejection.body_text())
    }
}
