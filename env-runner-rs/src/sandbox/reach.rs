//! Signals to every process of one command at once, however it forks and whatever sessions it makes.
//!
//! `kill(-1)` goes to all that the caller may signal, in one sweep under the kernel's lock, so no fork
//! slips through. What the caller may signal must then be its own tree and nothing else: by Landlock's
//! signal scope (Linux 6.12), which the tree is born into, or by a PID namespace made for one command.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};

use super::landlock;

/// Proof that `kill(-1)` from this process reaches only its own tree (and a zygote without other work).
#[derive(Debug, Clone, Copy)]
pub struct Reach(());

impl Reach {
    /// Narrows the calling supervisor's signals to its future descendants; none if neither way is open.
    pub fn narrow(owns_namespace: bool, max_landlock_abi: i32) -> Option<Self> {
        let scoped = landlock::scope_signals(max_landlock_abi) && parent_is_out_of_reach();
        (scoped || owns_namespace).then_some(Self(()))
    }

    /// Signals every process of the command.
    pub fn signal(self, signal: Signal) {
        // The only expected failure is that there is nobody left.
        let _nobody = kill(Pid::from_raw(-1), signal);
    }
}

/// Asks the kernel instead of trusting what was set: a sweep without bounds would end every process there is.
fn parent_is_out_of_reach() -> bool {
    kill(getppid(), None) == Err(Errno::EPERM)
}
