//! Opens `multibot.db` and runs statements and transactions on it.
//!
//! Invariants: what `change` wrote survives a power loss; a transaction that fails leaves nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, Params, Row};

use super::error::explain;
use super::file::{create_file, has_journal, immutable_uri, inspect};
use super::schema::{self, Migration, Upgrade};
use super::{Alerts, Audit, Blocklist, Bots, Credentials, Error, Events, Holds, Metrics, People};
use crate::model::bot::BotId;

/// Two writers need milliseconds each; who waits longer than this has met a stuck program.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Size to which the write-ahead log is cut when it begins anew: a few times what it has between two checkpoints.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Each attempt waits for the writer that was in the way, so a few outlast any crowd.
const WAL_ATTEMPTS: u32 = 20;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Creates no database and changes none; works in a folder that is not writable, as long as no
    /// journal waits there to be recovered.
    Read,
    /// Configuration, wanted, credentials and audit: what was committed survives a power loss.
    Write,
    /// Events and the course of alerts: a power loss may cost the last ones, a crash of the program none.
    History,
}

/// One connection to `multibot.db`. It may move to another thread, two threads need two.
#[derive(Debug)]
pub struct Store {
    conn: Connection,
    path: PathBuf,
    access: Access,
}

impl Store {
    /// Opens the database. Who opens a missing or empty one for writing creates it with mode 0600
    /// and the newest schema; two that do so at once make one database. An older schema is refused.
    pub fn open(path: &Path, access: Access) -> Result<Store, Error> {
        Store::open_as(path, access, schema::migrations())
    }

    /// Brings the schema up to date and tells what was done, None where nothing was to do. Makes a
    /// copy `multibot.db.v<old>.bak` first. The caller holds the supervisor's lock.
    pub fn migrate(path: &Path) -> Result<Option<Upgrade>, Error> {
        Store::migrate_as(path, schema::migrations())
    }

    /// Runs `work` as one transaction: all of its writes happen, or none when it returns an error.
    /// The writes of the other functions join it.
    pub fn transaction<T, E: From<Error>>(&self, work: impl FnOnce(&Store) -> Result<T, E>) -> Result<T, E> {
        assert!(self.access != Access::Read, "a write on a connection for reading");
        let (begin, commit, undo) = if self.conn.is_autocommit() {
            ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
        } else {
            ("SAVEPOINT part", "RELEASE part", "ROLLBACK TO part; RELEASE part")
        };
        self.batch("begin a transaction", begin)?;
        let outcome = work(self).and_then(|value| {
            self.batch("commit", commit)?;
            Ok(value)
        });
        if outcome.is_err() {
            // After a fault such as a full disk SQLite has undone everything itself, and says so here.
            let _ = self.conn.execute_batch(undo);
        }
        outcome
    }

    /// The random id that the home got when its database was created.
    pub fn home_id(&self) -> Result<String, Error> {
        self.meta("home_id")
    }

    pub fn bots(&self) -> Bots<'_> {
        Bots { store: self }
    }

    pub fn credentials(&self) -> Credentials<'_> {
        Credentials { store: self }
    }

    pub fn events(&self) -> Events<'_> {
        Events { store: self }
    }

    pub fn metrics(&self) -> Metrics<'_> {
        Metrics { store: self }
    }

    pub fn alerts(&self) -> Alerts<'_> {
        Alerts { store: self }
    }

    pub fn audit(&self) -> Audit<'_> {
        Audit { store: self }
    }

    pub fn blocklist(&self) -> Blocklist<'_> {
        Blocklist { store: self }
    }

    /// Who may do what in chats.
    pub fn people(&self) -> People<'_> {
        People { store: self }
    }

    pub fn holds(&self) -> Holds<'_> {
        Holds { store: self }
    }
}

/// What the table files and the schema build on.
impl Store {
    pub(super) fn open_as(path: &Path, access: Access, migrations: &[Migration]) -> Result<Store, Error> {
        if access == Access::Read {
            let store = Store::connect_reader(path)?;
            schema::check(&store, migrations)?;
            return Ok(store);
        }
        let store = Store::connect_writer(path, access)?;
        schema::create_if_empty(&store, migrations)?;
        // Before the log: a file of another program stays as it is.
        schema::check(&store, migrations)?;
        store.use_wal()?;
        Ok(store)
    }

    pub(super) fn migrate_as(path: &Path, migrations: &[Migration]) -> Result<Option<Upgrade>, Error> {
        let store = Store::connect_writer(path, Access::Write)?;
        schema::create_if_empty(&store, migrations)?;
        let upgrade = schema::migrate(&store, migrations)?;
        store.use_wal()?;
        Ok(upgrade)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All rows of a query.
    pub(super) fn rows<T>(
        &self,
        doing: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let query = || {
            self.conn
                .prepare_cached(sql)?
                .query_map(params, read)?
                .collect::<rusqlite::Result<Vec<T>>>()
        };
        query().map_err(|fault| self.explain(doing, fault))
    }

    /// The first row of a query.
    pub(super) fn row<T>(
        &self,
        doing: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        Ok(self.rows(doing, sql, params, read)?.into_iter().next())
    }

    /// Changes what must survive a power loss; returns the number of rows.
    pub(super) fn change(&self, doing: &'static str, sql: &str, params: impl Params) -> Result<usize, Error> {
        assert!(
            self.access == Access::Write,
            "{doing} on a connection that is not for configuration"
        );
        self.execute(doing, sql, params)
    }

    /// Changes what a power loss may cost; returns the number of rows.
    pub(super) fn execute(&self, doing: &'static str, sql: &str, params: impl Params) -> Result<usize, Error> {
        let mut statement = self
            .conn
            .prepare_cached(sql)
            .map_err(|fault| self.explain(doing, fault))?;
        statement.execute(params).map_err(|fault| self.explain(doing, fault))
    }

    /// Runs statements that have neither parameters nor results.
    pub(super) fn batch(&self, doing: &'static str, sql: &str) -> Result<(), Error> {
        self.conn.execute_batch(sql).map_err(|fault| self.explain(doing, fault))
    }

    /// A value that creation put into `meta`.
    pub(super) fn meta(&self, key: &'static str) -> Result<String, Error> {
        let doing = "read meta";
        let value = self.row(doing, "SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))?;
        value.ok_or_else(|| Error::BadValue {
            doing,
            path: self.path.clone(),
            message: format!("{key} is missing"),
        })
    }

    pub(super) fn connect_reader(path: &Path) -> Result<Store, Error> {
        inspect(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let first = Store::connect(path, path, flags, Access::Read);
        match first.and_then(|store| schema::version(&store).map(|_| store)) {
            // Without a journal the file is complete, and can be read although SQLite can place no
            // lock: in a read-only folder, or on a full disk.
            Err(Error::NoJournal { .. } | Error::ReadOnly { .. } | Error::Full { .. }) if !has_journal(path) => {
                let flags = flags | OpenFlags::SQLITE_OPEN_URI;
                Store::connect(path, &immutable_uri(path), flags, Access::Read)
            }
            other => other,
        }
    }

    fn connect_writer(path: &Path, access: Access) -> Result<Store, Error> {
        create_file(path)?;
        inspect(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Store::connect(path, path, flags, access)?;
        let doing = "write";
        // SQLite opens what it may not write for reading only, and fails at the first write.
        if store
            .conn
            .is_readonly("main")
            .map_err(|fault| store.explain(doing, fault))?
        {
            let path = path.to_owned();
            return Err(Error::ReadOnly { doing, path });
        }
        // History is deleted by the hour, and holds no token.
        let (synchronous, secure_delete) = if access == Access::History {
            ("NORMAL", "FAST")
        } else {
            ("FULL", "ON")
        };
        // Overwritten pages keep nothing of a token that was replaced.
        store.batch(
            doing,
            &format!(
                "PRAGMA synchronous = {synchronous}; PRAGMA secure_delete = {secure_delete}; \
                 PRAGMA journal_size_limit = {LOG_BYTES_MAX}"
            ),
        )?;
        Ok(store)
    }

    fn connect(path: &Path, address: &Path, flags: OpenFlags, access: Access) -> Result<Store, Error> {
        let explained = |fault| explain(path, "open", fault);
        let conn = Connection::open_with_flags(address, flags).map_err(explained)?;
        conn.busy_timeout(BUSY_TIMEOUT).map_err(explained)?;
        Ok(Store {
            conn,
            path: path.to_owned(),
            access,
        })
    }

    /// Switches to the write-ahead log, which stays on for good. A file system that cannot share
    /// memory keeps the rollback journal: slower and as safe.
    fn use_wal(&self) -> Result<(), Error> {
        let doing = "switch to the write-ahead log";
        let mut outcome = Ok(());
        for _ in 0..WAL_ATTEMPTS {
            outcome = self.row(doing, "PRAGMA journal_mode = WAL", [], |_| Ok(())).map(|_| ());
            match &outcome {
                // The switch does not wait for a lock by itself; a transaction does.
                Err(Error::Busy { .. }) => self.batch(doing, "BEGIN IMMEDIATE; ROLLBACK")?,
                Ok(()) | Err(_) => break,
            }
        }
        outcome
    }

    fn explain(&self, doing: &'static str, fault: rusqlite::Error) -> Error {
        explain(&self.path, doing, fault)
    }
}

/// The bot id in a column.
pub(super) fn bot_id(row: &Row<'_>, index: usize) -> rusqlite::Result<BotId> {
    let text: String = row.get(index)?;
    text.parse().map_err(|why| bad_value(index, why))
}

/// The fault of a column that holds a text which means nothing here.
pub(super) fn bad_value(index: usize, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, why.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bot::Wanted;
    use crate::model::units::Stamp;
    use crate::store::NewBot;
    use crate::store::file::beside;
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

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn refusal(path: &Path, access: Access) -> String {
        Store::open(path, access).unwrap_err().to_string()
    }

    fn pragma(store: &Store, name: &str) -> String {
        let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
        store.row("read a pragma", &sql, [], |row| row.get(0)).unwrap().unwrap()
    }

    #[test]
    fn a_store_may_move_to_another_thread() {
        fn movable<T: Send>() {}
        movable::<Store>();
    }

    #[test]
    fn a_created_database_is_private_and_keeps_a_durable_journal() {
        let (_home, path) = home();
        let store = Store::open(&path, Access::Write).unwrap();
        add(&store, "shop", "{}").unwrap();
        assert_eq!(mode(&path), 0o600);
        for journal in ["-wal", "-shm"] {
            assert_eq!(mode(&beside(&path, journal)), 0o600, "{journal}");
        }
        let history = Store::open(&path, Access::History).unwrap();
        assert_eq!(
            (pragma(&store, "synchronous"), pragma(&history, "synchronous")),
            ("2".into(), "1".into())
        );
        assert_eq!(pragma(&store, "journal_mode"), "wal");
        assert_eq!(store.home_id().unwrap().len(), 32);
        let (_other_home, other) = home_with_store();
        assert_ne!(store.home_id().unwrap(), other.home_id().unwrap());
    }

    fn home_with_store() -> (tempfile::TempDir, Store) {
        let (home, path) = home();
        (home, Store::open(&path, Access::Write).unwrap())
    }

    #[test]
    fn an_empty_file_is_filled_and_a_reader_creates_nothing() {
        let (_home, path) = home();
        let missing = format!(
            "no database at {}: multibot start or multibot bot create makes one",
            path.display()
        );
        assert_eq!(refusal(&path, Access::Read), missing);
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert_eq!(refusal(&path, Access::Read), missing);
        Store::open(&path, Access::Write).unwrap();
        Store::open(&path, Access::Read).unwrap();
    }

    #[test]
    fn many_who_create_at_once_make_one_database() {
        for _ in 0..10 {
            let (_home, path) = home();
            let start = std::sync::Barrier::new(8);
            let open = &|n: usize| {
                start.wait();
                let store = Store::open(&path, Access::Write).unwrap();
                add(&store, &format!("bot-{n}"), "{}").unwrap();
                store.home_id().unwrap()
            };
            let ids: Vec<String> = std::thread::scope(|scope| {
                let open = |n| scope.spawn(move || open(n));
                let threads: Vec<_> = (0..8).map(open).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
            let store = Store::open(&path, Access::Read).unwrap();
            assert_eq!(store.bots().count().unwrap(), 8);
        }
    }

    #[test]
    fn a_lock_that_stays_is_named_and_readers_do_not_mind_it() {
        let (home, store) = home_with_store();
        let path = home.path().join("multibot.db");
        let other = Store::open(&path, Access::Write).unwrap();
        other.conn.busy_timeout(Duration::ZERO).unwrap();
        let outcome: Result<(), Error> = store.transaction(|store| {
            add(store, "shop", "{}")?;
            let fault = add(&other, "news", "{}").unwrap_err();
            let expected = format!(
                "begin a transaction in {}: another program has locked it for too long: try again",
                path.display()
            );
            assert_eq!(fault.to_string(), expected);
            assert_eq!(Store::open(&path, Access::Read)?.bots().count()?, 0);
            Ok(())
        });
        outcome.unwrap();
        add(&other, "news", "{}").unwrap();
        assert_eq!(store.bots().count().unwrap(), 2);
    }

    #[test]
    fn a_callers_own_error_undoes_everything() {
        #[derive(Debug)]
        enum Refused {
            Store(Error),
            DryRun,
        }
        impl From<Error> for Refused {
            fn from(fault: Error) -> Refused {
                Refused::Store(fault)
            }
        }
        let (_home, store) = home_with_store();
        let outcome: Result<(), Refused> = store.transaction(|store| {
            add(store, "shop", "{}")?;
            Err(Refused::DryRun)
        });
        assert!(matches!(outcome, Err(Refused::DryRun)), "{outcome:?}");
        assert_eq!(store.bots().count().unwrap(), 0);
        let outcome: Result<(), Refused> = store.transaction(|store| {
            store.bots().remove(&"shop".parse().unwrap())?;
            Ok(())
        });
        assert!(
            matches!(outcome, Err(Refused::Store(Error::NoSuchBot { .. }))),
            "{outcome:?}"
        );
    }

    #[test]
    #[should_panic(expected = "not for configuration")]
    fn configuration_is_not_written_where_a_power_loss_may_cost_it() {
        let (_home, path) = home();
        let store = Store::open(&path, Access::History).unwrap();
        let _ = add(&store, "shop", "{}");
    }

    #[test]
    #[should_panic(expected = "a write on a connection for reading")]
    fn nothing_is_written_while_reading() {
        let (home, store) = home_with_store();
        drop(store);
        let store = Store::open(&home.path().join("multibot.db"), Access::Read).unwrap();
        let _ = add(&store, "shop", "{}");
    }
}
