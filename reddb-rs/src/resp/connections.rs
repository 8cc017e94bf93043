//! Connections of the loop: let in, limited, closed.

use std::io::ErrorKind;

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::client::{Client, Transport};
use super::event_loop::EventLoop;
use crate::config::Limits;

impl EventLoop {
    pub(super) fn accept(&mut self) {
        loop {
            let stream = match self.parts.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    return;
                }
            };
            if self.clients.len() >= self.parts.limits.max_connections {
                self.parts.server.metrics.connections_refused.inc();
                continue;
            }
            self.admit(stream);
        }
    }

    fn admit(&mut self, mut stream: TcpStream) {
        let slot = self.clients.vacant_entry();
        let registered = stream.set_nodelay(true).and_then(|()| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.parts.poll.registry().register(&mut stream, Token(slot.key()), interest)
        });
        if let Err(error) = registered {
            tracing::warn!(%error, "cannot watch a connection");
            return;
        }
        slot.insert(Client::tcp(stream, self.next_id, self.parts.keyspace.now_ms, &self.parts.limits));
        self.next_id += 1;
        self.parts.server.metrics.connections.inc();
    }

    pub(super) fn close(&mut self, token: usize) {
        self.unblock(token);
        let Some(mut client) = self.clients.try_remove(token) else {
            return;
        };
        self.parts.keyspace.unwatch(&mut client.session.watched);
        if let Transport::Tcp(stream) = &mut client.transport {
            // Dropping the socket closes it; deregistering first can only fail if it is closed already.
            let _ = self.parts.poll.registry().deregister(stream);
            self.parts.server.metrics.connections.dec();
        }
    }
}

/// Before authentication a client needs no more than HELLO or AUTH.
pub(super) fn limits_of(client: &Client, limits: &Limits) -> Limits {
    const UNAUTHENTICATED_ARGUMENTS: usize = 16;
    const UNAUTHENTICATED_VALUE_BYTES: usize = 16 * 1024;
    if client.session.scope.is_some() {
        return *limits;
    }
    Limits { max_arguments: UNAUTHENTICATED_ARGUMENTS, max_value_bytes: UNAUTHENTICATED_VALUE_BYTES, ..*limits }
}
