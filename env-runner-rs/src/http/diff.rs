//! `GET /v1/diff`: what differs between two workspaces.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::Params;
use super::{App, blocking};
use crate::error::{Error, ErrorBody, Result};
use crate::files::open_root;
use crate::snapshot::{self, Diff};

/// What tools leave behind and nobody wants in a patch.
const DEFAULT_EXCLUDE: &str =
    "**/.git/**,**/__pycache__/**,**/*.pyc,**/.pytest_cache/**,**/.mypy_cache/**,**/.ruff_cache/**,**/.hypothesis/**";
const MAX_GLOBS: usize = 64;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DiffParams {
    /// The older side: `main` or the id of a fork.
    from: String,
    /// The newer side: `main` or the id of a fork.
    to: String,
    /// Globs of paths to leave out, separated by commas. Default: `.git` and the caches of Python tools.
    exclude: Option<String>,
}

/// A patch that `git apply` takes; binary files are named, not shown.
#[utoipa::path(get, path = "/v1/diff", params(DiffParams), security(("bearer" = [])), responses(
    (status = 200, body = Diff),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 404, body = ErrorBody, description = "WorkspaceNotFound"),
    (status = 413, body = ErrorBody, description = "TooLarge"),
    (status = 429, body = ErrorBody, description = "TooManyRequests; see Retry-After"),
))]
pub async fn diff(State(app): State<Arc<App>>, Params(params): Params<DiffParams>) -> Result<Json<Diff>> {
    let (from, to) = (app.workspaces.path(&params.from)?, app.workspaces.path(&params.to)?);
    let exclude = globs(params.exclude.as_deref().unwrap_or(DEFAULT_EXCLUDE))?;
    let diff = blocking(&app, move |app| {
        Ok(snapshot::diff(&open_root(&from)?, &open_root(&to)?, &exclude, app.workspaces.limits())?)
    });
    Ok(Json(diff.await?))
}

fn globs(list: &str) -> Result<GlobSet> {
    let refuse = |error: globset::Error| Error::BadRequest(format!("exclude: {error}"));
    let mut set = GlobSetBuilder::new();
    for pattern in list.split(',').filter(|pattern| !pattern.is_empty()).take(MAX_GLOBS) {
        set.add(Glob::new(pattern).map_err(refuse)?);
    }
    set.build().map_err(refuse)
}
