//! What a command is.

use super::reply::Reply;
use super::server::ServerInfo;
use super::session::Session;
use crate::config::Limits;
use crate::error::CommandError;
use crate::state::Keyspace;

/// Arguments, the command's name first.
pub type Args<'a> = [&'a [u8]];

/// One run of a command.
pub struct Call<'a> {
    pub args: &'a Args<'a>,
    pub keyspace: &'a mut Keyspace,
    pub session: &'a mut Session,
    pub reply: &'a mut Reply,
    pub server: &'a ServerInfo,
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

/// One row of `table`.
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
