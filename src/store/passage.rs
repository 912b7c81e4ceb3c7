//! What a change of the program means for the database: whether the next one can use it, and how the
//! previous one gets it back.
//!
//! A schema says by its major version who can read it: every program of the same major, older or newer.
//! So the way back needs nothing after a minor step, and the copy that the step made after a major one.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::from_io;
use super::file::{beside, sync_folder};
use super::schema::{self, Version};
use super::{Error, Store};

/// What opening a database would do to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    pub found: Version,
    pub newest: Version,
}

impl Outlook {
    /// The program that wrote it could not read it any more.
    pub fn breaks(&self) -> bool {
        self.newest.major() > self.found.major()
    }
}

impl Store {
    /// Looks at a database without changing it. One that this program cannot use is an error.
    pub fn outlook(path: &Path) -> Result<Outlook, Error> {
        let store = Store::connect_reader(path)?;
        let newest = schema::newest(schema::migrations());
        let found = schema::known(&store, newest)?;
        Ok(Outlook { found, newest })
    }

    /// Puts the copy in place that was made before a later program changed the schema beyond what this
    /// one can read; what that program wrote is set aside beside it. None where nothing is in the way.
    /// The caller holds the supervisor's lock, and no connection is open in this process.
    pub fn take_back(path: &Path) -> Result<Option<PathBuf>, Error> {
        take_back(path, schema::newest(schema::migrations()))
    }
}

fn take_back(path: &Path, newest: Version) -> Result<Option<PathBuf>, Error> {
    let found = {
        let store = Store::connect_reader(path)?;
        schema::version(&store)?
    };
    if found.major() <= newest.major() {
        return Ok(None);
    }
    let doing = "take back";
    let newer = || Error::Newer {
        path: path.to_owned(),
        found,
        newest,
    };
    let copy = copies(path)
        .into_iter()
        .filter(|(version, _)| version.major() == newest.major())
        .max_by_key(|(version, _)| *version)
        .map(|(_, copy)| copy)
        .ok_or_else(newer)?;
    let failed = |source| from_io(doing, path, source);
    let draft = beside(path, ".back.tmp");
    fs::copy(&copy, &draft).map_err(failed)?;
    fs::File::open(&draft)
        .and_then(|file| file.sync_all())
        .map_err(failed)?;
    let aside = beside(path, &format!(".v{found}.bak"));
    for suffix in ["-wal", "-shm", ""] {
        let from = beside(path, suffix);
        if from.exists() {
            fs::rename(&from, beside(&aside, suffix)).map_err(failed)?;
        }
    }
    fs::rename(&draft, path).map_err(failed)?;
    sync_folder(path)?;
    Ok(Some(aside))
}

/// The copies that migrations have made, by the version that they hold.
fn copies(path: &Path) -> Vec<(Version, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| {
        let file = entry.file_name();
        let version = file
            .to_str()?
            .strip_prefix(name)?
            .strip_prefix(".v")?
            .strip_suffix(".bak")?;
        Some((Version::parse(version)?, entry.path()))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    fn write(path: &Path, sql: &str) {
        Connection::open(path).unwrap().execute_batch(sql).unwrap();
    }

    #[test]
    fn the_newest_copy_that_this_program_can_read_comes_back() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("multibot.db");
        let newest = Version::parse("1.1").unwrap();
        for (suffix, text) in [(".v1.0.bak", "old"), (".v1.1.bak", "right"), (".v3.0.bak", "later")] {
            write(
                &beside(&path, suffix),
                &format!("CREATE TABLE t (x); INSERT INTO t VALUES ('{text}'); PRAGMA user_version = 1001"),
            );
        }
        write(
            &path,
            "PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES ('new'); PRAGMA user_version = 2000",
        );
        let aside = take_back(&path, newest).unwrap().unwrap();
        let held = |path: &Path| -> String {
            let conn = Connection::open(path).unwrap();
            conn.query_row("SELECT x FROM t", [], |row| row.get(0)).unwrap()
        };
        assert_eq!((held(&path), held(&aside)), ("right".to_owned(), "new".to_owned()));
        assert_eq!(aside, beside(&path, ".v2.0.bak"));
        assert_eq!(take_back(&path, newest).unwrap(), None);
    }

    #[test]
    fn without_a_copy_nothing_is_touched() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("multibot.db");
        write(&path, "CREATE TABLE t (x); PRAGMA user_version = 2000");
        let before = fs::read(&path).unwrap();
        let refused = take_back(&path, Version::parse("1.0").unwrap()).unwrap_err();
        assert!(matches!(refused, Error::Newer { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}
