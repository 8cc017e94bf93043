//! Every key, its expiry, and a cache of values in front of the tables.
//!
//! Keys stay in memory once they are there (`loading.rs`); values of keys that were folded into the tables may leave it
//! ([`Value::Cold`]) and come back when they are asked for.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use indexmap::IndexMap;
use rusqlite::Connection;

use super::cache::value_bytes;
use super::expiry::is_due;
use super::loading::{Ahead, Loading};
use super::watches::Watches;
use super::{Stream, StreamEdit, StreamId};
use crate::error::{CommandError, StoreError};
use crate::store::keys::KeyKind;
use crate::store::{Batch, Mutation, open, streams};

/// Cost of a key beside its bytes, roughly, for the cache's budget.
pub(super) const KEY_OVERHEAD_BYTES: usize = 96;

/// A value, or where to find it.
#[derive(Debug)]
pub enum Value {
    String(Bytes),
    Stream(Box<Stream>),
    /// In the tables only.
    Cold(KeyKind),
}

#[derive(Debug)]
pub struct Entry {
    pub value: Value,
    /// Unix time in milliseconds; 0 never.
    pub expires_ms: u64,
    /// Number of the journal batch that changed it last.
    pub(super) changed: u64,
    /// Used since the eviction hand passed.
    pub(super) used: bool,
}

/// The state that commands read and change. One thread owns it.
pub struct Keyspace {
    pub(super) keys: IndexMap<Bytes, Entry, foldhash::fast::RandomState>,
    pub(super) expiries: BTreeSet<(u64, Bytes)>,
    pub(super) tables: Connection,
    pub(super) last_stream: u64,
    pub(super) cached_bytes: usize,
    pub(super) hand: usize,
    pub(super) watches: Watches,
    /// `None` once all keys are in memory.
    pub(super) loading: Option<Loading>,
    /// Why a key that may exist could not be looked up: nothing may be acknowledged any more.
    pub(super) failure: Option<StoreError>,
    /// Changes since the last commit, in order.
    pub journal: Batch,
    /// Keys whose waiting readers should look again.
    pub signaled: Vec<Bytes>,
    /// Unix time in milliseconds, set once per turn of the loop so that a transaction sees one time.
    pub now_ms: u64,
    /// Number of the journal batch being collected.
    pub batch: u64,
}

impl Keyspace {
    /// The keys of the tables in `directory`, which a thread begins to read; it calls `on_chunk` when
    /// [`Keyspace::load_more`] has something to do.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn open(
        directory: &Path,
        now_ms: u64,
        max_commit_bytes: usize,
        on_chunk: impl Fn() + Send + 'static,
    ) -> Result<Self, StoreError> {
        let loading = Loading::start(open::data_reader(directory)?, on_chunk)
            .map_err(|source| StoreError::Io { path: directory.to_owned(), source })?;
        let tables = open::data_reader(directory)?;
        Ok(Self {
            keys: IndexMap::default(),
            expiries: BTreeSet::new(),
            last_stream: streams::last_stream_number(&tables)?,
            tables,
            cached_bytes: 0,
            hand: 0,
            watches: Watches::default(),
            loading: Some(loading),
            failure: None,
            journal: Batch::new(max_commit_bytes),
            signaled: Vec::new(),
            now_ms,
            batch: 1,
        })
    }

    /// Number of keys in memory, including those that expired and were not swept yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// The entry of a live key, with its value possibly cold. An expired key is deleted on the way.
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        self.remove_if_expired(key);
        self.keys.get(key)
    }

    /// The value of a string key.
    ///
    /// # Errors
    /// [`CommandError::WrongType`] for a stream; [`CommandError::Storage`].
    pub fn string(&mut self, key: &[u8]) -> Result<Option<&Bytes>, CommandError> {
        match self.load(key)? {
            None => Ok(None),
            Some(Entry { value: Value::String(value), .. }) => Ok(Some(value)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// Sets a string whatever the key held before. `expires_ms` 0: never.
    pub fn set_string(&mut self, key: &[u8], value: Bytes, expires_ms: u64) {
        self.watches.touch(key);
        self.fault_in(key);
        self.drop_stream_rows(key);
        let key = self.place(key, Value::String(value.clone()), expires_ms);
        self.journal.push(Mutation::PutString { key, expires_ms, value });
    }

    /// Puts a value into memory, whatever the key held before, and returns the key as it is kept there.
    pub(super) fn place(&mut self, key: &[u8], value: Value, expires_ms: u64) -> Bytes {
        self.cached_bytes += value_bytes(&value);
        if let Some((_, key, entry)) = self.keys.get_full_mut(key) {
            let old = std::mem::replace(&mut entry.value, value);
            self.cached_bytes = self.cached_bytes.saturating_sub(value_bytes(&old));
            (entry.changed, entry.used) = (self.batch, true);
            let (key, before) = (key.clone(), std::mem::replace(&mut entry.expires_ms, expires_ms));
            self.index_expiry(&key, before, expires_ms);
            return key;
        }
        let key = Bytes::copy_from_slice(key);
        self.cached_bytes += key.len() + KEY_OVERHEAD_BYTES;
        self.index_expiry(&key, 0, expires_ms);
        self.keys.insert(key.clone(), Entry { value, expires_ms, changed: self.batch, used: true });
        key
    }

    /// Deletes a key; false if there was none.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.remove_if_expired(key);
        self.remove_now(key)
    }

    /// The stream at `key`, for reading.
    ///
    /// # Errors
    /// [`CommandError::WrongType`] for a string; [`CommandError::Storage`].
    pub fn stream(&mut self, key: &[u8]) -> Result<Option<&Stream>, CommandError> {
        match self.load(key)? {
            None => Ok(None),
            Some(Entry { value: Value::Stream(stream), .. }) => Ok(Some(stream)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The stream at `key`, for writing.
    ///
    /// # Errors
    /// As [`Keyspace::stream`].
    pub fn edit_stream(&mut self, key: &[u8]) -> Result<Option<StreamEdit<'_>>, CommandError> {
        self.load(key)?;
        let Some(entry) = self.keys.get_mut(key) else {
            return Ok(None);
        };
        let Value::Stream(stream) = &mut entry.value else {
            return Err(CommandError::WrongType);
        };
        entry.changed = self.batch;
        Ok(Some(StreamEdit {
            stream,
            journal: &mut self.journal,
            cached_bytes: &mut self.cached_bytes,
            now_ms: self.now_ms,
            version: self.watches.version(key),
        }))
    }

    /// Makes an empty stream at a key that does not exist.
    pub fn create_stream(&mut self, key: &[u8]) {
        self.watches.touch(key);
        self.last_stream += 1;
        let number = self.last_stream;
        let key = self.place(key, Value::Stream(Box::new(Stream::new(number))), 0);
        self.journal.push(Mutation::PutStreamKey { key, expires_ms: 0, stream: number });
        self.journal.push(Mutation::PutHeader {
            stream: number,
            last_id: StreamId::MIN,
            max_deleted_id: StreamId::MIN,
            entries_added: 0,
        });
    }

    /// Tells readers that wait on `key` to look again.
    pub fn signal(&mut self, key: &[u8]) {
        self.signaled.push(Bytes::copy_from_slice(key));
    }

    /// Walks keys from the newest down: `cursor` 0 starts, and the returned cursor 0 ends.
    ///
    /// New keys are added at the end and a removed key's place is taken by the last one, which a downward walk has seen:
    /// so a key that is there during the whole walk is never missed.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&Bytes, &Entry)) -> u64 {
        let len = self.keys.len();
        let top = if cursor == 0 { len } else { usize::try_from(cursor).unwrap_or(usize::MAX).min(len) };
        let bottom = top.saturating_sub(count);
        for index in (bottom..top).rev() {
            if let Some((key, entry)) = self.keys.get_index(index)
                && !is_due(entry.expires_ms, self.now_ms)
            {
                visit(key, entry);
            }
        }
        bottom as u64
    }

    pub(super) fn remove_now(&mut self, key: &[u8]) -> bool {
        self.drop_stream_rows(key);
        let Some(key) = self.detach(key) else {
            return false;
        };
        self.watches.touch(&key);
        self.note_ahead(key.clone(), Ahead::Gone);
        self.journal.push(Mutation::DeleteKey { key });
        true
    }

    /// Takes a key out of memory.
    pub(super) fn detach(&mut self, key: &[u8]) -> Option<Bytes> {
        let (key, entry) = self.keys.swap_remove_entry(key)?;
        let bytes = key.len() + KEY_OVERHEAD_BYTES + value_bytes(&entry.value);
        self.cached_bytes = self.cached_bytes.saturating_sub(bytes);
        self.index_expiry(&key, entry.expires_ms, 0);
        Some(key)
    }

    /// If `key` holds a stream that is about to go, journals the end of its rows and wakes its readers.
    fn drop_stream_rows(&mut self, key: &[u8]) {
        let Some(entry) = self.keys.get(key) else {
            return;
        };
        if let KeyKind::Stream { stream } = kind_of(&entry.value) {
            self.journal.push(Mutation::DropStream { stream });
            self.signal(key);
        }
    }
}

/// What a value is, warm or cold.
#[must_use]
pub fn kind_of(value: &Value) -> KeyKind {
    match value {
        Value::String(_) => KeyKind::String,
        Value::Stream(stream) => KeyKind::Stream { stream: stream.number },
        Value::Cold(kind) => *kind,
    }
}
