//! Alerts from outside: what a sink is told, and that no word is lost on its way.

mod double;

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Home, SLEEPER, kill, wait_until};
use double::Double;

/// Alerts come and go as soon as they can, and a sink tries again at once.
fn settings(sinks: &str) -> String {
    format!(
        "start_delay: 0s\nsampling: {{period: off}}\n\
         defaults:\n  ready: {{min_uptime: 0s}}\n  restart: {{delay: 100s, factor: 1, max_delay: 100s}}\n\
         alerts:\n  recover_after: 0s\n  rules:\n    down: {{for: 0s}}\n    adopted: {{enabled: false}}\n  \
         sinks:\n    log: {{enabled: false}}\n{sinks}"
    )
}

fn webhook(double: &Double) -> String {
    format!(
        "    ops: {{type: webhook, url: \"{}/hooks/s3cr3t-path\", retry_delay: 20ms, max_retry_delay: 50ms}}\n",
        double.url()
    )
}

/// A bot that fails as long as the file `bad` is in the folder around the home.
fn create_fickle(home: &Home, bot: &str) {
    let bad = home.base().join("bad");
    home.create(bot, &format!("[ -e {} ] && exit 3; exec sleep 100000", bad.display()));
}

/// `raised down shop`
fn short(word: &Value) -> String {
    let text = |key: &str| word[key].as_str().unwrap_or("-").to_owned();
    format!("{} {} {}", text("change"), text("rule"), text("bot"))
}

fn wait_words(home: &Home, double: &Double, expected: &[&str]) {
    let heard = || double.words().iter().map(short).collect::<Vec<_>>();
    wait_until(&format!("the sink heard {expected:?}, not {:?}", heard()), home, || {
        heard().len() >= expected.len()
    });
    assert_eq!(heard(), expected);
}

fn alerts(home: &Home, args: &[&str]) -> Vec<Value> {
    home.ok(&[&["alerts", "list", "--json"], args].concat()).records()
}

#[test]
fn a_bot_that_is_down_is_told_once_and_so_is_its_recovery() {
    let double = Double::start();
    let home = Home::with_settings(&settings(&webhook(&double)));
    home.write("bad", "");
    create_fickle(&home, "shop");
    home.run(&["start"]);
    wait_words(&home, &double, &["raised down shop"]);
    wait_until("the snapshot says so", &home, || home.bot("shop")["alerts"] == 1);
    assert_eq!(home.bot("shop")["alert_level"], "critical");
    let open = alerts(&home, &[]);
    assert_eq!((open.len(), &open[0]["state"]), (1, &Value::from("open")));
    fs::remove_file(home.base().join("bad")).unwrap();
    home.ok(&["bot", "restart", "shop"]);
    wait_words(&home, &double, &["raised down shop", "recovered down shop"]);
    let words = double.words();
    assert_eq!(words[0]["id"], words[1]["id"]);
    assert_eq!(words[0]["text"], "is not running (backoff): exited with code 3");
    assert!(words[1]["recovered_at"].is_string() && words[0]["home"] == home.dir().to_str().unwrap());
    wait_until("no alert is open", &home, || home.bot("shop")["alerts"] == 0);
    assert_eq!(alerts(&home, &[]), Vec::<Value>::new());
    assert_eq!(alerts(&home, &["--all", "--bot", "shop"]).len(), 1);
    // Its address is a secret.
    home.ok(&["stop"]);
    let everything = [
        home.read("logs/supervisor.log"),
        home.read("run/status.json"),
        home.run(&["alerts", "test"]).out,
        home.run(&["status", "--json"]).out,
    ];
    assert!(everything.iter().all(|text| !text.contains("s3cr3t")), "{everything:?}");
}

#[test]
fn a_sink_that_is_away_for_a_while_loses_nothing_and_keeps_the_order() {
    let double = Double::start();
    let home = Home::with_settings(&settings(&webhook(&double)));
    double.refuse(500);
    home.write("bad", "");
    create_fickle(&home, "shop");
    create_fickle(&home, "desk");
    home.run(&["start"]);
    wait_until("two alerts are open", &home, || alerts(&home, &[]).len() == 2);
    wait_until("the sink has refused", &home, || double.refused() >= 2);
    // Neither the death of the supervisor nor a new one changes what is to be told.
    home.kill_supervisor();
    fs::remove_file(home.base().join("bad")).unwrap();
    home.run(&["start"]);
    home.ok(&["bot", "restart", "shop", "desk"]);
    wait_until("both are over", &home, || alerts(&home, &[]).is_empty());
    let refused = double.refused();
    wait_until("the new one tries as well", &home, || double.refused() > refused);
    assert_eq!(double.words(), Vec::<Value>::new());
    double.accept();
    wait_until("all was told", &home, || double.words().len() >= 4);
    let words = double.words();
    let mut heard: Vec<String> = words.iter().map(short).collect();
    assert!(
        heard[..2].iter().all(|word| word.starts_with("raised"))
            && heard[2..].iter().all(|word| word.starts_with("recovered")),
        "{heard:?}"
    );
    heard.sort();
    assert_eq!(
        heard,
        [
            "raised down desk",
            "raised down shop",
            "recovered down desk",
            "recovered down shop"
        ]
    );
}

#[test]
fn a_server_that_asks_for_patience_gets_it() {
    let double = Double::start();
    let home = Home::with_settings(&settings(&webhook(&double)));
    double.answer_next(429, "retry-after: 1");
    home.ok(&["start"]);
    let outcome = home.run(&["alerts", "test", "ops", "--json"]).code(1);
    let shown = &outcome.records()[0];
    assert_eq!(shown["outcome"], "waiting");
    assert!(shown["why"].as_str().unwrap().contains("HTTP 429"), "{shown}");
    wait_words(&home, &double, &["test test -"]);
    assert!(double.gap() >= std::time::Duration::from_secs(1), "{:?}", double.gap());
    let idle = &home.ok(&["alerts", "sinks", "--json"]).records()[1];
    assert_eq!(
        (&idle["sink"], &idle["state"], &idle["waiting"]),
        (&"ops".into(), &"idle".into(), &0.into())
    );
    // What is refused for good is set aside, with the reason.
    double.answer_next(400, "x-none: 1");
    let outcome = home.run(&["alerts", "test", "ops", "--json"]).code(1);
    assert_eq!(outcome.records()[0]["outcome"], "refused");
    home.ok(&["alerts", "test"]);
}

#[test]
fn silences_and_acknowledgements_hold_with_and_without_a_supervisor() {
    let double = Double::start();
    let home = Home::with_settings(&settings(&webhook(&double)));
    home.write("bad", "");
    create_fickle(&home, "shop");
    create_fickle(&home, "desk");
    // Before any supervisor runs.
    home.ok(&["alerts", "silence", "shop", "--for", "1h", "--reason", "moving"]);
    home.run(&["start"]);
    wait_words(&home, &double, &["raised down desk"]);
    let of_shop = alerts(&home, &["--bot", "shop"]);
    assert_eq!((of_shop.len(), &of_shop[0]["state"]), (1, &Value::from("silenced")));
    let silences = home.ok(&["alerts", "silence", "--json"]).records();
    assert_eq!(
        (&silences[0]["bot"], &silences[0]["reason"]),
        (&"shop".into(), &"moving".into())
    );
    home.ok(&["alerts", "silence", "shop", "--clear"]);
    wait_words(&home, &double, &["raised down desk", "raised down shop"]);
    let id = of_shop[0]["id"].as_str().unwrap();
    home.ok(&["alerts", "ack", id]);
    let acked = &alerts(&home, &["--bot", "shop"])[0];
    assert_eq!(acked["state"], "acked");
    assert!(acked["acked_by"].as_str().unwrap().starts_with("cli:"));
    assert_eq!(home.audit_actions("alerts ack"), 1);
    assert_eq!(home.audit_actions("alerts silence"), 2);
    home.run(&["alerts", "ack", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]).code(1);
    home.run(&["alerts", "silence", "nobody", "--for", "1h"]).code(4);
    home.run(&["alerts", "silence", "shop", "--for", "0s"]).code(2);
    assert_eq!(home.ok(&["alerts", "silence", "--json"]).records(), Vec::<Value>::new());
    home.run(&["alerts", "test", "opps"]).code(1);
}

#[test]
fn most_bots_failing_together_are_one_alert_and_nobody_is_given_up() {
    let double = Double::start();
    let yaml = settings(&webhook(&double))
        .replace("delay: 100s, factor: 1, max_delay: 100s", "delay: 1s, factor: 2")
        .replace("down: {for: 0s}", "down: {for: 20s}\n    crash_loop: {for: 20s}")
        .replace(
            "  sinks:",
            "  outage: {recover_after: 0s, restart_delay: 50ms}\n  sinks:",
        );
    let home = Home::with_settings(&yaml);
    for number in 0..10 {
        create_fickle(&home, &format!("b{number}"));
        home.set(
            &format!("b{number}"),
            &["restart.max_restarts=3", "restart.reset_after=1h"],
        );
    }
    home.create("steady", SLEEPER);
    home.create("other", SLEEPER);
    home.ok(&["start"]);
    home.write("bad", "");
    for number in 0..10 {
        kill(home.pid(&format!("b{number}")), Signal::KILL);
    }
    wait_words(&home, &double, &["raised outage -"]);
    let text = double.words()[0]["text"].as_str().unwrap().to_owned();
    assert!(text.contains(" of 12 bots fail together"), "{text}");
    wait_until("status says so", &home, || {
        home.status()["supervisor"]["outage"]["of"] == 12
    });
    let notes = home.status()["supervisor"]["notes"].to_string();
    assert!(notes.contains("bots fail together"), "{notes}");
    // Far more failures than max_restarts bears are not counted.
    wait_until("b0 has failed often", &home, || {
        home.bot("b0")["restarts"].as_u64() >= Some(12)
    });
    let failed = |home: &Home| home.status()["summary"]["failed"].clone();
    assert_eq!(failed(&home), 0);
    fs::remove_file(home.base().join("bad")).unwrap();
    wait_until("the outage is over", &home, || {
        home.status()["supervisor"]["outage"].is_null()
    });
    wait_words(&home, &double, &["raised outage -", "recovered outage -"]);
    assert_eq!(failed(&home), 0);
}

#[test]
fn a_hook_gets_the_facts_and_a_chat_a_message() {
    let double = Double::start();
    let home = Home::missing();
    fs::create_dir(home.dir()).unwrap();
    let out = home.base().join("hook.txt");
    let script = format!(
        "read -r line; echo \"$MULTIBOT_ALERT_STATE $MULTIBOT_ALERT_RULE $MULTIBOT_ALERT_BOT $line\" >> {}",
        out.display()
    );
    let script = home.script("hook", &script);
    let yaml = settings(&format!(
        "    hook: {{type: exec, command: [/bin/sh, {}]}}\n    \
             chat: {{type: telegram, bot: shop, chat: \"-100200\", api_root: \"{}\", min_level: critical}}\n    \
             team: {{type: slack, url: \"{}/slack\", rules: [held]}}\n",
        script.display(),
        double.url(),
        double.url()
    ));
    home.write("home/multibot.yaml", &yaml);
    let token = "123456:AAAAAAAAAABBBBBBBBBBCCCCCCCCCCDDDDDDD";
    home.write("token", token);
    home.write("bad", "");
    let bad = home.base().join("bad");
    let script = home.script("shop", &format!("[ -e {} ] && exit 3; exec sleep 1000", bad.display()));
    let token_file = home.base().join("token");
    home.ok(&[
        "bot",
        "create",
        "shop",
        "--token-file",
        token_file.to_str().unwrap(),
        "--",
        "/bin/sh",
        script.to_str().unwrap(),
    ]);
    home.run(&["start"]);
    wait_until("the hook was run", &home, || {
        fs::read_to_string(&out).is_ok_and(|text| text.ends_with('\n'))
    });
    let hooked = fs::read_to_string(&out).unwrap();
    assert!(hooked.starts_with("raised down shop {\"version\":1,"), "{hooked}");
    wait_until("the chat was written to", &home, || !double.requests().is_empty());
    let (path, body) = double.requests().remove(0);
    assert_eq!(path, format!("/bot{token}/sendMessage"));
    assert_eq!(body["chat_id"], "-100200");
    assert_eq!(
        body["text"],
        "[critical] shop: is not running (backoff): exited with code 3"
    );
    let everything = home.read("logs/supervisor.log") + &home.run(&["alerts", "test", "--json"]).out;
    assert!(!everything.contains("AAAAAAAAAABBBBBBBBBB"), "{everything}");
    assert!(
        double
            .requests()
            .iter()
            .any(|(path, body)| path == "/slack" && body["text"].is_string())
    );
}

#[test]
fn more_than_a_sink_takes_in_a_minute_comes_as_one() {
    let double = Double::start();
    let sinks = webhook(&double).replace("type: webhook", "type: webhook, rate: 2");
    let home = Home::with_settings(&settings(&sinks));
    home.ok(&["start"]);
    for _ in 0..5 {
        home.run(&["alerts", "test", "--timeout", "100ms"]);
    }
    wait_until("two went out", &home, || double.words().len() >= 2);
    // Changed settings begin a new minute; what has waited comes before and in its order.
    let outcome = home.run(&["alerts", "test", "--timeout", "100ms", "--json"]).code(1);
    assert!(outcome.records()[0]["why"].as_str().unwrap().contains("not its turn"));
    assert_eq!(double.words().len(), 2);
    home.write("home/multibot.yaml", &settings(&sinks.replace("rate: 2", "rate: 100")));
    home.run(&["alerts", "test"]).code(0);
    assert_eq!(double.words().len(), 7);
}

#[test]
fn a_limit_that_restarts_or_stops_a_bot_is_told_with_what_was_done() {
    let double = Double::start();
    let yaml = settings(&webhook(&double)).replace("period: off", "period: 100ms");
    let home = Home::with_settings(&yaml.replace("delay: 100s", "delay: 0s"));
    home.create_with("shop", &["--no-start"], SLEEPER);
    home.create_with("news", &["--no-start"], SLEEPER);
    let hungry = ["limits.open_files.max=1", "limits.open_files.for=0s"];
    home.set("shop", &hungry);
    home.set(
        "shop",
        &["limits.open_files.action=restart", "restart.max_restarts=1000"],
    );
    home.set("news", &hungry);
    home.set("news", &["limits.open_files.action=stop"]);
    home.ok(&["start"]);
    home.ok(&["bot", "start", "shop", "news"]);
    let told = |bot: &str| {
        let words = double.words();
        words
            .iter()
            .find(|word| short(word) == format!("raised limit {bot}"))
            .map(|word| (word["level"].clone(), word["text"].as_str().unwrap().to_owned()))
    };
    for (bot, level) in [("shop", "warning"), ("news", "critical")] {
        wait_until(&format!("the limit of {bot} is told"), &home, || told(bot).is_some());
        assert_eq!(told(bot).unwrap().0, level);
    }
    assert!(
        told("shop").unwrap().1.ends_with("; action restart"),
        "{:?}",
        told("shop")
    );
    assert!(told("news").unwrap().1.ends_with("; action stop"), "{:?}", told("news"));
    home.wait_state("news", "failed");
    assert_eq!(home.bot("news")["limit_action"]["action"], "stop");
    home.set("news", &["limits.open_files.action=alert"]);
    home.ok(&["bot", "start", "news"]);
    wait_until("the action is past", &home, || {
        home.bot("news")["limit_action"].is_null()
    });
}

#[test]
fn an_open_limit_is_the_same_alert_under_the_next_supervisor() {
    let double = Double::start();
    let yaml = settings(&webhook(&double)).replace("period: off", "period: 100ms");
    let home = Home::with_settings(&yaml);
    home.create_with("shop", &["--no-start"], SLEEPER);
    let limits = ["max=1", "for=2s", "action=alert"].map(|it| format!("limits.open_files.{it}"));
    home.set("shop", &limits.each_ref().map(String::as_str));
    home.ok(&["start"]);
    home.ok(&["bot", "start", "shop"]);
    wait_words(&home, &double, &["raised limit shop"]);
    let level = || {
        let bot = home.bot("shop");
        let mut limits = bot["limits"].as_array().unwrap().iter();
        limits.find(|it| it["what"] == "open_files").unwrap()["level"].clone()
    };
    // A word may come before the snapshot that it is about.
    wait_until("it is shown", &home, || level() == "max");
    home.kill_supervisor();
    home.ok(&["start"]);
    wait_until("it is measured again", &home, || {
        home.bot("shop")["memory_bytes"].is_u64()
    });
    assert_eq!(level(), "max");
    home.ok(&["stop", "--keep-bots"]);
    home.ok(&["start"]);
    wait_until("it is measured again", &home, || {
        home.bot("shop")["memory_bytes"].is_u64()
    });
    assert_eq!(level(), "max");
    // Another setting is nothing to it.
    home.set("shop", &["restart.delay=7s"]);
    assert_eq!(level(), "max");
    home.ok(&["alerts", "test"]);
    wait_words(&home, &double, &["raised limit shop", "test test -"]);
}

#[test]
fn a_supervisor_that_died_is_told_and_one_that_left_is_not() {
    let double = Double::start();
    let yaml = settings(&webhook(&double)).replace("adopted: {enabled: false}", "adopted: {enabled: true}");
    let home = Home::with_settings(&yaml);
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    home.ok(&["stop", "--keep-bots"]);
    home.ok(&["start"]);
    home.ok(&["alerts", "test"]);
    assert_eq!(home.status()["supervisor"]["adopted"], 0);
    home.kill_supervisor();
    home.ok(&["start"]);
    wait_words(&home, &double, &["test test -", "raised adopted -"]);
    assert_eq!(home.status()["supervisor"]["adopted"], 1);
    assert!(home.status()["supervisor"]["disk_free_bytes"].as_u64().unwrap() > 0);
    // It is told once, and nothing of it stays open.
    home.ok(&["alerts", "test"]);
    wait_words(&home, &double, &["test test -", "raised adopted -", "test test -"]);
    assert_eq!(alerts(&home, &[]), Vec::<Value>::new());
}

#[test]
fn alerts_of_the_home_are_shown_and_checked() {
    let double = Double::start();
    // An outage of which the only cause is its platform, and which no bot is blamed for.
    let yaml = settings(&webhook(&double)).replace(
        "  sinks:",
        "  outage: {min_bots: 2, recover_after: 1h, restart_delay: 50ms}\n  sinks:",
    );
    let home = Home::with_settings(&yaml);
    for bot in ["shop", "desk"] {
        create_fickle(&home, bot);
    }
    home.ok(&["start"]);
    home.write("bad", "");
    for bot in ["shop", "desk"] {
        // Not one of the signals that people send.
        kill(home.pid(bot), Signal::ABORT);
    }
    wait_until("status counts it", &home, || home.status()["supervisor"]["alerts"] == 1);
    let about = &home.status()["supervisor"];
    assert_eq!(about["alert_level"], "critical");
    let notes = about["notes"].to_string();
    assert!(notes.contains("1 alert of the home (critical): outage: "), "{notes}");
    let check = home.run(&["check"]).code(2);
    assert!(check.out.contains("'alerts'=1;"), "{}", check.out);
}

#[test]
fn a_halted_supervisor_is_said_at_once_and_takes_over_later() {
    let double = Double::start();
    let home = Home::with_settings(&settings(&webhook(&double)));
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let pid = home.supervisor_pid();
    kill(pid, Signal::STOP);
    let outcome = home.run(&["alerts", "test", "--json", "--timeout", "1h"]).code(1);
    let why = outcome.records()[0]["why"].as_str().unwrap().to_owned();
    let silenced = home.run(&["alerts", "silence", "shop", "--for", "1h"]);
    kill(pid, Signal::CONT);
    let halted = format!("the supervisor (pid {pid}) is halted by a signal");
    assert!(why.starts_with(&halted), "{why}");
    let told = silenced.code(0);
    assert!(told.err.contains(&halted), "{}", told.err);
    assert_eq!(home.ok(&["alerts", "silence", "--json"]).records().len(), 1);
    // The word that was posted meanwhile goes out by itself.
    wait_words(&home, &double, &["test test -"]);
}

#[test]
fn a_word_behind_one_that_fails_says_so() {
    let double = Double::start();
    let sinks = webhook(&double).replace(
        "retry_delay: 20ms, max_retry_delay: 50ms",
        "retry_delay: 1h, max_retry_delay: 1h",
    );
    let home = Home::with_settings(&settings(&sinks));
    home.ok(&["start"]);
    double.refuse(503);
    home.run(&["alerts", "test"]).code(1);
    let second = home.run(&["alerts", "test", "--json", "--timeout", "2s"]).code(1);
    let why = second.records()[0]["why"].as_str().unwrap().to_owned();
    assert!(
        why.starts_with("2 wait for the first of them") && why.contains("HTTP 503"),
        "{why}"
    );
    let sinks = home.ok(&["alerts", "sinks", "--json"]).records();
    let ops = sinks.iter().find(|sink| sink["sink"] == "ops").unwrap();
    assert_eq!(
        (&ops["state"], &ops["waiting"]),
        (&"failing".into(), &2.into()),
        "{ops}"
    );
    assert!(
        ops["failing_since"].is_string() && ops["reason"].as_str().unwrap().contains("HTTP 503"),
        "{ops}"
    );
}

#[test]
fn a_sink_that_cannot_work_is_noted_until_it_can() {
    let home = Home::with_settings(&settings(
        "    chat: {type: telegram, bot: shop, chat: \"1\", min_level: critical}\n    \
             hook: {type: exec, command: [/no/such/hook]}\n",
    ));
    home.ok(&["start"]);
    let notes = || home.status()["supervisor"]["notes"].to_string();
    wait_until("the hook is noted", &home, || {
        notes().contains("sinks.hook.command: there is no program")
    });
    assert!(
        notes().contains("alerts.sinks.chat.bot: there is no bot shop"),
        "{}",
        notes()
    );
    assert!(home.read("logs/supervisor.log").contains("there is no bot shop"));
    home.create("shop", SLEEPER);
    wait_until("the bot is known", &home, || notes().contains("shop has no token"));
}

#[test]
fn reminders_do_not_pile_up_in_a_sink_that_is_away() {
    let double = Double::start();
    double.refuse(503);
    let yaml = settings(&webhook(&double)).replace("  recover_after: 0s", "  recover_after: 0s\n  remind_after: 1s");
    let home = Home::with_settings(&yaml);
    home.write("bad", "");
    create_fickle(&home, "shop");
    home.run(&["start"]);
    wait_until("a reminder was due", &home, || {
        alerts(&home, &[]).iter().any(|alert| alert["reminded_at"].is_string())
    });
    home.ok(&["alerts", "ack", "--all"]);
    double.accept();
    wait_words(&home, &double, &["raised down shop"]);
    home.ok(&["alerts", "test", "ops"]);
    wait_words(&home, &double, &["raised down shop", "test test -"]);
}
