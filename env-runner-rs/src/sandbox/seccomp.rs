//! The system call rung. Refusals are errors, not deaths, so that programs can carry on.

mod calls;
mod processes;
mod signals;
mod sockets;

use std::collections::BTreeMap;

use nix::unistd::{Pid, getpid, getppid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule, TargetArch, apply_filter, sock_filter,
};

use super::rung;
use calls::{ABSENT, FORBIDDEN, NAMESPACE_FLAGS, TIOCSTI};

type Rules = BTreeMap<i64, Vec<Rule>>;
type Result<T> = std::result::Result<T, seccompiler::Error>;

/// Compiled once by the zygote, inherited by every command.
#[derive(Debug)]
pub struct Filters {
    absent: BpfProgram,
    common: BpfProgram,
    no_network: BpfProgram,
    network: BpfProgram,
    no_unix_connect: BpfProgram,
    runner: Pid,
    zygote: Pid,
}

impl Filters {
    /// Call in the zygote.
    ///
    /// # Errors
    /// Only for an architecture that the compiler does not know.
    pub fn prepare() -> Result<Self> {
        Ok(Self {
            absent: compile(ABSENT.iter().map(|call| (*call, Vec::new())).collect(), libc::ENOSYS)?,
            common: guard_x32(compile(common()?, libc::EPERM)?),
            no_network: compile(sockets::families_only(&[libc::AF_UNIX])?, libc::EPERM)?,
            network: compile(
                sockets::families_only(&[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK])?,
                libc::EPERM,
            )?,
            no_unix_connect: compile(sockets::no_unix_connect()?, libc::EPERM)?,
            runner: getppid(),
            zygote: getpid(),
        })
    }

    /// Refuses the calling process, a supervisor's child, what signals it need not send; true if that holds.
    /// Needed only where Landlock does not scope signals, and to be called before [`Self::apply`].
    pub fn guard_signals(&self) -> bool {
        let guard = signals::guard(self.runner, self.zygote).and_then(|rules| compile(rules, libc::EPERM));
        guard.is_ok_and(|guard| apply_filter(&guard).is_ok())
    }

    /// Restricts the calling process; returns the rungs that hold.
    pub fn apply(&self, network: bool, unix_connect: bool) -> Vec<String> {
        let mut rungs = Vec::new();
        let base = [&self.absent, &self.common].into_iter().all(|filter| apply_filter(filter).is_ok());
        if base {
            rungs.push(rung::SECCOMP.to_owned());
        }
        let sockets = if network { &self.network } else { &self.no_network };
        // Only together with `common` is the network closed: it also blocks namespaces and x32 calls.
        if apply_filter(sockets).is_ok() && base && !network {
            rungs.push(rung::NO_NETWORK.to_owned());
        }
        if !unix_connect && !network && apply_filter(&self.no_unix_connect).is_ok() {
            rungs.push(rung::NO_UNIX_CONNECT.to_owned());
        }
        rungs
    }
}

fn common() -> Result<Rules> {
    let mut rules = processes::foreign_changes()?;
    rules.extend(FORBIDDEN.iter().map(|call| (*call, Vec::new())));
    let namespaces = NAMESPACE_FLAGS
        .iter()
        .map(|flag| one(0, Len::Qword, Op::MaskedEq(*flag as u64), *flag as u64))
        .collect::<Result<_>>()?;
    rules.insert(libc::SYS_clone, namespaces);
    // Pushing characters into a terminal's input is how a command would leave an interactive parent's sandbox.
    rules.insert(libc::SYS_ioctl, vec![one(1, Len::Dword, Op::Eq, TIOCSTI)?]);
    Ok(rules)
}

fn condition(argument: u8, length: Len, operator: Op, value: u64) -> Result<Condition> {
    Ok(Condition::new(argument, length, operator, value)?)
}

/// A rule of one condition.
fn one(argument: u8, length: Len, operator: Op, value: u64) -> Result<Rule> {
    Ok(Rule::new(vec![condition(argument, length, operator, value)?])?)
}

fn compile(rules: Rules, errno: i32) -> Result<BpfProgram> {
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()?)
}

/// Refuses x32 calls: the same architecture to the kernel, other numbers, so every rule would miss them.
fn guard_x32(program: BpfProgram) -> BpfProgram {
    const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS, of the call's number at offset 0
    const JUMP_GE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const X32_BIT: u32 = 0x4000_0000;
    if !cfg!(target_arch = "x86_64") {
        return program;
    }
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let mut guarded = vec![step(LOAD_WORD, 0, 0, 0), step(JUMP_GE, 0, 1, X32_BIT), step(RETURN, 0, 0, refuse)];
    guarded.extend(program);
    guarded
}
