//! XREAD, and the options that XREADGROUP shares.

use std::ops::Bound;

use super::command::{Args, Call, CommandResult, Outcome, Wait, streams_at};
use super::parse::parse_i64;
use super::reply::{Protocol, Reply};
use super::xrange::reply_entries;
use crate::error::CommandError;
use crate::state::StreamId;

/// `[COUNT n] [BLOCK ms] [NOACK] STREAMS key ... id ...`.
pub struct ReadOptions<'a> {
    pub count: usize,
    /// Milliseconds to wait for entries; 0 without end; `None` not at all.
    pub block_ms: Option<u64>,
    pub noack: bool,
    pub keys: &'a Args<'a>,
    pub ids: &'a Args<'a>,
    /// Where the ids begin among all arguments.
    pub ids_at: usize,
}

/// Parses the options from index `from` on.
pub fn parse_read<'a>(args: &'a Args<'a>, from: usize, name: &str) -> Result<ReadOptions<'a>, CommandError> {
    let streams = streams_at(args, from).ok_or(CommandError::Syntax)?;
    let (keys_and_ids, mut options) = (&args[streams + 1..], &args[from..streams]);
    if keys_and_ids.is_empty() || keys_and_ids.len() % 2 != 0 {
        return Err(CommandError::other(format!(
            "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '$' must be specified."
        )));
    }
    let (keys, ids) = keys_and_ids.split_at(keys_and_ids.len() / 2);
    let ids_at = streams + 1 + keys.len();
    let mut read = ReadOptions { count: usize::MAX, block_ms: None, noack: false, keys, ids, ids_at };
    while let [option, rest @ ..] = options {
        options = rest;
        if option.eq_ignore_ascii_case(b"NOACK") {
            read.noack = true;
            continue;
        }
        let [value, rest @ ..] = options else {
            return Err(CommandError::Syntax);
        };
        options = rest;
        match &option.to_ascii_uppercase()[..] {
            b"COUNT" => read.count = parse_count(value)?,
            b"BLOCK" => read.block_ms = Some(parse_block(value)?),
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(read)
}

/// Zero and below: no limit.
fn parse_count(text: &[u8]) -> Result<usize, CommandError> {
    let count = parse_i64(text).ok_or(CommandError::NotAnInteger)?;
    Ok(usize::try_from(count).ok().filter(|count| *count > 0).unwrap_or(usize::MAX))
}

fn parse_block(text: &[u8]) -> Result<u64, CommandError> {
    let ms = parse_i64(text).ok_or_else(|| CommandError::other("ERR timeout is not an integer or out of range"))?;
    u64::try_from(ms).map_err(|_| CommandError::other("ERR timeout is negative"))
}

pub fn xread(call: &mut Call<'_>) -> CommandResult {
    let options = parse_read(call.args, 1, "xread")?;
    if options.noack {
        return Err(CommandError::other("ERR The NOACK option is only supported by XREADGROUP."));
    }
    let after = resolve_ids(call, &options)?;
    let mut ready = Vec::new();
    for (key, after) in options.keys.iter().zip(&after) {
        if call.keyspace.stream(key)?.is_some_and(|stream| stream.last_id > *after && has_after(stream, *after)) {
            ready.push((*key, *after));
        }
    }
    if ready.is_empty() {
        return wait_or_nothing(call, &options, &after);
    }
    begin_streams(call.reply, ready.len());
    for (key, after) in ready {
        let Some(stream) = call.keyspace.stream(key)? else {
            continue;
        };
        begin_stream(call.reply, key);
        reply_entries(call.reply, stream.entries.range(above(after)).take(options.count));
    }
    Ok(Outcome::Done)
}

fn has_after(stream: &crate::state::Stream, after: StreamId) -> bool {
    stream.entries.range(above(after)).next().is_some()
}

/// Everything above `id`.
pub fn above(id: StreamId) -> (Bound<StreamId>, Bound<StreamId>) {
    (Bound::Excluded(id), Bound::Unbounded)
}

fn resolve_ids(call: &mut Call<'_>, options: &ReadOptions<'_>) -> Result<Vec<StreamId>, CommandError> {
    let mut after = Vec::with_capacity(options.ids.len());
    for (key, id) in options.keys.iter().zip(options.ids) {
        after.push(match *id {
            b"$" => call.keyspace.stream(key)?.map_or(StreamId::MIN, |stream| stream.last_id),
            b">" => {
                return Err(CommandError::other(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
                ));
            }
            id => StreamId::parse(id, 0)?,
        });
    }
    Ok(after)
}

/// Nothing to read: a null reply, or a wait. `$` means "from now", so the retry has it resolved.
fn wait_or_nothing(call: &mut Call<'_>, options: &ReadOptions<'_>, after: &[StreamId]) -> CommandResult {
    let Some(timeout_ms) = options.block_ms.filter(|_| call.may_block) else {
        call.reply.null_array();
        return Ok(Outcome::Done);
    };
    let mut retry: Vec<Vec<u8>> = call.args.iter().map(|arg| arg.to_vec()).collect();
    for (slot, id) in retry[options.ids_at..].iter_mut().zip(after) {
        *slot = id.to_string().into_bytes();
    }
    let keys = options.keys.iter().map(|key| key.to_vec()).collect();
    Ok(Outcome::Block(Wait { keys, timeout_ms, retry }))
}

/// Announces `count` streams: pairs in RESP2, a map in RESP3.
pub fn begin_streams(reply: &mut Reply, count: usize) {
    match reply.protocol {
        Protocol::Resp2 => reply.array(count),
        Protocol::Resp3 => reply.map(count),
    }
}

/// Announces the entries of the stream at `key`.
pub fn begin_stream(reply: &mut Reply, key: &[u8]) {
    if reply.protocol == Protocol::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
}
