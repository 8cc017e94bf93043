//! What a command is, and the table of all of them.

use std::collections::HashMap;
use std::sync::LazyLock;

use smallvec::SmallVec;

use super::reply::Reply;
use super::session::Session;
use crate::config::Limits;
use crate::error::CommandError;
use crate::state::Keyspace;

use super::{
    connection, counters, expiry, keys, scan, server, strings, transaction, xack, xadd, xautoclaim, xclaim, xgroup,
    xinfo, xpending, xrange, xread, xreadgroup, xtrim,
};

/// Arguments, the command's name first.
pub type Args<'a> = [&'a [u8]];

/// One run of a command.
pub struct Call<'a> {
    pub args: &'a Args<'a>,
    pub keyspace: &'a mut Keyspace,
    pub session: &'a mut Session,
    pub reply: &'a mut Reply,
    pub server: &'a server::ServerInfo,
    pub limits: &'a Limits,
    /// False inside a transaction, where waiting would hold everybody up.
    pub may_block: bool,
}

/// How a command ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reply has been written.
    Done,
    /// Nothing to read yet: run `retry` when one of `keys` changes, until `timeout_ms` has passed (0: without end).
    Block(Wait),
}

/// What a blocked command waits for.
#[derive(Debug, PartialEq, Eq)]
pub struct Wait {
    pub keys: Vec<Vec<u8>>,
    pub timeout_ms: u64,
    pub retry: Vec<Vec<u8>>,
}

pub type CommandResult = Result<Outcome, CommandError>;

/// Where a command's keys are.
#[derive(Clone, Copy)]
pub enum Keys {
    None,
    /// From the first index to the last (negative: from the end), each `step`.
    Range {
        first: usize,
        last: isize,
        step: usize,
    },
    /// The first half of what follows the word STREAMS, looked for from index `from` on.
    Streams {
        from: usize,
    },
}

/// One row of the table.
pub struct Command {
    pub name: &'static str,
    /// Arguments with the name: exactly so many, or at least so many where negative.
    pub arity: isize,
    pub keys: Keys,
    pub access: Access,
    pub run: fn(&mut Call<'_>) -> CommandResult,
}

/// Who may run a command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone, so that a client can authenticate and be probed.
    Open,
    /// Whoever has a token that allows the keys.
    Token,
    /// The master token only: sees keys of every prefix.
    Master,
}

const NONE: Keys = Keys::None;
const ONE: Keys = Keys::Range { first: 1, last: 1, step: 1 };
const SECOND: Keys = Keys::Range { first: 2, last: 2, step: 1 };
const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };
const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2 };

type Run = fn(&mut Call<'_>) -> CommandResult;

/// Name, arity, keys, access, function.
const COMMANDS: &[(&str, isize, Keys, Access, Run)] = &[
    ("ping", -1, NONE, Access::Open, connection::ping),
    ("auth", -2, NONE, Access::Open, connection::auth),
    ("hello", -1, NONE, Access::Open, connection::hello),
    ("quit", -1, NONE, Access::Open, connection::quit),
    ("echo", 2, NONE, Access::Token, connection::echo),
    ("select", 2, NONE, Access::Token, connection::select),
    ("client", -2, NONE, Access::Token, connection::client),
    ("command", -1, NONE, Access::Token, server::command),
    ("info", -1, NONE, Access::Master, server::info),
    ("config", -2, NONE, Access::Master, server::config),
    ("dbsize", 1, NONE, Access::Master, server::dbsize),
    ("set", -3, ONE, Access::Token, strings::set),
    ("get", 2, ONE, Access::Token, strings::get),
    ("getdel", 2, ONE, Access::Token, strings::getdel),
    ("setnx", 3, ONE, Access::Token, strings::setnx),
    ("setex", 4, ONE, Access::Token, strings::setex),
    ("psetex", 4, ONE, Access::Token, strings::psetex),
    ("mset", -3, PAIRS, Access::Token, strings::mset),
    ("mget", -2, ALL, Access::Token, strings::mget),
    ("incr", 2, ONE, Access::Token, counters::incr),
    ("incrby", 3, ONE, Access::Token, counters::incrby),
    ("decr", 2, ONE, Access::Token, counters::decr),
    ("decrby", 3, ONE, Access::Token, counters::decrby),
    ("del", -2, ALL, Access::Token, keys::del),
    ("unlink", -2, ALL, Access::Token, keys::del),
    ("exists", -2, ALL, Access::Token, keys::exists),
    ("type", 2, ONE, Access::Token, keys::type_of),
    ("expire", -3, ONE, Access::Token, expiry::expire),
    ("pexpire", -3, ONE, Access::Token, expiry::pexpire),
    ("expireat", -3, ONE, Access::Token, expiry::expireat),
    ("pexpireat", -3, ONE, Access::Token, expiry::pexpireat),
    ("ttl", 2, ONE, Access::Token, expiry::ttl),
    ("pttl", 2, ONE, Access::Token, expiry::pttl),
    ("persist", 2, ONE, Access::Token, expiry::persist),
    ("scan", -2, NONE, Access::Token, scan::scan),
    ("keys", 2, NONE, Access::Token, scan::keys),
    ("multi", 1, NONE, Access::Token, transaction::multi),
    ("exec", 1, NONE, Access::Token, transaction::exec_without_multi),
    ("discard", 1, NONE, Access::Token, transaction::discard),
    ("xadd", -5, ONE, Access::Token, xadd::xadd),
    ("xlen", 2, ONE, Access::Token, xrange::xlen),
    ("xrange", -4, ONE, Access::Token, xrange::xrange),
    ("xrevrange", -4, ONE, Access::Token, xrange::xrevrange),
    ("xdel", -3, ONE, Access::Token, xtrim::xdel),
    ("xtrim", -4, ONE, Access::Token, xtrim::xtrim),
    ("xread", -4, Keys::Streams { from: 1 }, Access::Token, xread::xread),
    ("xgroup", -2, SECOND, Access::Token, xgroup::xgroup),
    ("xreadgroup", -7, Keys::Streams { from: 4 }, Access::Token, xreadgroup::xreadgroup),
    ("xack", -4, ONE, Access::Token, xack::xack),
    ("xpending", -3, ONE, Access::Token, xpending::xpending),
    ("xclaim", -6, ONE, Access::Token, xclaim::xclaim),
    ("xautoclaim", -6, ONE, Access::Token, xautoclaim::xautoclaim),
    ("xinfo", -2, SECOND, Access::Token, xinfo::xinfo),
];

static TABLE: LazyLock<Vec<Command>> = LazyLock::new(|| {
    let row = |&(name, arity, keys, access, run): &(&'static str, isize, Keys, Access, Run)| Command {
        name,
        arity,
        keys,
        access,
        run,
    };
    COMMANDS.iter().map(row).collect()
});

static BY_NAME: LazyLock<HashMap<&'static [u8], usize, foldhash::fast::RandomState>> =
    LazyLock::new(|| TABLE.iter().enumerate().map(|(index, command)| (command.name.as_bytes(), index)).collect());

/// Every command, in the order of their indexes.
#[must_use]
pub fn all() -> &'static [Command] {
    &TABLE
}

/// Finds a command by name, in any case. The index is its place in [`all`].
#[must_use]
pub fn find(name: &[u8]) -> Option<(usize, &'static Command)> {
    const LONGEST_NAME: usize = 16;
    let mut lower: SmallVec<[u8; LONGEST_NAME]> = SmallVec::new();
    if name.len() > LONGEST_NAME {
        return None;
    }
    lower.extend_from_slice(name);
    lower.make_ascii_lowercase();
    let index = *BY_NAME.get(&lower[..])?;
    Some((index, &TABLE[index]))
}

/// Where the word STREAMS is, from index `from` on. The permission check and the commands both ask here, so that no
/// command can read a key that was not checked.
#[must_use]
pub fn streams_at(args: &Args<'_>, from: usize) -> Option<usize> {
    args.iter().skip(from).position(|arg| arg.eq_ignore_ascii_case(b"STREAMS")).map(|at| at + from)
}

impl Command {
    /// # Errors
    /// [`CommandError::Arity`].
    pub fn check_arity(&self, args: &Args<'_>) -> Result<(), CommandError> {
        let given = isize::try_from(args.len()).unwrap_or(isize::MAX);
        let fits = if self.arity < 0 { given >= -self.arity } else { given == self.arity };
        if fits { Ok(()) } else { Err(CommandError::Arity(self.name.to_owned())) }
    }

    /// The keys among `args`. Malformed arguments give no keys here and an error when the command runs.
    pub fn keys<'a>(&self, args: &'a Args<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (start, end, step) = match self.keys {
            Keys::None => (0, 0, 1),
            Keys::Range { first, last, step } => {
                let end = if last < 0 { args.len() } else { args.len().min(last.unsigned_abs() + 1) };
                (first.min(end), end, step)
            }
            Keys::Streams { from } => {
                let start = streams_at(args, from).map_or(args.len(), |at| at + 1);
                (start, start + (args.len() - start) / 2, 1)
            }
        };
        args[start..end].iter().step_by(step).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_of<'a>(args: &'a [&'a [u8]]) -> Vec<&'a [u8]> {
        find(args[0]).unwrap().1.keys(args).collect()
    }

    #[test]
    fn keys_are_found_wherever_they_are() {
        assert_eq!(keys_of(&[b"GET", b"a"]), [b"a"]);
        assert_eq!(keys_of(&[b"mset", b"a", b"1", b"b", b"2"]), [b"a", b"b"]);
        assert_eq!(keys_of(&[b"xread", b"COUNT", b"1", b"streams", b"a", b"b", b"0", b"0"]), [b"a", b"b"]);
        assert_eq!(keys_of(&[b"xgroup", b"create", b"s", b"g", b"$"]), [b"s"]);
        assert!(keys_of(&[b"ping"]).is_empty());
    }

    #[test]
    fn a_group_named_streams_hides_no_key() {
        let args: [&[u8]; 7] = [b"XREADGROUP", b"GROUP", b"STREAMS", b"c", b"STREAMS", b"a", b">"];
        assert_eq!(keys_of(&args), [b"a"]);
    }
}
