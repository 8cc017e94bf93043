//! Keys come into memory while commands already run: a thread reads them from the tables, and a command that needs one
//! sooner looks it up itself.
//!
//! Memory is ahead of the tables. So whatever is read from them counts only for a key that memory knows nothing of:
//! neither that it is there nor, in `ahead`, what became of it.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::Connection;

use super::keyspace::{Entry, KEY_OVERHEAD_BYTES, Keyspace, Value};
use crate::error::{CommandError, StoreError};
use crate::store::keys::{self, KeyRow};

/// Keys taken over at once, between two turns of the loop: about a millisecond.
const CHUNK_KEYS: usize = 2048;
/// Chunks that wait for the loop.
const WAITING_CHUNKS: usize = 4;

/// What became of a key that is not in memory, after the tables were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    Gone,
    Expires(u64),
}

/// What the thread sends: rows, or `None` after the last.
type Chunk = Result<Option<Vec<KeyRow>>, StoreError>;

/// A load in progress.
pub(super) struct Loading {
    chunks: Receiver<Chunk>,
    pub ahead: HashMap<Bytes, Ahead, foldhash::fast::RandomState>,
}

impl Loading {
    /// Starts the thread. It calls `on_chunk` whenever there is something to take.
    pub fn start(scanner: Connection, on_chunk: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let (sender, chunks) = sync_channel(WAITING_CHUNKS);
        std::thread::Builder::new().name("load".into()).spawn(move || {
            let end = read_all(&scanner, &sender, &on_chunk).map(|()| None);
            // Nobody listens any more when the server stops.
            let _ = sender.send(end);
            on_chunk();
        })?;
        Ok(Self { chunks, ahead: HashMap::default() })
    }
}

fn read_all(scanner: &Connection, chunks: &SyncSender<Chunk>, on_chunk: &impl Fn()) -> Result<(), StoreError> {
    let mut after: Option<Bytes> = None;
    loop {
        // Each chunk is a statement of its own, so that checkpoints are not held up.
        let rows = keys::scan(scanner, after.as_deref(), CHUNK_KEYS)?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = Some(last.key.clone());
        if chunks.send(Ok(Some(rows))).is_err() {
            return Ok(());
        }
        on_chunk();
    }
}

impl Keyspace {
    /// Whether some keys may still be in the tables only.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// Refuses what takes all keys until they are in memory.
    ///
    /// # Errors
    /// [`CommandError::Loading`].
    pub fn require_all_keys(&self) -> Result<(), CommandError> {
        if self.is_loading() { Err(CommandError::Loading) } else { Ok(()) }
    }

    /// Takes over some keys that were read; false if none are waiting.
    ///
    /// # Errors
    /// When the tables cannot be read, now or by a command before.
    pub fn load_more(&mut self) -> Result<bool, StoreError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let Some(loading) = &self.loading else {
            return Ok(false);
        };
        match loading.chunks.try_recv() {
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => Err(StoreError::Load),
            Ok(chunk) => self.take(chunk),
        }
    }

    /// Waits until all keys are in memory, but no longer than `patience`.
    ///
    /// # Errors
    /// As [`Keyspace::load_more`].
    pub fn load_for(&mut self, patience: Duration) -> Result<(), StoreError> {
        let until = Instant::now() + patience;
        while let Some(loading) = &self.loading {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match loading.chunks.recv_timeout(left) {
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Err(StoreError::Load),
                Ok(chunk) => self.take(chunk)?,
            };
        }
        Ok(())
    }

    fn take(&mut self, chunk: Chunk) -> Result<bool, StoreError> {
        let Some(rows) = chunk? else {
            self.loading = None;
            tracing::info!(keys = self.len(), "all keys are in memory");
            return Ok(false);
        };
        for row in rows {
            self.restore(row);
        }
        Ok(true)
    }

    /// Makes sure that a key which the tables have is in memory too. A failure ends the server before it acknowledges
    /// anything ([`Keyspace::load_more`]).
    pub(super) fn fault_in(&mut self, key: &[u8]) {
        let Some(loading) = &self.loading else {
            return;
        };
        if self.keys.contains_key(key) || loading.ahead.get(key) == Some(&Ahead::Gone) {
            return;
        }
        match keys::find(&self.tables, key) {
            Ok(None) => {}
            Ok(Some(row)) => self.restore(row),
            Err(error) => self.failure = Some(error),
        }
    }

    fn restore(&mut self, row: KeyRow) {
        let KeyRow { key, kind, mut expires_ms } = row;
        let Some(loading) = &mut self.loading else {
            return;
        };
        if self.keys.contains_key(&key) {
            return;
        }
        match loading.ahead.get(&key) {
            Some(Ahead::Gone) => return,
            Some(Ahead::Expires(at)) => expires_ms = *at,
            None => {}
        }
        self.cached_bytes += key.len() + KEY_OVERHEAD_BYTES;
        self.index_expiry(&key, 0, expires_ms);
        self.keys.insert(key, Entry { value: Value::Cold(kind), expires_ms, changed: 0, used: false });
    }

    /// Notes what became of a key that is not in memory.
    pub(super) fn note_ahead(&mut self, key: Bytes, what: Ahead) {
        if let Some(loading) = &mut self.loading {
            loading.ahead.insert(key, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Durability;
    use crate::store::{Mutation, fold, open};

    const KEYS: usize = 3 * CHUNK_KEYS + 1;

    fn key(number: usize) -> String {
        format!("key-{number:05}")
    }

    fn filled(directory: &std::path::Path) -> (Connection, Keyspace) {
        let mut data = open::data(directory, Durability::None).unwrap();
        let put = |number| Mutation::PutString { key: key(number).into(), expires_ms: 0, value: key(number).into() };
        fold::fold(&mut data, &(0..KEYS).map(put).collect::<Vec<_>>(), 1).unwrap();
        (data, Keyspace::open(directory, 1, usize::MAX, || {}).unwrap())
    }

    #[test]
    fn a_key_is_there_before_its_turn_and_a_deleted_one_does_not_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let (_data, mut all) = filled(directory.path());
        let last = key(KEYS - 1);
        assert_eq!(all.string(last.as_bytes()).unwrap(), Some(&Bytes::from(last.clone())));
        assert!(all.remove(key(1).as_bytes()));
        assert!(all.peek(key(1).as_bytes()).is_none());
        all.set_string(key(2).as_bytes(), "new".into(), 0);
        assert_eq!(all.len(), 2);
        all.load_for(Duration::from_secs(60)).unwrap();
        assert_eq!(all.len(), KEYS - 1);
        assert!(all.peek(key(1).as_bytes()).is_none());
        assert_eq!(all.string(key(2).as_bytes()).unwrap(), Some(&Bytes::from("new")));
    }

    #[test]
    fn what_takes_all_keys_is_refused_until_they_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let (_data, mut all) = filled(directory.path());
        assert!(matches!(all.require_all_keys(), Err(CommandError::Loading)));
        all.load_for(Duration::from_secs(60)).unwrap();
        all.require_all_keys().unwrap();
    }

    /// A key that could not be looked up must not pass for an absent one: SETNX would take its place.
    #[test]
    fn a_key_that_cannot_be_read_ends_the_server() {
        let directory = tempfile::tempdir().unwrap();
        let (data, mut all) = filled(directory.path());
        data.execute_batch("DROP TABLE keys").unwrap();
        all.peek(b"any");
        assert!(matches!(all.load_more(), Err(StoreError::Sqlite(_))));
    }
}
