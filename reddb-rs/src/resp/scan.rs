//! SCAN and KEYS. A scoped token sees the keys under its prefix only.

use bytes::Bytes;

use super::command::{Args, Call, CommandResult, Outcome};
use super::glob::matches;
use super::keys::type_name;
use super::parse::parse_i64;
use crate::error::CommandError;
use crate::state::parse_u64;

/// Keys that one SCAN may walk, whatever COUNT says: it runs between everybody else's commands.
const MAX_SCAN_COUNT: usize = 10_000;

#[derive(Default)]
struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    count: usize,
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE t]`.
pub fn scan(call: &mut Call<'_>) -> CommandResult {
    let cursor = parse_u64(call.args[1]).ok_or_else(|| CommandError::other("ERR invalid cursor"))?;
    let options = parse_options(&call.args[2..])?;
    call.keyspace.require_all_keys()?;
    let (next, found) = collect(call, cursor, &options);
    call.reply.array(2);
    call.reply.text(next);
    reply_keys(call, &found);
    Ok(Outcome::Done)
}

/// `KEYS pattern`. Walks every key in one go: for people, not for programs.
pub fn keys(call: &mut Call<'_>) -> CommandResult {
    let options = ScanOptions { pattern: Some(call.args[1]), kind: None, count: usize::MAX };
    call.keyspace.require_all_keys()?;
    let (_, found) = collect(call, 0, &options);
    reply_keys(call, &found);
    Ok(Outcome::Done)
}

fn parse_options<'a>(mut args: &Args<'a>) -> Result<ScanOptions<'a>, CommandError> {
    let mut options = ScanOptions { count: 10, ..ScanOptions::default() };
    while let [option, value, rest @ ..] = args {
        args = rest;
        match &option.to_ascii_uppercase()[..] {
            b"MATCH" => options.pattern = Some(value),
            b"TYPE" => options.kind = Some(value),
            b"COUNT" => {
                let count = parse_i64(value).ok_or(CommandError::NotAnInteger)?;
                let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(CommandError::Syntax)?;
                options.count = count.min(MAX_SCAN_COUNT);
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    if args.is_empty() { Ok(options) } else { Err(CommandError::Syntax) }
}

fn collect(call: &Call<'_>, cursor: u64, options: &ScanOptions<'_>) -> (u64, Vec<Bytes>) {
    let mut found = Vec::new();
    let next = call.keyspace.scan(cursor, options.count, |key, entry| {
        let visible = call.session.scope.as_ref().is_some_and(|scope| scope.allows(key))
            && options.pattern.is_none_or(|pattern| matches(pattern, key))
            && options.kind.is_none_or(|kind| kind.eq_ignore_ascii_case(type_name(entry).as_bytes()));
        if visible {
            found.push(key.clone());
        }
    });
    (next, found)
}

fn reply_keys(call: &mut Call<'_>, found: &[Bytes]) {
    call.reply.array(found.len());
    for key in found {
        call.reply.bulk(key);
    }
}
