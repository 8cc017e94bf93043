//! Putting a fork back to its snapshot by undoing only what changed.

use std::io;
use std::path::Path;

use cap_std::fs::{Dir, Permissions, PermissionsExt};

use super::Manifest;
use super::copy::{copy_file, copy_link, make_directory};
use super::manifest::Stamp;
use crate::files::{Kind, Limits, RelPath, delete};

/// Reverts `fork` to `origin`'s content; `then` is its manifest of when it was made. Returns the new one.
///
/// # Errors
/// What the file system says; the fork is then in between and must be made anew.
pub fn reset(fork: &Dir, origin: &Dir, then: &Manifest, limits: Limits) -> io::Result<Manifest> {
    let now = Manifest::read(fork, limits)?;
    remove_what_differs(fork, then, &now)?;
    let mut changed = false;
    for (path, stamp) in &then.0 {
        if !now.agrees(then, path) && !only_mode_differs(&now, path, stamp) {
            restore(fork, origin, path, stamp.kind)?;
            changed = true;
        }
    }
    // Deepest first: a directory may take away the right to enter it.
    for (path, stamp) in then.0.iter().rev().filter(|(_, stamp)| stamp.kind == Kind::Directory) {
        if !now.agrees(then, path) {
            fork.set_permissions(path, Permissions::from_mode(stamp.mode))?;
            changed = true;
        }
    }
    if changed { Manifest::read(fork, limits) } else { Ok(then.clone()) }
}

/// Removes what is new and what will be restored; a removed directory takes its content along.
fn remove_what_differs(fork: &Dir, then: &Manifest, now: &Manifest) -> io::Result<()> {
    let mut removed: Option<&Path> = None;
    for (path, stamp) in &now.0 {
        if removed.is_some_and(|above| path.starts_with(above)) {
            continue;
        }
        let keep = then
            .0
            .get(path)
            .is_some_and(|old| old == stamp || (old.kind == Kind::Directory && stamp.kind == Kind::Directory));
        if keep {
            continue;
        }
        let inside = RelPath::parse(path).map_err(io::Error::other)?;
        delete(fork, &inside).map_err(io::Error::other)?;
        removed = Some(path);
    }
    Ok(())
}

/// Directories stay in place; their mode is set at the end.
fn only_mode_differs(now: &Manifest, path: &Path, then: &Stamp) -> bool {
    then.kind == Kind::Directory && now.0.get(path).is_some_and(|stamp| stamp.kind == Kind::Directory)
}

fn restore(fork: &Dir, origin: &Dir, path: &Path, kind: Kind) -> io::Result<()> {
    match kind {
        Kind::Directory => make_directory(fork, path),
        Kind::Symlink => copy_link(origin, fork, path),
        Kind::File => copy_file(origin, fork, path),
        Kind::Other => Ok(()),
    }
}
