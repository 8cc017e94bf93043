//! How each database file is opened.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::migrate::{self, migrate};
use crate::config::Durability;
use crate::error::StoreError;

/// The journal: written by one thread, read by nobody else, so locks and shared memory are left out.
pub fn journal(directory: &Path, durability: Durability) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(directory.join("journal.db"))?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    wal(&connection, durability)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    migrate(&mut connection, migrate::JOURNAL)?;
    Ok(connection)
}

/// The tables, for the one thread that writes them.
pub fn data(directory: &Path, durability: Durability) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(directory.join("data.db"))?;
    wal(&connection, durability)?;
    connection.pragma_update(None, "wal_autocheckpoint", 16_384)?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    migrate(&mut connection, migrate::DATA)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The tables, for reading values that left the cache.
pub fn data_reader(directory: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(directory.join("data.db"), flags)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn wal(connection: &Connection, durability: Durability) -> Result<(), StoreError> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match durability {
        Durability::Fsync => "FULL",
        Durability::None => "OFF",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    Ok(())
}
