//! A bot's heartbeat: one file that holds the newest beat only and is replaced by rename.
//!
//! A beat is told by the change of the file, never by its time or content, so that a bot without a JSON
//! library can beat and a clock that jumps changes nothing. Not synced.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::envelope::to_line;
use super::{Error, Result, file};
use crate::model::message::Envelope;

/// One beat, comparable with the next: two marks that differ mean that the bot has beaten in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    inode: u64,
    changed_s: i64,
    changed_ns: i64,
}

/// Replaces the heartbeat at `path` by way of a file in `tmp_dir`, which is on the same file system.
pub fn write_heartbeat(tmp_dir: &Path, path: &Path, beat: &Envelope) -> Result<()> {
    let line = format!("{}\n", to_line(beat));
    file::replace(&tmp_dir.join(format!("{}.heartbeat", beat.id)), path, line.as_bytes())
}

/// The mark of the heartbeat at `path`; None while there is no regular file.
pub fn mark(path: &Path) -> Result<Option<Mark>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(Mark {
            inode: found.ino(),
            changed_s: found.ctime(),
            changed_ns: found.ctime_nsec(),
        })),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::new_id;
    use super::*;
    use crate::model::message::Kind;
    use crate::model::units::Stamp;

    #[test]
    fn every_beat_leaves_another_mark() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heartbeat");
        assert_eq!(mark(&path).unwrap(), None);
        let mut last = None;
        for _ in 0..3 {
            let id = new_id(Stamp(1));
            let beat = Envelope::new(id, Kind::Heartbeat, "heartbeat", "shop", "supervisor", Stamp(1));
            write_heartbeat(dir.path(), &path, &beat).unwrap();
            let seen = mark(&path).unwrap();
            assert_eq!(mark(&path).unwrap(), seen);
            assert_ne!(seen, last);
            last = seen;
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_regular_file_is_no_beat() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("heartbeat")).unwrap();
        assert_eq!(mark(&dir.path().join("heartbeat")).unwrap(), None);
    }
}
