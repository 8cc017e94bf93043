//! Folding: journal batches become rows of the tables, on a thread of their own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::mutation::{Mutation, coalesce};
use super::{keys, streams};
use crate::error::StoreError;

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
        // One job waits at most: the loop keeps collecting into its own backlog until the folder is free.
        let (jobs, inbox): (_, Receiver<FoldJob>) = sync_channel(1);
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

/// Applies `mutations` and records `through`, in one transaction.
///
/// # Errors
/// When SQLite fails: the tables are as before.
pub fn fold(connection: &mut Connection, mutations: &[Mutation], through: u64) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    for mutation in coalesce(mutations) {
        apply(&transaction, mutation)?;
    }
    transaction.prepare_cached("UPDATE folded SET through = ?1")?.execute([through])?;
    transaction.commit()?;
    Ok(())
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

/// Brings the tables up to the journal after a crash, in transactions of bounded size. Returns the batches folded.
///
/// # Errors
/// When either database fails or a batch cannot be decoded.
pub fn recover(data: &mut Connection, journal: &mut super::Journal) -> Result<u64, StoreError> {
    const TRANSACTION_MUTATIONS: usize = 100_000;
    let mut mutations = Vec::new();
    let (mut batches, mut through) = (0, folded_through(data)?);
    journal.replay(|seq, batch| {
        mutations.extend(batch);
        (batches, through) = (batches + 1, seq);
        if mutations.len() >= TRANSACTION_MUTATIONS {
            fold(data, &mutations, through)?;
            mutations.clear();
        }
        Ok(())
    })?;
    fold(data, &mutations, through)?;
    journal.mark_folded(through);
    journal.reset()?;
    Ok(batches)
}
