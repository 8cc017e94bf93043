//! The HTTP interface: the commands as routes, blobs, probes, metrics.

pub mod blobs;
pub mod entries;
pub mod error;
pub mod extract;
pub mod groups;
pub mod kv;
pub mod openapi;
pub mod probes;
pub mod server;
pub mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request as HttpRequest, State};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post, put};
use tokio::sync::oneshot;

use crate::auth::{Master, Scope};
use crate::config::Limits;
use crate::metrics::Metrics;
use crate::resp::event_loop::Request;
use crate::resp::value::RespValue;
use crate::store::blobs::BlobStore;
use error::HttpError;

/// What every route needs.
pub struct Api {
    pub requests: SyncSender<Request>,
    pub waker: Arc<mio::Waker>,
    pub master: Master,
    pub metrics: Arc<Metrics>,
    /// False until recovered, and again while stopping.
    pub ready: Arc<AtomicBool>,
    pub blobs: BlobStore,
    pub limits: Limits,
}

impl Api {
    /// Runs one command and waits for its reply.
    ///
    /// # Errors
    /// [`HttpError`] for an error reply, or when the server is not ready.
    pub async fn run(&self, scope: Scope, args: Vec<Vec<u8>>) -> Result<RespValue, HttpError> {
        if !self.ready.load(Ordering::Acquire) {
            return Err(HttpError::not_ready());
        }
        let (reply, replied) = oneshot::channel();
        self.requests.try_send(Request { args, scope, reply }).map_err(|_| HttpError::not_ready())?;
        self.waker.wake().map_err(|error| HttpError::internal("cannot wake the command loop", &error))?;
        let bytes = replied.await.map_err(|_| HttpError::not_ready())??;
        match RespValue::decode(&bytes) {
            Some((value, _)) => Ok(value),
            None => Err(HttpError::internal("a reply could not be decoded", &"truncated")),
        }
    }
}

/// Every route.
pub fn router(api: Arc<Api>) -> Router {
    let small = Router::new()
        .route("/v1/kv/{key}", get(kv::read).put(kv::write).delete(kv::remove))
        .route("/v1/streams/{key}", get(streams::read).post(streams::append))
        .route("/v1/streams/{key}/groups/{group}", put(groups::create).delete(groups::delete))
        .route("/v1/streams/{key}/groups/{group}/read", post(groups::read))
        .route("/v1/streams/{key}/groups/{group}/claim", post(groups::claim))
        .route("/v1/streams/{key}/groups/{group}/ack", post(groups::acknowledge))
        .layer(DefaultBodyLimit::max(api.limits.max_value_bytes));
    // Blobs are streamed to disk and have a limit of their own.
    let large = Router::new()
        .route("/v1/blobs", post(blobs::create))
        .route("/v1/blobs/{sha256}", put(blobs::write).get(blobs::read).delete(blobs::remove))
        .layer(DefaultBodyLimit::disable());
    let probes = Router::new()
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics));
    small
        .merge(large)
        .merge(probes)
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::no_method)
        .layer(from_fn(log_request))
        .with_state(api)
}

/// A line per request at debug level, under the caller's trace id.
async fn log_request(request: HttpRequest, next: Next) -> Response {
    let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let trace_id = traceparent.and_then(|value| value.split('-').nth(1)).unwrap_or_default().to_owned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    tracing::debug!(trace_id, %method, path, status = response.status().as_u16(), "request");
    response
}

type Shared = State<Arc<Api>>;

/// A command's words.
fn words<const N: usize>(words: [&str; N]) -> Vec<Vec<u8>> {
    words.into_iter().map(|word| word.as_bytes().to_vec()).collect()
}
