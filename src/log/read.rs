//! The last lines of a log, across its rotated files. Reads backwards in blocks, only as far as needed.

use std::path::Path;

use super::Error;
use super::chain::{LogPart, Parts};
use super::line::{LogLine, Stream, parse_line};
use crate::model::units::Stamp;

/// Which lines of a log are asked for.
pub struct Query<'a> {
    /// At most so many, the newest ones.
    pub lines: usize,
    /// None older than this. Reading stops at the first older line, so where the clock was set back, lines from before
    /// that are not found.
    pub since: Option<Stamp>,
    /// Only those for which this holds.
    pub wanted: &'a dyn Fn(&LogLine) -> bool,
}

/// The newest lines of the log at `path` that the query asks for, the oldest of them first; none where there is no log.
/// A line without a stamp of ours gets that of the line before it.
pub fn tail(path: &Path, query: &Query<'_>) -> Result<Vec<LogLine>, Error> {
    Ok(tail_to_end(path, query)?.lines)
}

/// Bytes that are read at a time.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;
/// A line of ours is far shorter; what has no line end for so long is foreign, and delivered in pieces.
pub(super) const FOREIGN_LINE_BYTES_MAX: usize = 4 * BLOCK_BYTES;

/// What [`tail`] found, and where it ended.
pub(super) struct Tail {
    pub(super) lines: Vec<LogLine>,
    pub(super) parts: Parts,
    /// Where in the current file the newest line ends.
    pub(super) offset: u64,
}

pub(super) fn tail_to_end(path: &Path, query: &Query<'_>) -> Result<Tail, Error> {
    let mut found = Found {
        query,
        newest_first: Vec::new(),
        unstamped: Vec::new(),
        too_old: false,
    };
    let parts = Parts::open(path, |_| Ok(false))?;
    let mut offset = 0;
    if let Some(current) = &parts.current {
        // The writer may be in the middle of the last line.
        let mut backwards = Backwards::new(current)?;
        offset = backwards.drop_fragment()?;
        found.take_from(backwards)?;
    }
    for part in &parts.older {
        found.take_from(Backwards::new(part)?)?;
    }
    Ok(Tail {
        lines: found.finish(),
        parts,
        offset,
    })
}

/// Lines that match a query, collected from the newest to the oldest.
struct Found<'a> {
    query: &'a Query<'a>,
    newest_first: Vec<LogLine>,
    /// Foreign lines that wait for the stamp of the line before them.
    unstamped: Vec<LogLine>,
    too_old: bool,
}

impl Found<'_> {
    fn enough(&self) -> bool {
        self.too_old || self.newest_first.len() >= self.query.lines
    }

    fn take_from(&mut self, mut backwards: Backwards<'_>) -> Result<(), Error> {
        while !self.enough() {
            let Some(raw) = backwards.line()? else { break };
            match parse_line(&raw) {
                None => self.unstamped.push(LogLine {
                    at: Stamp::default(),
                    stream: Stream::Out,
                    text: String::from_utf8_lossy(&raw).into_owned(),
                }),
                Some(line) => {
                    self.stamp(line.at);
                    self.too_old = !self.in_time(&line);
                    self.consider(line);
                }
            }
        }
        Ok(())
    }

    fn stamp(&mut self, at: Stamp) {
        for mut line in std::mem::take(&mut self.unstamped) {
            line.at = at;
            self.consider(line);
        }
    }

    fn consider(&mut self, line: LogLine) {
        if self.in_time(&line) && (self.query.wanted)(&line) {
            self.newest_first.push(line);
        }
    }

    fn in_time(&self, line: &LogLine) -> bool {
        self.query.since.is_none_or(|since| line.at >= since)
    }

    fn finish(mut self) -> Vec<LogLine> {
        self.stamp(Stamp::default());
        self.newest_first.truncate(self.query.lines);
        self.newest_first.reverse();
        self.newest_first
    }
}

/// The lines of one file, from its end to its beginning.
struct Backwards<'a> {
    part: &'a LogPart,
    /// Where in the file `unread` begins.
    offset: u64,
    unread: Vec<u8>,
}

impl Backwards<'_> {
    fn new(part: &LogPart) -> Result<Backwards<'_>, Error> {
        Ok(Backwards {
            offset: part.len()?,
            part,
            unread: Vec::new(),
        })
    }

    /// Skips what follows the last line end, and returns the offset behind that.
    fn drop_fragment(&mut self) -> Result<u64, Error> {
        match self.last_line_end(0)? {
            Some(end) => self.unread.truncate(end + 1),
            None if self.offset == 0 => self.unread.clear(),
            None => {}
        }
        Ok(self.offset + self.unread.len() as u64)
    }

    /// The line before those delivered so far, without its line end.
    fn line(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if self.unread.is_empty() && !self.read_block()? {
            return Ok(None);
        }
        let ended = usize::from(self.unread.last() == Some(&b'\n'));
        let from = self.last_line_end(ended)?.map_or(0, |end| end + 1);
        let mut line = self.unread.split_off(from);
        line.truncate(line.len() - ended);
        Ok(Some(line))
    }

    /// Where in `unread` the last line end stands, the last `skipped` bytes aside. Reads on until there is one; None
    /// when there is none up to the beginning of the file, or for too long.
    fn last_line_end(&mut self, skipped: usize) -> Result<Option<usize>, Error> {
        loop {
            let searched = &self.unread[..self.unread.len() - skipped];
            if let Some(end) = searched.iter().rposition(|&byte| byte == b'\n') {
                return Ok(Some(end));
            }
            if self.unread.len() >= FOREIGN_LINE_BYTES_MAX || !self.read_block()? {
                return Ok(None);
            }
        }
    }

    /// Puts the block before `unread` in front of it. False at the beginning of the file, or when the file has shrunk.
    fn read_block(&mut self) -> Result<bool, Error> {
        let bytes = self.offset.min(BLOCK_BYTES as u64);
        let mut block = self.part.read(self.offset - bytes, bytes as usize)?;
        if bytes == 0 || (block.len() as u64) < bytes {
            return Ok(false);
        }
        self.offset -= bytes;
        block.append(&mut self.unread);
        self.unread = block;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::older;
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn all(_: &LogLine) -> bool {
        true
    }

    fn query(lines: usize) -> Query<'static> {
        Query {
            lines,
            since: None,
            wanted: &all,
        }
    }

    fn log_of(files: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("shop.log");
        for (times, content) in (0..).zip(files) {
            fs::write(older(&path, times), content).expect("write");
        }
        (dir, path)
    }

    fn stamped(at: i64, text: &str) -> String {
        format!("{} err {text}\n", Stamp(at))
    }

    fn shown(lines: &[LogLine]) -> Vec<(i64, &str)> {
        lines.iter().map(|line| (line.at.0, line.text.as_str())).collect()
    }

    #[test]
    fn the_last_lines_come_from_as_many_files_as_needed() {
        let (_dir, path) = log_of(&[
            &(stamped(5, "five") + &stamped(6, "six") + "2023-11-14T22:13:20.0"),
            &(stamped(3, "three") + "foreign\n" + &stamped(4, "four")),
            &(stamped(1, "one") + &stamped(2, "two")),
        ]);
        let everything = [
            (1, "one"),
            (2, "two"),
            (3, "three"),
            (3, "foreign"),
            (4, "four"),
            (5, "five"),
            (6, "six"),
        ];
        for lines in 0..9 {
            let found = tail(&path, &query(lines)).expect("tail");
            assert_eq!(shown(&found), everything[7usize.saturating_sub(lines)..], "{lines}");
        }
    }

    #[test]
    fn since_and_the_predicate_come_before_the_count() {
        let (_dir, path) = log_of(&[
            &(stamped(30, "a") + &stamped(40, "b")),
            &(stamped(10, "a") + "foreign\n" + &stamped(20, "a")),
            "foreign too\n",
        ]);
        for (lines, since, expected) in [
            (9, Some(20), vec![(20, "a"), (30, "a")]),
            (1, None, vec![(30, "a")]),
            (2, None, vec![(20, "a"), (30, "a")]),
            (9, Some(11), vec![(20, "a"), (30, "a")]),
            (9, Some(99), vec![]),
            (9, None, vec![(10, "a"), (20, "a"), (30, "a")]),
        ] {
            let wanted = |line: &LogLine| line.text == "a";
            let query = Query {
                lines,
                since: since.map(Stamp),
                wanted: &wanted,
            };
            assert_eq!(
                shown(&tail(&path, &query).expect("tail")),
                expected,
                "{lines} {since:?}"
            );
        }
        let since = Query {
            since: Some(Stamp(0)),
            ..query(2)
        };
        assert_eq!(shown(&tail(&path, &since).expect("tail")), [(30, "a"), (40, "b")]);
    }

    #[test]
    fn a_log_that_is_missing_or_half_rotated_is_no_error() {
        let (_dir, path) = log_of(&[]);
        assert_eq!(tail(&path, &query(9)).expect("tail"), []);
        fs::write(older(&path, 1), stamped(2, "two")).expect("write");
        fs::write(older(&path, 3), stamped(1, "one")).expect("write");
        assert_eq!(shown(&tail(&path, &query(9)).expect("tail")), [(1, "one"), (2, "two")]);
        fs::create_dir(&path).expect("a directory in its place");
        assert!(matches!(tail(&path, &query(9)), Err(Error::NotAFile { .. })));
    }

    proptest! {
        #[test]
        fn any_content_is_read_backwards_as_forwards(
            lines in prop::collection::vec((0usize..3, "[a-z]{0,5}"), 0..12),
            asked in 0usize..14,
        ) {
            // Lengths around the block's, so that line ends fall on its edges.
            let lengths = [0, BLOCK_BYTES - 4, 2 * BLOCK_BYTES - 1];
            let texts: Vec<String> = lines.iter().map(|(l, text)| "x".repeat(lengths[*l]) + text).collect();
            let content: String = texts.iter().map(|text| format!("{text}\n")).collect();
            let (_dir, path) = log_of(&[&content]);
            let found: Vec<String> = tail(&path, &query(asked)).expect("tail").into_iter().map(|l| l.text).collect();
            prop_assert_eq!(found, &texts[texts.len().saturating_sub(asked)..]);
        }
    }
}
