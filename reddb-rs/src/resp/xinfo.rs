//! XINFO STREAM, GROUPS, CONSUMERS.

use super::command::{Call, CommandResult, Outcome};
use super::reply::Reply;
use super::xgroup::require_group;
use super::xrange::reply_entry;
use crate::error::CommandError;
use crate::state::{Consumer, Group, Stream, StreamId};

pub fn xinfo(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let now_ms = call.keyspace.now_ms;
    let (Some(key), subcommand) = (args.get(2), args[1].to_ascii_uppercase()) else {
        return Err(unknown(args[1]));
    };
    if !matches!((&subcommand[..], args.len()), (b"STREAM" | b"GROUPS", 3) | (b"CONSUMERS", 4)) {
        return Err(unknown(args[1]));
    }
    let stream = call.keyspace.stream(key)?.ok_or(CommandError::NoSuchKey)?;
    match &subcommand[..] {
        b"STREAM" => reply_stream(call.reply, stream),
        b"GROUPS" => {
            call.reply.array(stream.groups.len());
            for (name, group) in &stream.groups {
                reply_group(call.reply, name, group, stream.lag(group));
            }
        }
        _ => {
            let group = require_group(stream, key, args[3])?;
            call.reply.array(group.consumers.len());
            for (name, consumer) in &group.consumers {
                reply_consumer(call.reply, name, consumer, now_ms);
            }
        }
    }
    Ok(Outcome::Done)
}

fn unknown(subcommand: &[u8]) -> CommandError {
    let name = String::from_utf8_lossy(subcommand);
    CommandError::other(format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try XINFO HELP."))
}

fn reply_stream(reply: &mut Reply, stream: &Stream) {
    reply.map(10);
    let mut number = |name: &str, value: usize| {
        reply.text(name);
        reply.count(value);
    };
    number("length", stream.entries.len());
    // Redis reports its radix tree here; clients expect the fields.
    number("radix-tree-keys", 0);
    number("radix-tree-nodes", 0);
    reply.text("last-generated-id");
    reply.text(stream.last_id);
    reply.text("max-deleted-entry-id");
    reply.text(stream.max_deleted_id);
    reply.text("entries-added");
    reply.count(stream.entries_added);
    reply.text("recorded-first-entry-id");
    reply.text(stream.first_id().unwrap_or(StreamId::MIN));
    reply.text("groups");
    reply.count(stream.groups.len());
    for (name, entry) in
        [("first-entry", stream.entries.first_key_value()), ("last-entry", stream.entries.last_key_value())]
    {
        reply.text(name);
        match entry {
            Some((id, fields)) => reply_entry(reply, *id, fields),
            None => reply.null(),
        }
    }
}

fn reply_group(reply: &mut Reply, name: &[u8], group: &Group, lag: Option<u64>) {
    reply.map(6);
    reply.text("name");
    reply.bulk(name);
    reply.text("consumers");
    reply.count(group.consumers.len());
    reply.text("pending");
    reply.count(group.pending.len());
    reply.text("last-delivered-id");
    reply.text(group.last_delivered);
    for (name, value) in [("entries-read", group.entries_read), ("lag", lag)] {
        reply.text(name);
        match value {
            Some(value) => reply.count(value),
            None => reply.null(),
        }
    }
}

fn reply_consumer(reply: &mut Reply, name: &[u8], consumer: &Consumer, now_ms: u64) {
    reply.map(3);
    reply.text("name");
    reply.bulk(name);
    reply.text("pending");
    reply.count(consumer.pending.len());
    reply.text("idle");
    reply.count(now_ms.saturating_sub(consumer.seen_ms));
}
