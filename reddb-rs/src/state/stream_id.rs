//! Stream entry ids: `<milliseconds>-<sequence>`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::CommandError;

/// Id of a stream entry. Ordered by time, then sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    pub ms: u64,
    pub seq: u64,
}

impl StreamId {
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    #[must_use]
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// Parses `ms` or `ms-seq`; a missing sequence becomes `default_seq`.
    ///
    /// # Errors
    /// [`CommandError::InvalidStreamId`] for anything else.
    pub fn parse(text: &[u8], default_seq: u64) -> Result<Self, CommandError> {
        let (ms, seq) = match text.iter().position(|&byte| byte == b'-') {
            Some(dash) => (parse_u64(&text[..dash]), parse_u64(&text[dash + 1..])),
            None => (parse_u64(text), Some(default_seq)),
        };
        match (ms, seq) {
            (Some(ms), Some(seq)) => Ok(Self { ms, seq }),
            _ => Err(CommandError::InvalidStreamId),
        }
    }

    /// The smallest id above this one, or `None` at the end of the range.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { ms: self.ms, seq }),
            None => self.ms.checked_add(1).map(|ms| Self { ms, seq: 0 }),
        }
    }

    /// The largest id below this one, or `None` at 0-0.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { ms: self.ms, seq }),
            None => self.ms.checked_sub(1).map(|ms| Self { ms, seq: u64::MAX }),
        }
    }

    /// Sixteen bytes whose byte order is id order.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        let [ms, seq] = [(both >> 64) as u64, both as u64];
        Self { ms, seq }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Decimal digits only: no sign, no blanks, no overflow.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.iter().try_fold(0_u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_both_forms() {
        assert_eq!(StreamId::parse(b"5", 7).unwrap(), StreamId::new(5, 7));
        assert_eq!(StreamId::parse(b"5-2", 7).unwrap(), StreamId::new(5, 2));
        for bad in [&b""[..], b"-", b"5-", b"-5", b"+5", b"5-*", b"18446744073709551616", b"1-2-3"] {
            assert!(StreamId::parse(bad, 0).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn neighbours_cross_milliseconds() {
        assert_eq!(StreamId::new(1, u64::MAX).next(), Some(StreamId::new(2, 0)));
        assert_eq!(StreamId::new(2, 0).previous(), Some(StreamId::new(1, u64::MAX)));
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::MIN.previous(), None);
    }

    #[test]
    fn byte_order_is_id_order() {
        let ids = [StreamId::MIN, StreamId::new(1, u64::MAX), StreamId::new(1 << 63, 0), StreamId::MAX];
        assert!(ids.windows(2).all(|pair| pair[0].to_bytes() < pair[1].to_bytes()));
        assert!(ids.iter().all(|id| StreamId::from_bytes(id.to_bytes()) == *id));
    }
}
