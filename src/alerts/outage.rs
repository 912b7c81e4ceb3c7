//! Sees that most bots fail together: then the platform, the network or the host is at fault, and not each of them.
//! Pure.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::alert::OutagePolicy;
use crate::model::bot::{BotId, State};
use crate::model::units::{Moment, Stamp};

use super::scene::{BotScene, Scene, Tick};

/// Names in a text; more say nothing.
const NAMES_MAX: usize = 3;
/// Between whom it concerns and who fails.
const TOGETHER: &str = " bots fail together: ";

/// Most bots fail together.
#[derive(Clone, Debug, PartialEq)]
pub struct Outage {
    pub since: Stamp,
    /// None: bots of all platforms.
    pub platform: Option<String>,
    pub failing: u32,
    pub of: u32,
    /// Some of those that fail.
    names: Vec<BotId>,
    /// Every bot that it concerns.
    bots: Vec<BotId>,
}

impl Outage {
    /// Whether what this bot does may be due to it.
    pub fn covers(&self, bot: &BotId) -> bool {
        self.bots.contains(bot)
    }

    /// The platform in the text of one; None: it is of all.
    fn platform_in(text: &str) -> Option<String> {
        let (head, _) = text.split_once(TOGETHER)?;
        let words: Vec<&str> = head.split(' ').collect();
        match words.as_slice() {
            [_, "of", _, platform] => Some((*platform).to_owned()),
            _ => None,
        }
    }
}

/// `10 of 12 telegram bots fail together: a, b, c and others`
impl fmt::Display for Outage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let platform = self.platform.as_deref();
        let names: Vec<&str> = self.names.iter().map(BotId::as_str).collect();
        write!(
            out,
            "{} of {}{}{}{TOGETHER}{}",
            self.failing,
            self.of,
            if platform.is_some() { " " } else { "" },
            platform.unwrap_or_default(),
            names.join(", ")
        )?;
        if self.failing as usize > self.names.len() {
            out.write_str(" and others")?;
        }
        out.write_str("; restarts are slowed down and not counted")
    }
}

/// Watches for outages, scene by scene.
#[derive(Debug, Default)]
pub struct OutageWatch {
    known: BTreeMap<BotId, Known>,
    current: Option<Current>,
}

#[derive(Debug)]
struct Known {
    failures: u32,
    is_failing: bool,
    failed_at: Option<Moment>,
}

#[derive(Clone, Debug)]
struct Current {
    since: Stamp,
    platform: Option<String>,
    /// Since when most of its bots run.
    calm_since: Option<Moment>,
}

impl OutageWatch {
    /// Goes on with an outage that an earlier supervisor has seen and told of so.
    pub fn resume(since: Stamp, text: &str) -> OutageWatch {
        OutageWatch {
            known: BTreeMap::new(),
            current: Some(Current {
                since,
                platform: Outage::platform_in(text),
                calm_since: None,
            }),
        }
    }

    /// Takes in one scene, or the same one at a later moment.
    pub fn look(&mut self, scene: &Scene, policy: &OutagePolicy, tick: Tick) -> Option<Outage> {
        self.note(scene, tick.now);
        if let Some(current) = self.current.take() {
            self.current = self.go_on(current, scene, policy, tick.now);
            if self.current.is_none() {
                // What belonged to it is not the beginning of another one.
                self.known.values_mut().for_each(|known| known.failed_at = None);
            }
        }
        if self.current.is_none() {
            self.current = self.begin(scene, policy, tick);
        }
        let current = self.current.clone()?;
        Some(self.shown(&current, scene, policy, tick.now))
    }

    /// When it must be looked at again although nothing happens.
    pub fn next_due(&self, policy: &OutagePolicy) -> Option<Moment> {
        let since = self.current.as_ref()?.calm_since?;
        Some(since + policy.recover_after)
    }

    /// A bot has failed when its count rose, or when it came into a state that only a failure leads to.
    fn note(&mut self, scene: &Scene, now: Moment) {
        self.known.retain(|id, _| scene.bots.iter().any(|bot| bot.id == *id));
        for bot in &scene.bots {
            let is_failing = is_failing(bot);
            let Some(known) = self.known.get_mut(&bot.id) else {
                let known = Known {
                    failures: bot.failures,
                    is_failing,
                    failed_at: None,
                };
                self.known.insert(bot.id.clone(), known);
                continue;
            };
            let has_failed = bot.failures > known.failures || (is_failing && !known.is_failing);
            // Whoever kills bots one after another is no platform that is down. One that is being ended for its
            // ill health has failed before any signal was sent.
            if has_failed && (!bot.was_struck || bot.state == State::Unhealthy) {
                known.failed_at = Some(now);
            }
            (known.failures, known.is_failing) = (bot.failures, is_failing);
        }
    }

    fn has_failed(&self, bot: &BotScene, within: std::time::Duration, now: Moment) -> bool {
        let at = self.known.get(&bot.id).and_then(|known| known.failed_at);
        at.is_some_and(|at| now.since(at) < within)
    }

    fn begin(&self, scene: &Scene, policy: &OutagePolicy, tick: Tick) -> Option<Current> {
        let is_outage = |platform: Option<&str>| {
            let all: Vec<&BotScene> = concerned(scene, platform).collect();
            let failed = all.iter().filter(|bot| self.has_failed(bot, policy.window, tick.now));
            let failed = failed.count();
            failed >= policy.min_bots as usize && failed * 2 > all.len()
        };
        let platform = if is_outage(None) {
            None
        } else {
            let mut platforms = scene.bots.iter().map(|bot| bot.platform.as_str());
            let found = platforms.find(|platform| *platform != "none" && is_outage(Some(platform)))?;
            Some(found.to_owned())
        };
        Some(Current {
            since: tick.stamp,
            platform,
            calm_since: None,
        })
    }

    fn go_on(&self, mut current: Current, scene: &Scene, policy: &OutagePolicy, now: Moment) -> Option<Current> {
        let all: Vec<&BotScene> = concerned(scene, current.platform.as_deref()).collect();
        let well = all.iter().filter(|bot| bot.state == State::Running).count();
        if all.is_empty() {
            return None;
        }
        if well * 2 <= all.len() {
            current.calm_since = None;
            return Some(current);
        }
        let since = *current.calm_since.get_or_insert(now);
        (now.since(since) < policy.recover_after).then_some(current)
    }

    fn shown(&self, current: &Current, scene: &Scene, policy: &OutagePolicy, now: Moment) -> Outage {
        let all: Vec<&BotScene> = concerned(scene, current.platform.as_deref()).collect();
        let is_down = |bot: &&&BotScene| bot.state != State::Running || self.has_failed(bot, policy.window, now);
        let failing: Vec<BotId> = all.iter().filter(is_down).map(|bot| bot.id.clone()).collect();
        Outage {
            since: current.since,
            platform: current.platform.clone(),
            failing: u32::try_from(failing.len()).unwrap_or(u32::MAX),
            of: u32::try_from(all.len()).unwrap_or(u32::MAX),
            names: failing.into_iter().take(NAMES_MAX).collect(),
            bots: all.iter().map(|bot| bot.id.clone()).collect(),
        }
    }
}

/// Bots that are wanted up, of one platform or of all. One that is held waits for something of its own, whatever the
/// others do.
fn concerned<'a>(scene: &'a Scene, platform: Option<&'a str>) -> impl Iterator<Item = &'a BotScene> {
    let is_of = move |bot: &&BotScene| platform.is_none_or(|word| bot.platform == word);
    let is_meant = |bot: &&BotScene| bot.is_wanted && bot.state != State::Held;
    scene.bots.iter().filter(is_meant).filter(is_of)
}

fn is_failing(bot: &BotScene) -> bool {
    matches!(bot.state, State::Backoff | State::Failed | State::Unhealthy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::rules::tests::bot;

    fn tick(s: u64) -> Tick {
        Tick {
            now: Moment(s * 1_000_000),
            stamp: Stamp(i64::try_from(s).unwrap() * 1_000_000),
        }
    }

    /// Bots by platform; those before `down` are in backoff.
    fn scene(platforms: &[&str], down: usize) -> Scene {
        let bots = platforms.iter().enumerate().map(|(index, platform)| BotScene {
            platform: (*platform).to_owned(),
            state: if index < down { State::Backoff } else { State::Running },
            ..bot(&format!("b{index}"))
        });
        Scene {
            bots: bots.collect(),
            ..Scene::default()
        }
    }

    #[test]
    fn more_than_half_and_at_least_three_are_an_outage() {
        let telegram = ["telegram"; 12];
        let mixed = ["telegram", "telegram", "telegram", "none", "none", "none", "none"];
        for (platforms, down, expected) in [
            (&telegram[..12], 6, None),
            (&telegram[..12], 7, Some(None)),
            (&telegram[..3], 2, None),
            (&telegram[..3], 3, Some(None)),
            (&telegram[..2], 2, None),
            (&mixed[..], 3, Some(Some("telegram".to_owned()))),
            (&mixed[..], 2, None),
        ] {
            let mut watch = OutageWatch::default();
            let policy = OutagePolicy::default();
            assert_eq!(watch.look(&scene(platforms, 0), &policy, tick(0)), None);
            let found = watch.look(&scene(platforms, down), &policy, tick(1));
            assert_eq!(found.map(|it| it.platform), expected, "{platforms:?} {down}");
        }
    }

    #[test]
    fn what_is_killed_from_outside_is_none() {
        for (state, expected) in [
            (State::Backoff, false),
            (State::Running, false),
            (State::Unhealthy, true),
        ] {
            let mut watch = OutageWatch::default();
            let policy = OutagePolicy::default();
            let mut struck = scene(&["none"; 4], 0);
            assert_eq!(watch.look(&struck, &policy, tick(0)), None);
            for bot in &mut struck.bots {
                (bot.was_struck, bot.failures, bot.state) = (true, 1, state);
            }
            assert_eq!(watch.look(&struck, &policy, tick(1)).is_some(), expected, "{state:?}");
        }
    }

    #[test]
    fn failures_far_apart_are_none() {
        let mut watch = OutageWatch::default();
        let policy = OutagePolicy::default();
        let platforms = ["none"; 5];
        for (second, down) in [(0, 0), (1, 1), (62, 2), (123, 3), (184, 4)] {
            assert_eq!(
                watch.look(&scene(&platforms, down), &policy, tick(second)),
                None,
                "{second}"
            );
        }
    }

    #[test]
    fn what_a_supervisor_finds_at_its_start_is_no_new_failure() {
        let mut watch = OutageWatch::default();
        let policy = OutagePolicy::default();
        assert_eq!(watch.look(&scene(&["none"; 5], 5), &policy, tick(0)), None);
    }

    #[test]
    fn it_ends_when_most_have_run_for_a_while() {
        let mut watch = OutageWatch::default();
        let policy = OutagePolicy::default();
        let platforms = ["none"; 5];
        watch.look(&scene(&platforms, 0), &policy, tick(0));
        let begun = watch.look(&scene(&platforms, 4), &policy, tick(1)).unwrap();
        assert_eq!((begun.failing, begun.of, begun.since), (4, 5, tick(1).stamp));
        assert_eq!(
            begun.to_string(),
            "4 of 5 bots fail together: b0, b1, b2 and others; restarts are slowed down and not counted"
        );
        assert!(watch.look(&scene(&platforms, 2), &policy, tick(70)).is_some());
        assert_eq!(watch.next_due(&policy), Some(tick(100).now));
        // A relapse begins the wait anew.
        assert!(watch.look(&scene(&platforms, 3), &policy, tick(80)).is_some());
        assert!(watch.look(&scene(&platforms, 1), &policy, tick(90)).is_some());
        assert!(watch.look(&scene(&platforms, 1), &policy, tick(119)).is_some());
        assert_eq!(watch.look(&scene(&platforms, 1), &policy, tick(120)), None);
        assert_eq!(watch.look(&scene(&platforms, 1), &policy, tick(121)), None);
    }

    #[test]
    fn the_next_supervisor_knows_of_which_platform_it_is() {
        let policy = OutagePolicy::default();
        let mixed = ["telegram", "telegram", "telegram", "none", "none", "none", "none"];
        let mut watch = OutageWatch::default();
        watch.look(&scene(&mixed, 0), &policy, tick(0));
        let begun = watch.look(&scene(&mixed, 3), &policy, tick(1)).unwrap();
        assert_eq!(begun.platform.as_deref(), Some("telegram"));
        let mut next = OutageWatch::resume(begun.since, &begun.to_string());
        let found = next.look(&scene(&mixed, 3), &policy, tick(2)).unwrap();
        assert_eq!((found.platform, found.of), (begun.platform, 3));
    }

    #[test]
    fn bots_that_are_not_wanted_are_neither_counted_nor_waited_for() {
        let mut watch = OutageWatch::default();
        let policy = OutagePolicy::default();
        let platforms = ["none"; 5];
        watch.look(&scene(&platforms, 0), &policy, tick(0));
        assert!(watch.look(&scene(&platforms, 5), &policy, tick(1)).is_some());
        let mut stopped = scene(&platforms, 5);
        for bot in &mut stopped.bots {
            (bot.is_wanted, bot.state) = (false, State::Stopped);
        }
        assert_eq!(watch.look(&stopped, &policy, tick(2)), None);
        let settings = crate::model::alert::AlertSettings::default();
        let mut resumed = OutageWatch::resume(Stamp(5), "4 of 5 bots fail together: a");
        let found = resumed.look(&scene(&platforms, 5), &policy, tick(9)).unwrap();
        assert_eq!(found.since, Stamp(5));
        // Its alert is raised by that time, also after a restart.
        let told = crate::alerts::rules::conditions(&Scene::default(), Some(&found), &settings);
        assert_eq!(told[0].since, crate::alerts::rules::Since::At(Stamp(5)));
    }
}
