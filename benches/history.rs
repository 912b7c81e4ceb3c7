//! A day of history for 100 bots, a pass every 5 s: what a pass costs to write, what a minute's upkeep costs, how large
//! the database becomes, and how long `multibot metrics BOT --since 24h` takes with it.
//!
//! `-- --quick` shows that all of it works, on an hour of 10 bots.

#![expect(clippy::print_stdout, reason = "a bench tells its figures")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use multibot::model::bot::{BotId, State, Wanted};
use multibot::model::metric::{MetricRow, Resolution, Retention};
use multibot::model::units::Stamp;
use multibot::store::{Access, NewBot, Store};

const PERIOD_US: i64 = 5_000_000;

fn main() {
    let has = |word: &str| std::env::args().any(|arg| arg == word);
    // `cargo test --benches` does not pass --bench: it runs a bench once to see that it works.
    let quick = has("--quick") || has("--test") || !has("--bench");
    let (bots, hours) = if quick { (10, 1) } else { (100, 24) };
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = home.path().join("multibot.db");
    println!("\n{hours} h of history for {bots} bots");
    let ids = create(&path, bots);
    let store = Store::open(&path, Access::History).expect("a store");
    let now = Stamp(jiff::Timestamp::now().as_microsecond());
    fill(&store, &ids, now, hours);
    let raw = (hours * 720 * bots) as u64;
    let used = store.used_bytes().expect("a size");
    println!(
        "  size                       {:8.1} MiB  ({} bytes a row of one pass, minutes and hours included)",
        used as f64 / f64::from(1 << 20),
        used / raw
    );
    query(&store, &ids[0], now);
    drop(store);
    command(
        home.path().to_owned(),
        &["metrics", "bot-0", "--since", "24h", "--json"],
    );
    command(home.path().to_owned(), &["metrics", "--since", "24h", "--json"]);
}

fn create(path: &std::path::Path, bots: usize) -> Vec<BotId> {
    let store = Store::open(path, Access::Write).expect("a store");
    (0..bots)
        .map(|number| {
            let id: BotId = format!("bot-{number}").parse().expect("an id");
            let bot = NewBot {
                id: id.clone(),
                platform: None,
                settings_json: r#"{"command":["/bin/true"]}"#.to_owned(),
                wanted: Wanted::Up,
                token: None,
            };
            store.bots().create(&bot, Stamp(0)).expect("a bot");
            id
        })
        .collect()
}

fn row(bot: &BotId, at: Stamp, pass: u64) -> MetricRow {
    MetricRow {
        wanted: 1,
        up: 1,
        measured: 1,
        memory_bytes: Some((40 << 20) + pass * 4096 % (8 << 20)),
        cpu_percent: Some(pass as f64 % 90.0 / 10.0),
        uptime_s: Some(pass * 5),
        connections: Some(pass % 7),
        open_files: Some(20),
        threads: Some(5),
        processes: Some(1),
        queue: Some(pass % 3),
        messages_in: pass % 4,
        messages_done: pass % 4,
        messages_out: pass % 5,
        done_p50_ms: (!pass.is_multiple_of(4)).then_some(12),
        done_p95_ms: (!pass.is_multiple_of(4)).then_some(150),
        ..MetricRow::of_pass(at, bot.clone(), State::Running)
    }
}

fn fill(store: &Store, ids: &[BotId], now: Stamp, hours: usize) {
    let passes = hours as i64 * 720;
    let retention = Retention {
        raw: Duration::from_secs(86_400),
        minute: Duration::from_secs(7 * 86_400),
        hour: Duration::from_secs(90 * 86_400),
        events: Duration::from_secs(90 * 86_400),
        size_max: 1 << 30,
    };
    let (mut writes, mut upkeeps) = (Vec::new(), Vec::new());
    for pass in 0..passes {
        let at = Stamp(now.0 - (passes - 1 - pass) * PERIOD_US);
        let rows: Vec<MetricRow> = ids.iter().map(|bot| row(bot, at, pass as u64)).collect();
        writes.push(timed(|| store.metrics().append(&rows).expect("written")).0);
        if pass % 12 == 11 {
            let upkeep = timed(|| {
                store.metrics().sum_up(at).expect("summed up");
                store.metrics().drop_old(&retention, at).expect("dropped");
                store.metrics().drop_surplus(retention.size_max).expect("dropped");
                store.give_back(retention.size_max).expect("given back");
            });
            upkeeps.push(upkeep.0);
        }
    }
    show("write of a pass", &mut writes);
    show("upkeep of a minute", &mut upkeeps);
}

fn query(store: &Store, bot: &BotId, now: Stamp) {
    for (what, resolution, hours) in [
        ("read 24 h by minutes", Resolution::Minute, 24),
        ("read 1 h by passes", Resolution::Raw, 1),
    ] {
        let from = Stamp(now.0 - hours * 3_600_000_000);
        let mut times: Vec<Duration> = (0..9)
            .map(|_| timed(|| store.metrics().series(Some(bot), resolution, from, now).expect("read")).0)
            .collect();
        show(what, &mut times);
    }
}

/// The whole process, by the binary.
fn command(home: PathBuf, args: &[&str]) {
    let run = || {
        let output = Command::new(env!("CARGO_BIN_EXE_multibot"))
            .env_clear()
            .arg("--home")
            .arg(&home)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let mut times: Vec<Duration> = (0..9).map(|_| timed(run).0).collect();
    show(&format!("multibot {}", args[..args.len() - 1].join(" ")), &mut times);
}

fn show(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let ms = |length: Duration| length.as_secs_f64() * 1000.0;
    let (p50, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("  {what:<38} p50 {:8.2} ms  worst {:8.2} ms", ms(p50), ms(worst));
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let done = work();
    (begun.elapsed(), done)
}
