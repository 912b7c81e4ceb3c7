//! Looks at processes from outside: who runs for which bot, and whether anybody runs twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::suite::harness::{Home, is_alive, proc_text, stat};

/// One live run: a process and when it was started.
struct Live {
    pid: u32,
    started: String,
    run: String,
}

/// The supervisor that holds the home's lock, if it lives.
pub(crate) fn supervisor(home: &Home) -> Option<u32> {
    living(&home.read("run/supervisor.lock"), &[])
}

/// The bot's first process and its shim, as far as they live.
pub(crate) fn processes_of_run(home: &Home, bot: &str) -> (Option<u32>, Option<u32>) {
    let record = home.read(&format!("run/{bot}/run.json"));
    (living(&record, &["process"]), living(&record, &["shim"]))
}

fn living(record: &str, keys: &[&str]) -> Option<u32> {
    let record: Value = serde_json::from_str(record).ok()?;
    let identity = keys.iter().fold(&record, |value, key| &value[key]);
    let pid = u32::try_from(identity["pid"].as_u64()?).ok()?;
    let is_same = stat(pid)?[19] == identity["start_ticks"].as_u64()?.to_string();
    (is_same && is_alive(pid)).then_some(pid)
}

/// Looks without a pause until it is over; fails as soon as a bot has two live runs.
pub(crate) fn until(home: &Home, bots: &[&str], is_over: &AtomicBool) {
    let mark = format!("MULTIBOT_INBOX={}", home.dir().display());
    while !is_over.load(Ordering::Relaxed) {
        let found = runs(&mark);
        for bot in bots {
            let of_bot: Vec<&Live> = found.get(*bot).into_iter().flatten().collect();
            let alive = |live: &&&Live| stat(live.pid).is_some_and(|now| now[19] == live.started) && is_alive(live.pid);
            // The look takes a while: only who is still there when everybody has been seen was there together.
            let still: Vec<&&Live> = of_bot.iter().filter(alive).collect();
            let is_alone = still.windows(2).all(|pair| pair[0].run == pair[1].run);
            let shown: Vec<(u32, &str)> = still.iter().map(|live| (live.pid, live.run.as_str())).collect();
            assert!(is_alone, "{bot} runs twice: {shown:?}");
        }
        std::thread::yield_now();
    }
}

fn runs(mark: &str) -> BTreeMap<String, Vec<Live>> {
    let mut found: BTreeMap<String, Vec<Live>> = BTreeMap::new();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    for pid in all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let environ = proc_text(pid, "environ");
        if !environ.contains(mark) {
            continue;
        }
        let of = |name: &str| {
            environ
                .split(' ')
                .find_map(|word| word.strip_prefix(name))
                .map(str::to_owned)
        };
        if let (Some(bot), Some(run), Some(fields)) = (of("BOT_ID="), of("MULTIBOT_RUN_ID="), stat(pid)) {
            let started = fields[19].clone();
            found.entry(bot).or_default().push(Live { pid, started, run });
        }
    }
    found
}
