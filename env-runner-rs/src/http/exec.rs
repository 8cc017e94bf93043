//! `POST /v1/exec`: run a command in a workspace.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use tokio_util::sync::CancellationToken;

use super::App;
use super::access::Body;
use crate::error::{Error, ErrorBody, Result};
use crate::exec::{ExecReply, ExecRequest, Outcome, Reason};
use crate::files::{open_root, remove_tree};
use crate::held::{Digest, Loan};
use crate::install::random_hex;
use crate::sandbox::Execution;
use crate::scratch::{SCRATCH, Scratch};
use crate::snapshot::Lease;
use crate::telemetry;

/// Runs a command to its end. When the client disconnects, the command's whole process tree is killed.
#[utoipa::path(post, path = "/v1/exec", request_body = ExecRequest, security(("bearer" = [])), responses(
    (status = 200, body = ExecReply, description = "The command started and ended, however it ended"),
    (status = 400, body = ErrorBody, description = "BadRequest"),
    (status = 403, body = ErrorBody, description = "NetworkNotAllowed"),
    (status = 404, body = ErrorBody, description = "WorkspaceNotFound, WorkspaceUnknown: a SHA-256 that is to be uploaded first"),
    (status = 413, body = ErrorBody, description = "TooLarge"),
    (status = 422, body = ErrorBody, description = "CannotStart"),
    (status = 429, body = ErrorBody, description = "TooManyRequests; see Retry-After"),
    (status = 503, body = ErrorBody, description = "IsolationUnavailable, NotBound"),
    (status = 507, body = ErrorBody, description = "WorkspacesFull: there is never room for a fork"),
))]
pub async fn exec(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(mut request): Body<ExecRequest>,
) -> Result<Json<ExecReply>> {
    if let Some(parent) = headers.get("traceparent").and_then(|value| value.to_str().ok()) {
        request.env.entry("TRACEPARENT".to_owned()).or_insert_with(|| parent.to_owned());
    }
    let permit = app.admit()?;
    let cancel = CancellationToken::new();
    // The server drops this future when the client goes away; the task lives on until the tree is dead.
    let _cancel_on_drop = cancel.clone().drop_guard();
    let task = telemetry::spawn(async move {
        let reply = run(&app, &request, &cancel).await;
        drop(permit);
        reply
    });
    Ok(Json(task.await.map_err(Error::internal)??))
}

async fn run(app: &Arc<App>, request: &ExecRequest, cancel: &CancellationToken) -> Result<ExecReply> {
    let started = Instant::now();
    app.metrics.exec_active.inc();
    let reply = run_in_private_directory(app, request, cancel).await;
    app.metrics.exec_active.dec();
    app.metrics.exec_seconds.observe(started.elapsed().as_secs_f64());
    match &reply {
        Ok(reply) => app.metrics.ended(label(reply.outcome.reason)),
        Err(error) => app.metrics.ended(&error.body().error.code),
    }
    reply
}

async fn run_in_private_directory(
    app: &Arc<App>,
    request: &ExecRequest,
    cancel: &CancellationToken,
) -> Result<ExecReply> {
    let streams = request.streams()?;
    let mut place = prepare(app, request.workspace.as_deref().unwrap_or("main")).await?;
    let name = PathBuf::from(format!("t-{}", random_hex(6)?));
    let tmp = app.tmp.join(&name);
    let spec = app.planner.plan(request, &place.path(), &tmp)?;
    std::fs::create_dir(&tmp)?;
    if let Place::Fork(loan) = &mut place {
        loan.begin();
    }
    let execution = app.sandbox.execute(&spec, streams, cancel).await;
    // Empty unless the command left something there, which may be much: not the reply's time.
    if std::fs::remove_dir(&tmp).is_err() {
        let parent = app.tmp.clone();
        telemetry::spawn_blocking(move || {
            if let Err(cause) = open_root(&parent).and_then(|parent| remove_tree(&parent, &name)) {
                tracing::warn!(%cause, "a command's temporary directory could not be removed");
            }
        });
    }
    let execution = execution?;
    if let Place::Fork(loan) = &mut place {
        loan.end();
    }
    reply(&execution)
}

/// Where a command runs, held for as long as it does.
enum Place {
    /// `main` or a fork that others may use too.
    Shared(PathBuf, #[allow(dead_code)] Lease),
    Fork(Loan),
    Scratch(Scratch),
}

impl Place {
    fn path(&self) -> PathBuf {
        match self {
            Self::Shared(path, _) => path.clone(),
            Self::Fork(loan) => loan.path(),
            Self::Scratch(scratch) => scratch.path(),
        }
    }
}

async fn prepare(app: &Arc<App>, workspace: &str) -> Result<Place> {
    let _preparing = Preparing::begin(app);
    if workspace == SCRATCH {
        return Ok(Place::Scratch(app.scratches.make().await?));
    }
    let Some(digest) = Digest::parse(workspace) else {
        let (path, lease) = app.workspaces.share(workspace).await?;
        return Ok(Place::Shared(path, lease));
    };
    let started = Instant::now();
    let loan = app.held.take(&digest).await?;
    app.metrics.fork_seconds.observe(started.elapsed().as_secs_f64());
    Ok(Place::Fork(loan))
}

/// Counts a command as waiting while it lives.
struct Preparing<'a>(&'a App);

impl<'a> Preparing<'a> {
    fn begin(app: &'a App) -> Self {
        app.preparing.fetch_add(1, Ordering::Relaxed);
        Self(app)
    }
}

impl Drop for Preparing<'_> {
    fn drop(&mut self) {
        self.0.preparing.fetch_sub(1, Ordering::Relaxed);
    }
}

fn reply(execution: &Execution) -> Result<ExecReply> {
    let outcome = Outcome::from_execution(execution)?;
    Ok(ExecReply { outcome, stdout: execution.stdout.to_text(), stderr: execution.stderr.to_text() })
}

fn label(reason: Reason) -> &'static str {
    match reason {
        Reason::Completed => "Completed",
        Reason::NonZeroExit => "NonZeroExit",
        Reason::Signaled => "Signaled",
        Reason::TimedOut => "TimedOut",
        Reason::OOMKilled => "OOMKilled",
        Reason::ProcessLimit => "ProcessLimit",
        Reason::Cancelled => "Cancelled",
    }
}
