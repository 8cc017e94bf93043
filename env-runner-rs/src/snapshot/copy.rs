//! Copying a tree, by reference where the file system can, else inside the kernel, on all processors.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use rustix::fs::{Timespec, Timestamps, copy_file_range, futimens, ioctl_ficlone};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Manifest;
use crate::files::Kind;

const MAX_WORKERS: usize = 8;
/// Files that one worker takes at a time.
const BATCH: usize = 16;

/// How file contents came into a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Blocks are shared until written.
    Reflink,
    /// Bytes were copied inside the kernel.
    Copy,
}

/// Copies everything in `manifest` from one tree into another, empty one. Pipes, sockets and devices are
/// left out; files that vanish meanwhile too.
///
/// # Errors
/// The first that any file gave.
pub fn copy_tree(from: &Dir, to: &Dir, manifest: &Manifest) -> io::Result<Method> {
    let mut files = Vec::new();
    for (path, stamp) in &manifest.0 {
        match stamp.kind {
            Kind::Directory => make_directory(to, path)?,
            Kind::Symlink => copy_link(from, to, path)?,
            Kind::File => files.push(path),
            Kind::Other => {}
        }
    }
    let copier =
        Copier { from, to, reflink: AtomicBool::new(true), next: AtomicUsize::new(0), failure: Mutex::new(None) };
    copier.all(&files)?;
    // Last, since a directory that is not writable could not have been filled.
    for (path, stamp) in manifest.0.iter().rev().filter(|(_, stamp)| stamp.kind == Kind::Directory) {
        if stamp.mode != 0o755 {
            to.set_permissions(path, Permissions::from_mode(stamp.mode))?;
        }
    }
    let shared = copier.reflink.load(Ordering::Relaxed) && !files.is_empty();
    Ok(if shared { Method::Reflink } else { Method::Copy })
}

/// Copies one file with its mode and modification time.
///
/// # Errors
/// What the file system says.
pub fn copy_file(from: &Dir, to: &Dir, path: &Path) -> io::Result<()> {
    let copier =
        Copier { from, to, reflink: AtomicBool::new(true), next: AtomicUsize::new(0), failure: Mutex::new(None) };
    copier.one(path)
}

/// Makes a directory that its copy can be filled into.
pub fn make_directory(to: &Dir, path: &Path) -> io::Result<()> {
    to.create_dir(path)?;
    // The process's umask may have taken bits away.
    to.set_permissions(path, Permissions::from_mode(0o755))
}

/// Copies a symbolic link as it is.
pub fn copy_link(from: &Dir, to: &Dir, path: &Path) -> io::Result<()> {
    let target: PathBuf = from.read_link_contents(path)?;
    to.symlink_contents(target, path)
}

struct Copier<'a> {
    from: &'a Dir,
    to: &'a Dir,
    /// Until the file system refuses once.
    reflink: AtomicBool,
    next: AtomicUsize,
    failure: Mutex<Option<io::Error>>,
}

impl Copier<'_> {
    fn all(&self, files: &[&PathBuf]) -> io::Result<()> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = processors.min(MAX_WORKERS).min(files.len().div_ceil(BATCH)).max(1);
        std::thread::scope(|scope| {
            for _ in 1..workers {
                scope.spawn(|| self.work(files));
            }
            self.work(files);
        });
        let failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }

    fn work(&self, files: &[&PathBuf]) {
        loop {
            let start = self.next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(batch) = files.get(start..files.len().min(start + BATCH)).filter(|batch| !batch.is_empty()) else {
                return;
            };
            for path in batch {
                match self.one(path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        self.next.store(files.len(), Ordering::Relaxed);
                        *self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                        return;
                    }
                }
            }
        }
    }

    fn one(&self, path: &Path) -> io::Result<()> {
        let mut reading = OpenOptions::new();
        reading.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let source = self.from.open_with(path, &reading)?;
        let meta = source.metadata()?;
        if !meta.is_file() {
            return Ok(()); // it changed its kind since it was listed
        }
        let mode = meta.permissions().mode() & 0o777;
        let mut writing = OpenOptions::new();
        writing.write(true).create_new(true).mode(mode | 0o600);
        let target = self.to.open_with(path, &writing)?;
        self.content(&source, &target, meta.len())?;
        if target.metadata()?.permissions().mode() & 0o777 != mode {
            target.set_permissions(Permissions::from_mode(mode))?;
        }
        keep_modified(&target, &meta)
    }

    fn content(&self, source: &File, target: &File, size: u64) -> io::Result<()> {
        if size == 0 {
            return Ok(());
        }
        if self.reflink.load(Ordering::Relaxed) {
            match ioctl_ficlone(target, source) {
                Ok(()) => return Ok(()),
                Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS | Errno::PERM) => {
                    self.reflink.store(false, Ordering::Relaxed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut copied = 0_u64;
        while copied < size {
            let left = usize::try_from(size - copied).unwrap_or(usize::MAX);
            match copy_file_range(source, None, target, None, left) {
                Ok(0) => return Ok(()), // it shrank meanwhile
                Ok(count) => copied += count as u64,
                Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) if copied == 0 => {
                    let (mut source, mut target) = (source, target);
                    return io::copy(&mut source, &mut target).map(|_| ());
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn keep_modified(target: &File, meta: &cap_std::fs::Metadata) -> io::Result<()> {
    use cap_std::fs::MetadataExt;
    let time = Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() };
    Ok(futimens(target, &Timestamps { last_access: time, last_modification: time })?)
}
