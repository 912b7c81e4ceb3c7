//! The two records of a run: `run.json`, written by the child before it becomes the bot, and
//! `exit.json`, written by the shim when the run has ended.
//!
//! Both are written to a temporary name and renamed, so that a reader never sees half of one, and
//! neither is synced: after a power loss the boot id differs and both are void. Readers ignore
//! fields that they do not know; fields are only ever added.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::model::bot::{End, Oom};

pub const RECORD_VERSION: u32 = 1;

/// Who runs a bot, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    pub v: u32,
    pub run_id: String,
    pub bot: String,
    pub shim: Identity,
    /// The bot's first process, leader of its process group.
    pub process: Identity,
    /// Unix milliseconds.
    pub started_at: i64,
    /// What it was started with, as its supervisor named that.
    #[serde(default)]
    pub recipe: Option<String>,
    /// The group that holds the bot and all that it started, and nothing else; where one could be made.
    #[serde(default)]
    pub leaf: Option<PathBuf>,
    /// What the kernel enforces, and what it was asked for and does not, each in words.
    #[serde(default)]
    pub kernel: Vec<String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub v: u32,
    pub run_id: String,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    #[serde(default)]
    pub core: bool,
    /// Why nothing was executed.
    #[serde(default)]
    pub spawn_failed: Option<String>,
    /// Unix milliseconds.
    pub at: i64,
    /// Processes that outlive SIGKILL; the shim keeps its lock until they are gone.
    #[serde(default)]
    pub survivors: Vec<u32>,
    /// The shim was told to end the bot. An end that nobody asked for is a failure, also when no
    /// supervisor saw it.
    #[serde(default)]
    pub asked: bool,
    /// The kernel killed the bot because memory was used up.
    #[serde(default)]
    pub oom: bool,
    /// The `memory.max` in bytes that it ran under.
    #[serde(default)]
    pub memory_max: Option<u64>,
    /// Nobody asked for SIGKILL, and the kernel killed somebody on this host for memory during the run.
    #[serde(default)]
    pub oom_suspected: bool,
}

impl ExitRecord {
    /// The end in the words of the model.
    pub fn end(&self) -> End {
        match (self.code, self.signal) {
            (None, Some(_)) if self.oom => End::OutOfMemory(Oom::Counted { limit: self.memory_max }),
            (None, Some(_)) if self.oom_suspected => End::OutOfMemory(Oom::Suspected),
            (Some(code), _) => End::Code(code),
            (None, Some(number)) => End::Signal {
                number,
                core: self.core,
            },
            (None, None) => End::Unknown(self.spawn_failed.clone().unwrap_or_else(|| "not recorded".to_owned())),
        }
    }
}

/// Why a record says nothing.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: String, source: io::Error },
    #[error("{path} is torn or not a record: {source}")]
    Torn { path: String, source: serde_json::Error },
}

impl RecordError {
    /// What the system said, where it was asked.
    pub fn errno(&self) -> Option<i32> {
        match self {
            RecordError::Read { source, .. } | RecordError::Write { source, .. } => source.raw_os_error(),
            RecordError::Torn { .. } => None,
        }
    }
}

/// Reads a bot's run record; None where there is none.
pub fn read_run(run_dir: &Path) -> Result<Option<RunRecord>, RecordError> {
    read(&run_dir.join("run.json"))
}

/// Reads a bot's exit record; None where there is none.
pub fn read_exit(run_dir: &Path) -> Result<Option<ExitRecord>, RecordError> {
    read(&run_dir.join("exit.json"))
}

/// Replaces the run record.
pub fn write_run(run_dir: &Path, record: &RunRecord) -> Result<(), RecordError> {
    write(run_dir, "run.json", record)
}

/// Replaces the exit record.
pub fn write_exit(run_dir: &Path, record: &ExitRecord) -> Result<(), RecordError> {
    write(run_dir, "exit.json", record)
}

/// Reads one record; None where there is none.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RecordError> {
    let shown = || path.display().to_string();
    match fs::read(path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(record) => Ok(Some(record)),
            Err(source) => Err(RecordError::Torn { path: shown(), source }),
        },
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecordError::Read { path: shown(), source }),
    }
}

/// Replaces one record: readers see the old one or the new one, never half of one.
pub fn write<T: Serialize>(run_dir: &Path, name: &str, record: &T) -> Result<(), RecordError> {
    let path = run_dir.join(name);
    let temporary = run_dir.join(format!(".{name}.new"));
    let attempt = || -> io::Result<()> {
        // One write: this stands between the end of a run and the start of the next.
        let bytes = serde_json::to_vec(record)?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&bytes)?;
        fs::rename(&temporary, &path)
    };
    attempt().map_err(|source| RecordError::Write {
        path: path.display().to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mutation::{mutated, mutated_object};
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    fn exit() -> ExitRecord {
        ExitRecord {
            v: RECORD_VERSION,
            run_id: "01".into(),
            code: None,
            signal: Some(9),
            core: false,
            spawn_failed: None,
            at: 5,
            survivors: vec![],
            asked: true,
            oom: false,
            memory_max: None,
            oom_suspected: false,
        }
    }

    #[test]
    fn records_read_back_and_missing_ones_are_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_exit(dir.path()).unwrap().is_none());
        write_exit(dir.path(), &exit()).unwrap();
        assert_eq!(read_exit(dir.path()).unwrap(), Some(exit()));
        assert_eq!(exit().end(), End::Signal { number: 9, core: false });
    }

    #[test]
    fn a_torn_record_is_said_to_be_torn() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("run.json"), "{\"v\":1,\"run_").unwrap();
        let error = read_run(dir.path()).unwrap_err().to_string();
        assert!(error.contains("run.json is torn"), "{error}");
    }

    #[test]
    fn fields_of_a_later_version_are_ignored() {
        let text = r#"{"v":1,"run_id":"01","code":3,"signal":null,"at":5,"weather":"fine"}"#;
        let record: ExitRecord = serde_json::from_str(text).unwrap();
        assert_eq!((record.end(), record.asked), (End::Code(3), false));
    }

    fn run() -> RunRecord {
        let identity = |pid| Identity {
            pid,
            start_ticks: 77,
            boot_id: "6fd0d2ac-3b2c-4e58-9f43-5a7a3e2e0a55".into(),
            pid_ns: 4_026_531_836,
        };
        RunRecord {
            v: RECORD_VERSION,
            run_id: "01M85CVS2CGFFP0QF385J00CGA".into(),
            bot: "shop".into(),
            shim: identity(70),
            process: identity(71),
            started_at: 1_700_000_000_000,
            leaf: Some("/sys/fs/cgroup/x".into()),
            kernel: vec!["nice 5".into()],
            recipe: Some("1:abc".into()),
        }
    }

    fn object(record: &impl Serialize) -> Map<String, Value> {
        serde_json::from_value(serde_json::to_value(record).unwrap()).unwrap()
    }

    /// A reader takes a record as it is or says that it is torn; what it takes is written so that it reads alike.
    fn reads_alike(bytes: &[u8]) -> Result<(), TestCaseError> {
        if let Ok(record) = serde_json::from_slice::<RunRecord>(bytes) {
            let again = serde_json::from_slice(&serde_json::to_vec(&record).unwrap());
            prop_assert_eq!(again.ok(), Some(record));
        }
        if let Ok(record) = serde_json::from_slice::<ExitRecord>(bytes) {
            let _ = record.end();
            let again = serde_json::from_slice(&serde_json::to_vec(&record).unwrap());
            prop_assert_eq!(again.ok(), Some(record));
        }
        Ok(())
    }

    const FIELDS: &[&str] = &[
        "v",
        "run_id",
        "bot",
        "shim",
        "process",
        "started_at",
        "recipe",
        "code",
        "signal",
        "core",
        "spawn_failed",
        "at",
        "survivors",
        "asked",
        "leaf",
        "kernel",
        "oom",
        "memory_max",
        "oom_suspected",
        "later",
    ];

    proptest! {
        #[test]
        fn a_damaged_record_reads_alike_or_is_torn(
            bytes in mutated(
                prop::bool::ANY.prop_map(|is_run| Value::Object(if is_run { object(&run()) } else { object(&exit()) }).to_string()),
                &["\"", "{", "}", "null", "-1", "1e999", "4294967296", "\"v\":2,", "\"pid\":0,", "[]", ","],
            ),
        ) {
            reads_alike(&bytes)?;
        }

        #[test]
        fn a_nearly_right_record_reads_alike_or_is_torn(
            run in mutated_object(Just(object(&run())), FIELDS),
            exit in mutated_object(Just(object(&exit())), FIELDS),
        ) {
            reads_alike(Value::Object(run).to_string().as_bytes())?;
            reads_alike(Value::Object(exit).to_string().as_bytes())?;
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("run.json"), bytes).unwrap();
            let _ = read_run(dir.path());
        }
    }
}
