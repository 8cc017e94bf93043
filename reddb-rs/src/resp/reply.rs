//! Replies onto the wire, in RESP2 or RESP3.

use std::fmt::Display;
use std::io::Write;

use crate::error::CommandError;

/// The longest head of a value or of an array: a mark, the digits of an i64 and a line break.
const HEAD_BYTES: usize = 23;

/// Version that the client asked for with HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// Replies of one client that were not sent yet.
#[derive(Debug)]
pub struct Reply {
    pub bytes: Vec<u8>,
    pub protocol: Protocol,
    limit_bytes: usize,
    overflowed: bool,
    refused: Option<CommandError>,
}

impl Reply {
    /// A reply that may grow to `limit_bytes`. Beyond them nothing is appended and [`Reply::overflowed`] says so: a client is
    /// then cut, as what it has of the reply cannot be told from a whole one.
    #[must_use]
    pub fn new(protocol: Protocol, limit_bytes: usize) -> Self {
        Self { bytes: Vec::new(), protocol, limit_bytes, overflowed: false, refused: None }
    }

    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// An empty reply for a part of this one, to be appended with [`Reply::part`].
    #[must_use]
    pub fn begin_part(&self) -> Self {
        Self::new(self.protocol, self.limit_bytes.saturating_sub(self.bytes.len()))
    }

    pub fn part(&mut self, part: &Self) {
        self.overflowed |= part.overflowed;
        self.raw(&part.bytes);
    }

    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// `text` begins with the error code; line breaks in it, which come from client input, become blanks.
    pub fn error(&mut self, text: &impl Display) {
        let text = text.to_string().replace(['\r', '\n'], " ");
        self.line(b'-', &text);
    }

    /// Answers the command with `error`, and keeps it for a caller inside this process.
    pub fn refuse(&mut self, error: CommandError) {
        self.error(&error);
        self.refused = Some(error);
    }

    /// The reply to a single command, for a caller inside this process.
    ///
    /// # Errors
    /// What the command was refused with.
    pub fn take_result(&mut self) -> Result<Vec<u8>, CommandError> {
        if self.overflowed {
            return Err(CommandError::ReplyTooLarge);
        }
        match self.refused.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.bytes)),
        }
    }

    pub fn integer(&mut self, number: i64) {
        self.head(b':', number);
    }

    /// A count or a size. Beyond an i64 it is clamped, as RESP integers are signed.
    pub fn count(&mut self, number: impl TryInto<i64>) {
        self.integer(number.try_into().unwrap_or(i64::MAX));
    }

    pub fn bulk(&mut self, bytes: &[u8]) {
        if self.admits(bytes.len() + HEAD_BYTES) {
            push_bulk(&mut self.bytes, bytes);
        }
    }

    /// A bulk string of something printable.
    pub fn text(&mut self, text: impl Display) {
        self.bulk(text.to_string().as_bytes());
    }

    /// No value.
    pub fn null(&mut self) {
        self.raw(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// No value where an array was asked for.
    pub fn null_array(&mut self) {
        self.raw(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// Announces `length` elements.
    pub fn array(&mut self, length: usize) {
        self.head(b'*', i64::try_from(length).unwrap_or(i64::MAX));
    }

    /// Announces `pairs` keys, each followed by its value; a flat array in RESP2.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(pairs * 2),
            Protocol::Resp3 => self.head(b'%', i64::try_from(pairs).unwrap_or(i64::MAX)),
        }
    }

    /// What is already in RESP.
    pub fn raw(&mut self, encoded: &[u8]) {
        if self.admits(encoded.len()) {
            self.bytes.extend_from_slice(encoded);
        }
    }

    fn line(&mut self, kind: u8, text: &str) {
        if self.admits(text.len() + HEAD_BYTES) {
            self.bytes.push(kind);
            self.bytes.extend_from_slice(text.as_bytes());
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    fn head(&mut self, kind: u8, number: i64) {
        if self.admits(HEAD_BYTES) {
            self.bytes.push(kind);
            self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    /// Whether `more` bytes fit. Once some did not, nothing does: there are no holes in a reply.
    fn admits(&mut self, more: usize) -> bool {
        self.overflowed |= self.bytes.len().saturating_add(more) > self.limit_bytes;
        !self.overflowed
    }
}
/// Appends a bulk string to `out`.
pub fn push_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(bytes.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of an array of `length` elements to `out`.
pub fn push_array(out: &mut Vec<u8>, length: usize) {
    // Writing into a Vec cannot fail; the result has no other meaning.
    let _ = write!(out, "*{length}\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(protocol: Protocol, write: impl Fn(&mut Reply)) -> String {
        let mut reply = Reply::new(protocol, 1024);
        write(&mut reply);
        String::from_utf8(reply.bytes).unwrap()
    }

    #[test]
    fn versions_differ_in_nulls_and_maps() {
        let write = |reply: &mut Reply| {
            reply.null();
            reply.null_array();
            reply.map(1);
        };
        assert_eq!(encoded(Protocol::Resp2, write), "$-1\r\n*-1\r\n*2\r\n");
        assert_eq!(encoded(Protocol::Resp3, write), "_\r\n_\r\n%1\r\n");
    }

    #[test]
    fn an_error_stays_on_one_line() {
        assert_eq!(encoded(Protocol::Resp2, |reply| reply.error(&"ERR a\r\n+OK")), "-ERR a  +OK\r\n");
    }

    #[test]
    fn a_reply_stays_within_its_limit_and_has_no_holes() {
        let mut reply = Reply::new(Protocol::Resp2, 64);
        reply.bulk(&[b'v'; 30]);
        let length = reply.bytes.len();
        reply.bulk(&[b'v'; 30]);
        reply.ok();
        assert_eq!((reply.bytes.len(), reply.overflowed()), (length, true));
        assert!(matches!(reply.take_result(), Err(CommandError::ReplyTooLarge)));
    }
}
