//! Which process is meant. A pid alone is not enough: it is reused, and it means another process in
//! another pid namespace or after a reboot.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// One process, for as long as this boot lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// Clock ticks from boot to the start of the process (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
    pub boot_id: String,
    /// Inode of `/proc/self/ns/pid`.
    pub pid_ns: u64,
}

impl Identity {
    /// The identity of a process that exists now; None when it does not.
    pub fn of(pid: u32) -> Option<Identity> {
        let stat = Stat::of(pid)?;
        Some(Identity {
            pid,
            start_ticks: stat.start_ticks,
            boot_id: boot_id(),
            pid_ns: pid_ns(),
        })
    }

    /// The identity of this process.
    pub fn me() -> Option<Identity> {
        Identity::of(std::process::id())
    }

    /// Whether exactly this process still runs. A zombie has ended.
    pub fn is_alive(&self) -> bool {
        self.is_of_this_boot()
            && Stat::of(self.pid).is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.is_zombie())
    }

    /// Whether this is a process of this boot that another pid namespace counts.
    pub fn is_of_another_namespace(&self) -> bool {
        self.boot_id == boot_id() && self.pid_ns != pid_ns()
    }

    /// Whether the pid can mean anything here: same boot, same pid namespace.
    pub fn is_of_this_boot(&self) -> bool {
        self.boot_id == boot_id() && self.pid_ns == pid_ns()
    }
}

/// The fields of `/proc/PID/stat` that multibot needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub state: char,
    pub parent: u32,
    pub group: u32,
    /// CPU time of all its threads since its start, in clock ticks.
    pub cpu_ticks: u64,
    pub threads: u32,
    pub start_ticks: u64,
}

impl Stat {
    /// Reads the process table; None when there is no such process.
    pub fn of(pid: u32) -> Option<Stat> {
        // The name is any bytes, cut anywhere: it need not be text.
        let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Stat::parse(&String::from_utf8_lossy(&bytes))
    }

    /// The program's name may hold anything, even `)`: the fields begin after the last one.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
        Some(Stat {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            cpu_ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
            threads: fields.get(17)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }

    pub fn is_zombie(self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// The kernel's name for this boot; empty where `/proc` does not tell.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

fn pid_ns() -> u64 {
    fs::metadata("/proc/self/ns/pid")
        .map(|meta| meta.ino())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_does_not_confuse() {
        let text = "7 (a) b) R 1 7 7 0 -1 4194304 1 0 0 0 5 6 0 0 20 0 3 0 4242 1 1";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(
            stat,
            Stat {
                state: 'R',
                parent: 1,
                group: 7,
                cpu_ticks: 11,
                threads: 3,
                start_ticks: 4242
            }
        );
        assert_eq!(Stat::parse("7 (a R"), None);
    }

    #[test]
    fn a_process_whose_name_is_no_text_is_alive() {
        let dir = tempfile::tempdir().unwrap();
        // The kernel cuts names at 15 bytes, here in the middle of a letter.
        let program = dir.path().join("x\u{434}\u{430}\u{43d}\u{43d}\u{44b}\u{435}-\u{431}");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program).arg("100").spawn().unwrap();
        let is_alive = Identity::of(child.id()).is_some_and(|identity| identity.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_alive);
    }

    #[test]
    fn this_process_is_alive_and_one_that_started_at_another_time_is_not() {
        let me = Identity::me().unwrap();
        assert!(me.is_alive());
        assert!(
            !Identity {
                start_ticks: me.start_ticks + 1,
                ..me.clone()
            }
            .is_alive()
        );
        assert!(
            !Identity {
                boot_id: "another boot".into(),
                ..me.clone()
            }
            .is_alive()
        );
        assert!(!Identity { pid_ns: 1, ..me }.is_alive());
    }
}
