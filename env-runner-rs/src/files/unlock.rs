//! Reading what a command closed to its own user, who is ours too: opened for a while, then closed again.
//!
//! A directory of mode 0 is no reason to fail a listing or a fork. What belongs to another user stays
//! closed to us as it is to commands, and is left out.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, File, MetadataExt, OpenOptions, Permissions, PermissionsExt};

const OWNER_ENTER: u32 = 0o500;
const OWNER_READ: u32 = 0o400;

/// Directories below `root` that are open for as long as this lives.
#[derive(Debug)]
pub struct Unlocked<'a> {
    pub root: &'a Dir,
    modes: RefCell<Vec<(PathBuf, u32)>>,
}

impl<'a> Unlocked<'a> {
    pub fn new(root: &'a Dir) -> Self {
        Self { root, modes: RefCell::default() }
    }

    /// Opens a directory; true if it was ours to open.
    pub fn unlock(&self, directory: &Path) -> bool {
        let Ok(meta) = self.root.symlink_metadata(directory) else { return false };
        let mode = meta.mode() & 0o7777;
        let opened = meta.is_dir()
            && mode & OWNER_ENTER != OWNER_ENTER
            && self.root.set_permissions(directory, Permissions::from_mode(mode | OWNER_ENTER)).is_ok();
        if opened {
            self.modes.borrow_mut().push((directory.to_owned(), mode));
        }
        opened
    }
}

impl Drop for Unlocked<'_> {
    fn drop(&mut self) {
        // Deepest first: closing a directory takes away what lies below it.
        for (directory, mode) in self.modes.borrow().iter().rev() {
            // A command may have removed it meanwhile.
            let _gone = self.root.set_permissions(directory, Permissions::from_mode(*mode));
        }
    }
}

/// Opens a file, for which its owner is lent the right to read it if need be.
///
/// # Errors
/// `PermissionDenied` for what is not ours.
pub fn open_file(root: &Dir, path: &Path, options: &OpenOptions) -> io::Result<File> {
    let refused = match root.open_with(path, options) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        opened => return opened,
    };
    let meta = root.symlink_metadata(path)?;
    if !meta.is_file() {
        return Err(refused);
    }
    let mode = meta.mode() & 0o7777;
    root.set_permissions(path, Permissions::from_mode(mode | OWNER_READ))?;
    let opened = root.open_with(path, options);
    root.set_permissions(path, Permissions::from_mode(mode))?;
    opened
}
