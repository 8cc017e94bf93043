//! XPENDING: a summary, or the pending entries one by one.

use super::command::{Args, Call, CommandResult, Outcome};
use super::parse::parse_i64;
use super::xgroup::no_group;
use super::xrange::{range_end, range_start};
use crate::error::CommandError;
use crate::state::{Group, StreamId};
use crate::store::PendingRow;

struct Extended<'a> {
    min_idle_ms: u64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

/// `XPENDING key group [[IDLE ms] start end count [consumer]]`.
pub fn xpending(call: &mut Call<'_>) -> CommandResult {
    let (key, name, options) = (call.args[1], call.args[2], &call.args[3..]);
    let extended = if options.is_empty() { None } else { Some(parse_extended(options)?) };
    let now_ms = call.keyspace.now_ms;
    let group = call.keyspace.stream(key)?.and_then(|stream| stream.groups.get(name));
    let group = group.ok_or_else(|| no_group(key, name, ""))?;
    match extended {
        None => reply_summary(call.reply, group),
        Some(extended) => reply_extended(call.reply, group, &extended, now_ms),
    }
    Ok(Outcome::Done)
}

fn parse_extended<'a>(mut args: &Args<'a>) -> Result<Extended<'a>, CommandError> {
    let mut min_idle_ms = 0;
    if let [option, idle, rest @ ..] = args
        && option.eq_ignore_ascii_case(b"IDLE")
    {
        // A negative idle time excludes nothing.
        min_idle_ms = u64::try_from(parse_i64(idle).ok_or(CommandError::NotAnInteger)?).unwrap_or(0);
        args = rest;
    }
    let ([start, end, count], consumer) = args.split_first_chunk::<3>().ok_or(CommandError::Syntax)?;
    let consumer = match consumer {
        [] => None,
        [consumer] => Some(*consumer),
        _ => return Err(CommandError::Syntax),
    };
    let count = usize::try_from(parse_i64(count).ok_or(CommandError::NotAnInteger)?).unwrap_or(0);
    Ok(Extended { min_idle_ms, start: range_start(start)?, end: range_end(end)?, count, consumer })
}

fn reply_summary(reply: &mut super::reply::Reply, group: &Group) {
    reply.array(4);
    reply.count(group.pending.len());
    let (Some((first, _)), Some((last, _))) = (group.pending.first_key_value(), group.pending.last_key_value()) else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    reply.text(first);
    reply.text(last);
    let owners: Vec<_> = group.consumers.iter().filter(|(_, consumer)| !consumer.pending.is_empty()).collect();
    reply.array(owners.len());
    for (name, consumer) in owners {
        reply.array(2);
        reply.bulk(name);
        reply.text(consumer.pending.len());
    }
}

fn reply_extended(reply: &mut super::reply::Reply, group: &Group, wanted: &Extended<'_>, now_ms: u64) {
    let fits = |row: &PendingRow| {
        wanted.consumer.is_none_or(|consumer| row.consumer == consumer)
            && now_ms.saturating_sub(row.delivered_ms) >= wanted.min_idle_ms
    };
    let rows: Vec<(&StreamId, &PendingRow)> = match (wanted.start..=wanted.end, wanted.consumer) {
        (ids, _) if ids.is_empty() => Vec::new(),
        (ids, Some(consumer)) if group.owns_few(consumer) => {
            group.pending_of(consumer, ids).filter(|(_, row)| fits(row)).take(wanted.count).collect()
        }
        (ids, _) => group.pending.range(ids).filter(|(_, row)| fits(row)).take(wanted.count).collect(),
    };
    reply.array(rows.len());
    for (id, row) in rows {
        reply.array(4);
        reply.text(id);
        reply.bulk(&row.consumer);
        reply.count(now_ms.saturating_sub(row.delivered_ms));
        reply.count(row.deliveries);
    }
}
