//! EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT, TTL, PTTL, PERSIST.

use super::command::{Args, Call, CommandResult, Outcome};
use super::parse::parse_i64;
use crate::error::CommandError;

#[derive(Clone, Copy)]
pub enum Unit {
    Seconds,
    Milliseconds,
}

impl Unit {
    fn to_ms(self, number: i64) -> Option<i64> {
        match self {
            Self::Seconds => number.checked_mul(1000),
            Self::Milliseconds => Some(number),
        }
    }
}

/// Unix time in milliseconds, `number` units from now. At least one unit: SET and its kin refuse the past.
pub fn future_ms(number: &[u8], unit: Unit, now_ms: u64, command: &'static str) -> Result<u64, CommandError> {
    let number = parse_i64(number).ok_or(CommandError::NotAnInteger)?;
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let at = unit.to_ms(number).filter(|ms| *ms > 0).and_then(|ms| ms.checked_add(now_ms));
    at.and_then(|at| u64::try_from(at).ok()).ok_or(CommandError::InvalidExpire(command))
}

/// Unix time in milliseconds of a positive Unix time in `unit`.
pub fn absolute_ms(number: &[u8], unit: Unit, command: &'static str) -> Result<u64, CommandError> {
    let number = parse_i64(number).ok_or(CommandError::NotAnInteger)?;
    let at = unit.to_ms(number).filter(|ms| *ms > 0);
    at.and_then(|at| u64::try_from(at).ok()).ok_or(CommandError::InvalidExpire(command))
}

pub fn expire(call: &mut Call<'_>) -> CommandResult {
    set_expiry(call, Unit::Seconds, true, "expire")
}

pub fn pexpire(call: &mut Call<'_>) -> CommandResult {
    set_expiry(call, Unit::Milliseconds, true, "pexpire")
}

pub fn expireat(call: &mut Call<'_>) -> CommandResult {
    set_expiry(call, Unit::Seconds, false, "expireat")
}

pub fn pexpireat(call: &mut Call<'_>) -> CommandResult {
    set_expiry(call, Unit::Milliseconds, false, "pexpireat")
}

/// `EXPIRE key number [NX|XX|GT|LT]`. A time in the past deletes the key.
fn set_expiry(call: &mut Call<'_>, unit: Unit, relative: bool, name: &'static str) -> CommandResult {
    let number = parse_i64(call.args[2]).ok_or(CommandError::NotAnInteger)?;
    let now_ms = i64::try_from(call.keyspace.now_ms).unwrap_or(i64::MAX);
    let base = if relative { now_ms } else { 0 };
    let at = unit.to_ms(number).and_then(|ms| ms.checked_add(base)).ok_or(CommandError::InvalidExpire(name))?;
    let key = call.args[1];
    let Some(current) = call.keyspace.peek(key).map(|entry| entry.expires_ms) else {
        call.reply.integer(0);
        return Ok(Outcome::Done);
    };
    let apply = expiry_allowed(&call.args[3..], current, at)?;
    if apply {
        match u64::try_from(at) {
            Ok(at) if at > call.keyspace.now_ms => call.keyspace.set_expiry(key, at),
            _ => call.keyspace.remove(key),
        };
    }
    call.reply.integer(i64::from(apply));
    Ok(Outcome::Done)
}

/// `current` 0 is "never", which counts as later than any time.
fn expiry_allowed(options: &Args<'_>, current: u64, at: i64) -> Result<bool, CommandError> {
    let current = (current != 0).then(|| i64::try_from(current).unwrap_or(i64::MAX));
    let mut allowed = true;
    for option in options {
        allowed &= match &option.to_ascii_uppercase()[..] {
            b"NX" => current.is_none(),
            b"XX" => current.is_some(),
            b"GT" => current.is_some_and(|current| at > current),
            b"LT" => current.is_none_or(|current| at < current),
            other => {
                let option = String::from_utf8_lossy(other);
                return Err(CommandError::other(format!("ERR Unsupported option {option}")));
            }
        };
    }
    Ok(allowed)
}

pub fn ttl(call: &mut Call<'_>) -> CommandResult {
    remaining(call, |ms| (ms + 500) / 1000)
}

pub fn pttl(call: &mut Call<'_>) -> CommandResult {
    remaining(call, |ms| ms)
}

/// -2: no such key; -1: it never expires.
fn remaining(call: &mut Call<'_>, convert: fn(u64) -> u64) -> CommandResult {
    let now_ms = call.keyspace.now_ms;
    match call.keyspace.peek(call.args[1]).map(|entry| entry.expires_ms) {
        None => call.reply.integer(-2),
        Some(0) => call.reply.integer(-1),
        Some(at) => call.reply.count(convert(at - now_ms.min(at))),
    }
    Ok(Outcome::Done)
}

pub fn persist(call: &mut Call<'_>) -> CommandResult {
    let expires = call.keyspace.peek(call.args[1]).is_some_and(|entry| entry.expires_ms != 0);
    if expires {
        call.keyspace.set_expiry(call.args[1], 0);
    }
    call.reply.integer(i64::from(expires));
    Ok(Outcome::Done)
}
