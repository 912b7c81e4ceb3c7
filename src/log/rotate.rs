//! A log file that is appended to and rotated, and that never stops its owner: what cannot be written is dropped and
//! counted, and the log says so as soon as it can be written again.
//!
//! - At most `keep` files of at most `max_size` bytes exist; a single longer line gets a file of its own.
//! - Whole lines only: a line that was cut by a full disk is taken back, so that it cannot garble the next.
//! - Each write first looks whether the path still names the open file, which costs a microsecond. When somebody has
//!   renamed or deleted it, writing goes on in a fresh file.
//!
//! One process at a time appends to a file. Links, pipes and other things in the file's place are refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use super::Error;
use super::chain::{FileId, older, open_regular};
use super::line::Stream;
use crate::model::units::Stamp;

/// The writing end of one log.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    max_size: u64,
    keep: u32,
    current: Option<Current>,
    lost_lines: u64,
    fault: Option<Error>,
}

#[derive(Debug)]
struct Current {
    file: File,
    id: FileId,
    size: u64,
    /// The file ends within a line, so the next one needs a line end before it.
    torn: bool,
}

impl LogFile {
    /// Opens or creates (0600) the log at `path`. `max_size` is in bytes, `keep` counts all files, the current one
    /// included; older ones beyond it are removed. It never fails: as long as the file cannot be opened, lines are
    /// dropped and counted, and [`LogFile::fault`] tells why.
    pub fn open(path: PathBuf, max_size: u64, keep: u32) -> LogFile {
        let mut log = LogFile {
            path,
            max_size,
            keep: keep.max(1),
            current: None,
            lost_lines: 0,
            fault: None,
        };
        log.fault = log.ready().err();
        let mut surplus = log.keep;
        while fs::remove_file(older(&log.path, surplus)).is_ok() {
            surplus += 1;
        }
        log
    }

    /// Why lines are being dropped, None while all is well.
    pub fn fault(&self) -> Option<&Error> {
        self.fault.as_ref()
    }

    /// Appends complete lines, each with its line end. Where lines were lost before, a line that says so comes first;
    /// with empty `lines` only that is tried.
    pub fn write(&mut self, lines: &[u8], at: Stamp) {
        self.look();
        let mut rest = lines;
        if let Err(fault) = self.append_note(at).and_then(|()| self.append(&mut rest)) {
            self.lost_lines += rest.iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.fault = Some(fault);
        }
    }

    /// Leaves a file that has lost its name, and learns its true size where somebody else has changed it.
    fn look(&mut self) {
        match (&mut self.current, fs::symlink_metadata(&self.path)) {
            (Some(current), Ok(meta)) if FileId::of(&meta) == current.id => current.size = meta.len(),
            _ => self.current = None,
        }
    }

    fn append_note(&mut self, at: Stamp) -> Result<(), Error> {
        let Some(fault) = &self.fault else {
            return Ok(());
        };
        if self.lost_lines > 0 {
            let (lost, reason, stream) = (self.lost_lines, fault.reason(), Stream::Err.word());
            let lines = if lost == 1 { "line" } else { "lines" };
            let note = format!("{at} {stream} [multibot] {lost} {lines} lost: {reason}\n");
            self.append(&mut note.as_bytes())?;
            self.lost_lines = 0;
        }
        self.ready()?;
        self.fault = None;
        Ok(())
    }

    /// Appends all lines. After an error `rest` holds those that are not written.
    fn append(&mut self, rest: &mut &[u8]) -> Result<(), Error> {
        while !rest.is_empty() {
            let written = self.append_some(rest)?;
            *rest = &rest[written..];
        }
        Ok(())
    }

    /// Appends as many of the lines as the file has room for, or rotates when it has none. Returns the bytes written.
    fn append_some(&mut self, lines: &[u8]) -> Result<usize, Error> {
        let max_size = self.max_size;
        let current = self.ready()?;
        let room = usize::try_from(max_size.saturating_sub(current.size)).unwrap_or(usize::MAX);
        let after = |at: usize| at + 1;
        let fits = match lines.get(..room) {
            None => lines.len(),
            Some(part) => match part.iter().rposition(|&byte| byte == b'\n') {
                Some(end) => after(end),
                None if current.size == 0 => lines.iter().position(|&byte| byte == b'\n').map_or(lines.len(), after),
                None => {
                    self.rotate()?;
                    return Ok(0);
                }
            },
        };
        current.write_lines(&lines[..fits]).map_err(|source| Error::Write {
            path: self.path.clone(),
            source,
        })
    }

    /// The current file, opened anew where it is not open.
    fn ready(&mut self) -> Result<&mut Current, Error> {
        let current = match self.current.take() {
            Some(current) => current,
            None => {
                let mut options = OpenOptions::new();
                options.read(true).append(true).create(true).mode(0o600);
                let (file, meta) = open_regular(&self.path, &mut options)?;
                let mut last = [b'\n'];
                if meta.len() > 0 {
                    // A file that cannot be read may as well end with a line; it is only written to.
                    let _ = file.read_at(&mut last, meta.len() - 1);
                }
                Current {
                    file,
                    id: FileId::of(&meta),
                    size: meta.len(),
                    torn: last != [b'\n'],
                }
            }
        };
        Ok(self.current.insert(current))
    }

    /// Shifts every file to the next older name, the oldest one away, so that the current name is free.
    fn rotate(&mut self) -> Result<(), Error> {
        self.current = None;
        let shifted = if self.keep == 1 {
            fs::remove_file(&self.path)
        } else {
            (0..self.keep - 1).rev().try_for_each(|times| {
                let (from, to) = (older(&self.path, times), older(&self.path, times + 1));
                or_missing(fs::rename(from, to))
            })
        };
        or_missing(shifted).map_err(|source| Error::Rotate {
            path: self.path.clone(),
            source,
        })
    }
}

impl Current {
    /// Writes lines and returns how many bytes of whole lines are on the disk. What was cut within a line is taken
    /// back. Errors only when not one line could be written.
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.size += 1;
            self.torn = false;
        }
        let mut done = 0;
        let failed = loop {
            match self.file.write(&lines[done..]) {
                Ok(0) => break io::Error::from(ErrorKind::WriteZero),
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
            if done == lines.len() {
                self.size += done as u64;
                return Ok(done);
            }
        };
        let whole = lines[..done]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        self.size += whole as u64;
        if done > whole && self.file.set_len(self.size).is_err() {
            self.size += (done - whole) as u64;
            self.torn = true;
        }
        if whole == 0 { Err(failed) } else { Ok(whole) }
    }
}

/// A file that is not there needs neither a new name nor removal.
fn or_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    const AT: Stamp = Stamp(1_700_000_000_000_000);

    /// The contents of all files of a log, the oldest first.
    fn contents(path: &Path) -> Vec<String> {
        let mut found: Vec<String> = (0..20)
            .filter_map(|times| fs::read_to_string(older(path, times)).ok())
            .collect();
        found.reverse();
        found
    }

    fn paths() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("shop.log");
        (dir, path)
    }

    #[test]
    fn a_restart_appends_and_counts_what_is_there() {
        let (_dir, path) = paths();
        LogFile::open(path.clone(), 12, 3).write(b"one\ntwo\n", AT);
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        let mut log = LogFile::open(path.clone(), 12, 3);
        log.write(b"3\n4\n5\n", AT);
        assert_eq!(contents(&path), ["one\ntwo\n3\n4\n", "5\n"]);
        assert!(log.fault().is_none());
    }

    #[test]
    fn no_more_than_keep_files_stay() {
        for (keep, expected) in [
            (0, vec!["4\n"]),
            (1, vec!["4\n"]),
            (2, vec!["2\n3\n", "4\n"]),
            (3, vec!["0\n1\n", "2\n3\n", "4\n"]),
            (9, vec!["0\n1\n", "2\n3\n", "4\n"]),
        ] {
            let (_dir, path) = paths();
            let mut log = LogFile::open(path.clone(), 4, keep);
            log.write(b"0\n1\n2\n", AT);
            log.write(b"3\n4\n", AT);
            assert_eq!(contents(&path), expected, "keep {keep}");
            LogFile::open(path.clone(), 4, 1);
            assert_eq!(contents(&path), ["4\n"], "fewer are wanted than exist");
        }
    }

    #[test]
    fn a_line_longer_than_a_file_gets_its_own() {
        let (_dir, path) = paths();
        let mut log = LogFile::open(path.clone(), 4, 5);
        log.write(b"a\nlonger than that\nb\n", AT);
        assert_eq!(contents(&path), ["a\n", "longer than that\n", "b\n"]);
    }

    #[test]
    fn a_file_that_was_renamed_or_deleted_is_left() {
        let (dir, path) = paths();
        let mut log = LogFile::open(path.clone(), 100, 2);
        log.write(b"one\n", AT);
        fs::rename(&path, dir.path().join("shop.log-2023")).expect("rename");
        log.write(b"two\n", AT);
        assert_eq!(contents(&path), ["two\n"]);
        let renamed = fs::read_to_string(dir.path().join("shop.log-2023")).expect("the renamed file");
        assert_eq!(renamed, "one\n");
        fs::remove_file(&path).expect("remove");
        log.write(b"three\n", AT);
        assert_eq!(contents(&path), ["three\n"]);
    }

    #[test]
    fn a_file_that_was_emptied_has_room_again() {
        let (_dir, path) = paths();
        let mut log = LogFile::open(path.clone(), 8, 2);
        log.write(b"one\ntwo\n", AT);
        fs::write(&path, "").expect("truncate");
        log.write(b"three\n", AT);
        assert_eq!(contents(&path), ["three\n"]);
    }

    #[test]
    fn a_torn_end_does_not_garble_the_next_line() {
        let (_dir, path) = paths();
        fs::write(&path, "half a li").expect("write");
        LogFile::open(path.clone(), 100, 2).write(b"whole\n", AT);
        assert_eq!(contents(&path), ["half a li\nwhole\n"]);
    }

    #[test]
    fn what_stands_in_the_files_place_is_refused_and_lines_are_counted() {
        let (dir, path) = paths();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "").expect("write");
        symlink(&elsewhere, &path).expect("link");
        let mut log = LogFile::open(path.clone(), 100, 2);
        assert!(matches!(log.fault(), Some(Error::Open { .. })), "{:?}", log.fault());
        log.write(b"one\ntwo\n", AT);
        log.write(b"three\n", AT);
        assert_eq!(fs::read_to_string(&elsewhere).expect("read"), "");
        fs::remove_file(&path).expect("remove");
        log.write(b"four\n", AT);
        let reason = "Too many levels of symbolic links";
        assert_eq!(
            contents(&path),
            [format!("{AT} err [multibot] 3 lines lost: {reason}\nfour\n")]
        );
        assert!(log.fault().is_none());
    }

    #[test]
    fn a_full_disk_drops_lines_and_says_so_later() {
        let (_dir, path) = paths();
        let mut log = LogFile::open(path.clone(), 100, 2);
        log.write(b"before\n", AT);
        let full = OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .expect("a device that is always full");
        let kept = log.current.replace(Current {
            file: full,
            id: log.current.as_ref().expect("open").id,
            size: 7,
            torn: false,
        });
        log.write(b"lost\n", AT);
        assert!(matches!(log.fault(), Some(Error::Write { .. })), "{:?}", log.fault());
        log.current = kept;
        log.write(b"", AT);
        let note = format!("{AT} err [multibot] 1 line lost: No space left on device\n");
        assert_eq!(contents(&path), [format!("before\n{note}")]);
        assert!(log.fault().is_none());
    }

    #[test]
    fn a_rotation_that_fails_keeps_the_bound() {
        let (_dir, path) = paths();
        let mut log = LogFile::open(path.clone(), 4, 2);
        let blocked = older(&path, 1);
        fs::create_dir(&blocked).expect("a directory in the way");
        log.write(b"a\nb\nc\nd\n", AT);
        assert!(matches!(log.fault(), Some(Error::Rotate { .. })), "{:?}", log.fault());
        assert_eq!(contents(&path), ["a\nb\n"]);
        fs::remove_dir(&blocked).expect("remove");
        log.write(b"e\n", AT);
        let note = format!("{AT} err [multibot] 2 lines lost: Is a directory\n");
        assert_eq!(contents(&path), [note, "e\n".to_owned()]);
    }

    proptest! {
        #[test]
        fn the_files_hold_the_newest_lines_within_the_bound(
            max_size in 1u64..60,
            keep in 1u32..5,
            writes in prop::collection::vec((prop::collection::vec("[a-z]{0,30}", 1..6), any::<bool>()), 1..20),
        ) {
            let (_dir, path) = paths();
            let mut log = LogFile::open(path.clone(), max_size, keep);
            let mut all = String::new();
            for (lines, reopen) in writes {
                if reopen {
                    log = LogFile::open(path.clone(), max_size, keep);
                }
                let batch: String = lines.iter().map(|line| format!("{line}\n")).collect();
                log.write(batch.as_bytes(), AT);
                all.push_str(&batch);
            }
            let files = contents(&path);
            prop_assert!(files.len() <= keep as usize);
            prop_assert!(files.iter().all(|f| f.len() as u64 <= max_size || f.lines().count() == 1), "{files:?}");
            prop_assert!(all.ends_with(&files.concat()));
            prop_assert!(files.last().is_some_and(|newest| !newest.is_empty()));
            prop_assert!(files.len() == keep as usize || all == files.concat(), "nothing is dropped early");
        }
    }
}
