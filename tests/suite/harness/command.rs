//! Commands that a test runs: to their end, or beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use serde_json::Value;

use super::{Home, wait_until};

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// For the message of a failed assertion.
    #[expect(dead_code, reason = "read through Debug alone")]
    args: String,
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Outcome {
    pub(crate) fn of(args: &[&str], output: Output) -> Outcome {
        Outcome {
            args: args.join(" "),
            status: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Outcome {
        assert_eq!(self.status, Some(code), "{self:#?}");
        self
    }

    /// Asserts that stderr is one line for people that holds all these words.
    #[track_caller]
    pub(crate) fn one_line(self, words: &[&str]) -> Outcome {
        assert_eq!(self.err.lines().count(), 1, "{self:#?}");
        assert!(self.err.starts_with("multibot: "), "{self:#?}");
        self.says(words)
    }

    /// Asserts that stderr holds all these words.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Outcome {
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {self:#?}");
        }
        assert!(!self.err.contains("panicked"), "{self:#?}");
        self
    }

    /// stdout as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// stdout as one JSON document a line.
    #[track_caller]
    pub(crate) fn records(&self) -> Vec<Value> {
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(read).collect()
    }
}

/// A command that runs beside the test; what it prints is collected in files.
pub(crate) struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    pub(crate) fn of(command: &mut Command, base: &Path) -> Running {
        let dir = base.join("printed");
        fs::create_dir_all(&dir).unwrap();
        let number = fs::read_dir(&dir).unwrap().count();
        let (out, err) = (dir.join(format!("{number}.out")), dir.join(format!("{number}.err")));
        let file = |path: &Path| fs::File::create(path).unwrap();
        let child = command.stdout(file(&out)).stderr(file(&err)).spawn().unwrap();
        Running { child, out, err }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end and returns the exit code; None when a signal ended it.
    pub(crate) fn end(&mut self, home: &Home) -> Option<i32> {
        let mut status = None;
        wait_until("a command ends", home, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

/// A test that fails leaves no command behind.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
