//! `GET /v1/info`: what this runner is and grants.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::config::Network;
use crate::error::Result;

/// A description of this runner.
#[derive(Debug, Serialize, ToSchema)]
pub struct Info {
    version: &'static str,
    /// Rungs that a command without network got when the runner started.
    isolation: Vec<String>,
    network: Network,
    max_concurrent: usize,
    #[schema(value_type = String)]
    workspace: PathBuf,
    /// User id of the runner and its commands.
    uid: u32,
}

/// Tells version, isolation and bounds.
#[utoipa::path(get, path = "/v1/info", security(("bearer" = [])), responses((status = 200, body = Info)))]
pub async fn info(State(app): State<Arc<App>>) -> Result<Json<Info>> {
    Ok(Json(Info {
        version: env!("CARGO_PKG_VERSION"),
        isolation: app.isolation.clone(),
        network: app.network,
        max_concurrent: app.max_concurrent,
        workspace: app.workspaces.path("main")?,
        uid: nix::unistd::getuid().as_raw(),
    }))
}
