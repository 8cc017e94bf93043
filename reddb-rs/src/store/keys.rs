//! Table `keys`.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::error::StoreError;

const STRING: i64 = 1;
const STREAM: i64 = 2;

/// What a key is, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    String,
    Stream { stream: u64 },
}

pub fn put_string(connection: &Connection, key: &[u8], expires_ms: u64, value: &[u8]) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO keys (key, kind, expires_ms, value) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE \
             SET kind = excluded.kind, expires_ms = excluded.expires_ms, value = excluded.value, stream = NULL",
        )?
        .execute((key, STRING, expires_ms, value))?;
    Ok(())
}

pub fn put_stream(connection: &Connection, key: &[u8], expires_ms: u64, stream: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached("REPLACE INTO keys (key, kind, expires_ms, value, stream) VALUES (?1, ?2, ?3, NULL, ?4)")?
        .execute((key, STREAM, expires_ms, stream))?;
    Ok(())
}

pub fn delete(connection: &Connection, key: &[u8]) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM keys WHERE key = ?1")?.execute([key])?;
    Ok(())
}

pub fn expire(connection: &Connection, key: &[u8], expires_ms: u64) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE keys SET expires_ms = ?2 WHERE key = ?1")?.execute((key, expires_ms))?;
    Ok(())
}

/// The value of a string key.
pub fn value(connection: &Connection, key: &[u8]) -> Result<Bytes, StoreError> {
    let value: Option<Vec<u8>> = connection
        .prepare_cached("SELECT value FROM keys WHERE key = ?1 AND kind = 1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    value.map(Bytes::from).ok_or(StoreError::Row("keys.value"))
}

/// A key without its value.
#[derive(Debug)]
pub struct KeyRow {
    pub key: Bytes,
    pub kind: KeyKind,
    pub expires_ms: u64,
}

/// At most `limit` keys above `after`, in key order.
pub fn scan(connection: &Connection, after: Option<&[u8]>, limit: usize) -> Result<Vec<KeyRow>, StoreError> {
    let from = if after.is_some() { "WHERE key > ?1" } else { "WHERE ?1 IS NULL" };
    let sql = format!("SELECT key, kind, expires_ms, stream FROM keys {from} ORDER BY key LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((after, limit))?;
    let mut found = Vec::with_capacity(limit);
    while let Some(row) = rows.next()? {
        found.push(key_row(row)?);
    }
    Ok(found)
}

/// The row of a key.
pub fn find(connection: &Connection, key: &[u8]) -> Result<Option<KeyRow>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT key, kind, expires_ms, stream FROM keys WHERE key = ?1")?;
    let mut rows = statement.query([key])?;
    rows.next()?.map(key_row).transpose()
}

/// The key that holds the stream of that number.
pub fn of_stream(connection: &Connection, number: u64) -> Result<Option<Bytes>, StoreError> {
    let key: Option<Vec<u8>> = connection
        .prepare_cached("SELECT key FROM keys WHERE stream = ?1")?
        .query_row([number], |row| row.get(0))
        .optional()?;
    Ok(key.map(Bytes::from))
}

fn key_row(row: &Row<'_>) -> Result<KeyRow, StoreError> {
    let key: Vec<u8> = row.get(0)?;
    let kind = match (row.get(1)?, row.get::<_, Option<u64>>(3)?) {
        (STRING, _) => KeyKind::String,
        (STREAM, Some(stream)) => KeyKind::Stream { stream },
        _ => return Err(StoreError::Row("keys.kind")),
    };
    Ok(KeyRow { key: Bytes::from(key), kind, expires_ms: row.get(2)? })
}
