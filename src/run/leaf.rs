//! The leaf: a group of cgroup v2 that holds one run of a bot, all that it started, and nothing else. None
//! leaves it by forking, and the kernel ends all that is in it with one blow.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::orders::LeafLimit;

/// Makes the group of a run, an empty one.
pub fn make(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Sets one limit.
pub fn limit(dir: &Path, limit: &LeafLimit) -> io::Result<()> {
    write(&dir.join(&limit.file), &limit.value)
}

/// Moves this process into the group.
pub fn enter(dir: &Path) -> io::Result<()> {
    write(&dir.join("cgroup.procs"), "0")
}

/// Writes into a file that the kernel has made; one that is missing is not made.
pub(super) fn write(path: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(value.as_bytes())
}

/// Everybody in the group and in groups below, which only the bot can have made.
pub fn members(dir: &Path) -> Vec<u32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for below in folders(dir) {
        pids.extend(members(&below));
    }
    pids
}

/// Kills everybody in the group: at one blow where the kernel can, else one by one.
pub fn kill(dir: &Path) {
    if write(&dir.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for pid in members(dir) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // It may have ended since the look.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Removes the group, if nobody is in it any more.
pub fn remove(dir: &Path) -> io::Result<()> {
    for below in folders(dir) {
        remove(&below)?;
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Ends whatever an earlier run has left in the group, waits for it at most `patience`, and removes the
/// group. The error is the pid of one that does not die.
pub fn clear(dir: &Path, patience: Duration) -> Result<(), u32> {
    let step = Duration::from_millis(2);
    let mut waited = Duration::ZERO;
    while dir.is_dir() {
        let alive = members(dir);
        // Processes that are just leaving are not listed, but keep the group busy for a moment.
        if alive.is_empty() && remove(dir).is_ok() {
            return Ok(());
        }
        if waited >= patience {
            return alive.first().map_or(Ok(()), |pid| Err(*pid));
        }
        kill(dir);
        std::thread::sleep(step);
        waited += step;
    }
    Ok(())
}

/// How many processes of the group the kernel has killed because memory was used up.
pub fn oom_kills(dir: &Path) -> Option<u64> {
    let text = fs::read_to_string(dir.join("memory.events")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .trim()
        .parse()
        .ok()
}

fn folders(dir: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_where_the_kernel_has_a_file_for_them() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("memory.max"), "max").unwrap();
        let memory = LeafLimit {
            file: "memory.max".into(),
            value: "1000".into(),
            said: String::new(),
        };
        limit(dir.path(), &memory).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("memory.max")).unwrap(), "1000");
        let pids = LeafLimit {
            file: "pids.max".into(),
            ..memory
        };
        assert_eq!(limit(dir.path(), &pids).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!dir.path().join("pids.max").exists());
    }

    #[test]
    fn kills_for_memory_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(oom_kills(dir.path()), None);
        fs::write(
            dir.path().join("memory.events"),
            "low 0\nhigh 7\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n",
        )
        .unwrap();
        assert_eq!(oom_kills(dir.path()), Some(2));
    }

    #[test]
    fn a_group_is_removed_with_those_below_and_a_missing_one_is_clear() {
        let dir = tempfile::tempdir().unwrap();
        let leaf = dir.path().join("leaf");
        fs::create_dir_all(leaf.join("of/the/bot")).unwrap();
        clear(&leaf, Duration::ZERO).unwrap();
        assert!(!leaf.exists());
        clear(&leaf, Duration::ZERO).unwrap();
    }

    #[test]
    fn one_who_stays_is_named() {
        let dir = tempfile::tempdir().unwrap();
        // Above every pid that Linux gives, so that nobody is hit.
        fs::write(dir.path().join("cgroup.procs"), "2147483000\n").unwrap();
        assert_eq!(clear(dir.path(), Duration::from_millis(4)), Err(2_147_483_000));
    }
}
