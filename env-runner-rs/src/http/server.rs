//! Listening, connections and the graceful stop.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

const MAX_CONNECTIONS: usize = 1024;
/// A client that sends its head slower than this is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Serves until `stop`; then lets requests end for as long as `grace`.
///
/// # Errors
/// When the address cannot be bound or the port file not written.
pub async fn serve(
    listen: &str,
    port_file: Option<&Path>,
    router: Router,
    stop: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let listener = Listener::bind(listen).await?;
    let address = listener.address()?;
    if let (Some(path), Listener::Tcp(tcp)) = (port_file, &listener) {
        write_port(path, tcp.local_addr()?)?;
    }
    tracing::info!(address, version = env!("CARGO_PKG_VERSION"), "listening");
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Some(place) = next_place(&places, &stop).await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok(stream) => converse(stream, router.clone(), &graceful, place),
            // Out of descriptors, or the peer went away: neither is a reason to stop serving.
            Err(cause) => {
                tracing::warn!(%cause, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in progress were cut off");
    }
    Ok(())
}

async fn next_place(places: &Arc<Semaphore>, stop: &CancellationToken) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        place = Arc::clone(places).acquire_owned() => place.ok(),
        () = stop.cancelled() => None,
    }
}

fn converse(stream: Box<dyn Stream>, router: Router, graceful: &GracefulShutdown, place: OwnedSemaphorePermit) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        // A connection that breaks is the client's affair; its commands are cancelled with it.
        if let Err(cause) = connection.await {
            tracing::debug!(%cause, "connection ended");
        }
        drop(place);
    });
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Listener {
    async fn bind(listen: &str) -> io::Result<Self> {
        let Some(path) = listen.strip_prefix("unix:") else {
            return Ok(Self::Tcp(TcpListener::bind(listen).await?));
        };
        let path = PathBuf::from(path);
        // What a killed runner left behind; a live one would still hold its port or socket by name only.
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self::Unix(UnixListener::bind(&path)?, path))
    }

    fn address(&self) -> io::Result<String> {
        match self {
            Self::Tcp(tcp) => Ok(tcp.local_addr()?.to_string()),
            Self::Unix(_, path) => Ok(format!("unix:{}", path.display())),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(tcp) => {
                let (stream, _) = tcp.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(unix, _) => Ok(Box::new(unix.accept().await?.0)),
        }
    }
}

/// By rename, so that whoever waits for the file never reads half of it.
fn write_port(path: &Path, address: SocketAddr) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, address.port().to_string())?;
    std::fs::rename(&temporary, path)
}
