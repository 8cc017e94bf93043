//! Changes to a stream: each one updates memory and says so to the journal.

use bytes::Bytes;

use super::stream::ENTRY_OVERHEAD_BYTES;
use super::{Group, Stream, StreamId};
use crate::store::{Batch, Mutation, PendingRow, count_up};

/// A stream open for writing.
pub struct StreamEdit<'a> {
    pub stream: &'a mut Stream,
    pub(super) journal: &'a mut Batch,
    pub(super) cached_bytes: &'a mut usize,
    pub now_ms: u64,
    /// Counts changes of the entries, if someone watches the key. As in Redis, its groups may change unseen.
    pub(super) version: Option<&'a mut u64>,
}

impl StreamEdit<'_> {
    /// Appends an entry; the caller has checked that `id` is above `last_id`. `fields` is a RESP array.
    pub fn append(&mut self, id: StreamId, fields: Bytes) {
        self.touch();
        *self.cached_bytes += fields.len() + ENTRY_OVERHEAD_BYTES;
        self.journal.push(Mutation::PutEntry { stream: self.stream.number, id, fields: fields.clone() });
        self.stream.restore_entry(id, fields);
        self.stream.last_id = id;
        self.stream.entries_added += 1;
        self.put_header();
    }

    /// Journals the header as it now is.
    pub fn put_header(&mut self) {
        self.journal.push(Mutation::PutHeader {
            stream: self.stream.number,
            last_id: self.stream.last_id,
            max_deleted_id: self.stream.max_deleted_id,
            entries_added: self.stream.entries_added,
        });
    }

    /// Deletes one entry; false if there was none.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some(fields) = self.stream.entries.remove(&id) else {
            return false;
        };
        self.touch();
        self.forget(fields.len());
        self.stream.max_deleted_id = self.stream.max_deleted_id.max(id);
        self.journal.push(Mutation::DeleteEntry { stream: self.stream.number, id });
        self.put_header();
        true
    }

    /// Removes from the front until at most `length` entries remain, and at most `limit` go. Returns how many went.
    pub fn trim_to_length(&mut self, length: usize, limit: Option<usize>) -> usize {
        let excess = self.stream.entries.len().saturating_sub(length);
        self.trim_front(excess.min(limit.unwrap_or(usize::MAX)))
    }

    /// Removes entries below `id`, at most `limit`. Returns how many went.
    pub fn trim_below(&mut self, id: StreamId, limit: Option<usize>) -> usize {
        let below = self.stream.entries.range(..id).take(limit.unwrap_or(usize::MAX)).count();
        self.trim_front(below)
    }

    fn trim_front(&mut self, count: usize) -> usize {
        let mut last = None;
        for _ in 0..count {
            let Some((id, fields)) = self.stream.entries.pop_first() else {
                break;
            };
            self.forget(fields.len());
            last = Some(id);
        }
        // Trimming leaves no hole behind, so max_deleted_id, which marks holes, stays as it is.
        if let Some(id) = last {
            self.touch();
            let before = id.next().unwrap_or(StreamId::MAX);
            self.journal.push(Mutation::TrimBefore { stream: self.stream.number, id: before });
        }
        count
    }

    fn touch(&mut self) {
        if let Some(version) = &mut self.version {
            **version += 1;
        }
    }

    fn forget(&mut self, field_bytes: usize) {
        let bytes = field_bytes + ENTRY_OVERHEAD_BYTES;
        self.stream.bytes -= bytes;
        *self.cached_bytes = self.cached_bytes.saturating_sub(bytes);
    }

    /// Creates the group or moves it.
    pub fn put_group(&mut self, name: &[u8], last_delivered: StreamId, entries_read: Option<u64>) {
        match self.stream.groups.get_mut(name) {
            Some(group) => (group.last_delivered, group.entries_read) = (last_delivered, entries_read),
            None => {
                self.stream.groups.insert(Bytes::copy_from_slice(name), Group::new(last_delivered, entries_read));
            }
        }
        let group = Bytes::copy_from_slice(name);
        self.journal.push(Mutation::PutGroup { stream: self.stream.number, group, last_delivered, entries_read });
    }

    pub fn drop_group(&mut self, name: &[u8]) -> bool {
        let existed = self.stream.groups.remove(name).is_some();
        if existed {
            let group = Bytes::copy_from_slice(name);
            self.journal.push(Mutation::DropGroup { stream: self.stream.number, group });
        }
        existed
    }

    /// Notes that the consumer was seen; returns whether it is new.
    pub fn touch_consumer(&mut self, group: &Bytes, name: &Bytes) -> bool {
        let Some(state) = self.stream.groups.get_mut(group) else {
            return false;
        };
        if let Some(consumer) = state.consumers.get_mut(name) {
            consumer.seen_ms = self.now_ms;
            return false;
        }
        state.consumer(name, self.now_ms);
        self.journal.push(Mutation::PutConsumer {
            stream: self.stream.number,
            group: group.clone(),
            consumer: name.clone(),
            seen_ms: self.now_ms,
        });
        true
    }

    pub fn drop_consumer(&mut self, group: &Bytes, name: &Bytes) -> usize {
        let removed = self.stream.groups.get_mut(group).and_then(|group| group.remove_consumer(name));
        if removed.is_some() {
            self.journal.push(Mutation::DropConsumer {
                stream: self.stream.number,
                group: group.clone(),
                consumer: name.clone(),
            });
        }
        removed.unwrap_or(0)
    }

    /// Entries that `consumer` may be given until the batch is full, at least one.
    #[must_use]
    pub fn room_for_pending(&self, group: &[u8], consumer: &[u8]) -> usize {
        (self.journal.room_bytes() / (Mutation::FIXED_BYTES + group.len() + consumer.len())).max(1)
    }

    /// Makes `row.consumer` the owner of `id`.
    pub fn assign(&mut self, group: &Bytes, id: StreamId, row: PendingRow) {
        let Some(state) = self.stream.groups.get_mut(group) else {
            return;
        };
        state.assign(id, row.clone());
        self.journal.push(Mutation::PutPending { stream: self.stream.number, group: group.clone(), id, pending: row });
    }

    /// Notes that the owner of `id` was given it once more, now.
    pub fn deliver_again(&mut self, group: &Bytes, id: StreamId) {
        let pending = self.stream.groups.get(group).and_then(|state| state.pending.get(&id));
        if let Some(row) = pending.cloned() {
            let deliveries = count_up(row.deliveries);
            self.assign(group, id, PendingRow { delivered_ms: self.now_ms, deliveries, ..row });
        }
    }

    /// Acknowledges `id`; false if it was not pending.
    pub fn release(&mut self, group: &Bytes, id: StreamId) -> bool {
        let released = self.stream.groups.get_mut(group).is_some_and(|group| group.release(id).is_some());
        if released {
            self.journal.push(Mutation::DeletePending { stream: self.stream.number, group: group.clone(), id });
        }
        released
    }
}
