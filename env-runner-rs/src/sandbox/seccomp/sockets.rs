//! Which sockets may be made, and whether local daemons can be reached with them.

use seccompiler::{SeccompCmpArgLen::Dword, SeccompCmpOp as Op, SeccompRule as Rule};

use super::{Result, Rules, condition, one};

/// Leaves the type in `socket`'s argument 1, without SOCK_CLOEXEC and SOCK_NONBLOCK.
const TYPE_MASK: u64 = 0xf;

/// Refuses sockets of any family but these, and pairs but local ones.
pub fn families_only(families: &[i32]) -> Result<Rules> {
    let other = |families: &[i32]| -> Result<Rule> {
        let conditions = families.iter().map(|family| condition(0, Dword, Op::Ne, *family as u64));
        Ok(Rule::new(conditions.collect::<Result<_>>()?)?)
    };
    Ok(Rules::from([
        (libc::SYS_socket, vec![other(families)?]),
        (libc::SYS_socketpair, vec![other(&[libc::AF_UNIX])?]),
    ]))
}

/// Refuses to reach a local daemon (container engines, D-Bus, agents): connecting, or datagrams, which need
/// no connection: each may be sent to another address, also by one of a pair. To this family a raw socket
/// is one for datagrams.
pub fn no_unix_connect() -> Result<Rules> {
    let datagrams = || {
        [libc::SOCK_DGRAM, libc::SOCK_RAW].map(|kind| one(1, Dword, Op::MaskedEq(TYPE_MASK), kind as u64)).into_iter()
    };
    Ok(Rules::from([
        (libc::SYS_connect, Vec::new()),
        (libc::SYS_socket, datagrams().collect::<Result<_>>()?),
        (libc::SYS_socketpair, datagrams().collect::<Result<_>>()?),
    ]))
}
