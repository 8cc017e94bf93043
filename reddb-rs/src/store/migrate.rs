//! Numbered migrations. `PRAGMA user_version` holds the number of the last one applied.

use rusqlite::Connection;

use crate::error::StoreError;

/// Of the tables that hold the folded state (`data.db`).
pub const DATA: &[&str] = &[
    include_str!("../../migrations/0001_keys.sql"),
    include_str!("../../migrations/0002_streams.sql"),
    include_str!("../../migrations/0003_stream_keys.sql"),
];

/// Of the journal (`journal.db`).
pub const JOURNAL: &[&str] = &[include_str!("../../migrations/journal/0001_journal.sql")];

/// Applies what is missing, each migration in its own transaction.
pub fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let found: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > migrations.len() {
        return Err(StoreError::NewerSchema { found, known: migrations.len() });
    }
    for (index, sql) in migrations.iter().enumerate().skip(found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", index + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applies_once_and_refuses_a_newer_schema() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, DATA).unwrap();
        migrate(&mut connection, DATA).unwrap();
        assert!(matches!(migrate(&mut connection, &DATA[..1]), Err(StoreError::NewerSchema { found: 3, known: 1 })));
    }
}
