//! What the store refuses, in words. Never shows a secret: values that SQL was given stay out.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

use super::Version;
use crate::model::bot::BotId;

/// What went wrong in the store, each in one line that names the place and the way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no database at {}: multibot start or multibot bot create makes one", path.display())]
    Missing { path: PathBuf },
    #[error("{doing} {}: permission denied: run multibot as the owner of its home", path.display())]
    Denied { doing: &'static str, path: PathBuf },
    #[error("open {}: it is a folder, a file is expected: move it away or choose another home", path.display())]
    Directory { path: PathBuf },
    #[error("{} is not a database of multibot: move it away or choose another home", path.display())]
    Foreign { path: PathBuf },
    #[error("{} is damaged: restore a copy, or move it and its -wal away and apply your bots again", path.display())]
    Damaged { path: PathBuf },
    #[error("{} has schema {found}, this multibot needs {newest}: run multibot start or multibot upgrade", path.display())]
    Older {
        path: PathBuf,
        found: Version,
        newest: Version,
    },
    #[error("{} has schema {found}, this multibot knows {newest}: install the newer multibot that wrote it", path.display())]
    Newer {
        path: PathBuf,
        found: Version,
        newest: Version,
    },
    #[error("{doing} in {}: another program has locked it for too long: try again", path.display())]
    Busy { doing: &'static str, path: PathBuf },
    #[error("{doing} in {}: the disk is full: free some space and try again", path.display())]
    Full { doing: &'static str, path: PathBuf },
    #[error("{doing} in {}: it is read-only: make the file, its folder and its file system writable", path.display())]
    ReadOnly { doing: &'static str, path: PathBuf },
    #[error("{doing} in {}: cannot open it or the journal beside it: make the folder writable, check ulimit -n", path.display())]
    NoJournal { doing: &'static str, path: PathBuf },
    #[error("{doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{doing} in {}: {message}", path.display())]
    Sqlite {
        doing: &'static str,
        path: PathBuf,
        message: String,
    },
    #[error("{doing} in {}: a value is not what this multibot wrote: {message}", path.display())]
    BadValue {
        doing: &'static str,
        path: PathBuf,
        message: String,
    },
    #[error("no random bytes from the kernel: {0}")]
    Random(getrandom::Error),
    #[error("bot {id} exists already: choose another id, or change it with multibot bot set {id}")]
    BotExists { id: BotId },
    #[error("no bot {id}{}: multibot list shows all", nearest.as_ref().map_or(String::new(), |near| format!(", nearest is {near}")))]
    NoSuchBot { id: BotId, nearest: Option<BotId> },
    #[error("bot {by} holds this token already: give this bot its own, or remove {by} first")]
    TokenTaken { by: BotId },
    #[error("a token cannot be shared, as two bots on one token fight over its messages: give it to one bot")]
    SharedToken,
}

/// The error of a file operation on `path`.
pub(super) fn from_io(doing: &'static str, path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => Error::Denied { doing, path },
        io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly { doing, path },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { doing, path },
        _ => Error::Io { doing, path, source },
    }
}

/// The error of a statement on the database at `path`.
pub(super) fn explain(path: &Path, doing: &'static str, fault: rusqlite::Error) -> Error {
    let path = path.to_owned();
    let code = match &fault {
        rusqlite::Error::SqliteFailure(failure, _) => *failure,
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => {
            let message = fault.to_string();
            return Error::BadValue { doing, path, message };
        }
        _ => {
            let message = fault.to_string();
            return Error::Sqlite { doing, path, message };
        }
    };
    match code.code {
        ErrorCode::NotADatabase => Error::Foreign { path },
        ErrorCode::DatabaseCorrupt => Error::Damaged { path },
        ErrorCode::DiskFull => Error::Full { doing, path },
        // The index of the write-ahead log is the first thing that does not fit on a full disk.
        ErrorCode::SystemIoFailure if code.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Error::Full { doing, path },
        ErrorCode::ReadOnly => Error::ReadOnly { doing, path },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Error::Busy { doing, path },
        ErrorCode::PermissionDenied => Error::Denied { doing, path },
        ErrorCode::CannotOpen => Error::NoJournal { doing, path },
        _ => {
            let message = fault.to_string();
            Error::Sqlite { doing, path, message }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bot::Wanted;
    use crate::model::units::Stamp;
    use crate::store::file::beside;
    use crate::store::{Access, NewBot, Store};
    use rustix::fs::{CWD, FileType, Mode};
    use rustix::thread::set_thread_res_uid;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn home() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("multibot.db");
        (home, path)
    }

    fn add(store: &Store, name: &str, settings_json: &str) -> Result<(), Error> {
        let bot = NewBot {
            id: name.parse().unwrap(),
            platform: None,
            settings_json: settings_json.into(),
            wanted: Wanted::Up,
            token: None,
        };
        store.bots().create(&bot, Stamp(0)).map(|_| ())
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path, access: Access) -> String {
        Store::open(path, access).unwrap_err().to_string()
    }

    /// Runs `work` in a thread to which permissions apply, even where the tests run as root.
    fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let demoted = scope.spawn(|| {
                if rustix::process::geteuid().is_root() {
                    let nobody = rustix::process::Uid::from_raw(65534);
                    set_thread_res_uid(nobody, nobody, nobody).unwrap();
                }
                work()
            });
            demoted.join().unwrap()
        })
    }

    #[test]
    fn what_is_no_database_is_named() {
        let (home, _) = home();
        let folder = home.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let pipe = home.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let short = home.path().join("short");
        fs::write(&short, "hello\n").unwrap();
        let long = home.path().join("long");
        fs::write(&long, "hello\n".repeat(5000)).unwrap();
        let foreign = "is not a database of multibot: move it away or choose another home";
        for (path, expected) in [
            (
                &folder,
                format!(
                    "open {}: it is a folder, a file is expected: move it away or choose another home",
                    folder.display()
                ),
            ),
            (&pipe, format!("{} {foreign}", pipe.display())),
            (&short, format!("{} {foreign}", short.display())),
            (&long, format!("{} {foreign}", long.display())),
        ] {
            assert_eq!(refusal(path, Access::Read), expected);
            assert_eq!(refusal(path, Access::Write), expected);
        }
        let nowhere = home.path().join("missing/multibot.db");
        let expected = format!("create {}: No such file or directory (os error 2)", nowhere.display());
        assert_eq!(refusal(&nowhere, Access::Write), expected);
    }

    #[test]
    fn a_damaged_database_is_named() {
        let (_home, path) = home();
        let store = Store::open(&path, Access::Write).unwrap();
        for n in 0..50 {
            add(&store, &format!("bot-{n}"), &"x".repeat(500)).unwrap();
        }
        drop(store);
        let mut bytes = fs::read(&path).unwrap();
        bytes[4096..].fill(0xAA);
        fs::write(&path, bytes).unwrap();
        let fault = Store::open(&path, Access::Read).and_then(|store| store.bots().list());
        let expected = format!(
            "{} is damaged: restore a copy, or move it and its -wal away and apply your bots again",
            path.display()
        );
        assert_eq!(fault.unwrap_err().to_string(), expected);
    }

    #[test]
    fn what_may_not_be_read_or_created_is_named() {
        let (home, path) = home();
        set_mode(home.path(), 0o755);
        drop(Store::open(&path, Access::Write).unwrap());
        set_mode(&path, 0o000);
        let (read, write) = as_nobody(|| (refusal(&path, Access::Read), refusal(&path, Access::Write)));
        let denied = format!(
            "open {}: permission denied: run multibot as the owner of its home",
            path.display()
        );
        assert_eq!((read, write), (denied.clone(), denied));

        set_mode(home.path(), 0o555);
        let other = home.path().join("other.db");
        let create = as_nobody(|| refusal(&other, Access::Write));
        let denied = format!(
            "create {}: permission denied: run multibot as the owner of its home",
            other.display()
        );
        assert_eq!(create, denied);
        set_mode(home.path(), 0o755);
    }

    #[test]
    fn a_folder_that_is_not_writable_can_be_read() {
        let (home, _) = home();
        let folder = home.path().join("a home?#%20");
        fs::create_dir(&folder).unwrap();
        let path = folder.join("multibot.db");
        let store = Store::open(&path, Access::Write).unwrap();
        add(&store, "shop", "{}").unwrap();
        drop(store);
        set_mode(home.path(), 0o755);
        set_mode(&path, 0o444);
        set_mode(&folder, 0o555);
        let (count, write) = as_nobody(|| {
            let store = Store::open(&path, Access::Read).unwrap();
            (store.bots().count().unwrap(), refusal(&path, Access::Write))
        });
        assert_eq!(count, 1);
        let expected = format!(
            "write in {}: it is read-only: make the file, its folder and its file system writable",
            path.display()
        );
        assert_eq!(write, expected);
        // A file that may be written in a folder that may not: there is no place for a journal.
        set_mode(&path, 0o666);
        assert_eq!(as_nobody(|| refusal(&path, Access::Write)), expected);
        set_mode(&folder, 0o755);
    }

    #[test]
    fn a_journal_that_cannot_be_opened_is_named() {
        let (_home, path) = home();
        drop(Store::open(&path, Access::Write).unwrap());
        fs::create_dir(beside(&path, "-wal")).unwrap();
        for access in [Access::Read, Access::Write] {
            let fault = refusal(&path, access);
            let expected = "cannot open it or the journal beside it: make the folder writable, check ulimit -n";
            assert!(fault.ends_with(expected), "{fault}");
        }
    }

    #[test]
    fn a_full_disk_is_named_and_leaves_what_was_there() {
        let (_home, path) = home();
        let store = Store::open(&path, Access::Write).unwrap();
        add(&store, "shop", "{}").unwrap();
        let pages: Option<u32> = store
            .row("count pages", "PRAGMA page_count", [], |row| row.get(0))
            .unwrap();
        store
            .row(
                "limit",
                &format!("PRAGMA max_page_count = {}", pages.unwrap() + 1),
                [],
                |_| Ok(()),
            )
            .unwrap();
        let fault = add(&store, "large", &"x".repeat(100_000)).unwrap_err();
        let expected = format!(
            "add a bot in {}: the disk is full: free some space and try again",
            path.display()
        );
        assert_eq!(fault.to_string(), expected);
        add(&store, "small", "{}").unwrap();
        assert_eq!(store.bots().count().unwrap(), 2);
    }
}
