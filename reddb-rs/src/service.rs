//! Wiring: opens the store, starts HTTP and the command loop, stops both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use mio::{Poll, Waker};

use crate::auth::Master;
use crate::config::ServeConfig;
use crate::http::{Api, router, server};
use crate::metrics::Metrics;
use crate::resp::event_loop::{EventLoop, Parts, WAKER, now_ms};
use crate::resp::server::ServerInfo;
use crate::state::Keyspace;
use crate::store::Persistence;
use crate::store::blobs::BlobStore;

/// HTTP requests that may wait for the loop before further ones are told to come back.
const MAX_WAITING_REQUESTS: usize = 4096;

/// How long a start waits for all keys to be in memory. What is left then comes while commands run.
const LOAD_PATIENCE: Duration = Duration::from_millis(200);

/// How often blobs are looked at whose end may have come.
const BLOB_SWEEP: Duration = Duration::from_secs(1);

/// Why the service ended, for the operator of it.
pub type ServeError = Box<dyn std::error::Error + Send + Sync>;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// A bad setting, an address in use, or a store that cannot be opened or written.
pub fn serve(config: &ServeConfig) -> Result<(), ServeError> {
    config.validate()?;
    let master = Master::read(&config.token_file)?;
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|error| format!("--data-dir: cannot make {}: {error}", config.data_dir.display()))?;
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let metrics = Arc::new(Metrics::new()?);
    let (requests, inbox) = sync_channel(MAX_WAITING_REQUESTS);
    let (ready, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));

    // HTTP comes first, so that probes are answered while a long journal is recovered.
    let api = Arc::new(Api {
        requests,
        waker: Arc::clone(&waker),
        master: master.clone(),
        metrics: Arc::clone(&metrics),
        ready: Arc::clone(&ready),
        blobs: BlobStore::open(&config.data_dir, &config.limits)?,
        limits: config.limits,
    });
    let on_signal = {
        let (ready, stop, waker) = (Arc::clone(&ready), Arc::clone(&stop), Arc::clone(&waker));
        move || {
            ready.store(false, Ordering::Release);
            stop.store(true, Ordering::Release);
            waker.wake()
        }
    };
    start_http(config.http_listen, api, on_signal)?;

    let wake = move || {
        if let Err(error) = waker.wake() {
            tracing::error!(%error, "cannot wake the command loop");
        }
    };
    let persistence = Persistence::open(&config.data_dir, config.durability, wake.clone())?;
    let mut keyspace = Keyspace::open(&config.data_dir, now_ms(), config.limits.max_commit_bytes, wake)?;
    keyspace.replay(persistence.backlog(), persistence.next_batch() - 1)?;
    tracing::info!(bytes = persistence.backlog_bytes(), "recovered");
    keyspace.load_for(LOAD_PATIENCE)?;
    let listener = mio::net::TcpListener::bind(config.resp_listen)
        .map_err(|error| format!("--resp-listen: cannot listen on {}: {error}", config.resp_listen))?;
    let event_loop = EventLoop::new(Parts {
        poll,
        listener,
        requests: inbox,
        stop: Arc::clone(&stop),
        keyspace,
        persistence,
        server: ServerInfo { master, started_ms: now_ms(), metrics },
        limits: config.limits,
        cache_bytes: config.cache_bytes,
    })?;
    ready.store(!stop.load(Ordering::Acquire), Ordering::Release);
    tracing::info!(resp = %config.resp_listen, http = %config.http_listen, "serving");
    let ended = event_loop.run();
    ready.store(false, Ordering::Release);
    ended?;
    tracing::info!("stopped");
    Ok(())
}

/// Runs HTTP and the wait for signals on a thread of their own.
fn start_http(
    address: SocketAddr,
    api: Arc<Api>,
    on_signal: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> Result<(), ServeError> {
    let listener = std::net::TcpListener::bind(address)
        .map_err(|error| format!("--http-listen: cannot listen on {address}: {error}"))?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _context = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    std::thread::Builder::new().name("http".into()).spawn(move || {
        runtime.block_on(async move {
            tokio::spawn(sweep_blobs(Arc::clone(&api)));
            let max_connections = api.limits.max_http_connections;
            let server = tokio::spawn(server::serve(listener, router(api), max_connections));
            if let Err(error) = stop_signal().await {
                tracing::error!(%error, "cannot wait for signals");
                return;
            }
            tracing::info!("stopping");
            if let Err(error) = on_signal() {
                tracing::error!(%error, "cannot stop the command loop");
            }
            // Requests in progress still get the replies that the loop commits; the process ends when the loop has folded.
            if let Err(error) = server.await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
    })?;
    Ok(())
}

/// Deletes blobs whose end has come.
async fn sweep_blobs(api: Arc<Api>) {
    let mut ticks = tokio::time::interval(BLOB_SWEEP);
    loop {
        ticks.tick().await;
        if let Err(error) = api.blobs.sweep(now_ms()).await {
            tracing::error!(%error, "an expired blob cannot be deleted");
        }
    }
}

async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
