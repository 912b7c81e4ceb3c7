//! One program becomes the next in the same process: the supervisor of one version hands its home to that
//! of another. The pid stays, and with it the service manager's idea of the supervisor; children stay
//! children; the lock is never free in between.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The hidden verb under which a program takes a home over; the home's path and a [`Handover`] follow.
pub const RESUME_VERB: &str = "__resume";
/// The hidden verb under which a program says whether it could; the home's path follows.
pub const CHECK_VERB: &str = "__check";

/// What the next program must know. Read by other versions: fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Handover {
    /// Number of the open file that holds the supervisor's lock.
    pub lock: Option<i32>,
    /// Number of the open file that is the program to come back to.
    pub previous: Option<i32>,
    /// It runs in the foreground, as under a service manager.
    pub foreground: bool,
    pub verbose: u8,
    /// How many programs this process has been before.
    pub image: u32,
    /// How long the next program may take until its bots are under its care.
    pub patience_ms: u64,
    /// Why the program that runs now is not the one that was wanted.
    pub came_back: Option<String>,
}

/// What a program says of a home that it might take over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    pub version: String,
    /// The schema that the database has, and the one that this program would give it.
    pub found: String,
    pub newest: String,
    /// The older program could not read the newest schema: it would need the copy that is made first.
    pub breaks: bool,
    /// Why this program cannot take the home over.
    #[serde(default)]
    pub fault: Option<String>,
}

/// Becomes this program, which takes the home over. Returns only if that cannot be.
pub fn become_program(program: &Path, home: &Path, handover: &Handover) -> io::Error {
    let Ok(words) = serde_json::to_string(handover) else {
        return io::ErrorKind::InvalidInput.into();
    };
    Command::new(program)
        .arg0("multibot")
        .arg(RESUME_VERB)
        .arg(home)
        .arg(words)
        .exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_versions_are_understood() {
        let later: Handover = serde_json::from_str(r#"{"lock":5,"weather":"fine"}"#).unwrap();
        assert_eq!((later.lock, later.previous, later.image), (Some(5), None, 0));
        let text = r#"{"version":"9","found":"1.0","newest":"2.0","breaks":true,"weather":"fine"}"#;
        let report: CheckReport = serde_json::from_str(text).unwrap();
        assert!(report.breaks && report.fault.is_none());
    }
}
