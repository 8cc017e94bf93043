//! The command's process between `fork` and `exec`: descriptors, directory, limits, then the rungs.
//!
//! Order matters: `no_new_privs` first, since Landlock and seccomp need it; Landlock after the working
//! directory is open; seccomp last, as it takes away calls that the others use.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, execve, fchdir, setsid};
use rustix::process::nice;
use serde::{Deserialize, Serialize};

use super::pids_cgroup::PidsCgroup;
use super::seccomp::Filters;
use super::supervisor::{read_all, write_best};
use super::wire::{Action, Spec};
use super::zygote::Stdio;
use super::{capabilities, descriptors, landlock, rlimits, rung};

/// How much politer a command is than its supervisor, which must win the processor against a thousand of it.
const NICENESS: i32 = 10;

/// What the child told its supervisor before `exec` closed the pipe.
#[derive(Debug, Serialize, Deserialize)]
pub enum StartReport {
    /// The rungs that hold.
    Started(Vec<String>),
    CannotStart(String),
    Unisolated(Vec<String>),
}

impl StartReport {
    /// The last line of the report decides: `Started` may be followed by a failed `exec`.
    pub fn read(pipe: File) -> io::Result<Self> {
        let bytes = read_all(pipe)?;
        let last = bytes.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
        let line = last.ok_or_else(|| io::Error::other("the command's process died before its start"))?;
        Ok(serde_json::from_slice(line)?)
    }

    fn write(&self, pipe: &File) {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        write_best(pipe, &line);
    }
}

/// Becomes the command, or reports why not and exits.
pub fn enter(spec: &Spec, cgroup: Option<&PidsCgroup>, stdio: &Stdio, report: File, filters: &Filters) -> ! {
    let refusal = match prepare(spec, cgroup, stdio, filters) {
        Ok(isolation) => {
            let missing = missing(spec, &isolation);
            if missing.is_empty() {
                StartReport::Started(isolation).write(&report);
                finish(spec)
            } else {
                StartReport::Unisolated(missing)
            }
        }
        Err(message) => StartReport::CannotStart(message),
    };
    refusal.write(&report);
    drop(report);
    // SAFETY: ends this process without running the zygote's destructors.
    unsafe { libc::_exit(125) }
}

/// Runs the action; returns only when `exec` failed.
fn finish(spec: &Spec) -> StartReport {
    match &spec.action {
        // SAFETY: as in `enter`.
        Action::Probe => unsafe { libc::_exit(0) },
        Action::Exec { argv } => StartReport::CannotStart(exec(argv, &spec.env)),
    }
}

fn missing(spec: &Spec, isolation: &[String]) -> Vec<String> {
    let granted = |name: &String| isolation.iter().any(|rung| rung.split(':').next() == Some(name));
    let wanted = spec.require.iter().filter(|name| !(spec.network && name.as_str() == rung::NO_NETWORK));
    wanted.filter(|name| !granted(name)).cloned().collect()
}

fn prepare(spec: &Spec, cgroup: Option<&PidsCgroup>, stdio: &Stdio, filters: &Filters) -> Result<Vec<String>, String> {
    wire_up(stdio).map_err(|error| format!("cannot set up standard streams: {error}"))?;
    enter_directory(spec)?;
    volunteer_for_oom_killer();
    nice(NICENESS).map_err(|error| format!("cannot lower the priority: {error}"))?;
    let mut isolation = vec![rung::PROCESS_TREE.to_owned()];
    rlimits::apply(&spec.limits).map_err(|error| format!("cannot set resource limits: {error}"))?;
    isolation.push(rung::RLIMITS.to_owned());
    if cgroup.is_some_and(|cgroup| cgroup.enter().is_ok()) {
        isolation.push(rung::PIDS_CGROUP.to_owned());
    }
    if capabilities::drop_dangerous() {
        isolation.push(rung::CAPABILITIES.to_owned());
    }
    if rlimits::bound_user(spec.limits.user_processes) {
        isolation.push(rung::RLIMIT_NPROC.to_owned());
    }
    if prctl::set_no_new_privs().is_ok() {
        isolation.push(rung::NO_NEW_PRIVS.to_owned());
    }
    isolation.extend(landlock::restrict(spec));
    let scoped = isolation.iter().any(|name| name == rung::SIGNAL_SCOPE);
    if !scoped && filters.guard_signals() {
        isolation.push(rung::SIGNAL_GUARD.to_owned());
    }
    isolation.extend(filters.apply(spec.network, spec.unix_connect));
    Ok(isolation)
}

fn wire_up(stdio: &Stdio) -> io::Result<()> {
    setsid()?;
    dup2_stdin(&stdio[0])?;
    dup2_stdout(&stdio[1])?;
    dup2_stderr(&stdio[2])?;
    descriptors::close_on_exec()?;
    SigSet::empty().thread_set_mask()?;
    // Rust ignores SIGPIPE; commands expect its default, or `yes | head` would not end.
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: installs no handler.
    unsafe { sigaction(Signal::SIGPIPE, &default) }?;
    Ok(())
}

/// Opens the directory below the workspace, so that a link cannot lead out of it.
fn enter_directory(spec: &Spec) -> Result<(), String> {
    let workspace = Dir::open_ambient_dir(&spec.workspace, ambient_authority())
        .map_err(|error| format!("the workspace cannot be opened: {error}"))?;
    let directory = if spec.cwd.as_os_str().is_empty() { Ok(workspace) } else { workspace.open_dir(&spec.cwd) };
    let directory = directory.map_err(|error| format!("cwd `{}` cannot be entered: {error}", spec.cwd.display()))?;
    // SAFETY: `directory` is open for the whole call.
    fchdir(unsafe { BorrowedFd::borrow_raw(directory.as_raw_fd()) })
        .map_err(|error| format!("cwd `{}` cannot be entered: {error}", spec.cwd.display()))
}

/// In a shared cgroup the kernel shall take the command, not the runner. Best effort: it needs /proc.
fn volunteer_for_oom_killer() {
    // A process that may not be dumped does not own its /proc files; `exec` resets this anyway.
    if prctl::set_dumpable(true).is_ok() {
        let _unsupported = fs::write("/proc/self/oom_score_adj", "1000");
    }
}

/// Returns why the command could not be executed.
fn exec(argv: &[String], env: &[(String, String)]) -> String {
    let invalid = |_| "argv and env must not contain NUL".to_owned();
    let arguments: Result<Vec<_>, _> = argv.iter().map(|text| CString::new(text.as_str())).collect();
    let environment: Result<Vec<_>, _> =
        env.iter().map(|(key, value)| CString::new(format!("{key}={value}"))).collect();
    let (arguments, environment) = match (arguments.map_err(invalid), environment.map_err(invalid)) {
        (Ok(arguments), Ok(environment)) => (arguments, environment),
        (Err(message), _) | (_, Err(message)) => return message,
    };
    let mut worst = Errno::ENOENT;
    for candidate in candidates(&argv[0], env) {
        let Ok(path) = CString::new(candidate) else { continue };
        let Err(errno) = execve(&path, &arguments, &environment);
        // As a shell does: a file that was found but refused says more than one that is absent.
        if !matches!(errno, Errno::ENOENT | Errno::ENOTDIR) {
            worst = errno;
        }
    }
    explain(&argv[0], worst)
}

fn candidates(program: &str, env: &[(String, String)]) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let path = env.iter().rev().find(|(key, _)| key == "PATH").map_or("", |(_, value)| value.as_str());
    path.split(':')
        .filter(|directory| !directory.is_empty())
        .map(|directory| format!("{directory}/{program}"))
        .collect()
}

fn explain(program: &str, errno: Errno) -> String {
    match errno {
        Errno::ENOENT => format!("`{program}` was not found (nor may its interpreter be): check argv[0] and PATH"),
        Errno::EACCES => format!("`{program}` is not executable, or lies where commands may not read"),
        Errno::ENOEXEC => format!("`{program}` is no executable: a script needs a #! line"),
        Errno::E2BIG => "argv and env are too long for this system".to_owned(),
        other => format!("`{program}` cannot be executed: {}", other.desc()),
    }
}
