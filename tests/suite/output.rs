//! What commands print: the promised JSON, nothing beside it, and a quiet end when nobody reads on.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Home, Outcome, SLEEPER};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

const BOT_FIELDS: [&str; 41] = [
    "id",
    "index",
    "platform",
    "wanted",
    "enabled",
    "state",
    "reason",
    "pid",
    "run_id",
    "started_at",
    "uptime_s",
    "restarts",
    "last_exit",
    "next_restart_at",
    "memory_bytes",
    "cpu_percent",
    "heartbeat_age_s",
    "inbox_new",
    "inbox_cur",
    "inbox_later",
    "inbox_held",
    "inbox_oldest_age_s",
    "dead",
    "connected",
    "status_text",
    "kernel",
    "state_since",
    "open_files",
    "threads",
    "processes",
    "connections",
    "output_bytes_per_s",
    "limits",
    "limit_action",
    "ready",
    "probes",
    "errors_per_minute",
    "hold",
    "asked",
    "alerts",
    "alert_level",
];

const LIMIT_FIELDS: [&str; 6] = ["what", "warn", "max", "level", "since", "why"];

fn check_shape(status: &Value) {
    assert_eq!(
        keys(status),
        ["schema", "generated_at", "supervisor", "summary", "bots"]
    );
    assert_eq!(status["schema"], 1);
    assert_eq!(
        keys(&status["supervisor"]),
        [
            "running",
            "pid",
            "version",
            "started_at",
            "home",
            "stale",
            "notes",
            "capacity",
            "adopted",
            "disk_free_bytes",
            "outage",
            "alerts",
            "alert_level"
        ]
    );
    assert_eq!(
        keys(&status["summary"]),
        [
            "bots",
            "running",
            "starting",
            "unhealthy",
            "stopping",
            "backoff",
            "failed",
            "held",
            "stopped",
            "blocked",
            "blocked_permanent"
        ]
    );
    for bot in status["bots"].as_array().unwrap() {
        assert_eq!(keys(bot), BOT_FIELDS);
        let limits = bot["limits"].as_array().unwrap();
        limits.iter().for_each(|limit| assert_eq!(keys(limit), LIMIT_FIELDS));
        assert!(bot["last_exit"].is_null() || keys(&bot["last_exit"]) == ["code", "signal", "at", "oom", "why"]);
    }
}

/// One bot of each kind.
fn fleet(home: &Home) {
    home.create("runs", SLEEPER);
    home.create("fails", "exit 3");
    home.create_with("down", &["--no-start"], SLEEPER);
    home.create_with("held", &["--platform", "telegram"], "exit 77");
}

#[test]
fn status_has_exactly_the_promised_fields_whatever_runs() {
    let home = Home::missing();
    check_shape(&home.status());
    let home = Home::new();
    check_shape(&home.status());
    fleet(&home);
    check_shape(&home.status());
    home.run(&["start"]);
    home.wait_state("fails", "failed");
    home.wait_state("held", "held");
    let status = home.status();
    check_shape(&status);
    for (id, unknown) in [
        (
            "runs",
            &[
                "reason",
                "last_exit",
                "next_restart_at",
                "memory_bytes",
                "cpu_percent",
                "heartbeat_age_s",
                "connected",
            ][..],
        ),
        (
            "fails",
            &["pid", "run_id", "started_at", "uptime_s", "memory_bytes", "connected"],
        ),
        (
            "down",
            &[
                "pid",
                "run_id",
                "started_at",
                "uptime_s",
                "last_exit",
                "next_restart_at",
                "reason",
            ],
        ),
    ] {
        let bot = home.bot(id);
        for (name, value) in bot.as_object().unwrap() {
            let is_expected = unknown.contains(&name.as_str());
            assert!(value.is_null() || !is_expected, "{id}.{name} is {value}");
        }
    }
    let runs = home.bot("runs");
    for name in [
        "pid",
        "run_id",
        "started_at",
        "uptime_s",
        "inbox_new",
        "inbox_cur",
        "inbox_later",
        "inbox_held",
        "dead",
    ] {
        assert!(!runs[name].is_null(), "{name}");
    }
}

#[test]
fn the_summary_counts_what_the_bots_are() {
    let home = Home::new();
    fleet(&home);
    home.run(&["start"]);
    home.wait_state("fails", "failed");
    let status = home.status();
    let bots = status["bots"].as_array().unwrap();
    for (name, count) in status["summary"].as_object().unwrap() {
        let expected = match name.as_str() {
            "bots" => bots.len(),
            "blocked" | "blocked_permanent" => 0,
            state => bots.iter().filter(|bot| bot["state"] == state).count(),
        };
        assert_eq!(count.as_u64(), Some(expected as u64), "{name}");
    }
    let shown = home.run(&["status"]).out;
    let line = shown.lines().last().unwrap();
    assert_eq!(
        line,
        "Status: 1 processes | 0 connected | 0 unhealthy | 0 blocked (0 permanent) | 1 failed | 1 held"
    );
    for bot in ["runs", "fails", "down", "held"] {
        assert!(shown.lines().any(|row| row.starts_with(bot)), "{shown}");
    }
    // Only those that were asked for are counted.
    let one = home.ok(&["status", "runs", "--json"]).json();
    assert_eq!(
        (one["bots"].as_array().unwrap().len(), &one["summary"]["bots"]),
        (1, &Value::from(1))
    );
}

#[test]
fn json_verbs_print_json_and_nothing_else_on_stdout() {
    let home = Home::new();
    fleet(&home);
    home.run(&["start"]);
    home.write("more.yaml", "id: more\nenabled: false\n");
    for args in [
        &["status", "--json"][..],
        &["list", "--json"],
        &["bot", "show", "runs", "--json"],
        &["apply", "more.yaml", "--json"],
    ] {
        let document = home.run(args).json();
        assert_eq!(document["schema"], 1, "{args:?}");
    }
    for args in [&["events", "--json"][..], &["audit", "--json"], &["logs", "--json"]] {
        assert!(!home.ok(args).records().is_empty(), "{args:?}");
    }
    // Faults go to stderr and leave stdout empty.
    for args in [&["bot", "show", "none", "--json"][..], &["apply", "nowhere", "--json"]] {
        let outcome = home.run(args);
        assert!(outcome.out.is_empty() && !outcome.err.is_empty(), "{outcome:?}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_fault() {
    let home = Home::new();
    home.create(
        "shop",
        "i=0; while [ $i -lt 5000 ]; do echo \"line number $i\"; i=$((i+1)); done; echo the end; exec sleep 100000",
    );
    home.ok(&["start"]);
    home.wait_log("shop", "the end");
    for args in [
        &["logs", "shop", "-n", "5000"][..],
        &["logs", "shop", "-n", "5000", "-f"],
        &["status"],
        &["status", "--json"],
        &["list"],
        &["events"],
        &["events", "-f"],
        &["metrics"],
        &["metrics", "shop", "--csv"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let mut child = home
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let outcome = Outcome::of(args, child.wait_with_output().unwrap());
        assert_eq!((outcome.status, outcome.err.as_str()), (Some(0), ""), "{outcome:?}");
    }
}

#[test]
fn a_full_disk_under_stdout_is_told() {
    let home = Home::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = home
        .command(&["list", "--json"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    Outcome::of(&["list"], output)
        .code(1)
        .one_line(&["stdout", "No space left"]);
}

#[test]
fn there_is_no_colour_in_a_pipe() {
    let home = Home::new();
    fleet(&home);
    home.run(&["start"]);
    for args in [&["status"][..], &["list"], &["logs"], &["events"], &["--help"]] {
        let outcome = home.run(args);
        assert!(
            !outcome.out.contains('\u{1b}') && !outcome.err.contains('\u{1b}'),
            "{outcome:?}"
        );
    }
}

#[test]
fn completions_are_there_for_the_usual_shells() {
    let home = Home::missing();
    for shell in ["bash", "zsh", "fish"] {
        let outcome = home.ok(&["completions", shell]);
        assert!(
            outcome.out.contains("multibot") && outcome.out.contains("apply"),
            "{shell}"
        );
    }
    home.run(&["completions", "cobol"]).code(2).one_line(&["cobol"]);
    let script = home.ok(&["completions", "bash"]).out;
    let path = home.write("completions.bash", &script);
    let check = Command::new("bash").arg("-n").arg(path).output();
    // A host without bash has nothing to check it with.
    assert!(check.map_or(true, |output| output.status.success()));
}

#[test]
fn every_verb_explains_itself() {
    let home = Home::missing();
    let verbs: &[&[&str]] = &[
        &[],
        &["up"],
        &["start"],
        &["stop"],
        &["status"],
        &["list"],
        &["apply"],
        &["logs"],
        &["send"],
        &["metrics"],
        &["events"],
        &["audit"],
        &["completions"],
        &["bot"],
        &["bot", "create"],
        &["bot", "show"],
        &["bot", "set"],
        &["bot", "remove"],
        &["bot", "start"],
        &["bot", "stop"],
        &["bot", "restart"],
        &["bot", "enable"],
        &["bot", "disable"],
    ];
    for verb in verbs {
        let long = home.ok(&[verb, &["--help"][..]].concat()).out;
        let short = home.ok(&[verb, &["-h"][..]].concat()).out;
        assert!(
            long.contains("Usage: multibot") && long.contains("Examples:"),
            "{verb:?}: {long}"
        );
        assert!(
            short.contains("Usage: multibot") && short.len() <= long.len(),
            "{verb:?}"
        );
        assert!(!long.contains("__"), "hidden verbs stay hidden: {long}");
    }
    assert!(home.ok(&["--version"]).out.starts_with("multibot "));
    assert!(!home.dir().exists(), "help makes no home");
}
