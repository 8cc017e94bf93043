//! INCR, INCRBY, DECR, DECRBY.

use bytes::Bytes;

use super::command::{Call, CommandResult, Outcome};
use super::parse::parse_i64;
use crate::error::CommandError;

pub fn incr(call: &mut Call<'_>) -> CommandResult {
    add(call, 1)
}

pub fn decr(call: &mut Call<'_>) -> CommandResult {
    add(call, -1)
}

pub fn incrby(call: &mut Call<'_>) -> CommandResult {
    let by = parse_i64(call.args[2]).ok_or(CommandError::NotAnInteger)?;
    add(call, by)
}

pub fn decrby(call: &mut Call<'_>) -> CommandResult {
    let by = parse_i64(call.args[2]).ok_or(CommandError::NotAnInteger)?;
    add(call, by.checked_neg().ok_or_else(|| CommandError::other("ERR decrement would overflow"))?)
}

fn add(call: &mut Call<'_>, by: i64) -> CommandResult {
    let key = call.args[1];
    let before = match call.keyspace.string(key)? {
        None => 0,
        Some(text) => parse_i64(text).ok_or(CommandError::NotAnInteger)?,
    };
    let after = before.checked_add(by).ok_or(CommandError::Overflow)?;
    let expires_ms = call.keyspace.peek(key).map_or(0, |entry| entry.expires_ms);
    call.keyspace.set_string(key, Bytes::from(after.to_string()), expires_ms);
    call.reply.integer(after);
    Ok(Outcome::Done)
}
