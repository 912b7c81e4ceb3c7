//! Processes as /proc tells of them.

use std::fs;
use std::io::Read;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A process as /proc tells it.
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Arguments, separated by spaces.
    pub(crate) cmdline: String,
    pub(crate) environ: String,
}

impl Process {
    pub(super) fn name(&self) -> String {
        format!("{} ({})", self.pid, self.cmdline.trim())
    }
}

/// Sends a signal; a process that is gone needs none.
pub(crate) fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Whether a process runs; a zombie has ended.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| !matches!(fields[0].as_str(), "Z" | "X"))
}

/// The fields of /proc/PID/stat from the state on.
pub(crate) fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    Some(fields.map(str::to_owned).collect())
}

/// CPU time that a process has used, in clock ticks.
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    let fields = stat(pid).unwrap();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

pub(crate) fn proc_text(pid: u32, name: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = fs::File::open(format!("/proc/{pid}/{name}")) {
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

pub(super) fn holds_open(pid: u32, name: &str) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|fd| fs::read_link(fd.path()).ok())
        .any(|path| path.to_string_lossy().contains(name))
}

/// The pid in a record, if exactly that process still lives.
pub(super) fn recorded(path: &Path, keys: &[&str]) -> Option<u32> {
    let record: Value = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    let identity = keys.iter().fold(&record, |value, key| &value[key]);
    let pid = u32::try_from(identity["pid"].as_u64()?).ok()?;
    (stat(pid)?[19].parse() == Ok(identity["start_ticks"].as_u64()?)).then_some(pid)
}
