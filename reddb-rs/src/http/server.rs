//! Connections by HTTP: bounded in number, and cut if they are slow to say what they want.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A client that sends its head slower than this is cut; so is one that stays connected without asking for anything.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Before accepting again after a failure, such as the want of descriptors, which does not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Serves for as long as the runtime lives. Connections beyond `max_connections` wait to be accepted.
pub async fn serve(listener: TcpListener, router: Router, max_connections: usize) {
    let places = Arc::new(Semaphore::new(max_connections));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => converse(stream, router.clone(), place),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn converse(stream: TcpStream, router: Router, place: OwnedSemaphorePermit) {
    tokio::spawn(async move {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection ended at once");
            return;
        }
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        // A connection that breaks is the client's affair.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended");
        }
        drop(place);
    });
}
