//! The state of a tree as stamps, to tell later what changed without reading contents.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cap_std::fs::{Dir, Metadata, MetadataExt};
use rustix::time::{ClockId, clock_gettime};

use crate::files::{Kind, Limits, walk};

/// What the kernel says about one entry. `changed` is the inode's change time: every write, truncation,
/// rename or change of mode moves it, and no call sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    pub kind: Kind,
    pub mode: u32,
    pub size: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub fn of(kind: Kind, meta: &Metadata) -> Self {
        // A directory's own times and size move with its entries, which have stamps of their own.
        let directory = kind == Kind::Directory;
        let (modified, changed) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        Self {
            kind,
            mode: meta.mode() & 0o7777,
            size: if directory { 0 } else { meta.size() },
            inode: meta.ino(),
            modified: if directory { (0, 0) } else { modified },
            changed: if directory { (0, 0) } else { changed },
        }
    }
}

/// Stamps of a whole tree by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest(pub BTreeMap<PathBuf, Stamp>);

impl Manifest {
    /// Reads every stamp below `root`. Returns only once a later change must show: the kernel's clock
    /// for files ticks every few milliseconds, and two changes within a tick may look like one.
    ///
    /// # Errors
    /// What the file system says; `FileTooLarge` past the bounds.
    pub fn read(root: &Dir, limits: Limits) -> io::Result<Self> {
        let mut stamps = BTreeMap::new();
        walk(root, limits, |entry| {
            stamps.insert(entry.path.clone(), Stamp::of(entry.kind, &entry.meta));
            Ok(true)
        })?;
        let manifest = Self(stamps);
        manifest.await_next_tick();
        Ok(manifest)
    }

    /// Has `path` the same stamp here and in `other`?
    pub fn agrees(&self, other: &Self, path: &Path) -> bool {
        matches!((self.0.get(path), other.0.get(path)), (Some(one), Some(two)) if one == two)
    }

    fn await_next_tick(&self) {
        let latest = self.0.values().map(|stamp| stamp.changed).max().unwrap_or((0, 0));
        // A file system with a clock of its own (or one set back) must not hold us for long.
        for _ in 0..20 {
            let now = clock_gettime(ClockId::RealtimeCoarse);
            if (now.tv_sec, now.tv_nsec) > latest {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
