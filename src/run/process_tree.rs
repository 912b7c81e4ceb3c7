//! Who descends from whom, as `/proc` tells it.

use std::collections::HashSet;
use std::fs;

use super::identity::Stat;

/// All living descendants of `root`, children before their own children. Zombies are left out: they
/// hold nothing but a pid.
pub fn descendants(root: u32) -> Vec<u32> {
    below(children(root)).into_iter().map(|(pid, _)| pid).collect()
}

/// The same below a shim, which has one thread, each with its line of the process table.
pub fn processes_below_shim(shim: u32) -> Vec<(u32, Stat)> {
    below(children_of_one(shim).unwrap_or_else(|| children(shim)))
}

/// These processes and their descendants.
fn below(mut open: Vec<u32>) -> Vec<(u32, Stat)> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    while let Some(pid) = open.pop() {
        if !seen.insert(pid) {
            continue;
        }
        let stat = Stat::of(pid);
        // Most processes have one thread, and its folder need not be looked for. One that has started another
        // one since has no child of that yet, or will be seen with it the next time.
        let of_one = stat.filter(|stat| stat.threads == 1).and_then(|_| children_of_one(pid));
        open.extend(of_one.unwrap_or_else(|| children(pid)));
        if let Some(stat) = stat.filter(|stat| !stat.is_zombie()) {
            found.push((pid, stat));
        }
    }
    found
}

/// The children of the first thread of a process; None where the kernel does not tell, or it is gone.
fn children_of_one(pid: u32) -> Option<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    Some(pids_in(&text).collect())
}

fn pids_in(text: &str) -> impl Iterator<Item = u32> {
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok())
}

/// The children of every thread of a process.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let mut pids = Vec::new();
    for thread in threads.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(text) => pids.extend(pids_in(&text)),
            // A kernel without this file: look at everybody's parent instead.
            Err(_) if fs::metadata(format!("/proc/{pid}")).is_ok() => return children_by_parent(pid),
            Err(_) => {}
        }
    }
    pids
}

fn children_by_parent(parent: u32) -> Vec<u32> {
    all_pids()
        .filter(|pid| Stat::of(*pid).is_some_and(|stat| stat.parent == parent))
        .collect()
}

/// The processes whose environment held this entry (`NAME=value`) when they were started, as far as
/// this user may read it. A process can only lose the mark by changing its own memory.
pub fn marked(entry: &str) -> Vec<u32> {
    let me = std::process::id();
    all_pids().filter(|pid| *pid != me && has_mark(*pid, entry)).collect()
}

fn has_mark(pid: u32, entry: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(|known| known == entry.as_bytes()))
}

pub(super) fn all_pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_grandchild_is_found_by_descent_and_by_its_mark() {
        let mark = format!("MULTIBOT_TEST_MARK={}", std::process::id());
        let (name, value) = mark.split_once('=').unwrap();
        // The inner shell prints a line once both live, and ends when its input is closed.
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'echo up; read x'; true"])
            .env(name, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        let below = descendants(child.id());
        assert_eq!(below.len(), 1, "{below:?}");
        let mut found = marked(&mark);
        found.sort();
        let mut expected = vec![child.id(), below[0]];
        expected.sort();
        assert_eq!(found, expected);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(marked(&mark), Vec::<u32>::new());
    }
}
