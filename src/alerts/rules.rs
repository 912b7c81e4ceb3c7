//! What is wrong in a scene. Pure: how long it lasts, and whether anybody is told, is the business of `book.rs`.

use crate::model::alert::{AlertSettings, Level, NO_HEARTBEAT, Rule};
use crate::model::bot::{BotId, LimitAction, State};
use crate::model::units::{Stamp, show_size};

use super::outage::Outage;
use super::scene::{BotScene, Disk, LimitScene, Reach, Scene};

/// Below this share of the disk it is low, or below this many bytes, whichever is more.
const DISK_LOW_SHARE: u64 = 20;
const DISK_LOW_BYTES: u64 = 512 * 1024 * 1024;
/// Below this messages will soon be refused.
const DISK_CRITICAL_BYTES: u64 = 64 * 1024 * 1024;

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub rule: Rule,
    pub bot: Option<BotId>,
    pub level: Level,
    pub text: String,
    pub since: Since,
    pub outlook: Outlook,
}

/// Whether multibot still does something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    Open,
    /// It was given up: nothing goes on without an operator.
    GivenUp,
}

/// Since when a condition counts towards the time for which it must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Since it was first seen.
    Seen,
    At(Stamp),
}

/// Everything that is wrong, in the order of the rules for each bot.
pub fn conditions(scene: &Scene, outage: Option<&Outage>, settings: &AlertSettings) -> Vec<Condition> {
    let mut found = Vec::new();
    let mut add = |rule: Rule, bot: Option<&BotId>, worse: Option<Level>, text: String, since: Since| {
        let policy = settings.rule(rule);
        if policy.enabled {
            found.push(Condition {
                rule,
                bot: bot.cloned(),
                level: worse.map_or(policy.level, |worse| policy.level.max(worse)),
                text,
                since,
                outlook: Outlook::Open,
            });
        }
    };
    for bot in &scene.bots {
        let threshold = |rule: Rule| settings.rule(rule).threshold.unwrap_or(u64::MAX);
        let is_told_by_limit = was_stopped_by_limit(bot) && settings.rule(Rule::Limit).enabled;
        for (rule, worse, text, since) in of_bot(bot, &threshold) {
            // A stop for a limit is no crash, and the limit says so; nothing may keep that from being raised.
            if is_told_by_limit && matches!(rule, Rule::Down | Rule::CrashLoop) {
                continue;
            }
            add(rule, Some(&bot.id), worse, text, since);
        }
    }
    let given_up = |bot: Option<&BotId>| {
        scene
            .bots
            .iter()
            .any(|it| bot == Some(&it.id) && it.state == State::Failed)
    };
    if let Some((worse, text)) = scene.disk.and_then(disk_low) {
        add(Rule::DiskLow, None, worse, text, Since::Seen);
    }
    if scene.adopted > 0 {
        let text = format!(
            "the supervisor had ended without a stop; a new one has taken over {} running {}",
            scene.adopted,
            if scene.adopted == 1 { "bot" } else { "bots" }
        );
        add(Rule::Adopted, None, None, text, Since::Seen);
    }
    if let Some(outage) = outage {
        add(Rule::Outage, None, None, outage.to_string(), Since::At(outage.since));
    }
    for condition in &mut found {
        if condition.rule == Rule::CrashLoop && given_up(condition.bot.as_ref()) {
            condition.outlook = Outlook::GivenUp;
        }
    }
    found
}

type Finding = (Rule, Option<Level>, String, Since);

fn of_bot(bot: &BotScene, threshold: &dyn Fn(Rule) -> u64) -> Vec<Finding> {
    let mut found = of_limits(bot);
    let is_live = matches!(bot.state, State::Running | State::Starting | State::Unhealthy);
    let reason = bot.reason.as_deref().unwrap_or("no reason is known");
    if bot.is_wanted && !matches!(bot.state, State::Running | State::Adopting) {
        let text = match bot.reason.as_deref() {
            Some(why) => format!("is not running ({}): {why}", bot.state.word()),
            None => format!("is not running ({})", bot.state.word()),
        };
        found.push((Rule::Down, None, text, Since::Seen));
    }
    if bot.is_wanted && bot.state == State::Held {
        found.push((Rule::Held, None, format!("is held: {reason}"), Since::Seen));
    }
    if bot.is_wanted && bot.state == State::Failed {
        found.push((Rule::CrashLoop, None, format!("was given up: {reason}"), Since::Seen));
    } else if bot.is_wanted && bot.state != State::Held && u64::from(bot.failures) >= threshold(Rule::CrashLoop) {
        // While it waits its state says why, also where no run came to be; at any other time that is of the next run.
        let of_wait = bot.reason.as_deref().filter(|_| bot.state == State::Backoff);
        let why = of_wait.or(bot.last_exit.as_deref()).map(|why| format!(", last: {why}"));
        let text = format!("has failed {} times in a row{}", bot.failures, why.unwrap_or_default());
        found.push((Rule::CrashLoop, None, text, Since::Seen));
    }
    let is_silent = bot.reason.as_deref().is_some_and(|why| why.starts_with(NO_HEARTBEAT));
    if bot.is_wanted && is_silent && matches!(bot.state, State::Unhealthy | State::Backoff) {
        found.push((
            Rule::Heartbeat,
            None,
            format!("has fallen silent: {reason}"),
            Since::Seen,
        ));
    } else if let Some(at) = bot.heartbeat_at.filter(|_| bot.state == State::Running) {
        let text = format!("has fallen silent: no heartbeat since {}", seconds(at));
        found.push((Rule::Heartbeat, None, text, Since::At(at)));
    }
    if let Some(errors) = bot.errors_per_minute.filter(|errors| *errors > threshold(Rule::Errors)) {
        found.push((Rule::Errors, None, format!("{errors} errors in a minute"), Since::Seen));
    }
    if bot.waiting > threshold(Rule::Backlog) {
        let text = format!("{} messages wait in its inbox", bot.waiting);
        found.push((Rule::Backlog, None, text, Since::Seen));
    }
    if bot.ready == Some(false) && is_live && bot.state != State::Starting {
        let why = bot.not_ready_because.as_deref().map(|why| format!(": {why}"));
        let text = format!("runs and is not ready{}", why.unwrap_or_default());
        found.push((Rule::NotReady, None, text, Since::Seen));
    }
    found
}

fn was_stopped_by_limit(bot: &BotScene) -> bool {
    let is_stop = bot.passed.as_ref().is_some_and(|it| it.action == LimitAction::Stop);
    is_stop && matches!(bot.state, State::Unhealthy | State::Failed)
}

fn of_limits(bot: &BotScene) -> Vec<Finding> {
    let mut found = Vec::new();
    let texts = |is_meant: &dyn Fn(&LimitScene) -> bool| {
        let meant = bot.limits.iter().filter(|limit| is_meant(limit));
        let texts: Vec<&str> = meant.map(|limit| limit.why.as_str()).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    };
    if let Some(text) = texts(&|limit| limit.what == "memory") {
        found.push((Rule::Memory, None, text, Since::Seen));
    }
    if let Some(passed) = &bot.passed {
        let worse = (passed.action == LimitAction::Stop).then_some(Level::Critical);
        let text = format!("{}; action {}", passed.why, passed.action.word());
        found.push((Rule::Limit, worse, text, Since::Seen));
    } else if let Some(text) = texts(&|limit| limit.reach == Reach::Max) {
        found.push((Rule::Limit, None, text, Since::Seen));
    }
    if let Some(text) = texts(&|limit| limit.what != "memory" && limit.reach == Reach::Warn) {
        found.push((Rule::LimitWarn, None, text, Since::Seen));
    }
    found
}

fn disk_low(disk: Disk) -> Option<(Option<Level>, String)> {
    let bound = (disk.total / DISK_LOW_SHARE).max(DISK_LOW_BYTES);
    if disk.free >= bound {
        return None;
    }
    let worse = (disk.free < DISK_CRITICAL_BYTES).then_some(Level::Critical);
    let text = format!(
        "the disk of the home has {} of {} left",
        show_size(disk.free),
        show_size(disk.total)
    );
    Some((worse, text))
}

/// A time for people, without fractions.
fn seconds(at: Stamp) -> String {
    let text = at.to_string();
    text.split_once('.')
        .map_or(text.clone(), |(whole, _)| format!("{whole}Z"))
}

/// Whether what another rule tells of the same bot, or an outage, says all that this one would: then it is not raised.
pub fn is_covered(rule: Rule, bot: &BotId, holds: &dyn Fn(Rule) -> bool, outage: Option<&Outage>) -> bool {
    let is_of_outage = outage.is_some_and(|outage| outage.covers(bot));
    match rule {
        Rule::Down => is_of_outage || [Rule::CrashLoop, Rule::Held, Rule::Heartbeat].into_iter().any(holds),
        Rule::CrashLoop => is_of_outage,
        // They come and go with every run of the loop.
        Rule::Heartbeat | Rule::NotReady | Rule::Errors => is_of_outage || holds(Rule::CrashLoop),
        Rule::Memory => holds(Rule::Limit) || holds(Rule::CrashLoop),
        Rule::Limit | Rule::LimitWarn => holds(Rule::CrashLoop),
        Rule::Backlog | Rule::Held | Rule::DiskLow | Rule::Adopted | Rule::Outage => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::alerts::scene::PassedLimit;

    pub(in crate::alerts) fn bot(name: &str) -> BotScene {
        BotScene {
            last_exit: None,
            was_struck: false,
            id: name.parse().unwrap(),
            platform: "none".to_owned(),
            is_wanted: true,
            state: State::Running,
            reason: None,
            failures: 0,
            limits: Vec::new(),
            passed: None,
            errors_per_minute: Some(0),
            waiting: 0,
            heartbeat_at: None,
            ready: None,
            not_ready_because: None,
        }
    }

    fn found(bot: BotScene) -> Vec<String> {
        let scene = Scene {
            bots: vec![bot],
            ..Scene::default()
        };
        shown(&scene)
    }

    fn shown(scene: &Scene) -> Vec<String> {
        conditions(scene, None, &AlertSettings::default())
            .into_iter()
            .map(|it| format!("{} {} {}", it.rule.word(), it.level.word(), it.text))
            .collect()
    }

    #[test]
    fn a_bot_that_is_as_it_is_wanted_raises_nothing() {
        assert_eq!(found(bot("shop")), Vec::<String>::new());
        let stopped = BotScene {
            is_wanted: false,
            state: State::Stopped,
            failures: 9,
            ..bot("shop")
        };
        assert_eq!(found(stopped), Vec::<String>::new());
        let at_the_line = BotScene {
            errors_per_minute: Some(10),
            waiting: 1000,
            failures: 2,
            ready: Some(true),
            ..bot("shop")
        };
        assert_eq!(found(at_the_line), Vec::<String>::new());
    }

    /// So that `for` of the rule is obeyed: nothing has lasted long enough when it begins.
    #[test]
    fn what_is_final_counts_from_when_it_was_seen() {
        for (state, reason, rule) in [
            (State::Failed, "exited with code 3", Rule::CrashLoop),
            (State::Unhealthy, "no heartbeat for 90s", Rule::Heartbeat),
        ] {
            let scene = Scene {
                bots: vec![BotScene {
                    state,
                    reason: Some(reason.to_owned()),
                    ..bot("shop")
                }],
                ..Scene::default()
            };
            let all = conditions(&scene, None, &AlertSettings::default());
            let found = all.iter().find(|it| it.rule == rule).unwrap();
            assert_eq!(found.since, Since::Seen);
        }
    }

    #[test]
    fn each_rule_finds_its_own() {
        let why = |text: &str| Some(text.to_owned());
        let limit = |what: &str, reach| LimitScene {
            what: what.to_owned(),
            reach,
            why: format!("{what} is high"),
        };
        let passed = |action| {
            Some(PassedLimit {
                why: "cpu is high".to_owned(),
                action,
            })
        };
        for (scene, said) in [
            (
                BotScene {
                    state: State::Backoff,
                    reason: why("exit 1"),
                    failures: 1,
                    ..bot("a")
                },
                vec!["down critical is not running (backoff): exit 1"],
            ),
            (
                BotScene {
                    failures: 3,
                    ..bot("a")
                },
                vec!["crash_loop critical has failed 3 times in a row"],
            ),
            (
                BotScene {
                    failures: 3,
                    reason: why("cpu is high"),
                    last_exit: why("exited with code 3"),
                    ..bot("a")
                },
                vec!["crash_loop critical has failed 3 times in a row, last: exited with code 3"],
            ),
            (
                BotScene {
                    state: State::Backoff,
                    failures: 3,
                    reason: why("cannot execute"),
                    last_exit: why("exited with code 3"),
                    ..bot("a")
                },
                vec![
                    "down critical is not running (backoff): cannot execute",
                    "crash_loop critical has failed 3 times in a row, last: cannot execute",
                ],
            ),
            (
                BotScene {
                    state: State::Failed,
                    reason: why("exit 1; 6 failures in 10m"),
                    failures: 6,
                    ..bot("a")
                },
                vec![
                    "down critical is not running (failed): exit 1; 6 failures in 10m",
                    "crash_loop critical was given up: exit 1; 6 failures in 10m",
                ],
            ),
            (
                BotScene {
                    state: State::Held,
                    reason: why("no capacity"),
                    failures: 6,
                    ..bot("a")
                },
                vec![
                    "down critical is not running (held): no capacity",
                    "held warning is held: no capacity",
                ],
            ),
            (
                BotScene {
                    errors_per_minute: Some(11),
                    waiting: 1001,
                    ready: Some(false),
                    not_ready_because: why("http 503"),
                    ..bot("a")
                },
                vec![
                    "errors warning 11 errors in a minute",
                    "backlog warning 1001 messages wait in its inbox",
                    "not_ready warning runs and is not ready: http 503",
                ],
            ),
            (
                BotScene {
                    heartbeat_at: Some(Stamp(1_500_000)),
                    ..bot("a")
                },
                vec!["heartbeat critical has fallen silent: no heartbeat since 1970-01-01T00:00:01Z"],
            ),
            (
                BotScene {
                    limits: vec![limit("memory", Reach::Warn), limit("cpu", Reach::Warn)],
                    ..bot("a")
                },
                vec!["memory warning memory is high", "limit_warn info cpu is high"],
            ),
            (
                BotScene {
                    limits: vec![limit("cpu", Reach::Max), limit("threads", Reach::Max)],
                    ..bot("a")
                },
                vec!["limit warning cpu is high; threads is high"],
            ),
            (
                BotScene {
                    passed: passed(LimitAction::Restart),
                    ..bot("a")
                },
                vec!["limit warning cpu is high; action restart"],
            ),
            (
                BotScene {
                    passed: passed(LimitAction::Stop),
                    state: State::Failed,
                    failures: 3,
                    ..bot("a")
                },
                vec!["limit critical cpu is high; action stop"],
            ),
        ] {
            assert_eq!(found(scene.clone()), said, "{scene:?}");
        }
    }

    #[test]
    fn the_disk_is_low_by_share_or_by_bytes() {
        let mib = 1024 * 1024;
        for (free, total, said) in [
            (512 * mib, 4096 * mib, None),
            (511 * mib, 4096 * mib, Some("disk_low warning")),
            (999 * mib, 20_000 * mib, Some("disk_low warning")),
            (1000 * mib, 20_000 * mib, None),
            (63 * mib, 4096 * mib, Some("disk_low critical")),
        ] {
            let scene = Scene {
                disk: Some(Disk { free, total }),
                ..Scene::default()
            };
            let found = shown(&scene);
            assert_eq!(found.len(), usize::from(said.is_some()), "{free} of {total}");
            assert!(
                found.first().is_none_or(|text| text.starts_with(said.unwrap())),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_rule_that_is_off_finds_nothing() {
        let mut settings = AlertSettings::default();
        let mut policy = Rule::Down.policy();
        policy.enabled = false;
        settings.rules.insert(Rule::Down, policy);
        let scene = Scene {
            bots: vec![BotScene {
                state: State::Backoff,
                ..bot("a")
            }],
            ..Scene::default()
        };
        assert_eq!(conditions(&scene, None, &settings), []);
    }
}
