//! What the loop does once a second.

use std::time::{Duration, Instant};

use super::client::Client;
use super::event_loop::EventLoop;

/// A connection without a token, or with unread replies, is cut after this time.
const PATIENCE_MS: u64 = 30_000;
pub const HOUSEKEEPING: Duration = Duration::from_secs(1);

impl EventLoop {
    /// Once a second: cut who abuses patience, evict, publish gauges.
    pub(super) fn housekeeping(&mut self) {
        if self.last_housekeeping.elapsed() < HOUSEKEEPING {
            return;
        }
        self.last_housekeeping = Instant::now();
        let now_ms = self.parts.keyspace.now_ms;
        let overdue = |client: &Client| {
            let unauthenticated = client.session.scope.is_none() && now_ms > client.connected_ms + PATIENCE_MS;
            let stalled = client.stalled_ms != 0 && now_ms > client.stalled_ms + PATIENCE_MS;
            unauthenticated || stalled || client.abandoned()
        };
        let cut: Vec<usize> =
            self.clients.iter().filter(|(_, client)| overdue(client)).map(|(token, _)| token).collect();
        for token in cut {
            self.parts.server.metrics.clients_cut.inc();
            self.close(token);
        }
        let folded = self.parts.persistence.folded();
        self.parts.keyspace.evict(self.parts.cache_bytes, folded);
        let metrics = &self.parts.server.metrics;
        metrics.backlog_bytes.set(self.parts.persistence.backlog_bytes().try_into().unwrap_or(i64::MAX));
        metrics.cached_bytes.set(self.parts.keyspace.cached_bytes().try_into().unwrap_or(i64::MAX));
        metrics.keys.set(self.parts.keyspace.len().try_into().unwrap_or(i64::MAX));
        metrics.watched_keys.set(self.parts.keyspace.watched_keys().try_into().unwrap_or(i64::MAX));
    }
}
