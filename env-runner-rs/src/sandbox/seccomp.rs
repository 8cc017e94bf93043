//! The system call rung. Refusals are errors, not deaths, so that programs can carry on.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule, TargetArch, apply_filter, sock_filter,
};

use super::rung;

type Rules = BTreeMap<i64, Vec<Rule>>;
type Result<T> = std::result::Result<T, seccompiler::Error>;

/// Calls that reach other processes, the kernel's inside or the mount tree, whatever their arguments.
const FORBIDDEN: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    // System V shared memory outlives the process tree, out of reach of every limit here.
    libc::SYS_shmget,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// Calls that libraries try first and do without when they are absent. `clone3` hides its flags from a
/// filter; an io_uring would open sockets and files past it.
const ABSENT: &[i64] =
    &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

const NAMESPACE_FLAGS: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Pushes a character into a terminal's input (`TIOCSTI`; `libc` gives it a type that differs by C library).
const TIOCSTI: u64 = 0x5412;

/// Compiled once by the zygote, inherited by every command.
#[derive(Debug)]
pub struct Filters {
    absent: BpfProgram,
    common: BpfProgram,
    no_network: BpfProgram,
    network: BpfProgram,
    no_unix_connect: BpfProgram,
}

impl Filters {
    /// # Errors
    /// Only for an architecture that the compiler does not know.
    pub fn prepare() -> Result<Self> {
        Ok(Self {
            absent: compile(ABSENT.iter().map(|call| (*call, Vec::new())).collect(), libc::ENOSYS)?,
            common: guard_x32(compile(common()?, libc::EPERM)?),
            no_network: compile(sockets_only(&[libc::AF_UNIX])?, libc::EPERM)?,
            network: compile(
                sockets_only(&[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK])?,
                libc::EPERM,
            )?,
            no_unix_connect: compile(unix_connect()?, libc::EPERM)?,
        })
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
    let mut rules: Rules = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let namespaces = NAMESPACE_FLAGS
        .iter()
        .map(|flag| one(0, Len::Qword, Op::MaskedEq(*flag as u64), *flag as u64))
        .collect::<Result<_>>()?;
    rules.insert(libc::SYS_clone, namespaces);
    // Pushing characters into a terminal's input is how a command would leave an interactive parent's sandbox.
    rules.insert(libc::SYS_ioctl, vec![one(1, Len::Dword, Op::Eq, TIOCSTI)?]);
    Ok(rules)
}

/// Refuses `socket` for any family but these. `socketpair` makes only connected local pairs.
fn sockets_only(families: &[i32]) -> Result<Rules> {
    let conditions = families
        .iter()
        .map(|family| Ok(Condition::new(0, Len::Dword, Op::Ne, *family as u64)?))
        .collect::<Result<_>>()?;
    Ok(Rules::from([(libc::SYS_socket, vec![Rule::new(conditions)?])]))
}

/// Refuses to reach a local daemon (container engines, D-Bus, agents): connecting, or datagrams, which need no connection.
fn unix_connect() -> Result<Rules> {
    let datagram = one(1, Len::Dword, Op::MaskedEq(0xf), libc::SOCK_DGRAM as u64)?;
    Ok(Rules::from([(libc::SYS_connect, Vec::new()), (libc::SYS_socket, vec![datagram])]))
}

fn one(argument: u8, length: Len, operator: Op, value: u64) -> Result<Rule> {
    Ok(Rule::new(vec![Condition::new(argument, length, operator, value)?])?)
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
