//! A request to run a command, from its JSON to a checked plan, and the reply.

use std::path::{Component, Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

use crate::binding::{Binding, Slot};
use crate::config::{Network, SandboxArgs, UnixSockets};
use crate::error::{Error, Result};
use crate::sandbox::wire::{Action, Finished, Limits, Spec, Stop, Usage, Verdict};
use crate::sandbox::{Execution, Streams, Visible, foreign_sockets};
use crate::tmp;

const DEFAULT_TIMEOUT_MS: u64 = 60_000;
const DEFAULT_OUTPUT_BYTES: usize = 1 << 20;
const MAX_OUTPUT_BYTES: usize = 16 << 20;
/// Below the kernel's own bound on argv and environment, so that its refusal stays an exception.
pub const MAX_WORDS_BYTES: usize = 1 << 20;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command to run.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// Program and arguments; no shell is involved unless it is the program.
    #[schema(min_items = 1, example = json!(["python3", "-m", "pytest", "-q"]))]
    pub argv: Vec<String>,
    /// Working directory, relative to the workspace.
    pub cwd: Option<String>,
    /// Added to the runner's own environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Text for standard input.
    pub stdin: Option<String>,
    /// Bytes for standard input, instead of `stdin`.
    pub stdin_base64: Option<String>,
    /// Wall time until the whole tree is killed. Default 60000.
    pub timeout_ms: Option<u64>,
    /// Bytes kept of each output stream, head and tail. Default 1 MiB.
    pub output_limit_bytes: Option<usize>,
    /// `main`, the id of a fork, the SHA-256 of a held workspace: then the command gets a fork of its own, which goes
    /// with it; or `scratch`: an empty one of its own, which goes with it. Default `main`, which all commands share.
    pub workspace: Option<String>,
    /// Ask for the network; refused unless the runner allows it.
    #[serde(default)]
    pub network: bool,
    #[serde(default)]
    pub limits: LimitsRequest,
}

/// Limits below the runner's own; what is absent takes those.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsRequest {
    /// Private memory of the whole tree.
    pub memory_bytes: Option<u64>,
    /// Processes and threads of the whole tree; one more and it is killed, with reason `ProcessLimit`.
    pub processes: Option<u64>,
    /// Largest file written.
    pub file_bytes: Option<u64>,
    /// Processor time of one process.
    pub cpu_seconds: Option<u64>,
    /// Open files of one process.
    pub open_files: Option<u64>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Reason {
    Completed,
    NonZeroExit,
    Signaled,
    TimedOut,
    OOMKilled,
    /// Killed for passing `limits.processes`.
    ProcessLimit,
    Cancelled,
}

/// What every reply about a finished command tells.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// Null when a signal ended the command.
    pub exit_code: Option<i32>,
    /// Null when the command exited.
    pub signal: Option<i32>,
    pub reason: Reason,
    /// A sentence when the command did not end by itself.
    pub message: Option<String>,
    /// Bytes written to standard output, kept or not.
    pub stdout_bytes: u64,
    /// Bytes written to standard error, kept or not.
    pub stderr_bytes: u64,
    pub stdout_truncated: bool,
    pub stderr_truncated: bool,
    pub usage: Usage,
    /// The rungs of isolation that held for this very command.
    pub isolation: Vec<String>,
}

/// Reply to an execution.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExecReply {
    #[serde(flatten)]
    pub outcome: Outcome,
    /// UTF-8, invalid bytes replaced.
    pub stdout: String,
    /// UTF-8, invalid bytes replaced.
    pub stderr: String,
}

/// The runner's side of every plan.
#[derive(Debug)]
pub struct Planner {
    slot: Slot,
    unix_connect: bool,
    max_landlock_abi: i32,
    writable: Vec<PathBuf>,
    require: Vec<String>,
    max_timeout_ms: u64,
    limits: Limits,
    visible: Visible,
    base_env: BTreeMap<String, String>,
}

impl Planner {
    /// `slot` says what is known beyond `args`. `hidden`: what commands may not read. `own`: trees whose Unix sockets
    /// are the commands' own.
    pub fn new(args: &SandboxArgs, slot: Slot, hidden: Vec<PathBuf>, own: &[&Path]) -> Self {
        let unix_connect = match args.unix_sockets {
            UnixSockets::Allow => true,
            UnixSockets::Deny => false,
            UnixSockets::Auto => foreign_sockets(own).is_empty(),
        };
        let shared = if args.shared_tmp { tmp::of_this_container(&hidden, own) } else { Vec::new() };
        Self {
            slot,
            unix_connect,
            max_landlock_abi: args.max_landlock_abi,
            writable: args.writable.iter().cloned().chain(shared).collect(),
            require: args.require.clone(),
            max_timeout_ms: args.max_timeout_ms,
            limits: args.limits(),
            visible: Visible::except(hidden),
            base_env: inherited_env(),
        }
    }

    /// Can no command hand another one a descriptor? It would have to connect to it.
    pub fn keeps_commands_apart(&self) -> bool {
        !self.unix_connect && self.slot.never_has_network()
    }

    /// Whether commands may have the network, as far as it is known now.
    pub fn network(&self) -> Network {
        self.slot.network()
    }

    /// Tells what all commands get.
    ///
    /// # Errors
    /// `NotBindable`, `BoundToAnother`.
    pub fn bind(&self, binding: Binding) -> Result<()> {
        self.slot.bind(binding)
    }

    /// Checks `request` and turns it into orders for a supervisor; `tmp` is the command's private directory.
    ///
    /// # Errors
    /// `BadRequest`, `NotBound`, `NetworkNotAllowed`, or our own failure to list the readable trees.
    pub fn plan(&self, request: &ExecRequest, workspace: &Path, tmp: &Path) -> Result<Spec> {
        self.plan_with(self.slot.get()?, request, workspace, tmp)
    }

    fn plan_with(&self, bound: &Binding, request: &ExecRequest, workspace: &Path, tmp: &Path) -> Result<Spec> {
        if request.network && bound.network == Network::None {
            return Err(Error::NetworkNotAllowed);
        }
        let env = self.environment(bound, &request.env, tmp)?;
        check_words(&request.argv, &env)?;
        let mut writable = self.writable.clone();
        writable.push(tmp.to_owned());
        Ok(Spec {
            action: Action::Exec { argv: request.argv.clone() },
            env,
            workspace: workspace.to_owned(),
            cwd: relative(request.cwd.as_deref().unwrap_or(""))?,
            readable: self.visible.trees()?,
            writable,
            network: request.network,
            unix_connect: self.unix_connect,
            max_landlock_abi: self.max_landlock_abi,
            timeout_ms: within(
                request.timeout_ms,
                DEFAULT_TIMEOUT_MS.min(self.max_timeout_ms),
                self.max_timeout_ms,
                "timeout_ms",
            )?,
            limits: self.limits(&request.limits)?,
            owns_namespace: false,
            require: self.require.clone(),
        })
    }

    /// A plan that starts nothing and tells which rungs hold.
    ///
    /// # Errors
    /// When the readable trees cannot be listed.
    pub fn probe(&self, workspace: &Path, tmp: &Path) -> Result<Spec> {
        let request = ExecRequest { argv: vec!["probe".to_owned()], ..ExecRequest::default() };
        let spec = self.plan_with(&Binding::of(Network::None), &request, workspace, tmp)?;
        Ok(Spec { action: Action::Probe, require: Vec::new(), ..spec })
    }

    fn environment(
        &self,
        bound: &Binding,
        requested: &BTreeMap<String, String>,
        tmp: &Path,
    ) -> Result<Vec<(String, String)>> {
        let mut env = self.base_env.clone();
        env.extend(bound.variables());
        let tmp = tmp.to_str().ok_or_else(|| Error::internal("the temporary directory is not UTF-8"))?;
        env.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
        env.entry("HOME".to_owned()).or_insert_with(|| tmp.to_owned());
        env.insert("TMPDIR".to_owned(), tmp.to_owned());
        for (key, value) in requested {
            if key.is_empty() || key.contains('=') {
                return Err(Error::BadRequest(format!("env: `{key}` is no name for a variable")));
            }
            env.insert(key.clone(), value.clone());
        }
        Ok(env.into_iter().collect())
    }

    fn limits(&self, wanted: &LimitsRequest) -> Result<Limits> {
        let own = &self.limits;
        Ok(Limits {
            memory_bytes: within(wanted.memory_bytes, own.memory_bytes, own.memory_bytes, "limits.memory_bytes")?,
            processes: within(wanted.processes, own.processes, own.processes, "limits.processes")?,
            user_processes: own.user_processes,
            file_bytes: within(wanted.file_bytes, own.file_bytes, own.file_bytes, "limits.file_bytes")?,
            cpu_seconds: wanted
                .cpu_seconds
                .map(|seconds| within(Some(seconds), 1, u64::MAX, "limits.cpu_seconds"))
                .transpose()?,
            open_files: within(wanted.open_files, own.open_files, own.open_files, "limits.open_files")?,
        })
    }
}

impl ExecRequest {
    /// Standard streams as this request wants them.
    ///
    /// # Errors
    /// `BadRequest` for contradicting or undecodable input, or a cap beyond the runner's.
    pub fn streams(&self) -> Result<Streams> {
        let stdin = match (&self.stdin, &self.stdin_base64) {
            (Some(_), Some(_)) => return Err(Error::BadRequest("give stdin or stdin_base64, not both".to_owned())),
            (Some(text), None) => Some(text.clone().into_bytes()),
            (None, Some(encoded)) => Some(
                BASE64_STANDARD
                    .decode(encoded)
                    .map_err(|error| Error::BadRequest(format!("stdin_base64 is not base64: {error}")))?,
            ),
            (None, None) => None,
        };
        let keep_bytes = self.output_limit_bytes.unwrap_or(DEFAULT_OUTPUT_BYTES);
        if keep_bytes > MAX_OUTPUT_BYTES {
            return Err(Error::BadRequest(format!("output_limit_bytes must be at most {MAX_OUTPUT_BYTES}")));
        }
        Ok(Streams { stdin, keep_bytes, live: false })
    }
}

impl Outcome {
    /// Reads a verdict.
    ///
    /// # Errors
    /// `CannotStart`, `IsolationUnavailable`, or our own failure.
    pub fn from_execution(execution: &Execution) -> Result<Self> {
        let finished = match &execution.verdict {
            Verdict::Finished(finished) => finished,
            Verdict::CannotStart { message } => return Err(Error::CannotStart(message.clone())),
            Verdict::Unisolated { missing } => return Err(Error::IsolationUnavailable(missing.clone())),
            Verdict::Failed { message } => return Err(Error::internal(message.clone())),
        };
        Ok(Self {
            exit_code: finished.exit_code,
            signal: finished.signal,
            reason: reason(finished),
            message: message(finished),
            stdout_bytes: execution.stdout.total_bytes(),
            stderr_bytes: execution.stderr.total_bytes(),
            stdout_truncated: execution.stdout.truncated(),
            stderr_truncated: execution.stderr.truncated(),
            usage: finished.usage,
            isolation: finished.isolation.clone(),
        })
    }
}

fn reason(finished: &Finished) -> Reason {
    match finished.stopped {
        Some(Stop::TimedOut) => Reason::TimedOut,
        Some(Stop::Cancelled) => Reason::Cancelled,
        Some(Stop::Memory | Stop::KernelOom) => Reason::OOMKilled,
        Some(Stop::Processes) => Reason::ProcessLimit,
        None => match (finished.exit_code, finished.signal) {
            (Some(0), _) => Reason::Completed,
            (Some(_), _) => Reason::NonZeroExit,
            (None, _) => Reason::Signaled,
        },
    }
}

fn message(finished: &Finished) -> Option<String> {
    let text = match finished.stopped {
        Some(Stop::TimedOut) => "The command and all its processes were killed at its timeout.",
        Some(Stop::Cancelled) => "The command and all its processes were killed because the request was cancelled.",
        Some(Stop::Memory) => "The command and all its processes were killed for passing limits.memory_bytes.",
        Some(Stop::Processes) => "The command and all its processes were killed for passing limits.processes.",
        Some(Stop::KernelOom) => "The kernel killed a process of the command because the container's memory ran out.",
        None => match finished.signal? {
            libc::SIGXCPU => "The command passed limits.cpu_seconds.",
            libc::SIGXFSZ => "The command passed limits.file_bytes.",
            _ => return None,
        },
    };
    Some(text.to_owned())
}

fn inherited_env() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(key, _)| !is_of_the_runner(key))
        .collect()
}

/// Is a variable of that name the runner's own, which no command sees unless its request names it?
pub fn is_of_the_runner(name: &str) -> bool {
    name.starts_with("RUNNER_") || name.starts_with("DSPY_")
}

fn check_words(argv: &[String], env: &[(String, String)]) -> Result<()> {
    if argv.first().is_none_or(String::is_empty) {
        return Err(Error::BadRequest("argv must name a program".to_owned()));
    }
    let words = || argv.iter().chain(env.iter().flat_map(|(key, value)| [key, value]));
    if words().any(|word| word.contains('\0')) {
        return Err(Error::BadRequest("argv and env must not contain NUL".to_owned()));
    }
    if words().map(String::len).sum::<usize>() > MAX_WORDS_BYTES {
        return Err(Error::BadRequest(format!("argv and env must not pass {MAX_WORDS_BYTES} bytes together")));
    }
    Ok(())
}

fn relative(cwd: &str) -> Result<PathBuf> {
    let path = Path::new(cwd);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside || cwd.contains('\0') {
        return Err(Error::BadRequest("cwd must be relative to the workspace, without `..`".to_owned()));
    }
    Ok(path.components().filter(|part| matches!(part, Component::Normal(_))).collect())
}

fn within(wanted: Option<u64>, default: u64, maximum: u64, name: &str) -> Result<u64> {
    match wanted {
        None => Ok(default),
        Some(value) if (1..=maximum).contains(&value) => Ok(value),
        Some(_) => Err(Error::BadRequest(format!("{name} must be between 1 and {maximum}"))),
    }
}
