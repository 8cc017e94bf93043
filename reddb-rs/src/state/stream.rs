//! A stream in memory, whole.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Group, StreamId};

/// Rough cost of an entry's node beside its bytes, for the cache's budget.
pub const ENTRY_OVERHEAD_BYTES: usize = 64;

/// An append-only log with consumer groups. Changed through [`super::StreamEdit`] only, which journals what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Number of the stream in the tables; never reused while a row of it may exist.
    pub number: u64,
    /// Fields of each entry as a RESP array of bulk strings.
    pub entries: BTreeMap<StreamId, Bytes>,
    pub last_id: StreamId,
    pub max_deleted_id: StreamId,
    pub entries_added: u64,
    pub groups: BTreeMap<Bytes, Group>,
    pub(super) bytes: usize,
}

impl Stream {
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self::restore(number, StreamId::MIN, StreamId::MIN, 0)
    }

    /// A stream read back from the tables, still without its entries.
    #[must_use]
    pub fn restore(number: u64, last_id: StreamId, max_deleted_id: StreamId, entries_added: u64) -> Self {
        Self {
            number,
            entries: BTreeMap::new(),
            last_id,
            max_deleted_id,
            entries_added,
            groups: BTreeMap::new(),
            bytes: 0,
        }
    }

    pub fn restore_entry(&mut self, id: StreamId, fields: Bytes) {
        self.bytes += fields.len() + ENTRY_OVERHEAD_BYTES;
        self.entries.insert(id, fields);
    }

    /// Memory that the entries take, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[must_use]
    pub fn first_id(&self) -> Option<StreamId> {
        self.entries.keys().next().copied()
    }

    /// Entries ever added up to `id`, where that can be told without counting: only when nothing was deleted after the
    /// first entry that remains.
    #[must_use]
    pub fn entries_read_at(&self, id: StreamId) -> Option<u64> {
        let Some(first) = self.first_id() else {
            return (id >= self.last_id).then_some(self.entries_added);
        };
        if self.entries_added == 0 {
            return Some(0);
        }
        let no_tombstone = self.max_deleted_id < first;
        match id.cmp(&self.last_id) {
            std::cmp::Ordering::Equal => Some(self.entries_added),
            std::cmp::Ordering::Greater => None,
            std::cmp::Ordering::Less if no_tombstone && id < first => {
                Some(self.entries_added - self.entries.len() as u64)
            }
            std::cmp::Ordering::Less if no_tombstone && id == first => {
                Some(self.entries_added - self.entries.len() as u64 + 1)
            }
            std::cmp::Ordering::Less => None,
        }
    }

    /// Entries not yet delivered to `group`; `None` where that cannot be known.
    #[must_use]
    pub fn lag(&self, group: &Group) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        let tombstone_ahead = self.max_deleted_id > group.last_delivered
            && self.first_id().is_some_and(|first| self.max_deleted_id > first);
        match group.entries_read {
            Some(read) if !tombstone_ahead => self.entries_added.checked_sub(read),
            _ => self.entries_read_at(group.last_delivered).and_then(|read| self.entries_added.checked_sub(read)),
        }
    }
}
