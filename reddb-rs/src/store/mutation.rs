//! The journal's vocabulary: each variant changes rows of the tables, and applying it twice is the same as once.

use std::collections::HashSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::state::StreamId;

/// A change to durable state.
///
/// Encoded by position of the variant: append new ones, never reorder or edit, or a journal left by a crash of an older
/// version could no longer be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mutation {
    PutString { key: Bytes, expires_ms: u64, value: Bytes },
    DeleteKey { key: Bytes },
    Expire { key: Bytes, expires_ms: u64 },
    PutStreamKey { key: Bytes, expires_ms: u64, stream: u64 },
    DropStream { stream: u64 },
    PutHeader { stream: u64, last_id: StreamId, max_deleted_id: StreamId, entries_added: u64 },
    PutEntry { stream: u64, id: StreamId, fields: Bytes },
    DeleteEntry { stream: u64, id: StreamId },
    TrimBefore { stream: u64, id: StreamId },
    PutGroup { stream: u64, group: Bytes, last_delivered: StreamId, entries_read: Option<u64> },
    DropGroup { stream: u64, group: Bytes },
    PutConsumer { stream: u64, group: Bytes, consumer: Bytes, seen_ms: u64 },
    DropConsumer { stream: u64, group: Bytes, consumer: Bytes },
    PutPending { stream: u64, group: Bytes, id: StreamId, pending: PendingRow },
    DeletePending { stream: u64, group: Bytes, id: StreamId },
}

/// The next value of a counter that a client may have set: it stays at the largest number that a table can hold.
#[must_use]
pub fn count_up(count: u64) -> u64 {
    bounded(count.saturating_add(1))
}

/// The number as a table can hold it: SQLite's integers are signed. A journal may have a larger one, as older versions
/// counted beyond.
#[must_use]
pub fn bounded(number: u64) -> u64 {
    number.min(i64::MAX as u64)
}

/// An entry that was delivered to `consumer` and not yet acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRow {
    pub consumer: Bytes,
    pub delivered_ms: u64,
    pub deliveries: u64,
}

/// The row that a mutation replaces or deletes as a whole.
#[derive(PartialEq, Eq, Hash)]
enum Row<'a> {
    Key(&'a Bytes),
    Header(u64),
    Entry(u64, StreamId),
    Group(u64, &'a Bytes),
    Pending(u64, &'a Bytes, StreamId),
}

impl Mutation {
    /// Numbers and ids beside what varies.
    pub const FIXED_BYTES: usize = 48;

    /// Size in the journal, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let varying = match self {
            Self::PutString { key, value, .. } => key.len() + value.len(),
            Self::DeleteKey { key } | Self::Expire { key, .. } | Self::PutStreamKey { key, .. } => key.len(),
            Self::PutEntry { fields, .. } => fields.len(),
            Self::PutGroup { group, .. } | Self::DropGroup { group, .. } | Self::DeletePending { group, .. } => {
                group.len()
            }
            Self::PutConsumer { group, consumer, .. } | Self::DropConsumer { group, consumer, .. } => {
                group.len() + consumer.len()
            }
            Self::PutPending { group, pending, .. } => group.len() + pending.consumer.len(),
            Self::DropStream { .. } | Self::PutHeader { .. } | Self::DeleteEntry { .. } | Self::TrimBefore { .. } => 0,
        };
        Self::FIXED_BYTES + varying
    }

    /// The key whose row it changes; `None` for what belongs to a stream.
    #[must_use]
    pub fn key(&self) -> Option<&Bytes> {
        match self {
            Self::PutString { key, .. }
            | Self::DeleteKey { key }
            | Self::Expire { key, .. }
            | Self::PutStreamKey { key, .. } => Some(key),
            _ => None,
        }
    }

    fn row(&self) -> Option<Row<'_>> {
        Some(match self {
            Self::PutString { key, .. } | Self::DeleteKey { key } | Self::PutStreamKey { key, .. } => Row::Key(key),
            Self::PutHeader { stream, .. } => Row::Header(*stream),
            Self::DeleteEntry { stream, id } => Row::Entry(*stream, *id),
            Self::PutGroup { stream, group, .. } => Row::Group(*stream, group),
            Self::PutPending { stream, group, id, .. } | Self::DeletePending { stream, group, id } => {
                Row::Pending(*stream, group, *id)
            }
            // An entry is put once, so hashing its id would cost more than it saves. The rest touch many rows or a part of one.
            _ => return None,
        })
    }
}

/// Keeps only the last whole-row write of each row. The order of what stays is unchanged, so range deletions in between
/// still see what they saw.
pub fn coalesce(mutations: &[Mutation]) -> Vec<&Mutation> {
    let mut seen = HashSet::with_capacity_and_hasher(mutations.len(), foldhash::fast::RandomState::default());
    let mut kept: Vec<&Mutation> =
        mutations.iter().rev().filter(|mutation| mutation.row().is_none_or(|row| seen.insert(row))).collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str, value: &'static str) -> Mutation {
        Mutation::PutString { key: key.into(), expires_ms: 0, value: value.into() }
    }

    #[test]
    fn the_last_write_of_a_row_survives_in_place() {
        let drop = Mutation::DropStream { stream: 1 };
        let batch = [put("a", "1"), put("b", "1"), drop.clone(), put("a", "2")];
        assert_eq!(coalesce(&batch), [&put("b", "1"), &drop, &put("a", "2")]);
    }

    #[test]
    fn the_encoding_of_version_1_is_still_read() {
        let bytes = postcard::to_stdvec(&vec![put("k", "v"), Mutation::DropStream { stream: 300 }]).unwrap();
        assert_eq!(bytes, [2, 0, 1, b'k', 0, 1, b'v', 4, 0xac, 2]);
    }
}
