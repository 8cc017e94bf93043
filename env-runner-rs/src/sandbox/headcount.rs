//! Cheap evidence that a tree may have passed its process limit, fit to be looked at every few milliseconds.
//!
//! Walking a tree takes longer the more processes compete for the processor, and a fork bomb doubles
//! meanwhile. So the walk must begin early, and what tells when must cost the same for any tree.

use std::fs;

use super::pids_cgroup::PidsCgroup;

/// Others' processes come and go: fewer than this on the whole machine are no evidence.
const NOISE: u64 = 256;

/// Counts the command's cgroup or, lacking one, the whole machine against what it held before.
#[derive(Debug)]
pub struct Headcount<'a> {
    cgroup: Option<&'a PidsCgroup>,
    limit: u64,
    others: u64,
}

impl<'a> Headcount<'a> {
    /// Call before the command is started.
    pub fn new(cgroup: Option<&'a PidsCgroup>, limit: u64) -> Self {
        Self { cgroup, limit, others: machine_tasks().unwrap_or(u64::MAX) }
    }

    /// May the tree hold more than its limit? Others' growth can make this wrong, never a bomb's.
    pub fn is_suspicious(&self) -> bool {
        match self.cgroup.and_then(PidsCgroup::tasks) {
            Some(tasks) => tasks > self.limit,
            None => machine_tasks().is_some_and(|tasks| tasks.saturating_sub(self.others) > self.limit.max(NOISE)),
        }
    }

    /// Learns from a real count of the tree how many tasks are others'.
    pub fn acquit(&mut self, own: u64) {
        if let Some(tasks) = machine_tasks() {
            self.others = tasks.saturating_sub(own);
        }
    }
}

/// Processes and threads of the whole machine, also when read inside a PID namespace.
fn machine_tasks() -> Option<u64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Headcount, machine_tasks};

    #[test]
    fn small_growth_is_no_evidence() {
        let now = machine_tasks().unwrap();
        assert!(now > 0);
        let mut count = Headcount { cgroup: None, limit: 1 << 20, others: now };
        assert!(!count.is_suspicious());
        count.acquit(1 << 21);
        assert_eq!(count.others, 0, "a count never falls below none");
    }
}
