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
mod walk;

pub use clear::{clear, remove_tree};
pub use link::stays_inside;
pub use path::RelPath;
pub use search::{Match, Query, search};
pub use transfer::{delete, read, write};
pub use walk::{Entry, Kind, Limits, walk};

use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

/// Opens a workspace's root.
///
/// # Errors
/// When it is gone or unreadable.
pub fn open_root(path: &Path) -> std::io::Result<Dir> {
    Dir::open_ambient_dir(path, ambient_authority())
}
