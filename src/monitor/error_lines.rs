//! Which lines of a bot's output are errors. Pure, and quick enough for a bot that floods its log.
//!
//! What a program writes to stderr is no error by itself: Python logs everything there.

use regex_lite::Regex;

use crate::log::Stream;

/// What marks a line as an error, where nothing else is written: each must stand as a word of its own.
const WORDS: [&[u8]; 5] = [b"ERROR", b"CRITICAL", b"FATAL", b"panic", b"panicked at"];
const TRACEBACK: &[u8] = b"Traceback (most recent call last)";
/// What Python writes between two tracebacks of one error.
const CHAINS: [&[u8]; 2] = [
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
];
/// Lines that multibot itself writes into a bot's log.
const OWN_MARK: &[u8] = b"[multibot] ";

/// How errors of one bot are found.
#[derive(Debug)]
pub(super) enum Marks {
    Usual,
    Pattern(Regex),
}

impl Marks {
    /// None: the usual ones, and so with a pattern that is none, for it was refused before.
    pub(super) fn of(pattern: Option<&str>) -> Marks {
        match pattern.and_then(|pattern| Regex::new(pattern).ok()) {
            Some(pattern) => Marks::Pattern(pattern),
            None => Marks::Usual,
        }
    }
}

/// Follows the lines of both streams of one bot.
#[derive(Debug, Default)]
pub(super) struct ErrorLines {
    out: Block,
    err: Block,
}

/// Where in an error of several lines a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    #[default]
    Outside,
    /// Right behind a line that was counted, to which a traceback belongs.
    Told,
    Traceback,
    /// Behind the last line of a traceback, which another one of the same error may follow.
    Ended,
    Chained,
}

impl ErrorLines {
    /// Whether this line is another error.
    pub(super) fn count(&mut self, marks: &Marks, stream: Stream, text: &[u8]) -> bool {
        if text.starts_with(OWN_MARK) {
            return false;
        }
        match marks {
            Marks::Pattern(pattern) => pattern.is_match(&String::from_utf8_lossy(text)),
            Marks::Usual => {
                let block = match stream {
                    Stream::Out => &mut self.out,
                    Stream::Err => &mut self.err,
                };
                let (next, is_error) = block.step(text);
                *block = next;
                is_error
            }
        }
    }
}

impl Block {
    fn step(self, text: &[u8]) -> (Block, bool) {
        let is_indented = text.first().is_none_or(|byte| byte.is_ascii_whitespace());
        if self == Block::Traceback {
            // Its frames are indented; the line after them names the exception and ends it.
            return (if is_indented { self } else { Block::Ended }, false);
        }
        if matches!(self, Block::Ended | Block::Chained) && text.is_empty() {
            return (self, false);
        }
        if self == Block::Ended && CHAINS.iter().any(|chain| text.starts_with(chain)) {
            return (Block::Chained, false);
        }
        if holds(text, TRACEBACK) {
            let is_told = matches!(self, Block::Told | Block::Chained);
            return (Block::Traceback, !is_told);
        }
        if WORDS.iter().any(|word| holds_word(text, word)) {
            return (Block::Told, true);
        }
        (Block::Outside, false)
    }
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}

fn holds_word(text: &[u8], word: &[u8]) -> bool {
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let mut from = 0;
    while let Some(at) = find(&text[from..], word) {
        let (start, end) = (from + at, from + at + word.len());
        let is_apart = !text[..start].last().is_some_and(is_inner) && !text.get(end).is_some_and(is_inner);
        if is_apart {
            return true;
        }
        from = start + 1;
    }
    false
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    let (first, rest) = part.split_first()?;
    let mut from = 0;
    loop {
        let at = from + text[from..].iter().position(|byte| byte == first)?;
        if text[at + 1..].starts_with(rest) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(marks: &Marks, text: &str) -> usize {
        let mut lines = ErrorLines::default();
        text.lines()
            .filter(|line| lines.count(marks, Stream::Err, line.as_bytes()))
            .count()
    }

    #[test]
    fn level_words_count_and_ordinary_lines_do_not() {
        for (line, errors) in [
            ("2026-11-24 10:00:00 ERROR shop: no answer", 1),
            ("[FATAL] out of memory", 1),
            ("level=CRITICAL msg=x", 1),
            ("ERROR:root:a", 1),
            ("thread 'main' panicked at src/main.rs:3:5:", 1),
            ("panic: runtime error: index out of range", 1),
            ("INFO all 0 ERRORS counted", 0),
            ("an error, says nobody loudly", 0),
            ("MY_ERROR_COUNT=3", 0),
            ("nopanic", 0),
            ("ERRORS then ERROR", 1),
            ("INFO:root:started", 0),
            ("[multibot] ERROR of its own", 0),
            ("", 0),
        ] {
            assert_eq!(count(&Marks::Usual, line), errors, "{line}");
        }
    }

    #[test]
    fn a_traceback_is_one_error() {
        let frames =
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    ERROR()\nValueError: ERROR x\n";
        for (text, errors) in [
            (frames.to_owned(), 1),
            (format!("{frames}{frames}"), 2),
            (format!("ERROR:root:failed\n{frames}INFO on\n{frames}"), 2),
            (
                format!("{frames}\nDuring handling of the above exception, another exception occurred:\n\n{frames}"),
                1,
            ),
            (
                format!(
                    "{frames}\nThe above exception was the direct cause of the following exception:\n\n{frames}ERROR z"
                ),
                2,
            ),
        ] {
            assert_eq!(count(&Marks::Usual, &text), errors, "{text}");
        }
    }

    #[test]
    fn streams_are_apart_and_a_pattern_of_ones_own_replaces_the_words() {
        let mut lines = ErrorLines::default();
        assert!(lines.count(&Marks::Usual, Stream::Err, TRACEBACK));
        assert!(lines.count(&Marks::Usual, Stream::Out, b"ERROR of another thread"));
        assert!(!lines.count(&Marks::Usual, Stream::Err, b"KeyError: ERROR"));
        let own = Marks::of(Some("^E[0-9]+"));
        assert_eq!(count(&own, "E17 x\nERROR y\n[multibot] E1\nE2"), 2);
    }

    proptest! {
        #[test]
        fn words_are_found_as_a_regular_expression_finds_them(text in "[ A-Z_]{0,6}(ERROR|panic|FATAL)?[ A-Z_0-9.:]{0,6}(ERROR)?") {
            let slow = Regex::new(r"\b(ERROR|CRITICAL|FATAL|panic)\b").unwrap();
            prop_assert_eq!(count(&Marks::Usual, &text) == 1, slow.is_match(&text), "{}", text);
        }

        #[test]
        fn no_bytes_panic(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = ErrorLines::default().count(&Marks::Usual, Stream::Out, &text);
        }
    }
}
