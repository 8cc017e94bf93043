//! `GET /v1/info`: what this runner is and grants.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::config::Network;
use crate::error::Result;
use crate::pressure::Source;

/// Of the workspaces held, so many are named here; GET /v1/workspaces has them all.
const MAX_NAMED: usize = 64;

/// A description of this runner.
#[derive(Debug, Serialize, ToSchema)]
pub struct Info {
    version: &'static str,
    /// Rungs that a command without network got when the runner started.
    isolation: Vec<String>,
    /// Whether commands may have it; none as long as a bindable runner is not bound.
    network: Network,
    /// Commands at one time, with requests of their size.
    max_concurrent: usize,
    /// Of those, how many there are now, waiting ones left out.
    running: usize,
    /// Admitted, and waiting for their workspace or a fork of it.
    waiting: usize,
    /// 0: idle, 1: saturated. The share of the last ten seconds in which some task waited for a processor or for
    /// memory, whichever was more; where the kernel does not tell, commands for each processor, which may pass 1.
    pressure: f64,
    pressure_source: Source,
    /// SHA-256 of the workspaces held, most recently used first, at most 64.
    workspaces: Vec<String>,
    /// How many are held in all.
    workspaces_held: usize,
    #[schema(value_type = String)]
    workspace: PathBuf,
    /// User id of the runner and its commands.
    uid: u32,
}

/// Tells version, isolation, bounds, load and the workspaces held; cheap enough to be asked every second.
#[utoipa::path(get, path = "/v1/info", security(("bearer" = [])), responses((status = 200, body = Info)))]
pub async fn info(State(app): State<Arc<App>>) -> Result<Json<Info>> {
    let waiting = app.preparing.load(Ordering::Relaxed);
    let admitted = app.max_concurrent.saturating_sub(app.admission.available_permits());
    let running = admitted.saturating_sub(waiting);
    let (pressure, pressure_source) = app.pressure.read(running);
    let (workspaces, workspaces_held) = app.held.recent(MAX_NAMED);
    Ok(Json(Info {
        version: env!("CARGO_PKG_VERSION"),
        isolation: app.isolation.clone(),
        network: app.planner.network(),
        max_concurrent: app.max_concurrent,
        running,
        waiting,
        pressure,
        pressure_source,
        workspaces,
        workspaces_held,
        workspace: app.workspaces.path("main")?,
        uid: nix::unistd::getuid().as_raw(),
    }))
}
