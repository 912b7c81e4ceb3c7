//! The codes that the program ends with. They are promised to scripts: a code keeps its meaning.

use std::process::ExitCode;

use super::verdict::Level;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was done; for commands that look or wait: every wanted bot runs.
    Done,
    /// Some bot that is wanted up is not running, or the action failed.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// The command needs a running supervisor, and there is none.
    NoSupervisor,
    NoSuchBot,
    /// Somebody else holds what is needed, or the time given was over.
    Busy,
    /// A dry run would change something.
    WouldChange,
    /// What `check` says; it speaks to monitoring systems and has their codes.
    Check(Level),
}

impl Exit {
    /// In the order of their codes, without those of `check`.
    pub const ALL: [Exit; 7] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::NoSupervisor,
        Exit::NoSuchBot,
        Exit::WouldChange,
        Exit::Busy,
    ];

    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NoSupervisor => 3,
            Exit::NoSuchBot => 4,
            Exit::WouldChange => 10,
            Exit::Busy => 75,
            Exit::Check(level) => level.code(),
        }
    }

    /// One sentence for the manual.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "Done. For start, up, status and the bot verbs that wait: every wanted bot runs.",
            Exit::Failed => "Some bot that is wanted up is not running, or the action failed.",
            Exit::Usage => "The command line is wrong. Nothing was done.",
            Exit::NoSupervisor => "No supervisor runs, and this needs one.",
            Exit::NoSuchBot => "There is no bot of that name.",
            Exit::WouldChange => "A dry run (--dry-run) that would change something.",
            Exit::Check(_) => "For check alone: 0 OK, 1 warning, 2 critical, 3 unknown.",
            Exit::Busy => "Busy, or timed out. Trying again later may help.",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_as_promised_and_in_order() {
        assert_eq!(Exit::ALL.map(Exit::code), [0, 1, 2, 3, 4, 10, 75]);
    }
}
