//! XGROUP CREATE, SETID, DESTROY, CREATECONSUMER, DELCONSUMER.

use bytes::Bytes;

use super::command::{Args, Call, CommandResult, Outcome};
use super::parse::parse_i64;
use crate::config::Limits;
use crate::error::CommandError;
use crate::state::{Group, Keyspace, Stream, StreamEdit, StreamId};

pub fn xgroup(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    match (&args[1].to_ascii_uppercase()[..], &args[2..]) {
        (b"CREATE", [key, group, id, options @ ..]) => create(call, key, group, id, options),
        (b"SETID", [key, group, id, options @ ..]) => set_id(call, key, group, id, options),
        (b"DESTROY", [key, group]) => destroy(call, key, group),
        (b"CREATECONSUMER", [key, group, consumer]) => create_consumer(call, key, group, consumer),
        (b"DELCONSUMER", [key, group, consumer]) => delete_consumer(call, key, group, consumer),
        _ => {
            let name = String::from_utf8_lossy(args[1]);
            Err(CommandError::other(format!(
                "ERR unknown subcommand or wrong number of arguments for '{name}'. Try XGROUP HELP."
            )))
        }
    }
}

#[derive(Default)]
struct Options {
    make_stream: bool,
    entries_read: Option<u64>,
}

fn parse_options(mut args: &Args<'_>, may_make_stream: bool) -> Result<Options, CommandError> {
    let mut options = Options::default();
    while let [option, rest @ ..] = args {
        args = rest;
        if may_make_stream && option.eq_ignore_ascii_case(b"MKSTREAM") {
            options.make_stream = true;
        } else if option.eq_ignore_ascii_case(b"ENTRIESREAD") {
            let [count, rest @ ..] = args else {
                return Err(CommandError::Syntax);
            };
            let count = parse_i64(count).ok_or(CommandError::NotAnInteger)?;
            if count < -1 {
                return Err(CommandError::other("ERR value for ENTRIESREAD must be positive or -1"));
            }
            options.entries_read = u64::try_from(count).ok();
            args = rest;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok(options)
}

fn create(call: &mut Call<'_>, key: &[u8], group: &[u8], id: &[u8], options: &Args<'_>) -> CommandResult {
    check_name(call.limits, group)?;
    let options = parse_options(options, true)?;
    if id != b"$" {
        StreamId::parse(id, 0)?;
    }
    if call.keyspace.stream(key)?.is_none() {
        if !options.make_stream {
            return Err(CommandError::NoStreamForGroup);
        }
        call.keyspace.create_stream(key);
    }
    let mut edit = call.keyspace.edit_stream(key)?.ok_or(CommandError::NoStreamForGroup)?;
    if edit.stream.groups.contains_key(group) {
        return Err(CommandError::BusyGroup);
    }
    let position = position(edit.stream, id)?;
    edit.put_group(group, position, options.entries_read);
    call.reply.ok();
    Ok(Outcome::Done)
}

fn set_id(call: &mut Call<'_>, key: &[u8], group: &[u8], id: &[u8], options: &Args<'_>) -> CommandResult {
    let options = parse_options(options, false)?;
    let mut edit = edit_group(call.keyspace, key, group)?;
    let position = position(edit.stream, id)?;
    edit.put_group(group, position, options.entries_read);
    call.reply.ok();
    Ok(Outcome::Done)
}

fn destroy(call: &mut Call<'_>, key: &[u8], group: &[u8]) -> CommandResult {
    let mut edit = call.keyspace.edit_stream(key)?.ok_or(CommandError::NoStreamForGroup)?;
    let existed = edit.drop_group(group);
    if existed {
        // Whoever waits on the group has to learn that it is gone.
        call.keyspace.signal(key);
    }
    call.reply.integer(i64::from(existed));
    Ok(Outcome::Done)
}

fn create_consumer(call: &mut Call<'_>, key: &[u8], group: &[u8], consumer: &[u8]) -> CommandResult {
    check_name(call.limits, consumer)?;
    let mut edit = edit_group(call.keyspace, key, group)?;
    let created = edit.touch_consumer(&Bytes::copy_from_slice(group), &Bytes::copy_from_slice(consumer));
    call.reply.integer(i64::from(created));
    Ok(Outcome::Done)
}

fn delete_consumer(call: &mut Call<'_>, key: &[u8], group: &[u8], consumer: &[u8]) -> CommandResult {
    let mut edit = edit_group(call.keyspace, key, group)?;
    let pending = edit.drop_consumer(&Bytes::copy_from_slice(group), &Bytes::copy_from_slice(consumer));
    call.reply.count(pending);
    Ok(Outcome::Done)
}

/// The stream at `key`, which must have the group.
fn edit_group<'a>(keyspace: &'a mut Keyspace, key: &[u8], group: &[u8]) -> Result<StreamEdit<'a>, CommandError> {
    let edit = keyspace.edit_stream(key)?.ok_or(CommandError::NoStreamForGroup)?;
    require_group(edit.stream, key, group)?;
    Ok(edit)
}

/// Names are repeated in the journal with every entry that is pending under them.
pub fn check_name(limits: &Limits, name: &[u8]) -> Result<(), CommandError> {
    if name.len() > limits.max_key_bytes {
        return Err(CommandError::NameTooLong(limits.max_key_bytes));
    }
    Ok(())
}

fn position(stream: &Stream, id: &[u8]) -> Result<StreamId, CommandError> {
    if id == b"$" { Ok(stream.last_id) } else { StreamId::parse(id, 0) }
}

/// The group, or the error that clients know.
pub fn require_group<'a>(stream: &'a Stream, key: &[u8], group: &[u8]) -> Result<&'a Group, CommandError> {
    stream.groups.get(group).ok_or_else(|| CommandError::NoGroupForKey {
        key: String::from_utf8_lossy(key).into_owned(),
        group: String::from_utf8_lossy(group).into_owned(),
    })
}

pub fn no_group(key: &[u8], group: &[u8], suffix: &'static str) -> CommandError {
    CommandError::NoGroup {
        key: String::from_utf8_lossy(key).into_owned(),
        group: String::from_utf8_lossy(group).into_owned(),
        suffix,
    }
}
