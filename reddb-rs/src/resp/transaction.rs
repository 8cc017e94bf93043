//! MULTI, EXEC, DISCARD, WATCH, UNWATCH. A transaction runs without a pause and lands in one group commit: all of it is
//! durable, or none. Whether a watched key has changed is asked of the keyspace, which has every write that ran before, also
//! those of the same commit.

use super::command::{Args, Call, Command, CommandResult, Outcome};
use super::dispatch;
use super::session::Transaction;
use crate::error::CommandError;

pub fn multi(call: &mut Call<'_>) -> CommandResult {
    if call.session.transaction.is_some() {
        return Err(CommandError::other("ERR MULTI calls can not be nested"));
    }
    call.session.transaction = Some(Transaction::default());
    call.reply.ok();
    Ok(Outcome::Done)
}

/// EXEC inside a transaction goes to [`exec`]; this one answers it outside.
pub fn exec_without_multi(_call: &mut Call<'_>) -> CommandResult {
    Err(CommandError::other("ERR EXEC without MULTI"))
}

pub fn discard(call: &mut Call<'_>) -> CommandResult {
    if call.session.transaction.take().is_none() {
        return Err(CommandError::other("ERR DISCARD without MULTI"));
    }
    call.keyspace.unwatch(&mut call.session.watched);
    call.reply.ok();
    Ok(Outcome::Done)
}

/// `WATCH key ...`: the next EXEC is to run only if these keys stay as they are now.
pub fn watch(call: &mut Call<'_>) -> CommandResult {
    if call.session.transaction.is_some() {
        return Err(CommandError::other("ERR WATCH inside MULTI is not allowed"));
    }
    let (keys, watched) = (&call.args[1..], &mut call.session.watched);
    let new = keys.iter().filter(|key| !watched.contains_key(**key)).count();
    let most = call.limits.max_watched_keys;
    if watched.len() + new > most {
        return Err(CommandError::other(format!("ERR a connection watches at most {most} keys")));
    }
    for key in keys {
        call.keyspace.watch(watched, key);
    }
    call.reply.ok();
    Ok(Outcome::Done)
}

pub fn unwatch(call: &mut Call<'_>) -> CommandResult {
    call.keyspace.unwatch(&mut call.session.watched);
    call.reply.ok();
    Ok(Outcome::Done)
}

/// Whether a command runs at once although a transaction is open.
pub fn runs_at_once(command: &Command) -> bool {
    matches!(command.name, "exec" | "discard" | "multi" | "watch" | "quit" | "auth" | "hello")
}

/// Keeps a command, already checked, for EXEC.
///
/// # Errors
/// When the transaction is too big; EXEC will then refuse it.
pub fn queue(call: &mut Call<'_>) -> Result<(), CommandError> {
    let Some(transaction) = &mut call.session.transaction else {
        return Ok(());
    };
    transaction.bytes += call.args.iter().map(|arg| arg.len()).sum::<usize>();
    let too_many = transaction.commands.len() >= call.limits.max_transaction_commands;
    if too_many || transaction.bytes > call.limits.max_input_bytes {
        transaction.failed = true;
        transaction.commands.clear();
        return Err(CommandError::other("ERR the transaction has too many commands or bytes"));
    }
    transaction.commands.push(call.args.iter().map(|arg| arg.to_vec()).collect());
    call.reply.simple("QUEUED");
    Ok(())
}

/// Runs what was queued, or nothing if a watched key has changed; to its end even if the replies outgrow their limit: a part of
/// a transaction is never committed.
///
/// # Errors
/// EXECABORT, if a command was refused while queueing.
pub fn exec(call: &mut Call<'_>, transaction: &Transaction) -> CommandResult {
    let unchanged = call.keyspace.unwatch(&mut call.session.watched);
    if transaction.failed {
        return Err(CommandError::other("EXECABORT Transaction discarded because of previous errors."));
    }
    if !unchanged {
        call.reply.null_array();
        return Ok(Outcome::Done);
    }
    call.reply.array(transaction.commands.len());
    for owned in &transaction.commands {
        let args: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
        run_one(call, &args);
    }
    Ok(Outcome::Done)
}

fn run_one(call: &mut Call<'_>, args: &Args<'_>) {
    let mut inner = Call {
        args,
        keyspace: call.keyspace,
        session: call.session,
        reply: call.reply,
        server: call.server,
        limits: call.limits,
        may_block: false,
    };
    dispatch::run(&mut inner);
}
