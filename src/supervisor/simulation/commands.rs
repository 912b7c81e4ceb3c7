//! What operators ask for, and what a changed configuration does.

use super::*;
use crate::model::bot::{Platform, Secret};
use crate::supervisor::host::Unusable;

fn two() -> Simulation {
    Simulation::steady(vec![bot("shop", 1), bot("demo", 2)])
}

/// Reads a changed store; says whether the bot's process is another one afterwards.
fn restarts_for(change: impl FnOnce(&mut Configured)) -> bool {
    let mut simulation = two();
    let (shop, demo) = (simulation.run("shop"), simulation.run("demo"));
    simulation.store("shop", change);
    let reply = simulation.command("reload", json!({}));
    simulation.pass(seconds(3));
    assert_eq!(simulation.run("demo"), demo);
    assert_eq!(simulation.state("shop"), "running");
    let is_another = simulation.run("shop") != shop;
    let told: Value = if is_another { json!(["shop"]) } else { json!([]) };
    assert_eq!(reply["done"]["restarted"], told);
    is_another
}

#[test]
fn a_new_bot_starts_and_a_removed_one_is_stopped_then_forgotten() {
    let mut simulation = two();
    simulation.world().manners.insert(id_of("demo"), Manner::Deaf);
    simulation.world().configured = Ok(vec![bot("shop", 1), bot("extra", 3)]);
    simulation.command("reload", json!({}));
    assert_eq!(simulation.state("demo"), "stopping");
    assert_eq!(simulation.world().forgotten, []);
    simulation.pass(seconds(30));
    assert_eq!(simulation.state("extra"), "running");
    assert_eq!(simulation.world().forgotten, [id_of("demo")]);
    assert!(!simulation.is_alive("demo"));
    let last = simulation.world().issues.last().unwrap();
    assert_eq!(last.snapshot.bots.len(), 2);
}

#[test]
fn a_bot_that_is_removed_and_created_again_at_once_runs() {
    let mut simulation = two();
    let old = simulation.run("demo");
    simulation.world().manners.insert(id_of("demo"), Manner::Deaf);
    simulation.world().configured = Ok(vec![bot("shop", 1)]);
    simulation.command("reload", json!({}));
    simulation.world().configured = Ok(vec![bot("shop", 1), bot("demo", 3)]);
    simulation.command("reload", json!({}));
    simulation.pass(seconds(60));
    assert_ne!(simulation.run("demo"), old);
    let line = simulation.status("demo");
    assert_eq!((line.state.as_str(), line.index), ("running", 3));
    assert_eq!(simulation.world().forgotten, []);
}

#[test]
fn what_a_bot_is_launched_with_restarts_it() {
    assert!(restarts_for(|shop| shop
        .spec
        .as_mut()
        .unwrap()
        .command
        .push("-v".to_owned())));
    assert!(restarts_for(|shop| {
        let env = &mut shop.spec.as_mut().unwrap().env;
        env.insert("TZ".to_owned(), "UTC".to_owned());
    }));
    assert!(restarts_for(|shop| shop.token = Some(Secret::new("another".to_owned()))));
}

#[test]
fn what_a_bot_is_only_judged_by_does_not_restart_it() {
    assert!(!restarts_for(|_| {}));
    assert!(!restarts_for(
        |shop| shop.spec.as_mut().unwrap().restart.max_restarts = 1
    ));
    assert!(!restarts_for(
        |shop| shop.spec.as_mut().unwrap().heartbeat_timeout = seconds(5)
    ));
    assert!(!restarts_for(
        |shop| shop.spec.as_mut().unwrap().ready.min_uptime = seconds(9)
    ));
}

#[test]
fn a_bot_that_is_disabled_stops_and_one_that_is_enabled_starts() {
    let mut simulation = two();
    simulation.store("shop", |shop| shop.spec.as_mut().unwrap().enabled = false);
    simulation.command("reload", json!({}));
    let line = simulation.status("shop");
    assert_eq!(
        (line.state.as_str(), line.wanted.as_str(), line.enabled),
        ("stopped", "up", false)
    );
    assert_eq!(line.reason.as_deref(), Some("disabled"));
    assert!(!simulation.is_alive("shop") && simulation.is_alive("demo"));
    simulation.store("shop", |shop| shop.spec.as_mut().unwrap().enabled = true);
    simulation.hear(News::Reload);
    assert!(simulation.is_alive("shop"));
}

#[test]
fn a_reload_that_fails_changes_nothing_and_says_why() {
    let mut simulation = two();
    let run = simulation.run("shop");
    simulation.world().configured = Err("multibot.yaml:3:1: no".to_owned());
    let reply = simulation.command("reload", json!({}));
    assert_eq!(reply, json!({"ok": false, "error": "multibot.yaml:3:1: no"}));
    assert_eq!(
        (simulation.run("shop"), simulation.state("shop")),
        (run, "running".to_owned())
    );
}

#[test]
fn a_restart_of_several_bots_touches_only_those() {
    let bots = (1..=4).map(|index| bot(&format!("bot-{index}"), index)).collect();
    let mut simulation = Simulation::steady(bots);
    let before: Vec<RunId> = (1..=4).map(|index| simulation.run(&format!("bot-{index}"))).collect();
    let reply = simulation.ask("restart", &["bot-2", "bot-4"], "graceful");
    assert_eq!(reply, json!({"ok": true, "done": {"bots": ["bot-2", "bot-4"]}}));
    simulation.pass(seconds(5));
    for (at, index, restarted) in [(0, 1, false), (1, 2, true), (2, 3, false), (3, 4, true)] {
        let name = format!("bot-{index}");
        assert_eq!(simulation.run(&name) != before[at], restarted, "{name}");
        assert_eq!(simulation.status(&name).state, "running");
    }
}

#[test]
fn an_unknown_bot_is_an_error_and_nothing_else_happens() {
    for name in ["start", "stop", "restart"] {
        for ghost in ["ghost", "No Bot", ""] {
            let mut simulation = two();
            let runs = (simulation.run("shop"), simulation.run("demo"));
            // The store already wants what the command asks for; without the error it would happen.
            let reply = simulation.command(name, json!({"bots": ["shop", ghost]}));
            assert_eq!(reply["ok"], false, "{name} {ghost:?}: {reply}");
            simulation.pass(seconds(20));
            assert_eq!(
                (simulation.run("shop"), simulation.run("demo")),
                runs,
                "{name} {ghost:?}"
            );
            assert_eq!(simulation.world().orders, []);
        }
    }
}

#[test]
fn an_unknown_command_is_an_error() {
    let reply = two().command("dance", json!({}));
    assert_eq!(reply, json!({"ok": false, "error": "unknown command \"dance\""}));
}

#[test]
fn a_forced_stop_does_not_wait_for_the_grace() {
    let mut simulation = two();
    simulation.world().manners.insert(id_of("shop"), Manner::Deaf);
    simulation.store("shop", |shop| shop.wanted = Wanted::Down);
    let run = simulation.run("shop");
    simulation.command("stop", json!({"bots": ["shop"], "mode": "forced"}));
    assert!(!simulation.is_alive("shop"));
    assert_eq!(simulation.world().orders.last(), Some(&Order::Kill(run)));
}

#[test]
fn a_start_forgives_and_ends_a_wait() {
    let mut simulation = two();
    simulation.crash("shop", code(1));
    simulation.pass(seconds(2));
    simulation.crash("shop", code(1));
    assert!(!simulation.is_alive("shop"));
    simulation.ask("start", &["shop"], "graceful");
    assert!(simulation.is_alive("shop"));
    simulation.crash("shop", code(1));
    assert!(simulation.is_alive("shop"), "the streak begins anew");
}

#[test]
fn a_bot_that_this_version_cannot_run_is_held_and_says_why() {
    let mut simulation = two();
    let mut legible = bot("shop", 1).spec.unwrap();
    legible.platform = Platform::Telegram;
    let why = "stop.grace: too long".to_owned();
    let legible = Box::new(legible);
    simulation.store("shop", |shop| shop.spec = Err(Unusable { why, legible }));
    simulation.command("reload", json!({}));
    simulation.pass(seconds(5));
    let run = simulation.run("shop");
    let line = simulation.status("shop");
    let said = "its new settings are not taken over: stop.grace: too long";
    assert_eq!(
        (line.state.as_str(), line.reason.as_deref(), line.platform.as_str()),
        ("running", Some(said), "loopback")
    );
    // What it would be started with counts no more than the token that it would be given.
    simulation.store("shop", |shop| shop.token = Some(Secret::new("1:new".to_owned())));
    simulation.command("reload", json!({}));
    simulation.pass(seconds(5));
    assert_eq!(simulation.run("shop"), run);
    simulation.crash("shop", code(1));
    simulation.pass(seconds(5));
    simulation.command("reload", json!({}));
    let line = simulation.status("shop");
    assert_eq!(line.platform, "telegram");
    let line = simulation.status("shop");
    assert_eq!(
        (line.state.as_str(), line.reason.as_deref()),
        ("held", Some("stop.grace: too long"))
    );
    simulation.store("shop", |shop| *shop = bot("shop", 1));
    simulation.command("reload", json!({}));
    assert!(simulation.is_alive("shop"));
}
