//! Folding: journal batches become rows of the tables, on a thread of their own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::mutation::{Mutation, coalesce};
use super::{keys, streams};
use crate::error::StoreError;

/// Mutations in one transaction: more than a job has unless the folder fell behind. Written to rows all over a large table,
/// each dirties a page: this bounds the write-ahead log, which a start has to read.
const PART_BYTES: usize = 24 << 20;

/// Everything that was committed since the job before, up to batch `through`.
pub struct FoldJob {
    pub mutations: Vec<Mutation>,
    pub through: u64,
}

/// The thread that owns the writing connection to the tables.
pub struct Folder {
    jobs: Option<SyncSender<FoldJob>>,
    thread: Option<JoinHandle<()>>,
}

impl Folder {
    /// `done` is called on the folder's thread after each job, with the last folded batch or the error that ended it.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        mut connection: Connection,
        done: Arc<dyn Fn(Result<u64, StoreError>) + Send + Sync>,
    ) -> std::io::Result<Self> {
        // No job waits: the loop keeps collecting into its own backlog until the folder is free.
        let (jobs, inbox): (_, Receiver<FoldJob>) = sync_channel(0);
        let thread = std::thread::Builder::new().name("fold".into()).spawn(move || {
            for job in inbox {
                let outcome = fold(&mut connection, &job.mutations, job.through).map(|()| job.through);
                let failed = outcome.is_err();
                done(outcome);
                if failed {
                    return;
                }
            }
            // What a graceful stop leaves behind is one compact file; a crash leaves it to the next start.
            if let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
                tracing::warn!(%error, "the tables' write-ahead log stays uncheckpointed");
            }
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Gives the job back when the folder is gone, or busy and the caller does not `wait`.
    ///
    /// # Errors
    /// The job itself.
    pub fn submit(&self, job: FoldJob, wait: bool) -> Result<(), FoldJob> {
        match &self.jobs {
            None => Err(job),
            Some(jobs) if wait => jobs.send(job).map_err(|refused| refused.0),
            Some(jobs) => jobs.try_send(job).map_err(|refused| match refused {
                TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
            }),
        }
    }

    /// Folds what was submitted, then ends the thread.
    pub fn finish(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the fold thread panicked; the journal keeps what it had not folded");
        }
    }
}

/// Applies `mutations` and then records `through`. What lies between is safe to repeat: each row that a part of the
/// mutations has written is written again by all of them, so a start that finds the tables ahead of `through` ends with
/// the same state.
///
/// # Errors
/// When SQLite fails: the tables may hold a part of the mutations.
pub fn fold(connection: &mut Connection, mutations: &[Mutation], through: u64) -> Result<(), StoreError> {
    let mutations = in_order(mutations);
    let mut left = mutations.len();
    for part in parts(&mutations, PART_BYTES) {
        left -= part.len();
        write(connection, part, (left == 0).then_some(through))?;
    }
    if mutations.is_empty() { write(connection, &[], Some(through)) } else { Ok(()) }
}

/// What is left of `mutations` to be written: keys first, neighbours together, as they share pages, then what is in
/// streams. Writes of one key stay in their order, and so do those of streams. So a key that the tables have never names a
/// stream that a part of the mutations has dropped.
pub fn in_order(mutations: &[Mutation]) -> Vec<&Mutation> {
    let mut kept = coalesce(mutations);
    kept.sort_by_key(|mutation| (mutation.key().is_none(), mutation.key()));
    kept
}

/// Writes `mutations`, and the number of the last batch if they complete it, in one transaction.
///
/// # Errors
/// When SQLite fails: the tables are as before.
pub fn write(connection: &mut Connection, mutations: &[&Mutation], through: Option<u64>) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    for mutation in mutations {
        apply(&transaction, mutation)?;
    }
    if let Some(through) = through {
        transaction.prepare_cached("UPDATE folded SET through = ?1")?.execute([through])?;
    }
    transaction.commit()?;
    Ok(())
}

/// Cuts `mutations` into parts of about `part_bytes`.
fn parts<'a, 'b>(mutations: &'a [&'b Mutation], part_bytes: usize) -> impl Iterator<Item = &'a [&'b Mutation]> {
    let mut bytes = 0;
    mutations.chunk_by(move |before, _| {
        bytes += before.bytes();
        let fits = bytes < part_bytes;
        if !fits {
            bytes = 0;
        }
        fits
    })
}

/// The last batch that the tables contain.
///
/// # Errors
/// When SQLite fails.
pub fn folded_through(connection: &Connection) -> Result<u64, StoreError> {
    Ok(connection.query_row("SELECT through FROM folded", [], |row| row.get(0))?)
}

fn apply(connection: &Connection, mutation: &Mutation) -> Result<(), StoreError> {
    use Mutation as M;
    match mutation {
        M::PutString { key, expires_ms, value } => keys::put_string(connection, key, *expires_ms, value),
        M::PutStreamKey { key, expires_ms, stream } => keys::put_stream(connection, key, *expires_ms, *stream),
        M::DeleteKey { key } => keys::delete(connection, key),
        M::Expire { key, expires_ms } => keys::expire(connection, key, *expires_ms),
        M::DropStream { stream } => streams::drop_stream(connection, *stream),
        M::PutHeader { stream, last_id, max_deleted_id, entries_added } => {
            streams::put_header(connection, *stream, *last_id, *max_deleted_id, *entries_added)
        }
        M::PutEntry { stream, id, fields } => streams::put_entry(connection, *stream, *id, fields),
        M::DeleteEntry { stream, id } => streams::delete_entry(connection, *stream, *id),
        M::TrimBefore { stream, id } => streams::trim_before(connection, *stream, *id),
        M::PutGroup { stream, group, last_delivered, entries_read } => {
            streams::put_group(connection, *stream, group, *last_delivered, *entries_read)
        }
        M::DropGroup { stream, group } => streams::drop_group(connection, *stream, group),
        M::PutConsumer { stream, group, consumer, seen_ms } => {
            streams::put_consumer(connection, *stream, group, consumer, *seen_ms)
        }
        M::DropConsumer { stream, group, consumer } => streams::drop_consumer(connection, *stream, group, consumer),
        M::PutPending { stream, group, id, pending } => streams::put_pending(connection, *stream, group, *id, pending),
        M::DeletePending { stream, group, id } => streams::delete_pending(connection, *stream, group, *id),
    }
}
