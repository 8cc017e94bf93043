//! The journal: one row, one transaction and one fsync per group commit.
//!
//! A random write to the tables dirties a page per row; a journal row is written in sequence. So commands are acknowledged
//! from here and folded into the tables later, many at a time (`fold.rs`).

use rusqlite::Connection;

use super::mutation::Mutation;
use crate::error::StoreError;

/// A longer batch becomes several rows of one transaction: a SQLite blob has at most 10^9 bytes.
const ROW_BYTES: usize = 256 << 20;
/// The encoding buffer, if it grew beyond this, is given back after a commit.
const KEEP_CAPACITY: usize = 16 << 20;
/// Folded rows removed per commit: more than one is added, so that the backlog of deletions shrinks without a stall.
const TRIM_PER_COMMIT: u64 = 8;

/// The durable log of everything acknowledged and not yet folded.
pub struct Journal {
    connection: Connection,
    oldest: u64,
    next: u64,
    folded: u64,
    buffer: Vec<u8>,
}

impl Journal {
    /// `folded`: the last batch that the tables already contain.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn open(connection: Connection, folded: u64) -> Result<Self, StoreError> {
        let (oldest, newest): (Option<u64>, Option<u64>) =
            connection.query_row("SELECT min(seq), max(seq) FROM journal", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        // An empty journal must not reuse a number that the tables have seen: its batch would be taken for folded.
        let next = newest.unwrap_or(0).max(folded) + 1;
        Ok(Self { connection, oldest: oldest.unwrap_or(next), next, folded, buffer: Vec::new() })
    }

    /// The number that the next commit's first row will have.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// Makes `batch` durable, all of it or nothing. Returns its encoded size in bytes.
    ///
    /// # Errors
    /// When it is not known to be durable; the caller must not acknowledge it nor carry on.
    pub fn commit(&mut self, batch: &[Mutation]) -> Result<usize, StoreError> {
        let transaction = self.connection.unchecked_transaction()?;
        let (mut next, mut bytes) = (self.next, 0);
        for row in rows(batch, ROW_BYTES) {
            self.buffer.clear();
            self.buffer = postcard::to_extend(row, std::mem::take(&mut self.buffer))?;
            transaction
                .prepare_cached("INSERT INTO journal (seq, batch) VALUES (?1, ?2)")?
                .execute((next, &self.buffer[..]))?;
            (next, bytes) = (next + 1, bytes + self.buffer.len());
        }
        if self.oldest <= self.folded {
            let through = self.folded.min(self.oldest + TRIM_PER_COMMIT - 1);
            transaction.prepare_cached("DELETE FROM journal WHERE seq <= ?1")?.execute([through])?;
            self.oldest = through + 1;
        }
        transaction.commit()?;
        self.next = next;
        self.buffer.shrink_to(KEEP_CAPACITY);
        Ok(bytes)
    }

    /// The tables now contain every batch up to `through`.
    pub fn mark_folded(&mut self, through: u64) {
        self.folded = through;
    }

    /// Hands every batch that the tables lack to `visit`, oldest first. Returns their encoded size in bytes.
    ///
    /// # Errors
    /// Of the journal and of decoding.
    pub fn replay(&self, mut visit: impl FnMut(Vec<Mutation>)) -> Result<usize, StoreError> {
        let mut bytes = 0;
        let mut statement = self.connection.prepare("SELECT seq, batch FROM journal WHERE seq > ?1 ORDER BY seq")?;
        let mut rows = statement.query([self.folded])?;
        while let Some(row) = rows.next()? {
            let batch = row.get_ref(1)?.as_blob().map_err(|_| StoreError::Row("journal.batch"))?;
            bytes += batch.len();
            visit(postcard::from_bytes(batch)?);
        }
        Ok(bytes)
    }

    /// Empties the journal after everything has been folded, and brings its file back to a small size.
    ///
    /// # Errors
    /// When SQLite fails; what was committed stays durable.
    pub fn reset(&mut self) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM journal WHERE seq <= ?1", [self.folded])?;
        self.oldest = self.oldest.max(self.folded + 1);
        self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok(())
    }
}

/// Cuts `batch` so that each part, or all of it but its last mutation, has at most `limit_bytes`.
fn rows(batch: &[Mutation], limit_bytes: usize) -> impl Iterator<Item = &[Mutation]> {
    let mut bytes = 0;
    batch.chunk_by(move |before, _| {
        bytes += before.bytes();
        let fits = bytes < limit_bytes;
        if !fits {
            bytes = 0;
        }
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_batch_is_cut_into_rows() {
        let put = |bytes: usize| Mutation::PutString { key: "k".into(), expires_ms: 0, value: vec![0; bytes].into() };
        let batch = [put(100), put(100), put(1000), put(1), put(1)];
        let lengths: Vec<usize> = rows(&batch, 512).map(<[Mutation]>::len).collect();
        assert_eq!(lengths, [3, 2]);
        assert_eq!(rows(&batch, 1).count(), batch.len());
    }
}
