//! How far a claimed file has come: `cur/<claimant>,NAME.acked`, a line for each envelope that was answered.
//!
//! `ID` is acked, `-ID` answered negatively and not settled yet. Lines are appended in one write each and never
//! synced: a lost line means that an envelope is handed out again, which its receiver must expect. A torn last
//! line is none. Invariant: the file is only ever appended to, so writers at both ends do not disturb each other.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::{Error, Result, file};
use crate::model::limits::{ENVELOPES_PER_FILE_MAX, ID_BYTES_MAX};

/// What the lines say, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    lines: Vec<(String, Mark)>,
}

/// What became of one envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Done with.
    Acked,
    /// Answered negatively; whoever settles that acks it.
    Failed,
}

/// Every envelope may be marked twice: once failed, once acked.
const PROGRESS_BYTES_MAX: u64 = (2 * ENVELOPES_PER_FILE_MAX * (ID_BYTES_MAX + 2)) as u64;

impl Progress {
    /// What the text of a progress file says.
    pub(super) fn parse(text: &str) -> Progress {
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = complete.lines().filter(|line| !line.is_empty());
        let mark = |line: &str| match line.strip_prefix('-') {
            Some(id) => (id.to_owned(), Mark::Failed),
            None => (line.to_owned(), Mark::Acked),
        };
        Progress {
            lines: lines.map(mark).collect(),
        }
    }

    /// What became of this envelope; None while it has no line.
    pub(super) fn of(&self, id: &str) -> Option<Mark> {
        let marks = self.lines.iter().filter(|(marked, _)| marked == id);
        // An ack is the last word, wherever it stands.
        marks.map(|(_, mark)| *mark).reduce(|first, next| match first {
            Mark::Acked => first,
            Mark::Failed => next,
        })
    }

    pub(super) fn is_acked(&self, id: &str) -> bool {
        self.of(id) == Some(Mark::Acked)
    }

    /// Whether any line names this envelope.
    pub(super) fn names(&self, id: &str) -> bool {
        self.lines.iter().any(|(marked, _)| marked == id)
    }

    /// Whether an envelope was answered negatively and that is not settled.
    pub(super) fn has_unsettled(&self) -> bool {
        self.lines.iter().any(|(id, _)| self.of(id) == Some(Mark::Failed))
    }

    /// Whether this envelope was answered negatively, settled since or not.
    pub(super) fn was_failed(&self, id: &str) -> bool {
        self.lines
            .iter()
            .any(|(marked, mark)| marked == id && *mark == Mark::Failed)
    }

    /// Whether any envelope was.
    pub(super) fn has_failed(&self) -> bool {
        self.lines.iter().any(|(_, mark)| *mark == Mark::Failed)
    }

    /// Reads the progress of a claimed file; one without a progress file has made none.
    pub(super) fn read(claimed: &Path) -> Result<Progress> {
        let path = progress_path(claimed);
        let opened = match file::open(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Progress::default()),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let bytes = file::read_up_to(&opened, PROGRESS_BYTES_MAX).map_err(Error::io("read", &path))?;
        Ok(Progress::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Appends one line.
    pub(super) fn append(claimed: &Path, id: &str, mark: Mark) -> Result<()> {
        let path = progress_path(claimed);
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut opened = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(flags.bits().cast_signed())
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let torn = ends_torn(&opened).map_err(Error::io("read", &path))?;
        // No id has a slash: a line that a power cut has torn goes on meaning nothing.
        let end = if torn { "/\n" } else { "" };
        let line = match mark {
            Mark::Acked => format!("{end}{id}\n"),
            Mark::Failed => format!("{end}-{id}\n"),
        };
        opened.write_all(line.as_bytes()).map_err(Error::io("write", &path))
    }

    /// Ends a claimed file whose envelopes are all done with: the file first, so that its progress outlives it
    /// and never the other way round.
    pub(super) fn end(claimed: &Path) -> Result<()> {
        file::remove(claimed)?;
        file::remove(&progress_path(claimed))
    }
}

/// Whether the last line has no end.
fn ends_torn(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else {
        return Ok(false);
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

/// Whether a name in `cur/` is of a progress file.
pub(super) fn is_progress(name: &OsStr) -> bool {
    name.as_bytes().ends_with(b".acked")
}

/// Where the progress of a claimed file stands.
pub(super) fn progress_path(claimed: &Path) -> PathBuf {
    let mut name = OsString::from(claimed.as_os_str());
    name.push(".acked");
    PathBuf::from(name)
}

/// Whether a claimed file has a progress file; asks for the name only.
pub(super) fn has_progress(claimed: &Path) -> bool {
    fs::symlink_metadata(progress_path(claimed)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_became_of_each() {
        for (text, id, mark) in [
            ("", "a", None),
            ("a\n", "a", Some(Mark::Acked)),
            ("a", "a", None),
            ("-a\n", "a", Some(Mark::Failed)),
            ("-a\na\n", "a", Some(Mark::Acked)),
            ("a\n-a\n", "a", Some(Mark::Acked)),
            ("b\n\n-a\nab", "ab", None),
            ("b\n\n-a\nab", "a", Some(Mark::Failed)),
        ] {
            assert_eq!(Progress::parse(text).of(id), mark, "{text:?}");
        }
        assert!(Progress::parse("-a\nb\n").has_unsettled());
        let settled = Progress::parse("-a\nb\na\n");
        assert!(!settled.has_unsettled());
        assert!(settled.has_failed() && settled.was_failed("a") && !settled.was_failed("b"));
        assert!(!Progress::parse("a\nb\n").has_failed());
    }

    #[test]
    fn what_is_appended_is_read_and_a_torn_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let claimed = dir.path().join("run,x.ndjson");
        assert_eq!(Progress::read(&claimed).unwrap(), Progress::default());
        Progress::append(&claimed, "a", Mark::Failed).unwrap();
        Progress::append(&claimed, "b", Mark::Acked).unwrap();
        let mut torn = OpenOptions::new().append(true).open(progress_path(&claimed)).unwrap();
        torn.write_all(b"c").unwrap();
        let read = Progress::read(&claimed).unwrap();
        assert_eq!((read.of("a"), read.of("c")), (Some(Mark::Failed), None));
        assert!(read.is_acked("b"));
        Progress::append(&claimed, "cd", Mark::Acked).unwrap();
        let read = Progress::read(&claimed).unwrap();
        assert_eq!((read.of("c"), read.of("cd")), (None, Some(Mark::Acked)));
        Progress::end(&claimed).unwrap();
        assert!(!has_progress(&claimed));
        Progress::end(&claimed).unwrap();
    }
}
