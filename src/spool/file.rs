//! Single steps on single files: open without trust, write by rename, move without overwriting.
//!
//! Never follows a link at the end of a path and never blocks on a pipe. Invariant: a file that exists is
//! replaced only by [`replace`], which is for files that hold their newest content only.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{Error, Result};
use crate::model::units::Stamp;

/// The longest name that Linux file systems take.
const NAME_BYTES_MAX: usize = 255;

/// Makes a folder with mode 0700, parents included; one that exists is left as it is.
pub(super) fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io("create", path))
}

/// Makes a file that was not there, mode 0600, with these bytes; `sync` waits until they are on the disk.
/// A file that could not be written in full is removed again.
pub(super) fn write_new(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| if sync { file.sync_all() } else { Ok(()) });
    if written.is_err() {
        // The first error is the one to tell; what stays in tmp/ is swept later.
        let _ = fs::remove_file(path);
    }
    written
}

/// Puts these bytes at `path` in one step, by way of `tmp` on the same file system; not synced.
pub(super) fn replace(tmp: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let written = match write_new(tmp, bytes, false) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Left by a writer that died on the way.
            fs::remove_file(tmp).and_then(|()| write_new(tmp, bytes, false))
        }
        done => done,
    };
    written.map_err(Error::io("write", tmp))?;
    fs::rename(tmp, path).map_err(|source| {
        let _ = fs::remove_file(tmp);
        Error::io("replace", path)(source)
    })
}

/// Unlinks a file; one that is gone already is no error.
pub(super) fn remove(path: &Path) -> Result<()> {
    checkpoint(path)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Puts durable bytes at `path` in one step, by way of `tmp`. Whatever is at `path` is replaced: for names that
/// always stand for the same bytes. The folder of `path` is not synced.
pub(super) fn put_durably(tmp: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    remove(tmp)?;
    checkpoint(tmp)?;
    write_new(tmp, bytes, true).map_err(Error::io("write", tmp))?;
    checkpoint(path)?;
    fs::rename(tmp, path).map_err(Error::io("replace", path))
}

/// A place where everything may end: tests stop here, and recover.
#[cfg(not(test))]
pub(super) fn checkpoint(_path: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) use checkpoints::checkpoint;

#[cfg(test)]
pub(super) mod checkpoints {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Every checkpoint of this thread after the next `count` ones fails; None: none does.
    pub(in crate::spool) fn stop_after(count: Option<usize>) {
        LEFT.set(count);
    }

    pub(in crate::spool) fn checkpoint(path: &Path) -> Result<()> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => Err(Error::io("stop before", path)(io::ErrorKind::Interrupted.into())),
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_dir(path: &Path) -> Result<()> {
    checkpoint(path)?;
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(Error::io("sync", path))
}

/// Opens for reading whatever lies at `path`, without following a link or waiting for a writer.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// All bytes of an open file, at most `max` of them and one more to tell that there are too many.
pub(super) fn read_up_to(file: &File, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Moves `from` into `dir` under the name that `named` gives for 0, 1, 2, …, the first that is free.
/// Returns that name; None when `from` is not there any more.
pub(super) fn move_into(from: &Path, dir: &Path, named: impl Fn(u32) -> OsString) -> Result<Option<OsString>> {
    checkpoint(from)?;
    for number in 0..u32::from(u16::MAX) {
        let name = named(number);
        match rename_new(from, &dir.join(&name)) {
            Ok(()) => return Ok(Some(name)),
            Err(Errno::EXIST) => {}
            Err(Errno::NOENT) if dir.is_dir() => return Ok(None),
            Err(Errno::NOENT) => return Err(Error::NoMailbox { path: dir.to_owned() }),
            Err(errno) => return Err(Error::io("move", from)(errno.into())),
        }
    }
    Err(Error::io("move", from)(Errno::EXIST.into()))
}

/// A name that leaves `reserve` bytes for what is put around it. Numbers from 1 on go before the extension,
/// which stays, as it says how to read the file.
pub(super) fn fitted(name: &OsStr, number: u32, reserve: usize) -> OsString {
    let suffix = if number == 0 {
        String::new()
    } else {
        format!("~{number}")
    };
    let extension = Path::new(name).extension().map_or(&b""[..], OsStrExt::as_bytes);
    let stem = Path::new(name).file_stem().map_or(&b""[..], OsStrExt::as_bytes);
    let dot = usize::from(!extension.is_empty());
    let extension = &extension[..extension.len().min(16)];
    let room = NAME_BYTES_MAX.saturating_sub(reserve + suffix.len() + dot + extension.len());
    let mut fitted = stem[..stem.len().min(room)].to_vec();
    fitted.extend_from_slice(suffix.as_bytes());
    if dot == 1 {
        fitted.push(b'.');
        fitted.extend_from_slice(extension);
    }
    OsString::from_vec(fitted)
}

/// The entries of a folder that count: dotfiles do not, and a missing folder has none.
pub(super) fn entries(dir: &Path) -> Result<Vec<OsString>> {
    let reading = match fs::read_dir(dir) {
        Ok(reading) => reading,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", dir)(error)),
    };
    let mut names = Vec::new();
    for entry in reading {
        let name = entry.map_err(Error::io("read", dir))?.file_name();
        if !name.as_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Unlinks the files of a folder, dotfiles too, that were last written more than `age` before `now`;
/// returns how many. What is no regular file stays.
pub(super) fn sweep(dir: &Path, now: Stamp, age: std::time::Duration) -> Result<usize> {
    let reading = match fs::read_dir(dir) {
        Ok(reading) => reading,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Error::io("read", dir)(error)),
    };
    let mut removed = 0;
    for entry in reading {
        let path = entry.map_err(Error::io("read", dir))?.path();
        let stale = fs::symlink_metadata(&path)
            .is_ok_and(|found| found.is_file() && now.since(micros(found.mtime(), found.mtime_nsec())) > age);
        if stale {
            match fs::remove_file(&path) {
                Ok(()) => removed += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("remove", &path)(error)),
            }
        }
    }
    Ok(removed)
}

/// A file's time as the kernel tells it, in seconds and nanoseconds.
pub(super) fn micros(seconds: i64, nanos: i64) -> Stamp {
    Stamp(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000))
}

/// A rename that fails with EXIST where the target exists. File systems without that flag get the check
/// first; there two movers of one name could meet, but all names that multibot makes are unique.
fn rename_new(from: &Path, to: &Path) -> std::result::Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => match fs::symlink_metadata(to) {
            Ok(_) => Err(Errno::EXIST),
            Err(_) => rustix::fs::rename(from, to),
        },
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_fitted_name_keeps_its_extension_and_its_room() {
        let long = format!("{}.ndjson", "n".repeat(248));
        for (name, number, expected) in [
            ("x.json", 0, "x.json".to_owned()),
            ("x.json", 3, "x~3.json".to_owned()),
            ("plain", 1, "plain~1".to_owned()),
            (long.as_str(), 12, format!("{}~12.ndjson", "n".repeat(245 - 34))),
        ] {
            assert_eq!(fitted(OsStr::new(name), number, 34), OsString::from(expected), "{name}");
        }
    }

    #[test]
    fn moving_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let (box_a, box_b) = (dir.path().join("a"), dir.path().join("b"));
        make_dir(&box_a).unwrap();
        make_dir(&box_b).unwrap();
        for content in ["one", "two"] {
            fs::write(box_a.join("x.json"), content).unwrap();
            let named = |number| fitted(OsStr::new("x.json"), number, 0);
            assert!(move_into(&box_a.join("x.json"), &box_b, named).unwrap().is_some());
        }
        assert_eq!(fs::read_to_string(box_b.join("x.json")).unwrap(), "one");
        assert_eq!(fs::read_to_string(box_b.join("x~1.json")).unwrap(), "two");
        assert_eq!(move_into(&box_a.join("x.json"), &box_b, |_| "y".into()).unwrap(), None);
    }

    #[test]
    fn only_what_is_stale_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("old"), "").unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        let found = fs::metadata(dir.path().join("old")).unwrap();
        let written = micros(found.mtime(), found.mtime_nsec());
        let age = Duration::from_secs(10);
        assert_eq!(sweep(dir.path(), Stamp(written.0 + 10_000_000), age).unwrap(), 0);
        assert_eq!(sweep(dir.path(), Stamp(written.0 + 10_000_001), age).unwrap(), 1);
        assert!(dir.path().join("folder").is_dir());
        assert_eq!(sweep(&dir.path().join("missing"), written, age).unwrap(), 0);
    }
}
