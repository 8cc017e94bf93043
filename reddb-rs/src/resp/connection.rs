//! PING, ECHO, AUTH, HELLO, SELECT, CLIENT, QUIT.

use super::command::{Args, Call, CommandResult, Outcome};
use super::parse::parse_i64;
use super::reply::Protocol;
use crate::error::CommandError;

pub fn ping(call: &mut Call<'_>) -> CommandResult {
    match call.args {
        [_] => call.reply.simple("PONG"),
        [_, message] => call.reply.bulk(message),
        _ => return Err(CommandError::Arity("ping".into())),
    }
    Ok(Outcome::Done)
}

pub fn echo(call: &mut Call<'_>) -> CommandResult {
    call.reply.bulk(call.args[1]);
    Ok(Outcome::Done)
}

/// `AUTH token` or `AUTH default token`.
pub fn auth(call: &mut Call<'_>) -> CommandResult {
    let token = match call.args {
        [_, token] => token,
        [_, user, token] if *user == b"default" => token,
        [_, _, _] => return Err(CommandError::WrongPass),
        _ => return Err(CommandError::Syntax),
    };
    if !call.session.authenticate(&call.server.master, token) {
        return Err(CommandError::WrongPass);
    }
    call.reply.ok();
    Ok(Outcome::Done)
}

/// `HELLO [2|3] [AUTH user token] [SETNAME name]`.
pub fn hello(call: &mut Call<'_>) -> CommandResult {
    let mut protocol = call.reply.protocol;
    let mut options = &call.args[1..];
    if let [version, rest @ ..] = options {
        protocol = match parse_i64(version) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(CommandError::other("NOPROTO unsupported protocol version")),
            None => {
                return Err(CommandError::other("ERR Protocol version is not an integer or out of range"));
            }
        };
        options = rest;
    }
    hello_options(call, options)?;
    if call.session.scope.is_none() {
        return Err(CommandError::other(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    call.reply.protocol = protocol;
    describe_server(call);
    Ok(Outcome::Done)
}

fn hello_options(call: &mut Call<'_>, mut options: &Args<'_>) -> Result<(), CommandError> {
    while let [option, rest @ ..] = options {
        match rest {
            [user, token, rest @ ..] if option.eq_ignore_ascii_case(b"AUTH") => {
                if *user != b"default" || !call.session.authenticate(&call.server.master, token) {
                    return Err(CommandError::WrongPass);
                }
                options = rest;
            }
            [name, rest @ ..] if option.eq_ignore_ascii_case(b"SETNAME") => {
                set_name(call, name)?;
                options = rest;
            }
            _ => return Err(CommandError::other("ERR Syntax error in HELLO option")),
        }
    }
    Ok(())
}

fn describe_server(call: &mut Call<'_>) {
    let reply = &mut *call.reply;
    reply.map(7);
    for (name, value) in [("server", "redis"), ("version", super::server::COMPATIBLE_VERSION)] {
        reply.text(name);
        reply.text(value);
    }
    reply.text("proto");
    reply.integer(if reply.protocol == Protocol::Resp3 { 3 } else { 2 });
    reply.text("id");
    reply.count(call.session.id);
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        reply.text(name);
        reply.text(value);
    }
    reply.text("modules");
    reply.array(0);
}

pub fn select(call: &mut Call<'_>) -> CommandResult {
    match parse_i64(call.args[1]) {
        Some(0) => call.reply.ok(),
        Some(_) => return Err(CommandError::other("ERR DB index is out of range")),
        None => return Err(CommandError::NotAnInteger),
    }
    Ok(Outcome::Done)
}

/// `CLIENT SETNAME|GETNAME|ID|SETINFO`.
pub fn client(call: &mut Call<'_>) -> CommandResult {
    let subcommand = call.args[1].to_ascii_uppercase();
    match (&subcommand[..], &call.args[2..]) {
        (b"SETNAME", [name]) => {
            set_name(call, name)?;
            call.reply.ok();
        }
        (b"GETNAME", []) if call.session.name.is_empty() => call.reply.null(),
        (b"GETNAME", []) => call.reply.bulk(&call.session.name),
        (b"ID", []) => call.reply.count(call.session.id),
        // Libraries announce their name and version; nothing here depends on them.
        (b"SETINFO", [_, _]) => call.reply.ok(),
        _ => {
            let text = String::from_utf8_lossy(call.args[1]);
            return Err(CommandError::other(format!(
                "ERR unknown subcommand or wrong number of arguments for '{text}'. Try CLIENT HELP."
            )));
        }
    }
    Ok(Outcome::Done)
}

fn set_name(call: &mut Call<'_>, name: &[u8]) -> Result<(), CommandError> {
    if !name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Err(CommandError::other("ERR Client names cannot contain spaces, newlines or special characters."));
    }
    call.session.name = name.to_vec();
    Ok(())
}

pub fn quit(call: &mut Call<'_>) -> CommandResult {
    call.session.closing = true;
    call.reply.ok();
    Ok(Outcome::Done)
}
