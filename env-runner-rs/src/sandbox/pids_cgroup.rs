//! A cgroup of its own for one command, where we may make one: the kernel refuses the fork that is too many.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::cgroup;

/// Room above the watched limit, so that passing it is seen and named before the kernel refuses more.
const SLACK: u64 = 16;

/// Removed when dropped, by when its processes must have been reaped. A supervisor that is itself killed
/// leaves an empty directory behind.
#[derive(Debug)]
pub struct PidsCgroup {
    directory: PathBuf,
}

impl PidsCgroup {
    /// None where the hierarchy is absent, read-only or not delegated to us, as in an ordinary pod.
    pub fn create(limit: u64) -> Option<Self> {
        let name = format!("env-runner-{}", std::process::id());
        let directory = cgroup::own_directories("pids").into_iter().map(|own| own.join(&name)).find(|directory| {
            // A name left by an earlier supervisor of the same number is empty; one in use cannot be removed.
            fs::create_dir(directory).is_ok()
                || (fs::remove_dir(directory).is_ok() && fs::create_dir(directory).is_ok())
        })?;
        let made = Self { directory };
        // Without the controller (version 2, not enabled for children) this file is absent.
        fs::write(made.directory.join("pids.max"), (limit + SLACK).to_string()).is_ok().then_some(made)
    }

    /// Moves the calling process in; what it forks is born inside.
    pub fn enter(&self) -> io::Result<()> {
        fs::write(self.directory.join("cgroup.procs"), "0")
    }

    /// Processes and threads inside now.
    pub fn tasks(&self) -> Option<u64> {
        fs::read_to_string(self.directory.join("pids.current")).ok()?.trim().parse().ok()
    }
}

impl Drop for PidsCgroup {
    fn drop(&mut self) {
        // A process stuck in the kernel keeps it; an empty directory is all that can stay.
        let _busy = fs::remove_dir(&self.directory);
    }
}
