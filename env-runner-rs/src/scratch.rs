//! Fresh empty workspaces, one for each command that names none of its own. Nothing goes from one to another.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};
use crate::files::{open_root, remove_tree};
use crate::install::random_hex;
use crate::telemetry;

/// The name by which a command asks for one.
pub const SCRATCH: &str = "scratch";
/// How long a command waits for others' to be removed before its client is told to come again.
const PATIENCE: Duration = Duration::from_secs(10);

/// All scratch workspaces of a runner.
#[derive(Debug)]
pub struct Scratches {
    home: PathBuf,
    /// Those that are being removed counted: when commands are quicker than cleaning, they wait.
    places: Arc<Semaphore>,
    runtime: Handle,
}

impl Scratches {
    /// In `home`, where no command may read, for as many commands at one time. Call within a runtime.
    pub fn new(home: PathBuf, concurrency: usize) -> Self {
        Self { home, places: Arc::new(Semaphore::new(2 * concurrency)), runtime: Handle::current() }
    }

    /// An empty directory for one command.
    ///
    /// # Errors
    /// `TooManyRequests` when others leave no place for a while, or our own failure to make it.
    pub async fn make(&self) -> Result<Scratch> {
        let place = tokio::time::timeout(PATIENCE, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| Error::TooManyRequests)?.map_err(Error::internal)?;
        // Not to be guessed: Landlock does not keep a command from changing the mode of a path that it knows.
        let name = PathBuf::from(format!("s-{}", random_hex(16)?));
        DirBuilder::new().mode(0o700).create(self.home.join(&name))?;
        Ok(Scratch { home: self.home.clone(), name, place: Some(place), runtime: self.runtime.clone() })
    }
}

/// A directory that one command has to itself. Dropped, it is removed: in the background if anything was left in it.
#[derive(Debug)]
pub struct Scratch {
    home: PathBuf,
    name: PathBuf,
    place: Option<OwnedSemaphorePermit>,
    runtime: Handle,
}

impl Scratch {
    pub fn path(&self) -> PathBuf {
        self.home.join(&self.name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::fs::remove_dir(self.path()).is_ok() {
            return;
        }
        let (home, name, place) = (std::mem::take(&mut self.home), std::mem::take(&mut self.name), self.place.take());
        self.runtime.spawn_blocking(telemetry::carried(move || {
            if let Err(cause) = remove(&home, &name) {
                tracing::warn!(%cause, "a command's scratch workspace could not be removed");
            }
            drop(place);
        }));
    }
}

fn remove(home: &Path, name: &Path) -> io::Result<()> {
    remove_tree(&open_root(home)?, name)
}
