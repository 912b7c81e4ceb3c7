//! The schema's versions and the way from each to the next.
//!
//! Append-only: a migration that was released is never edited, and adds without taking away, so that
//! the previous release still opens what this one wrote. Only a new major version may break that.

mod migrations;

use std::fmt;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::error::from_io;
use super::file::{beside, sync_folder};
use super::{Error, Store};

pub(super) use migrations::MIGRATIONS;

/// A version of the schema, major * 1000 + minor, as SQLite's `user_version` holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(i64);

impl Version {
    /// Who knows this major can read the schema: minor steps only add.
    pub(super) fn major(self) -> i64 {
        self.0 / 1000
    }

    pub(super) fn parse(text: &str) -> Option<Version> {
        let (major, minor) = text.split_once('.')?;
        Some(Version(major.parse::<i64>().ok()? * 1000 + minor.parse::<i64>().ok()?))
    }
}

/// `1.0`
impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.major(), self.0 % 1000)
    }
}

/// A migration that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    pub from: Version,
    pub to: Version,
    /// The copy of the database as it was.
    pub backup: PathBuf,
}

/// The step that leads to `version` from the one before it in the list.
#[derive(Clone)]
pub(super) struct Migration {
    version: Version,
    sql: &'static str,
}

/// The steps that this program knows.
#[cfg(not(debug_assertions))]
pub(super) fn migrations() -> &'static [Migration] {
    MIGRATIONS
}

/// The steps that this program knows. A build for tests can play the release after this one, and what may
/// go wrong with it: by the name of its file, so that each program that a process becomes is its own.
#[cfg(debug_assertions)]
pub(super) fn migrations() -> &'static [Migration] {
    static KNOWN: std::sync::LazyLock<Vec<Migration>> = std::sync::LazyLock::new(|| {
        let program = fs::read_link("/proc/self/exe").unwrap_or_default();
        let newest = newest(MIGRATIONS).0;
        let (version, sql) = match program.file_name().and_then(|name| name.to_str()) {
            Some("multibot-next-minor") => (newest + 1, "CREATE TABLE rehearsal (x TEXT);"),
            Some("multibot-next-major") => ((newest / 1000 + 1) * 1000, "CREATE TABLE rehearsal (x TEXT);"),
            Some("multibot-next-lossy") => ((newest / 1000 + 1) * 1000, "DROP TABLE blocklist;"),
            Some("multibot-next-broken") => (newest + 1, "INSERT INTO nowhere VALUES (1);"),
            Some("multibot-next-stuck") => (
                newest + 1,
                "CREATE TABLE rehearsal AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) \
                 SELECT COUNT(*) FROM n;",
            ),
            _ => return MIGRATIONS.to_vec(),
        };
        let version = Version(version);
        MIGRATIONS.iter().cloned().chain([Migration { version, sql }]).collect()
    });
    &KNOWN
}

/// The version that the file says it has; 0 where nobody has written one.
pub(super) fn version(store: &Store) -> Result<Version, Error> {
    let found = store.row("read the schema version", "PRAGMA user_version", [], |row| row.get(0))?;
    Ok(Version(found.unwrap_or(0)))
}

/// Gives a database without any table the newest schema, a home id and a key for token digests.
pub(super) fn create_if_empty(store: &Store, migrations: &[Migration]) -> Result<(), Error> {
    if version(store)? != Version(0) {
        return Ok(());
    }
    // Only an empty file takes it: its free pages can be given back without writing all of it anew.
    store.batch("create the database", "PRAGMA auto_vacuum = INCREMENTAL")?;
    store.transaction(|store| {
        // Another program may have been faster.
        if version(store)? != Version(0) || has_tables(store)? {
            return Ok(());
        }
        apply(store, migrations, Version(0))?;
        for (key, bytes) in [("home_id", 16), ("token_key", 32)] {
            let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2)";
            store.execute("fill meta", sql, [key, random_hex(bytes)?.as_str()])?;
        }
        Ok(())
    })
}

/// Refuses a database that this program must not use as it is.
pub(super) fn check(store: &Store, migrations: &[Migration]) -> Result<(), Error> {
    let newest = newest(migrations);
    let found = known(store, newest)?;
    if found < newest {
        let path = store.path().to_owned();
        return Err(Error::Older { path, found, newest });
    }
    Ok(())
}

/// Applies what is missing, after a copy.
pub(super) fn migrate(store: &Store, migrations: &[Migration]) -> Result<Option<Upgrade>, Error> {
    let to = newest(migrations);
    let from = known(store, to)?;
    if from >= to {
        return Ok(None);
    }
    let backup = back_up(store, from)?;
    store.transaction(|store| apply(store, migrations, from))?;
    Ok(Some(Upgrade { from, to, backup }))
}

pub(super) fn newest(migrations: &[Migration]) -> Version {
    migrations.last().map_or(Version(0), |last| last.version)
}

/// The version of a database that is multibot's and no newer than this program can read.
pub(super) fn known(store: &Store, newest: Version) -> Result<Version, Error> {
    let mut found = version(store)?;
    let path = store.path().to_owned();
    if found == Version(0) {
        if !has_tables(store)? {
            return Err(Error::Missing { path });
        }
        // Another program may have created all of it between the two looks.
        found = version(store)?;
    }
    if found.major() < 1 {
        return Err(Error::Foreign { path });
    }
    if found.major() > newest.major() {
        return Err(Error::Newer { path, found, newest });
    }
    Ok(found)
}

fn has_tables(store: &Store) -> Result<bool, Error> {
    let count = store.row("read the schema", "SELECT COUNT(*) FROM sqlite_schema", [], |row| {
        row.get::<_, i64>(0)
    })?;
    Ok(count != Some(0))
}

fn apply(store: &Store, migrations: &[Migration], after: Version) -> Result<(), Error> {
    for step in migrations.iter().filter(|step| step.version > after) {
        store.batch("change the schema", step.sql)?;
        store.batch(
            "write the schema version",
            &format!("PRAGMA user_version = {}", step.version.0),
        )?;
    }
    Ok(())
}

/// Copies the database to `<path>.v<from>.bak`, in place of an older copy of that version. The copy
/// appears under its name only when it is complete.
fn back_up(store: &Store, from: Version) -> Result<PathBuf, Error> {
    let doing = "back up";
    let backup = beside(store.path(), &format!(".v{from}.bak"));
    let draft = beside(&backup, ".tmp");
    let failed = |source| from_io(doing, &draft, source);
    if draft.exists() {
        fs::remove_file(&draft).map_err(failed)?;
    }
    let mut options = fs::OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed)?;
    let name = draft
        .to_str()
        .ok_or_else(|| failed(std::io::ErrorKind::InvalidFilename.into()))?;
    store.execute(doing, "VACUUM INTO ?1", [name])?;
    file.sync_all().map_err(failed)?;
    fs::rename(&draft, &backup).map_err(failed)?;
    sync_folder(&backup)?;
    Ok(backup)
}

fn random_hex(bytes: usize) -> Result<String, Error> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(Error::Random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
