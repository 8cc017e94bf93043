//! Patterns of SCAN and KEYS: `*`, `?`, `[a-z]`, `[^a]`, `\` before a character taken as it is.

/// Whether the whole of `text` fits `pattern`. Takes at most |pattern| × |text| steps, whatever the pattern.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    // Where to resume when the text after the last `*` turns out not to fit: one character later.
    let mut resume: Option<(usize, usize)> = None;
    while position < text.len() {
        if pattern.get(at) == Some(&b'*') {
            resume = Some((at + 1, position));
            at += 1;
        } else if let Some(width) = fits_one(&pattern[at..], text[position]) {
            at += width;
            position += 1;
        } else if let Some((after_star, from)) = resume {
            resume = Some((after_star, from + 1));
            (at, position) = (after_star, from + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// If the first element of `pattern` fits `byte`: the length of that element.
fn fits_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', class @ ..] => fits_class(class, byte).map(|width| width + 1),
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// `class` is what follows `[`. A class without its `]` ends with the pattern.
fn fits_class(class: &[u8], byte: u8) -> Option<usize> {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    while at < class.len() && class[at] != b']' {
        match class[at..] {
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                at += 2;
            }
            [low, b'-', high, ..] => {
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                at += 3;
            }
            [single, ..] => {
                found |= single == byte;
                at += 1;
            }
            [] => break,
        }
    }
    (found != negated).then_some((at + 1).min(class.len()))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn follows_the_documented_patterns() {
        let fits: [(&[u8], &[u8]); 9] = [
            (b"*", b""),
            (b"h?llo", b"hello"),
            (b"h*o", b"hello"),
            (b"h[ae]llo", b"hallo"),
            (b"h[^e]llo", b"hallo"),
            (b"h[a-c]llo", b"hbllo"),
            (b"a\\*", b"a*"),
            (b"session/*/events", b"session/a/b/events"),
            (b"*a*b", b"xaxaxb"),
        ];
        assert!(fits.iter().all(|(pattern, text)| matches(pattern, text)));
        let not: [(&[u8], &[u8]); 5] =
            [(b"h[^e]llo", b"hello"), (b"a\\*", b"ab"), (b"", b"a"), (b"a", b""), (b"h[ae]llo", b"hillo")];
        assert!(!not.iter().any(|(pattern, text)| matches(pattern, text)));
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern = b"a*".repeat(60);
        let text = [b"a".repeat(4000), b"b".to_vec()].concat();
        assert!(!matches(&[&pattern[..], b"c"].concat(), &text));
    }
}
