//! `env-runner run`: one command, its output passed through, its result in a file.

use std::error::Error as StdError;
use std::path::PathBuf;

use clap::Args;
use nix::sys::prctl;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::binding::{Binding, Slot};
use crate::config::SandboxArgs;
use crate::error::{Error, Result};
use crate::exec::{ExecRequest, Outcome, Planner, Reason};
use crate::files::{open_root, remove_tree};
use crate::install::random_hex;
use crate::sandbox::{Execution, Sandbox, Streams, Zygote};

/// Exit code for our own failures, as `timeout` and container runtimes use it.
const OUR_FAILURE: i32 = 125;
const TIMED_OUT: i32 = 124;
const SIGNAL_BASE: i32 = 128;

/// Settings of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The request as JSON, as for POST /v1/exec.
    #[arg(long, env = "RUNNER_REQUEST")]
    pub request: String,
    /// The tree that the command runs in and may change.
    #[arg(long, env = "RUNNER_WORKSPACE", default_value = "/workspace")]
    pub workspace: PathBuf,
    /// Where the result goes as JSON.
    #[arg(long, env = "RUNNER_RESULT_FILE")]
    pub result_file: PathBuf,
    /// Largest result; Kubernetes takes 4096 bytes of a termination message.
    #[arg(long, env = "RUNNER_RESULT_LIMIT_BYTES", default_value_t = 4096)]
    pub result_limit_bytes: usize,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

#[derive(Debug, Serialize)]
struct RunResult<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    stdout_tail: String,
    stderr_tail: String,
}

/// Runs the command and returns the exit code for this process: the command's own, 128 + signal, 124
/// after a timeout, 125 for a failure of ours. Must be called while the process has one thread.
///
/// # Errors
/// Only when no result could be written at all.
pub fn run(args: &RunArgs) -> std::result::Result<i32, Box<dyn StdError>> {
    let zygote = Zygote::start()?;
    prctl::set_dumpable(false)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (result, code) = match runtime.block_on(execute(args, Sandbox::new(zygote))) {
        Ok((outcome, execution)) => (fitted(&outcome, &execution, args.result_limit_bytes)?, exit_code(&outcome)),
        Err(error) => {
            if let Error::Internal(cause) = &error {
                eprintln!("env-runner: {cause}");
            }
            eprintln!("env-runner: {error}");
            (serde_json::to_string(&error.body())?, OUR_FAILURE)
        }
    };
    std::fs::write(&args.result_file, result)
        .map_err(|error| format!("--result-file: {} cannot be written: {error}", args.result_file.display()))?;
    Ok(code)
}

async fn execute(args: &RunArgs, sandbox: Sandbox) -> Result<(Outcome, Execution)> {
    let request: ExecRequest =
        serde_json::from_str(&args.request).map_err(|error| Error::BadRequest(format!("--request: {error}")))?;
    let workspace = args.workspace.canonicalize().map_err(|error| {
        Error::BadRequest(format!("--workspace: {} cannot be used: {error}", args.workspace.display()))
    })?;
    let streams = Streams { live: true, keep_bytes: 2 * args.result_limit_bytes, ..request.streams()? };
    let home = std::env::temp_dir();
    let name = PathBuf::from(format!("env-runner-{}", random_hex(6)?));
    let tmp = home.join(&name);
    let slot = Slot::Fixed(Binding::of(args.sandbox.network));
    let planner = Planner::new(&args.sandbox, slot, args.sandbox.hide.clone(), &[&workspace]);
    let mut spec = planner.plan(&request, &workspace, &tmp)?;
    // The first process of a container: nothing else in there but what the command leaves.
    spec.owns_namespace = std::process::id() == 1;
    let stop = CancellationToken::new();
    tokio::spawn(crate::serve::cancel_on_signal(stop.clone())?);
    std::fs::create_dir(&tmp)?;
    let execution = sandbox.execute(&spec, streams, &stop).await;
    if let Err(cause) = open_root(&home).and_then(|home| remove_tree(&home, &name)) {
        eprintln!("env-runner: the temporary directory could not be removed: {cause}");
    }
    let execution = execution?;
    Ok((Outcome::from_execution(&execution)?, execution))
}

fn exit_code(outcome: &Outcome) -> i32 {
    match (outcome.reason, outcome.exit_code, outcome.signal) {
        (Reason::TimedOut, _, _) => TIMED_OUT,
        (_, Some(code), _) => code,
        (_, None, Some(signal)) => SIGNAL_BASE + signal,
        (_, None, None) => OUR_FAILURE,
    }
}

/// The result in at most `limit` bytes: both tails, which escaping lengthens, are shortened until it fits.
fn fitted(outcome: &Outcome, execution: &Execution, limit: usize) -> std::result::Result<String, Box<dyn StdError>> {
    let mut keep = limit / 2;
    loop {
        let result = RunResult {
            outcome,
            stdout_tail: execution.stdout.tail_text(keep),
            stderr_tail: execution.stderr.tail_text(keep),
        };
        let text = serde_json::to_string(&result)?;
        if text.len() <= limit || keep == 0 {
            return Ok(text);
        }
        keep = keep * 4 / 5;
    }
}
