//! The workspaces there are: `main` and its forks, with who uses them.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use utoipa::ToSchema;

use super::copy::{Method, copy_tree};
use super::{Manifest, reset::reset};
use crate::error::{Error, Result};
use crate::files::{Limits, open_root, remove_tree};
use crate::install::random_hex;

pub const MAIN: &str = "main";
/// How long a change to a whole workspace waits for its commands to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A fork as replies show it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Fork {
    pub id: String,
    pub method: Method,
    /// Time from request to a usable fork.
    pub took_ms: f64,
}

/// A fork in a listing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ForkInfo {
    pub id: String,
    /// The workspace it was forked from, which may be gone by now.
    pub from: String,
    /// Seconds since 1970.
    pub created_at: u64,
}

/// Held while commands use a workspace.
pub type Lease = OwnedRwLockReadGuard<()>;

#[derive(Debug)]
struct Workspace {
    path: PathBuf,
    users: Arc<RwLock<()>>,
    /// Absent for `main`.
    fork: Option<Mutex<ForkState>>,
    from: String,
    created_at: u64,
}

#[derive(Debug)]
struct ForkState {
    snapshot: Arc<Snapshot>,
    manifest: Manifest,
}

/// A frozen copy of a workspace; removed with its last user.
#[derive(Debug)]
struct Snapshot {
    home: PathBuf,
    name: PathBuf,
    /// The origin's stamps when it was taken: while they hold, it serves further forks.
    origin: Manifest,
    manifest: Manifest,
}

impl Snapshot {
    fn path(&self) -> PathBuf {
        self.home.join(&self.name)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(cause) = open_root(&self.home).and_then(|home| remove_tree(&home, &self.name)) {
            tracing::warn!(%cause, name = %self.name.display(), "a snapshot could not be removed");
        }
    }
}

/// All workspaces of a runner.
#[derive(Debug)]
pub struct Workspaces {
    home: PathBuf,
    limits: Limits,
    max_forks: usize,
    max_fork_bytes: u64,
    all: Mutex<HashMap<String, Arc<Workspace>>>,
    /// Newest snapshot of each workspace. Also serialises forking: copies want all processors.
    snapshots: Mutex<HashMap<String, Arc<Snapshot>>>,
}

impl Workspaces {
    /// Clears what an earlier runner left in `home`, but for the names in `keep`; its forks are unknown to this one.
    ///
    /// # Errors
    /// When `home` cannot be cleared.
    pub fn new(
        main: PathBuf,
        home: PathBuf,
        limits: Limits,
        max_forks: usize,
        max_fork_bytes: u64,
        keep: &[PathBuf],
    ) -> io::Result<Self> {
        let keep: Vec<&Path> = keep.iter().map(PathBuf::as_path).chain([Path::new("lost+found")]).collect();
        crate::files::clear(&open_root(&home)?, &keep)?;
        let main = Workspace { path: main, users: Arc::default(), fork: None, from: String::new(), created_at: now() };
        let all = Mutex::new(HashMap::from([(MAIN.to_owned(), Arc::new(main))]));
        Ok(Self { home, limits, max_forks, max_fork_bytes, all, snapshots: Mutex::default() })
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A workspace's directory.
    ///
    /// # Errors
    /// `WorkspaceNotFound`.
    pub fn path(&self, id: &str) -> Result<PathBuf> {
        Ok(self.find(id)?.path.clone())
    }

    /// Takes part in using a workspace.
    ///
    /// # Errors
    /// `WorkspaceNotFound`.
    pub async fn share(&self, id: &str) -> Result<(PathBuf, Lease)> {
        let workspace = self.find(id)?;
        let lease = Arc::clone(&workspace.users).read_owned().await;
        // It may have been deleted while we waited.
        self.find(id)?;
        Ok((workspace.path.clone(), lease))
    }

    /// Waits a while to be the only user.
    ///
    /// # Errors
    /// `WorkspaceNotFound`, `WorkspaceBusy`.
    pub async fn own(&self, id: &str) -> Result<(PathBuf, OwnedRwLockWriteGuard<()>)> {
        let workspace = self.find(id)?;
        let owned = tokio::time::timeout(PATIENCE, Arc::clone(&workspace.users).write_owned()).await;
        let lease = owned.map_err(|_| Error::WorkspaceBusy(id.to_owned()))?;
        self.find(id)?;
        Ok((workspace.path.clone(), lease))
    }

    /// Forks a workspace that the caller shares; blocking.
    ///
    /// # Errors
    /// `WorkspaceNotFound`, `TooLarge`, `TooManyRequests` at the bound on forks.
    pub fn fork(&self, from: &str) -> Result<Fork> {
        let started = Instant::now();
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = self.find(from)?;
        if self.lock().len() > self.max_forks {
            return Err(Error::TooManyRequests);
        }
        let snapshot = self.snapshot(&mut snapshots, from, &origin.path)?;
        let id = format!("f-{}", random_hex(6)?);
        let path = self.home.join(&id);
        let (method, manifest) = self.copy(&snapshot.path(), &path, &snapshot.manifest)?;
        let fork = Some(Mutex::new(ForkState { snapshot, manifest }));
        let workspace = Workspace { path, users: Arc::default(), fork, from: from.to_owned(), created_at: now() };
        self.lock().insert(id.clone(), Arc::new(workspace));
        Ok(Fork { id, method, took_ms: started.elapsed().as_secs_f64() * 1000.0 })
    }

    pub fn list(&self) -> Vec<ForkInfo> {
        let all = self.lock();
        let forks = all.iter().filter(|(_, workspace)| workspace.fork.is_some());
        let mut list: Vec<_> = forks
            .map(|(id, workspace)| ForkInfo {
                id: id.clone(),
                from: workspace.from.clone(),
                created_at: workspace.created_at,
            })
            .collect();
        list.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        list
    }

    /// Deletes a fork that the caller owns; blocking.
    ///
    /// # Errors
    /// `WorkspaceNotFound`, `BadRequest` for `main`.
    pub fn delete(&self, id: &str) -> Result<()> {
        self.find_fork(id)?;
        self.lock().remove(id);
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(remove_tree(&open_root(&self.home)?, Path::new(id))?)
    }

    /// Puts a fork that the caller owns back to where it began; blocking.
    ///
    /// # Errors
    /// `WorkspaceNotFound`, `BadRequest` for `main`.
    pub fn reset(&self, id: &str) -> Result<()> {
        let workspace = self.find_fork(id)?;
        let Some(state) = &workspace.fork else { return Err(not_a_fork()) };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = open_root(&state.snapshot.path())?;
        let reverted = open_root(&workspace.path).and_then(|fork| reset(&fork, &origin, &state.manifest, self.limits));
        state.manifest = match reverted {
            Ok(manifest) => manifest,
            Err(cause) => {
                // A tree that a command made unreadable or endless is made anew.
                tracing::info!(%cause, id, "fork is copied anew");
                remove_tree(&open_root(&self.home)?, Path::new(id))?;
                self.copy(&state.snapshot.path(), &workspace.path, &state.snapshot.manifest)?.1
            }
        };
        Ok(())
    }

    fn snapshot(
        &self,
        newest: &mut HashMap<String, Arc<Snapshot>>,
        from: &str,
        origin: &Path,
    ) -> io::Result<Arc<Snapshot>> {
        let state = Manifest::read(&open_root(origin)?, self.limits)?;
        if let Some(snapshot) = newest.get(from).filter(|snapshot| snapshot.origin == state) {
            return Ok(Arc::clone(snapshot));
        }
        let name = PathBuf::from(format!("s-{}", random_hex(6)?));
        let (_, manifest) = self.copy(origin, &self.home.join(&name), &state)?;
        let snapshot = Arc::new(Snapshot { home: self.home.clone(), name, origin: state, manifest });
        newest.insert(from.to_owned(), Arc::clone(&snapshot));
        Ok(snapshot)
    }

    fn copy(&self, from: &Path, to: &Path, manifest: &Manifest) -> io::Result<(Method, Manifest)> {
        std::fs::create_dir(to)?;
        let copied = open_root(to).and_then(|target| {
            let method = copy_tree(&open_root(from)?, &target, manifest, self.max_fork_bytes)?;
            Ok((method, Manifest::read(&target, self.limits)?))
        });
        copied.inspect_err(|_| {
            let name = to.file_name().unwrap_or_default();
            if let Err(cause) = open_root(&self.home).and_then(|home| remove_tree(&home, Path::new(name))) {
                tracing::warn!(%cause, "half a copy could not be removed");
            }
        })
    }

    fn find(&self, id: &str) -> Result<Arc<Workspace>> {
        self.lock().get(id).cloned().ok_or_else(|| Error::WorkspaceNotFound(id.chars().take(64).collect()))
    }

    fn find_fork(&self, id: &str) -> Result<Arc<Workspace>> {
        let workspace = self.find(id)?;
        if workspace.fork.is_none() { Err(not_a_fork()) } else { Ok(workspace) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Workspace>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_a_fork() -> Error {
    Error::BadRequest("`main` is no fork; it is replaced by PUT /v1/archive".to_owned())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
