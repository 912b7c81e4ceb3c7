//! Which bytes of a text are secret. Knows patterns only; what replaces them is the business of `capture`.
//!
//! Secret is every occurrence of a known value, as it is or URL-encoded (any byte may be `%XX` in either case, a blank
//! may be `+`), and everything shaped like a Telegram token: 6 to 20 digits, `:` or `%3A`, 35 or more of `A-Za-z0-9_-`.
//! A value of one byte is ignored, for it would mask every text. A value of several lines is masked line by line.

use std::fmt;

/// The secrets that must not reach the disk.
pub struct Mask {
    /// Sorted, so that those with the same first byte stand together.
    secrets: Vec<Box<[u8]>>,
    may_start: [bool; 256],
    reach: usize,
}

/// What begins at one position of a text, in bytes; zero is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hit {
    /// Length of the longest known value.
    pub(super) known: usize,
    /// Length of the shortest text that is surely a token; it goes on while [`is_token_byte`] holds.
    pub(super) token: usize,
}

const TOKEN_DIGITS_MIN: usize = 6;
const TOKEN_DIGITS_MAX: usize = 20;
const TOKEN_KEY_MIN: usize = 35;
const TOKEN_REACH: usize = TOKEN_DIGITS_MAX + "%3A".len() + TOKEN_KEY_MIN;
/// A line of a longer secret that is shorter than this says nothing: `},` or `==` would mask half of every text.
const PART_BYTES_MIN: usize = 4;

impl Mask {
    pub fn new<S: AsRef<[u8]>>(values: impl IntoIterator<Item = S>) -> Mask {
        let mut secrets: Vec<Box<[u8]>> = Vec::new();
        for value in values {
            add_lines(value.as_ref(), &mut secrets);
        }
        secrets.sort_unstable();
        secrets.dedup();
        let mut may_start = [false; 256];
        may_start[usize::from(b'0')..=usize::from(b'9')].fill(true);
        for secret in &secrets {
            may_start[usize::from(secret[0])] = true;
            may_start[usize::from(b'%')] = true;
            may_start[usize::from(b'+')] |= secret[0] == b' ';
        }
        let longest = secrets.iter().map(|secret| secret.len()).max().unwrap_or(0);
        Mask {
            secrets,
            may_start,
            reach: TOKEN_REACH.max(longest * "%XX".len()),
        }
    }

    /// A text of one line with its secrets replaced.
    pub fn masked(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let mut clean = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let Hit { known, token } = self.hit(&bytes[at..]);
            let mut length = known.max(token);
            if length == 0 {
                clean.push(bytes[at]);
                at += 1;
                continue;
            }
            if token > 0 {
                length += bytes[at + length..]
                    .iter()
                    .take_while(|byte| is_token_byte(**byte))
                    .count();
            }
            clean.extend_from_slice(super::capture::MASKED);
            at += length;
        }
        String::from_utf8_lossy(&clean).into_owned()
    }

    /// So many bytes from a position on decide what begins there.
    pub(super) fn reach(&self) -> usize {
        self.reach
    }

    /// False when surely nothing secret begins with this byte.
    pub(super) fn may_start(&self, byte: u8) -> bool {
        self.may_start[usize::from(byte)]
    }

    /// What begins at the start of `text`.
    pub(super) fn hit(&self, text: &[u8]) -> Hit {
        let Some(&first) = text.first() else {
            return Hit::default();
        };
        let mut known = self.longest(first, text);
        if let Some(byte) = percent(text) {
            known = known.max(self.longest(byte, text));
        } else if first == b'+' {
            known = known.max(self.longest(b' ', text));
        }
        Hit {
            known,
            token: if first.is_ascii_digit() { token(text) } else { 0 },
        }
    }

    /// The longest occurrence at the start of `text` of a secret that begins with `first`.
    fn longest(&self, first: u8, text: &[u8]) -> usize {
        let from = self.secrets.partition_point(|secret| secret[0] < first);
        self.secrets[from..]
            .iter()
            .take_while(|secret| secret[0] == first)
            .map(|secret| occurrence(secret, text))
            .max()
            .unwrap_or(0)
    }
}

/// Shows how many values are known, never a value.
impl fmt::Debug for Mask {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Mask({} values)", self.secrets.len())
    }
}

/// The bytes that a token's key consists of.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// A text is masked line by line, so a secret of several lines becomes several secrets.
fn add_lines(value: &[u8], secrets: &mut Vec<Box<[u8]>>) {
    let ends_line = |byte: &u8| *byte == b'\n' || *byte == b'\r';
    if !value.iter().any(ends_line) {
        secrets.extend((value.len() > 1).then(|| Box::from(value)));
        return;
    }
    let parts = || value.split(ends_line).map(<[u8]>::trim_ascii);
    let shortest = if parts().any(|part| part.len() >= PART_BYTES_MIN) {
        PART_BYTES_MIN
    } else {
        2
    };
    secrets.extend(parts().filter(|part| part.len() >= shortest).map(Box::from));
}

/// Length of `secret` at the start of `text`, as it is or URL-encoded; zero when it is not there.
fn occurrence(secret: &[u8], text: &[u8]) -> usize {
    // Apart from the loop, because in an encoded text a `%` never stands for itself.
    if text.starts_with(secret) {
        return secret.len();
    }
    let mut rest = text;
    for &byte in secret {
        let used = match rest.first() {
            Some(b'%') if percent(rest) == Some(byte) => 3,
            Some(b'%') | None => return 0,
            Some(&same) if same == byte => 1,
            Some(b'+') if byte == b' ' => 1,
            Some(_) => return 0,
        };
        rest = &rest[used..];
    }
    text.len() - rest.len()
}

/// The byte that a leading `%XX` stands for.
fn percent(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = *text else { return None };
    let digit = |hex: u8| char::from(hex).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Length of the shortest token at the start of `text`, zero when there is none.
fn token(text: &[u8]) -> usize {
    let digits = text
        .iter()
        .take(TOKEN_DIGITS_MAX + 1)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if !(TOKEN_DIGITS_MIN..=TOKEN_DIGITS_MAX).contains(&digits) {
        return 0;
    }
    let colon = match &text[digits..] {
        [b':', ..] => 1,
        after if percent(after) == Some(b':') => 3,
        _ => return 0,
    };
    let end = digits + colon + TOKEN_KEY_MIN;
    match text.get(digits + colon..end) {
        Some(key) if key.iter().copied().all(is_token_byte) => end,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_as_it_is_and_url_encoded() {
        let mask = Mask::new(["p%25 s/ü", "k:v"]);
        for (text, known) in [
            ("p%25 s/ü and more", 9),
            ("p%2525+s/%C3%BC", 15),
            ("p%2525%20s%2f%c3%bc", 19),
            ("%70%2525%20s%2Fü", 17),
            ("p%25 s/u", 0),
            ("p%25", 0),
            ("k:v", 3),
            ("k%3av", 5),
            ("%6B%3A%76", 9),
            ("%6B%3A%7", 0),
            ("K:v", 0),
            ("", 0),
        ] {
            let hit = mask.hit(text.as_bytes());
            assert_eq!(hit, Hit { known, token: 0 }, "{text}");
            assert!(known <= mask.reach());
            assert!(known == 0 || mask.may_start(text.as_bytes()[0]), "{text}");
        }
    }

    #[test]
    fn a_tokens_shape_is_found() {
        let mask = Mask::new(Vec::<&str>::new());
        let key = "AAEhBOweik9ai2o0c-nUcjUYLzUAD_qZ3Xk";
        assert_eq!(key.len(), TOKEN_KEY_MIN);
        for (text, token) in [
            (format!("123456:{key}"), 42),
            (format!("123456:{key}more"), 42),
            (format!("123456%3A{key}"), 44),
            (format!("12345678901234567890%3a{key} "), 58),
            (format!("12345:{key}"), 0),
            (format!("123456789012345678901:{key}"), 0),
            (format!("123456:{}", &key[1..]), 0),
            (format!("123456:{} {key}", &key[1..]), 0),
            (format!("123456;{key}"), 0),
            ("12:30:59 started".to_owned(), 0),
        ] {
            assert_eq!(mask.hit(text.as_bytes()), Hit { known: 0, token }, "{text}");
            assert!(mask.may_start(text.as_bytes()[0]));
        }
    }

    #[test]
    fn odd_values_become_what_can_be_masked() {
        for (values, secrets) in [
            (vec!["x", ""], vec![]),
            (vec!["ab", "ab"], vec!["ab"]),
            (vec!["{\r\n  \"key\": 1\n},\n"], vec!["\"key\": 1"]),
            (vec!["ab\ncd\ne"], vec!["ab", "cd"]),
        ] {
            let mask = Mask::new(&values);
            let kept: Vec<_> = mask.secrets.iter().map(|s| String::from_utf8_lossy(s)).collect();
            assert_eq!(kept, secrets, "{values:?}");
        }
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", Mask::new(["hunter2"])), "Mask(1 values)");
    }
}
