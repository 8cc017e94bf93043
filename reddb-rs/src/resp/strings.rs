//! SET, GET, GETDEL, SETNX, SETEX, PSETEX, MSET, MGET.

use bytes::Bytes;

use super::command::{Args, Call, CommandResult, Outcome};
use super::expiry::{Unit, absolute_ms, future_ms};
use crate::error::CommandError;

/// When SET writes at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    IfAbsent,
    IfPresent,
}

/// What SET does with the key's expiry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expiry {
    Clear,
    Keep,
    At(u64),
}

struct SetOptions {
    condition: Condition,
    expiry: Expiry,
    return_old: bool,
}

/// `SET key value [NX|XX] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]`.
pub fn set(call: &mut Call<'_>) -> CommandResult {
    let options = parse_options(&call.args[3..], call.keyspace.now_ms)?;
    let key = call.args[1];
    let old = if options.return_old { call.keyspace.string(key)?.cloned() } else { None };
    let (exists, expires_ms) = match options {
        // The common case needs nothing of what was there before.
        SetOptions { condition: Condition::Always, expiry: Expiry::Clear, .. } => (false, 0),
        _ => call.keyspace.peek(key).map_or((false, 0), |entry| (true, entry.expires_ms)),
    };
    let write = match options.condition {
        Condition::Always => true,
        Condition::IfAbsent => !exists,
        Condition::IfPresent => exists,
    };
    if write {
        let expires_ms = match options.expiry {
            Expiry::Clear => 0,
            Expiry::Keep => expires_ms,
            Expiry::At(at) => at,
        };
        call.keyspace.set_string(key, Bytes::copy_from_slice(call.args[2]), expires_ms);
    }
    match (options.return_old, write) {
        (true, _) => call.reply.bulk_or_null(old.as_deref()),
        (false, true) => call.reply.ok(),
        (false, false) => call.reply.null(),
    }
    Ok(Outcome::Done)
}

fn parse_options(mut args: &Args<'_>, now_ms: u64) -> Result<SetOptions, CommandError> {
    let mut options = SetOptions { condition: Condition::Always, expiry: Expiry::Clear, return_old: false };
    while let [option, rest @ ..] = args {
        args = rest;
        match &option.to_ascii_uppercase()[..] {
            b"NX" if options.condition != Condition::IfPresent => options.condition = Condition::IfAbsent,
            b"XX" if options.condition != Condition::IfAbsent => options.condition = Condition::IfPresent,
            b"GET" => options.return_old = true,
            b"KEEPTTL" if options.expiry == Expiry::Clear => options.expiry = Expiry::Keep,
            name if options.expiry == Expiry::Clear => {
                let [number, rest @ ..] = args else {
                    return Err(CommandError::Syntax);
                };
                args = rest;
                options.expiry = Expiry::At(match name {
                    b"EX" => future_ms(number, Unit::Seconds, now_ms, "set")?,
                    b"PX" => future_ms(number, Unit::Milliseconds, now_ms, "set")?,
                    b"EXAT" => absolute_ms(number, Unit::Seconds, "set")?,
                    b"PXAT" => absolute_ms(number, Unit::Milliseconds, "set")?,
                    _ => return Err(CommandError::Syntax),
                });
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(options)
}

pub fn get(call: &mut Call<'_>) -> CommandResult {
    let value = call.keyspace.string(call.args[1])?;
    call.reply.bulk_or_null(value.map(|value| &value[..]));
    Ok(Outcome::Done)
}

pub fn getdel(call: &mut Call<'_>) -> CommandResult {
    let value = call.keyspace.string(call.args[1])?.cloned();
    if value.is_some() {
        call.keyspace.remove(call.args[1]);
    }
    call.reply.bulk_or_null(value.as_deref());
    Ok(Outcome::Done)
}

pub fn setnx(call: &mut Call<'_>) -> CommandResult {
    let absent = call.keyspace.peek(call.args[1]).is_none();
    if absent {
        call.keyspace.set_string(call.args[1], Bytes::copy_from_slice(call.args[2]), 0);
    }
    call.reply.integer(i64::from(absent));
    Ok(Outcome::Done)
}

pub fn setex(call: &mut Call<'_>) -> CommandResult {
    set_with_expiry(call, Unit::Seconds, "setex")
}

pub fn psetex(call: &mut Call<'_>) -> CommandResult {
    set_with_expiry(call, Unit::Milliseconds, "psetex")
}

fn set_with_expiry(call: &mut Call<'_>, unit: Unit, name: &'static str) -> CommandResult {
    let expires_ms = future_ms(call.args[2], unit, call.keyspace.now_ms, name)?;
    call.keyspace.set_string(call.args[1], Bytes::copy_from_slice(call.args[3]), expires_ms);
    call.reply.ok();
    Ok(Outcome::Done)
}

pub fn mset(call: &mut Call<'_>) -> CommandResult {
    let (pairs, []) = call.args[1..].as_chunks::<2>() else {
        return Err(CommandError::Arity("mset".into()));
    };
    for [key, value] in pairs {
        call.keyspace.set_string(key, Bytes::copy_from_slice(value), 0);
    }
    call.reply.ok();
    Ok(Outcome::Done)
}

/// A key of another kind reads as absent here, as in Redis.
pub fn mget(call: &mut Call<'_>) -> CommandResult {
    call.reply.array(call.args.len() - 1);
    for key in &call.args[1..] {
        if call.reply.overflowed() {
            break;
        }
        match call.keyspace.string(key) {
            Ok(value) => call.reply.bulk_or_null(value.map(|value| &value[..])),
            Err(CommandError::WrongType) => call.reply.null(),
            Err(error) => return Err(error),
        }
    }
    Ok(Outcome::Done)
}
