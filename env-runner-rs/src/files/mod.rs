//! A workspace's files, reached so that no link and no race leads out of it.
//!
//! Every access goes through a directory handle that resolves beneath itself (`openat2` where the
//! kernel has it): commands may rename and link as they like meanwhile.

pub mod archive;
mod clear;
mod link;
mod path;
mod search;
mod transfer;
mod unlock;
mod walk;

pub use clear::{clear, remove_tree};
pub use link::stays_inside;
pub use path::RelPath;
pub use search::{Match, Query, search};
pub use transfer::{delete, read, write};
pub use unlock::{Unlocked, open_file};
pub use walk::{Entry, Kind, Limits, walk, walk_unlocked};

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, PermissionsExt as _};

/// What the runner needs of a workspace's root, to read and to replace its content.
const OWNER_ALL: u32 = 0o700;

/// Opens a workspace's root, also one that a command closed.
///
/// # Errors
/// When it is gone or unreadable.
pub fn open_root(path: &Path) -> std::io::Result<Dir> {
    let root = Dir::open_ambient_dir(path, ambient_authority())?;
    // The handle is for the path only: it can be had for a closed directory, but then serves for nothing.
    let mode = root.dir_metadata()?.permissions().mode() & 0o7777;
    if mode & OWNER_ALL != OWNER_ALL {
        // Another user's is used as far as it is open to us.
        let _foreign = std::fs::set_permissions(path, Permissions::from_mode(mode | OWNER_ALL));
    }
    Ok(root)
}
