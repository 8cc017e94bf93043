//! What one group commit will write.

use super::Mutation;

/// Mutations in order, with their size.
#[derive(Debug)]
pub struct Batch {
    mutations: Vec<Mutation>,
    bytes: usize,
    limit_bytes: usize,
}

impl Batch {
    /// An empty batch that is full with `limit_bytes`; whoever fills it looks, as a transaction may not be cut.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self { mutations: Vec::new(), bytes: 0, limit_bytes }
    }

    pub fn push(&mut self, mutation: Mutation) {
        self.bytes += mutation.bytes();
        self.mutations.push(mutation);
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.mutations.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mutations.is_empty()
    }

    /// Bytes in the journal, roughly, until it is full.
    #[must_use]
    pub fn room_bytes(&self) -> usize {
        self.limit_bytes.saturating_sub(self.bytes)
    }

    /// Whether it is time to commit: memory, and the time of a commit, stay bounded.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.room_bytes() == 0
    }

    #[must_use]
    pub fn mutations(&self) -> &[Mutation] {
        &self.mutations
    }

    /// Moves everything to the end of `backlog`.
    pub fn drain_into(&mut self, backlog: &mut Vec<Mutation>) {
        backlog.append(&mut self.mutations);
        self.bytes = 0;
    }
}
