//! A small process, forked before the runner has threads, that forks one supervisor per execution.
//!
//! Why a process of its own: forking it is cheap (it holds next to nothing), it is single-threaded, so
//! code after the fork may allocate, and it never saw the token. It parses nothing: a request is one
//! byte with four descriptors (stdin, stdout, stderr, the supervisor's control socket).

use std::collections::HashSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, setsid};

use super::wire::{Verdict, write_frame};
use super::{seccomp::Filters, supervisor, tree};

/// Standard input, output and error of a command.
pub type Stdio = [OwnedFd; 3];

/// The runner's handle on its zygote.
#[derive(Debug)]
pub struct Zygote {
    socket: OwnedFd,
}

impl Zygote {
    /// Forks the zygote.
    ///
    /// # Errors
    /// When the process has threads already, or the kernel refuses the fork or the socket.
    pub fn start() -> io::Result<Self> {
        if tree::thread_count()? != 1 {
            return Err(io::Error::other("the zygote must be forked before any thread starts"));
        }
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        // SAFETY: the process is single-threaded, as checked above.
        match unsafe { fork() }? {
            ForkResult::Parent { .. } => Ok(Self { socket: ours }),
            ForkResult::Child => {
                drop(ours);
                let code = match serve(&theirs) {
                    Ok(()) => 0,
                    Err(error) => {
                        eprintln!("env-runner: zygote: {error}");
                        1
                    }
                };
                std::process::exit(code)
            }
        }
    }

    /// Has a supervisor forked that holds `stdio`; returns the socket on which it awaits its `Spec`.
    ///
    /// # Errors
    /// When the zygote is gone or descriptors run out.
    pub fn fork_supervisor(&self, stdio: Stdio) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let descriptors = [stdio[0].as_raw_fd(), stdio[1].as_raw_fd(), stdio[2].as_raw_fd(), theirs.as_raw_fd()];
        sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&[0])],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        Ok(ours)
    }
}

/// The zygote's life: until the runner's end of the socket closes.
fn serve(socket: &OwnedFd) -> io::Result<()> {
    let children = prepare()?;
    let filters = Filters::prepare().map_err(io::Error::other)?;
    let mut supervisors = HashSet::new();
    loop {
        let mut events =
            [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(children.as_fd(), PollFlags::POLLIN)];
        match poll(&mut events, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let readable = |index: usize| events[index].any().unwrap_or(false);
        let (request, child) = (readable(0), readable(1));
        if child {
            bury(&children, &mut supervisors)?;
        }
        if request {
            match receive(socket)? {
                Some((stdio, control)) => {
                    supervisors.extend(fork_one(socket, &children, stdio, control, &filters));
                }
                None => return Ok(()),
            }
        }
    }
}

/// Own session (a terminal's Ctrl-C is for the runner), no dumps, orphans come here, SIGCHLD by descriptor.
fn prepare() -> io::Result<SignalFd> {
    setsid()?;
    prctl::set_name(c"env-runner-zyg")?;
    prctl::set_dumpable(false)?;
    prctl::set_child_subreaper(true)?;
    supervisor::child_signals()
}

/// The new supervisor, or none when the system has no room for it.
fn fork_one(
    socket: &OwnedFd,
    children: &SignalFd,
    stdio: Stdio,
    control: UnixStream,
    filters: &Filters,
) -> Option<Pid> {
    // SAFETY: the zygote never starts a thread.
    match unsafe { fork() } {
        Err(error) => {
            // No room for a process now, as while a bomb is being put out: this request fails, not the next.
            let message = format!("no process could be made for the command: {}", error.desc());
            let _untold = write_frame(&control, &Verdict::Failed { message });
            None
        }
        Ok(ForkResult::Parent { child }) => Some(child),
        Ok(ForkResult::Child) => {
            // Only the zygote may hold these, or its death would go unseen.
            for descriptor in [socket.as_raw_fd(), children.as_raw_fd()] {
                // SAFETY: this child never returns to the code that owns them.
                drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
            supervisor::run(stdio, control, filters)
        }
    }
}

/// One request, or none when the runner closed its end.
fn receive(socket: &OwnedFd) -> io::Result<Option<(Stdio, UnixStream)>> {
    let mut byte = [0];
    let mut iov = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([libc::c_int; 4]);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    if message.bytes == 0 {
        return Ok(None);
    }
    let mut received = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            // SAFETY: the kernel has just given us these descriptors; nobody else owns them.
            received.extend(descriptors.iter().map(|raw| unsafe { OwnedFd::from_raw_fd(*raw) }));
        }
    }
    let [stdin, stdout, stderr, control]: [OwnedFd; 4] =
        received.try_into().map_err(|_| io::Error::other("a request must carry four descriptors"))?;
    Ok(Some(([stdin, stdout, stderr], UnixStream::from(control))))
}

/// Reaps children; when a supervisor died by violence, kills what it left behind.
fn bury(children: &SignalFd, supervisors: &mut HashSet<Pid>) -> io::Result<()> {
    while children.read_signal()?.is_some() {}
    let mut orphaned = false;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
            Ok(status) => {
                if let Some(pid) = status.pid() {
                    let ours = supervisors.remove(&pid);
                    orphaned |= !ours || !matches!(status, WaitStatus::Exited(_, 0));
                }
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if orphaned {
        // Each kill brings the next generation here, and its death a new SIGCHLD.
        tree::kill_children_except(supervisors);
    }
    Ok(())
}

/// The set that holds only SIGCHLD.
pub(super) fn sigchld() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set
}

/// How the zygote and supervisors read SIGCHLD.
pub(super) const SIGNALFD_FLAGS: SfdFlags = SfdFlags::SFD_CLOEXEC.union(SfdFlags::SFD_NONBLOCK);
