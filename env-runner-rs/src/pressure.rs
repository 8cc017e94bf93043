//! How much work is waiting for this machine: the kernel's own word where it gives one.
//!
//! Pressure stall information tells the share of the last ten seconds in which some task waited for a processor,
//! or for memory. Ours is the container's; where that cannot be read, the node's.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use utoipa::ToSchema;

use crate::sandbox::own_directories;

/// Where a figure of pressure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The kernel, of this container.
    Cgroup,
    /// The kernel, of the whole machine.
    Node,
    /// Commands for each processor: the kernel tells nothing.
    Running,
}

/// Reads the pressure.
#[derive(Debug)]
pub struct Gauge {
    source: Source,
    /// Processors and, if it is told, memory.
    files: Vec<PathBuf>,
    processors: usize,
}

impl Gauge {
    /// Finds what this machine tells.
    pub fn discover() -> Self {
        let cgroup = own_directories("cpu")
            .into_iter()
            .map(|place| ["cpu.pressure", "memory.pressure"].map(|name| place.join(name)));
        let node = [["/proc/pressure/cpu", "/proc/pressure/memory"].map(PathBuf::from)];
        let places = cgroup.map(|files| (Source::Cgroup, files)).chain(node.map(|files| (Source::Node, files)));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        for (source, files) in places {
            if waiting(&files[0]).is_some() {
                let files = files.into_iter().filter(|file| waiting(file).is_some()).collect();
                return Self { source, files, processors };
            }
        }
        Self { source: Source::Running, files: Vec::new(), processors }
    }

    /// From 0, idle, to 1, saturated; above 1 only where commands are counted. `running`: commands.
    pub fn read(&self, running: usize) -> (f64, Source) {
        let worst = self.files.iter().filter_map(|file| waiting(file)).reduce(f64::max);
        match worst {
            Some(share) => (share, self.source),
            #[allow(clippy::cast_precision_loss)] // counts of commands and processors are small
            None => (running as f64 / self.processors as f64, Source::Running),
        }
    }
}

/// The share of the last ten seconds, 0 to 1, in which some task waited.
fn waiting(file: &Path) -> Option<f64> {
    share(&fs::read_to_string(file).ok()?)
}

fn share(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let percent = some.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?;
    percent.parse::<f64>().ok().map(|percent| percent / 100.0)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Gauge, Source, share};

    #[test]
    fn the_kernels_text_is_read() {
        let text =
            "some avg10=12.50 avg60=0.69 avg300=2.90 total=7465\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(share(text), Some(0.125));
        for odd in ["", "full avg10=1.00\n", "some avg60=1.00\n", "some avg10=x\n"] {
            assert_eq!(share(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_worst_counts_and_without_the_kernels_word_commands_do() {
        let home = tempfile::tempdir().unwrap();
        let file = |name: &str, percent: &str| -> PathBuf {
            let path = home.path().join(name);
            std::fs::write(&path, format!("some avg10={percent} avg60=0 avg300=0 total=0\n")).unwrap();
            path
        };
        let files = vec![file("cpu", "10.00"), file("memory", "40.00")];
        let gauge = Gauge { source: Source::Cgroup, files, processors: 2 };
        assert_eq!(gauge.read(1), (0.4, Source::Cgroup));
        drop(home);
        assert_eq!(gauge.read(3), (1.5, Source::Running));
    }
}
