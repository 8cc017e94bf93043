//! Walking a tree in order of names, without following links, within bounds.

use std::io;
use std::path::{Path, PathBuf};

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, Metadata};

use super::Unlocked;

/// Deeper than any real project; bounds the length of paths too.
const MAX_DEPTH: usize = 200;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    /// Pipes, sockets, devices: never opened.
    Other,
}

/// One entry below the root.
#[derive(Debug)]
pub struct Entry {
    /// Relative to the root.
    pub path: PathBuf,
    pub kind: Kind,
    pub meta: Metadata,
}

/// Bounds of a walk.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_entries: usize,
}

/// Calls `visit` for every entry, a directory before its content; `visit` returns whether to go on.
///
/// # Errors
/// What the file system says; `FileTooLarge` when the tree passes the bounds.
pub fn walk(root: &Dir, limits: Limits, visit: impl FnMut(&Entry) -> io::Result<bool>) -> io::Result<()> {
    walk_unlocked(&Unlocked::new(root), limits, visit)
}

/// As [`walk`], for what is to be read after the walk too: directories stay open as long as `tree`.
///
/// # Errors
/// As [`walk`].
pub fn walk_unlocked(
    tree: &Unlocked<'_>,
    limits: Limits,
    mut visit: impl FnMut(&Entry) -> io::Result<bool>,
) -> io::Result<()> {
    let mut left = limits.max_entries;
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        if directory.components().count() >= MAX_DEPTH {
            return Err(too_large());
        }
        let Some(mut entries) = list(tree, &directory, left)? else { continue };
        left -= entries.len();
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        for entry in &entries {
            if !visit(entry)? {
                return Ok(());
            }
        }
        let directories = entries.into_iter().filter(|entry| entry.kind == Kind::Directory);
        pending.extend(directories.map(|entry| entry.path).rev());
    }
    Ok(())
}

/// None when the directory vanished or became a link since it was seen, or is closed and not ours to open.
fn list(tree: &Unlocked<'_>, directory: &Path, room: usize) -> io::Result<Option<Vec<Entry>>> {
    let denied =
        |listed: &io::Result<_>| matches!(listed, Err(error) if error.kind() == io::ErrorKind::PermissionDenied);
    let mut listed = list_readable(tree.root, directory, room);
    if denied(&listed) && tree.unlock(directory) {
        listed = list_readable(tree.root, directory, room);
    }
    if denied(&listed) {
        tracing::warn!(directory = %directory.display(), "left out a directory that is closed to the runner's user");
        return Ok(None);
    }
    listed
}

/// Stops at the first entry for which there is no room, however many follow.
fn list_readable(root: &Dir, directory: &Path, room: usize) -> io::Result<Option<Vec<Entry>>> {
    let opened = if directory.as_os_str().is_empty() { root.try_clone() } else { root.open_dir_nofollow(directory) };
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut entries = Vec::new();
    for entry in opened.entries()? {
        let entry = entry?;
        let meta = match entry.metadata() {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if entries.len() == room {
            return Err(too_large());
        }
        let kind = kind(&meta);
        entries.push(Entry { path: directory.join(entry.file_name()), kind, meta });
    }
    Ok(Some(entries))
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "The workspace has too many or too deep entries; remove some.")
}

fn kind(meta: &Metadata) -> Kind {
    let file_type = meta.file_type();
    if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_symlink() {
        Kind::Symlink
    } else {
        Kind::Other
    }
}
