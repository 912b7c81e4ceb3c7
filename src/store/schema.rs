//! The schema's versions and the way from each to the next.
//!
//! Append-only: a migration that was released is never edited, and adds without taking away, so that
//! the previous release still opens what this one wrote. Only a new major version may break that.

use std::fmt;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::error::from_io;
use super::file::{beside, sync_folder};
use super::{Error, Store};

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

/// Ascending; the last one is the newest schema.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: Version(1000),
        sql: FIRST,
    },
    Migration {
        version: Version(1001),
        sql: ALERTS,
    },
    Migration {
        version: Version(1002),
        sql: HISTORY,
    },
    Migration {
        version: Version(1003),
        sql: "ALTER TABLE alerts ADD COLUMN told_level TEXT",
    },
];

const ALERTS: &str = "
CREATE TABLE alerts (
    id TEXT NOT NULL PRIMARY KEY,
    rule TEXT NOT NULL,
    bot TEXT,
    level TEXT NOT NULL,
    text TEXT NOT NULL,
    raised_at BIGINT NOT NULL,
    recovered_at BIGINT,
    reminded_at BIGINT,
    told TEXT NOT NULL,
    acked_at BIGINT,
    acked_by TEXT
);
CREATE INDEX alerts_by_time ON alerts (raised_at);
CREATE TABLE alert_silences (
    id INTEGER PRIMARY KEY,
    bot TEXT,
    rule TEXT,
    until BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    reason TEXT
);
";

const FIRST: &str = "
CREATE TABLE bot_configs (
    id TEXT NOT NULL PRIMARY KEY,
    bot_index BIGINT NOT NULL UNIQUE,
    platform TEXT,
    settings TEXT NOT NULL,
    wanted TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE TABLE credentials (
    bot TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    digest TEXT UNIQUE,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (bot, name)
);
CREATE TABLE process_events (
    id INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    bot TEXT NOT NULL,
    run_id TEXT,
    name TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX process_events_by_bot ON process_events (bot, id);
CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    bot TEXT,
    detail TEXT NOT NULL
);
CREATE INDEX audit_log_by_bot ON audit_log (bot, id);
CREATE TABLE blocklist (
    bot TEXT NOT NULL,
    target TEXT NOT NULL,
    reason TEXT NOT NULL,
    blocked_at BIGINT NOT NULL,
    until BIGINT,
    failures BIGINT NOT NULL,
    PRIMARY KEY (bot, target)
);
CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
";

/// Rows of one time lie together: they are written, summed up and dropped by time. Figures are whole numbers, as
/// those take one to four bytes. `process_health` is what a dashboard asks for: every pass of the last hour, and
/// before that a row a minute for a day. Its times are text in UTC as SQLite's own date functions write it, so
/// that they compare with `datetime('now', '-1 hour')`. The states are those of `metrics::STATES`.
const HISTORY: &str = "
CREATE TABLE process_metrics (
    resolution BIGINT NOT NULL,
    at BIGINT NOT NULL,
    bot TEXT NOT NULL,
    status BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    wanted BIGINT NOT NULL,
    up BIGINT NOT NULL,
    measured BIGINT NOT NULL,
    memory_bytes BIGINT,
    memory_max BIGINT,
    cpu_permille BIGINT,
    cpu_permille_max BIGINT,
    uptime_s BIGINT,
    connections BIGINT,
    open_files BIGINT,
    threads BIGINT,
    processes BIGINT,
    queue BIGINT,
    messages_in BIGINT NOT NULL,
    messages_done BIGINT NOT NULL,
    messages_out BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    restarts BIGINT NOT NULL,
    done_p50_ms BIGINT,
    done_p95_ms BIGINT,
    PRIMARY KEY (resolution, at, bot)
) WITHOUT ROWID;
CREATE VIEW process_health AS
SELECT bot AS process_name,
    CASE status
        WHEN 0 THEN 'adopting' WHEN 1 THEN 'stopped' WHEN 2 THEN 'starting' WHEN 3 THEN 'running'
        WHEN 4 THEN 'unhealthy' WHEN 5 THEN 'stopping' WHEN 6 THEN 'backoff' WHEN 7 THEN 'failed'
        WHEN 8 THEN 'held' END AS status,
    ROUND(memory_bytes / 1048576.0, 1) AS memory_usage_mb,
    uptime_s AS uptime_seconds,
    connections AS active_connections,
    strftime('%Y-%m-%d %H:%M:%S', at / 1000, 'unixepoch') AS timestamp
FROM process_metrics
WHERE resolution = 0 AND at >= (SELECT MAX(at) FROM process_metrics WHERE resolution = 0) - 3600000
UNION ALL
SELECT bot,
    CASE status
        WHEN 0 THEN 'adopting' WHEN 1 THEN 'stopped' WHEN 2 THEN 'starting' WHEN 3 THEN 'running'
        WHEN 4 THEN 'unhealthy' WHEN 5 THEN 'stopping' WHEN 6 THEN 'backoff' WHEN 7 THEN 'failed'
        WHEN 8 THEN 'held' END,
    ROUND(memory_bytes / 1048576.0, 1),
    uptime_s,
    connections,
    strftime('%Y-%m-%d %H:%M:%S', at / 1000, 'unixepoch')
FROM process_metrics
WHERE resolution = 60
    AND at >= (SELECT MAX(at) FROM process_metrics WHERE resolution = 0) - 86400000
    AND at < (SELECT MAX(at) FROM process_metrics WHERE resolution = 0) - 3600000;
";

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
mod tests {
    use super::*;
    use crate::model::bot::{BotId, Secret, Wanted};
    use crate::model::units::Stamp;
    use crate::store::{Access, BlockedCounts};
    use rusqlite::Connection;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// A database that schema 1.0 wrote, as SQL.
    const GOLDEN: &str = include_str!("../../tests/golden/store-v1.sql");

    const ONE: Migration = Migration {
        version: Version(1000),
        sql: "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT); CREATE TABLE one (x TEXT);",
    };
    const TWO: Migration = Migration {
        version: Version(1001),
        sql: "ALTER TABLE one ADD COLUMN y TEXT; UPDATE one SET y = 'new';",
    };
    const THREE: Migration = Migration {
        version: Version(1002),
        sql: "CREATE TABLE three (x TEXT);",
    };
    const BROKEN: Migration = Migration {
        version: Version(1002),
        sql: "CREATE TABLE three (x TEXT); INSERT INTO nowhere VALUES (1);",
    };
    const MAJOR: Migration = Migration {
        version: Version(2000),
        sql: "DROP TABLE one;",
    };

    fn home() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("multibot.db");
        (home, path)
    }

    fn write(path: &Path, sql: &str) {
        Connection::open(path).unwrap().execute_batch(sql).unwrap();
    }

    fn text(path: &Path, sql: &str) -> String {
        let conn = Connection::open(path).unwrap();
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn schema(path: &Path) -> String {
        text(
            path,
            "SELECT group_concat(sql, char(10)) FROM (SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name)",
        )
    }

    #[test]
    fn versions_ascend_and_are_shown_with_a_dot() {
        assert!(MIGRATIONS.windows(2).all(|pair| pair[0].version < pair[1].version));
        assert!(MIGRATIONS.iter().all(|step| step.version.major() >= 1));
        assert_eq!(Version(1000).to_string(), "1.0");
        assert_eq!(Version(2013).to_string(), "2.13");
    }

    #[test]
    fn a_missing_database_gets_the_newest_schema() {
        let (_home, path) = home();
        Store::open_as(&path, Access::Write, &[ONE, TWO, THREE]).unwrap();
        assert_eq!(
            text(&path, "SELECT name FROM pragma_table_info('one') WHERE cid = 1"),
            "y"
        );
        assert_eq!(
            text(&path, "SELECT CAST(user_version AS TEXT) FROM pragma_user_version"),
            "1002"
        );
    }

    #[test]
    fn an_older_schema_is_refused_until_it_is_migrated_with_a_copy() {
        let (_home, path) = home();
        Store::open_as(&path, Access::Write, &[ONE]).unwrap();
        write(&path, "INSERT INTO one VALUES ('kept')");
        let all = [ONE, TWO, THREE];
        for access in [Access::Read, Access::Write, Access::History] {
            let refused = Store::open_as(&path, access, &all).unwrap_err().to_string();
            assert_eq!(
                refused,
                format!(
                    "{} has schema 1.0, this multibot needs 1.2: run multibot start or multibot upgrade",
                    path.display()
                )
            );
        }
        // A copy that a crash left half made is in nobody's way, nor is one from an earlier try.
        fs::write(beside(&path, ".v1.0.bak.tmp"), "half").unwrap();
        fs::write(beside(&path, ".v1.0.bak"), "earlier").unwrap();
        let upgrade = Store::migrate_as(&path, &all).unwrap().unwrap();
        assert_eq!((upgrade.from, upgrade.to), (Version(1000), Version(1002)));
        assert_eq!(upgrade.backup, beside(&path, ".v1.0.bak"));
        assert_eq!(text(&path, "SELECT x || y FROM one"), "keptnew");
        assert_eq!(text(&upgrade.backup, "SELECT x FROM one"), "kept");
        assert!(!schema(&upgrade.backup).contains("three"));
        let mode = fs::metadata(&upgrade.backup).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!beside(&path, ".v1.0.bak.tmp").exists());
        Store::open_as(&path, Access::Read, &all).unwrap();
        assert_eq!(Store::migrate_as(&path, &all).unwrap(), None);
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let (_home, path) = home();
        Store::open_as(&path, Access::Write, &[ONE]).unwrap();
        let before = schema(&path);
        let failed = Store::migrate_as(&path, &[ONE, TWO, BROKEN]).unwrap_err().to_string();
        assert!(failed.contains("change the schema"), "{failed}");
        assert_eq!(schema(&path), before);
        Store::open_as(&path, Access::Write, &[ONE]).unwrap();
    }

    #[test]
    fn migrating_nothing_creates_it() {
        let (_home, path) = home();
        assert_eq!(Store::migrate(&path).unwrap(), None);
        assert_eq!(Store::open(&path, Access::Read).unwrap().bots().count().unwrap(), 0);
    }

    #[test]
    fn a_newer_minor_opens_and_a_newer_major_does_not() {
        let (_home, path) = home();
        Store::open_as(&path, Access::Write, &[ONE, TWO]).unwrap();
        for access in [Access::Read, Access::Write, Access::History] {
            Store::open_as(&path, access, &[ONE]).unwrap();
        }
        assert_eq!(Store::migrate_as(&path, &[ONE]).unwrap(), None);
        Store::migrate_as(&path, &[ONE, TWO, MAJOR]).unwrap();
        let refused = [
            Store::open_as(&path, Access::Read, &[ONE]).unwrap_err(),
            Store::open_as(&path, Access::Write, &[ONE]).unwrap_err(),
            Store::migrate_as(&path, &[ONE]).unwrap_err(),
        ];
        for fault in refused {
            assert_eq!(
                fault.to_string(),
                format!(
                    "{} has schema 2.0, this multibot knows 1.0: install the newer multibot that wrote it",
                    path.display()
                )
            );
        }
    }

    #[test]
    fn a_database_of_another_program_is_left_as_it_is() {
        for sql in [
            "CREATE TABLE notes (x)",
            "CREATE TABLE notes (x); PRAGMA user_version = 7",
        ] {
            let (_home, path) = home();
            write(&path, sql);
            let before = fs::read(&path).unwrap();
            for access in [Access::Read, Access::Write] {
                let refused = Store::open(&path, access).unwrap_err();
                assert!(matches!(refused, Error::Foreign { .. }), "{refused}");
            }
            assert!(matches!(Store::migrate(&path).unwrap_err(), Error::Foreign { .. }));
            assert_eq!(fs::read(&path).unwrap(), before);
        }
    }

    #[test]
    fn what_schema_1_wrote_is_still_read() {
        let (_home, path) = home();
        write(&path, GOLDEN);
        assert!(Store::open(&path, Access::Read).is_ok() || Store::migrate(&path).unwrap().is_some());
        let store = Store::open(&path, Access::Write).unwrap();
        assert_eq!(store.home_id().unwrap(), "00112233445566778899aabbccddeeff");

        let shop: BotId = "shop".parse().unwrap();
        let list = store.bots().list().unwrap();
        let ids: Vec<&str> = list.iter().map(|bot| bot.id.as_str()).collect();
        assert_eq!(ids, ["shop", "rave@mesh-1"]);
        assert_eq!(list[0].settings_json, r#"{"command":["python3","/srv/shop.py"]}"#);
        assert_eq!((list[0].wanted, list[0].has_token), (Wanted::Up, true));
        assert_eq!(
            (list[1].index, list[1].wanted, list[1].has_token),
            (2, Wanted::Down, false)
        );
        assert_eq!(list[0].created_at, Stamp::from_unix_ms(1_700_000_000_000));
        assert_eq!(list[0].updated_at, Stamp::from_unix_ms(1_700_000_001_000));

        // The digest is computed as it was, so the token is still known.
        let token = Secret::new("123456:golden".into());
        assert_eq!(store.credentials().token(&shop).unwrap().as_ref(), Some(&token));
        let taken = store
            .credentials()
            .set_token(&"rave@mesh-1".parse().unwrap(), Some(&token), Stamp(0))
            .unwrap_err();
        assert!(matches!(taken, Error::TokenTaken { by } if by == shop));

        let facts = store.events().recent(Some(&shop), 10).unwrap();
        let names: Vec<&str> = facts.iter().map(|fact| fact.name.as_str()).collect();
        assert_eq!(names, ["starting", "running"]);
        assert_eq!(facts[0].run.as_ref().unwrap().as_str(), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
        assert_eq!(facts[1].run, None);
        assert_eq!(store.audit().recent(None, 10).unwrap()[0].action, "bot create");
        let counts = store
            .blocklist()
            .counts(Stamp::from_unix_ms(1_700_000_000_000))
            .unwrap();
        assert_eq!(
            counts,
            BlockedCounts {
                blocked: 2,
                permanent: 1
            }
        );
    }

    #[test]
    fn a_database_that_was_migrated_has_the_schema_of_a_new_one() {
        let (_home, path) = home();
        let (_other_home, new) = home();
        write(&path, GOLDEN);
        Store::migrate(&path).unwrap().unwrap();
        Store::open(&new, Access::Write).unwrap();
        assert_eq!(schema(&path), schema(&new));
        assert!(schema(&new).contains("VIEW process_health"));
    }

    #[test]
    fn the_first_migration_is_as_it_was_released() {
        let (_home, path) = home();
        let (_other_home, golden) = home();
        write(&path, MIGRATIONS[0].sql);
        write(&golden, GOLDEN);
        assert_eq!(schema(&path), schema(&golden));
    }
}
