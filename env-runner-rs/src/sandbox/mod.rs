//! Running one command so that it can neither escape, nor stay, nor take more than its share.
//!
//! `zygote` forks a `supervisor` per execution, which forks the command's process (`child`). That one
//! applies the rungs (`rlimits`, `capabilities`, `landlock`, `seccomp`) to itself and executes. The
//! supervisor watches and kills the `tree`. [`Sandbox`] is the runner's side: pipes, `output`, verdict.

mod capabilities;
mod cgroup;
mod child;
mod descriptors;
mod headcount;
mod landlock;
mod output;
mod pids_cgroup;
mod reach;
mod rlimits;
mod seccomp;
mod shared_memory;
mod supervisor;
mod tree;
mod unix_sockets;
mod visible;
pub mod wire;
mod zygote;

pub use cgroup::{memory_limit_bytes, own_directories};
pub use output::{Captured, Live};
pub use unix_sockets::foreign_sockets;
pub use visible::Visible;
pub use zygote::Zygote;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

use supervisor::KILL_DEADLINE;
use wire::{Spec, Verdict};
use zygote::Ticket;

/// Names of the rungs, as replies show them.
pub mod rung {
    pub const PROCESS_TREE: &str = "process_tree";
    pub const RLIMITS: &str = "rlimits";
    /// The kernel bounds the processes of the command's user id on the node.
    pub const RLIMIT_NPROC: &str = "rlimit_nproc";
    /// The kernel bounds the processes of the command.
    pub const PIDS_CGROUP: &str = "pids_cgroup";
    pub const CAPABILITIES: &str = "capabilities";
    pub const NO_NEW_PRIVS: &str = "no_new_privs";
    pub const LANDLOCK: &str = "landlock";
    /// Signals stay within the command.
    pub const SIGNAL_SCOPE: &str = "signal_scope";
    /// Instead of `signal_scope` before Linux 6.12: none to the runner, the zygote, the supervisor, nor to all at once.
    pub const SIGNAL_GUARD: &str = "signal_guard";
    pub const SECCOMP: &str = "seccomp";
    pub const NO_NETWORK: &str = "no_network";
    pub const NO_UNIX_CONNECT: &str = "no_unix_connect";
}

/// Once the tree is dead its pipes are closed, unless a descriptor was smuggled to another command.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// A supervisor kills at the timeout and is done [`KILL_DEADLINE`] later; with this much more it is given up.
const ANSWER_GRACE: Duration = KILL_DEADLINE.saturating_add(Duration::from_secs(5));

/// What goes into a command and how much of what comes out is kept.
#[derive(Debug)]
pub struct Streams {
    /// None: `/dev/null`.
    pub stdin: Option<Vec<u8>>,
    /// Kept of each output stream, head and tail.
    pub keep_bytes: usize,
    /// Also pass output through to our own streams as it comes.
    pub live: bool,
}

/// A verdict with what the command printed.
#[derive(Debug)]
pub struct Execution {
    pub verdict: Verdict,
    pub stdout: Captured,
    pub stderr: Captured,
}

/// Runs commands; cheap to share.
#[derive(Debug)]
pub struct Sandbox {
    zygote: Zygote,
}

impl Sandbox {
    pub fn new(zygote: Zygote) -> Self {
        Self { zygote }
    }

    /// Can commands be started at all?
    pub fn is_alive(&self) -> bool {
        self.zygote.is_alive()
    }

    /// Resolves when no command can be started any more, whatever killed the zygote.
    ///
    /// # Errors
    /// When the zygote cannot be watched. Call within a runtime.
    pub fn lost(&self) -> io::Result<impl Future<Output = io::Result<()>> + use<>> {
        // SAFETY: an `OwnedFd` names one open description until it is dropped.
        let watched = unsafe { AsyncFd::register_with_interest(self.zygote.obituary()?, Interest::READABLE) }?;
        Ok(async move { watched.readable().await.map(|_| ()) })
    }

    /// Runs one command to its end. Cancelling `cancel` kills its whole tree; await the return all the
    /// same, as it tells when the tree is dead.
    ///
    /// # Errors
    /// Our own failures only: no descriptors left, the zygote or the supervisor gone.
    pub async fn execute(&self, spec: &Spec, streams: Streams, cancel: &CancellationToken) -> io::Result<Execution> {
        let (stdin, feed) = input(streams.stdin.is_some())?;
        let (stdout_writer, stdout_reader) = pipe::pipe()?;
        let (stderr_writer, stderr_reader) = pipe::pipe()?;
        let stdio = [stdin, stdout_writer.into_blocking_fd()?, stderr_writer.into_blocking_fd()?];
        let (control, ticket) = self.zygote.fork_supervisor(stdio)?;
        control.set_nonblocking(true)?;
        let control = UnixStream::from_std(control)?;

        let mut stdout = Captured::new(streams.keep_bytes);
        let mut stderr = Captured::new(streams.keep_bytes);
        let verdict = {
            let (live_out, live_err) =
                if streams.live { (Live::Stdout, Live::Stderr) } else { (Live::None, Live::None) };
            let drained = async {
                tokio::join!(
                    output::drain(stdout_reader, &mut stdout, live_out),
                    output::drain(stderr_reader, &mut stderr, live_err),
                )
            };
            let mut drained = pin!(drained.fuse());
            let mut fed = pin!(write_input(feed, streams.stdin).fuse());
            let mut verdict = pin!(self.answer(control, ticket, spec, cancel));
            let verdict = loop {
                tokio::select! {
                    verdict = &mut verdict => break verdict,
                    (out, err) = &mut drained, if !drained.is_terminated() => { out?; err?; }
                    () = &mut fed, if !fed.is_terminated() => {}
                }
            }?;
            if !drained.is_terminated()
                && let Ok((out, err)) = tokio::time::timeout(DRAIN_GRACE, drained).await
            {
                out?;
                err?;
            }
            verdict
        };
        Ok(Execution { verdict, stdout, stderr })
    }

    /// The supervisor's verdict; one that gives none in time is killed with its tree.
    async fn answer(
        &self,
        mut control: UnixStream,
        ticket: Ticket,
        spec: &Spec,
        cancel: &CancellationToken,
    ) -> io::Result<Verdict> {
        let patience = Duration::from_millis(spec.timeout_ms).saturating_add(ANSWER_GRACE);
        let answer = tokio::time::timeout(patience, converse(&mut control, spec, cancel)).await;
        match answer.unwrap_or_else(|elapsed| Err(elapsed.into())) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            answer => return answer,
        }
        self.zygote.kill_supervisor(ticket)?;
        // Its end of the socket closes with its death.
        let _ended = tokio::time::timeout(KILL_DEADLINE, control.readable()).await;
        Err(io::Error::new(io::ErrorKind::TimedOut, "a supervisor gave no answer in time; it was killed with its tree"))
    }
}

fn input(wanted: bool) -> io::Result<(OwnedFd, Option<pipe::Sender>)> {
    if !wanted {
        return Ok((File::open("/dev/null")?.into(), None));
    }
    let (sender, receiver) = pipe::pipe()?;
    Ok((receiver.into_blocking_fd()?, Some(sender)))
}

async fn write_input(feed: Option<pipe::Sender>, bytes: Option<Vec<u8>>) {
    if let (Some(mut feed), Some(bytes)) = (feed, bytes) {
        // A command need not read what it is given: a closed pipe is its choice.
        let _unread = feed.write_all(&bytes).await;
    }
}

/// Sends the spec, passes a cancellation on, returns the verdict; `TimedOut` when none follows a cancellation.
async fn converse(control: &mut UnixStream, spec: &Spec, cancel: &CancellationToken) -> io::Result<Verdict> {
    control.write_all(&wire::encode(spec)?).await?;
    let (mut reader, mut writer) = control.split();
    let mut answer = pin!(read_verdict(&mut reader));
    tokio::select! {
        verdict = &mut answer => return verdict,
        () = cancel.cancelled() => {}
    }
    // An error here means that the supervisor is answering already.
    let _answering = writer.shutdown().await;
    tokio::time::timeout(ANSWER_GRACE, answer).await?
}

async fn read_verdict(reader: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Verdict> {
    let mut head = [0; 4];
    reader.read_exact(&mut head).await.map_err(|error| {
        io::Error::new(error.kind(), "the supervisor ended without an answer; it may have been killed for memory")
    })?;
    let mut body = vec![0; wire::frame_length(head)?];
    reader.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}
