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
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::client::{Blocked, Client, Io, Transport};
use super::command::{Args, Call, Outcome};
use super::dispatch;
use super::parse::{ArgRanges, parse};
use super::server::ServerInfo;
use super::waiters::Waiters;
use crate::auth::Scope;
use crate::config::Limits;
use crate::error::StoreError;
use crate::state::Keyspace;
use crate::store::Persistence;

const LISTENER: Token = Token(usize::MAX);
/// Wakes the loop from other threads: a request by HTTP, the end of a fold, a stop.
pub const WAKER: Token = Token(usize::MAX - 1);

/// Commands of one client per turn, so that a deep pipeline does not starve the others.
const COMMANDS_PER_TURN: usize = 1024;
/// Mutations after which a turn commits although more clients are ready.
const COMMIT_MUTATIONS: usize = 50_000;
/// Expired keys deleted per turn.
const SWEEP_PER_TURN: usize = 200;
/// The longest wait for further writers before a commit.
const MAX_GATHER: Duration = Duration::from_micros(300);
/// A connection without a token, or with unread replies, is cut after this time.
const PATIENCE_MS: u64 = 30_000;
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// A command that came by HTTP.
pub struct Request {
    pub args: Vec<Vec<u8>>,
    pub scope: Scope,
    /// Gets the reply in RESP2, once it is durable.
    pub reply: oneshot::Sender<Vec<u8>>,
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

/// The loop's state.
pub struct EventLoop {
    parts: Parts,
    clients: Slab<Client>,
    /// Clients with input that was not used up, to be looked at without an event.
    ready: Vec<usize>,
    /// Clients with replies to send after the commit.
    replied: Vec<usize>,
    waiters: Waiters,
    next_id: u64,
    /// Clients that wrote in the last commit, and how long it took: they tell whether waiting for more is worth it.
    last_writers: usize,
    last_commit: Duration,
    writers: usize,
    last_housekeeping: Instant,
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
        if !self.ready.is_empty() {
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
        for event in events {
            match event.token() {
                LISTENER => self.accept(),
                WAKER => self.take_requests(),
                Token(token) => {
                    if event.is_writable() && self.clients.get(token).is_some_and(|client| client.unsent() > 0) {
                        self.replied.push(token);
                        self.ready.push(token);
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
        while self.writers < self.last_writers && self.parts.keyspace.journal.len() < COMMIT_MUTATIONS {
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

    fn accept(&mut self) {
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

    fn admit(&mut self, mut stream: mio::net::TcpStream) {
        let slot = self.clients.vacant_entry();
        let registered = stream.set_nodelay(true).and_then(|()| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.parts.poll.registry().register(&mut stream, Token(slot.key()), interest)
        });
        if let Err(error) = registered {
            tracing::warn!(%error, "cannot watch a connection");
            return;
        }
        slot.insert(Client::tcp(stream, self.next_id, self.parts.keyspace.now_ms));
        self.next_id += 1;
        self.parts.server.metrics.connections.inc();
    }

    fn take_requests(&mut self) {
        while let Ok(request) = self.parts.requests.try_recv() {
            let client = Client::http(request.reply, self.next_id, request.scope, self.parts.keyspace.now_ms);
            self.next_id += 1;
            let token = self.clients.insert(client);
            let args: Vec<&[u8]> = request.args.iter().map(Vec::as_slice).collect();
            self.run_command(token, &args, true);
            if self.clients.get(token).is_some_and(|client| client.blocked.is_none()) {
                self.replied.push(token);
            }
        }
    }

    fn serve_client(&mut self, token: usize) {
        let Some(client) = self.clients.get_mut(token) else {
            return;
        };
        let io = client.read();
        let limit = self.parts.limits.max_input_bytes;
        if io == Io::Closed && client.input.is_empty() {
            self.close(token);
            return;
        }
        let mutations = self.parts.keyspace.journal.len();
        let more = self.run_input(token);
        self.writers += usize::from(self.parts.keyspace.journal.len() > mutations);
        let Some(client) = self.clients.get_mut(token) else {
            return;
        };
        if io == Io::Closed {
            // Whatever it still sent has run; nobody reads the replies.
            self.close(token);
            return;
        }
        if client.input.len() > limit {
            client.reply.error(&"ERR Protocol error: the command is larger than the server accepts");
            client.session.closing = true;
        }
        if client.unsent() > 0 {
            self.replied.push(token);
        }
        if (more || io == Io::More) && !client.session.closing {
            self.ready.push(token);
        }
    }

    /// Runs the commands that the client's input holds. True: it may hold more.
    fn run_input(&mut self, token: usize) -> bool {
        let Some(client) = self.clients.get_mut(token) else {
            return false;
        };
        let input = std::mem::take(&mut client.input);
        let (used, more) = self.run_commands(token, &input);
        if let Some(client) = self.clients.get_mut(token) {
            client.input = input;
            client.consume(used);
        }
        more
    }

    fn run_commands(&mut self, token: usize, input: &[u8]) -> (usize, bool) {
        let mut ranges = ArgRanges::new();
        let mut used = 0;
        for _ in 0..COMMANDS_PER_TURN {
            let Some(client) = self.clients.get_mut(token) else {
                return (used, false);
            };
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
                        self.run_command(token, &args, true);
                    }
                    used += length;
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

    /// Runs one command. With `may_block`, it may put the client to wait.
    fn run_command(&mut self, token: usize, args: &Args<'_>, may_block: bool) -> Outcome {
        let Some(client) = self.clients.get_mut(token) else {
            return Outcome::Done;
        };
        let mut call = Call {
            args,
            keyspace: &mut self.parts.keyspace,
            session: &mut client.session,
            reply: &mut client.reply,
            server: &self.parts.server,
            limits: &self.parts.limits,
            may_block,
        };
        let outcome = dispatch::run(&mut call);
        if let Outcome::Block(wait) = outcome {
            let now_ms = self.parts.keyspace.now_ms;
            let deadline_ms = (wait.timeout_ms > 0).then(|| now_ms.saturating_add(wait.timeout_ms));
            self.waiters.add(token, &wait.keys, deadline_ms);
            client.blocked = Some(Blocked { wait, deadline_ms });
            return Outcome::Done;
        }
        outcome
    }

    /// Runs blocked commands again whose keys changed, and answers those whose time is up.
    fn wake_blocked(&mut self) {
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
        let mut call = Call {
            args: &args,
            keyspace: &mut self.parts.keyspace,
            session: &mut client.session,
            reply: &mut client.reply,
            server: &self.parts.server,
            limits: &self.parts.limits,
            may_block: true,
        };
        let still_waiting = matches!(dispatch::run(&mut call), Outcome::Block(_));
        if still_waiting {
            client.blocked = Some(blocked);
            return;
        }
        self.waiters.remove(token, &blocked.wait.keys, blocked.deadline_ms);
        self.resume(token);
    }

    fn unblock(&mut self, token: usize) -> Option<&mut Client> {
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
            let too_slow = client.unsent() > self.parts.limits.max_output_bytes;
            if too_slow {
                self.parts.server.metrics.clients_cut.inc();
            }
            if too_slow || client.write(self.parts.keyspace.now_ms) == Io::Closed {
                self.close(token);
            }
        }
    }

    /// Once a second: cut who abuses patience, evict, publish gauges.
    fn housekeeping(&mut self) {
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
    }

    fn close(&mut self, token: usize) {
        self.unblock(token);
        let Some(mut client) = self.clients.try_remove(token) else {
            return;
        };
        if let Transport::Tcp(stream) = &mut client.transport {
            // Dropping the socket closes it; deregistering first can only fail if it is closed already.
            let _ = self.parts.poll.registry().deregister(stream);
            self.parts.server.metrics.connections.dec();
        }
    }
}

/// Before authentication a client needs no more than HELLO or AUTH.
fn limits_of(client: &Client, limits: &Limits) -> Limits {
    const UNAUTHENTICATED_ARGUMENTS: usize = 16;
    const UNAUTHENTICATED_VALUE_BYTES: usize = 16 * 1024;
    if client.session.scope.is_some() {
        return *limits;
    }
    Limits { max_arguments: UNAUTHENTICATED_ARGUMENTS, max_value_bytes: UNAUTHENTICATED_VALUE_BYTES, ..*limits }
}

/// Unix time in milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
