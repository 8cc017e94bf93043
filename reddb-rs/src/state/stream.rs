//! A stream in memory, whole.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Group, StreamId};
use crate::store::mutation::bounded;
use crate::store::{Mutation, PendingRow};

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

    /// Does what the journal says was done to it.
    pub fn redo(&mut self, mutation: &Mutation) {
        use Mutation as M;
        match mutation {
            M::PutHeader { last_id, max_deleted_id, entries_added, .. } => {
                (self.last_id, self.max_deleted_id, self.entries_added) = (*last_id, *max_deleted_id, *entries_added);
            }
            M::PutEntry { id, fields, .. } => {
                self.forget(*id);
                self.restore_entry(*id, fields.clone());
            }
            M::DeleteEntry { id, .. } => self.forget(*id),
            M::TrimBefore { id, .. } => {
                while self.entries.first_entry().is_some_and(|first| first.key() < id) {
                    if let Some((_, fields)) = self.entries.pop_first() {
                        self.bytes -= fields.len() + ENTRY_OVERHEAD_BYTES;
                    }
                }
            }
            M::PutGroup { group, last_delivered, entries_read, .. } => {
                let group = self.groups.entry(group.clone()).or_insert_with(|| Group::new(*last_delivered, None));
                (group.last_delivered, group.entries_read) = (*last_delivered, entries_read.map(bounded));
            }
            M::DropGroup { group, .. } => _ = self.groups.remove(group),
            M::PutConsumer { group, consumer, seen_ms, .. } => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.consumer(consumer, *seen_ms).seen_ms = *seen_ms;
                }
            }
            M::DropConsumer { group, consumer, .. } => {
                _ = self.groups.get_mut(group).and_then(|group| group.remove_consumer(consumer));
            }
            M::PutPending { group, id, pending, .. } => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.assign(*id, PendingRow { deliveries: bounded(pending.deliveries), ..pending.clone() });
                }
            }
            M::DeletePending { group, id, .. } => {
                _ = self.groups.get_mut(group).and_then(|group| group.release(*id));
            }
            M::PutString { .. }
            | M::DeleteKey { .. }
            | M::Expire { .. }
            | M::PutStreamKey { .. }
            | M::DropStream { .. } => {
                // Of keys, not of what is in a stream.
            }
        }
    }

    fn forget(&mut self, id: StreamId) {
        if let Some(fields) = self.entries.remove(&id) {
            self.bytes -= fields.len() + ENTRY_OVERHEAD_BYTES;
        }
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
