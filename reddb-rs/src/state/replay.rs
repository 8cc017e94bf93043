//! After a crash, the end of the journal: what the tables lack is done to memory, and folded while commands already run.

use std::collections::HashMap;

use bytes::Bytes;

use super::Stream;
use super::keyspace::{Keyspace, Value};
use super::loading::Ahead;
use crate::error::StoreError;
use crate::store::{Mutation, keys};

impl Keyspace {
    /// Applies mutations that were committed up to `batch`, none of which the tables contain yet.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn replay(&mut self, mutations: &[Mutation], batch: u64) -> Result<(), StoreError> {
        self.batch = batch;
        let mut streams = HashMap::new();
        for mutation in mutations {
            self.redo(mutation, &mut streams)?;
        }
        Ok(())
    }

    /// `streams`: keys of streams by their numbers, as far as the journal needed them.
    fn redo(&mut self, mutation: &Mutation, streams: &mut HashMap<u64, Bytes>) -> Result<(), StoreError> {
        use Mutation as M;
        match mutation {
            M::PutString { key, expires_ms, value } => {
                self.place(key, Value::String(value.clone()), *expires_ms);
            }
            M::PutStreamKey { key, expires_ms, stream } => {
                streams.insert(*stream, key.clone());
                self.last_stream = self.last_stream.max(*stream);
                self.place(key, Value::Stream(Box::new(Stream::new(*stream))), *expires_ms);
            }
            M::DeleteKey { key } => {
                self.detach(key);
                self.note_ahead(key.clone(), Ahead::Gone);
            }
            M::Expire { key, expires_ms } => {
                if self.put_expiry(key, *expires_ms).is_none() {
                    self.note_ahead(key.clone(), Ahead::Expires(*expires_ms));
                }
            }
            // What becomes of its key comes next.
            M::DropStream { stream } => _ = streams.remove(stream),
            M::PutHeader { stream, .. }
            | M::PutEntry { stream, .. }
            | M::DeleteEntry { stream, .. }
            | M::TrimBefore { stream, .. }
            | M::PutGroup { stream, .. }
            | M::DropGroup { stream, .. }
            | M::PutConsumer { stream, .. }
            | M::DropConsumer { stream, .. }
            | M::PutPending { stream, .. }
            | M::DeletePending { stream, .. } => {
                if !streams.contains_key(stream)
                    && let Some(key) = keys::of_stream(&self.tables, *stream)?
                {
                    streams.insert(*stream, key);
                }
                if let Some(key) = streams.get(stream) {
                    self.redo_in_stream(key, mutation)?;
                }
            }
        }
        Ok(())
    }

    fn redo_in_stream(&mut self, key: &Bytes, mutation: &Mutation) -> Result<(), StoreError> {
        // The journal has its expiry, so it is not asked for here.
        self.fault_in(key);
        let batch = self.batch;
        let Some(entry) = self.warm(key)? else {
            return Ok(());
        };
        let Value::Stream(stream) = &mut entry.value else {
            return Ok(());
        };
        entry.changed = batch;
        let before = stream.bytes();
        stream.redo(mutation);
        let after = stream.bytes();
        self.cached_bytes = (self.cached_bytes + after).saturating_sub(before);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::super::StreamId;
    use super::*;
    use crate::config::Durability;
    use crate::store::{PendingRow, fold, open};

    const NOW_MS: u64 = 1_000;
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A change of one key of a few; ids and lengths are taken modulo what there is.
    #[derive(Clone, Debug)]
    enum Change {
        Set { value: u8, expires_ms: u64 },
        Delete,
        Expire { at_ms: u64 },
        Append,
        DeleteEntry { id: u64 },
        Trim { length: usize },
        PutGroup { name: bool },
        Deliver { name: bool, id: u64, consumer: bool },
        Acknowledge { name: bool, id: u64 },
        DropConsumer { name: bool, consumer: bool },
        DropGroup { name: bool },
    }

    fn change() -> impl Strategy<Value = Change> {
        let (name, id, consumer) = (any::<bool>(), 1..6_u64, any::<bool>());
        prop_oneof![
            (any::<u8>(), prop_oneof![Just(0), Just(NOW_MS + 5)])
                .prop_map(|(value, expires_ms)| Change::Set { value, expires_ms }),
            Just(Change::Delete),
            prop_oneof![Just(0), Just(NOW_MS + 9)].prop_map(|at_ms| Change::Expire { at_ms }),
            Just(Change::Append),
            Just(Change::Append),
            id.clone().prop_map(|id| Change::DeleteEntry { id }),
            (0..4_usize).prop_map(|length| Change::Trim { length }),
            name.prop_map(|name| Change::PutGroup { name }),
            (name, id.clone(), consumer).prop_map(|(name, id, consumer)| Change::Deliver { name, id, consumer }),
            (name, id).prop_map(|(name, id)| Change::Acknowledge { name, id }),
            (name, consumer).prop_map(|(name, consumer)| Change::DropConsumer { name, consumer }),
            name.prop_map(|name| Change::DropGroup { name }),
        ]
    }

    fn changes() -> impl Strategy<Value = Vec<(usize, Change)>> {
        proptest::collection::vec((0..3_usize, change()), 0..25)
    }

    fn run(all: &mut Keyspace, changes: &[(usize, Change)]) -> Vec<Mutation> {
        for (key, change) in changes {
            make(all, [&b"a"[..], b"b", b"c"][*key], change);
        }
        let mut journal = Vec::new();
        all.journal.drain_into(&mut journal);
        journal
    }

    fn make(all: &mut Keyspace, key: &[u8], change: &Change) {
        match change {
            Change::Set { value, expires_ms } => return all.set_string(key, vec![*value; 9].into(), *expires_ms),
            Change::Delete => _ = all.remove(key),
            Change::Expire { at_ms } => _ = all.set_expiry(key, *at_ms),
            Change::Append if all.peek(key).is_none() => all.create_stream(key),
            _ => {}
        }
        let Ok(Some(mut edit)) = all.edit_stream(key) else {
            return;
        };
        let bytes = |yes: bool| if yes { Bytes::from_static(b"one") } else { Bytes::from_static(b"other") };
        match change {
            Change::Append => {
                let id = StreamId::new(edit.stream.last_id.ms + 1, 0);
                edit.append(id, "*0\r\n".into());
            }
            Change::DeleteEntry { id } => _ = edit.delete(StreamId::new(*id, 0)),
            Change::Trim { length } => _ = edit.trim_to_length(*length, None),
            Change::PutGroup { name } => {
                let last = edit.stream.last_id;
                edit.put_group(&bytes(*name), last, Some(last.ms));
            }
            Change::Deliver { name, id, consumer } if edit.stream.groups.contains_key(&bytes(*name)) => {
                edit.touch_consumer(&bytes(*name), &bytes(*consumer));
                let row = PendingRow { consumer: bytes(*consumer), delivered_ms: NOW_MS, deliveries: *id };
                edit.assign(&bytes(*name), StreamId::new(*id, 0), row);
            }
            Change::Acknowledge { name, id } => _ = edit.release(&bytes(*name), StreamId::new(*id, 0)),
            Change::DropConsumer { name, consumer } => _ = edit.drop_consumer(&bytes(*name), &bytes(*consumer)),
            Change::DropGroup { name } => _ = edit.drop_group(&bytes(*name)),
            _ => {}
        }
    }

    /// Everything that a client can see, and what the memory for it is counted as. Streams are numbered anew at a start.
    fn seen(all: &mut Keyspace) -> (BTreeMap<Bytes, (u64, String)>, usize) {
        assert!(!all.is_loading());
        let keys: Vec<Bytes> = all.keys.keys().cloned().collect();
        let mut seen = BTreeMap::new();
        for key in keys {
            let entry = all.load(&key).unwrap().unwrap();
            if let Value::Stream(stream) = &mut entry.value {
                stream.number = 0;
            }
            seen.insert(key, (entry.expires_ms, format!("{:?}", entry.value)));
        }
        assert_eq!(all.expiries.len(), seen.values().filter(|(expires_ms, _)| *expires_ms != 0).count());
        (seen, all.cached_bytes)
    }

    fn tables(directory: &Path) -> Connection {
        open::data(directory, Durability::None).unwrap()
    }

    fn started(directory: &Path) -> Keyspace {
        Keyspace::open(directory, NOW_MS, usize::MAX, || {}).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        /// Whatever part of the journal was folded before a crash, in the middle of a fold too, and whatever commands come while keys are still read:
        /// the restarted server is what the other one would have become, and so are the tables.
        #[test]
        fn a_restarted_server_is_as_if_it_had_never_ended(
            folded in changes(), journaled in changes(), later in changes(), load_early in any::<bool>(), part in 0..=4_usize,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut data = tables(directory.path());
            let mut lasting = started(directory.path());
            lasting.load_for(PATIENCE).unwrap();
            fold::fold(&mut data, &run(&mut lasting, &folded), 1).unwrap();
            let journal = run(&mut lasting, &journaled);
            let order = fold::in_order(&journal);
            fold::write(&mut data, &order[..order.len() * part / 4], None).unwrap();

            let mut restarted = started(directory.path());
            restarted.replay(&journal, 2).unwrap();
            if load_early {
                restarted.load_for(PATIENCE).unwrap();
            }
            run(&mut lasting, &later);
            let mut backlog = journal;
            backlog.extend(run(&mut restarted, &later));
            restarted.load_for(PATIENCE).unwrap();
            let expected = seen(&mut lasting);
            prop_assert_eq!(seen(&mut restarted), expected.clone());

            fold::fold(&mut data, &backlog, 3).unwrap();
            let mut again = started(directory.path());
            again.load_for(PATIENCE).unwrap();
            prop_assert_eq!(seen(&mut again), expected);
        }
    }
}
