//! Follows a log while it grows and rotates. It never waits: the caller decides when to poll.
//!
//! Invariant: between the tail it began with and its polls, every line is delivered once, in the order of writing,
//! as long as the file that holds it has not been rotated away altogether.

use std::path::{Path, PathBuf};

use super::Error;
use super::chain::{FileId, LogPart, Parts};
use super::line::{LogLine, parse_or_raw};
use super::read::{BLOCK_BYTES, FOREIGN_LINE_BYTES_MAX, Query, tail_to_end};
use crate::model::units::Stamp;

/// Delivers what is added to one log.
pub struct Follower {
    path: PathBuf,
    /// The file that was current at the last look, held open however it is called now.
    current: Option<Reading>,
    /// Files that hold nothing new, the newest last.
    seen: Vec<SeenFile>,
    last_at: Stamp,
}

/// The newest lines of the log at `path` as [`super::tail`] finds them, and a follower that goes on exactly where they
/// end. The log need not exist yet.
pub fn tail_and_follow(path: &Path, query: &Query<'_>) -> Result<(Vec<LogLine>, Follower), Error> {
    let tail = tail_to_end(path, query)?;
    let offset = tail.offset;
    let mut follower = Follower {
        path: path.to_owned(),
        current: tail.parts.current.map(|part| Reading { part, offset }),
        seen: Vec::new(),
        last_at: tail.lines.last().map_or(Stamp::default(), |line| line.at),
    };
    for part in tail.parts.older.iter().rev() {
        follower.see(part)?;
    }
    Ok((tail.lines, follower))
}

/// A file and how far it was read, always up to a line end.
struct Reading {
    part: LogPart,
    offset: u64,
}

/// A file that is not held open: its number may be given to a new file, so its first bytes, a stamp, are kept too.
#[derive(PartialEq, Eq)]
struct SeenFile {
    id: FileId,
    first_bytes: Vec<u8>,
}

const FIRST_BYTES: usize = 27;
/// More files than any log is meant to keep.
const SEEN_FILES_MAX: usize = 128;

impl Follower {
    /// The directory to watch: something in it changes whenever a poll may find new lines.
    pub fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// The lines that were added since the last poll. A line counts as soon as its line end is written.
    pub fn poll(&mut self) -> Result<Vec<LogLine>, Error> {
        let mut lines = Vec::new();
        loop {
            self.read_current(false, &mut lines)?;
            let is_ours = |part: &LogPart| self.current.as_ref().is_some_and(|ours| ours.part.id == part.id);
            if LogPart::open(self.path.clone())?.is_none_or(|newest| is_ours(&newest)) {
                return Ok(lines);
            }
            let known = |part: &LogPart| Ok(is_ours(part) || self.seen.contains(&SeenFile::of(part)?));
            let parts = Parts::open(&self.path, known)?;
            let Some(newest) = parts.current.filter(|newest| !is_ours(newest)) else {
                return Ok(lines);
            };
            // The writer has left our file for a newer one: what it wrote there meanwhile is all there will be. Where
            // several rotations went by, there are files in between.
            for part in parts.older.into_iter().rev().chain([newest]) {
                self.read_current(true, &mut lines)?;
                if let Some(left) = self.current.replace(Reading { part, offset: 0 }) {
                    self.see(&left.part)?;
                }
            }
        }
    }

    fn see(&mut self, part: &LogPart) -> Result<(), Error> {
        if self.seen.len() == SEEN_FILES_MAX {
            self.seen.remove(0);
        }
        self.seen.push(SeenFile::of(part)?);
        Ok(())
    }

    /// Delivers what our file holds behind the offset. `left` says that nobody writes to it any more, so that an
    /// unterminated rest is a line too.
    fn read_current(&mut self, left: bool, lines: &mut Vec<LogLine>) -> Result<(), Error> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let mut block_bytes = BLOCK_BYTES;
        loop {
            let size = current.part.len()?;
            if size < current.offset {
                // Somebody has emptied the file.
                current.offset = 0;
            }
            if size == current.offset {
                return Ok(());
            }
            let wanted = (size - current.offset).min(block_bytes as u64) as usize;
            let block = current.part.read(current.offset, wanted)?;
            let whole = match block.iter().rposition(|&byte| byte == b'\n') {
                Some(end) => end + 1,
                None if block.len() == block_bytes && block_bytes < FOREIGN_LINE_BYTES_MAX => {
                    block_bytes = FOREIGN_LINE_BYTES_MAX;
                    continue;
                }
                None if left || block.len() == block_bytes => block.len(),
                None => return Ok(()),
            };
            current.offset += whole as u64;
            let ended = block[..whole].strip_suffix(b"\n").unwrap_or(&block[..whole]);
            for raw in ended.split(|&byte| byte == b'\n') {
                let line = parse_or_raw(raw, self.last_at);
                self.last_at = line.at;
                lines.push(line);
            }
        }
    }
}

impl SeenFile {
    fn of(part: &LogPart) -> Result<SeenFile, Error> {
        Ok(SeenFile {
            id: part.id,
            first_bytes: part.read(0, FIRST_BYTES)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::older;
    use super::super::read::tail;
    use super::super::rotate::LogFile;
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::io::Write;

    const ALL: Query<'static> = Query {
        lines: usize::MAX,
        since: None,
        wanted: &|_| true,
    };

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    fn polled(follower: &mut Follower) -> Vec<String> {
        let lines = follower.poll().expect("poll");
        lines.into_iter().map(|line| line.text).collect()
    }

    fn stamped(at: i64, text: &str) -> String {
        format!("{} out {text}\n", Stamp(at))
    }

    fn append(path: &Path, content: &str) {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("open");
        file.write_all(content.as_bytes()).expect("write");
    }

    fn paths() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("shop.log");
        (dir, path)
    }

    #[test]
    fn a_log_that_does_not_exist_yet_is_followed_from_its_first_line() {
        let (dir, path) = paths();
        let (lines, mut follower) = tail_and_follow(&path, &ALL).expect("follow");
        assert_eq!(lines, []);
        assert_eq!(follower.directory(), dir.path());
        assert!(polled(&mut follower).is_empty());
        append(&path, &stamped(1, "one"));
        assert_eq!(polled(&mut follower), ["one"]);
        assert!(polled(&mut follower).is_empty());
    }

    #[test]
    fn a_line_counts_when_it_is_complete() {
        let (_dir, path) = paths();
        append(&path, &(stamped(1, "one") + "2023-11-14T"));
        let (lines, mut follower) = tail_and_follow(&path, &ALL).expect("follow");
        assert_eq!(texts(&lines), ["one"]);
        assert!(polled(&mut follower).is_empty());
        append(&path, "22:13:20.000001Z out two\nforeign\n");
        let lines = follower.poll().expect("poll");
        assert_eq!(texts(&lines), ["two", "foreign"]);
        assert_eq!(lines[1].at, lines[0].at);
    }

    #[test]
    fn an_emptied_file_is_read_from_its_beginning() {
        let (_dir, path) = paths();
        append(&path, &(stamped(1, "one") + &stamped(2, "two")));
        let (_, mut follower) = tail_and_follow(&path, &ALL).expect("follow");
        fs::write(&path, stamped(3, "three")).expect("write");
        assert_eq!(polled(&mut follower), ["three"]);
    }

    #[test]
    fn old_files_are_not_shown_again_when_the_newest_is_taken_away() {
        let (dir, path) = paths();
        append(&older(&path, 1), &stamped(1, "one"));
        append(&path, &stamped(2, "two"));
        let (lines, mut follower) = tail_and_follow(&path, &ALL).expect("follow");
        assert_eq!(texts(&lines), ["one", "two"]);
        append(&path, &stamped(3, "three"));
        fs::rename(&path, dir.path().join("shop.log-2023")).expect("rename");
        assert_eq!(polled(&mut follower), ["three"]);
        append(&path, &stamped(4, "four"));
        assert_eq!(polled(&mut follower), ["four"]);
        fs::remove_file(&path).expect("remove");
        append(&path, &stamped(5, "five"));
        assert_eq!(polled(&mut follower), ["five"]);
    }

    #[test]
    fn files_that_came_and_went_between_two_polls_are_read_too() {
        let (_dir, path) = paths();
        let (_, mut follower) = tail_and_follow(&path, &ALL).expect("follow");
        append(&older(&path, 2), &(stamped(1, "one") + "torn"));
        append(&older(&path, 1), &stamped(2, "two"));
        assert!(polled(&mut follower).is_empty(), "the newest file comes last");
        append(&path, &stamped(3, "three"));
        assert_eq!(polled(&mut follower), ["one", "torn", "two", "three"]);
    }

    #[test]
    fn a_foreign_line_without_end_is_delivered_in_pieces() {
        let (_dir, path) = paths();
        let (_, mut follower) = tail_and_follow(&path, &ALL).expect("follow");
        append(&path, &"x".repeat(FOREIGN_LINE_BYTES_MAX + 5));
        let pieces = polled(&mut follower);
        assert_eq!(
            pieces.iter().map(String::len).collect::<Vec<_>>(),
            [FOREIGN_LINE_BYTES_MAX]
        );
    }

    #[derive(Clone, Debug)]
    enum Act {
        Write(usize),
        Reopen,
        Poll,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            6 => (1usize..4).prop_map(Act::Write),
            1 => Just(Act::Reopen),
            2 => Just(Act::Poll),
        ]
    }

    #[test]
    fn a_log_is_followed_exactly_while_it_is_written() {
        const LINES: i64 = 4000;
        let (_dir, path) = paths();
        let mut log = LogFile::open(path.clone(), 5000, 60);
        let writer = std::thread::spawn(move || {
            for at in 1..=LINES {
                log.write(stamped(at, "").as_bytes(), Stamp(0));
            }
        });
        let (lines, mut follower) = tail_and_follow(&path, &ALL).expect("follow");
        let mut delivered: Vec<i64> = lines.iter().map(|line| line.at.0).collect();
        loop {
            let ended = writer.is_finished();
            delivered.extend(follower.poll().expect("poll").iter().map(|line| line.at.0));
            let again = tail(&path, &Query { lines: 200, ..ALL }).expect("tail");
            assert!(again.is_sorted_by(|a, b| a.at.0 + 1 == b.at.0), "{again:?}");
            if ended {
                break;
            }
        }
        writer.join().expect("the writer");
        assert_eq!(delivered, (1..=LINES).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn every_line_is_delivered_once_across_rotations(
            before in 0usize..12,
            acts in prop::collection::vec(act(), 1..30),
            max_size in 30u64..200,
            asked in 0usize..5,
        ) {
            let (_dir, path) = paths();
            let keep = 200;
            let mut log = LogFile::open(path.clone(), max_size, keep);
            let mut written: Vec<String> = Vec::new();
            let mut write = |log: &mut LogFile, lines: usize| {
                let mut batch = String::new();
                for _ in 0..lines {
                    let text = written.len().to_string();
                    batch.push_str(&stamped(written.len() as i64, &text));
                    written.push(text);
                }
                log.write(batch.as_bytes(), Stamp(0));
            };
            write(&mut log, before);
            let query = Query { lines: asked, ..ALL };
            let (lines, mut follower) = tail_and_follow(&path, &query).expect("follow");
            let mut delivered: Vec<String> = lines.into_iter().map(|line| line.text).collect();
            let from = before.saturating_sub(asked);
            for act in acts {
                match act {
                    Act::Write(lines) => write(&mut log, lines),
                    Act::Reopen => log = LogFile::open(path.clone(), max_size, keep),
                    Act::Poll => delivered.extend(polled(&mut follower)),
                }
            }
            delivered.extend(polled(&mut follower));
            prop_assert_eq!(delivered, &written[from..]);
        }

        #[test]
        fn nothing_comes_twice_or_out_of_order_when_files_vanish(
            acts in prop::collection::vec(act(), 1..40),
            keep in 1u32..4,
        ) {
            let (_dir, path) = paths();
            let mut log = LogFile::open(path.clone(), 70, keep);
            let (_, mut follower) = tail_and_follow(&path, &ALL).expect("follow");
            let mut count = 0;
            let mut delivered: Vec<i64> = Vec::new();
            for act in acts.into_iter().chain([Act::Poll]) {
                match act {
                    Act::Write(lines) => {
                        for _ in 0..lines {
                            count += 1;
                            log.write(stamped(count, "").as_bytes(), Stamp(0));
                        }
                    }
                    Act::Reopen => log = LogFile::open(path.clone(), 70, keep),
                    Act::Poll => delivered.extend(follower.poll().expect("poll").iter().map(|line| line.at.0)),
                }
            }
            prop_assert!(delivered.is_sorted_by(|a, b| a < b), "{delivered:?}");
            prop_assert_eq!(delivered.last().copied().unwrap_or(0), count);
        }
    }
}
