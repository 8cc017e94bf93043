//! Who holds what: uses, forks, bounds and eviction, as pure bookkeeping. Trees are removed by the caller.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::HeldWorkspace;
use super::base::Base;
use super::digest::Digest;
use crate::error::{Error, Result};
use crate::snapshot::Manifest;

/// A copy of a base that is as the base is.
#[derive(Debug)]
pub struct Fork {
    /// In the home directory.
    pub name: PathBuf,
    /// Its own stamps, by which it is put back.
    pub manifest: Manifest,
}

/// What has to go for something else.
#[derive(Debug, Default)]
pub struct Room {
    pub names: Vec<PathBuf>,
    pub evicted: Vec<Digest>,
}

#[derive(Debug)]
struct Entry {
    base: Arc<Base>,
    used_at: u64,
    /// Orders uses within one second.
    turn: u64,
    in_use: usize,
    /// Of those in use, the ones that are being put back.
    returning: usize,
    /// Commands that wait for one of these.
    waiting: usize,
    ready: Vec<Fork>,
}

impl Entry {
    fn fork_bytes(&self) -> u64 {
        if self.base.shared.load(Ordering::Relaxed) { 0 } else { self.base.bytes }
    }

    fn bytes(&self) -> u64 {
        let forks = (self.in_use + self.ready.len()) as u64;
        self.base.bytes.saturating_add(self.fork_bytes().saturating_mul(forks))
    }

    fn is_idle(&self) -> bool {
        self.in_use == 0
    }
}

/// All entries within their bounds.
#[derive(Debug)]
pub struct Shelf {
    max_workspaces: usize,
    max_bytes: u64,
    turn: u64,
    entries: HashMap<Digest, Entry>,
}

impl Shelf {
    pub fn new(max_workspaces: usize, max_bytes: u64) -> Self {
        Self { max_workspaces, max_bytes, turn: 0, entries: HashMap::new() }
    }

    pub fn bases(&self) -> impl Iterator<Item = &Arc<Base>> {
        self.entries.values().map(|entry| &entry.base)
    }

    /// Adds a base; given back when it is held already or there is no room.
    pub fn insert(&mut self, base: Arc<Base>, used_at: u64) -> std::result::Result<(), Arc<Base>> {
        let fits = self.entries.len() < self.max_workspaces && base.bytes <= self.max_bytes.saturating_sub(self.used());
        if !fits || self.entries.contains_key(&base.digest) {
            return Err(base);
        }
        self.turn += 1;
        let digest = base.digest;
        let entry = Entry { base, used_at, turn: self.turn, in_use: 0, returning: 0, waiting: 0, ready: Vec::new() };
        self.entries.insert(digest, entry);
        Ok(())
    }

    pub fn touch(&mut self, digest: &Digest, now: u64) {
        self.turn += 1;
        if let Some(entry) = self.entries.get_mut(digest) {
            (entry.used_at, entry.turn) = (now, self.turn);
        }
    }

    pub fn describe(&self, digest: &Digest) -> Option<HeldWorkspace> {
        self.entries.get(digest).map(|entry| HeldWorkspace {
            sha256: digest.to_string(),
            bytes: entry.base.bytes,
            entries: entry.base.manifest.0.len() as u64,
            last_used_at: entry.used_at,
            forks_in_use: entry.in_use,
            forks_ready: entry.ready.len(),
        })
    }

    /// Most recently used first.
    pub fn recent(&self) -> Vec<Digest> {
        let mut order: Vec<(u64, Digest)> = self.entries.iter().map(|(digest, entry)| (entry.turn, *digest)).collect();
        order.sort_unstable_by(|one, other| other.cmp(one));
        order.into_iter().map(|(_, digest)| digest).collect()
    }

    /// A fork that is ready, which counts as in use from now on.
    ///
    /// # Errors
    /// `WorkspaceUnknown`.
    pub fn take_ready(&mut self, digest: &Digest, now: u64) -> Result<Option<(Arc<Base>, Fork)>> {
        self.touch(digest, now);
        let entry = self.entries.get_mut(digest).ok_or(Error::WorkspaceUnknown(*digest))?;
        let Some(fork) = entry.ready.pop() else { return Ok(None) };
        entry.in_use += 1;
        Ok(Some((Arc::clone(&entry.base), fork)))
    }

    /// Room for a fork, which counts as in use from now on and is to be copied. None: forks in use leave no room now.
    ///
    /// # Errors
    /// `WorkspaceUnknown`; `WorkspacesFull` when there is never room.
    pub fn begin_copy(&mut self, digest: &Digest) -> Result<Option<(Arc<Base>, Room)>> {
        let entry = self.entries.get(digest).ok_or(Error::WorkspaceUnknown(*digest))?;
        let Some(room) = self.make_room(entry.fork_bytes(), false, Some(digest)) else {
            let busy = self.entries.values().any(|entry| !entry.is_idle());
            return if busy { Ok(None) } else { Err(Error::WorkspacesFull) };
        };
        let entry = self.entries.get_mut(digest).ok_or(Error::WorkspaceUnknown(*digest))?;
        entry.in_use += 1;
        Ok(Some((Arc::clone(&entry.base), room)))
    }

    /// A fork's command has ended: it is being put back.
    pub fn begin_return(&mut self, digest: &Digest) {
        if let Some(entry) = self.entries.get_mut(digest) {
            entry.returning += 1;
        }
    }

    /// What [`Self::begin_return`] began has ended, one way or the other.
    pub fn end_return(&mut self, digest: &Digest) {
        if let Some(entry) = self.entries.get_mut(digest) {
            entry.returning = entry.returning.saturating_sub(1);
        }
    }

    /// Is a fork about to come back that nobody waits for? Then that is quicker than a copy. True counts the caller
    /// as waiting until [`Self::end_wait`].
    pub fn begin_wait(&mut self, digest: &Digest) -> bool {
        let entry = self.entries.get_mut(digest).filter(|entry| entry.returning > entry.waiting);
        entry.map(|entry| entry.waiting += 1).is_some()
    }

    pub fn end_wait(&mut self, digest: &Digest) {
        if let Some(entry) = self.entries.get_mut(digest) {
            entry.waiting = entry.waiting.saturating_sub(1);
        }
    }

    /// A fork's use has ended, and it is as it began. It is kept ready if there are fewer than `spare`; else it is given
    /// back to be removed, and still counts until [`Self::gone`].
    pub fn give(&mut self, digest: &Digest, fork: Fork, spare: usize) -> Option<Fork> {
        match self.entries.get_mut(digest) {
            Some(entry) if entry.ready.len() < spare => {
                entry.in_use = entry.in_use.saturating_sub(1);
                entry.ready.push(fork);
                None
            }
            _ => Some(fork),
        }
    }

    /// A fork that was in use is no more.
    pub fn gone(&mut self, digest: &Digest) {
        if let Some(entry) = self.entries.get_mut(digest) {
            entry.in_use = entry.in_use.saturating_sub(1);
        }
    }

    /// Lets a workspace go that no command uses.
    ///
    /// # Errors
    /// `WorkspaceUnknown`, `WorkspaceBusy`.
    pub fn discard(&mut self, digest: &Digest) -> Result<Room> {
        let entry = self.entries.get(digest).ok_or(Error::WorkspaceUnknown(*digest))?;
        if !entry.is_idle() {
            return Err(Error::WorkspaceBusy(digest.to_string()));
        }
        let mut room = Room::default();
        self.evict(digest, &mut room);
        Ok(room)
    }

    /// Frees `bytes`, and a place for a workspace if `place`: ready forks go first, then workspaces that no command
    /// uses, least recently used first; `except` keeps its base. None, with nothing changed, if that is not enough.
    pub fn make_room(&mut self, bytes: u64, place: bool, except: Option<&Digest>) -> Option<Room> {
        let oldest_first: Vec<Digest> = self.recent().into_iter().rev().collect();
        let evictable: Vec<Digest> = oldest_first
            .iter()
            .filter(|digest| Some(*digest) != except && self.entries[*digest].is_idle())
            .copied()
            .collect();
        let keeps: u64 = self
            .entries
            .iter()
            .filter(|(digest, _)| !evictable.contains(digest))
            .map(|(_, entry)| entry.bytes() - entry.fork_bytes() * entry.ready.len() as u64)
            .sum();
        let full = |shelf: &Self| place && shelf.entries.len() >= shelf.max_workspaces;
        if keeps.saturating_add(bytes) > self.max_bytes || (full(self) && evictable.is_empty()) {
            return None;
        }
        let mut room = Room::default();
        let short = |shelf: &Self| shelf.used().saturating_add(bytes) > shelf.max_bytes;
        for digest in &oldest_first {
            while short(self)
                && let Some(fork) = self.entries.get_mut(digest).and_then(|entry| entry.ready.pop())
            {
                room.names.push(fork.name);
            }
        }
        for digest in &evictable {
            if short(self) || full(self) {
                self.evict(digest, &mut room);
            }
        }
        Some(room)
    }

    fn evict(&mut self, digest: &Digest, room: &mut Room) {
        if let Some(entry) = self.entries.remove(digest) {
            room.names.push(entry.base.name.clone());
            room.names.extend(entry.ready.into_iter().map(|fork| fork.name));
            room.evicted.push(*digest);
        }
    }

    fn used(&self) -> u64 {
        self.entries.values().map(Entry::bytes).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::super::base::Base;
    use super::super::digest::Digest;
    use super::{Fork, Shelf};
    use crate::error::Error;
    use crate::snapshot::Manifest;

    fn digest(number: u8) -> Digest {
        Digest::parse(&format!("{number:064x}")).unwrap()
    }

    fn base(number: u8, bytes: u64) -> Arc<Base> {
        Arc::new(Base {
            digest: digest(number),
            name: PathBuf::from(format!("w-{number}")),
            manifest: Manifest::default(),
            bytes,
            shared: AtomicBool::new(false),
        })
    }

    fn fork(name: &str) -> Fork {
        Fork { name: PathBuf::from(name), manifest: Manifest::default() }
    }

    fn shelf(max_workspaces: usize, max_bytes: u64, bases: &[(u8, u64)]) -> Shelf {
        let mut shelf = Shelf::new(max_workspaces, max_bytes);
        for (number, bytes) in bases {
            shelf.insert(base(*number, *bytes), 0).unwrap();
        }
        shelf
    }

    #[test]
    fn the_least_recently_used_goes_first_and_only_as_much_as_needed() {
        let mut shelf = shelf(9, 30, &[(1, 10), (2, 10), (3, 10)]);
        shelf.touch(&digest(1), 1);
        let room = shelf.make_room(15, true, None).unwrap();
        assert_eq!(room.evicted, [digest(2), digest(3)]);
        assert_eq!(shelf.recent(), [digest(1)]);
    }

    #[test]
    fn a_place_costs_one_workspace_even_where_bytes_are_free() {
        let mut shelf = shelf(2, 1000, &[(1, 1), (2, 1)]);
        assert_eq!(shelf.make_room(1, true, None).unwrap().evicted, [digest(1)]);
        assert!(shelf.insert(base(3, 1), 0).is_ok());
        assert!(shelf.insert(base(4, 1), 0).is_err());
        assert!(shelf.insert(base(3, 1), 0).is_err(), "held already");
    }

    #[test]
    fn ready_forks_go_before_workspaces_and_what_is_in_use_stays() {
        let mut shelf = shelf(9, 40, &[(1, 10), (2, 10)]);
        assert!(shelf.take_ready(&digest(1), 1).unwrap().is_none());
        shelf.begin_copy(&digest(1)).unwrap().unwrap();
        assert!(shelf.give(&digest(1), fork("c-1"), 1).is_none());
        shelf.touch(&digest(2), 2);
        let (_, room) = shelf.begin_copy(&digest(2)).unwrap().unwrap();
        assert!(room.names.is_empty(), "there is room for both forks");
        let room = shelf.make_room(10, true, None).unwrap();
        assert_eq!((room.names, room.evicted), (vec![PathBuf::from("c-1")], vec![]));
        let room = shelf.make_room(20, true, None).unwrap();
        assert_eq!(room.evicted, [digest(1)]);
        assert!(shelf.make_room(21, true, None).is_none());
        assert_eq!(shelf.recent(), [digest(2)], "what is not enough changes nothing");
        assert!(matches!(shelf.discard(&digest(2)), Err(Error::WorkspaceBusy(_))));
        shelf.gone(&digest(2));
        assert_eq!(shelf.discard(&digest(2)).unwrap().names, [PathBuf::from("w-2")]);
    }

    #[test]
    fn a_fork_waits_for_others_and_is_refused_where_there_is_never_room() {
        let mut shelf = shelf(9, 25, &[(1, 10)]);
        assert!(shelf.begin_copy(&digest(1)).unwrap().is_some());
        assert!(shelf.begin_copy(&digest(1)).unwrap().is_none());
        shelf.gone(&digest(1));
        assert!(matches!(shelf.take_ready(&digest(2), 1), Err(Error::WorkspaceUnknown(_))));
        let mut tight = self::shelf(9, 15, &[(1, 10)]);
        assert!(matches!(tight.begin_copy(&digest(1)), Err(Error::WorkspacesFull)));
    }

    #[test]
    fn a_fork_that_is_given_back_serves_again_but_no_more_than_are_spared() {
        let mut shelf = shelf(9, 100, &[(1, 10)]);
        for _ in 0..2 {
            shelf.begin_copy(&digest(1)).unwrap().unwrap();
        }
        assert!(shelf.give(&digest(1), fork("c-1"), 1).is_none());
        assert_eq!(shelf.give(&digest(1), fork("c-2"), 1).unwrap().name, PathBuf::from("c-2"));
        assert_eq!(shelf.describe(&digest(1)).unwrap().forks_in_use, 1, "it counts until it is gone");
        shelf.gone(&digest(1));
        assert_eq!(shelf.take_ready(&digest(1), 1).unwrap().unwrap().1.name, PathBuf::from("c-1"));
        assert!(shelf.take_ready(&digest(1), 1).unwrap().is_none());
    }

    #[test]
    fn each_fork_that_is_being_put_back_is_waited_for_by_one() {
        let mut shelf = shelf(9, 100, &[(1, 10)]);
        shelf.begin_copy(&digest(1)).unwrap().unwrap();
        assert!(!shelf.begin_wait(&digest(1)), "its command still runs");
        shelf.begin_return(&digest(1));
        assert_eq!([shelf.begin_wait(&digest(1)), shelf.begin_wait(&digest(1))], [true, false]);
        shelf.end_wait(&digest(1));
        assert!(shelf.begin_wait(&digest(1)));
        shelf.end_return(&digest(1));
        shelf.end_wait(&digest(1));
        assert!(!shelf.begin_wait(&digest(1)));
    }

    #[test]
    fn blocks_that_are_shared_cost_nothing() {
        let mut shelf = shelf(9, 10, &[(1, 10)]);
        shelf.bases().next().unwrap().shared.store(true, std::sync::atomic::Ordering::Relaxed);
        for _ in 0..5 {
            assert!(shelf.begin_copy(&digest(1)).unwrap().is_some());
        }
    }
}
