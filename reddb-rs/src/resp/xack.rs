//! XACK.

use bytes::Bytes;

use super::command::{Call, CommandResult, Outcome};
use super::xtrim::parse_ids;

/// `XACK key group id ...`. A missing stream or group acknowledges nothing, as in Redis.
pub fn xack(call: &mut Call<'_>) -> CommandResult {
    let ids = parse_ids(&call.args[3..])?;
    let group = Bytes::copy_from_slice(call.args[2]);
    let released = match call.keyspace.edit_stream(call.args[1])? {
        None => 0,
        Some(mut edit) => ids.into_iter().filter(|id| edit.release(&group, *id)).count(),
    };
    call.reply.count(released);
    Ok(Outcome::Done)
}
