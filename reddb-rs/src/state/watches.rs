//! Keys that clients watch between WATCH and EXEC.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::Keyspace;

/// What one client watches: keys, and the version that each had when the watch began.
pub type Watched = BTreeMap<Bytes, u64>;

/// How often each watched key has changed. Keys that nobody watches have no place here, so that a change of them costs one
/// look into a table that is most often empty.
#[derive(Default)]
pub(super) struct Watches {
    keys: HashMap<Bytes, Changes, foldhash::fast::RandomState>,
}

#[derive(Default)]
struct Changes {
    version: u64,
    watchers: usize,
}

impl Watches {
    /// Notes that `key` changes.
    pub fn touch(&mut self, key: &[u8]) {
        if let Some(version) = self.version(key) {
            *version += 1;
        }
    }

    /// What to count up when `key` changes; `None` if nobody watches it.
    pub fn version(&mut self, key: &[u8]) -> Option<&mut u64> {
        self.keys.get_mut(key).map(|changes| &mut changes.version)
    }

    fn begin(&mut self, key: Bytes) -> u64 {
        let changes = self.keys.entry(key).or_default();
        changes.watchers += 1;
        changes.version
    }

    /// Returns the version that the watch ends with.
    fn end(&mut self, key: &[u8]) -> Option<u64> {
        let changes = self.keys.get_mut(key)?;
        let version = changes.version;
        changes.watchers -= 1;
        if changes.watchers == 0 {
            self.keys.remove(key);
        }
        Some(version)
    }
}

impl Keyspace {
    /// Adds `key` to what is `watched`. A key that has expired by now counts as absent: that it goes is no change.
    pub fn watch(&mut self, watched: &mut Watched, key: &[u8]) {
        if watched.contains_key(key) {
            return;
        }
        self.remove_if_expired(key);
        let key = Bytes::copy_from_slice(key);
        let version = self.watches.begin(key.clone());
        watched.insert(key, version);
    }

    /// Ends every watch in `watched`. Returns whether all its keys stayed as they were; one that expired did not.
    pub fn unwatch(&mut self, watched: &mut Watched) -> bool {
        let mut unchanged = true;
        for (key, version) in std::mem::take(watched) {
            self.remove_if_expired(&key);
            unchanged &= self.watches.end(&key) == Some(version);
        }
        unchanged
    }

    /// Number of keys that anyone watches.
    #[must_use]
    pub fn watched_keys(&self) -> usize {
        self.watches.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Durability;
    use crate::state::StreamId;
    use crate::store::open;

    const NOW_MS: u64 = 1_000;

    /// An empty keyspace, in a directory that has to outlive it.
    fn keyspace(directory: &std::path::Path) -> Keyspace {
        open::data(directory, Durability::None).unwrap();
        Keyspace::open(directory, NOW_MS, usize::MAX, || {}).unwrap()
    }

    /// Whether a watch of `k` that begins now outlives `change`.
    fn outlives(keyspace: &mut Keyspace, change: impl FnOnce(&mut Keyspace)) -> bool {
        let mut watched = Watched::new();
        keyspace.watch(&mut watched, b"k");
        change(keyspace);
        keyspace.unwatch(&mut watched)
    }

    #[test]
    fn every_change_of_the_key_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let mut keyspace = keyspace(directory.path());
        assert!(!outlives(&mut keyspace, |all| all.set_string(b"k", "1".into(), 0)));
        assert!(!outlives(&mut keyspace, |all| all.set_string(b"k", "1".into(), 0)));
        assert!(!outlives(&mut keyspace, |all| assert!(all.set_expiry(b"k", NOW_MS + 5))));
        assert!(outlives(&mut keyspace, |all| all.set_string(b"other", "1".into(), 0)));
        assert!(!outlives(&mut keyspace, |all| assert!(all.remove(b"k"))));
        assert!(outlives(&mut keyspace, |all| assert!(!all.remove(b"k"))));
        assert!(!outlives(&mut keyspace, |all| all.create_stream(b"k")));
        let id = StreamId::new(1, 0);
        assert!(!outlives(&mut keyspace, |all| all.edit_stream(b"k").unwrap().unwrap().append(id, "*0\r\n".into())));
        assert!(outlives(&mut keyspace, |all| all.edit_stream(b"k").unwrap().unwrap().put_group(b"g", id, None)));
        assert!(!outlives(&mut keyspace, |all| assert!(all.edit_stream(b"k").unwrap().unwrap().delete(id))));
        assert!(!outlives(&mut keyspace, |all| all.set_string(b"k", "1".into(), 0)));
    }

    #[test]
    fn expiry_is_a_change_unless_it_came_before_the_watch() {
        let directory = tempfile::tempdir().unwrap();
        let mut keyspace = keyspace(directory.path());
        keyspace.set_string(b"k", "1".into(), NOW_MS + 1);
        assert!(!outlives(&mut keyspace, |all| all.now_ms += 1));
        keyspace.set_string(b"k", "1".into(), NOW_MS + 1);
        assert!(outlives(&mut keyspace, |all| assert_eq!(all.sweep(9), 0)));
        keyspace.set_string(b"k", "1".into(), NOW_MS + 2);
        assert!(!outlives(&mut keyspace, |all| {
            all.now_ms += 1;
            assert_eq!(all.sweep(9), 1);
        }));
    }

    #[test]
    fn a_watch_that_ended_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut keyspace = keyspace(directory.path());
        let (mut one, mut another) = (Watched::new(), Watched::new());
        keyspace.watch(&mut one, b"k");
        keyspace.watch(&mut one, b"k");
        keyspace.set_string(b"k", "1".into(), 0);
        keyspace.watch(&mut another, b"k");
        assert!(!keyspace.unwatch(&mut one));
        assert!(keyspace.unwatch(&mut another));
        assert!(one.is_empty() && keyspace.watched_keys() == 0);
    }
}
