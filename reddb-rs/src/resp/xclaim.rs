//! XCLAIM.

use bytes::Bytes;

use super::command::{Args, Call, CommandResult, Outcome};
use super::parse::parse_i64;
use super::xgroup::{check_name, no_group};
use super::xrange::reply_entry;
use crate::error::CommandError;
use crate::state::{StreamEdit, StreamId};
use crate::store::{PendingRow, count_up};

struct Options {
    ids: Vec<StreamId>,
    delivered_ms: u64,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: Option<StreamId>,
}

/// `XCLAIM key group consumer min-idle id ... [IDLE ms] [TIME ms] [RETRYCOUNT n] [FORCE] [JUSTID] [LASTID id]`.
pub fn xclaim(call: &mut Call<'_>) -> CommandResult {
    let (key, group) = (call.args[1], Bytes::copy_from_slice(call.args[2]));
    let consumer = Bytes::copy_from_slice(call.args[3]);
    check_name(call.limits, &consumer)?;
    let exists = call.keyspace.stream(key)?.is_some_and(|stream| stream.groups.contains_key(&group));
    if !exists {
        return Err(no_group(key, &group, ""));
    }
    let min_idle_ms = min_idle(call.args[4], "XCLAIM")?;
    let options = parse_options(&call.args[5..], call.keyspace.now_ms)?;
    let Some(mut edit) = call.keyspace.edit_stream(key)? else {
        return Err(CommandError::NoSuchKey);
    };
    advance(&mut edit, &group, options.last_id);
    edit.touch_consumer(&group, &consumer);
    let mut claimed = Vec::new();
    // What a full batch has no room for is not claimed, as if it were not idle enough.
    for id in options.ids.iter().take(edit.room_for_pending(&group, &consumer)) {
        if let Some(fields) = claim(&mut edit, &group, &consumer, *id, min_idle_ms, &options) {
            claimed.push((*id, fields));
        }
    }
    call.reply.array(claimed.len());
    for (id, fields) in claimed {
        if options.just_id { call.reply.text(id) } else { reply_entry(call.reply, id, &fields) }
    }
    Ok(Outcome::Done)
}

/// The minimum idle time in milliseconds; negative counts as 0.
pub fn min_idle(text: &[u8], command: &str) -> Result<u64, CommandError> {
    let ms = parse_i64(text)
        .ok_or_else(|| CommandError::other(format!("ERR Invalid min-idle-time argument for {command}")))?;
    Ok(u64::try_from(ms).unwrap_or(0))
}

fn parse_options(args: &Args<'_>, now_ms: u64) -> Result<Options, CommandError> {
    let first_option = args.iter().position(|arg| StreamId::parse(arg, 0).is_err()).unwrap_or(args.len());
    let (ids, mut rest) = args.split_at(first_option);
    if ids.is_empty() {
        return Err(CommandError::InvalidStreamId);
    }
    let ids = super::xtrim::parse_ids(ids)?;
    let mut options =
        Options { ids, delivered_ms: now_ms, deliveries: None, force: false, just_id: false, last_id: None };
    while let [option, after @ ..] = rest {
        rest = after;
        match &option.to_ascii_uppercase()[..] {
            b"FORCE" => options.force = true,
            b"JUSTID" => options.just_id = true,
            name => {
                let [value, after @ ..] = rest else {
                    return Err(unknown(option));
                };
                rest = after;
                parse_valued(&mut options, name, value, now_ms)?;
            }
        }
    }
    Ok(options)
}

fn parse_valued(options: &mut Options, name: &[u8], value: &[u8], now_ms: u64) -> Result<(), CommandError> {
    let number = || parse_i64(value).and_then(|number| u64::try_from(number).ok()).ok_or(CommandError::NotAnInteger);
    match name {
        b"IDLE" => options.delivered_ms = now_ms.saturating_sub(number()?),
        // A delivery in the future would never look idle again.
        b"TIME" => options.delivered_ms = number()?.min(now_ms),
        b"RETRYCOUNT" => options.deliveries = Some(number()?),
        b"LASTID" => options.last_id = Some(StreamId::parse(value, 0)?),
        _ => return Err(unknown(name)),
    }
    Ok(())
}

fn unknown(option: &[u8]) -> CommandError {
    CommandError::other(format!("ERR Unrecognized XCLAIM option '{}'", String::from_utf8_lossy(option)))
}

fn advance(edit: &mut StreamEdit<'_>, group: &Bytes, last_id: Option<StreamId>) {
    let Some(state) = edit.stream.groups.get(group) else {
        return;
    };
    if let Some(last_id) = last_id.filter(|id| *id > state.last_delivered) {
        let read = state.entries_read;
        edit.put_group(group, last_id, read);
    }
}

/// Claims one entry; returns its fields, or `None` if it is not to be claimed.
fn claim(
    edit: &mut StreamEdit<'_>,
    group: &Bytes,
    consumer: &Bytes,
    id: StreamId,
    min_idle_ms: u64,
    options: &Options,
) -> Option<Bytes> {
    let Some(fields) = edit.stream.entries.get(&id).cloned() else {
        // The entry was deleted: nobody can work on it any more.
        edit.release(group, id);
        return None;
    };
    let before = edit.stream.groups.get(group)?.pending.get(&id).cloned();
    let deliveries = match &before {
        None if !options.force => return None,
        None => 0,
        Some(row) if edit.now_ms.saturating_sub(row.delivered_ms) < min_idle_ms => return None,
        Some(row) => row.deliveries,
    };
    let deliveries = options.deliveries.unwrap_or(if options.just_id { deliveries } else { count_up(deliveries) });
    let row = PendingRow { consumer: consumer.clone(), delivered_ms: options.delivered_ms, deliveries };
    edit.assign(group, id, row);
    Some(fields)
}
