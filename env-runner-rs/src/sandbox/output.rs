//! Reading a command's output to its end in bounded memory: head and tail are kept, the middle is counted.

use std::collections::VecDeque;
use std::io::{self, Write};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// As much as a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;

/// Where output also goes while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    None,
    Stdout,
    Stderr,
}

/// The kept part of one stream.
#[derive(Debug)]
pub struct Captured {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    head_cap: usize,
    tail_cap: usize,
    total: u64,
}

impl Captured {
    /// Keeps `cap` bytes: half from the start, the rest from the end.
    pub fn new(cap: usize) -> Self {
        let head_cap = cap / 2;
        Self { head: Vec::new(), tail: VecDeque::new(), head_cap, tail_cap: cap - head_cap, total: 0 }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = (self.head_cap - self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        let rest = &bytes[room..];
        let kept = &rest[rest.len().saturating_sub(self.tail_cap)..];
        let excess = (self.tail.len() + kept.len()).saturating_sub(self.tail_cap);
        self.tail.drain(..excess);
        self.tail.extend(kept);
    }

    /// Bytes that the command wrote.
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    pub fn truncated(&self) -> bool {
        self.total > (self.head.len() + self.tail.len()) as u64
    }

    /// Text of what was kept, with a note where the middle is missing.
    pub fn to_text(&self) -> String {
        let (front, back) = self.tail.as_slices();
        if !self.truncated() {
            return String::from_utf8_lossy(&[self.head.as_slice(), front, back].concat()).into_owned();
        }
        let missing = self.total - (self.head.len() + self.tail.len()) as u64;
        let head = String::from_utf8_lossy(&self.head);
        let tail = [front, back].concat();
        format!("{head}\n[... {missing} bytes left out ...]\n{}", String::from_utf8_lossy(&tail))
    }

    /// The last `cap` bytes as text, cut at a character's start.
    pub fn tail_text(&self, cap: usize) -> String {
        let (front, back) = self.tail.as_slices();
        let kept = if self.truncated() { [front, back].concat() } else { [self.head.as_slice(), front, back].concat() };
        let mut start = kept.len().saturating_sub(cap);
        while start < kept.len() && start > 0 && (kept[start] & 0xC0) == 0x80 {
            start += 1;
        }
        String::from_utf8_lossy(&kept[start..]).into_owned()
    }
}

/// Reads until every writer has closed the pipe.
pub async fn drain(mut from: Receiver, into: &mut Captured, live: Live) -> io::Result<()> {
    // Small for the many commands that print a line, full size once one prints more.
    let mut buffer = vec![0; 4 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        into.push(&buffer[..count]);
        pass_on(&buffer[..count], live);
        if count == buffer.len() && count < CHUNK_BYTES {
            buffer.resize(CHUNK_BYTES, 0);
        }
    }
}

fn pass_on(bytes: &[u8], live: Live) {
    // A log that is gone must not fail the command; the result file still tells its story.
    let _unlogged = match live {
        Live::None => Ok(()),
        Live::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
        Live::Stderr => io::stderr().write_all(bytes),
    };
}

#[cfg(test)]
mod tests {
    use super::Captured;

    #[test]
    fn short_output_is_kept_whole() {
        let mut captured = Captured::new(10);
        captured.push(b"hello");
        captured.push(b"12345");
        assert_eq!(captured.to_text(), "hello12345");
        assert!(!captured.truncated());
    }

    #[test]
    fn long_output_keeps_head_and_tail_and_counts_all() {
        let mut captured = Captured::new(8);
        for chunk in ["abcdef", "g", "hijklmnopqrstuvwxyz"] {
            captured.push(chunk.as_bytes());
        }
        assert_eq!(captured.total_bytes(), 26);
        assert!(captured.truncated());
        assert_eq!(captured.to_text(), "abcd\n[... 18 bytes left out ...]\nwxyz");
        assert_eq!(captured.tail_text(2), "yz");
    }

    #[test]
    fn nothing_is_kept_when_the_cap_is_zero() {
        let mut captured = Captured::new(0);
        captured.push(b"abc");
        assert_eq!(captured.total_bytes(), 3);
        assert_eq!(captured.tail_text(10), "");
    }

    #[test]
    fn a_tail_never_starts_inside_a_character() {
        let mut captured = Captured::new(64);
        captured.push("aéé".as_bytes());
        assert_eq!(captured.tail_text(3), "é");
    }
}
