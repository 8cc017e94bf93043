//! Errors by the boundary crossed: [`CommandError`] goes to a client, [`StoreError`] to the operator of the service.

use std::path::PathBuf;

/// A refused command. `Display` is the RESP error text, worded as Redis words it so that client libraries recognise it.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR invalid expire time in '{0}' command")]
    InvalidExpire(&'static str),
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(String),
    #[error("ERR unknown command '{0}'")]
    UnknownCommand(String),
    #[error("ERR Invalid stream ID specified as stream command argument")]
    InvalidStreamId,
    #[error("ERR The ID specified in XADD is equal or smaller than the target stream top item")]
    IdTooSmall,
    #[error("ERR The ID specified in XADD must be greater than 0-0")]
    IdZero,
    #[error("ERR The stream has exhausted the last possible ID, unable to add more items")]
    IdExhausted,
    #[error("ERR no such key")]
    NoSuchKey,
    #[error("NOGROUP No such key '{key}' or consumer group '{group}'{suffix}")]
    NoGroup { key: String, group: String, suffix: &'static str },
    #[error("NOGROUP No such consumer group '{group}' for key name '{key}'")]
    NoGroupForKey { key: String, group: String },
    #[error("BUSYGROUP Consumer Group name already exists")]
    BusyGroup,
    #[error("NOAUTH Authentication required.")]
    NoAuth,
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    WrongPass,
    #[error("NOPERM this token may only touch keys that begin with its prefix")]
    NoPermKey,
    #[error("NOPERM this token may not run the '{0}' command")]
    NoPermCommand(String),
    #[error("ERR a key is at most {0} bytes long")]
    KeyTooLong(usize),
    #[error("ERR cannot read the stored value; the server's log has the cause")]
    Storage,
    #[error("LOADING after its start the server still reads its keys; try again shortly")]
    Loading,
    #[error("ERR a consumer's or group's name is at most {0} bytes long")]
    NameTooLong(usize),
    #[error("ERR the reply is larger than the server sends")]
    ReplyTooLarge,
    #[error(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option \
         to create an empty stream automatically."
    )]
    NoStreamForGroup,
    #[error("{0}")]
    Other(String),
}

impl CommandError {
    /// A message that is specific to one command; `text` begins with the RESP error code.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }
}

/// The store cannot be opened, read or written. Nothing is acknowledged after a failed write: the process ends instead.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("SQLite failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("cannot use {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("a journal batch cannot be decoded: {0}")]
    Batch(#[from] postcard::Error),
    #[error("the data directory was written by a newer version (schema {found}, this binary knows {known})")]
    NewerSchema { found: usize, known: usize },
    #[error("the thread that reads the keys ended before the last of them")]
    Load,
    #[error("a stored row is malformed: {0}")]
    Row(&'static str),
}
