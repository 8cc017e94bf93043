//! `env-runner serve`: from settings to a listening server, and down again.

use std::error::Error;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::binding::{Binding, Slot};
use crate::config::ServeArgs;
use crate::exec::Planner;
use crate::files::Limits;
use crate::held::{self, Held};
use crate::http::{self, App};
use crate::metrics::Metrics;
use crate::pressure::Gauge;
use crate::sandbox::wire::Verdict;
use crate::sandbox::{Sandbox, Streams, Zygote};
use crate::scratch::Scratches;
use crate::snapshot::Workspaces;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Serves until SIGTERM or SIGINT. Must be called while the process has one thread.
///
/// # Errors
/// A setting that cannot work, or what the system refused.
pub fn serve(mut args: ServeArgs) -> Outcome<()> {
    // First of all: the zygote must know neither the token nor any thread.
    let zygote = Zygote::start()?;
    prctl::set_dumpable(false)?;
    if args.exit_with_parent {
        prctl::set_pdeathsig(Signal::SIGTERM)?;
    }
    crate::telemetry::init();
    let token = args.validate()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let app = Arc::new(app(&args, token, Sandbox::new(zygote)).await?);
        let stop = CancellationToken::new();
        tokio::spawn(cancel_on_signal(stop.clone())?);
        let lost = app.sandbox.lost()?;
        let (router, grace) = (http::router(app), Duration::from_secs(args.stop_grace_seconds));
        let mut service = pin!(http::serve(&args.listen, args.port_file.as_deref(), router, stop.clone(), grace));
        tokio::select! {
            served = &mut service => served?,
            watched = lost => {
                watched?;
                tracing::error!("the process that starts commands has died; ending, to be started anew");
                stop.cancel();
                service.await?;
                return Err("the process that starts commands has died".into());
            }
        }
        tracing::info!("stopped");
        Ok(())
    })
}

async fn app(args: &ServeArgs, token: String, sandbox: Sandbox) -> Outcome<App> {
    let limits = Limits { max_entries: args.max_entries };
    let concurrency = args.concurrency();
    let slot = slot(args);
    let planner = Planner::new(&args.sandbox, slot, args.hidden(), &[&args.workspace, &args.forks_dir]);
    let held = Held::open(&args.forks_dir, limits, held_settings(args, concurrency, &planner));
    let workspaces = Workspaces::new(
        args.workspace.clone(),
        args.forks_dir.clone(),
        limits,
        args.max_forks,
        args.max_fork_bytes,
        &held.names(),
    )?;
    let tmp = args.forks_dir.join("tmp");
    std::fs::create_dir(&tmp)?;
    let isolation = probe(&sandbox, &planner, &args.workspace, &tmp).await?;
    tracing::info!(isolation = isolation.join(" "), "sandbox probed");
    Ok(App {
        token,
        sandbox,
        planner,
        workspaces,
        held: Arc::new(held),
        scratches: Scratches::new(args.forks_dir.clone(), concurrency),
        pressure: Gauge::discover(),
        preparing: AtomicUsize::new(0),
        metrics: Metrics::default(),
        isolation,
        max_concurrent: concurrency,
        admission: Arc::new(Semaphore::new(concurrency)),
        heavy: Arc::new(Semaphore::new(concurrency)),
        single: Arc::new(Semaphore::new(concurrency)),
        tmp,
        max_archive_bytes: args.max_archive_bytes,
        max_transfer_bytes: args.max_transfer_bytes,
    })
}

fn slot(args: &ServeArgs) -> Slot {
    if args.bindable {
        return Slot::Bindable(OnceLock::new());
    }
    Slot::Fixed(Binding::of(args.sandbox.network))
}

fn held_settings(args: &ServeArgs, concurrency: usize, planner: &Planner) -> held::Settings {
    held::Settings {
        max_workspaces: args.max_workspaces,
        max_workspace_bytes: args.max_workspace_bytes,
        max_total_bytes: args.max_workspaces_total_bytes,
        spare_forks: args.spare_forks.unwrap_or(concurrency),
        commands_apart: planner.keeps_commands_apart(),
        concurrency,
    }
}

/// Applies every rung in a process that then exits, and tells which held.
async fn probe(sandbox: &Sandbox, planner: &Planner, workspace: &Path, tmp: &Path) -> Outcome<Vec<String>> {
    let spec = planner.probe(workspace, tmp)?;
    let streams = Streams { stdin: None, keep_bytes: 0, live: false };
    match sandbox.execute(&spec, streams, &CancellationToken::new()).await?.verdict {
        Verdict::Finished(finished) => Ok(finished.isolation),
        other => Err(format!("the sandbox cannot start anything: {other:?}").into()),
    }
}

/// Resolves once the process is told to stop.
///
/// # Errors
/// When the signals cannot be watched.
pub fn cancel_on_signal(stop: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    })
}
