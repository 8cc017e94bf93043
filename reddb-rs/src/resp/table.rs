//! The table of all commands.

use std::collections::HashMap;
use std::sync::LazyLock;

use smallvec::SmallVec;

use super::command::{Access, Call, Command, CommandResult, Keys};
use super::{
    connection, counters, expiry, keys, scan, server, strings, transaction, xack, xadd, xautoclaim, xclaim, xgroup,
    xinfo, xpending, xrange, xread, xreadgroup, xtrim,
};

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
    ("watch", -2, ALL, Access::Token, transaction::watch),
    ("unwatch", 1, NONE, Access::Token, transaction::unwatch),
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
