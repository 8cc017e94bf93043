//! Requests off the wire: RESP arrays of bulk strings, or a line of words as `telnet` sends it.

use std::ops::Range;

use smallvec::SmallVec;

use crate::config::Limits;

/// Where the arguments lie in the input.
pub type ArgRanges = SmallVec<[Range<usize>; 8]>;

/// A line that is not part of a value is never longer than this.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Input that is not RESP. The client is told and cut, as the start of the next command cannot be found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("ERR Protocol error: expected '$', got '{0}'")]
    ExpectedBulk(char),
    #[error("ERR Protocol error: invalid multibulk length")]
    ArrayLength,
    #[error("ERR Protocol error: invalid bulk length")]
    BulkLength,
    #[error("ERR Protocol error: a value must end with CRLF")]
    MissingCrlf,
    #[error("ERR Protocol error: too big inline request")]
    LineTooLong,
    #[error("ERR Protocol error: unbalanced quotes in request")]
    Quotes,
}

/// Finds the next command in `input`. `Ok(None)`: it is not complete yet. Otherwise the bytes it takes; `args` then holds
/// where its arguments lie, none for an empty line.
///
/// # Errors
/// [`ProtocolError`] where no continuation of the input could be a command within `limits`.
pub fn parse(input: &[u8], args: &mut ArgRanges, limits: &Limits) -> Result<Option<usize>, ProtocolError> {
    args.clear();
    match input.first() {
        None => Ok(None),
        Some(b'*') => parse_array(input, args, limits),
        Some(_) => parse_line(input, args),
    }
}

fn parse_array(input: &[u8], args: &mut ArgRanges, limits: &Limits) -> Result<Option<usize>, ProtocolError> {
    let Some((count, mut at)) = number_line(input, 1, ProtocolError::ArrayLength)? else {
        return Ok(None);
    };
    // A negative count is an empty command, as in Redis.
    let count = usize::try_from(count).unwrap_or(0);
    if count > limits.max_arguments {
        return Err(ProtocolError::ArrayLength);
    }
    for _ in 0..count {
        match input.get(at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(&other) => return Err(ProtocolError::ExpectedBulk(char::from(other))),
        }
        let Some((length, start)) = number_line(input, at + 1, ProtocolError::BulkLength)? else {
            return Ok(None);
        };
        let length = usize::try_from(length).map_err(|_| ProtocolError::BulkLength)?;
        if length > limits.max_value_bytes {
            return Err(ProtocolError::BulkLength);
        }
        let end = start + length;
        match input.get(end..end + 2) {
            Some(b"\r\n") => {}
            Some(_) => return Err(ProtocolError::MissingCrlf),
            None => return Ok(None),
        }
        args.push(start..end);
        at = end + 2;
    }
    Ok(Some(at))
}

/// Reads a decimal number and CRLF at `at`; returns it and the position after.
fn number_line(input: &[u8], at: usize, invalid: ProtocolError) -> Result<Option<(i64, usize)>, ProtocolError> {
    /// Sign and digits of an i64.
    const MAX_DIGITS: usize = 20;
    let rest = input.get(at..).unwrap_or_default();
    let Some(end) = rest.iter().take(MAX_DIGITS + 1).position(|&byte| byte == b'\r') else {
        return if rest.len() > MAX_DIGITS { Err(invalid) } else { Ok(None) };
    };
    match rest.get(end + 1) {
        None => return Ok(None),
        Some(b'\n') => {}
        Some(_) => return Err(invalid),
    }
    match parse_i64(&rest[..end]) {
        Some(number) => Ok(Some((number, at + end + 2))),
        None => Err(invalid),
    }
}

fn parse_line(input: &[u8], args: &mut ArgRanges) -> Result<Option<usize>, ProtocolError> {
    let Some(newline) = input.iter().take(MAX_LINE_BYTES).position(|&byte| byte == b'\n') else {
        return if input.len() >= MAX_LINE_BYTES { Err(ProtocolError::LineTooLong) } else { Ok(None) };
    };
    let line = &input[..newline];
    if line.iter().any(|byte| matches!(byte, b'"' | b'\'')) {
        // Quoting is for typed sessions, and redis-cli has its own; programs send arrays.
        return Err(ProtocolError::Quotes);
    }
    let mut at = 0;
    for word in line.split(u8::is_ascii_whitespace) {
        if !word.is_empty() {
            args.push(at..at + word.len());
        }
        at += word.len() + 1;
    }
    Ok(Some(newline + 1))
}

/// A signed decimal number as Redis accepts it: no `+`, no leading zeros, no blanks.
#[must_use]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [] => false,
        [b'0'] => text.len() == 1,
        [first, ..] => *first != b'0',
    };
    if !canonical || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Words = (Vec<Vec<u8>>, usize);

    fn words(input: &[u8]) -> Result<Option<Words>, ProtocolError> {
        let mut args = ArgRanges::new();
        let used = parse(input, &mut args, &Limits::default())?;
        Ok(used.map(|used| (args.iter().map(|range| input[range.clone()].to_vec()).collect(), used)))
    }

    fn encode(args: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            wire.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            wire.extend_from_slice(arg);
            wire.extend_from_slice(b"\r\n");
        }
        wire
    }

    #[test]
    fn a_typed_line_is_a_command() {
        assert_eq!(words(b"PING  hello\r\n*1"), Ok(Some((vec![b"PING".to_vec(), b"hello".to_vec()], 13))));
        assert_eq!(words(b"\r\n"), Ok(Some((vec![], 2))));
    }

    #[test]
    fn malformed_input_is_named() {
        assert_eq!(words(b"*x\r\n"), Err(ProtocolError::ArrayLength));
        assert_eq!(words(b"*99999999\r\n"), Err(ProtocolError::ArrayLength));
        assert_eq!(words(b"*1\r\n+OK\r\n"), Err(ProtocolError::ExpectedBulk('+')));
        assert_eq!(words(b"*1\r\n$-1\r\n"), Err(ProtocolError::BulkLength));
        assert_eq!(words(b"*1\r\n$999999999\r\n"), Err(ProtocolError::BulkLength));
        assert_eq!(words(b"*1\r\n$1\r\nabc"), Err(ProtocolError::MissingCrlf));
        assert_eq!(words(&[b'1'; MAX_LINE_BYTES]), Err(ProtocolError::LineTooLong));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_parsed(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..10),
                                     tail in prop::collection::vec(any::<u8>(), 0..10)) {
            let wire = encode(&args);
            let whole = [&wire[..], &tail[..]].concat();
            prop_assert_eq!(words(&whole), Ok(Some((args, wire.len()))));
        }

        #[test]
        fn every_strict_prefix_is_incomplete(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6)) {
            let wire = encode(&args);
            for end in 0..wire.len() {
                prop_assert_eq!(words(&wire[..end]), Ok(None));
            }
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let starred = [b"*", &noise[..]].concat();
            for input in [noise, starred] {
                if let Ok(Some((_, used))) = words(&input) {
                    prop_assert!(used <= input.len());
                }
            }
        }
    }
}
