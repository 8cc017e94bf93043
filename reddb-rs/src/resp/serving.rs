//! One client's part of a turn: what it sent is read, and its commands are run.

use smallvec::SmallVec;

use super::client::{Blocked, Io};
use super::command::{Args, Outcome};
use super::connections::limits_of;
use super::dispatch;
use super::event_loop::EventLoop;
use super::parse::{ArgRanges, parse};

/// Commands of one client per turn, so that a deep pipeline does not starve the others.
const COMMANDS_PER_TURN: usize = 1024;

impl EventLoop {
    pub(super) fn serve_client(&mut self, token: usize) {
        if self.parts.keyspace.journal.is_full() {
            self.ready.push(token);
            return;
        }
        let Some(client) = self.clients.get_mut(token) else {
            return;
        };
        // What a client sends while it does not read stays in its socket.
        if client.hold_if_paused() || client.session.closing {
            return;
        }
        // What it sent has its turn before more is read: a long pipeline does not pile up here.
        let io = if client.has_commands { Io::More } else { client.read() };
        if io == Io::Closed {
            self.close(token);
            return;
        }
        let mutations = self.parts.keyspace.journal.len();
        self.run_input(token);
        self.writers += usize::from(self.parts.keyspace.journal.len() > mutations);
        self.finish_turn(token, io);
    }

    /// After a client's commands: what becomes of it.
    fn finish_turn(&mut self, token: usize, io: Io) {
        let Some(client) = self.clients.get_mut(token) else {
            return;
        };
        if client.input.len() > self.parts.limits.max_input_bytes {
            client.reply.error(&"ERR Protocol error: the command is larger than the server accepts");
            client.session.closing = true;
        } else if io == Io::End && !client.has_commands {
            if client.blocked.is_some() {
                // It cannot be told from a client that has gone, and must not be given an entry that nobody will read.
                self.close(token);
                return;
            }
            client.session.closing = true;
        }
        if client.unsent() > 0 || client.session.closing {
            self.replied.push(token);
        }
        if (client.has_commands || io == Io::More) && !client.session.closing {
            self.ready.push(token);
        }
    }

    /// Runs the commands that the client's input holds.
    fn run_input(&mut self, token: usize) {
        let Some(client) = self.clients.get_mut(token) else {
            return;
        };
        let input = std::mem::take(&mut client.input);
        let (used, more) = self.run_commands(token, &input);
        if let Some(client) = self.clients.get_mut(token) {
            client.input = input;
            client.consume(used);
            client.has_commands = more;
        }
    }

    /// Returns how much of the input was used, and whether the rest may hold commands that could have been run.
    fn run_commands(&mut self, token: usize, input: &[u8]) -> (usize, bool) {
        let mut ranges = ArgRanges::new();
        let mut used = 0;
        for _ in 0..COMMANDS_PER_TURN {
            let Some(client) = self.clients.get_mut(token) else {
                return (used, false);
            };
            if client.hold_if_paused() {
                return (used, true);
            }
            if !client.may_run() {
                return (used, false);
            }
            let limits = limits_of(client, &self.parts.limits);
            match parse(&input[used..], &mut ranges, &limits) {
                Ok(None) => return (used, false),
                Ok(Some(length)) => {
                    if !ranges.is_empty() {
                        let args: SmallVec<[&[u8]; 8]> =
                            ranges.iter().map(|range| &input[used..][range.clone()]).collect();
                        self.run_command(token, &args);
                    }
                    used += length;
                    if self.parts.keyspace.journal.is_full() {
                        return (used, true);
                    }
                }
                Err(error) => {
                    client.reply.error(&error);
                    client.session.closing = true;
                    self.parts.server.metrics.clients_cut.inc();
                    return (input.len(), false);
                }
            }
        }
        (used, true)
    }

    /// Runs one command, which may put the client to wait.
    pub(super) fn run_command(&mut self, token: usize, args: &Args<'_>) {
        let Some(client) = self.clients.get_mut(token) else {
            return;
        };
        if let Outcome::Block(wait) = dispatch::run(&mut self.parts.call(client, args)) {
            let now_ms = self.parts.keyspace.now_ms;
            let deadline_ms = (wait.timeout_ms > 0).then(|| now_ms.saturating_add(wait.timeout_ms));
            self.waiters.add(token, &wait.keys, deadline_ms);
            client.blocked = Some(Blocked { wait, deadline_ms });
        }
    }
}
