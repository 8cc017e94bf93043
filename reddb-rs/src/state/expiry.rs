//! Keys that go by themselves: when asked for after their time, or when swept.

use bytes::Bytes;

use super::keyspace::Keyspace;
use crate::store::Mutation;

impl Keyspace {
    /// Changes a live key's expiry; false if there is no such key. 0: never.
    pub fn set_expiry(&mut self, key: &[u8], expires_ms: u64) -> bool {
        self.remove_if_expired(key);
        let Some(key) = self.put_expiry(key, expires_ms) else {
            return false;
        };
        self.watches.touch(&key);
        self.journal.push(Mutation::Expire { key, expires_ms });
        true
    }

    /// Changes the expiry of a key in memory; `None` if it is not there.
    pub(super) fn put_expiry(&mut self, key: &[u8], expires_ms: u64) -> Option<Bytes> {
        let batch = self.batch;
        let (_, key, entry) = self.keys.get_full_mut(key)?;
        let (key, before) = (key.clone(), std::mem::replace(&mut entry.expires_ms, expires_ms));
        entry.changed = batch;
        self.index_expiry(&key, before, expires_ms);
        Some(key)
    }

    /// Deletes keys that have expired, at most `limit`; returns how many went.
    pub fn sweep(&mut self, limit: usize) -> usize {
        let now_ms = self.now_ms;
        let due: Vec<Bytes> =
            self.expiries.iter().take_while(|(at, _)| *at <= now_ms).take(limit).map(|(_, key)| key.clone()).collect();
        due.iter().filter(|key| self.remove_now(key)).count()
    }

    /// When the next key expires.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// What every look at a key begins with: it comes into memory, and goes if its time has come.
    pub(super) fn remove_if_expired(&mut self, key: &[u8]) {
        self.fault_in(key);
        if self.expiries.is_empty() {
            return;
        }
        if self.keys.get(key).is_some_and(|entry| is_due(entry.expires_ms, self.now_ms)) {
            self.remove_now(key);
        }
    }

    pub(super) fn index_expiry(&mut self, key: &Bytes, before: u64, after: u64) {
        if before == after {
            return;
        }
        if before != 0 {
            self.expiries.remove(&(before, key.clone()));
        }
        if after != 0 {
            self.expiries.insert((after, key.clone()));
        }
    }
}

/// Whether the time has come.
pub(super) fn is_due(expires_ms: u64, now_ms: u64) -> bool {
    expires_ms != 0 && expires_ms <= now_ms
}
