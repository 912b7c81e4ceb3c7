//! Schemas are made, checked, copied and led on.

use super::*;
use crate::model::bot::{BotId, Secret, Wanted};
use crate::model::units::Stamp;
use crate::store::{Access, BlockedCounts};
use rusqlite::Connection;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A database that schema 1.0 wrote, as SQL.
const GOLDEN: &str = include_str!("../../../tests/golden/store-v1.sql");

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
    assert_eq!(
        store.audit().recent(&crate::store::AuditQuery::default(), 10).unwrap()[0].action,
        "bot create"
    );
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
