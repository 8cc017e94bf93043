//! Copying a tree, by reference where the file system can, else inside the kernel, on all processors.

use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use rustix::fs::{SeekFrom, Timespec, Timestamps, copy_file_range, futimens, ioctl_ficlone, seek};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Manifest;
use crate::files::{Kind, Unlocked, open_file};

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
/// left out; files that vanish meanwhile and files that are not ours to read too.
///
/// # Errors
/// The first that any file gave; `FileTooLarge` when more than `max_bytes` would have to be copied, holes and
/// shared blocks not counted.
pub fn copy_tree(from: &Dir, to: &Dir, manifest: &Manifest, max_bytes: u64) -> io::Result<Method> {
    let source = Unlocked::new(from);
    let mut files = Vec::new();
    for (path, stamp) in &manifest.0 {
        match stamp.kind {
            Kind::Directory => {
                source.unlock(path);
                make_directory(to, path)?;
            }
            Kind::Symlink => copy_link(from, to, path)?,
            Kind::File => files.push(path),
            Kind::Other => {}
        }
    }
    let copier = Copier::new(from, to, max_bytes);
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
    Copier::new(from, to, u64::MAX).one(path)
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
    /// What may still be copied, whatever the files have grown to since they were listed.
    left_bytes: AtomicU64,
}

impl<'a> Copier<'a> {
    fn new(from: &'a Dir, to: &'a Dir, max_bytes: u64) -> Self {
        Self {
            from,
            to,
            reflink: AtomicBool::new(true),
            next: AtomicUsize::new(0),
            failure: Mutex::new(None),
            left_bytes: AtomicU64::new(max_bytes),
        }
    }

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
        let source = match open_file(self.from, path, &reading) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::warn!(path = %path.display(), "left out a file that is closed to the runner's user");
                return Ok(());
            }
            opened => opened?,
        };
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
        let mut end = 0;
        while let Some((start, stop)) = next_data(source, end, size)? {
            self.spend(stop - start)?;
            copy_range(source, target, start, stop)?;
            end = stop;
        }
        if end < size {
            target.set_len(size)?; // it ends in a hole
        }
        Ok(())
    }

    fn spend(&self, bytes: u64) -> io::Result<()> {
        let spent = self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        let refuse =
            |_| io::Error::new(io::ErrorKind::FileTooLarge, "The workspace holds too many bytes to be forked.");
        spent.map(|_| ()).map_err(refuse)
    }
}

/// The next stretch of a file that is no hole; none when only a hole follows.
fn next_data(file: &File, from: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if from >= size {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((from, size))), // a file system without holes
        Err(error) => return Err(error.into()),
    };
    let stop = seek(file, SeekFrom::Hole(start))?.min(size);
    Ok((start < stop).then_some((start, stop)))
}

/// Copies a stretch of a file to the same place in another; less when the file shrank meanwhile.
fn copy_range(source: &File, target: &File, start: u64, stop: u64) -> io::Result<()> {
    let (mut reading, mut writing) = (start, start);
    while reading < stop {
        let left = usize::try_from(stop - reading).unwrap_or(usize::MAX);
        match copy_file_range(source, Some(&mut reading), target, Some(&mut writing), left) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) if reading == start => {
                let (mut source, mut target) = (source, target);
                source.seek(io::SeekFrom::Start(start))?;
                target.seek(io::SeekFrom::Start(start))?;
                return io::copy(&mut source.take(stop - start), &mut target).map(|_| ());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn keep_modified(target: &File, meta: &cap_std::fs::Metadata) -> io::Result<()> {
    use cap_std::fs::MetadataExt;
    let time = Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() };
    Ok(futimens(target, &Timestamps { last_access: time, last_modification: time })?)
}
