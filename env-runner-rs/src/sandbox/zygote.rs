//! A small process, forked before the runner has threads, that forks one supervisor per execution.
//!
//! Why a process of its own: forking it is cheap (it holds next to nothing), it is single-threaded, so
//! code after the fork may allocate, and it never saw the token. It parses next to nothing: an order is
//! the number of an execution, eight bytes. With four descriptors (stdin, stdout, stderr, the supervisor's
//! control socket) it asks for a supervisor, without any for that supervisor's death.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, setsid};

use super::wire::{Verdict, write_frame};
use super::{descriptors, seccomp::Filters, supervisor, tree};

/// Standard input, output and error of a command.
pub type Stdio = [OwnedFd; 3];

/// The runner's handle on its zygote.
#[derive(Debug)]
pub struct Zygote {
    socket: OwnedFd,
    next: AtomicU64,
}

/// Names one supervisor to the zygote, which knows its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

impl Zygote {
    /// Forks the zygote.
    ///
    /// # Errors
    /// When the process has threads already, or the kernel refuses the fork or the socket.
    pub fn start() -> io::Result<Self> {
        // What our own parent left open is not for commands.
        descriptors::close_on_exec()?;
        if tree::thread_count()? != 1 {
            return Err(io::Error::other("the zygote must be forked before any thread starts"));
        }
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        // SAFETY: the process is single-threaded, as checked above.
        match unsafe { fork() }? {
            ForkResult::Parent { .. } => Ok(Self { socket: ours, next: AtomicU64::new(0) }),
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
    pub fn fork_supervisor(&self, stdio: Stdio) -> io::Result<(UnixStream, Ticket)> {
        let (ours, theirs) = UnixStream::pair()?;
        let ticket = Ticket(self.next.fetch_add(1, Ordering::Relaxed));
        let descriptors = [stdio[0].as_raw_fd(), stdio[1].as_raw_fd(), stdio[2].as_raw_fd(), theirs.as_raw_fd()];
        self.order(ticket, &[ControlMessage::ScmRights(&descriptors)])?;
        Ok((ours, ticket))
    }

    /// Has a supervisor that no longer answers killed, and everything it started.
    ///
    /// # Errors
    /// When the zygote is gone.
    pub fn kill_supervisor(&self, ticket: Ticket) -> io::Result<()> {
        self.order(ticket, &[])
    }

    /// Is the zygote there? Without it nothing can be started, and it cannot be had again.
    pub fn is_alive(&self) -> bool {
        // It never speaks: the only event is the end of the connection.
        let mut events = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut events, PollTimeout::ZERO), Ok(0) | Err(Errno::EINTR))
    }

    /// A descriptor that turns readable when the zygote has gone.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn obituary(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    fn order(&self, ticket: Ticket, attached: &[ControlMessage<'_>]) -> io::Result<()> {
        let number = ticket.0.to_le_bytes();
        let words = [IoSlice::new(&number)];
        sendmsg::<()>(self.socket.as_raw_fd(), &words, attached, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }
}

/// The zygote's life: until the runner's end of the socket closes.
fn serve(socket: &OwnedFd) -> io::Result<()> {
    let children = prepare()?;
    let filters = Filters::prepare().map_err(io::Error::other)?;
    let mut supervisors = HashMap::new();
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
                Order::Fork(ticket, stdio, control) => {
                    let forked = fork_one(socket, &children, stdio, control, &filters);
                    supervisors.extend(forked.map(|pid| (pid, ticket)));
                }
                Order::Kill(ticket) => kill_one(&supervisors, ticket),
                Order::End => return Ok(()),
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

/// What the runner wants.
enum Order {
    Fork(Ticket, Stdio, UnixStream),
    Kill(Ticket),
    /// It closed its end.
    End,
}

fn receive(socket: &OwnedFd) -> io::Result<Order> {
    let mut number = [0; 8];
    let mut iov = [IoSliceMut::new(&mut number)];
    let mut space = nix::cmsg_space!([libc::c_int; 4]);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    if message.bytes == 0 {
        return Ok(Order::End);
    }
    let mut received = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            // SAFETY: the kernel has just given us these descriptors; nobody else owns them.
            received.extend(descriptors.iter().map(|raw| unsafe { OwnedFd::from_raw_fd(*raw) }));
        }
    }
    let ticket = Ticket(u64::from_le_bytes(number));
    if received.is_empty() {
        return Ok(Order::Kill(ticket));
    }
    let [stdin, stdout, stderr, control]: [OwnedFd; 4] =
        received.try_into().map_err(|_| io::Error::other("a request must carry four descriptors"))?;
    Ok(Order::Fork(ticket, [stdin, stdout, stderr], UnixStream::from(control)))
}

/// Kills a supervisor that has not been reaped, so that its number cannot be another's; `bury` sees to its tree.
fn kill_one(supervisors: &HashMap<Pid, Ticket>, wanted: Ticket) {
    for (pid, _) in supervisors.iter().filter(|(_, ticket)| **ticket == wanted) {
        // The only expected failure is that it is dead already.
        let _gone = kill(*pid, Signal::SIGKILL);
    }
}

/// Reaps children; when a supervisor failed or died by violence, kills what it left behind.
fn bury(children: &SignalFd, supervisors: &mut HashMap<Pid, Ticket>) -> io::Result<()> {
    while children.read_signal()?.is_some() {}
    let mut orphaned = false;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
            Ok(status) => {
                if let Some(pid) = status.pid() {
                    let ours = supervisors.remove(&pid).is_some();
                    orphaned |= !ours || !matches!(status, WaitStatus::Exited(_, 0));
                }
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if orphaned {
        // Each kill brings the next generation here, and its death a new SIGCHLD.
        tree::kill_children_except(|pid| supervisors.contains_key(&pid));
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
