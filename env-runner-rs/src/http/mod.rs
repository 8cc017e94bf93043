//! The HTTP interface: one file per route, everything that they share in [`App`].

mod access;
mod archive;
mod diff;
mod environment;
mod exec;
mod files;
mod forks;
mod health;
mod info;
mod noop;
mod search;
mod server;
mod workspaces;

pub use server::serve;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use globset::{Glob, GlobMatcher};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{Error, ErrorBody, Result};
use crate::exec::Planner;
use crate::held::Held;
use crate::metrics::Metrics;
use crate::pressure::Gauge;
use crate::sandbox::Sandbox;
use crate::scratch::Scratches;
use crate::snapshot::Workspaces;
use crate::telemetry;

/// Requests in JSON; archives and files have bounds of their own.
const MAX_JSON_BYTES: usize = 32 << 20;
/// Patterns longer than this compile into too much.
const MAX_PATTERN_BYTES: usize = 4096;

/// What every request may need.
#[derive(Debug)]
pub struct App {
    pub token: String,
    pub sandbox: Sandbox,
    pub planner: Planner,
    pub workspaces: Workspaces,
    pub held: Arc<Held>,
    pub scratches: Scratches,
    pub pressure: Gauge,
    /// Admitted commands that have no workspace yet.
    pub preparing: AtomicUsize,
    pub metrics: Metrics,
    /// Rungs that a probe at start got.
    pub isolation: Vec<String>,
    pub max_concurrent: usize,
    /// Commands, and requests of the size of one.
    pub admission: Arc<Semaphore>,
    /// Requests that walk or copy whole trees.
    pub heavy: Arc<Semaphore>,
    /// Requests for one file.
    pub single: Arc<Semaphore>,
    /// Parent of the commands' private directories.
    pub tmp: PathBuf,
    pub max_archive_bytes: u64,
    pub max_transfer_bytes: usize,
}

impl App {
    /// A place among the commands that run at one time.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.admission).try_acquire_owned().map_err(|_| Error::TooManyRequests)
    }
}

/// Runs blocking work that walks trees, as much at one time as commands.
pub(crate) async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T> + Send + 'static,
) -> Result<T> {
    let permit = Arc::clone(&app.heavy).try_acquire_owned().map_err(|_| Error::TooManyRequests)?;
    holding(permit, app, work).await
}

/// Runs blocking work on one file, soon done: it waits for its turn. Connections bound how many do.
pub(crate) async fn blocking_single<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T> + Send + 'static,
) -> Result<T> {
    let permit = Arc::clone(&app.single).acquire_owned().await.map_err(Error::internal)?;
    holding(permit, app, work).await
}

async fn holding<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T> + Send + 'static,
) -> Result<T> {
    let app = Arc::clone(app);
    telemetry::spawn_blocking(move || {
        let _permit = permit; // until the work is done, even when its client has gone
        work(&app)
    })
    .await
    .map_err(Error::internal)?
}

/// Compiles a glob of a query; `*` stays within a directory, `**` crosses them.
pub(crate) fn glob(pattern: Option<&str>) -> Result<Option<GlobMatcher>> {
    let Some(pattern) = pattern else { return Ok(None) };
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(Error::BadRequest(format!("glob must not pass {MAX_PATTERN_BYTES} bytes")));
    }
    let glob = globset::GlobBuilder::new(pattern).literal_separator(true).build();
    let glob: Glob = glob.map_err(|error| Error::BadRequest(format!("glob: {error}")))?;
    Ok(Some(glob.compile_matcher()))
}

#[derive(OpenApi)]
#[openapi(
    info(title = "DSPy Agent environment runner", description = "Runs commands in sandboxed workspaces."),
    components(schemas(ErrorBody)),
    modifiers(&BearerToken),
)]
struct Document;

struct BearerToken;

/// What every route behind the token may answer.
struct SharedResponses;

impl Modify for SharedResponses {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let body = || ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
        let answer = |text| ResponseBuilder::new().description(text).content("application/json", body()).build();
        for item in document.paths.paths.values_mut() {
            let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().flatten().filter(|operation| operation.security.is_some()) {
                for (status, text) in [("401", "Unauthorized"), ("500", "Internal")] {
                    operation.responses.responses.insert(status.to_owned(), answer(text).into());
                }
            }
        }
    }
}

impl Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

/// Routes for all, and routes behind the token.
fn routes(max_transfer_bytes: usize) -> (OpenApiRouter<Arc<App>>, OpenApiRouter<Arc<App>>) {
    let open = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics));
    let single_files = OpenApiRouter::new()
        .routes(routes!(files::read, files::write, files::delete))
        .layer(DefaultBodyLimit::max(max_transfer_bytes));
    let guarded = OpenApiRouter::new()
        .merge(single_files)
        .routes(routes!(exec::exec))
        .routes(routes!(noop::noop))
        .routes(routes!(archive::replace))
        .routes(routes!(files::list))
        .routes(routes!(search::search))
        .routes(routes!(forks::create, forks::list))
        .routes(routes!(forks::delete))
        .routes(routes!(forks::reset))
        .routes(routes!(diff::diff))
        .routes(routes!(workspaces::list))
        .routes(routes!(workspaces::put, workspaces::get, workspaces::delete))
        .routes(routes!(environment::bind))
        .routes(routes!(info::info));
    (open, guarded)
}

/// The description of all routes, as YAML.
///
/// # Errors
/// When it cannot be written as YAML.
pub fn openapi() -> std::result::Result<String, Box<dyn std::error::Error>> {
    let (open, guarded) = routes(0);
    let mut document = open.merge(guarded).into_openapi();
    SharedResponses.modify(&mut document);
    Ok(document.to_yaml()?)
}

/// The service over `app`.
pub fn router(app: Arc<App>) -> Router {
    let (open, guarded) = routes(app.max_transfer_bytes);
    let guarded = guarded.route_layer(from_fn_with_state(Arc::clone(&app), access::authorize));
    let (router, _) = open.merge(guarded).split_for_parts();
    router
        .fallback(|| async { Error::RouteNotFound })
        .layer(DefaultBodyLimit::max(MAX_JSON_BYTES))
        .layer(from_fn_with_state(Arc::clone(&app), access::observe))
        .layer(from_fn(access::trace))
        .with_state(app)
}
