//! Workspaces held by content: uploaded once under the SHA-256 of their archive, forked for every command.
//!
//! - [`Digest`] names one; [`Verified`] hashes an archive while it is unpacked.
//! - `base` is what lies on disk: unpacked under a passing name, renamed once whole, found again after a restart.
//! - `shelf` is who holds what: pure bookkeeping of use, bounds and eviction.
//! - `forks` copies a base for a command, and after it puts the fork back or throws it away. `untouched` and
//!   `replant` see to it that the next command finds nothing of the last one, and the last one nothing of it.
//!
//! Every directory here has a name that cannot be guessed: Landlock keeps commands from reading and writing what
//! is not theirs, but changing the mode of a file whose path one knows is not for it to refuse.

mod base;
mod digest;
mod forks;
mod replant;
mod shelf;
mod untouched;

pub use digest::{Digest, Verified};
pub use forks::Loan;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedMutexGuard, Semaphore};
use utoipa::ToSchema;

use crate::error::{Error, Result};
use crate::files::archive::Bounds;
use crate::files::{Limits, open_root, remove_tree};
use shelf::{Room, Shelf};

/// What may be held, and how.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Workspaces at one time.
    pub max_workspaces: usize,
    /// Largest one, unpacked, in bytes on disk.
    pub max_workspace_bytes: u64,
    /// All of them with their forks, in bytes on disk.
    pub max_total_bytes: u64,
    /// Forks of one workspace that are kept ready.
    pub spare_forks: usize,
    /// Can no command hand another one a descriptor? An open file or directory outlives the command that opened it,
    /// and so a fork that is put back must be closed to whoever may still hold one.
    pub commands_apart: bool,
    /// Commands at one time.
    pub concurrency: usize,
}

/// A workspace that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldWorkspace {
    /// Of its archive, as 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// On disk, unpacked, without forks; every file counts in whole blocks of 4096.
    pub bytes: u64,
    /// Files, links and directories.
    pub entries: u64,
    /// Seconds since 1970: the upload or the last command.
    pub last_used_at: u64,
    /// Forks in which a command runs, or which are being cleaned up after one.
    pub forks_in_use: usize,
    /// Forks that wait for a command.
    pub forks_ready: usize,
}

/// All workspaces held by content.
#[derive(Debug)]
pub struct Held {
    home: PathBuf,
    settings: Settings,
    limits: Limits,
    shelf: Mutex<Shelf>,
    /// One archive at a time is unpacked: whoever waits may find that it has come meanwhile.
    receiving: Arc<tokio::sync::Mutex<()>>,
    /// One fork at a time is copied: copies want all processors, and one that comes back meanwhile spares the next.
    copying: Arc<Semaphore>,
    /// Told when a fork came back or is no more.
    returned: Notify,
    /// Forks in use, those that are being cleaned up counted: when commands are quicker than cleaning, they wait.
    places: Arc<Semaphore>,
    runtime: Handle,
}

impl Held {
    /// Takes over what an earlier runner held in `home`. What else lies there is not its affair. Call within a
    /// runtime.
    pub fn open(home: &Path, limits: Limits, settings: Settings) -> Self {
        let mut shelf = Shelf::new(settings.max_workspaces, settings.max_total_bytes);
        for (base, used_at) in base::found(home, limits, settings.max_workspace_bytes) {
            let name = base.name.clone();
            if shelf.insert(Arc::new(base), used_at).is_err() {
                tracing::info!(name = %name.display(), "a workspace of an earlier runner passes the bounds of this one");
            }
        }
        Self {
            home: home.to_owned(),
            settings,
            limits,
            shelf: Mutex::new(shelf),
            receiving: Arc::default(),
            copying: Arc::new(Semaphore::new(1)),
            returned: Notify::new(),
            places: Arc::new(Semaphore::new(2 * settings.concurrency)),
            runtime: Handle::current(),
        }
    }

    /// Names in the home directory that are ours to keep.
    pub fn names(&self) -> Vec<PathBuf> {
        self.shelf().bases().map(|base| base.name.clone()).collect()
    }

    /// A workspace; `touch`: it counts as used now.
    pub fn get(&self, digest: &Digest, touch: bool) -> Option<HeldWorkspace> {
        let mut shelf = self.shelf();
        if touch {
            shelf.touch(digest, now());
        }
        shelf.describe(digest)
    }

    /// All workspaces, most recently used first.
    pub fn list(&self) -> Vec<HeldWorkspace> {
        let shelf = self.shelf();
        shelf.recent().into_iter().filter_map(|digest| shelf.describe(&digest)).collect()
    }

    /// The most recently used, at most `limit`, and how many there are.
    pub fn recent(&self, limit: usize) -> (Vec<String>, usize) {
        let digests = self.shelf().recent();
        (digests.iter().take(limit).map(Digest::to_string).collect(), digests.len())
    }

    /// Waits for the turn to unpack.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.receiving).lock_owned().await
    }

    /// Unpacks an archive and holds it; blocking. The caller has the turn.
    ///
    /// # Errors
    /// `DigestMismatch`, `WorkspacesFull`, and what unpacking says.
    pub fn receive(&self, digest: Digest, body: impl Read) -> Result<HeldWorkspace> {
        let bounds = Bounds { max_bytes: self.settings.max_workspace_bytes, max_entries: self.limits.max_entries };
        let arrived = base::receive(&self.home, digest, body, bounds, self.limits)?;
        let mut shelf = self.shelf();
        let Some(room) = shelf.make_room(arrived.bytes, true, None) else {
            drop(shelf);
            self.remove_name(&arrived.name);
            return Err(Error::WorkspacesFull);
        };
        // Under the lock, so that nobody takes the room meanwhile.
        let settled = base::settle(&self.home, arrived).map_err(Error::from).and_then(|base| {
            shelf.insert(Arc::new(base), now()).map_err(|_| Error::WorkspacesFull)?;
            shelf.describe(&digest).ok_or(Error::WorkspacesFull)
        });
        drop(shelf);
        self.remove(&room);
        settled
    }

    /// Lets a workspace go; blocking.
    ///
    /// # Errors
    /// `WorkspaceUnknown`, `WorkspaceBusy` while commands run in its forks.
    pub fn delete(&self, digest: &Digest) -> Result<()> {
        let room = self.shelf().discard(digest)?;
        self.remove(&room);
        Ok(())
    }

    fn remove(&self, room: &Room) {
        for digest in &room.evicted {
            tracing::info!(sha256 = digest.brief(), "a workspace was let go");
        }
        for name in &room.names {
            self.remove_name(name);
        }
    }

    fn remove_name(&self, name: &Path) {
        if let Err(cause) = open_root(&self.home).and_then(|home| remove_tree(&home, name)) {
            tracing::warn!(%cause, name = %name.display(), "a tree could not be removed");
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
