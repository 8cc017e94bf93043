//! Per-process limits. The number of processes is not among them: `RLIMIT_NPROC` counts every process
//! of the user id on the node, other pods' too, and root is exempt; the supervisor counts the tree.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::wire::Limits;

/// Seconds between SIGXCPU, which a program may catch, and SIGKILL.
const CPU_GRACE_SECONDS: u64 = 1;

/// Applies `limits` to the calling process; a limit above the inherited hard one stays at that.
pub fn apply(limits: &Limits) -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    lower(Resource::RLIMIT_FSIZE, limits.file_bytes, 0)?;
    lower(Resource::RLIMIT_NOFILE, limits.open_files, 0)?;
    if let Some(seconds) = limits.cpu_seconds {
        lower(Resource::RLIMIT_CPU, seconds, CPU_GRACE_SECONDS)?;
    }
    Ok(())
}

fn lower(resource: Resource, soft: u64, grace: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    setrlimit(resource, soft.min(hard), soft.saturating_add(grace).min(hard))
}
