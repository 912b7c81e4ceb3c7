//! Tables of what is judged, and the figures as monitoring systems read them.

use super::*;
use crate::run::identity::Identity;
use crate::supervisor::snapshot::{LimitStatus, SNAPSHOT_VERSION, Supervisor};

const NOW: Stamp = Stamp(1_700_000_000_000_000);

fn bot(id: &str, state: &str) -> BotStatus {
    BotStatus {
        id: id.to_owned(),
        wanted: "up".to_owned(),
        enabled: true,
        state: state.to_owned(),
        ..BotStatus::default()
    }
}

fn snapshot(bots: &[BotStatus]) -> Snapshot {
    let supervisor = serde_json::json!({
        "identity": Identity::me(), "version": "1", "started_at": 0, "stage": "running",
    });
    Snapshot {
        schema: SNAPSHOT_VERSION,
        generated_at: 0,
        supervisor: serde_json::from_value::<Supervisor>(supervisor).unwrap(),
        blocked: 0,
        blocked_permanent: 0,
        bots: bots.to_vec(),
    }
}

fn bounds() -> Bounds {
    Bounds {
        warn_queue: 1000,
        critical_queue: Some(5000),
        warn_start: Duration::from_secs(60),
    }
}

fn said(bots: &[BotStatus]) -> (u8, String) {
    let verdict = judge(&snapshot(bots), &[], &bounds(), NOW);
    let line = verdict.line();
    let (text, figures) = line.split_once(" | ").unwrap();
    assert!(!figures.contains('|') && !text.contains('\n'), "{line}");
    (verdict.level.code(), text.to_owned())
}

#[test]
fn each_state_has_its_level() {
    let limit = |level: &str| LimitStatus {
        what: "memory".to_owned(),
        level: level.to_owned(),
        why: Some(format!("memory at {level}")),
        ..LimitStatus::default()
    };
    let since = |age_s: i64| Some(NOW.unix_ms() - age_s * 1000);
    let cases = [
        (bot("a", "running"), 0, ""),
        (bot("a", "backoff"), 1, "a: backoff ("),
        (
            BotStatus {
                reason: Some("exit | 1\n".into()),
                ..bot("a", "failed")
            },
            2,
            "a: failed: exit / 1\\n (",
        ),
        (bot("a", "held"), 2, "a: held"),
        (bot("a", "unhealthy"), 2, "a: unhealthy"),
        (bot("a", "stopped"), 2, "a: wanted up, but stopped"),
        (
            BotStatus {
                state_since: since(61),
                ..bot("a", "starting")
            },
            1,
            "a: starting for 1m1s",
        ),
        (
            BotStatus {
                state_since: since(59),
                ..bot("a", "starting")
            },
            0,
            "",
        ),
        (
            BotStatus {
                wanted: "down".into(),
                ..bot("a", "stopped")
            },
            0,
            "",
        ),
        (
            BotStatus {
                enabled: false,
                ..bot("a", "failed")
            },
            0,
            "",
        ),
        (
            BotStatus {
                ready: Some(false),
                ..bot("a", "running")
            },
            1,
            "a: not ready",
        ),
        (
            BotStatus {
                ready: Some(true),
                ..bot("a", "running")
            },
            0,
            "",
        ),
        (
            BotStatus {
                limits: vec![limit("ok"), limit("warn")],
                ..bot("a", "running")
            },
            1,
            "a: memory at warn",
        ),
        (
            BotStatus {
                limits: vec![limit("max")],
                ..bot("a", "running")
            },
            2,
            "a: memory at max",
        ),
        (
            BotStatus {
                inbox_new: Some(1000),
                ..bot("a", "running")
            },
            0,
            "",
        ),
        (
            BotStatus {
                inbox_new: Some(1000),
                inbox_cur: Some(1),
                ..bot("a", "running")
            },
            1,
            "1001 messages wait",
        ),
        (
            BotStatus {
                inbox_new: Some(5001),
                ..bot("a", "running")
            },
            2,
            "5001 messages wait",
        ),
        (
            BotStatus {
                alerts: 2,
                alert_level: Some("warning".into()),
                ..bot("a", "running")
            },
            1,
            "2 open alerts",
        ),
        (
            BotStatus {
                alerts: 1,
                alert_level: Some("critical".into()),
                ..bot("a", "running")
            },
            2,
            "1 open alerts",
        ),
        (
            BotStatus {
                alerts: 1,
                alert_level: Some("info".into()),
                ..bot("a", "running")
            },
            0,
            "",
        ),
    ];
    for (status, code, words) in cases {
        let (found, text) = said(&[status.clone(), bot("b", "running")]);
        assert_eq!(found, code, "{status:?}: {text}");
        assert!(text.contains(words), "{text:?} has no {words:?}");
    }
}

#[test]
fn the_worst_comes_first_and_few_are_told() {
    let text = said(&[bot("a", "backoff"), bot("b", "running"), bot("c", "held")]);
    let line = "MULTIBOT CRITICAL - c: held, a: backoff (1 of 3 wanted bots running)";
    assert_eq!(text, (2, line.to_owned()));
    assert_eq!(said(&[]), (0, "MULTIBOT OK - 0 of 0 wanted bots running".to_owned()));
    let named = |count: usize, state| (0..count).map(|n| bot(&format!("b{n}"), state)).collect::<Vec<_>>();
    let five = "MULTIBOT CRITICAL - b0: held, b1: held, b2: held, b3: held, b4: held";
    assert_eq!(
        said(&named(5, "held")).1,
        format!("{five} (0 of 5 wanted bots running)")
    );
    let hundred = format!("{five} and 95 more (0 of 100 wanted bots running)");
    assert_eq!(said(&named(100, "held")).1, hundred);
}

#[test]
fn an_outage_is_told_instead_of_the_bots_that_it_explains() {
    let of = |platform: &str, status: BotStatus| BotStatus {
        platform: platform.to_owned(),
        // What it has open, and what waits, is due to it as well.
        alerts: 1,
        alert_level: Some("warning".to_owned()),
        inbox_new: Some(1001),
        ..status
    };
    let mut bots = vec![
        of("telegram", bot("a", "backoff")),
        of("telegram", bot("b", "unhealthy")),
        of("telegram", bot("c", "starting")),
        bot("d", "running"),
    ];
    let line = |bots: &[BotStatus], platform: Option<&str>| {
        let mut snapshot = snapshot(bots);
        snapshot.supervisor.outage = Some(Outage {
            since: 0,
            platform: platform.map(str::to_owned),
            failing: 3,
            of: 4,
        });
        let verdict = judge(&snapshot, &[], &bounds(), NOW);
        assert_eq!(verdict.level, Level::Critical);
        verdict.line().split_once(" | ").unwrap().0.to_owned()
    };
    let told = "MULTIBOT CRITICAL - 3 of 4 bots fail together (1 of 4 wanted bots running)";
    assert_eq!(line(&bots, None), told);
    // Nothing of the outage: what does not come back by itself, and the bots of another platform.
    bots.extend([bot("e", "failed"), bot("f", "held"), bot("g", "backoff")]);
    assert_eq!(
        line(&bots, Some("telegram")),
        "MULTIBOT CRITICAL - 3 of 4 telegram bots fail together, e: failed, f: held, g: backoff \
         (1 of 7 wanted bots running)"
    );
}

#[test]
fn alerts_of_the_home_count_by_their_level() {
    for (level, code, text) in [
        ("critical", 2, "CRITICAL - disk_low: 39 MiB left (1 of 1"),
        ("warning", 1, "WARNING - disk_low: 39 MiB left (1 of 1"),
        ("info", 0, "OK - 1 of 1"),
    ] {
        let mut home = snapshot(&[bot("a", "running")]);
        home.supervisor.alerts = vec![HomeAlert {
            rule: "disk_low".to_owned(),
            level: level.to_owned(),
            text: "39 MiB left".to_owned(),
        }];
        let verdict = judge(&home, &[], &bounds(), NOW);
        let line = verdict.line();
        assert_eq!(verdict.level.code(), code, "{line}");
        assert!(line.contains(text) && line.contains("'alerts'=1;"), "{line}");
        // Who asks for one bot is not told of the disk.
        assert_eq!(judge(&home, &["a".to_owned()], &bounds(), NOW).level, Level::Ok);
    }
}

#[test]
fn a_supervisor_that_comes_or_goes_is_told() {
    for (stage, code) in [
        (Stage::Adopting, 1),
        (Stage::Leaving, 1),
        (Stage::Left, 1),
        (Stage::Stopping, 2),
        (Stage::Stopped, 2),
    ] {
        let mut snapshot = snapshot(&[bot("a", "running")]);
        snapshot.supervisor.stage = stage;
        assert_eq!(judge(&snapshot, &[], &bounds(), NOW).level.code(), code, "{stage:?}");
    }
}

#[test]
fn figures_follow_the_guidelines() {
    let mut shop = bot("shop", "running");
    shop.memory_bytes = Some(4096);
    shop.cpu_percent = Some(12.34);
    shop.started_at = Some(NOW.unix_ms() - 5000);
    shop.limits = vec![LimitStatus {
        what: "memory".to_owned(),
        warn: Some(100.0),
        max: Some(200.0),
        level: "ok".to_owned(),
        ..LimitStatus::default()
    }];
    let all = judge(&snapshot(&[shop.clone(), bot("b", "running")]), &[], &bounds(), NOW).line();
    assert_eq!(
        all,
        "MULTIBOT OK - 2 of 2 wanted bots running | 'running'=2;;;0;2 'restarts'=0c 'memory'=4096B;;;0 \
         'cpu'=12.3%;;;0 'queue'=0;;;0 'dead'=0;;;0 'alerts'=0;;;0"
    );
    let one = judge(
        &snapshot(&[shop, bot("b", "held")]),
        &["shop".to_owned()],
        &bounds(),
        NOW,
    )
    .line();
    assert_eq!(
        one,
        "MULTIBOT OK - 1 of 1 wanted bots running | 'shop_uptime'=5s;;;0 'shop_restarts'=0c \
         'shop_queue'=0;1000;5000;0 'shop_memory'=4096B;100;200;0 'shop_cpu'=12.3%;;;0"
    );
}
