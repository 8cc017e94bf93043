//! XAUTOCLAIM: what has been idle too long goes to another consumer.

use bytes::Bytes;

use super::command::{Args, Call, CommandResult, Outcome};
use super::parse::parse_i64;
use super::xclaim::min_idle;
use super::xgroup::{check_name, no_group};
use super::xrange::{range_start, reply_entry};
use crate::error::CommandError;
use crate::state::{StreamEdit, StreamId};
use crate::store::{PendingRow, count_up};

/// Pending entries looked at per entry asked for, so that a call stays short when few are idle.
const ATTEMPTS_PER_COUNT: usize = 10;

struct Options {
    count: usize,
    just_id: bool,
}

/// What is to be claimed, as it was before.
struct Entry {
    id: StreamId,
    fields: Bytes,
    deliveries: u64,
}

#[derive(Default)]
struct Claimed {
    entries: Vec<Entry>,
    deleted: Vec<StreamId>,
    /// Where the next call goes on; 0-0 at the end.
    cursor: StreamId,
}

/// `XAUTOCLAIM key group consumer min-idle start [COUNT n] [JUSTID]`.
pub fn xautoclaim(call: &mut Call<'_>) -> CommandResult {
    let (key, group) = (call.args[1], Bytes::copy_from_slice(call.args[2]));
    let consumer = Bytes::copy_from_slice(call.args[3]);
    check_name(call.limits, &consumer)?;
    let min_idle_ms = min_idle(call.args[4], "XAUTOCLAIM")?;
    let start = range_start(call.args[5])?;
    let options = parse_options(&call.args[6..])?;
    let edit = call.keyspace.edit_stream(key)?;
    let Some(mut edit) = edit.filter(|edit| edit.stream.groups.contains_key(&group)) else {
        return Err(no_group(key, &group, ""));
    };
    edit.touch_consumer(&group, &consumer);
    let claimed = claim(&mut edit, &group, &consumer, min_idle_ms, start, &options);
    reply(call, &claimed, options.just_id);
    Ok(Outcome::Done)
}

fn parse_options(mut args: &Args<'_>) -> Result<Options, CommandError> {
    let mut options = Options { count: 100, just_id: false };
    while let [option, rest @ ..] = args {
        args = rest;
        if option.eq_ignore_ascii_case(b"JUSTID") {
            options.just_id = true;
        } else if option.eq_ignore_ascii_case(b"COUNT") {
            let [count, rest @ ..] = args else {
                return Err(CommandError::Syntax);
            };
            let count = parse_i64(count).and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
            options.count = count.ok_or_else(|| CommandError::other("ERR COUNT must be > 0"))?;
            args = rest;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok(options)
}

fn claim(
    edit: &mut StreamEdit<'_>,
    group: &Bytes,
    consumer: &Bytes,
    min_idle_ms: u64,
    start: StreamId,
    options: &Options,
) -> Claimed {
    let room = edit.room_for_pending(group, consumer);
    let attempts = options.count.saturating_mul(ATTEMPTS_PER_COUNT).min(room);
    let mut claimed = Claimed::default();
    let Some(state) = edit.stream.groups.get(group) else {
        return claimed;
    };
    for (index, (&id, row)) in state.pending.range(start..).enumerate() {
        if index == attempts || claimed.entries.len() + claimed.deleted.len() == options.count {
            claimed.cursor = id;
            break;
        }
        match edit.stream.entries.get(&id) {
            None => claimed.deleted.push(id),
            Some(_) if edit.now_ms.saturating_sub(row.delivered_ms) < min_idle_ms => {}
            Some(fields) => claimed.entries.push(Entry { id, fields: fields.clone(), deliveries: row.deliveries }),
        }
    }
    for id in &claimed.deleted {
        edit.release(group, *id);
    }
    for entry in &claimed.entries {
        let deliveries = if options.just_id { entry.deliveries } else { count_up(entry.deliveries) };
        let row = PendingRow { consumer: consumer.clone(), delivered_ms: edit.now_ms, deliveries };
        edit.assign(group, entry.id, row);
    }
    claimed
}

fn reply(call: &mut Call<'_>, claimed: &Claimed, just_id: bool) {
    call.reply.array(3);
    call.reply.text(claimed.cursor);
    call.reply.array(claimed.entries.len());
    for Entry { id, fields, .. } in &claimed.entries {
        if just_id { call.reply.text(id) } else { reply_entry(call.reply, *id, fields) }
    }
    call.reply.array(claimed.deleted.len());
    for id in &claimed.deleted {
        call.reply.text(id);
    }
}
