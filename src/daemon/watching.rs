//! Ties the alerts to the supervisor: each snapshot becomes a scene, and what the alerts have to say becomes news.

use std::cell::Cell;
use std::sync::mpsc::SyncSender;

use super::{Error, tell};
use crate::alerts::scene::{BotScene, Disk, LimitScene, PassedLimit, Reach, Scene};
use crate::alerts::{self, Feedback, Speaker, Watching};
use crate::config::SupervisorSettings;
use crate::home::Home;
use crate::model::bot::{LimitAction, State};
use crate::model::units::Stamp;
use crate::supervisor::news::{News, Trouble};
use crate::supervisor::process::{Observer, SettingsObserver};
use crate::supervisor::snapshot::{self, BotStatus, LastExit, Snapshot, Stage};

/// Starts the alerts of a home; what they find goes to the loop.
pub(super) fn start(home: &Home, settings: &SupervisorSettings, queue: &SyncSender<News>) -> Result<Watching, Error> {
    let queue = queue.clone();
    Ok(alerts::start(home, &settings.alerts, move |feedback| {
        tell(&queue, news_of(feedback));
    })?)
}

fn news_of(feedback: Feedback) -> News {
    match feedback {
        Feedback::Open(open) => News::Alerts(open),
        Feedback::Outage(found) => News::Outage(found.map(|(outage, restart_delay)| Trouble {
            outage: snapshot::Outage {
                since: outage.since.unix_ms(),
                platform: outage.platform,
                failing: outage.failing,
                of: outage.of,
            },
            restart_delay,
        })),
    }
}

/// Shows the alerts every snapshot before it is published, and then whoever else looks.
pub(super) fn observer(home: &Home, speaker: Speaker, next: Option<Observer>) -> Observer {
    let home = home.clone();
    let disk: Cell<Option<Disk>> = Cell::new(None);
    Box::new(move |snapshot| {
        // Before it has taken up its bots, and while it stops or leaves them, nothing is as it should be.
        if snapshot.supervisor.stage == Stage::Running {
            let free = snapshot.supervisor.disk_free_bytes;
            if disk.get().map(|disk| disk.free) != free {
                let total = fs2::total_space(home.dir()).ok();
                disk.set(free.zip(total).map(|(free, total)| Disk { free, total }));
            }
            speaker.scene(scene_of(snapshot, disk.get()));
        }
        if let Some(next) = &next {
            next(snapshot);
        }
    })
}

/// Hands new settings on; acknowledgements and silences are read anew with them.
pub(super) fn settings_observer(speaker: Speaker) -> SettingsObserver {
    Box::new(move |settings| speaker.settings(settings.alerts.clone()))
}

fn scene_of(snapshot: &Snapshot, disk: Option<Disk>) -> Scene {
    Scene {
        adopted: snapshot.supervisor.adopted,
        disk,
        bots: snapshot.bots.iter().filter_map(bot_scene).collect(),
    }
}

fn bot_scene(bot: &BotStatus) -> Option<BotScene> {
    let waiting = [bot.inbox_new, bot.inbox_cur, bot.inbox_later];
    let failing: Vec<String> = bot
        .probes
        .iter()
        .filter(|probe| probe.role == "readiness" && probe.state == "failing")
        .map(|probe| match &probe.answer {
            Some(answer) => format!("{} says {answer}", probe.name),
            None => probe.name.clone(),
        })
        .collect();
    Some(BotScene {
        id: bot.id.parse().ok()?,
        platform: bot.platform.clone(),
        is_wanted: bot.wanted == "up" && bot.enabled,
        state: State::from_word(&bot.state)?,
        reason: bot.reason.clone(),
        failures: bot.failures,
        last_exit: bot.last_exit.as_ref().and_then(|exit| exit.why.clone()),
        was_struck: bot.last_exit.as_ref().is_some_and(was_struck),
        limits: bot.limits.iter().filter_map(limit_scene).collect(),
        passed: bot.limit_action.as_ref().and_then(passed_limit),
        errors_per_minute: bot.errors_per_minute,
        waiting: waiting.into_iter().flatten().sum(),
        heartbeat_at: bot.heartbeat_at.map(Stamp::from_unix_ms),
        ready: bot.ready,
        not_ready_because: (!failing.is_empty()).then(|| failing.join("; ")),
    })
}

/// By SIGHUP, SIGINT, SIGKILL or SIGTERM: a fault of the program itself ends it in other ways. An end without code and
/// signal is that of a bot whose shim was killed.
fn was_struck(exit: &LastExit) -> bool {
    match (exit.code, exit.signal) {
        (_, Some(signal)) => matches!(signal, 1 | 2 | 9 | 15),
        (Some(_), None) => false,
        (None, None) => true,
    }
}

fn limit_scene(limit: &snapshot::LimitStatus) -> Option<LimitScene> {
    let reach = match limit.level.as_str() {
        "warn" => Reach::Warn,
        "max" => Reach::Max,
        _ => return None,
    };
    let what = limit.what.clone();
    let why = limit.why.clone();
    Some(LimitScene {
        why: why.unwrap_or_else(|| format!("{what} is over its {}", limit.level)),
        what,
        reach,
    })
}

fn passed_limit(acted: &snapshot::LimitActionStatus) -> Option<PassedLimit> {
    Some(PassedLimit {
        why: acted.why.clone(),
        action: LimitAction::from_word(&acted.action)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::snapshot::{LimitActionStatus, LimitStatus, ProbeStatus};

    #[test]
    fn a_line_of_the_snapshot_becomes_what_the_rules_look_at() {
        let status = BotStatus {
            id: "shop".to_owned(),
            platform: "telegram".to_owned(),
            wanted: "up".to_owned(),
            enabled: true,
            state: "running".to_owned(),
            inbox_new: Some(3),
            inbox_later: Some(4),
            heartbeat_at: Some(5),
            ready: Some(false),
            probes: [("web", Some("HTTP 503".to_owned())), ("db", None)]
                .map(|(name, answer)| ProbeStatus {
                    name: name.to_owned(),
                    role: "readiness".to_owned(),
                    state: "failing".to_owned(),
                    answer,
                    ..ProbeStatus::default()
                })
                .into(),
            limits: vec![
                LimitStatus {
                    what: "cpu".to_owned(),
                    level: "ok".to_owned(),
                    ..LimitStatus::default()
                },
                LimitStatus {
                    what: "memory".to_owned(),
                    level: "warn".to_owned(),
                    ..LimitStatus::default()
                },
            ],
            limit_action: Some(LimitActionStatus {
                why: "cpu is high".to_owned(),
                action: "stop".to_owned(),
                at: 7,
            }),
            ..BotStatus::default()
        };
        let scene = bot_scene(&status).unwrap();
        assert!(scene.is_wanted && scene.state == State::Running);
        assert_eq!((scene.waiting, scene.heartbeat_at), (7, Some(Stamp(5000))));
        assert_eq!(scene.not_ready_because.as_deref(), Some("web says HTTP 503; db"));
        let limits: Vec<(&str, Reach)> = scene.limits.iter().map(|it| (it.why.as_str(), it.reach)).collect();
        assert_eq!(limits, [("memory is over its warn", Reach::Warn)]);
        let passed = scene.passed.unwrap();
        assert_eq!((passed.why.as_str(), passed.action), ("cpu is high", LimitAction::Stop));
        let disabled = BotStatus {
            enabled: false,
            ..status
        };
        assert!(!bot_scene(&disabled).unwrap().is_wanted);
    }
}
