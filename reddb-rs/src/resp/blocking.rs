//! Clients that wait for data: run again when it comes, answered when their time is up.

use super::client::Client;
use super::command::Outcome;
use super::dispatch;
use super::event_loop::EventLoop;

impl EventLoop {
    /// Runs blocked commands again whose keys changed, and answers those whose time is up.
    pub(super) fn wake_blocked(&mut self) {
        if self.waiters.is_empty() {
            self.parts.keyspace.signaled.clear();
            return;
        }
        let mut signaled = std::mem::take(&mut self.parts.keyspace.signaled);
        signaled.sort_unstable();
        signaled.dedup();
        for key in signaled {
            for token in self.waiters.on(&key) {
                self.retry(token);
            }
        }
        for token in self.waiters.due(self.parts.keyspace.now_ms) {
            if let Some(client) = self.unblock(token) {
                client.reply.null_array();
                self.resume(token);
            }
        }
    }

    fn retry(&mut self, token: usize) {
        let Some(blocked) = self.clients.get_mut(token).and_then(|client| client.blocked.take()) else {
            return;
        };
        if self.clients.get(token).is_some_and(Client::abandoned) {
            self.waiters.remove(token, &blocked.wait.keys, blocked.deadline_ms);
            self.close(token);
            return;
        }
        let args: Vec<&[u8]> = blocked.wait.retry.iter().map(Vec::as_slice).collect();
        let Some(client) = self.clients.get_mut(token) else {
            return;
        };
        let still_waiting = matches!(dispatch::run(&mut self.parts.call(client, &args)), Outcome::Block(_));
        if still_waiting {
            client.blocked = Some(blocked);
            return;
        }
        self.waiters.remove(token, &blocked.wait.keys, blocked.deadline_ms);
        self.resume(token);
    }

    pub(super) fn unblock(&mut self, token: usize) -> Option<&mut Client> {
        let client = self.clients.get_mut(token)?;
        let blocked = client.blocked.take()?;
        self.waiters.remove(token, &blocked.wait.keys, blocked.deadline_ms);
        Some(client)
    }

    /// The client has its reply: send it, and go on with what it sent meanwhile.
    fn resume(&mut self, token: usize) {
        self.replied.push(token);
        self.ready.push(token);
    }
}
