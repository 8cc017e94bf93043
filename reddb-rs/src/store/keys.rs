//! Table `keys`.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

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

/// Calls `visit` with every key, its kind and its expiry, in key order.
pub fn scan(connection: &Connection, mut visit: impl FnMut(Bytes, KeyKind, u64)) -> Result<(), StoreError> {
    let mut statement = connection.prepare("SELECT key, kind, expires_ms, stream FROM keys ORDER BY key")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let key: Vec<u8> = row.get(0)?;
        let kind = match (row.get(1)?, row.get::<_, Option<u64>>(3)?) {
            (STRING, _) => KeyKind::String,
            (STREAM, Some(stream)) => KeyKind::Stream { stream },
            _ => return Err(StoreError::Row("keys.kind")),
        };
        visit(Bytes::from(key), kind, row.get(2)?);
    }
    Ok(())
}
