//! One client of the loop: a RESP connection, or a request that came by HTTP.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;
use tokio::sync::oneshot;

use super::command::Wait;
use super::reply::{Protocol, Reply};
use super::session::Session;
use crate::auth::Scope;
use crate::config::Limits;
use crate::error::CommandError;

/// Bytes read from a socket at a time.
const READ_BYTES: usize = 64 * 1024;
/// A buffer that grew beyond this is given back once it is empty.
const KEEP_CAPACITY: usize = 256 * 1024;
/// With so many bytes unsent, no further command of the client is run until it reads.
const PAUSE_BYTES: usize = 1 << 20;

/// Where replies go.
pub enum Transport {
    Tcp(TcpStream),
    /// `None` once the reply was sent.
    Http(Option<oneshot::Sender<Result<Vec<u8>, CommandError>>>),
}

/// What became of a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Nothing more until the socket says so.
    Drained,
    /// There may be more.
    More,
    /// The client sends no more; it may still read.
    End,
    /// The connection is of no more use.
    Closed,
}

/// A command that waits for data.
pub struct Blocked {
    pub wait: Wait,
    /// Unix time in milliseconds; `None` without end.
    pub deadline_ms: Option<u64>,
}

pub struct Client {
    pub transport: Transport,
    pub session: Session,
    pub reply: Reply,
    pub input: Vec<u8>,
    /// The input may hold commands that were not run yet, as a turn is short.
    pub has_commands: bool,
    pub blocked: Option<Blocked>,
    pub connected_ms: u64,
    /// Since when the client has left replies unread; 0 if it has not.
    pub stalled_ms: u64,
    /// The peer has ended its side: what is left in the socket has an end, and no further event will tell.
    pub read_closed: bool,
    /// Paused until its replies are sent.
    held: bool,
    sent: usize,
}

impl Client {
    #[must_use]
    pub fn tcp(stream: TcpStream, id: u64, now_ms: u64, limits: &Limits) -> Self {
        Self::new(Transport::Tcp(stream), Session::new(id, None), now_ms, limits)
    }

    #[must_use]
    pub fn http(
        sender: oneshot::Sender<Result<Vec<u8>, CommandError>>,
        id: u64,
        scope: Scope,
        now_ms: u64,
        limits: &Limits,
    ) -> Self {
        Self::new(Transport::Http(Some(sender)), Session::new(id, Some(scope)), now_ms, limits)
    }

    fn new(transport: Transport, session: Session, now_ms: u64, limits: &Limits) -> Self {
        Self {
            transport,
            session,
            reply: Reply::new(Protocol::Resp2, limits.max_output_bytes),
            input: Vec::new(),
            has_commands: false,
            blocked: None,
            connected_ms: now_ms,
            stalled_ms: 0,
            read_closed: false,
            held: false,
            sent: 0,
        }
    }

    /// Bytes of replies not yet sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.reply.bytes.len() - self.sent
    }

    /// Whether the next command may run now.
    #[must_use]
    pub fn may_run(&self) -> bool {
        self.blocked.is_none() && !self.session.closing
    }

    /// Whether so much is unsent that nothing more is read or run; if so, [`Client::resume`] tells when to go on.
    pub fn hold_if_paused(&mut self) -> bool {
        self.held = self.unsent() >= PAUSE_BYTES;
        self.held
    }

    /// Lets go what was held, after everything was sent; false if nothing was.
    pub fn resume(&mut self) -> bool {
        std::mem::take(&mut self.held)
    }

    /// Reads what has arrived, once.
    pub fn read(&mut self) -> Io {
        let Transport::Tcp(stream) = &mut self.transport else {
            return Io::Drained;
        };
        let before = self.input.len();
        // A long value is read in steps that grow with it, so that its bytes are moved few times.
        let room = READ_BYTES.max(before.min(4 << 20));
        self.input.resize(before + room, 0);
        let outcome = stream.read(&mut self.input[before..]);
        let (length, io) = match outcome {
            Ok(0) => (0, Io::End),
            // A short read has emptied the socket: asking again would only say so, unless its end is there to be read.
            Ok(length) => (length, if length == room || self.read_closed { Io::More } else { Io::Drained }),
            Err(error) if error.kind() == ErrorKind::WouldBlock => (0, Io::Drained),
            Err(error) if error.kind() == ErrorKind::Interrupted => (0, Io::More),
            Err(_) => (0, Io::Closed),
        };
        self.input.truncate(before + length);
        io
    }

    /// Sends what it can of the replies.
    pub fn write(&mut self, now_ms: u64) -> Io {
        let stream = match &mut self.transport {
            Transport::Tcp(stream) => stream,
            Transport::Http(sender) => {
                if let Some(sender) = sender.take() {
                    // The requester may have gone; then nobody wants the reply.
                    let _ = sender.send(self.reply.take_result());
                }
                return Io::Closed;
            }
        };
        if self.reply.overflowed() {
            return Io::Closed;
        }
        while self.sent < self.reply.bytes.len() {
            match stream.write(&self.reply.bytes[self.sent..]) {
                Ok(0) => return Io::Closed,
                Ok(length) => {
                    self.sent += length;
                    self.stalled_ms = 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.stalled_ms == 0 {
                        self.stalled_ms = now_ms;
                    }
                    self.forget_sent();
                    return Io::More;
                }
                Err(_) => return Io::Closed,
            }
        }
        self.reply.bytes.clear();
        self.reply.bytes.shrink_to(KEEP_CAPACITY);
        self.sent = 0;
        if self.session.closing { Io::Closed } else { Io::Drained }
    }

    /// Makes room for the replies to come, as soon as little has to be moved for it.
    fn forget_sent(&mut self) {
        if self.unsent() < PAUSE_BYTES {
            self.reply.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Forgets input that has been used.
    pub fn consume(&mut self, length: usize) {
        if length == self.input.len() {
            self.input.clear();
            self.input.shrink_to(KEEP_CAPACITY);
        } else {
            self.input.drain(..length);
        }
    }

    /// Whether nobody waits for the reply any more.
    #[must_use]
    pub fn abandoned(&self) -> bool {
        matches!(&self.transport, Transport::Http(Some(sender)) if sender.is_closed())
    }
}
