//! XRANGE, XREVRANGE, XLEN.

use bytes::Bytes;

use super::command::{Call, CommandResult, Outcome};
use super::parse::parse_i64;
use super::reply::Reply;
use crate::error::CommandError;
use crate::state::StreamId;

pub fn xlen(call: &mut Call<'_>) -> CommandResult {
    let length = call.keyspace.stream(call.args[1])?.map_or(0, |stream| stream.entries.len());
    call.reply.count(length);
    Ok(Outcome::Done)
}

/// `XRANGE key start end [COUNT n]`.
pub fn xrange(call: &mut Call<'_>) -> CommandResult {
    range(call, 2, 3, false)
}

/// `XREVRANGE key end start [COUNT n]`.
pub fn xrevrange(call: &mut Call<'_>) -> CommandResult {
    range(call, 3, 2, true)
}

fn range(call: &mut Call<'_>, start: usize, end: usize, reverse: bool) -> CommandResult {
    let (start, end) = (range_start(call.args[start])?, range_end(call.args[end])?);
    let count = match &call.args[4..] {
        [] => usize::MAX,
        [option, count] if option.eq_ignore_ascii_case(b"COUNT") => {
            // A negative count reads as zero.
            usize::try_from(parse_i64(count).ok_or(CommandError::NotAnInteger)?).unwrap_or(0)
        }
        _ => return Err(CommandError::Syntax),
    };
    let Some(stream) = call.keyspace.stream(call.args[1])? else {
        call.reply.array(0);
        return Ok(Outcome::Done);
    };
    if count == 0 {
        call.reply.null_array();
    } else if start > end {
        call.reply.array(0);
    } else if reverse {
        reply_entries(call.reply, stream.entries.range(start..=end).rev().take(count));
    } else {
        reply_entries(call.reply, stream.entries.range(start..=end).take(count));
    }
    Ok(Outcome::Done)
}

/// `-`, `+`, `id`, or `(id` for the one after it.
pub fn range_start(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        [b'(', id @ ..] => {
            StreamId::parse(id, 0)?.next().ok_or_else(|| CommandError::other("ERR invalid start ID for the interval"))
        }
        id => StreamId::parse(id, 0),
    }
}

/// As [`range_start`]; an id without a sequence is the last of its millisecond.
pub fn range_end(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        [b'(', id @ ..] => StreamId::parse(id, u64::MAX)?
            .previous()
            .ok_or_else(|| CommandError::other("ERR invalid end ID for the interval")),
        id => StreamId::parse(id, u64::MAX),
    }
}

/// An array of `[id, [field, value, ...]]`.
pub fn reply_entries<'a>(reply: &mut Reply, entries: impl Iterator<Item = (&'a StreamId, &'a Bytes)> + Clone) {
    reply.array(entries.clone().count());
    for (id, fields) in entries {
        if reply.overflowed() {
            return;
        }
        reply_entry(reply, *id, fields);
    }
}

pub fn reply_entry(reply: &mut Reply, id: StreamId, fields: &Bytes) {
    reply.array(2);
    reply.text(id);
    reply.raw(fields);
}
