//! The name of a workspace, and bytes that must have it.

use std::fmt;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// A SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// From 64 lower-case hexadecimal digits, the only spelling, so that a workspace has one name.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// What logs hold of it: all of it is the key to the workspace.
    pub fn brief(&self) -> String {
        let mut digits = self.to_string();
        digits.truncate(12);
        digits + "…"
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Hashes what is read through it.
#[derive(Debug)]
pub struct Verified<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Verified<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    /// Reads on to the end, at most `limit` bytes; none when there are more.
    ///
    /// # Errors
    /// What the reader says.
    pub fn finish(mut self, limit: u64) -> io::Result<Option<Digest>> {
        let mut rest = (&mut self).take(limit.saturating_add(1));
        let count = io::copy(&mut rest, &mut io::sink())?;
        Ok((count <= limit).then(|| Digest(self.hash.finalize().into())))
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{Digest, Verified};

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn one_spelling_names_one_workspace() {
        assert_eq!(Digest::parse(ABC).unwrap().to_string(), ABC);
        assert_eq!(Digest::parse(ABC).unwrap().brief(), "ba7816bf8f01…");
        let (upper, long) = (ABC.to_uppercase(), format!("{ABC}0"));
        for bad in ["", "main", "f-0123456789ab", &ABC[1..], &upper, &long, &format!("{}é", &ABC[2..])] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_was_not_asked_for_is_hashed_too_within_the_limit() {
        let mut reader = Verified::new(&b"abc"[..]);
        reader.read_exact(&mut [0]).unwrap();
        assert_eq!(reader.finish(2).unwrap(), Digest::parse(ABC));
        assert_eq!(Verified::new(&b"abc"[..]).finish(2).unwrap(), None);
    }
}
