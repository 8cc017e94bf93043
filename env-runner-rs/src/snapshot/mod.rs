//! Forks of workspaces: independent copies that can be put back to where they began.
//!
//! A fork is copied from a frozen `Snapshot` of its origin, which no command can reach, so a reset is
//! exact even after the origin moved on. Snapshots are shared by forks of the same state. What changed
//! is told by a [`Manifest`]: the kernel's own stamps of every file, which a command cannot forge.

mod copy;
mod diff;
mod manifest;
mod registry;
mod reset;

pub use copy::{Method, copy_tree, make_directory};
pub use diff::{Diff, diff};
pub use manifest::Manifest;
pub use registry::{Fork, ForkInfo, Lease, Workspaces};
pub use reset::reset;
