//! From arguments to a reply: find the command, check who asks for which keys, run it or queue it.

use super::command::{Access, Call, Command, CommandResult, Outcome};
use super::table::find;
use super::transaction;
use crate::error::CommandError;

/// Runs one command. The reply, or the error, has been written unless the outcome is [`Outcome::Block`].
pub fn run(call: &mut Call<'_>) -> Outcome {
    let start = call.reply.bytes.len();
    match admit_and_run(call) {
        Ok(outcome) => outcome,
        Err(error) => {
            call.reply.bytes.truncate(start);
            call.reply.refuse(error);
            Outcome::Done
        }
    }
}

fn admit_and_run(call: &mut Call<'_>) -> CommandResult {
    let command = match admit(call) {
        Ok(command) => command,
        Err(error) => {
            if let Some(transaction) = &mut call.session.transaction {
                transaction.failed = true;
            }
            return Err(error);
        }
    };
    // Commands of a running EXEC come here too; by then the transaction has been taken from the session.
    if call.session.transaction.is_none() {
        return (command.run)(call);
    }
    if command.name == "exec" {
        let transaction = call.session.transaction.take().unwrap_or_default();
        return transaction::exec(call, &transaction);
    }
    if transaction::runs_at_once(command) {
        return (command.run)(call);
    }
    transaction::queue(call).map(|()| Outcome::Done)
}

/// The command, if this client may run it with these arguments.
fn admit(call: &Call<'_>) -> Result<&'static Command, CommandError> {
    let name = call.args[0];
    let found = find(name);
    call.server.metrics.count_command(found.map(|(index, _)| index));
    let found = found.map(|(_, command)| command);
    let scope = match (&call.session.scope, found) {
        (_, Some(command)) if command.access == Access::Open => {
            command.check_arity(call.args)?;
            return Ok(command);
        }
        (None, _) => return Err(CommandError::NoAuth),
        (Some(scope), _) => scope,
    };
    let command = found.ok_or_else(|| unknown(name))?;
    command.check_arity(call.args)?;
    if command.access == Access::Master && *scope != crate::auth::Scope::All {
        return Err(CommandError::NoPermCommand(command.name.to_owned()));
    }
    for key in command.keys(call.args) {
        if !scope.allows(key) {
            return Err(CommandError::NoPermKey);
        }
        if key.len() > call.limits.max_key_bytes {
            return Err(CommandError::KeyTooLong(call.limits.max_key_bytes));
        }
    }
    Ok(command)
}

fn unknown(name: &[u8]) -> CommandError {
    const SHOWN_BYTES: usize = 64;
    CommandError::UnknownCommand(String::from_utf8_lossy(&name[..name.len().min(SHOWN_BYTES)]).into_owned())
}
