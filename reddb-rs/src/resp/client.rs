//! One client of the loop: a RESP connection, or a request that came by HTTP.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;
use tokio::sync::oneshot;

use super::command::Wait;
use super::reply::{Protocol, Reply};
use super::session::Session;
use crate::auth::Scope;

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
    Http(Option<oneshot::Sender<Vec<u8>>>),
}

/// What became of a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Nothing more until the socket says so.
    Drained,
    /// There may be more.
    More,
    /// The connection has ended.
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
    pub blocked: Option<Blocked>,
    pub connected_ms: u64,
    /// Since when the client has left replies unread; 0 if it has not.
    pub stalled_ms: u64,
    sent: usize,
}

impl Client {
    #[must_use]
    pub fn tcp(stream: TcpStream, id: u64, now_ms: u64) -> Self {
        Self::new(Transport::Tcp(stream), Session::new(id, None), Protocol::Resp2, now_ms)
    }

    #[must_use]
    pub fn http(sender: oneshot::Sender<Vec<u8>>, id: u64, scope: Scope, now_ms: u64) -> Self {
        Self::new(Transport::Http(Some(sender)), Session::new(id, Some(scope)), Protocol::Resp2, now_ms)
    }

    fn new(transport: Transport, session: Session, protocol: Protocol, now_ms: u64) -> Self {
        let reply = Reply { bytes: Vec::new(), protocol };
        Self {
            transport,
            session,
            reply,
            input: Vec::new(),
            blocked: None,
            connected_ms: now_ms,
            stalled_ms: 0,
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
        self.blocked.is_none() && !self.session.closing && self.unsent() < PAUSE_BYTES
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
            Ok(0) => (0, Io::Closed),
            // A short read has emptied the socket: asking again would only say so.
            Ok(length) => (length, if length == room { Io::More } else { Io::Drained }),
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
                    let _ = sender.send(std::mem::take(&mut self.reply.bytes));
                }
                return Io::Closed;
            }
        };
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
