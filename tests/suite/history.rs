//! What is remembered of bots: figures of every pass, and what happened, seen by `metrics`, `events` and by a
//! dashboard that reads the database.

use std::io::Read;
use std::process::Stdio;

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Home, SLEEPER, kill, wait_until};

/// Passes follow each other closely.
const SAMPLED: &str = "\
start_delay: 0s
sampling: {period: 100ms}
defaults:
  ready: {min_uptime: 0s}
  restart: {delay: 50ms, factor: 1, max_restarts: 1000}
";

const MIB: i64 = 1 << 20;

fn metrics(home: &Home, args: &[&str]) -> Value {
    home.ok(&[&["metrics"], args, &["--json"]].concat()).json()
}

/// The figures of one bot over the last hour.
fn figures(home: &Home, bot: &str) -> Value {
    metrics(home, &[bot, "--since", "1h"])["bot"].clone()
}

fn points(home: &Home, bot: &str) -> Vec<Value> {
    let all = metrics(home, &[bot, "--since", "1h"]);
    all["points"].as_array().unwrap().clone()
}

fn database(home: &Home) -> Connection {
    let database = Connection::open(home.path("multibot.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    database
}

/// Puts measurements into a home in which no supervisor runs: one row each of these ages in seconds.
fn measured(home: &Home, bot: &str, resolution: i64, ages: impl Iterator<Item = i64>, memory: impl Fn(i64) -> i64) {
    let mut database = database(home);
    let now: i64 = database.query_row("SELECT unixepoch()", [], |row| row.get(0)).unwrap();
    let entry = database.transaction().unwrap();
    for age in ages {
        let sql = "INSERT INTO process_metrics (resolution, at, bot, status, samples, wanted, up, measured, \
                   memory_bytes, uptime_s, messages_in, messages_done, messages_out, errors, restarts) \
                   VALUES (?1, (?5 - ?2) * 1000, ?3, 3, 12, 12, 12, 12, ?4, 864000 - ?2, 0, 0, 0, 0, 0)";
        entry
            .execute(sql, rusqlite::params![resolution, age, bot, memory(age), now])
            .unwrap();
    }
    entry.commit().unwrap();
}

#[test]
fn every_pass_is_remembered_for_every_bot_also_for_those_that_are_down() {
    let home = Home::with_settings(SAMPLED);
    home.create("up", SLEEPER);
    home.create_with("off", &["--no-start"], SLEEPER);
    home.create("bad", "exit 3");
    home.set("bad", &["restart.policy=never"]);
    // It has failed by then, or soon.
    home.run(&["start"]);
    wait_until("some passes were recorded", &home, || {
        ["up", "off", "bad"].iter().all(|bot| points(&home, bot).len() > 3)
    });
    let up = points(&home, "up").pop().unwrap();
    assert_eq!(
        (&up["state"], &up["wanted"], &up["up"]),
        (&"running".into(), &1.into(), &1.into())
    );
    assert!(
        up["memory_bytes"].as_u64().unwrap() > 0 && up["cpu_percent"].is_f64(),
        "{up}"
    );
    let off = points(&home, "off").pop().unwrap();
    assert_eq!(
        (&off["state"], &off["wanted"], &off["memory_bytes"]),
        (&"stopped".into(), &0.into(), &Value::Null)
    );
    assert_eq!(points(&home, "bad").pop().unwrap()["up"], 0);
    // It is all there with no supervisor.
    home.ok(&["stop"]);
    let all = metrics(&home, &[]);
    let ids: Vec<&str> = all["bots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bot| bot["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["up", "off", "bad"]);
    assert!(all["bots"][0]["uptime_percent"].as_f64().unwrap() > 0.0, "{all}");
    let shown = home.ok(&["metrics", "up", "--since", "1h"]);
    for words in [
        "up: memory",
        "up: cpu",
        "up: queue",
        "up: restarts",
        "uptime ",
        "MiB |",
        "+---",
    ] {
        assert!(shown.out.contains(words), "{words}: {}", shown.out);
    }
    assert!(
        shown.out.is_ascii() && shown.out.lines().all(|line| line.len() <= 80),
        "{}",
        shown.out
    );
    let table = home.ok(&["metrics"]).out;
    assert!(table.starts_with("BOT ") && table.lines().count() >= 4, "{table}");
    home.run(&["metrics", "upp"])
        .code(4)
        .one_line(&["upp", "nearest is up"]);
    home.run(&["metrics", "--since", "2999-01-01T00:00:00Z"])
        .code(2)
        .one_line(&["past"]);
}

/// Nothing runs, and the bot should: what nobody measures is recorded all the same.
#[test]
fn a_bot_that_is_down_and_alone_has_a_history() {
    let home = Home::with_settings(SAMPLED);
    home.ok(&["bot", "create", "lost", "--", "/nowhere/at/all"]);
    home.run(&["start"]).code(1);
    wait_until("its passes are recorded", &home, || points(&home, "lost").len() > 3);
    let figures = figures(&home, "lost");
    assert_eq!(
        (&figures["uptime_percent"], &figures["memory_bytes"]),
        (&0.0.into(), &Value::Null),
        "{figures}"
    );
}

#[test]
fn nothing_is_recorded_with_sampling_off() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    home.ok(&["stop"]);
    let count: i64 = database(&home)
        .query_row("SELECT COUNT(*) FROM process_metrics", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 0);
    let outcome = home.ok(&["metrics", "shop"]);
    assert!(
        outcome.err.contains("nothing was measured") && outcome.err.contains("sampling.period"),
        "{outcome:?}"
    );
    // What happened is known without any measurement.
    assert!(figures(&home, "shop")["uptime_percent"].as_f64().unwrap() > 0.0);
}

#[test]
fn failures_restarts_and_recovery_are_counted() {
    let home = Home::with_settings(SAMPLED);
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    wait_until("it was measured", &home, || points(&home, "shop").len() > 1);
    for restarts in 1..=3 {
        kill(home.pid("shop"), Signal::KILL);
        wait_until("it was restarted", &home, || home.bot("shop")["restarts"] == restarts);
        home.wait_state("shop", "running");
    }
    // An operator's own restart is none of them.
    home.ok(&["bot", "restart", "shop"]);
    wait_until("all of it is told", &home, || {
        let figures = figures(&home, "shop");
        let rows: u64 = points(&home, "shop")
            .iter()
            .map(|point| point["restarts"].as_u64().unwrap())
            .sum();
        figures["restarts"] == 3 && rows == 3
    });
    let figures = figures(&home, "shop");
    assert_eq!(figures["failures"], 3);
    let recovery = figures["mean_time_to_recovery_s"].as_f64().unwrap();
    assert!(recovery > 0.0 && recovery < 30.0, "{figures}");
    assert!(figures["uptime_percent"].as_f64().unwrap() < 100.0, "{figures}");
    let advice = metrics(&home, &["shop"])["recommendations"].clone();
    assert_eq!(advice[0]["rule"], "frequent_failure", "{advice}");
    assert_eq!(advice[0]["bot"], "shop");
    assert_eq!(
        advice[0]["text"],
        "fails most often with: killed by SIGKILL (3 times in 24 h)"
    );
    let shown = home.ok(&["metrics", "shop"]).out;
    assert!(shown.contains("* fails most often with: killed by SIGKILL"), "{shown}");
    assert!(
        home.ok(&["metrics"]).out.contains("* shop: fails most often"),
        "for all bots it says which"
    );
}

/// A retention that is shorter than a run, or a neighbour that fills the history, takes the events of a bot and not
/// what was measured of it.
#[test]
fn a_bot_whose_events_are_gone_keeps_its_uptime_and_restarts() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    measured(&home, "shop", 60, (1..60).rev().map(|minute| minute * 60), |_| MIB);
    let change = |sql: &str| database(&home).execute(sql, []).unwrap();
    change("DELETE FROM process_events");
    let shop = |home: &Home| metrics(home, &["shop", "--since", "2h"])["bot"].clone();
    assert_eq!(shop(&home)["uptime_percent"], 100.0);
    let last_ten = "at > (SELECT MAX(at) FROM process_metrics) - 600000";
    assert_eq!(
        change(&format!(
            "UPDATE process_metrics SET up = 6, restarts = 1 WHERE {last_ten}"
        )),
        10
    );
    let shop = shop(&home);
    assert_eq!(
        (&shop["restarts"], &shop["failures"]),
        (&10.into(), &0.into()),
        "{shop}"
    );
    // Half of ten minutes of 59.
    let uptime = shop["uptime_percent"].as_f64().unwrap();
    assert!((uptime - 100.0 * 54.0 / 59.0).abs() < 0.1, "{shop}");
}

#[test]
fn messages_and_errors_are_counted_and_timed() {
    let home = Home::with_settings(SAMPLED);
    home.ok(&["bot", "create", "demo"]);
    home.create(
        "sh",
        "multibot ipc ready; multibot ipc event error; multibot ipc event error; exec sleep 100000",
    );
    home.ok(&["start"]);
    for _ in 0..5 {
        home.ok(&["send", "demo", "--text", "hi", "--wait"]);
    }
    wait_until("they are counted", &home, || {
        let (demo, sh) = (figures(&home, "demo"), figures(&home, "sh"));
        demo["messages_done"] == 5 && sh["errors"] == 2
    });
    let demo = figures(&home, "demo");
    assert_eq!(
        (&demo["messages_in"], &demo["errors"]),
        (&5.into(), &0.into()),
        "{demo}"
    );
    assert!(demo["messages_out"].as_u64().unwrap() >= 5, "{demo}");
    assert!(
        demo["done_p50_ms"].as_u64().unwrap() <= demo["done_p95_ms"].as_u64().unwrap(),
        "{demo}"
    );
    // One that waits is in the queue, and not done.
    home.ok(&["bot", "stop", "demo"]);
    home.ok(&["send", "demo", "--text", "hi"]);
    wait_until("it waits", &home, || {
        let demo = figures(&home, "demo");
        demo["queue"] == 1 && demo["messages_in"] == 6 && demo["messages_done"] == 5
    });
}

#[test]
fn error_lines_count_once_whoever_supervises() {
    let home = Home::with_settings(SAMPLED);
    let more = home.path("more");
    let script = format!(
        "for i in 1 2 3 4 5; do echo ERROR $i; done
         until test -e {}; do sleep 0.05; done; echo ERROR 6; exec sleep 100000",
        more.display()
    );
    home.create("shop", &script);
    home.ok(&["start"]);
    let errors = || figures(&home, "shop")["errors"].clone();
    wait_until("the first lines were counted", &home, || errors() == 5);
    home.ok(&["stop", "--keep-bots"]);
    home.ok(&["start"]);
    std::fs::write(&more, "").unwrap();
    wait_until("the last one was counted", &home, || errors() == 6);
    // What was counted is published as well before the supervisor dies.
    let passes = || points(&home, "shop").len();
    for _ in 0..2 {
        let known = passes() + 3;
        wait_until("more passes were recorded", &home, || passes() > known);
        home.kill_supervisor();
        home.ok(&["start"]);
    }
    let known = passes() + 3;
    wait_until("more passes were recorded", &home, || passes() > known);
    assert_eq!(errors(), 6);
    home.ok(&["stop"]);
}

/// The query of the dashboard, with the date functions of this database.
#[test]
fn a_dashboard_finds_process_health() {
    let home = Home::with_settings(SAMPLED);
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    wait_until("it was measured", &home, || points(&home, "shop").len() > 2);
    let database = database(&home);
    let sql = "SELECT process_name, status, memory_usage_mb, uptime_seconds, active_connections, timestamp \
               FROM process_health WHERE timestamp > datetime('now', '-1 hour') ORDER BY timestamp DESC";
    let mut query = database.prepare(sql).unwrap();
    let rows: Vec<(String, String, f64, String)> = query
        .query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get::<_, Option<f64>>(2)?.unwrap_or(0.0),
                row.get(5)?,
            ))
        })
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(rows.len() > 2, "{rows:?}");
    assert_eq!((rows[0].0.as_str(), rows[0].1.as_str()), ("shop", "running"));
    assert!(rows.iter().any(|row| row.2 > 0.0), "{rows:?}");
    assert!(rows.is_sorted_by(|newer, older| newer.3 >= older.3), "{rows:?}");
    let later = sql.replace("-1 hour", "+1 hour");
    assert!(!database.prepare(&later).unwrap().exists([]).unwrap());
}

#[test]
fn what_is_too_old_or_too_much_goes() {
    let settings = format!("{SAMPLED}history: {{raw: 10m, minute: 1d, hour: 2d, events: 1d, max_size: 1MiB}}\n");
    let home = Home::with_settings(&settings);
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    home.ok(&["stop"]);
    measured(&home, "old", 0, (1000..31_000).step_by(1), |_| MIB);
    measured(&home, "old", 60, [90_000, 80_000].into_iter(), |_| MIB);
    measured(&home, "old", 3600, [200_000, 100_000].into_iter(), |_| MIB);
    let count = |sql: &str| -> i64 { database(&home).query_row(sql, [], |row| row.get(0)).unwrap() };
    database(&home)
        .execute("UPDATE process_events SET at = at - 90000000", [])
        .unwrap();
    home.ok(&["start"]);
    wait_until("old rows are gone", &home, || {
        count("SELECT COUNT(*) FROM process_metrics WHERE bot = 'old' AND resolution = 0") == 0
    });
    wait_until("old minutes and hours are gone", &home, || {
        count("SELECT COUNT(*) FROM process_metrics WHERE bot = 'old' AND at < (unixepoch() - 172800) * 1000") == 0
            && count("SELECT COUNT(*) FROM process_metrics WHERE resolution = 60 AND at < (unixepoch() - 86400) * 1000")
                == 0
    });
    // The one that is young enough stays.
    let hours = "SELECT COUNT(*) FROM process_metrics WHERE bot = 'old' AND resolution = 3600 \
                 AND at / 1000 < unixepoch() - 95000";
    assert_eq!(count(hours), 1);
    wait_until("old events are gone", &home, || {
        count("SELECT COUNT(*) FROM process_events WHERE at < (unixepoch() - 86400) * 1000") == 0
    });
    home.ok(&["stop"]);
    // Now it is not too old, but too much.
    measured(&home, "big", 0, 1..30_000, |_| MIB);
    home.set("shop", &["restart.delay=1s"]);
    home.write("home/multibot.yaml", &settings.replace("raw: 10m", "raw: 7d"));
    home.ok(&["start"]);
    let used = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
    wait_until("there is room again", &home, || {
        // As much as there is room for stays.
        (MIB * 3 / 4..=MIB).contains(&count(used))
            && count("SELECT COUNT(*) FROM process_metrics WHERE bot = 'shop'") > 0
    });
    home.wait_log("supervisor", "history.max_size");
}

#[test]
fn a_leak_is_recommended_against_from_what_was_measured() {
    let home = Home::new();
    home.create("leak", SLEEPER);
    home.set("leak", &["limits.memory.max=512MiB"]);
    measured(&home, "leak", 60, (0..360).rev().map(|minute| minute * 60), |age| {
        400 * MIB - age * 4 * MIB / 3600
    });
    let found = metrics(&home, &["leak"]);
    let advice = &found["recommendations"][0];
    assert_eq!(advice["rule"], "memory_growth", "{found}");
    let text = advice["text"].as_str().unwrap();
    assert!(
        text.starts_with("memory grows 4.0 MiB/h, its limit of 512.0 MiB is reached in about 28 h"),
        "{text}"
    );
    let speed = advice["figures"]["bytes_per_hour"].as_f64().unwrap();
    assert!((speed / MIB as f64 - 4.0).abs() < 0.1, "{advice}");
    assert_eq!(found["recommendations"], metrics(&home, &[])["recommendations"]);
}

#[test]
fn figures_come_as_csv_too() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    measured(&home, "shop", 60, [240, 180, 120].into_iter(), |_| MIB);
    let lines = |args: &[&str]| -> Vec<Vec<String>> {
        let out = home.ok(&[&["metrics"], args, &["--csv"]].concat()).out;
        out.lines()
            .map(|line| line.split(',').map(str::to_owned).collect())
            .collect()
    };
    let all = lines(&[]);
    assert_eq!((all.len(), all[0][0].as_str(), all[1][0].as_str()), (2, "id", "shop"));
    let one = lines(&["shop"]);
    assert_eq!((one.len(), one[0][0].as_str()), (4, "at"));
    assert!(one.iter().all(|cells| cells.len() == one[0].len()), "{one:?}");
    let memory = one[0].iter().position(|name| name == "memory_bytes").unwrap();
    assert_eq!(one[1][memory], MIB.to_string());
    home.run(&["metrics", "--csv", "--json"])
        .code(2)
        .one_line(&["--csv", "--json"]);
}

#[test]
fn a_bot_that_is_purged_leaves_no_history() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    measured(&home, "shop", 60, [240, 180].into_iter(), |_| MIB);
    home.ok(&["bot", "remove", "shop", "--purge"]);
    home.run(&["metrics", "shop"]).code(4);
    let left: i64 = database(&home)
        .query_row("SELECT COUNT(*) FROM process_metrics", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn events_are_chosen_by_time_and_name() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.create("news", SLEEPER);
    home.ok(&["start"]);
    kill(home.pid("shop"), Signal::KILL);
    home.wait_event("shop", "exited");
    let names = |args: &[&str]| -> Vec<String> {
        let records = home.ok(&[&["events", "--json"], args].concat()).records();
        records
            .iter()
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&["--name", "exited"]), ["exited"]);
    assert_eq!(names(&["news", "--name", "exited"]), [""; 0]);
    assert!(names(&["--since", "1h"]).len() >= 5);
    assert_eq!(names(&["--since", "1h", "--until", "30m"]), [""; 0]);
    assert_eq!(names(&["--since", "1h", "-n", "2"]).len(), 2);
    home.run(&["events", "--since", "2999-01-01T00:00:00Z"])
        .code(2)
        .one_line(&["--since", "2999", "past"]);
    home.run(&["events", "shoq"])
        .code(4)
        .one_line(&["shoq", "nearest is shop"]);
    home.run(&["events", "-f", "--until", "1h"])
        .code(2)
        .one_line(&["--until"]);
}

#[test]
fn followed_events_come_once_and_in_order_whatever_is_forgotten() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.create_with("gone", &["--no-start"], "exit 0");
    home.set("gone", &["restart.policy=never"]);
    home.ok(&["start"]);
    let mut follower = home.spawn(&["events", "-f", "--json", "-n", "1000"]);
    let told = |follower: &crate::harness::Running| -> Vec<Value> {
        follower
            .out()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let count = |follower: &crate::harness::Running, bot: &str, name: &str| {
        told(follower)
            .iter()
            .filter(|it| it["bot"] == bot && it["name"] == name)
            .count()
    };
    wait_until("it shows what was", &home, || count(&follower, "shop", "running") == 1);
    // The newest events are forgotten, and their numbers given anew.
    home.run(&["bot", "start", "gone"]);
    wait_until("it shows what is", &home, || {
        count(&follower, "gone", "exited") == 1 && home.state("gone") == "stopped"
    });
    home.ok(&["bot", "remove", "gone", "--purge"]);
    for round in 2..6 {
        home.ok(&["bot", "restart", "shop"]);
        wait_until("it goes on", &home, || count(&follower, "shop", "running") == round);
    }
    let of_shop = |it: &Value| it["bot"] == "shop";
    let shown: Vec<Value> = told(&follower).into_iter().filter(of_shop).collect();
    let kept: Vec<Value> = home.events("shop");
    assert_eq!(shown, kept);
    assert!(follower.is_running());
}

#[test]
fn following_ends_when_nobody_reads_on() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let mut command = home.command(&["events", "-f"]);
    let mut follower = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = follower.stdout.take().unwrap();
    let mut first = [0; 1];
    pipe.read_exact(&mut first).unwrap();
    // Nothing more happens, and it ends all the same.
    drop(pipe);
    let mut status = None;
    wait_until("it ends", &home, || {
        status = follower.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
    let mut said = String::new();
    follower.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}
