//! What happens to mutations: committed to the journal at once, folded into the tables later.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::fold::{FoldJob, Folder, folded_through};
use super::{Batch, Journal, Mutation, open};
use crate::config::Durability;
use crate::error::StoreError;

/// A backlog is folded when it is this old or this big, whichever comes first.
const FOLD_AFTER: Duration = Duration::from_secs(1);
const FOLD_BYTES: usize = 16 << 20;
/// Beyond this the commands wait for the folder. As much again may be with it: a start after a crash reads both.
const MAX_BACKLOG_BYTES: usize = 64 << 20;

/// Progress of the folder, shared with its thread.
struct Progress {
    through: AtomicU64,
    error: Mutex<Option<StoreError>>,
}

/// Journal and folder, seen from the thread that runs commands.
pub struct Persistence {
    journal: Journal,
    folder: Folder,
    progress: Arc<Progress>,
    backlog: Vec<Mutation>,
    backlog_bytes: usize,
    backlog_since: Option<Instant>,
}

impl Persistence {
    /// Opens the store in `directory`. What a crash left in the journal is the [`Persistence::backlog`]. `on_fold` is called
    /// from another thread whenever a fold ends.
    ///
    /// # Errors
    /// When the databases cannot be opened, recovered or written.
    pub fn open(
        directory: &Path,
        durability: Durability,
        on_fold: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(io)?;
        let data = open::data(directory, durability)?;
        let folded = folded_through(&data)?;
        let journal = Journal::open(open::journal(directory, durability)?, folded)?;
        let mut backlog = Vec::new();
        let backlog_bytes = journal.replay(|batch| backlog.extend(batch))?;

        let progress = Arc::new(Progress { through: AtomicU64::new(folded), error: Mutex::default() });
        let shared = Arc::clone(&progress);
        let done = move |outcome: Result<u64, StoreError>| {
            match outcome {
                Ok(through) => shared.through.store(through, Ordering::Release),
                Err(error) => *shared.error.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error),
            }
            on_fold();
        };
        let folder = Folder::start(data, Arc::new(done)).map_err(io)?;
        let backlog_since = (!backlog.is_empty()).then(Instant::now);
        Ok(Self { journal, folder, progress, backlog, backlog_bytes, backlog_since })
    }

    /// What was committed and not yet handed over to be folded.
    #[must_use]
    pub fn backlog(&self) -> &[Mutation] {
        &self.backlog
    }

    /// The number of the batch that the next commit will write.
    #[must_use]
    pub fn next_batch(&self) -> u64 {
        self.journal.next_seq()
    }

    /// The last batch that the tables contain.
    #[must_use]
    pub fn folded(&self) -> u64 {
        self.progress.through.load(Ordering::Acquire)
    }

    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        self.backlog_bytes
    }

    /// Makes `batch` durable and takes it over, leaving it empty.
    ///
    /// # Errors
    /// When it may not be durable: the process must end without acknowledging it.
    pub fn commit(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        self.backlog_bytes += self.journal.commit(batch.mutations())?;
        self.backlog_since.get_or_insert_with(Instant::now);
        batch.drain_into(&mut self.backlog);
        Ok(())
    }

    /// Hands the backlog to the folder if it is time.
    ///
    /// # Errors
    /// Whatever ended the folder.
    pub fn fold_if_due(&mut self) -> Result<(), StoreError> {
        if let Some(error) = self.progress.error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            return Err(error);
        }
        self.journal.mark_folded(self.folded());
        let Some(since) = self.backlog_since else {
            return Ok(());
        };
        if self.backlog_bytes >= FOLD_BYTES || since.elapsed() >= FOLD_AFTER {
            self.submit(self.backlog_bytes >= MAX_BACKLOG_BYTES);
        }
        Ok(())
    }

    /// How long the loop may sleep before [`Persistence::fold_if_due`] has something to do.
    #[must_use]
    pub fn fold_due_in(&self) -> Option<Duration> {
        self.backlog_since.map(|since| FOLD_AFTER.saturating_sub(since.elapsed()).max(Duration::from_millis(10)))
    }

    fn submit(&mut self, wait: bool) {
        let job = FoldJob { mutations: std::mem::take(&mut self.backlog), through: self.journal.next_seq() - 1 };
        match self.folder.submit(job, wait) {
            Ok(()) => (self.backlog_bytes, self.backlog_since) = (0, None),
            // The folder is busy: keep collecting.
            Err(job) => self.backlog = job.mutations,
        }
    }

    /// Folds everything and leaves an empty journal: what a graceful stop does.
    ///
    /// # Errors
    /// When a fold failed; the journal then keeps what the tables lack.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.submit(true);
        self.folder.finish();
        self.fold_if_due()?;
        self.journal.reset()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StreamId;
    use crate::store::{PendingRow, streams};

    /// A claim whose client had set the delivery count to the largest i64 was journaled with one more than that. The tables
    /// could not take it, so the fold failed, and so did every start after it.
    #[test]
    fn a_journal_with_a_number_beyond_i64_is_recovered() {
        let directory = tempfile::tempdir().unwrap();
        let beyond = i64::MAX as u64 + 1;
        let (stream, group) = (1, bytes::Bytes::from_static(b"g"));
        let id = StreamId::new(1, 0);
        let batch = [
            Mutation::PutStreamKey { key: "s".into(), expires_ms: 0, stream },
            Mutation::PutHeader { stream, last_id: id, max_deleted_id: StreamId::MIN, entries_added: 1 },
            Mutation::PutEntry { stream, id, fields: "*0\r\n".into() },
            Mutation::PutGroup { stream, group: group.clone(), last_delivered: id, entries_read: Some(beyond) },
            Mutation::PutPending {
                stream,
                group: group.clone(),
                id,
                pending: PendingRow { consumer: "c".into(), delivered_ms: 5, deliveries: beyond },
            },
        ];
        let journal = open::journal(directory.path(), Durability::Fsync).unwrap();
        Journal::open(journal, 0).unwrap().commit(&batch).unwrap();

        Persistence::open(directory.path(), Durability::Fsync, || {}).unwrap().close().unwrap();
        let tables = open::data_reader(directory.path()).unwrap();
        let stored = streams::load(&tables, stream).unwrap();
        let group = &stored.groups[&group];
        assert_eq!(group.entries_read, Some(i64::MAX as u64));
        assert_eq!(group.pending[&id].deliveries, i64::MAX as u64);
    }
}
