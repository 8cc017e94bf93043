//! Tables `streams`, `entries`, `groups`, `consumers` and `pending`.

use bytes::Bytes;
use rusqlite::{Connection, Row};

use super::mutation::PendingRow;
use crate::error::StoreError;
use crate::state::{Group, Stream, StreamId};

type Written = Result<(), StoreError>;

pub fn put_header(connection: &Connection, stream: u64, last: StreamId, deleted: StreamId, added: u64) -> Written {
    connection
        .prepare_cached(
            "INSERT INTO streams (stream, last_id, max_deleted_id, entries_added) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (stream) DO UPDATE SET last_id = excluded.last_id, \
             max_deleted_id = excluded.max_deleted_id, entries_added = excluded.entries_added",
        )?
        .execute((stream, last.to_bytes(), deleted.to_bytes(), stored(added)))?;
    Ok(())
}

pub fn put_entry(connection: &Connection, stream: u64, id: StreamId, fields: &[u8]) -> Written {
    connection.prepare_cached("REPLACE INTO entries (stream, id, fields) VALUES (?1, ?2, ?3)")?.execute((
        stream,
        id.to_bytes(),
        fields,
    ))?;
    Ok(())
}

pub fn delete_entry(connection: &Connection, stream: u64, id: StreamId) -> Written {
    connection.prepare_cached("DELETE FROM entries WHERE stream = ?1 AND id = ?2")?.execute((stream, id.to_bytes()))?;
    Ok(())
}

pub fn trim_before(connection: &Connection, stream: u64, id: StreamId) -> Written {
    connection.prepare_cached("DELETE FROM entries WHERE stream = ?1 AND id < ?2")?.execute((stream, id.to_bytes()))?;
    Ok(())
}

pub fn drop_stream(connection: &Connection, stream: u64) -> Written {
    for table in ["streams", "entries", "groups", "consumers", "pending"] {
        connection.prepare_cached(&format!("DELETE FROM {table} WHERE stream = ?1"))?.execute([stream])?;
    }
    Ok(())
}

pub fn put_group(connection: &Connection, stream: u64, name: &[u8], last: StreamId, read: Option<u64>) -> Written {
    connection
        .prepare_cached("REPLACE INTO groups (stream, name, last_delivered, entries_read) VALUES (?1, ?2, ?3, ?4)")?
        .execute((stream, name, last.to_bytes(), read.map(stored)))?;
    Ok(())
}

pub fn drop_group(connection: &Connection, stream: u64, name: &[u8]) -> Written {
    for delete in [
        "DELETE FROM groups WHERE stream = ?1 AND name = ?2",
        "DELETE FROM consumers WHERE stream = ?1 AND grp = ?2",
        "DELETE FROM pending WHERE stream = ?1 AND grp = ?2",
    ] {
        connection.prepare_cached(delete)?.execute((stream, name))?;
    }
    Ok(())
}

pub fn put_consumer(connection: &Connection, stream: u64, group: &[u8], name: &[u8], seen_ms: u64) -> Written {
    connection
        .prepare_cached("REPLACE INTO consumers (stream, grp, name, seen_ms) VALUES (?1, ?2, ?3, ?4)")?
        .execute((stream, group, name, stored(seen_ms)))?;
    Ok(())
}

pub fn drop_consumer(connection: &Connection, stream: u64, group: &[u8], name: &[u8]) -> Written {
    for delete in [
        "DELETE FROM consumers WHERE stream = ?1 AND grp = ?2 AND name = ?3",
        "DELETE FROM pending WHERE stream = ?1 AND grp = ?2 AND consumer = ?3",
    ] {
        connection.prepare_cached(delete)?.execute((stream, group, name))?;
    }
    Ok(())
}

pub fn put_pending(connection: &Connection, stream: u64, group: &[u8], id: StreamId, row: &PendingRow) -> Written {
    connection
        .prepare_cached(
            "REPLACE INTO pending (stream, grp, id, consumer, delivered_ms, deliveries) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((stream, group, id.to_bytes(), &row.consumer[..], stored(row.delivered_ms), stored(row.deliveries)))?;
    Ok(())
}

pub fn delete_pending(connection: &Connection, stream: u64, group: &[u8], id: StreamId) -> Written {
    connection.prepare_cached("DELETE FROM pending WHERE stream = ?1 AND grp = ?2 AND id = ?3")?.execute((
        stream,
        group,
        id.to_bytes(),
    ))?;
    Ok(())
}

/// SQLite's integers are signed. A journal may hold a larger number, as older versions counted beyond: it must not keep the
/// store from starting.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The largest number that a stream ever had, so that numbers are not reused.
pub fn last_stream_number(connection: &Connection) -> Result<u64, StoreError> {
    Ok(connection.query_row("SELECT ifnull(max(stream), 0) FROM streams", [], |row| row.get(0))?)
}

/// Reads a whole stream: header, entries, groups, consumers and pending entries.
pub fn load(connection: &Connection, number: u64) -> Result<Stream, StoreError> {
    let (last_id, max_deleted_id, entries_added) = connection
        .prepare_cached("SELECT last_id, max_deleted_id, entries_added FROM streams WHERE stream = ?1")?
        .query_row([number], |row| Ok((id(row, 0)?, id(row, 1)?, row.get(2)?)))?;
    let mut stream = Stream::restore(number, last_id, max_deleted_id, entries_added);
    each(connection, "SELECT id, fields FROM entries WHERE stream = ?1 ORDER BY id", number, |row| {
        stream.restore_entry(id(row, 0)?, bytes(row, 1)?);
        Ok(())
    })?;
    each(connection, "SELECT name, last_delivered, entries_read FROM groups WHERE stream = ?1", number, |row| {
        stream.groups.insert(bytes(row, 0)?, Group::new(id(row, 1)?, row.get(2)?));
        Ok(())
    })?;
    each(connection, "SELECT grp, name, seen_ms FROM consumers WHERE stream = ?1", number, |row| {
        if let Some(group) = stream.groups.get_mut(&bytes(row, 0)?) {
            group.consumer(&bytes(row, 1)?, row.get(2)?);
        }
        Ok(())
    })?;
    let pending = "SELECT grp, id, consumer, delivered_ms, deliveries FROM pending WHERE stream = ?1 ORDER BY grp, id";
    each(connection, pending, number, |row| {
        if let Some(group) = stream.groups.get_mut(&bytes(row, 0)?) {
            let pending = PendingRow { consumer: bytes(row, 2)?, delivered_ms: row.get(3)?, deliveries: row.get(4)? };
            group.assign(id(row, 1)?, pending);
        }
        Ok(())
    })?;
    Ok(stream)
}

fn each(
    connection: &Connection,
    sql: &str,
    stream: u64,
    mut visit: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([stream])?;
    while let Some(row) = rows.next()? {
        visit(row)?;
    }
    Ok(())
}

fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<StreamId> {
    row.get(column).map(StreamId::from_bytes)
}

fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    row.get::<_, Vec<u8>>(column).map(Bytes::from)
}
