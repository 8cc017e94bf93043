//! The loop: one thread runs every command, so that commands are atomic and a turn's writes share one commit.
//!
//! A turn reads all clients that have something to say, runs their commands on the keyspace, commits the journal once, and
//! only then sends the replies. Nothing is acknowledged before it is durable, and nobody sees a reply that depends on a
//! write that could still be lost.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tokio::sync::oneshot;

use super::client::{Client, Io};
use super::command::{Args, Call};
use super::housekeeping::HOUSEKEEPING;
use super::server::ServerInfo;
use super::waiters::Waiters;
use crate::auth::Scope;
use crate::config::Limits;
use crate::error::{CommandError, StoreError};
use crate::state::Keyspace;
use crate::store::Persistence;

const LISTENER: Token = Token(usize::MAX);
/// Wakes the loop from other threads: a request by HTTP, keys that were read, the end of a fold, a stop.
pub const WAKER: Token = Token(usize::MAX - 1);

/// Mutations after which a turn commits although more clients are ready.
const COMMIT_MUTATIONS: usize = 50_000;
/// Expired keys deleted per turn.
const SWEEP_PER_TURN: usize = 200;
/// The longest wait for further writers before a commit.
const MAX_GATHER: Duration = Duration::from_micros(300);

/// A command that came by HTTP.
pub struct Request {
    pub args: Vec<Vec<u8>>,
    pub scope: Scope,
    /// Gets the reply in RESP2, once it is durable.
    pub reply: oneshot::Sender<Result<Vec<u8>, CommandError>>,
}

/// Everything that the loop is made from.
pub struct Parts {
    pub poll: Poll,
    pub listener: TcpListener,
    pub requests: Receiver<Request>,
    pub stop: Arc<AtomicBool>,
    pub keyspace: Keyspace,
    pub persistence: Persistence,
    pub server: ServerInfo,
    pub limits: Limits,
    pub cache_bytes: usize,
}

impl Parts {
    /// One run of a command for `client`.
    pub(super) fn call<'a>(&'a mut self, client: &'a mut Client, args: &'a Args<'a>) -> Call<'a> {
        Call {
            args,
            keyspace: &mut self.keyspace,
            session: &mut client.session,
            reply: &mut client.reply,
            server: &self.server,
            limits: &self.limits,
            may_block: true,
        }
    }
}

/// The loop's state.
pub struct EventLoop {
    pub(super) parts: Parts,
    pub(super) clients: Slab<Client>,
    /// Clients with input that was not used up, to be looked at without an event.
    pub(super) ready: Vec<usize>,
    /// Clients with replies to send after the commit.
    pub(super) replied: Vec<usize>,
    /// Requests by HTTP may wait that this turn had no room for.
    requests_waiting: bool,
    /// Further keys may have been read that are not in memory yet.
    keys_waiting: bool,
    pub(super) waiters: Waiters,
    pub(super) next_id: u64,
    /// Clients that wrote in the last commit, and how long it took: they tell whether waiting for more is worth it.
    last_writers: usize,
    last_commit: Duration,
    pub(super) writers: usize,
    pub(super) last_housekeeping: Instant,
}

impl EventLoop {
    /// # Errors
    /// When the listener cannot be watched.
    pub fn new(mut parts: Parts) -> std::io::Result<Self> {
        parts.poll.registry().register(&mut parts.listener, LISTENER, Interest::READABLE)?;
        parts.keyspace.batch = parts.persistence.next_batch();
        Ok(Self {
            parts,
            clients: Slab::new(),
            ready: Vec::new(),
            replied: Vec::new(),
            requests_waiting: false,
            keys_waiting: false,
            waiters: Waiters::default(),
            next_id: 1,
            last_writers: 0,
            last_commit: Duration::ZERO,
            writers: 0,
            last_housekeeping: Instant::now(),
        })
    }

    /// Runs until the stop flag is set, then folds everything.
    ///
    /// # Errors
    /// When a write may not be durable. What was not acknowledged is lost; the rest is in the journal.
    pub fn run(mut self) -> Result<(), StoreError> {
        let mut events = Events::with_capacity(1024);
        while !self.parts.stop.load(Ordering::Acquire) {
            self.poll(&mut events, self.timeout())?;
            self.parts.keyspace.now_ms = now_ms();
            self.serve(&events);
            self.gather(&mut events)?;
            self.wake_blocked();
            self.parts.keyspace.sweep(SWEEP_PER_TURN);
            self.keys_waiting = self.parts.keyspace.load_more()?;
            self.commit()?;
            self.send_replies();
            self.housekeeping();
        }
        self.parts.persistence.close()
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> Result<(), StoreError> {
        match self.parts.poll.poll(events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                Err(StoreError::Io { path: "epoll".into(), source: error })
            }
            _ => Ok(()),
        }
    }

    /// How long there is nothing to do unless something happens.
    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() || self.requests_waiting || self.keys_waiting {
            return Some(Duration::ZERO);
        }
        let now_ms = now_ms();
        let at = |ms: u64| Duration::from_millis(ms.saturating_sub(now_ms));
        let deadlines = [
            self.waiters.next_deadline_ms().map(at),
            self.parts.keyspace.next_expiry_ms().map(at),
            self.parts.persistence.fold_due_in(),
            (!self.clients.is_empty()).then_some(HOUSEKEEPING),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn serve(&mut self, events: &Events) {
        for token in std::mem::take(&mut self.ready) {
            self.serve_client(token);
        }
        if self.requests_waiting {
            self.take_requests();
        }
        for event in events {
            match event.token() {
                LISTENER => self.accept(),
                WAKER => self.take_requests(),
                Token(token) => {
                    let Some(client) = self.clients.get_mut(token) else {
                        continue;
                    };
                    client.read_closed |= event.is_read_closed();
                    if event.is_writable() && client.unsent() > 0 {
                        self.replied.push(token);
                    }
                    if event.is_readable() || event.is_read_closed() {
                        self.serve_client(token);
                    }
                }
            }
        }
    }

    /// After a commit its clients come back almost together. Waiting for them a moment, less than the commit itself takes,
    /// lets one fsync serve them all instead of the first few.
    fn gather(&mut self, events: &mut Events) -> Result<(), StoreError> {
        if self.parts.keyspace.journal.is_empty() {
            return Ok(());
        }
        let patience = (self.last_commit / 2).min(MAX_GATHER);
        let mut last_arrival = Instant::now();
        while self.writers < self.last_writers
            && self.parts.keyspace.journal.len() < COMMIT_MUTATIONS
            && !self.parts.keyspace.journal.is_full()
        {
            let before = self.writers;
            self.poll(events, Some(Duration::ZERO))?;
            self.serve(events);
            if self.writers > before {
                last_arrival = Instant::now();
            } else if last_arrival.elapsed() > patience {
                break;
            }
        }
        Ok(())
    }

    fn take_requests(&mut self) {
        self.requests_waiting = self.parts.keyspace.journal.is_full();
        while !self.requests_waiting
            && let Ok(request) = self.parts.requests.try_recv()
        {
            let now_ms = self.parts.keyspace.now_ms;
            let client = Client::http(request.reply, self.next_id, request.scope, now_ms, &self.parts.limits);
            self.next_id += 1;
            let token = self.clients.insert(client);
            let args: Vec<&[u8]> = request.args.iter().map(Vec::as_slice).collect();
            self.run_command(token, &args);
            if self.clients.get(token).is_some_and(|client| client.blocked.is_none()) {
                self.replied.push(token);
            }
            self.requests_waiting = self.parts.keyspace.journal.is_full();
        }
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let keyspace = &mut self.parts.keyspace;
        if !keyspace.journal.is_empty() {
            let (started, mutations) = (Instant::now(), keyspace.journal.len());
            self.parts.persistence.commit(&mut keyspace.journal)?;
            keyspace.batch = self.parts.persistence.next_batch();
            self.last_commit = started.elapsed();
            let metrics = &self.parts.server.metrics;
            metrics.commit_seconds.observe(self.last_commit.as_secs_f64());
            // An f64 holds such counts exactly.
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            metrics.commit_batch_size.observe(mutations as f64);
            self.last_writers = std::mem::take(&mut self.writers);
        }
        self.parts.persistence.fold_if_due()
    }

    fn send_replies(&mut self) {
        for token in std::mem::take(&mut self.replied) {
            let Some(client) = self.clients.get_mut(token) else {
                continue;
            };
            if client.reply.overflowed() {
                self.parts.server.metrics.clients_cut.inc();
            }
            match client.write(self.parts.keyspace.now_ms) {
                Io::Closed => self.close(token),
                // No event will come for what the client sent while it was paused.
                Io::Drained if client.resume() => self.ready.push(token),
                _ => {}
            }
        }
    }
}

/// Unix time in milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
