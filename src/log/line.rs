//! One line of a log: its parts, its head on disk, how it is read back, and how lines of several logs interleave.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write;

use crate::model::units::Stamp;

/// Which of a bot's two output streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    Out,
    Err,
}

impl Stream {
    /// The word on disk and in JSON: `out` or `err`.
    pub fn word(self) -> &'static str {
        match self {
            Stream::Out => "out",
            Stream::Err => "err",
        }
    }
}

/// One line as it was logged, without its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub at: Stamp,
    pub stream: Stream,
    pub text: String,
}

/// Interleaves the lines of several logs by their stamps. Each line comes with the index of the log it is from; lines
/// of one log keep their order even where its clock went backwards, equal stamps come in the order of the logs.
pub fn merge(logs: Vec<Vec<LogLine>>) -> Vec<(usize, LogLine)> {
    let mut merged = Vec::with_capacity(logs.iter().map(Vec::len).sum());
    let mut rests: Vec<_> = logs.into_iter().map(|lines| lines.into_iter().peekable()).collect();
    let mut heads: BinaryHeap<_> = rests
        .iter_mut()
        .enumerate()
        .filter_map(|(log, rest)| rest.peek().map(|line| Reverse((line.at, log))))
        .collect();
    while let Some(Reverse((_, log))) = heads.pop() {
        merged.extend(rests[log].next().map(|line| (log, line)));
        heads.extend(rests[log].peek().map(|line| Reverse((line.at, log))));
    }
    merged
}

/// Bytes before the text of a line: stamp, blank, stream, blank.
pub(super) const HEAD_BYTES: usize = STAMP_BYTES + 5;
const STAMP_BYTES: usize = 27;
const MICROS_AT: usize = 20;

/// Reads one line as it stands on disk, without its line end. None for a foreign line.
pub(super) fn parse_line(raw: &[u8]) -> Option<LogLine> {
    let (head, text) = raw.split_at_checked(HEAD_BYTES)?;
    Some(LogLine {
        stream: stream_of(head)?,
        at: stamp_of(head)?,
        text: String::from_utf8_lossy(text).into_owned(),
    })
}

/// The stream that a head of [`HEAD_BYTES`] bytes names. None for a foreign line.
pub(super) fn stream_of(head: &[u8]) -> Option<Stream> {
    match head.get(STAMP_BYTES..)? {
        b" out " => Some(Stream::Out),
        b" err " => Some(Stream::Err),
        _ => None,
    }
}

/// The stamp of a head.
pub(super) fn stamp_of(head: &[u8]) -> Option<Stamp> {
    Stamp::parse(std::str::from_utf8(head.get(..STAMP_BYTES)?).ok()?)
}

/// Reads one line like [`parse_line`]; a foreign line is all text and gets the stamp that is passed in.
pub(super) fn parse_or_raw(raw: &[u8], at: Stamp) -> LogLine {
    parse_line(raw).unwrap_or_else(|| LogLine {
        at,
        stream: Stream::Out,
        text: String::from_utf8_lossy(raw).into_owned(),
    })
}

/// Writes the heads of one stream's lines. The date is formatted once a second, in between only the decimals change.
pub(super) struct Head {
    second: Option<i64>,
    bytes: [u8; HEAD_BYTES],
}

impl Head {
    pub(super) fn new(stream: Stream) -> Head {
        let mut bytes = [b' '; HEAD_BYTES];
        bytes[STAMP_BYTES + 1..STAMP_BYTES + 4].copy_from_slice(stream.word().as_bytes());
        Head { second: None, bytes }
    }

    pub(super) fn at(&mut self, at: Stamp) -> &[u8; HEAD_BYTES] {
        let second = at.0.div_euclid(1_000_000);
        if self.second != Some(second) {
            // The array cannot be too short: a stamp is always as long as its place in the head.
            let _ = write!(&mut self.bytes[..STAMP_BYTES], "{at}");
            self.second = Some(second);
        }
        let mut micros = at.0.rem_euclid(1_000_000);
        for digit in self.bytes[MICROS_AT..MICROS_AT + 6].iter_mut().rev() {
            *digit = b'0' + (micros % 10) as u8;
            micros /= 10;
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(at: i64, text: &str) -> LogLine {
        LogLine {
            at: Stamp(at),
            stream: Stream::Out,
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_line_is_read_as_written_and_a_foreign_one_is_not() {
        let read = parse_line(b"2023-11-14T22:13:20.000001Z err  two  blanks").expect("a line of ours");
        assert_eq!(read.at, Stamp(1_700_000_000_000_001));
        assert_eq!(read.stream, Stream::Err);
        assert_eq!(read.text, " two  blanks");
        assert_eq!(
            parse_line(b"2023-11-14T22:13:20.000001Z out ").map(|l| l.text),
            Some(String::new())
        );
        for foreign in [
            "",
            "Traceback (most recent call last): and so on",
            "2023-11-14T22:13:20.000001Z out",
            "2023-11-14T22:13:20.000001Z off text",
            "2023-99-14T22:13:20.000001Z out text",
        ] {
            assert_eq!(parse_line(foreign.as_bytes()), None, "{foreign}");
            assert_eq!(parse_or_raw(foreign.as_bytes(), Stamp(7)), line(7, foreign));
        }
    }

    #[test]
    fn merging_interleaves_by_stamp_and_keeps_each_logs_own_order() {
        let merged = merge(vec![
            vec![line(1, "a1"), line(5, "a2"), line(3, "clock set back"), line(9, "a4")],
            vec![],
            vec![line(1, "c1"), line(4, "c2")],
        ]);
        let shown: Vec<_> = merged.iter().map(|(log, l)| (*log, l.text.as_str())).collect();
        assert_eq!(
            shown,
            [
                (0, "a1"),
                (2, "c1"),
                (2, "c2"),
                (0, "a2"),
                (0, "clock set back"),
                (0, "a4")
            ]
        );
    }

    proptest! {
        #[test]
        fn a_head_is_the_stamp_whatever_was_written_before(
            steps in prop::collection::vec(-3_000_000i64..3_000_000, 1..20),
        ) {
            let mut head = Head::new(Stream::Err);
            let mut at = Stamp(1_700_000_000_000_000);
            for step in steps {
                at = Stamp(at.0 + step);
                let expected = format!("{at} err ");
                prop_assert_eq!(head.at(at).as_slice(), expected.as_bytes());
            }
        }

        #[test]
        fn no_bytes_panic(raw in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse_or_raw(&raw, Stamp(0));
        }
    }
}
