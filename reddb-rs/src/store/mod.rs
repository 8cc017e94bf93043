//! Durable storage over SQLite: a journal that acknowledges, tables that remember, files for blobs.

pub mod batch;
pub mod blob_expiry;
pub mod blobs;
pub mod fold;
pub mod journal;
pub mod keys;
pub mod migrate;
pub mod mutation;
pub mod open;
pub mod persistence;
pub mod streams;

pub use batch::Batch;
pub use fold::{FoldJob, Folder};
pub use journal::Journal;
pub use mutation::{Mutation, PendingRow, count_up};
pub use persistence::Persistence;
