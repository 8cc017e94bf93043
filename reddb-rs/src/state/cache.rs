//! Which values are in memory: read from the tables when they are asked for, let go when the budget is spent.

use rusqlite::Connection;

use super::keyspace::{Entry, Keyspace, Value, kind_of};
use crate::error::{CommandError, StoreError};
use crate::store::keys::KeyKind;
use crate::store::{keys, streams};

/// Keys looked at per call of [`Keyspace::evict`]: it runs between commands and must not stall them.
const EVICTION_STEPS: usize = 4096;

impl Keyspace {
    /// The entry of a live key with its value in memory.
    pub(super) fn load(&mut self, key: &[u8]) -> Result<Option<&mut Entry>, CommandError> {
        self.remove_if_expired(key);
        self.warm(key).map_err(|error| {
            tracing::error!(%error, key = %String::from_utf8_lossy(key), "a stored value cannot be read");
            CommandError::Storage
        })
    }

    /// The entry of a key that is in memory, with its value there too.
    pub(super) fn warm(&mut self, key: &[u8]) -> Result<Option<&mut Entry>, StoreError> {
        let Some(entry) = self.keys.get_mut(key) else {
            return Ok(None);
        };
        entry.used = true;
        if let Value::Cold(kind) = entry.value {
            entry.value = read_cold(&self.tables, key, kind)?;
            self.cached_bytes += value_bytes(&entry.value);
        }
        Ok(Some(entry))
    }

    /// Lets values go until the cache fits `budget_bytes`, least recently used first (the clock algorithm). A value stays
    /// until the batch that changed it is `folded` into the tables.
    pub fn evict(&mut self, budget_bytes: usize, folded: u64) {
        for _ in 0..EVICTION_STEPS.min(self.keys.len()) {
            if self.cached_bytes <= budget_bytes {
                return;
            }
            self.hand = if self.hand + 1 >= self.keys.len() { 0 } else { self.hand + 1 };
            let Some((_, entry)) = self.keys.get_index_mut(self.hand) else {
                return;
            };
            if std::mem::take(&mut entry.used) || entry.changed > folded {
                continue;
            }
            let kind = kind_of(&entry.value);
            let warm = std::mem::replace(&mut entry.value, Value::Cold(kind));
            self.cached_bytes = self.cached_bytes.saturating_sub(value_bytes(&warm));
        }
    }
}

fn read_cold(tables: &Connection, key: &[u8], kind: KeyKind) -> Result<Value, StoreError> {
    match kind {
        KeyKind::String => keys::value(tables, key).map(Value::String),
        KeyKind::Stream { stream } => streams::load(tables, stream).map(|stream| Value::Stream(Box::new(stream))),
    }
}

/// Memory that a value takes, roughly.
pub(super) fn value_bytes(value: &Value) -> usize {
    match value {
        Value::String(value) => value.len(),
        Value::Stream(stream) => stream.bytes(),
        Value::Cold(_) => 0,
    }
}
