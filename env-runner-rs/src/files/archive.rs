//! Unpacking a tar archive that may be hostile into a directory that replaces a workspace's content.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use cap_fs_ext::{DirExt, SystemTimeSpec};
use cap_std::fs::{Dir, OpenOptions, Permissions, PermissionsExt};
use cap_std::time::SystemTime;
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tar::{Archive, EntryType};
use utoipa::ToSchema;

use super::{RelPath, clear, remove_tree, stays_inside};
use crate::error::{Error, Result};

/// Headers between two entries: long names and PAX records, which are read into memory.
const MAX_HEADER_BYTES: u64 = 1 << 20;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Bounds on what an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub max_bytes: u64,
    pub max_entries: usize,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unpacked {
    /// Regular files and links.
    pub files: u64,
    /// Bytes of their content.
    pub bytes: u64,
}

/// Replaces the content of `root` by the archive's; on any error `root` stays as it was.
///
/// # Errors
/// `ArchiveEscapes`, `ArchiveInvalid`, `ArchiveTooLarge`.
pub fn replace(root: &Dir, body: impl Read, bounds: Bounds) -> Result<Unpacked> {
    // Inside the workspace, as that may be a mount: nothing can be renamed into it from elsewhere.
    let staging = PathBuf::from(format!(".dspy-unpack-{}", crate::install::random_hex(8)?));
    root.create_dir(&staging)?;
    let unpacked = root.open_dir(&staging).map_err(Error::from).and_then(|into| unpack(&into, body, bounds));
    match unpacked {
        Ok(unpacked) => {
            swap_in(root, &staging)?;
            Ok(unpacked)
        }
        Err(error) => {
            remove_tree(root, &staging)?;
            Err(error)
        }
    }
}

fn swap_in(root: &Dir, staging: &Path) -> io::Result<()> {
    clear(root, &[staging])?;
    let content = root.open_dir(staging)?;
    for entry in content.entries()? {
        let name = entry?.file_name();
        content.rename(&name, root, &name)?;
    }
    root.remove_dir(staging)
}

/// Unpacks an archive into an empty directory; on an error part of it lies there.
///
/// # Errors
/// `ArchiveEscapes`, `ArchiveInvalid`, `ArchiveTooLarge`.
pub fn unpack(into: &Dir, body: impl Read, bounds: Bounds) -> Result<Unpacked> {
    let mut body = BufReader::new(body);
    let compressed = {
        use io::BufRead;
        body.fill_buf().map_err(broken)?.starts_with(&GZIP_MAGIC)
    };
    let reader: Box<dyn Read + '_> = if compressed { Box::new(MultiGzDecoder::new(body)) } else { Box::new(body) };
    let budget = Rc::new(Cell::new(MAX_HEADER_BYTES));
    let mut archive = Archive::new(Metered { reader, budget: Rc::clone(&budget) });
    let mut unpacker = Unpacker { into, bounds, unpacked: Unpacked::default(), entries: 0, budget };
    for entry in archive.entries().map_err(broken)? {
        unpacker.entry(entry.map_err(broken)?)?;
    }
    Ok(unpacker.unpacked)
}

/// Ends a read of headers that goes past its budget.
struct Metered<'a> {
    reader: Box<dyn Read + 'a>,
    budget: Rc<Cell<u64>>,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.get();
        if left == 0 {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too much between two entries"));
        }
        let room = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.reader.read(&mut buffer[..room])?;
        self.budget.set(left - count as u64);
        Ok(count)
    }
}

struct Unpacker<'a> {
    into: &'a Dir,
    bounds: Bounds,
    unpacked: Unpacked,
    entries: usize,
    budget: Rc<Cell<u64>>,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: tar::Entry<'_, impl Read>) -> Result<()> {
        self.entries += 1;
        if self.entries > self.bounds.max_entries {
            return Err(Error::ArchiveTooLarge(format!(
                "The archive has more than {} entries.",
                self.bounds.max_entries
            )));
        }
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return self.skip(entry);
        }
        let raw = entry.path().map_err(broken)?.into_owned();
        if kind.is_dir() && raw.components().all(|part| part == std::path::Component::CurDir) {
            return self.skip(entry); // `./`, the root itself
        }
        let path = RelPath::parse(&raw)
            .map_err(|why| Error::ArchiveEscapes(format!("The archive's path `{}` {why}.", raw.display())))?;
        self.make_parents(&path)?;
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(entry, &path),
            EntryType::Directory => self.directory(entry, &path),
            EntryType::Symlink => self.symlink(entry, &path),
            EntryType::Link => self.hard_link(entry, &path),
            _ => Err(Error::ArchiveInvalid(format!("`{}` is neither a file, a directory nor a link.", raw.display()))),
        }
    }

    fn skip(&mut self, entry: tar::Entry<'_, impl Read>) -> Result<()> {
        self.consume(entry, &mut io::sink()).map(|_| ())
    }

    fn file(&mut self, entry: tar::Entry<'_, impl Read>, path: &RelPath) -> Result<()> {
        self.replaceable(path)?;
        let mode = entry.header().mode().map_err(broken)? & 0o777;
        let modified = entry.header().mtime().map_err(broken)?;
        let mut file = self
            .into
            .open_with(path.as_path(), OpenOptions::new().write(true).create_new(true))
            .map_err(|error| misplaced(path, error))?;
        let bytes = self.consume(entry, &mut file)?;
        file.set_permissions(Permissions::from_mode(mode | 0o600))?;
        drop(file);
        let modified =
            SystemTime::from_std(std::time::UNIX_EPOCH) + Duration::from_secs(modified.min(u64::from(u32::MAX)));
        self.into.set_mtime(path.as_path(), SystemTimeSpec::from(modified))?;
        self.unpacked.files += 1;
        self.unpacked.bytes += bytes;
        Ok(())
    }

    fn directory(&mut self, entry: tar::Entry<'_, impl Read>, path: &RelPath) -> Result<()> {
        if self.into.symlink_metadata(path.as_path()).is_ok_and(|meta| !meta.is_dir()) {
            self.into.remove_file(path.as_path())?;
        }
        self.into.create_dir_all(path.as_path()).map_err(|error| misplaced(path, error))?;
        let mode = entry.header().mode().map_err(broken)? & 0o777;
        // Without write and search for its owner, what follows could not be unpacked into it.
        self.into.set_permissions(path.as_path(), Permissions::from_mode(mode | 0o700))?;
        self.skip(entry)
    }

    fn symlink(&mut self, entry: tar::Entry<'_, impl Read>, path: &RelPath) -> Result<()> {
        let target = link_name(&entry)?;
        if !stays_inside(path.parent(), &target) {
            return Err(escaping_link(path, &target));
        }
        self.replaceable(path)?;
        self.into.symlink(&target, path.as_path()).map_err(|error| misplaced(path, error))?;
        self.unpacked.files += 1;
        self.skip(entry)
    }

    fn hard_link(&mut self, entry: tar::Entry<'_, impl Read>, path: &RelPath) -> Result<()> {
        let target = link_name(&entry)?;
        let source = RelPath::parse(&target).map_err(|_| escaping_link(path, &target))?;
        self.real_parents(&source)?;
        let is_file = self.into.symlink_metadata(source.as_path()).is_ok_and(|meta| meta.is_file());
        if !is_file {
            return Err(Error::ArchiveInvalid(format!(
                "The hard link `{}` names no earlier file.",
                path.as_path().display()
            )));
        }
        if source == *path {
            return Err(Error::ArchiveInvalid(format!("The hard link `{}` names itself.", path.as_path().display())));
        }
        self.replaceable(path)?;
        self.into.hard_link(source.as_path(), self.into, path.as_path()).map_err(|error| misplaced(path, error))?;
        self.unpacked.files += 1;
        self.skip(entry)
    }

    /// Makes the directories above `path`, all of them real: a link on the way is how archives write elsewhere.
    fn make_parents(&self, path: &RelPath) -> Result<()> {
        self.real_parents(path)?;
        self.into.create_dir_all(path.parent()).map_err(|error| misplaced(path, error))
    }

    fn real_parents(&self, path: &RelPath) -> Result<()> {
        for ancestor in path.parent().ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
            if self.into.symlink_metadata(ancestor).is_ok_and(|meta| meta.is_symlink()) {
                return Err(Error::ArchiveEscapes(format!("`{}` lies beyond a link.", path.as_path().display())));
            }
        }
        Ok(())
    }

    /// A later entry replaces an earlier file or link of its name, as tar does, never a directory.
    fn replaceable(&self, path: &RelPath) -> Result<()> {
        match self.into.symlink_metadata(path.as_path()) {
            Ok(meta) if meta.is_dir() => {
                Err(Error::ArchiveInvalid(format!("`{}` is a directory and something else.", path.as_path().display())))
            }
            Ok(_) => Ok(self.into.remove_file(path.as_path())?),
            Err(_) => Ok(()),
        }
    }

    /// Copies an entry's content within the size bound.
    fn consume(&self, entry: tar::Entry<'_, impl Read>, into: &mut impl io::Write) -> Result<u64> {
        let left = self.bounds.max_bytes.saturating_sub(self.unpacked.bytes);
        self.budget.set(u64::MAX);
        let copied = io::copy(&mut entry.take(left.saturating_add(1)), into).map_err(broken)?;
        self.budget.set(MAX_HEADER_BYTES);
        if copied > left {
            return Err(Error::ArchiveTooLarge(format!(
                "The archive holds more than {} bytes.",
                self.bounds.max_bytes
            )));
        }
        Ok(copied)
    }
}

fn link_name(entry: &tar::Entry<'_, impl Read>) -> Result<PathBuf> {
    let name = entry.link_name().map_err(broken)?;
    let name = name.ok_or_else(|| Error::ArchiveInvalid("A link of the archive names no target.".to_owned()))?;
    Ok(name.into_owned())
}

fn escaping_link(path: &RelPath, target: &Path) -> Error {
    Error::ArchiveEscapes(format!(
        "The link `{}` leads out of the archive, to `{}`.",
        path.as_path().display(),
        target.display()
    ))
}

fn broken(error: io::Error) -> Error {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::QuotaExceeded, None) => {
            Error::ArchiveTooLarge("The archive's headers are too large.".to_owned())
        }
        // The disk's errors, not the archive's.
        (_, Some(_)) => Error::Internal(error),
        (_, None) => Error::ArchiveInvalid(format!("The body is no sound tar archive: {error}.")),
    }
}

fn misplaced(path: &RelPath, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOTDIR | libc::EEXIST) => {
            Error::ArchiveInvalid(format!("`{}` lies below what is no directory.", path.as_path().display()))
        }
        Some(libc::ENAMETOOLONG | libc::EINVAL) => {
            Error::ArchiveInvalid(format!("`{}` is no possible name.", path.as_path().display()))
        }
        None | Some(libc::EXDEV) => {
            Error::ArchiveEscapes(format!("`{}` leads out of the archive.", path.as_path().display()))
        }
        Some(_) => Error::Internal(error),
    }
}

#[cfg(test)]
mod tests;
