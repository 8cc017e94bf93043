//! XTRIM, XDEL, and the trimming options that XADD shares.

use super::command::{Args, Call, CommandResult, Outcome};
use super::parse::parse_i64;
use crate::error::CommandError;
use crate::state::{StreamEdit, StreamId};

/// What to trim. `~` is honoured exactly: trimming less would save nothing here.
pub struct Trim {
    to: Threshold,
    limit: Option<usize>,
}

enum Threshold {
    Length(usize),
    MinId(StreamId),
}

impl Trim {
    /// Returns the number of entries removed.
    pub fn apply(&self, edit: &mut StreamEdit<'_>) -> usize {
        match self.to {
            Threshold::Length(length) => edit.trim_to_length(length, self.limit),
            Threshold::MinId(id) => edit.trim_below(id, self.limit),
        }
    }
}

/// Parses `MAXLEN|MINID [=|~] threshold [LIMIT n]` at the start of `args`; returns it and the arguments it took.
pub fn parse_trim(args: &Args<'_>) -> Result<(Trim, usize), CommandError> {
    let strategy = args.first().ok_or(CommandError::Syntax)?;
    let mut used = 1;
    let approximate = args.get(used).is_some_and(|arg| *arg == b"~");
    if approximate || args.get(used).is_some_and(|arg| *arg == b"=") {
        used += 1;
    }
    let threshold = args.get(used).ok_or(CommandError::Syntax)?;
    used += 1;
    let to = if strategy.eq_ignore_ascii_case(b"MAXLEN") {
        let length = parse_i64(threshold).ok_or(CommandError::NotAnInteger)?;
        let length =
            usize::try_from(length).map_err(|_| CommandError::other("ERR The MAXLEN argument must be >= 0."))?;
        Threshold::Length(length)
    } else if strategy.eq_ignore_ascii_case(b"MINID") {
        Threshold::MinId(StreamId::parse(threshold, 0)?)
    } else {
        return Err(CommandError::Syntax);
    };
    let mut limit = None;
    if args.get(used).is_some_and(|arg| arg.eq_ignore_ascii_case(b"LIMIT")) {
        if !approximate {
            return Err(CommandError::other("ERR syntax error, LIMIT cannot be used without the special ~ option"));
        }
        let count = args.get(used + 1).and_then(|count| parse_i64(count)).ok_or(CommandError::NotAnInteger)?;
        let count = usize::try_from(count).map_err(|_| CommandError::other("ERR The LIMIT argument must be >= 0."))?;
        // 0 is Redis' way to say "no limit".
        limit = (count > 0).then_some(count);
        used += 2;
    }
    Ok((Trim { to, limit }, used))
}

/// `XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT n]`.
pub fn xtrim(call: &mut Call<'_>) -> CommandResult {
    let (trim, used) = parse_trim(&call.args[2..])?;
    if used + 2 != call.args.len() {
        return Err(CommandError::Syntax);
    }
    let removed = call.keyspace.edit_stream(call.args[1])?.map_or(0, |mut edit| trim.apply(&mut edit));
    call.reply.count(removed);
    Ok(Outcome::Done)
}

/// `XDEL key id ...`.
pub fn xdel(call: &mut Call<'_>) -> CommandResult {
    let ids = parse_ids(&call.args[2..])?;
    let removed = match call.keyspace.edit_stream(call.args[1])? {
        None => 0,
        Some(mut edit) => ids.into_iter().filter(|id| edit.delete(*id)).count(),
    };
    call.reply.count(removed);
    Ok(Outcome::Done)
}

/// All ids, or an error before any of them has had an effect.
pub fn parse_ids(args: &Args<'_>) -> Result<Vec<StreamId>, CommandError> {
    args.iter().map(|arg| StreamId::parse(arg, 0)).collect()
}
