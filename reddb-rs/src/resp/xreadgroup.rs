//! XREADGROUP: new entries (`>`) or what is already pending for the consumer (any id).

use bytes::Bytes;

use super::command::{Call, CommandResult, Outcome, Wait};
use super::reply::Reply;
use super::xgroup::{check_name, no_group};
use super::xrange::reply_entry;
use super::xread::{ReadOptions, above, begin_stream, begin_streams, parse_read};
use crate::error::CommandError;
use crate::state::{Keyspace, StreamEdit, StreamId};
use crate::store::{PendingRow, count_up};

/// Who reads.
struct Reader {
    group: Bytes,
    consumer: Bytes,
    noack: bool,
}

/// `XREADGROUP GROUP group consumer [COUNT n] [BLOCK ms] [NOACK] STREAMS key ... id ...`.
pub fn xreadgroup(call: &mut Call<'_>) -> CommandResult {
    if !call.args[1].eq_ignore_ascii_case(b"GROUP") {
        return Err(CommandError::other("ERR Missing GROUP option for XREADGROUP"));
    }
    let options = parse_read(call.args, 4, "xreadgroup")?;
    let reader = Reader {
        group: Bytes::copy_from_slice(call.args[2]),
        consumer: Bytes::copy_from_slice(call.args[3]),
        noack: options.noack,
    };
    check_name(call.limits, &reader.group)?;
    check_name(call.limits, &reader.consumer)?;
    let from = parse_ids(call.keyspace, &reader, &options)?;
    let mut streams = call.reply.begin_part();
    let mut count = 0;
    for (key, from) in options.keys.iter().zip(&from) {
        let Some(mut edit) = call.keyspace.edit_stream(key)? else {
            continue;
        };
        count += usize::from(read_one(&mut edit, &mut streams, key, &reader, *from, options.count));
    }
    if count > 0 {
        begin_streams(call.reply, count);
        call.reply.part(&streams);
        return Ok(Outcome::Done);
    }
    wait_or_nothing(call, &options)
}

/// `None` stands for `>`. Checks every stream before any is read, so that an error has no effect.
fn parse_ids(
    keyspace: &mut Keyspace,
    reader: &Reader,
    options: &ReadOptions<'_>,
) -> Result<Vec<Option<StreamId>>, CommandError> {
    let mut from = Vec::with_capacity(options.ids.len());
    for (key, id) in options.keys.iter().zip(options.ids) {
        let stream = keyspace.stream(key)?;
        if !stream.is_some_and(|stream| stream.groups.contains_key(&reader.group)) {
            return Err(no_group(key, &reader.group, " in XREADGROUP with GROUP option"));
        }
        from.push(match *id {
            b">" => None,
            b"$" => {
                return Err(CommandError::other(
                    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                     consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return \
                     an empty result set.",
                ));
            }
            id => Some(StreamId::parse(id, 0)?),
        });
    }
    Ok(from)
}

/// Reads one stream into `reply`; false if there is nothing to say about it.
fn read_one(
    edit: &mut StreamEdit<'_>,
    reply: &mut Reply,
    key: &[u8],
    reader: &Reader,
    from: Option<StreamId>,
    count: usize,
) -> bool {
    edit.touch_consumer(&reader.group, &reader.consumer);
    let count = count.min(edit.room_for_pending(&reader.group, &reader.consumer));
    let Some(from) = from else {
        return deliver_new(edit, reply, key, reader, count);
    };
    begin_stream(reply, key);
    deliver_again(edit, reply, reader, from, count);
    true
}

/// Hands out entries that the group has not seen.
fn deliver_new(edit: &mut StreamEdit<'_>, reply: &mut Reply, key: &[u8], reader: &Reader, count: usize) -> bool {
    let Some(group) = edit.stream.groups.get(&reader.group) else {
        return false;
    };
    let mut read = group.entries_read;
    let entries: Vec<(StreamId, Bytes)> = edit
        .stream
        .entries
        .range(above(group.last_delivered))
        .take(count)
        .map(|(id, fields)| (*id, fields.clone()))
        .collect();
    let Some(&(last, _)) = entries.last() else {
        return false;
    };
    begin_stream(reply, key);
    reply.array(entries.len());
    for (id, fields) in &entries {
        let holes_ahead = edit.stream.max_deleted_id >= *id;
        read = match read {
            Some(read) if !holes_ahead => Some(count_up(read)),
            _ => edit.stream.entries_read_at(*id),
        };
        reply_entry(reply, *id, fields);
        if !reader.noack {
            let row = PendingRow { consumer: reader.consumer.clone(), delivered_ms: edit.now_ms, deliveries: 1 };
            edit.assign(&reader.group, *id, row);
        }
    }
    edit.put_group(&reader.group, last, read);
    true
}

/// What is pending for the consumer after `from`; entries deleted meanwhile have no fields. Reading it is a delivery: who
/// resumes its work has as long for it as who was given it first, before another consumer may claim it.
fn deliver_again(edit: &mut StreamEdit<'_>, reply: &mut Reply, reader: &Reader, from: StreamId, count: usize) {
    let consumer = edit.stream.groups.get(&reader.group).and_then(|group| group.consumers.get(&reader.consumer));
    let ids: Vec<StreamId> =
        consumer.map(|consumer| consumer.pending.range(above(from)).take(count).copied().collect()).unwrap_or_default();
    reply.array(ids.len());
    for id in ids {
        if let Some(fields) = edit.stream.entries.get(&id) {
            reply_entry(reply, id, fields);
            edit.deliver_again(&reader.group, id);
        } else {
            reply.array(2);
            reply.text(id);
            reply.null_array();
        }
    }
}

fn wait_or_nothing(call: &mut Call<'_>, options: &ReadOptions<'_>) -> CommandResult {
    let Some(timeout_ms) = options.block_ms.filter(|_| call.may_block) else {
        call.reply.null_array();
        return Ok(Outcome::Done);
    };
    let keys = options.keys.iter().map(|key| key.to_vec()).collect();
    let retry = call.args.iter().map(|arg| arg.to_vec()).collect();
    Ok(Outcome::Block(Wait { keys, timeout_ms, retry }))
}
