//! What the kernel enforces of a run: its group, set up by the shim, and what the bot's process takes upon
//! itself before it becomes the bot. What cannot be had is told and keeps no bot from running.

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};

use crate::model::limits::SWEEP_TIME_MAX;
use crate::run::leaf;
use crate::run::orders::{GROUP, KernelOrders, NOT_IN_FORCE};

/// The limits of one run, as far as they could be had.
#[derive(Clone, Debug, Default)]
pub(super) struct InForce {
    pub(super) leaf: Option<PathBuf>,
    /// Each limit in words, with the reason where it is not in force.
    pub(super) said: Vec<String>,
}

/// Makes the group of the run and sets its limits. The error is the pid of a process that an earlier run has
/// left there and that does not die.
pub(super) fn prepare(orders: &KernelOrders) -> Result<InForce, u32> {
    let mut in_force = InForce {
        leaf: None,
        said: orders.refused.clone(),
    };
    if let Some(dir) = &orders.old_leaf {
        leaf::clear(dir, SWEEP_TIME_MAX)?;
    }
    let Some(dir) = &orders.leaf else { return Ok(in_force) };
    if let Err(why) = leaf::make(dir) {
        in_force.said.extend(without_group(orders, &why));
        return Ok(in_force);
    }
    for limit in &orders.limits {
        in_force.said.push(match leaf::limit(dir, limit) {
            Ok(()) => limit.said.clone(),
            Err(why) => refused(&limit.said, &why),
        });
    }
    in_force.leaf = Some(dir.clone());
    Ok(in_force)
}

/// Puts this process under its limits; called between fork and exec.
pub(super) fn enter(orders: &KernelOrders, in_force: &mut InForce) {
    if let Some(dir) = &in_force.leaf
        && let Err(why) = leaf::enter(dir)
    {
        in_force.said = orders.refused.clone();
        in_force.said.extend(without_group(orders, &why));
        in_force.leaf = None;
    }
    if let Some(files) = orders.open_files {
        in_force
            .said
            .push(said(&format!("open_files {files}"), limit_files(u64::from(files))));
    }
    if let Some(nice) = orders.nice {
        in_force
            .said
            .push(said(&format!("nice {nice}"), setpriority_process(None, nice)));
    }
}

/// A host may allow less: then as much as it allows.
fn limit_files(files: u64) -> rustix::io::Result<()> {
    let limit = |most: u64| Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::Nofile, limit(files)).inspect_err(|_| {
        if let Some(allowed) = getrlimit(Resource::Nofile).maximum {
            // The first error is the one to tell.
            let _ = setrlimit(Resource::Nofile, limit(allowed.min(files)));
        }
    })
}

fn said(limit: &str, outcome: rustix::io::Result<()>) -> String {
    match outcome {
        Ok(()) => limit.to_owned(),
        Err(errno) => refused(limit, &errno.into()),
    }
}

/// What is lost with the group.
fn without_group(orders: &KernelOrders, why: &io::Error) -> Vec<String> {
    let limits = orders.limits.iter().map(|limit| limit.said.as_str());
    std::iter::once(GROUP)
        .chain(limits)
        .map(|said| refused(said, why))
        .collect()
}

fn refused(limit: &str, why: &io::Error) -> String {
    format!("{limit}{NOT_IN_FORCE}{}", words(why))
}

/// An operating error without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// How many processes the kernel has killed on this host because memory was used up; None where it does not
/// tell. Read piece by piece: a page that the shim touches once is paid for as long as the bot runs.
pub(super) fn host_oom_kills() -> Option<u64> {
    counter(std::fs::File::open("/proc/vmstat").ok()?, b"oom_kill ")
}

fn counter(mut text: impl io::Read, name: &[u8]) -> Option<u64> {
    let mut chunk = [0u8; 512];
    let (mut line, mut matched) = (0, 0);
    let mut value: Option<u64> = None;
    loop {
        let count = text.read(&mut chunk).ok()?;
        if count == 0 {
            return value;
        }
        for byte in &chunk[..count] {
            match byte {
                b'\n' if value.is_some() => return value,
                b'\n' => (line, matched) = (0, 0),
                _ if matched == name.len() => {
                    let digit = u64::from(byte.checked_sub(b'0').filter(|digit| *digit < 10)?);
                    value = Some(value.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
                }
                byte => {
                    matched += usize::from(matched == line && name.get(matched) == Some(byte));
                    line += 1;
                }
            }
        }
    }
}

/// Whether, and how, the kernel has killed the bot for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    None,
    Counted,
    Suspected,
}

/// Judges an end by SIGKILL that nobody asked for: by the count of the bot's own group where there is one,
/// else by that of the host before and now.
pub(super) fn judge(leaf: Option<&Path>, host_before: Option<u64>) -> Want {
    match leaf.and_then(leaf::oom_kills) {
        Some(0) => Want::None,
        Some(_) => Want::Counted,
        None if host_before.is_some() && host_oom_kills() > host_before => Want::Suspected,
        None => Want::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::orders::LeafLimit;
    use std::fs;

    #[test]
    fn a_counter_is_found_wherever_reads_cut_the_text() {
        struct Bytewise<'a>(&'a [u8]);
        impl io::Read for Bytewise<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = self.0.len().min(1);
                buffer[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        for (text, found) in [
            ("a 1\noom_kill 42\nb 2\n", Some(42)),
            ("oom_kill 0", Some(0)),
            ("drop_oom_kill 7\noom_killer 8\noom_kil 9\n", None),
            ("oom_kill x\n", None),
            ("", None),
        ] {
            assert_eq!(counter(text.as_bytes(), b"oom_kill "), found, "{text}");
            assert_eq!(counter(Bytewise(text.as_bytes()), b"oom_kill "), found, "{text}");
        }
        assert!(host_oom_kills().is_some());
    }

    fn orders(dir: &Path) -> KernelOrders {
        KernelOrders {
            leaf: Some(dir.join("leaf")),
            limits: vec![LeafLimit {
                file: "memory.max".into(),
                value: "1".into(),
                said: "memory.max 1 B".into(),
            }],
            refused: vec!["weight 5: not in force: no".into()],
            ..KernelOrders::default()
        }
    }

    #[test]
    fn what_cannot_be_had_is_told_and_the_rest_holds() {
        let dir = tempfile::tempdir().unwrap();
        let orders = orders(dir.path());
        let in_force = prepare(&orders).unwrap();
        assert_eq!(in_force.leaf, orders.leaf);
        assert_eq!(
            in_force.said,
            [
                "weight 5: not in force: no",
                "memory.max 1 B: not in force: No such file or directory"
            ]
        );
        let nowhere = KernelOrders {
            leaf: Some(dir.path().join("no/leaf")),
            ..orders
        };
        let in_force = prepare(&nowhere).unwrap();
        assert_eq!((in_force.leaf, in_force.said.len()), (None, 3));
        assert_eq!(in_force.said[1], "group: not in force: No such file or directory");
    }

    #[test]
    fn only_a_count_that_grew_makes_an_end_one_for_want_of_memory() {
        let dir = tempfile::tempdir().unwrap();
        let now = host_oom_kills();
        assert_eq!(judge(Some(dir.path()), now), Want::None);
        assert_eq!(judge(None, None), Want::None);
        for (text, want) in [("oom_kill 0\n", Want::None), ("oom_kill 1\n", Want::Counted)] {
            fs::write(dir.path().join("memory.events"), text).unwrap();
            assert_eq!(judge(Some(dir.path()), now), want);
        }
    }
}
