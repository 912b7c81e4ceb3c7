//! The supervisor's answers to the CLI: one file `<id>.json` for each command that was answered.
//!
//! The id of a command is checked to be a ULID before it becomes a file name. Not synced: who waits for an
//! answer does not outlive the host.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::name::is_ulid;
use super::{Error, Result, file};
use crate::model::limits::MAILBOX_FILE_BYTES_MAX;
use crate::model::units::Stamp;

/// Where the answer to the command `id` appears in one step. Errors for an id that is no ULID.
pub fn reply_path(dir: &Path, id: &str) -> Result<PathBuf> {
    if is_ulid(id) {
        Ok(dir.join(format!("{id}.json")))
    } else {
        let (path, id) = (dir.to_owned(), id.to_owned());
        Err(Error::ReplyId { path, id })
    }
}

/// Writes the answer to the command `id`; the folder is made where it is missing. A second answer replaces
/// the first.
pub fn write_reply(dir: &Path, id: &str, reply: &Value) -> Result<()> {
    let path = reply_path(dir, id)?;
    file::make_dir(dir)?;
    let tmp = dir.join(format!(".{id}.tmp"));
    file::replace(&tmp, &path, reply.to_string().as_bytes())
}

/// Takes the answer to the command `id` away; None while there is none.
pub fn read_reply(dir: &Path, id: &str) -> Result<Option<Value>> {
    let path = reply_path(dir, id)?;
    let opened = match file::open(&path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", &path)(error)),
    };
    let bytes = file::read_up_to(&opened, MAILBOX_FILE_BYTES_MAX).map_err(Error::io("read", &path))?;
    let reply = serde_json::from_slice(&bytes).map_err(|error| Error::Reply {
        path: path.clone(),
        why: error.to_string(),
    })?;
    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    Ok(Some(reply))
}

/// Removes answers that nobody took for longer than `age`; returns how many.
pub fn sweep_replies(dir: &Path, now: Stamp, age: Duration) -> Result<usize> {
    file::sweep(dir, now, age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

    #[test]
    fn a_reply_is_taken_once() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("replies");
        assert_eq!(read_reply(&dir, ID).unwrap(), None);
        write_reply(&dir, ID, &json!({"ok": false})).unwrap();
        write_reply(&dir, ID, &json!({"ok": true})).unwrap();
        assert_eq!(read_reply(&dir, ID).unwrap(), Some(json!({"ok": true})));
        assert_eq!(read_reply(&dir, ID).unwrap(), None);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn only_a_ulid_becomes_a_file_name() {
        let dir = tempfile::tempdir().unwrap();
        for id in ["", "../01ARZ3NDEKTSV4RRFFQ69G5F", "01arz3ndektsv4rrffq69g5fav", "x"] {
            assert!(
                matches!(write_reply(dir.path(), id, &json!(1)), Err(Error::ReplyId { .. })),
                "{id}"
            );
            assert!(matches!(read_reply(dir.path(), id), Err(Error::ReplyId { .. })), "{id}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_in_the_place_of_a_reply_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "{}").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), dir.path().join(format!("{ID}.json"))).unwrap();
        assert!(matches!(read_reply(dir.path(), ID), Err(Error::Io { .. })));
    }

    #[test]
    fn forgotten_replies_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        write_reply(dir.path(), ID, &json!(1)).unwrap();
        assert_eq!(sweep_replies(dir.path(), Stamp(0), Duration::ZERO).unwrap(), 0);
        assert_eq!(
            sweep_replies(dir.path(), Stamp(i64::MAX), Duration::from_secs(60)).unwrap(),
            1
        );
    }
}
