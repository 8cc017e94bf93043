//! RedDB: a durable key-value, stream and blob store that speaks RESP and HTTP.
//!
//! ```text
//! resp/    commands and the one thread that runs them, group commit included
//! http/    the same commands by HTTP, and blobs
//! state/   the keyspace in memory: keys, cached values, streams with their consumer groups
//! store/   SQLite: the journal that acknowledges, the tables it is folded into; files for blobs
//! auth     the master token and tokens scoped to a prefix
//! config   flags and environment
//! service  wiring: opens the store, starts the threads, stops them
//! ```
//!
//! A write goes through: command → change in memory + [`store::Mutation`] → one journal row per turn of the loop, one
//! fsync → reply. A second thread folds the journal into the tables. After a crash, whatever the journal has beyond the
//! tables is applied to memory before the first client is let in; keys are read from the tables meanwhile.

pub mod auth;
pub mod config;
pub mod error;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod resp;
pub mod service;
pub mod state;
pub mod store;
