//! `GET /v1/search`: lines that match a regular expression.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use regex::bytes::RegexBuilder;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Params;
use super::{App, MAX_PATTERN_BYTES, blocking, glob};
use crate::error::{Error, ErrorBody, Result};
use crate::files::{self, Match, Query, open_root};

const DEFAULT_LIMIT: usize = 200;
const MAX_LIMIT: usize = 10_000;
/// Bounds what a pattern may compile into.
const MAX_REGEX_BYTES: usize = 4 << 20;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchParams {
    /// `main` or the id of a fork.
    workspace: Option<String>,
    /// Regular expression (Rust's `regex`: linear time, no look-around), matched within lines.
    pattern: String,
    /// Only files whose path matches; `**` crosses directories.
    glob: Option<String>,
    /// Most matches, at most 10000. Default 200.
    limit: Option<usize>,
}

/// Matches in order of path and line.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchReply {
    matches: Vec<Match>,
    /// There may be more.
    truncated: bool,
}

/// Searches text files up to 4 MiB, `.git` left out.
#[utoipa::path(get, path = "/v1/search", params(SearchParams), security(("bearer" = [])), responses(
    (status = 200, body = SearchReply),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 404, body = ErrorBody, description = "WorkspaceNotFound"),
    (status = 413, body = ErrorBody, description = "TooLarge"),
    (status = 429, body = ErrorBody, description = "TooManyRequests; see Retry-After"),
))]
pub async fn search(State(app): State<Arc<App>>, Params(params): Params<SearchParams>) -> Result<Json<SearchReply>> {
    let root = app.workspaces.path(params.workspace.as_deref().unwrap_or("main"))?;
    if params.pattern.len() > MAX_PATTERN_BYTES {
        return Err(Error::BadRequest(format!("pattern must not pass {MAX_PATTERN_BYTES} bytes")));
    }
    let pattern = RegexBuilder::new(&params.pattern).size_limit(MAX_REGEX_BYTES).build();
    let pattern = pattern.map_err(|error| Error::BadRequest(format!("pattern: {error}")))?;
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let query = Query { pattern, glob: glob(params.glob.as_deref())?, limit };
    let found = blocking(&app, move |app| Ok(files::search(&open_root(&root)?, &query, app.workspaces.limits())?));
    let (matches, truncated) = found.await?;
    Ok(Json(SearchReply { matches, truncated }))
}
