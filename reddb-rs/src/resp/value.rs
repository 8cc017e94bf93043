//! Replies read back: the HTTP interface runs commands and turns their replies into JSON.

/// A decoded RESP reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RespValue {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Array(Vec<RespValue>),
    Null,
}

impl RespValue {
    /// Decodes one value; returns it and the bytes it took, or `None` if `input` is not a whole value.
    #[must_use]
    pub fn decode(input: &[u8]) -> Option<(Self, usize)> {
        let end = input.windows(2).position(|pair| pair == b"\r\n")?;
        let (line, next) = (std::str::from_utf8(input.get(1..end)?).ok()?, end + 2);
        match input.first()? {
            b'+' => Some((Self::Simple(line.to_owned()), next)),
            b'-' => Some((Self::Error(line.to_owned()), next)),
            b':' => Some((Self::Integer(line.parse().ok()?), next)),
            b'_' => Some((Self::Null, next)),
            b'$' if line == "-1" => Some((Self::Null, next)),
            b'*' if line == "-1" => Some((Self::Null, next)),
            b'$' => {
                let end = next.checked_add(line.parse().ok()?)?;
                let bytes = input.get(next..end)?;
                input.get(end..end + 2)?;
                Some((Self::Bulk(bytes.to_vec()), end + 2))
            }
            b'*' => decode_elements(input, next, line.parse().ok()?),
            b'%' => decode_elements(input, next, line.parse::<usize>().ok()?.checked_mul(2)?),
            _ => None,
        }
    }

    /// The elements of an array; none for anything else.
    #[must_use]
    pub fn into_array(self) -> Vec<Self> {
        match self {
            Self::Array(elements) => elements,
            _ => Vec::new(),
        }
    }

    /// The bytes of a string; none for anything else.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Bulk(bytes) => bytes,
            Self::Simple(text) => text.into_bytes(),
            _ => Vec::new(),
        }
    }
}

fn decode_elements(input: &[u8], mut at: usize, count: usize) -> Option<(RespValue, usize)> {
    let mut elements = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let (element, used) = RespValue::decode(input.get(at..)?)?;
        elements.push(element);
        at += used;
    }
    Some((RespValue::Array(elements), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_nested_replies() {
        let wire = b"*3\r\n$2\r\nab\r\n:7\r\n*1\r\n$-1\r\n";
        let expected = RespValue::Array(vec![
            RespValue::Bulk(b"ab".to_vec()),
            RespValue::Integer(7),
            RespValue::Array(vec![RespValue::Null]),
        ]);
        assert_eq!(RespValue::decode(wire), Some((expected, wire.len())));
        assert_eq!(RespValue::decode(&wire[..wire.len() - 1]), None);
    }
}
