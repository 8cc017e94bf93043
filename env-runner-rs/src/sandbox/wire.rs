//! What the runner and a supervisor say to each other: one [`Spec`] in, one [`Verdict`] out.
//!
//! Frames are a little-endian `u32` length and JSON, on a stream socket made for one execution. The
//! runner closing its end is the order to kill: it also happens when the runner itself dies.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A frame larger than this is refused; argv and environment are capped well below it.
const MAX_FRAME_BYTES: usize = 16 << 20;

/// Everything a supervisor needs to run one command; paths are absolute unless said otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    pub action: Action,
    /// The complete environment of the command.
    pub env: Vec<(String, String)>,
    /// The tree that the command may change.
    pub workspace: PathBuf,
    /// Working directory, relative to `workspace`.
    pub cwd: PathBuf,
    /// Trees that the command may read and execute.
    pub readable: Vec<PathBuf>,
    /// Further trees that the command may change (its private temporary directory, for one).
    pub writable: Vec<PathBuf>,
    pub network: bool,
    /// May the command connect to Unix sockets that others serve?
    pub unix_connect: bool,
    /// Use no newer Landlock than this.
    pub max_landlock_abi: i32,
    pub timeout_ms: u64,
    pub limits: Limits,
    /// Is this process namespace there for this one command, so that everything else in it may be killed?
    pub owns_namespace: bool,
    /// Rungs without which the command must not start.
    pub require: Vec<String>,
}

/// What to do once every rung is applied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Action {
    Exec {
        argv: Vec<String>,
    },
    /// Exit at once: tells which rungs this machine really grants.
    Probe,
}

/// Bounds on one execution, counted over its whole process tree where the kernel lets us.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of the tree (private pages), watched.
    pub memory_bytes: u64,
    /// Processes and threads of the tree, watched.
    pub processes: u64,
    /// Processes and threads of the command's user id on the node (`RLIMIT_NPROC`).
    pub user_processes: u64,
    /// Largest file that may be written (`RLIMIT_FSIZE`).
    pub file_bytes: u64,
    /// Processor time of one process (`RLIMIT_CPU`); none without a limit of its own.
    pub cpu_seconds: Option<u64>,
    /// Open files of one process (`RLIMIT_NOFILE`).
    pub open_files: u64,
}

/// The supervisor's only answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Verdict {
    Finished(Finished),
    /// The request cannot work: no such program, no such directory.
    CannotStart {
        message: String,
    },
    /// Required rungs that this machine did not grant; the command was not started.
    Unisolated {
        missing: Vec<String>,
    },
    /// Our own failure.
    Failed {
        message: String,
    },
}

/// How a command that started came to its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finished {
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    /// Set when the tree was stopped by us or by the kernel's memory killer.
    pub stopped: Option<Stop>,
    pub usage: Usage,
    pub isolation: Vec<String>,
}

/// Why a tree was stopped before its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    TimedOut,
    Cancelled,
    /// The watched memory limit was passed.
    Memory,
    /// The watched limit of processes and threads was passed.
    Processes,
    /// The kernel's memory killer acted in our cgroup.
    KernelOom,
}

/// Resources of the whole tree.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    /// Time from start to the end of the last process.
    pub wall_ms: u64,
    /// Processor time in user mode.
    pub user_ms: u64,
    /// Processor time in the kernel.
    pub system_ms: u64,
    /// Peak memory: of the tree as sampled, or of its largest process, whichever is more.
    pub max_rss_bytes: u64,
}

/// Encodes one frame.
pub fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, value)?;
    let length = frame.len() - 4;
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "frame too large"));
    }
    frame[..4].copy_from_slice(&u32::try_from(length).map_err(io::Error::other)?.to_le_bytes());
    Ok(frame)
}

/// Writes one frame.
pub fn write_frame<T: Serialize>(mut to: impl Write, value: &T) -> io::Result<()> {
    to.write_all(&encode(value)?)
}

/// Reads one frame, blocking.
pub fn read_frame<T: DeserializeOwned>(mut from: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = frame_length(length)?;
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    serde_json::from_slice(&body).map_err(io::Error::from)
}

/// The checked length in a frame's head.
pub fn frame_length(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(head) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too large"));
    }
    Ok(length)
}
