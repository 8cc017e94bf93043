//! Signals, where the kernel cannot keep them within a command (Landlock before Linux 6.12).
//!
//! The runner, the zygote and the supervisor are named one by one. What this cannot know are the threads
//! that the runner starts later and the processes of other commands, so the rung has a name of its own.

use std::fs;

use nix::unistd::{Pid, getpgid, getppid};
use seccompiler::{SeccompCmpArgLen::Dword, SeccompCmpOp as Op, SeccompRule as Rule};

use super::{Result, Rules, one};

/// A filter holds 4096 instructions; five calls compare with each of these.
const MAX_THREADS: usize = 64;
/// Everybody whom the caller may signal.
const EVERYBODY: i32 = -1;
const INIT: i32 = 1;
/// Would have the kernel send SIGIO to any process (asm-generic/sockios.h).
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;

/// Refuses signals to `runner`, `zygote`, the calling process's parent and everybody.
pub fn guard(runner: Pid, zygote: Pid) -> Result<Rules> {
    let processes = [INIT, runner.as_raw(), zygote.as_raw(), getppid().as_raw()];
    // A thread's number does as well as its process's.
    let mut targets = threads(runner);
    targets.extend(processes);
    let mut rules = Rules::new();
    for call in [libc::SYS_tkill, libc::SYS_rt_sigqueueinfo] {
        rules.insert(call, refuse(0, &targets)?);
    }
    for call in [libc::SYS_tgkill, libc::SYS_rt_tgsigqueueinfo] {
        rules.insert(call, refuse(0, &processes)?);
    }
    targets.extend(processes.map(|pid| -pid));
    targets.extend(getpgid(Some(runner)).map(|group| -group.as_raw()));
    targets.push(EVERYBODY);
    rules.insert(libc::SYS_kill, refuse(0, &targets)?);
    rules.insert(libc::SYS_pidfd_send_signal, Vec::new());
    rules.insert(libc::SYS_fcntl, refuse(1, &[libc::F_SETOWN, F_SETOWN_EX])?);
    rules.insert(libc::SYS_ioctl, vec![one(1, Dword, Op::Eq, FIOSETOWN)?, one(1, Dword, Op::Eq, SIOCSPGRP)?]);
    Ok(rules)
}

/// As `F_SETOWN`, for a thread or a group too (asm-generic/fcntl.h).
const F_SETOWN_EX: i32 = 15;

fn refuse(argument: u8, values: &[i32]) -> Result<Vec<Rule>> {
    values.iter().map(|value| one(argument, Dword, Op::Eq, u64::from(value.cast_unsigned()))).collect()
}

fn threads(pid: Pid) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).take(MAX_THREADS).collect()
}
