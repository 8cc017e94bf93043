//! Moving files that nobody holds open into directories that nobody has seen.
//!
//! A command may have handed descriptors to another one, which still runs when the fork serves the next. A file
//! that is open anywhere cannot be leased; directories and what watches them are left behind with the old ones.
//! What stays possible with a handle on a path alone (`O_PATH`) is to change a file's mode and times.

use std::io;
use std::path::{Path, PathBuf};

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use nix::errno::Errno;

use crate::files::{Kind, open_file};
use crate::snapshot::{Manifest, make_directory};

/// Of linux/fcntl.h; not every C library that `libc` knows has it.
const F_SETSIG: i32 = 10;

/// Moves everything in `manifest` from one tree into another, empty one.
///
/// # Errors
/// When a file is open somewhere, or it cannot be told.
pub fn replant(from: &Dir, to: &Dir, manifest: &Manifest) -> io::Result<()> {
    // There are thousands of entries: those of one directory follow each other, and share its handles.
    let mut parent = Parent { path: PathBuf::new(), from: from.try_clone()?, to: to.try_clone()? };
    for (path, stamp) in &manifest.0 {
        let above = path.parent().unwrap_or(Path::new(""));
        if parent.path != above {
            let nested = !above.as_os_str().is_empty();
            let open = |root: &Dir| if nested { root.open_dir_nofollow(above) } else { root.try_clone() };
            parent = Parent { path: above.to_owned(), from: open(from)?, to: open(to)? };
        }
        parent.take(Path::new(path.file_name().unwrap_or_default()), stamp.kind)?;
    }
    // Last, since a directory that is not writable could not have been filled.
    for (path, stamp) in manifest.0.iter().rev().filter(|(_, stamp)| stamp.kind == Kind::Directory) {
        if stamp.mode != 0o755 {
            to.set_permissions(path, Permissions::from_mode(stamp.mode))?;
        }
    }
    Ok(())
}

/// A directory of both trees.
struct Parent {
    path: PathBuf,
    from: Dir,
    to: Dir,
}

impl Parent {
    fn take(&self, name: &Path, kind: Kind) -> io::Result<()> {
        match kind {
            Kind::Directory => make_directory(&self.to, name),
            Kind::Symlink => self.from.rename(name, &self.to, name),
            Kind::File => {
                ensure_closed(&self.from, name)?;
                self.from.rename(name, &self.to, name)
            }
            Kind::Other => Ok(()),
        }
    }
}

/// A lease for writing is granted only on a file that is open nowhere else.
fn ensure_closed(root: &Dir, path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let mut reading = OpenOptions::new();
    reading.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = open_file(root, path, &reading)?;
    // Should anybody manage to open it just now, the kernel would tell us by SIGIO, which ends a process.
    for (command, argument) in [(F_SETSIG, libc::SIGURG), (libc::F_SETLEASE, libc::F_WRLCK)] {
        // SAFETY: a call on a descriptor that is open. Closing it gives the lease back.
        Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), command, argument) })?;
    }
    Ok(())
}
