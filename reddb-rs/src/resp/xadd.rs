//! XADD.

use bytes::Bytes;

use super::command::{Args, Call, CommandResult, Outcome};
use super::reply::{push_array, push_bulk};
use super::xtrim::{Trim, parse_trim};
use crate::error::CommandError;
use crate::state::{StreamId, parse_u64};

/// The id as the client asks for it.
#[derive(Clone, Copy)]
enum AskedId {
    /// `*`
    Now,
    /// `ms-*`
    Next {
        ms: u64,
    },
    Exact(StreamId),
}

struct Options<'a> {
    create: bool,
    trim: Option<Trim>,
    id: AskedId,
    fields: &'a Args<'a>,
}

/// `XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT n]] *|id field value ...`.
pub fn xadd(call: &mut Call<'_>) -> CommandResult {
    let options = parse(call.args)?;
    let key = call.args[1];
    let last_id = call.keyspace.stream(key)?.map(|stream| stream.last_id);
    if last_id.is_none() && !options.create {
        call.reply.null();
        return Ok(Outcome::Done);
    }
    let id = choose_id(options.id, last_id.unwrap_or(StreamId::MIN), call.keyspace.now_ms)?;
    if last_id.is_none() {
        call.keyspace.create_stream(key);
    }
    if let Some(mut edit) = call.keyspace.edit_stream(key)? {
        edit.append(id, encode_fields(options.fields));
        if let Some(trim) = options.trim {
            trim.apply(&mut edit);
        }
    }
    call.keyspace.signal(key);
    call.reply.text(id);
    Ok(Outcome::Done)
}

fn parse<'a>(args: &'a Args<'a>) -> Result<Options<'a>, CommandError> {
    let (mut create, mut trim, mut at) = (true, None, 2);
    loop {
        let option = *args.get(at).ok_or(CommandError::Syntax)?;
        if option.eq_ignore_ascii_case(b"NOMKSTREAM") {
            create = false;
            at += 1;
        } else if option.eq_ignore_ascii_case(b"MAXLEN") || option.eq_ignore_ascii_case(b"MINID") {
            let (parsed, used) = parse_trim(&args[at..])?;
            trim = Some(parsed);
            at += used;
        } else {
            break;
        }
    }
    let fields = args.get(at + 1..).unwrap_or_default();
    if fields.is_empty() || fields.len() % 2 != 0 {
        return Err(CommandError::Arity("xadd".into()));
    }
    Ok(Options { create, trim, id: parse_id(args[at])?, fields })
}

fn parse_id(text: &[u8]) -> Result<AskedId, CommandError> {
    if text == b"*" {
        return Ok(AskedId::Now);
    }
    if let Some(ms) = text.strip_suffix(b"-*") {
        let ms = parse_u64(ms).ok_or(CommandError::InvalidStreamId)?;
        return Ok(AskedId::Next { ms });
    }
    let id = StreamId::parse(text, 0)?;
    if id == StreamId::MIN { Err(CommandError::IdZero) } else { Ok(AskedId::Exact(id)) }
}

fn choose_id(asked: AskedId, last: StreamId, now_ms: u64) -> Result<StreamId, CommandError> {
    match asked {
        AskedId::Now if now_ms > last.ms => Ok(StreamId::new(now_ms, 0)),
        AskedId::Now => last.next().ok_or(CommandError::IdExhausted),
        AskedId::Next { ms } if ms > last.ms => Ok(StreamId::new(ms, 0)),
        AskedId::Next { ms } if ms == last.ms => {
            last.seq.checked_add(1).map(|seq| StreamId::new(ms, seq)).ok_or(CommandError::IdTooSmall)
        }
        AskedId::Exact(id) if id > last => Ok(id),
        AskedId::Next { .. } | AskedId::Exact(_) => Err(CommandError::IdTooSmall),
    }
}

/// Entries are kept as they will be sent.
fn encode_fields(fields: &Args<'_>) -> Bytes {
    const HEAD_BYTES: usize = 16;
    let bytes: usize = fields.iter().map(|field| field.len() + HEAD_BYTES).sum();
    let mut encoded = Vec::with_capacity(bytes);
    push_array(&mut encoded, fields.len());
    for field in fields {
        push_bulk(&mut encoded, field);
    }
    encoded.shrink_to_fit();
    Bytes::from(encoded)
}
