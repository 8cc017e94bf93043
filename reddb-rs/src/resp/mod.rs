//! The RESP interface: one file per command family, and the loop that runs them.
//!
//! `connections` lets clients in, `event_loop` takes turns, `serving` reads a client, `parse` finds commands, `dispatch`
//! checks them against the `table`, a family's file applies them to the keyspace, `reply` encodes what they say.
//! `blocking` keeps those who wait for data, `housekeeping` cuts those who abuse patience.

mod blocking;
pub mod client;
pub mod command;
mod connection;
mod connections;
mod counters;
pub mod dispatch;
pub mod event_loop;
mod expiry;
mod glob;
mod housekeeping;
mod keys;
pub mod parse;
pub mod reply;
mod scan;
pub mod server;
mod serving;
pub mod session;
mod strings;
pub mod table;
mod transaction;
pub mod value;
mod waiters;
mod xack;
mod xadd;
mod xautoclaim;
mod xclaim;
mod xgroup;
mod xinfo;
mod xpending;
mod xrange;
mod xread;
mod xreadgroup;
mod xtrim;
