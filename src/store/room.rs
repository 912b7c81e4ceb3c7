//! How much room the database takes, and how room that became free is given back to the disk.

use super::{Error, Store};

/// Rows or events that are dropped in one transaction: few enough that nobody waits long for the lock, and enough that a large
/// surplus is soon gone.
const DROP_MIN: u64 = 100;
const DROP_MAX: u64 = 20_000;
/// Pages that are given back in one transaction.
const GIVE_PAGES: u64 = 2000;

/// How many of the oldest rows go next where there are `surplus` bytes too many and a row takes up to `row_bytes`.
pub(super) fn drop_step(surplus: u64, row_bytes: u64) -> u64 {
    (surplus / row_bytes).clamp(DROP_MIN, DROP_MAX)
}

impl Store {
    /// Bytes of the database that hold something. Pages that became free are filled first when more comes.
    pub fn used_bytes(&self) -> Result<u64, Error> {
        let pages = self.pragma("page_count")? - self.pragma("freelist_count")?;
        Ok(pages * self.pragma("page_size")?)
    }

    /// Bytes of the database's file, as they are when the write-ahead log is worked in.
    pub fn file_bytes(&self) -> Result<u64, Error> {
        Ok(self.pragma("page_count")? * self.pragma("page_size")?)
    }

    /// Gives free pages back to the disk until the file has no more than `size_max` bytes or no page is free. Only for
    /// a database that was created for it: another one keeps its free pages and fills them first.
    pub fn give_back(&self, size_max: u64) -> Result<(), Error> {
        const INCREMENTAL: u64 = 2;
        if self.pragma("auto_vacuum")? != INCREMENTAL {
            return Ok(());
        }
        let doing = "give back free pages";
        let mut is_smaller = false;
        loop {
            let surplus = self.file_bytes()?.saturating_sub(size_max) / self.pragma("page_size")?;
            let pages = surplus.min(self.pragma("freelist_count")?).min(GIVE_PAGES);
            if pages == 0 {
                break;
            }
            let sql = format!("PRAGMA incremental_vacuum({pages})");
            // It gives a row for each page.
            self.transaction(|store| store.rows(doing, &sql, [], |_| Ok(())).map(|_| ()))?;
            is_smaller = true;
        }
        if is_smaller {
            // It waits for nobody. What a reader still needs is worked in by a later one.
            self.row(doing, "PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        Ok(())
    }

    fn pragma(&self, name: &str) -> Result<u64, Error> {
        let sql = format!("SELECT {name} FROM pragma_{name}");
        let value = self.row("measure the database", &sql, [], |row| row.get::<_, i64>(0))?;
        Ok(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fact::Fact;
    use crate::model::units::Stamp;
    use crate::store::Access;
    use std::fs;
    use std::path::PathBuf;

    fn full() -> (tempfile::TempDir, PathBuf, Store) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("multibot.db");
        let store = Store::open(&path, Access::History).unwrap();
        let fact = Fact {
            at: Stamp(0),
            bot: "shop".parse().unwrap(),
            run: None,
            name: "order".to_owned(),
            detail: "x".repeat(200),
        };
        store.events().append(&vec![fact; 40_000]).unwrap();
        (home, path, store)
    }

    #[test]
    fn a_step_is_neither_tiny_nor_endless() {
        for (surplus, step) in [(1, 100), (200_000, 1000), (1 << 40, 20_000)] {
            assert_eq!(drop_step(surplus, 200), step);
        }
    }

    #[test]
    fn free_pages_go_back_to_the_disk_and_no_more_than_must() {
        let (_home, path, store) = full();
        let full = store.file_bytes().unwrap();
        store.events().drop_oldest(30_000).unwrap();
        let used = store.used_bytes().unwrap();
        assert!(used < full / 2 && store.file_bytes().unwrap() == full);
        let bound = full * 2 / 3;
        store.give_back(bound).unwrap();
        let size = store.file_bytes().unwrap();
        assert!(size <= bound && size > bound - 2 * 4096, "{size} of {bound}");
        store.give_back(0).unwrap();
        // The pages that say where others are need room as well.
        assert!(store.file_bytes().unwrap() <= used + 64 * 1024);
        assert_eq!(fs::metadata(&path).unwrap().len(), store.file_bytes().unwrap());
        assert_eq!(store.events().recent(None, 50_000).unwrap().len(), 10_000);
    }

    #[test]
    fn the_log_does_not_stay_as_long_as_its_longest_transaction() {
        let (_home, path, store) = full();
        let log = || fs::metadata(super::super::file::beside(&path, "-wal")).unwrap().len();
        assert!(log() > 6 << 20, "one transaction of all");
        // Later ones begin the log anew.
        for _ in 0..3 {
            store.events().drop_oldest(1).unwrap();
        }
        assert!(log() <= 4 << 20, "{}", log());
    }
}
