//! DEL, EXISTS, TYPE.

use super::command::{Call, CommandResult, Outcome};
use crate::state::{Entry, kind_of};
use crate::store::keys::KeyKind;

pub fn del(call: &mut Call<'_>) -> CommandResult {
    let removed = call.args[1..].iter().filter(|key| call.keyspace.remove(key)).count();
    call.reply.count(removed);
    Ok(Outcome::Done)
}

pub fn exists(call: &mut Call<'_>) -> CommandResult {
    let found = call.args[1..].iter().filter(|key| call.keyspace.peek(key).is_some()).count();
    call.reply.count(found);
    Ok(Outcome::Done)
}

pub fn type_of(call: &mut Call<'_>) -> CommandResult {
    let name = call.keyspace.peek(call.args[1]).map_or("none", type_name);
    call.reply.simple(name);
    Ok(Outcome::Done)
}

pub fn type_name(entry: &Entry) -> &'static str {
    match kind_of(&entry.value) {
        KeyKind::String => "string",
        KeyKind::Stream { .. } => "stream",
    }
}
