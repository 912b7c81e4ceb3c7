//! The file under the database: created, looked at and named, never opened.
//!
//! Closing a descriptor of it would drop the locks that other connections of this process hold.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, CWD, FileType, Mode};
use rustix::io::Errno;

use super::Error;
use super::error::from_io;

/// Creates an empty file of mode 0600, whatever the umask, unless something is there.
pub(super) fn create_file(path: &Path) -> Result<(), Error> {
    match rustix::fs::mknodat(CWD, path, FileType::RegularFile, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) => {
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(path, private).map_err(|source| from_io("create", path, source))?;
            sync_folder(path)
        }
        // Which of them comes first where the file exists depends on the file system.
        Err(Errno::EXIST | Errno::ROFS | Errno::ACCESS) if path.exists() => Ok(()),
        Err(errno) => Err(from_io("create", path, errno.into())),
    }
}

/// Refuses what SQLite would only call "unable to open".
pub(super) fn inspect(path: &Path) -> Result<(), Error> {
    let meta = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing { path: path.to_owned() },
        _ => from_io("open", path, source),
    })?;
    let path = path.to_owned();
    if meta.is_dir() {
        return Err(Error::Directory { path });
    }
    if !meta.is_file() {
        return Err(Error::Foreign { path });
    }
    rustix::fs::access(&path, Access::READ_OK).map_err(|errno| from_io("open", &path, errno.into()))
}

pub(super) fn has_journal(path: &Path) -> bool {
    ["-wal", "-journal"]
        .iter()
        .any(|suffix| fs::metadata(beside(path, suffix)).is_ok_and(|meta| meta.len() > 0))
}

/// The address under which SQLite reads a file without any lock.
pub(super) fn immutable_uri(path: &Path) -> PathBuf {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri.push_str("?immutable=1");
    PathBuf::from(uri)
}

/// A file name that is the database's own with something behind it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes names in the folder of `path` durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    let synced = fs::File::open(folder).and_then(|opened| opened.sync_all());
    synced.map_err(|source| from_io("sync", folder, source))
}
