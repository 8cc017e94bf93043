//! What commands run on: the keyspace in memory. Every change it makes is also a [`crate::store::Mutation`].

mod cache;
mod expiry;
mod group;
mod keyspace;
mod loading;
mod replay;
mod stream;
mod stream_edit;
mod stream_id;
mod watches;

pub use group::{Consumer, Group};
pub use keyspace::{Entry, Keyspace, Value, kind_of};
pub use stream::Stream;
pub use stream_edit::StreamEdit;
pub use stream_id::{StreamId, parse_u64};
pub use watches::Watched;
