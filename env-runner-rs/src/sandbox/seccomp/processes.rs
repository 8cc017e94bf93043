//! Calls that act on a process given by its number: refused for any but the caller, who is 0.
//!
//! Processes of one user may otherwise set each other's limits and priorities, and all commands, their
//! supervisors and the runner are of one user.

use seccompiler::{SeccompCmpArgLen::Dword, SeccompCmpArgLen::Qword, SeccompCmpOp as Op, SeccompRule as Rule};

use super::{Result, Rules, condition, one};

/// The process is argument 0.
const SELF_ONLY: [i64; 6] = [
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setaffinity,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
];
/// All processes of a user, as `ioprio_set` numbers it (linux/ioprio.h).
const IOPRIO_WHO_USER: u64 = 3;

/// What changes other processes' limits, priorities or memory.
pub fn foreign_changes() -> Result<Rules> {
    let mut rules = Rules::new();
    for call in SELF_ONLY {
        rules.insert(call, vec![one(0, Dword, Op::Ne, 0)?]);
    }
    // Reading a limit, with no new one in argument 2, harms nobody.
    let set_foreign = Rule::new(vec![condition(0, Dword, Op::Ne, 0)?, condition(2, Qword, Op::Ne, 0)?])?;
    rules.insert(libc::SYS_prlimit64, vec![set_foreign]);
    // `which` is argument 0, `who` argument 1. The caller's process group is its command's own.
    for (call, user) in [(libc::SYS_setpriority, libc::PRIO_USER as u64), (libc::SYS_ioprio_set, IOPRIO_WHO_USER)] {
        rules.insert(call, vec![one(1, Dword, Op::Ne, 0)?, one(0, Dword, Op::Eq, user)?]);
    }
    Ok(rules)
}
