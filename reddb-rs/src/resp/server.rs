//! COMMAND, INFO, CONFIG GET, DBSIZE: what client libraries and tools ask about the server.

use std::sync::Arc;

use super::command::{Call, CommandResult, Outcome};
use crate::auth::Master;
use crate::error::CommandError;
use crate::metrics::Metrics;

/// The Redis whose behaviour the commands follow; libraries choose what to send by it.
pub const COMPATIBLE_VERSION: &str = "7.0.15";

/// What does not change while the server runs.
pub struct ServerInfo {
    pub master: Master,
    pub started_ms: u64,
    pub metrics: Arc<Metrics>,
}

/// `COMMAND`, `COMMAND COUNT`, `COMMAND DOCS`: names and arities; no documentation is kept here.
pub fn command(call: &mut Call<'_>) -> CommandResult {
    let all = super::table::all();
    match call.args.get(1).map(|subcommand| subcommand.to_ascii_uppercase()).as_deref() {
        None => {
            call.reply.array(all.len());
            for command in all {
                call.reply.array(6);
                call.reply.text(command.name);
                call.reply.count(i64::try_from(command.arity).unwrap_or(0));
                call.reply.array(0);
                for _ in 0..3 {
                    call.reply.integer(0);
                }
            }
        }
        Some(b"COUNT") => call.reply.count(all.len()),
        Some(b"DOCS") => call.reply.map(0),
        Some(_) => {
            return Err(CommandError::other("ERR unknown subcommand. Try COMMAND, COMMAND COUNT or COMMAND DOCS."));
        }
    }
    Ok(Outcome::Done)
}

pub fn info(call: &mut Call<'_>) -> CommandResult {
    let uptime = call.keyspace.now_ms.saturating_sub(call.server.started_ms) / 1000;
    call.reply.text(format!(
        "# Server\r\nredis_version:{COMPATIBLE_VERSION}\r\nreddb_version:{}\r\nredis_mode:standalone\r\n\
         uptime_in_seconds:{uptime}\r\n# Memory\r\nused_memory:{}\r\n# Keyspace\r\ndb0:keys={}\r\n",
        env!("CARGO_PKG_VERSION"),
        call.keyspace.cached_bytes(),
        call.keyspace.len(),
    ));
    Ok(Outcome::Done)
}

/// `CONFIG GET pattern...`: the two settings that redis-benchmark prints. There is no CONFIG SET.
pub fn config(call: &mut Call<'_>) -> CommandResult {
    if !call.args[1].eq_ignore_ascii_case(b"GET") {
        return Err(CommandError::other("ERR only CONFIG GET is supported; settings are given when the server starts"));
    }
    let known: Vec<_> = [("save", ""), ("appendonly", "yes")]
        .into_iter()
        .filter(|(name, _)| call.args[2..].iter().any(|asked| asked.eq_ignore_ascii_case(name.as_bytes())))
        .collect();
    call.reply.map(known.len());
    for (name, value) in known {
        call.reply.text(name);
        call.reply.text(value);
    }
    Ok(Outcome::Done)
}

pub fn dbsize(call: &mut Call<'_>) -> CommandResult {
    call.keyspace.require_all_keys()?;
    call.reply.count(call.keyspace.len());
    Ok(Outcome::Done)
}
