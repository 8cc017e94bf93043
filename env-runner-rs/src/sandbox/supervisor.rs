//! One per execution: starts the command, watches its tree, kills the tree, answers with a verdict.
//!
//! It is the subreaper of everything the command starts, so nothing outlives it unseen. It runs
//! outside the sandbox and is told to stop by the runner closing the control socket.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::time::TimeValLike;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2};

use super::cgroup::OomCounter;
use super::child::{self, StartReport};
use super::headcount::Headcount;
use super::pids_cgroup::PidsCgroup;
use super::reach::Reach;
use super::seccomp::Filters;
use super::shared_memory::SharedMemory;
use super::tree;
use super::wire::{Finished, Spec, Stop, Usage, Verdict, read_frame, write_frame};
use super::zygote::{SIGNALFD_FLAGS, Stdio, sigchld};

/// How often the tree is walked: often at first, where most goes wrong, then less.
const SAMPLE_YOUNG: Duration = Duration::from_millis(10);
const SAMPLE_OLD: Duration = Duration::from_millis(50);
/// How often the cheap count is read, which calls for a walk at once.
const GLANCE_YOUNG: Duration = Duration::from_millis(2);
const GLANCE_OLD: Duration = Duration::from_millis(20);
const YOUNG: Duration = Duration::from_secs(2);
/// A tree that outlives its SIGKILL for this long is stuck in the kernel.
pub(super) const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// SIGCHLD as a descriptor, blocked for ordinary delivery.
pub(super) fn child_signals() -> io::Result<SignalFd> {
    sigchld().thread_block()?;
    Ok(SignalFd::with_flags(&sigchld(), SIGNALFD_FLAGS)?)
}

/// The supervisor's life; never returns to the zygote's code.
pub(super) fn run(stdio: Stdio, control: UnixStream, filters: &Filters) -> ! {
    let (verdict, code) = match supervise(stdio, &control, filters) {
        Ok(verdict) => (verdict, 0),
        Err(error) => {
            tree::kill_descendants();
            // The code has the zygote kill what is still there or was forked meanwhile.
            (Verdict::Failed { message: error.to_string() }, 1)
        }
    };
    // The runner may have gone away: then nobody is left to tell.
    let _told = write_frame(&control, &verdict);
    std::process::exit(code)
}

fn supervise(stdio: Stdio, control: &UnixStream, filters: &Filters) -> io::Result<Verdict> {
    prctl::set_name(c"env-runner-sup")?;
    prctl::set_child_subreaper(true)?;
    let signals = child_signals()?;
    let spec: Spec = read_frame(control)?;
    let oom = OomCounter::open();
    // Declared before the watch: it can be removed only once the tree is gone.
    let cgroup = PidsCgroup::create(spec.limits.processes);
    let headcount = Headcount::new(cgroup.as_ref(), spec.limits.processes);
    let shared_memory = SharedMemory::new();
    let reach = Reach::narrow(spec.owns_namespace, spec.max_landlock_abi);
    let started = Instant::now();
    let (report, main) = start(&spec, cgroup.as_ref(), stdio, filters)?;
    let mut watch = Watch {
        spec: &spec,
        control,
        signals: &signals,
        main,
        status: None,
        started,
        peak_bytes: 0,
        headcount,
        shared_memory,
        reach,
    };
    let isolation = match StartReport::read(report)? {
        StartReport::Started(isolation) => isolation,
        StartReport::CannotStart(message) => {
            watch.kill_all()?;
            return Ok(Verdict::CannotStart { message });
        }
        StartReport::Unisolated(missing) => {
            watch.kill_all()?;
            return Ok(Verdict::Unisolated { missing });
        }
    };
    let mut stopped = watch.until_end()?;
    watch.kill_all()?;
    let (exit_code, signal) = outcome(watch.status);
    // A shell reports the killed child that it waited for as 128 + SIGKILL.
    let killed = signal == Some(libc::SIGKILL) || exit_code == Some(128 + libc::SIGKILL);
    if stopped.is_none() && killed && oom.has_grown() {
        stopped = Some(Stop::KernelOom);
    }
    let usage = watch.usage()?;
    Ok(Verdict::Finished(Finished { exit_code, signal, stopped, usage, isolation }))
}

/// Forks the command; returns the pipe on which it reports how far it came.
fn start(spec: &Spec, cgroup: Option<&PidsCgroup>, stdio: Stdio, filters: &Filters) -> io::Result<(File, Pid)> {
    let (reader, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: a supervisor never starts a thread.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok((File::from(reader), child)),
        ForkResult::Child => {
            drop(reader);
            child::enter(spec, cgroup, &stdio, File::from(writer), filters)
        }
    }
}

fn outcome(status: Option<WaitStatus>) -> (Option<i32>, Option<i32>) {
    match status {
        Some(WaitStatus::Exited(_, code)) => (Some(code), None),
        Some(WaitStatus::Signaled(_, signal, _)) => (None, Some(signal as i32)),
        _ => (None, Some(Signal::SIGKILL as i32)),
    }
}

struct Watch<'a> {
    spec: &'a Spec,
    control: &'a UnixStream,
    signals: &'a SignalFd,
    main: Pid,
    status: Option<WaitStatus>,
    started: Instant,
    peak_bytes: u64,
    headcount: Headcount<'a>,
    shared_memory: SharedMemory,
    reach: Option<Reach>,
}

impl Watch<'_> {
    /// Waits for the main process, its deadline, a cancelled request or a broken limit.
    fn until_end(&mut self) -> io::Result<Option<Stop>> {
        let deadline = self.started + Duration::from_millis(self.spec.timeout_ms);
        let mut next_sample = self.started + SAMPLE_YOUNG;
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Ok(Some(Stop::TimedOut));
            }
            let young = now.duration_since(self.started) < YOUNG;
            let (pause, glance) = if young { (SAMPLE_YOUNG, GLANCE_YOUNG) } else { (SAMPLE_OLD, GLANCE_OLD) };
            let suspicious = self.headcount.is_suspicious();
            if suspicious || now >= next_sample {
                if let Some(stop) = if suspicious { self.sample_at_rest() } else { self.sample() } {
                    return Ok(Some(stop));
                }
                next_sample = Instant::now() + pause;
            }
            let wait = deadline.min(next_sample).saturating_duration_since(now).min(glance);
            let (child, cancelled) = self.poll(wait)?;
            if child {
                self.reap()?;
            }
            if self.status.is_some() {
                return Ok(None);
            }
            if cancelled {
                return Ok(Some(Stop::Cancelled));
            }
        }
    }

    /// (a child changed, the runner closed its end or spoke)
    fn poll(&self, wait: Duration) -> io::Result<(bool, bool)> {
        let mut events = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut events, timeout) {
            Ok(_) => Ok((events[0].any().unwrap_or(false), events[1].any().unwrap_or(false))),
            Err(Errno::EINTR) => Ok((false, false)),
            Err(error) => Err(error.into()),
        }
    }

    /// Samples while the tree stands still: a bomb would take the processor from us and grow meanwhile.
    fn sample_at_rest(&mut self) -> Option<Stop> {
        let Some(reach) = self.reach else { return self.sample() };
        reach.signal(Signal::SIGSTOP);
        let stop = self.sample();
        if stop.is_none() {
            reach.signal(Signal::SIGCONT);
        }
        stop
    }

    fn sample(&mut self) -> Option<Stop> {
        let limits = &self.spec.limits;
        let census = tree::census(limits.processes);
        self.peak_bytes = self.peak_bytes.max(census.private_bytes);
        if census.tasks > limits.processes {
            return Some(Stop::Processes);
        }
        self.headcount.acquit(census.tasks);
        // The sum counts pages shared after a fork several times, and shared memory may be others': a suspicion.
        if census.private_bytes.saturating_add(self.shared_memory.suspected_bytes()) > limits.memory_bytes {
            let memory = tree::memory();
            self.peak_bytes = self.peak_bytes.max(memory.total_bytes());
            if memory.total_bytes() > limits.memory_bytes {
                return Some(Stop::Memory);
            }
            self.shared_memory.acquit(memory.shared_bytes);
        }
        None
    }

    /// Collects every child that has ended; true while some are left.
    fn reap(&mut self) -> io::Result<bool> {
        while self.signals.read_signal()?.is_some() {}
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return Ok(true),
                Ok(status) => {
                    if status.pid() == Some(self.main) {
                        self.status = Some(status);
                    }
                }
                Err(Errno::ECHILD) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Kills until no descendant is left; a subreaper without children has no descendants.
    fn kill_all(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + KILL_DEADLINE;
        match self.reach {
            Some(reach) => reach.signal(Signal::SIGKILL),
            // Most trees are one group: gone in one call. The number cannot be another's yet.
            None => tree::kill_group(self.main),
        }
        while self.reap()? {
            if Instant::now() >= deadline {
                return Err(io::Error::other("processes of the command do not die"));
            }
            tree::kill_descendants();
            self.poll_children(Duration::from_millis(5))?;
        }
        Ok(())
    }

    fn poll_children(&self, wait: Duration) -> io::Result<()> {
        let mut events = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut events, PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn usage(&self) -> io::Result<Usage> {
        let children = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let largest = u64::try_from(children.max_rss()).unwrap_or(0) * 1024;
        let millis = |time: nix::sys::time::TimeVal| u64::try_from(time.num_milliseconds()).unwrap_or(0);
        Ok(Usage {
            wall_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            user_ms: millis(children.user_time()),
            system_ms: millis(children.system_time()),
            max_rss_bytes: largest.max(self.peak_bytes),
        })
    }
}

/// Reads to the end; the writer is the command's process before its `exec`.
pub(super) fn read_all(mut from: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes what it can; a report that is lost reads as an empty one, which is an error.
pub(super) fn write_best(mut to: &File, bytes: &[u8]) {
    let _lost = to.write_all(bytes);
}
