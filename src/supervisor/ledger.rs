//! What a supervisor must leave to the next one of a bot: how often it failed and was restarted, what it
//! waits for, and what its live run has shown of itself. One file a bot, `run/<bot>/ledger.json`.
//!
//! It is written by rename whenever its content changes and before what the change leads to is done, so
//! it is right without a sync when a supervisor is killed at any moment. A bot that never fails and never
//! speaks has none. It is void after a reboot, and after a supervisor that has stopped its bots.
//!
//! Moments are microseconds of the monotonic clock, which all processes of one boot share. Fields are
//! only ever added.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::run::record::{self, RecordError};

const LEDGER_VERSION: u32 = 1;
/// Its name in a bot's folder below `run/`.
pub const NAME: &str = "ledger.json";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    pub restarts: u32,
    pub failures: FailureCount,
    /// The newest run whose end is counted in this, and the newest that could not be started.
    pub ended: Option<String>,
    pub refused: Option<String>,
    pub rest: Rest,
    pub live: Option<Live>,
    pub limit_action: Option<ActedLimit>,
}

/// What was done to a run that had passed the maximum of a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActedLimit {
    pub run_id: String,
    pub why: String,
    /// `restart` or `stop`.
    pub action: String,
    /// Unix milliseconds.
    pub at: i64,
}

/// See `backoff::Failures`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailureCount {
    pub recent: Vec<u64>,
    pub streak: u32,
    pub on_probation: bool,
}

/// Why nothing runs, where an operator's wish does not explain it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    #[default]
    Wish,
    Waiting {
        until: u64,
        why: String,
    },
    GaveUp {
        until: Option<u64>,
        why: String,
    },
    /// It ended with this code, and its policy does not bring it back.
    Finished {
        code: i32,
    },
}

/// What a run that may be alive has shown, and whether it is being ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Live {
    pub run_id: String,
    pub ready_at: Option<u64>,
    /// It has sent a heartbeat: silence counts against it.
    pub beats: bool,
    pub uses_spool: bool,
    pub said_ready: bool,
    /// A later recipe that it does as well for, although its record names another.
    pub suits: Option<String>,
    /// Until when its start may take, as it has asked for.
    pub extended_to: Option<u64>,
    pub stop: Option<Stop>,
}

/// A stop under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    pub forced: bool,
    /// When the shim must have had its way; None where that is over.
    #[serde(default)]
    pub until: Option<u64>,
    /// None: somebody asked for it.
    pub unhealthy: Option<Unhealthy>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unhealthy {
    pub why: String,
    pub give_up: bool,
}

/// The file: the ledger, and for which boot it holds.
#[derive(Serialize, Deserialize)]
struct Page {
    v: u32,
    boot_id: String,
    #[serde(flatten)]
    ledger: Ledger,
}

/// Reads what the last supervisor of this boot left; None where it left nothing. One that cannot be
/// read is an error: it says nothing, but an operator should know.
pub fn read(run_dir: &Path, boot_id: &str) -> Result<Option<Ledger>, RecordError> {
    let page: Option<Page> = record::read(&run_dir.join(NAME))?;
    Ok(page.filter(|page| page.boot_id == boot_id).map(|page| page.ledger))
}

pub fn write(run_dir: &Path, boot_id: &str, ledger: &Ledger) -> Result<(), RecordError> {
    let page = Page {
        v: LEDGER_VERSION,
        boot_id: boot_id.to_owned(),
        ledger: ledger.clone(),
    };
    record::write(run_dir, NAME, &page)
}

/// An operator asks for a bot while no supervisor runs: its failures are forgiven, as by one that runs.
pub fn forgive(run_dir: &Path, boot_id: &str) -> Result<(), RecordError> {
    let Some(ledger) = read(run_dir, boot_id)? else {
        return Ok(());
    };
    let forgiven = Ledger {
        failures: FailureCount::default(),
        rest: Rest::Wish,
        limit_action: None,
        ..ledger
    };
    write(run_dir, boot_id, &forgiven)
}

/// Forgets what was noted of a bot; one without a ledger is no error.
pub fn remove(run_dir: &Path) -> io::Result<()> {
    match fs::remove_file(run_dir.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_holds_for_its_own_boot() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), "a").unwrap(), None);
        let ledger = Ledger {
            restarts: 3,
            rest: Rest::GaveUp {
                until: Some(7),
                why: "killed by SIGKILL".to_owned(),
            },
            ..Ledger::default()
        };
        write(dir.path(), "a", &ledger).unwrap();
        assert_eq!(read(dir.path(), "a").unwrap(), Some(ledger));
        assert_eq!(read(dir.path(), "b").unwrap(), None);
        forgive(dir.path(), "a").unwrap();
        let forgiven = read(dir.path(), "a").unwrap().unwrap();
        assert_eq!((forgiven.rest, forgiven.restarts), (Rest::Wish, 3));
        remove(dir.path()).unwrap();
        remove(dir.path()).unwrap();
        assert_eq!(read(dir.path(), "a").unwrap(), None);
    }

    #[test]
    fn what_a_later_version_adds_is_ignored_and_what_an_earlier_one_lacks_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join(NAME),
            r#"{"v":1,"boot_id":"a","restarts":2,"weather":"fine","live":{"run_id":"01"}}"#,
        )
        .unwrap();
        let ledger = read(dir.path(), "a").unwrap().unwrap();
        assert_eq!((ledger.restarts, ledger.live.unwrap().run_id), (2, "01".to_owned()));
        fs::write(dir.path().join(NAME), "{\"v\":1,").unwrap();
        assert!(read(dir.path(), "a").is_err());
    }
}
