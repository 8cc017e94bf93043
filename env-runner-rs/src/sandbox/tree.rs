//! Finding and killing every descendant of a process, without PID namespaces or cgroups.
//!
//! A supervisor is a subreaper, so a process that calls `setsid` or forks twice stays its descendant
//! until it dies. Numbers could in theory be reused between reading and killing; the kernel hands them
//! out in a circle, so that would take a full turn of `pid_max` within microseconds.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::io;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::shared_memory;

/// What a tree holds at one moment.
#[derive(Debug, Default, Clone, Copy)]
pub struct Census {
    /// Processes and their threads.
    pub tasks: u64,
    /// Private memory, summed. Pages shared after a fork count once per process: an upper bound.
    pub private_bytes: u64,
}

/// Threads of the calling process.
pub fn thread_count() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Living descendants of the calling process, each passed to `visit` before its children are looked up;
/// ends early once more than `enough` are found.
fn descendants(enough: usize, visit: impl Fn(i32)) -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let by_parent = (!has_children_files(own)).then(parents);
    let mut found = Vec::new();
    let mut seen = HashSet::from([own]);
    let mut queue = VecDeque::from([own]);
    while let Some(pid) = queue.pop_front() {
        let children = match &by_parent {
            Some(map) => map.get(&pid).cloned().unwrap_or_default(),
            None => children_of(pid),
        };
        for child in children {
            if seen.insert(child) {
                visit(child);
                found.push(child);
                queue.push_back(child);
            }
        }
        if found.len() > enough {
            break;
        }
    }
    found
}

/// Kills every descendant that exists now; one that forks meanwhile is for the next call.
///
/// Each is stopped before its children are read, so a fork bomb shrinks while it is being counted:
/// otherwise it would grow faster than a busy machine lets us walk it.
pub fn kill_descendants() {
    for pid in descendants(usize::MAX, |pid| signal(pid, Signal::SIGSTOP)) {
        signal(pid, Signal::SIGKILL);
    }
}

/// Kills a process group at once, under the kernel's lock: no member can fork its way out.
pub fn kill_group(leader: Pid) {
    // The only expected failure is that all of it is dead already.
    let _gone = killpg(leader, Signal::SIGKILL);
}

/// Kills the caller's direct children but those to `keep`.
pub fn kill_children_except(keep: impl Fn(Pid) -> bool) {
    for pid in children_of(std::process::id().cast_signed()) {
        if !keep(Pid::from_raw(pid)) {
            signal(pid, Signal::SIGKILL);
        }
    }
}

/// Counts the tree under the calling process, without details once there are more than `enough` processes.
pub fn census(enough: u64) -> Census {
    let found = descendants(usize::try_from(enough).unwrap_or(usize::MAX), |_| {});
    if found.len() as u64 > enough {
        // No time for details: it is growing while we look.
        return Census { tasks: found.len() as u64, private_bytes: 0 };
    }
    let mut census = Census::default();
    for pid in found {
        census.tasks += task_ids(pid).len().max(1) as u64;
        census.private_bytes += private_bytes(pid);
    }
    census
}

/// Memory of a tree, looked at closely.
#[derive(Debug, Default, Clone, Copy)]
pub struct Memory {
    /// Every page that several processes use divided among them.
    proportional_bytes: u64,
    /// Shared memory: mapped, or held as files that exist in memory only, whichever is more.
    pub shared_bytes: u64,
}

impl Memory {
    pub fn total_bytes(&self) -> u64 {
        self.proportional_bytes + self.shared_bytes
    }
}

/// The memory of the tree under the calling process; slow for large processes.
pub fn memory() -> Memory {
    let tree = descendants(usize::MAX, |_| {});
    let mut memory = Memory::default();
    for pid in &tree {
        let (proportional, mapped) = proportional_of(*pid);
        memory.proportional_bytes += proportional.saturating_sub(mapped);
        memory.shared_bytes += mapped;
    }
    memory.shared_bytes = memory.shared_bytes.max(shared_memory::held_as_files(&tree));
    memory
}

fn signal(pid: i32, signal: Signal) {
    // The only expected failure is that it is dead already.
    let _gone = kill(Pid::from_raw(pid), signal);
}

fn task_ids(pid: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new(); // it ended meanwhile
    };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn has_children_files(pid: i32) -> bool {
    fs::metadata(format!("/proc/{pid}/task/{pid}/children")).is_ok()
}

/// Children are listed under the thread that forked them.
fn children_of(pid: i32) -> Vec<i32> {
    task_ids(pid)
        .into_iter()
        .filter_map(|task| fs::read_to_string(format!("/proc/{pid}/task/{task}/children")).ok())
        .flat_map(|line| line.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Parent → children over the whole of /proc, for kernels without `children` files.
fn parents() -> HashMap<i32, Vec<i32>> {
    let mut map: HashMap<i32, Vec<i32>> = HashMap::new();
    let Ok(entries) = fs::read_dir("/proc") else {
        return map;
    };
    for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        if let Some(parent) = parent_of(pid) {
            map.entry(parent).or_default().push(pid);
        }
    }
    map
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, parentheses too; the fields begin after the last one.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// Resident memory of one process without what it maps from files; zero when it is gone.
fn private_bytes(pid: i32) -> u64 {
    let Ok(statm) = fs::read_to_string(format!("/proc/{pid}/statm")) else {
        return 0;
    };
    let mut fields = statm.split_whitespace().skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
    let page = rustix::param::page_size() as u64;
    resident.saturating_sub(shared) * page
}

/// (all of a process's memory, the part that is shared memory), pages with other users divided among them.
fn proportional_of(pid: i32) -> (u64, u64) {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let bytes = |field: &str| {
        let kib =
            rollup.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix("kB")?.trim().parse().ok());
        kib.map(|kib: u64| kib * 1024)
    };
    // A process that forbids to be looked at is counted by what it cannot hide.
    (bytes("Pss:").unwrap_or_else(|| private_bytes(pid)), bytes("Pss_Shmem:").unwrap_or(0))
}
