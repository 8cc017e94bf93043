//! What the cgroup around us says about memory: its limit, and how often the kernel killed for it.

use std::fs;
use std::path::PathBuf;

/// Counts kills by the kernel's memory killer in our cgroup; versions 1 and 2.
#[derive(Debug)]
pub struct OomCounter {
    file: Option<PathBuf>,
    before: u64,
}

impl OomCounter {
    /// Remembers the present count; a machine without the file never reports growth.
    pub fn open() -> Self {
        let file = find(&["memory.events", "memory.oom_control"]);
        let before = file.as_ref().map_or(0, count);
        Self { file, before }
    }

    pub fn has_grown(&self) -> bool {
        self.file.as_ref().is_some_and(|file| count(file) > self.before)
    }
}

/// The cgroup's memory limit in bytes, if it has one.
pub fn memory_limit_bytes() -> Option<u64> {
    let file = find(&["memory.max", "memory.limit_in_bytes"])?;
    let limit: u64 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    // Version 1 writes "no limit" as a number near 2^63.
    (limit < 1 << 60).then_some(limit)
}

fn count(file: &PathBuf) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

/// The first of `names` that exists in our cgroup: `[version 2, version 1]`.
fn find(names: &[&str; 2]) -> Option<PathBuf> {
    let places = own_directories("memory");
    places.iter().flat_map(|place| [place.join(names[1]), place.join(names[0])]).find(|file| file.exists())
}

/// Where our own cgroup may be mounted: that of a version 1 `controller` first, then version 2.
pub fn own_directories(controller: &str) -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path_of = |wanted: &str| {
        own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            let path = fields.next()?;
            (controllers.split(',').any(|name| name == wanted)).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let mut places = Vec::new();
    // Inside a container the path is often the host's, while the mount shows our own cgroup as its root.
    for (name, mount) in [(controller, format!("/sys/fs/cgroup/{controller}")), ("", "/sys/fs/cgroup".to_owned())] {
        if let Some(path) = path_of(name) {
            let mount = PathBuf::from(mount);
            places.push(mount.join(path));
            places.push(mount);
        }
    }
    places.retain(|place| place.join("cgroup.procs").exists());
    places
}
