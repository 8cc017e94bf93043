//! Replies onto the wire, in RESP2 or RESP3.

use std::fmt::Display;
use std::io::Write;

/// Version that the client asked for with HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// Replies of one client that were not sent yet.
#[derive(Debug, Default)]
pub struct Reply {
    pub bytes: Vec<u8>,
    pub protocol: Protocol,
}

impl Reply {
    pub fn ok(&mut self) {
        self.bytes.extend_from_slice(b"+OK\r\n");
    }

    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// `text` begins with the error code; line breaks in it, which come from client input, become blanks.
    pub fn error(&mut self, text: &impl Display) {
        let text = text.to_string().replace(['\r', '\n'], " ");
        self.line(b'-', &text);
    }

    pub fn integer(&mut self, number: i64) {
        self.bytes.push(b':');
        self.number(number);
    }

    /// A count or a size. Beyond an i64 it is clamped, as RESP integers are signed.
    pub fn count(&mut self, number: impl TryInto<i64>) {
        self.integer(number.try_into().unwrap_or(i64::MAX));
    }

    pub fn bulk(&mut self, bytes: &[u8]) {
        push_bulk(&mut self.bytes, bytes);
    }

    /// A bulk string of something printable.
    pub fn text(&mut self, text: impl Display) {
        self.bulk(text.to_string().as_bytes());
    }

    /// No value.
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// No value where an array was asked for.
    pub fn null_array(&mut self) {
        self.bytes.extend_from_slice(match self.protocol {
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
        push_array(&mut self.bytes, length);
    }

    /// Announces `pairs` keys, each followed by its value; a flat array in RESP2.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(pairs * 2),
            Protocol::Resp3 => {
                self.bytes.push(b'%');
                self.number(i64::try_from(pairs).unwrap_or(i64::MAX));
            }
        }
    }

    /// What is already in RESP.
    pub fn raw(&mut self, encoded: &[u8]) {
        self.bytes.extend_from_slice(encoded);
    }

    fn line(&mut self, kind: u8, text: &str) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn number(&mut self, number: i64) {
        self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
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
        let mut reply = Reply { protocol, ..Reply::default() };
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
}
