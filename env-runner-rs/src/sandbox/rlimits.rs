//! Per-process limits, and the kernel's bound on all processes of the user.

use caps::{CapSet, Capability};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::getuid;

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

/// Bounds the processes and threads of the calling user id; true when the kernel holds us to it.
///
/// The bound counts every process of the id on the node, other pods' too, so it protects the node from a
/// fork bomb however busy the supervisor is kept, and leaves the command's own limit to be watched. Root
/// is exempt; call this after capabilities are dropped, as some of them exempt as well.
pub fn bound_user(processes: u64) -> bool {
    let exempts = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(true);
    if getuid().is_root() || exempts(Capability::CAP_SYS_RESOURCE) || exempts(Capability::CAP_SYS_ADMIN) {
        return false;
    }
    lower(Resource::RLIMIT_NPROC, processes, 0).is_ok()
        && getrlimit(Resource::RLIMIT_NPROC).is_ok_and(|(_, hard)| hard <= processes)
}

fn lower(resource: Resource, soft: u64, grace: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    setrlimit(resource, soft.min(hard), soft.saturating_add(grace).min(hard))
}
