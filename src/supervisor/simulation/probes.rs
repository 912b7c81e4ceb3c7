//! What answers to probes lead to, and the probes that the loop looks at itself.

use super::*;
use crate::model::probe::Answer;
use crate::supervisor::news::{LogFinding, LogMatch};

/// A bot with these probes.
fn probed(name: &str, index: u32, probes: Value) -> Configured {
    let mut configured = bot(name, index);
    let mut settings = Settings::new();
    settings.set("probes", &probes.to_string()).unwrap();
    let spec = bot_spec(&configured.id, &[&settings]).unwrap();
    if let Ok(own) = &mut configured.spec {
        own.probes = spec.probes;
    }
    configured
}

fn steady(probes: Value) -> Simulation {
    Simulation::steady(vec![probed("shop", 1, probes), bot("quiet", 2)])
}

fn answer(simulation: &mut Simulation, run: &RunId, is_success: bool, text: &str) {
    let (bot, run, probe) = (id_of("shop"), run.clone(), "api".to_owned());
    let text = text.to_owned();
    simulation.hear(News::Probed {
        bot,
        run,
        probe,
        answer: Answer { is_success, text },
    });
    simulation.pass(millis(200));
}

const API: &str = "HTTP 503 from http://127.0.0.1:1/";

#[test]
fn a_failing_liveness_probe_restarts_its_bot_and_is_named() {
    let mut simulation = steady(json!({"api": {"http": "http://127.0.0.1:1/"}}));
    let run = simulation.run("shop");
    assert_eq!(simulation.world().probed, [(id_of("shop"), run.clone())]);
    answer(&mut simulation, &run, true, "HTTP 200");
    assert_eq!(simulation.status("shop").probes[0].state, "passing");
    for _ in 0..2 {
        answer(&mut simulation, &run, false, API);
    }
    let line = simulation.status("shop");
    assert_eq!((line.state.as_str(), line.reason, line.ready), ("running", None, None));
    let probe = &line.probes[0];
    assert_eq!((probe.state.as_str(), probe.failures), ("passing", 2));
    assert_eq!(probe.answer.as_deref(), Some(API));
    answer(&mut simulation, &run, false, API);
    let why = format!("probe api failed 3 times: {API}");
    assert_eq!(simulation.facts_of("shop", "unhealthy")[0].detail, why);
    simulation.pass(seconds(3));
    let line = simulation.status("shop");
    assert_eq!((simulation.launches_of("shop"), line.state.as_str()), (2, "running"));
    assert_eq!(line.last_exit.and_then(|exit| exit.why), Some(why));
    assert_eq!(line.probes[0].state, "unknown", "another run, asked anew");
    assert_eq!(simulation.launches_of("quiet"), 1);
    // The next one waits, and says why.
    let next = simulation.run("shop");
    answer(&mut simulation, &run, false, API);
    for _ in 0..3 {
        answer(&mut simulation, &next, false, API);
    }
    let line = simulation.status("shop");
    assert_eq!(line.state, "backoff");
    assert_eq!(line.reason, Some(format!("probe api failed 3 times: {API}")));
    assert_eq!(simulation.world().probed, []);
}

#[test]
fn a_failing_readiness_probe_only_marks_its_bot() {
    let mut simulation = steady(json!({"api": {"tcp": 1, "role": "readiness", "failure_threshold": 2}}));
    let run = simulation.run("shop");
    assert_eq!(simulation.status("shop").ready, Some(false));
    answer(&mut simulation, &run, true, "connected");
    assert_eq!(
        (simulation.status("shop").ready, simulation.status("shop").reason),
        (Some(true), None)
    );
    answer(&mut simulation, &run, false, "refused");
    assert_eq!(simulation.status("shop").ready, Some(true));
    for _ in 0..5 {
        answer(&mut simulation, &run, false, "refused");
    }
    let line = simulation.status("shop");
    assert_eq!((line.state.as_str(), line.ready), ("running", Some(false)));
    assert_eq!(line.reason.as_deref(), Some("not ready: probe api: refused"));
    answer(&mut simulation, &run, true, "connected");
    assert_eq!(
        (simulation.status("shop").ready, simulation.status("shop").reason),
        (Some(true), None)
    );
    assert_eq!(simulation.facts_of("shop", "not_ready").len(), 1);
    assert_eq!(simulation.facts_of("shop", "ready_again").len(), 1);
    simulation.pass(seconds(7200));
    assert_eq!(simulation.launches_of("shop"), 1);
}

#[test]
fn a_heartbeat_probe_wants_a_beat_from_the_start_on() {
    let probes = json!({"beat": {"heartbeat": "30s", "period": "5s"}});
    let mut simulation = steady(probes);
    simulation.pass(seconds(20));
    assert_eq!(simulation.status("shop").probes[0].state, "unknown");
    simulation.hear(News::Heartbeat(id_of("shop")));
    simulation.pass(seconds(25));
    assert_eq!(simulation.status("shop").probes[0].state, "passing");
    assert_eq!(simulation.launches_of("shop"), 1);
    simulation.pass(seconds(20));
    assert_eq!(simulation.launches_of("shop"), 2);
    assert_eq!(
        simulation.facts_of("shop", "unhealthy")[0].detail,
        "probe beat failed: no heartbeat for 30s"
    );
    // The next run never beats.
    simulation.pass(seconds(60));
    assert_eq!(simulation.facts_of("shop", "unhealthy").len(), 2);
    assert_eq!(simulation.launches_of("quiet"), 1);
}

/// Lets time pass for a bot that answers every question for its status within half a second.
fn pass_answering(simulation: &mut Simulation, length: Duration) {
    for _ in 0..length.as_millis() / 500 {
        simulation.pass(millis(500));
        let asked = simulation.letters_to("shop", "status_request");
        let Some(open) = asked.last().filter(|it| !it.is_retracted) else {
            continue;
        };
        let id = open.envelope.id.clone();
        let world = simulation.world();
        let answer = Envelope::new(
            "x".into(),
            Kind::Response,
            "status_response",
            "shop",
            "supervisor",
            world.stamp(),
        );
        let answer = Envelope {
            correlation_id: Some(id),
            ..answer
        };
        world.mail.entry(Some(id_of("shop"))).or_default().push_back(answer);
        simulation.hear(News::Outbox(id_of("shop")));
    }
}

#[test]
fn a_status_request_must_be_answered_in_time() {
    let probes = json!({"it": {"status_request": true, "period": "10s", "timeout": "2s"}});
    let mut simulation = Simulation::start(vec![probed("shop", 1, probes)]);
    pass_answering(&mut simulation, seconds(30));
    assert_eq!(simulation.status("shop").probes[0].state, "passing");
    assert_eq!(simulation.letters_to("shop", "status_request").len(), 3);
    assert_eq!(
        simulation.facts_of("shop", "status_response").len(),
        0,
        "the history holds more than answers"
    );
    simulation.pass(seconds(16));
    assert_eq!(simulation.status("shop").probes[0].failures, 2);
    let open = simulation.letters_to("shop", "status_request");
    assert!(open.iter().filter(|it| !it.is_retracted).count() <= 1);
    simulation.pass(seconds(15));
    assert_eq!(
        simulation.facts_of("shop", "unhealthy")[0].detail,
        "probe it failed 3 times: no status_response within 2s"
    );
    assert_eq!(simulation.launches_of("shop"), 2);
}

#[test]
fn a_backlog_that_nobody_takes_is_a_failure() {
    let probes = json!({"pile": {"backlog": {"growing_for": "30s"}, "period": "5s"}});
    let mut simulation = steady(probes);
    simulation.pass(seconds(60));
    assert_eq!(
        simulation.status("shop").probes[0].answer.as_deref(),
        Some("0 messages wait")
    );
    let stamp = simulation.world().stamp();
    let letter = Envelope::new("m".into(), Kind::Command, "send_message", "cli", "shop", stamp);
    simulation.world().letters.push(Letter {
        to: id_of("shop"),
        envelope: letter,
        is_retracted: false,
    });
    simulation.pass(seconds(20));
    assert_eq!(simulation.launches_of("shop"), 1);
    simulation.pass(seconds(20));
    assert_eq!(
        simulation.facts_of("shop", "unhealthy")[0].detail,
        "probe pile failed: 1 messages wait, and none was taken for 30s"
    );
}

/// One look into the log of the bot, and the time until the next one.
fn read(simulation: &mut Simulation, errors: u64, matched: &[(&str, &str)]) {
    look(simulation, (errors, errors), matched, Duration::ZERO, None);
}

fn look(
    simulation: &mut Simulation,
    (errors, recent): (u64, u64),
    matched: &[(&str, &str)],
    age: Duration,
    unread: Option<&str>,
) {
    let at = Stamp(simulation.world().stamp().0 - age.as_micros() as i64);
    let finding = LogFinding {
        bot: id_of("shop"),
        run: simulation.run("shop"),
        errors,
        recent,
        matched: matched
            .iter()
            .map(|(name, line)| LogMatch {
                probe: (*name).into(),
                line: (*line).into(),
                at: Some(at),
            })
            .collect(),
        signs: Vec::new(),
        unread: unread.map(str::to_owned),
    };
    let findings = if errors > 0 || !matched.is_empty() || unread.is_some() {
        vec![finding]
    } else {
        vec![]
    };
    simulation.hear(News::LogsRead(findings));
    simulation.pass(seconds(5));
}

#[test]
fn lines_that_must_come_and_lines_that_must_not() {
    let probes = json!({
        "tick": {"log": {"must_appear": "tick", "within": "1m"}, "role": "readiness", "period": "1s"},
        "lost": {"log": {"must_not_appear": "lost"}, "period": "1s"},
    });
    let mut simulation = steady(probes);
    read(&mut simulation, 0, &[]);
    assert_eq!(simulation.status("shop").ready, Some(false));
    assert_eq!(
        simulation.status("shop").reason.as_deref(),
        Some("not ready: probe tick: sampling.period is off")
    );
    read(&mut simulation, 0, &[("tick", "tick 1")]);
    assert_eq!(simulation.status("shop").ready, Some(true));
    for _ in 0..10 {
        read(&mut simulation, 0, &[]);
    }
    assert_eq!(simulation.status("shop").ready, Some(true));
    for _ in 0..3 {
        read(&mut simulation, 0, &[]);
    }
    assert_eq!(
        simulation.status("shop").reason.as_deref(),
        Some("not ready: probe tick: no line matched \"tick\" for 1m")
    );
    assert_eq!(simulation.launches_of("shop"), 1);
    read(&mut simulation, 0, &[("lost", "connection lost")]);
    assert_eq!(
        simulation.facts_of("shop", "unhealthy")[0].detail,
        "probe lost failed: a line matched \"lost\": connection lost"
    );
}

#[test]
fn a_line_counts_from_when_it_was_written() {
    let probes = json!({"tick": {"log": {"must_appear": "tick", "within": "1m"}, "role": "readiness", "period": "1s"}});
    let mut simulation = steady(probes);
    simulation.pass(seconds(60));
    look(&mut simulation, (0, 0), &[("tick", "tick")], seconds(50), None);
    assert_eq!(simulation.status("shop").ready, Some(true));
    for _ in 0..3 {
        read(&mut simulation, 0, &[]);
    }
    assert_eq!(simulation.status("shop").probes[0].state, "failing");
}

#[test]
fn of_what_was_not_read_nothing_is_concluded() {
    let probes = json!({
        "tick": {"log": {"must_appear": "tick", "within": "1m"}, "role": "readiness", "period": "1s"},
        "lost": {"log": {"must_not_appear": "lost"}, "role": "readiness", "period": "1s"},
    });
    let mut simulation = steady(probes);
    let skipped = "2.0 MiB of its log were not read";
    let unread = Some(skipped);
    let states = |simulation: &mut Simulation| {
        let line = simulation.status("shop");
        let told = line.probes.iter();
        told.map(|probe| (probe.state.clone(), probe.answer.clone().unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    let told = |state: &str| (state.to_owned(), skipped.to_owned());
    look(&mut simulation, (0, 0), &[], seconds(0), unread);
    assert_eq!(states(&mut simulation), [told("unknown"), told("unknown")]);
    look(
        &mut simulation,
        (0, 0),
        &[("tick", "tick"), ("lost", "lost")],
        seconds(0),
        unread,
    );
    for _ in 0..30 {
        look(&mut simulation, (0, 0), &[], seconds(0), unread);
    }
    assert_eq!(states(&mut simulation), [told("failing"), told("passing")]);
    // Silence counts from the last gap on.
    for _ in 0..11 {
        read(&mut simulation, 0, &[]);
    }
    let state = states(&mut simulation);
    assert_eq!((state[0].0.as_str(), state[1].0.as_str()), ("passing", "passing"));
    for _ in 0..3 {
        read(&mut simulation, 0, &[]);
    }
    assert_eq!(simulation.status("shop").probes[1].state, "failing");
}

#[test]
fn lines_that_the_last_supervisor_has_read_are_not_counted_again() {
    let mut simulation = steady(json!({}));
    let shop = id_of("shop");
    let launched = simulation.world().logged[&shop];
    read(&mut simulation, 15, &[]);
    let shown = simulation.world().issues.last().unwrap().snapshot.generated_at;
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(seconds(2));
    let since = simulation.world().logged[&shop];
    assert_eq!(since, Stamp::from_unix_ms(shown));
    assert!(since > launched);
    // The next run is read from its own start.
    simulation.crash("shop", code(1));
    simulation.pass(seconds(10));
    assert!(simulation.world().logged[&shop] > since);
}

#[test]
fn old_errors_are_history_and_no_rate() {
    let mut simulation = steady(json!({}));
    look(&mut simulation, (7, 2), &[], seconds(0), None);
    assert_eq!(simulation.status("shop").errors_per_minute, Some(2));
}

#[test]
fn errors_are_counted_over_a_minute_and_over_runs() {
    let mut simulation = steady(json!({}));
    assert_eq!(simulation.status("shop").errors_per_minute, Some(0));
    read(&mut simulation, 3, &[]);
    simulation.say("shop", Kind::Event, "error", json!({"message": "x"}));
    simulation.crash("shop", code(1));
    simulation.pass(seconds(10));
    assert_eq!(simulation.status("shop").errors_per_minute, Some(4));
    simulation.pass(seconds(47));
    assert_eq!(simulation.status("shop").errors_per_minute, Some(1));
    simulation.pass(seconds(60));
    assert_eq!(simulation.status("shop").errors_per_minute, Some(0));
    assert_eq!(simulation.world().logged.len(), 2);
    simulation.ask("stop", &["shop"], "graceful");
    assert_eq!(simulation.world().logged.len(), 1);
}

#[test]
fn a_late_wake_gives_every_probe_a_period_of_grace() {
    let probes = json!({
        "beat": {"heartbeat": "30s", "period": "5s"},
        "it": {"status_request": true, "period": "10s", "timeout": "2s", "failure_threshold": 1},
    });
    let mut simulation = Simulation::start(vec![probed("shop", 1, probes)]);
    simulation.hear(News::Heartbeat(id_of("shop")));
    pass_answering(&mut simulation, seconds(8));
    assert_eq!(simulation.launches_of("shop"), 1);
    // The machine sleeps for an hour.
    simulation.world().now = simulation.supervisor.host.now + seconds(3600);
    simulation.pass(seconds(9));
    assert_eq!(simulation.launches_of("shop"), 1, "a period of grace");
    simulation.hear(News::Heartbeat(id_of("shop")));
    pass_answering(&mut simulation, seconds(20));
    assert_eq!(simulation.launches_of("shop"), 1);
    simulation.pass(seconds(40));
    assert!(simulation.launches_of("shop") > 1, "and no more");
}

#[test]
fn a_changed_probe_begins_anew_and_the_others_go_on() {
    let mut simulation = steady(json!({"api": {"tcp": 1}, "web": {"tcp": 2}}));
    let run = simulation.run("shop");
    answer(&mut simulation, &run, true, "connected");
    let changed = probed("shop", 1, json!({"api": {"tcp": 1}, "web": {"tcp": 3}}));
    simulation.store("shop", |configured| *configured = changed);
    simulation.command("reload", json!({}));
    let line = simulation.status("shop");
    let states: Vec<&str> = line.probes.iter().map(|probe| probe.state.as_str()).collect();
    assert_eq!(states, ["passing", "unknown"]);
    assert_eq!(simulation.launches_of("shop"), 1);
    let none = bot("shop", 1);
    simulation.store("shop", |configured| *configured = none);
    simulation.command("reload", json!({}));
    assert_eq!(
        (simulation.status("shop").probes.len(), simulation.world().probed.len()),
        (0, 0)
    );
}

#[test]
fn a_run_that_is_adopted_is_asked_again() {
    let mut simulation = steady(json!({"api": {"tcp": 1}}));
    let run = simulation.run("shop");
    simulation.world().probed.clear();
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(seconds(2));
    assert_eq!(simulation.world().probed, [(id_of("shop"), run.clone())]);
    for _ in 0..3 {
        answer(&mut simulation, &run, false, "refused");
    }
    assert_eq!(simulation.launches_of("shop"), 2);
}

#[test]
fn every_readiness_probe_that_fails_is_named() {
    let ready = |port: u16| json!({"http": format!("http://127.0.0.1:{port}/"), "role": "readiness"});
    let mut simulation = steady(json!({"api": ready(1), "db": ready(2)}));
    let run = simulation.run("shop");
    for probe in ["api", "db", "api", "db", "api", "db"] {
        simulation.hear(News::Probed {
            bot: id_of("shop"),
            run: run.clone(),
            probe: probe.to_owned(),
            answer: Answer::failure("refused"),
        });
    }
    simulation.pass(millis(200));
    assert_eq!(
        simulation.status("shop").reason.as_deref(),
        Some("not ready: probe api: refused; probe db: refused")
    );
}
