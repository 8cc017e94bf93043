//! Forks of held workspaces: one for each command, copied or put back, never two commands' at once.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::base::Base;
use super::replant::replant;
use super::shelf::{Fork, Room};
use super::untouched::ensure_untouched;
use super::{Digest, Held, now};
use crate::error::{Error, Result};
use crate::files::open_root;
use crate::install::random_hex;
use crate::snapshot::{self, Manifest, Method};
use crate::telemetry;

/// As every root of a fork begins.
const ROOT_MODE: u32 = 0o755;
/// How long a command waits for a fork before its client is told to come again.
const PATIENCE: Duration = Duration::from_secs(10);

/// A fork that one command has to itself. Dropped, it is cleaned up in the background.
#[derive(Debug)]
pub struct Loan {
    held: Arc<Held>,
    base: Arc<Base>,
    fork: Option<Fork>,
    /// Has a command begun in it that is not known to be dead with all its processes?
    in_doubt: bool,
    place: Option<OwnedSemaphorePermit>,
}

impl Loan {
    fn new(held: &Arc<Held>, base: Arc<Base>, fork: Option<Fork>, place: OwnedSemaphorePermit) -> Self {
        Self { held: Arc::clone(held), base, fork, in_doubt: false, place: Some(place) }
    }

    pub fn path(&self) -> PathBuf {
        self.fork.as_ref().map_or_else(PathBuf::new, |fork| self.held.home.join(&fork.name))
    }

    /// A command begins. Unless it is known to have ended, the fork is thrown away.
    pub fn begin(&mut self) {
        self.in_doubt = true;
    }

    /// The command and all its processes are dead: the fork may be put back.
    pub fn end(&mut self) {
        self.in_doubt = false;
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let (held, base, fork) = (Arc::clone(&self.held), Arc::clone(&self.base), self.fork.take());
        let (in_doubt, place) = (self.in_doubt, self.place.take());
        held.shelf().begin_return(&base.digest);
        self.held.runtime.spawn_blocking(telemetry::carried(move || {
            held.clean_up(&base, fork, in_doubt);
            held.shelf().end_return(&base.digest);
            held.returned.notify_waiters();
            drop(place);
        }));
    }
}

/// How a command gets its fork.
enum Next {
    Ready(Arc<Base>, Fork),
    /// By a copy, once what made room for it is removed.
    Copy(OwnedSemaphorePermit, Arc<Base>, Room),
}

/// Counts a command as waiting for a fork that is being put back.
struct Waiting<'a>(&'a Held, &'a Digest);

impl<'a> Waiting<'a> {
    fn begin(held: &'a Held, digest: &'a Digest) -> Option<Self> {
        let waits = held.shelf().begin_wait(digest); // unlocked before the drop of what is not wanted
        waits.then(|| Self(held, digest))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.shelf().end_wait(self.1);
    }
}

impl Held {
    /// A fork of its own for a command.
    ///
    /// # Errors
    /// `WorkspaceUnknown`, `WorkspacesFull`, `TooManyRequests` when others leave no room for a while.
    pub async fn take(self: &Arc<Self>, digest: &Digest) -> Result<Loan> {
        let deadline = Instant::now() + PATIENCE;
        let in_time = |_| Error::TooManyRequests;
        let place = timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await.map_err(in_time)?;
        let place = place.map_err(Error::internal)?;
        match timeout_at(deadline, self.next(digest)).await.map_err(in_time)?? {
            Next::Ready(base, fork) => Ok(Loan::new(self, base, Some(fork), place)),
            Next::Copy(turn, base, room) => self.copy_for(turn, Loan::new(self, base, None, place), room).await,
        }
    }

    /// What comes first: a fork that another command gives back, or the turn to copy one.
    async fn next(&self, digest: &Digest) -> Result<Next> {
        loop {
            let mut returned = pin!(self.returned.notified());
            returned.as_mut().enable();
            if let Some((base, fork)) = self.shelf().take_ready(digest, now())? {
                return Ok(Next::Ready(base, fork));
            }
            if let Some(_waiting) = Waiting::begin(self, digest) {
                returned.await;
                continue;
            }
            tokio::select! {
                () = &mut returned => continue,
                turn = Arc::clone(&self.copying).acquire_owned() => {
                    let turn = turn.map_err(Error::internal)?;
                    if let Some((base, room)) = self.shelf().begin_copy(digest)? {
                        return Ok(Next::Copy(turn, base, room));
                    }
                }
            }
            returned.await; // no room until one is back
        }
    }

    async fn copy_for(self: &Arc<Self>, turn: OwnedSemaphorePermit, mut loan: Loan, room: Room) -> Result<Loan> {
        let held = Arc::clone(self);
        let copied = telemetry::spawn_blocking(move || {
            let _turn = turn;
            held.remove(&room);
            loan.fork = Some(held.copy(&loan.base)?);
            io::Result::Ok(loan)
        });
        Ok(copied.await.map_err(Error::internal)??)
    }

    fn copy(&self, base: &Base) -> io::Result<Fork> {
        let name = fresh_name()?;
        let place = self.home.join(&name);
        fs::create_dir(&place)?;
        let copied = self.fill(base, &place);
        if copied.is_err() {
            self.remove_name(&name);
        }
        Ok(Fork { name, manifest: copied? })
    }

    fn fill(&self, base: &Base, place: &Path) -> io::Result<Manifest> {
        fs::set_permissions(place, Permissions::from_mode(ROOT_MODE))?;
        let target = open_root(place)?;
        let method = snapshot::copy_tree(&open_root(&base.tree(&self.home))?, &target, &base.manifest, u64::MAX)?;
        if method == Method::Reflink {
            base.shared.store(true, Ordering::Relaxed);
        }
        Manifest::read(&target, self.limits)
    }

    fn clean_up(&self, base: &Base, fork: Option<Fork>, in_doubt: bool) {
        let started = Instant::now();
        let left = match fork {
            Some(fork) if !in_doubt => match self.put_back(base, &fork) {
                Ok(fork) => match self.shelf().give(&base.digest, fork, self.settings.spare_forks) {
                    None => {
                        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                        tracing::debug!(took_ms, sha256 = base.digest.brief(), "a fork was put back");
                        return;
                    }
                    surplus => surplus,
                },
                Err(cause) => {
                    tracing::debug!(%cause, sha256 = base.digest.brief(), "a fork is thrown away");
                    Some(fork)
                }
            },
            left => left,
        };
        if let Some(fork) = left {
            self.remove_name(&fork.name);
        }
        self.shelf().gone(&base.digest);
    }

    /// As it began and under another name: the command may have told others the old one. On an error it is to be
    /// thrown away, and nothing is left under the new name.
    fn put_back(&self, base: &Base, fork: &Fork) -> io::Result<Fork> {
        let old = self.home.join(&fork.name);
        let root = open_root(&old)?;
        let mut manifest = snapshot::reset(&root, &open_root(&base.tree(&self.home))?, &fork.manifest, self.limits)?;
        let name = fresh_name()?;
        let new = self.home.join(&name);
        if self.settings.commands_apart {
            fs::set_permissions(&old, Permissions::from_mode(ROOT_MODE))?;
            ensure_untouched(&root, &manifest)?;
            fs::rename(&old, &new)?;
            return Ok(Fork { name, manifest });
        }
        fs::create_dir(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(ROOT_MODE))?;
        let replanted = open_root(&new).and_then(|target| {
            replant(&root, &target, &manifest)?;
            Manifest::read(&target, self.limits)
        });
        match replanted {
            Ok(fresh) => manifest = fresh,
            Err(error) => {
                self.remove_name(&name);
                return Err(error);
            }
        }
        self.remove_name(&fork.name);
        Ok(Fork { name, manifest })
    }
}

fn fresh_name() -> io::Result<PathBuf> {
    Ok(PathBuf::from(format!("c-{}", random_hex(16)?)))
}
