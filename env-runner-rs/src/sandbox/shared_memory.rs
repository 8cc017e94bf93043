//! Memory that is no process's own: shared pages and files that exist in memory only (memfd).
//!
//! Nothing counts it by process tree, and a memfd need not even be mapped. So the machine's sum, cheap to
//! read, raises the suspicion, and the tree's descriptors are looked through only then.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Of `st_blocks`, whatever the file system's own.
const BLOCK_BYTES: u64 = 512;

/// How much of the machine's shared memory may be one tree's.
#[derive(Debug)]
pub struct SharedMemory {
    others: u64,
}

impl SharedMemory {
    /// Call before the command is started.
    pub fn new() -> Self {
        Self { others: machine_bytes() }
    }

    /// An upper bound for the tree, but for what others gave back meanwhile.
    pub fn suspected_bytes(&self) -> u64 {
        machine_bytes().saturating_sub(self.others)
    }

    /// Learns from a close look at the tree how much is others'.
    pub fn acquit(&mut self, own: u64) {
        self.others = machine_bytes().saturating_sub(own);
    }
}

/// Bytes of all files in memory that these processes hold open, each counted once.
pub fn held_as_files(pids: &[i32]) -> u64 {
    let mut files = HashMap::new();
    for pid in pids {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let in_memory =
                fs::read_link(&path).is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"));
            if in_memory && let Ok(meta) = fs::metadata(&path) {
                files.insert((meta.dev(), meta.ino()), meta.blocks() * BLOCK_BYTES);
            }
        }
    }
    files.into_values().sum()
}

/// Zero where the kernel does not tell.
fn machine_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        text.lines().find_map(|line| line.strip_prefix("Shmem:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
