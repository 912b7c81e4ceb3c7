//! Which probe is due when. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::bot::{BotId, RunId};
use crate::model::probe::Probe;
use crate::model::units::Moment;

use super::turns::Speed;

/// One probe of one bot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) bot: BotId,
    pub(super) probe: String,
}

#[derive(Default)]
pub(super) struct Schedule {
    entries: HashMap<Key, Entry>,
    due: BTreeSet<(Moment, Key)>,
}

struct Entry {
    run: RunId,
    probe: Arc<Probe>,
    stage: Stage,
    speed: Speed,
}

#[derive(Clone, Copy)]
enum Stage {
    Due(Moment),
    /// It was due then and is being asked.
    Asking(Moment),
}

impl Schedule {
    /// From now on the bot is asked by these probes. One that was there before keeps its time.
    pub(super) fn watch(&mut self, bot: &BotId, run: &RunId, probes: &[Probe], began_at: Moment, now: Moment) {
        let mut before = self.take(bot);
        for probe in probes {
            let key = Key {
                bot: bot.clone(),
                probe: probe.name.clone(),
            };
            let known = before.remove(&key).filter(|it| it.run == *run && *it.probe == *probe);
            let entry = known.unwrap_or_else(|| Entry {
                run: run.clone(),
                probe: Arc::new(probe.clone()),
                speed: Speed::default(),
                stage: Stage::Due((began_at + probe.initial_delay).max(now)),
            });
            if let Stage::Due(at) = entry.stage {
                self.due.insert((at, key.clone()));
            }
            self.entries.insert(key, entry);
        }
    }

    pub(super) fn forget(&mut self, bot: &BotId) {
        self.take(bot);
    }

    fn take(&mut self, bot: &BotId) -> HashMap<Key, Entry> {
        let keys: Vec<Key> = self.entries.keys().filter(|key| key.bot == *bot).cloned().collect();
        self.due.retain(|(_, key)| key.bot != *bot);
        keys.into_iter()
            .filter_map(|key| self.entries.remove(&key).map(|entry| (key, entry)))
            .collect()
    }

    pub(super) fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What is due; none of it is due again before it was asked.
    pub(super) fn take_due(&mut self, now: Moment) -> Vec<(Key, Arc<Probe>, Speed)> {
        let mut taken = Vec::new();
        while self.next_due().is_some_and(|at| at <= now) {
            let Some((at, key)) = self.due.pop_first() else { break };
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.stage = Stage::Asking(at);
                taken.push((key, Arc::clone(&entry.probe), entry.speed));
            }
        }
        taken
    }

    /// A question was answered; that of an older run changes nothing.
    pub(super) fn asked(&mut self, key: &Key, run: &RunId, speed: Speed, now: Moment) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.run == *run) else {
            return;
        };
        entry.speed = speed;
        if let Stage::Asking(at) = entry.stage {
            // Looks that were missed meanwhile are not made up for.
            let next = (at + entry.probe.period).max(now);
            entry.stage = Stage::Due(next);
            self.due.insert((next, key.clone()));
        }
    }

    /// Everything that is due gets one period more.
    pub(super) fn postpone(&mut self, now: Moment) {
        for (key, entry) in &mut self.entries {
            if let Stage::Due(at) = entry.stage
                && at <= now
            {
                self.due.remove(&(at, key.clone()));
                let next = now + entry.probe.period;
                entry.stage = Stage::Due(next);
                self.due.insert((next, key.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::probe::{Check, Role, TcpCheck};
    use std::time::Duration;

    fn probe(name: &str, delay: u64, period: u64) -> Probe {
        Probe {
            name: name.to_owned(),
            role: Role::Liveness,
            check: Check::Tcp(TcpCheck {
                host: "127.0.0.1".to_owned(),
                port: 1,
            }),
            initial_delay: Duration::from_secs(delay),
            period: Duration::from_secs(period),
            timeout: Duration::from_secs(1),
            failure_threshold: 3,
            success_threshold: 1,
        }
    }

    fn at(second: u64) -> Moment {
        Moment(second * 1_000_000)
    }

    fn run(number: u64) -> RunId {
        RunId::parse(&format!("{number:026}")).unwrap()
    }

    fn names(taken: &[(Key, Arc<Probe>, Speed)]) -> Vec<String> {
        taken
            .iter()
            .map(|(key, ..)| format!("{}.{}", key.bot, key.probe))
            .collect()
    }

    #[test]
    fn a_probe_comes_after_its_delay_and_then_every_period() {
        let shop: BotId = "shop".parse().unwrap();
        let mut schedule = Schedule::default();
        schedule.watch(
            &shop,
            &run(1),
            &[probe("a", 5, 10), probe("b", 0, 10)],
            at(100),
            at(101),
        );
        assert_eq!(schedule.next_due(), Some(at(101)));
        let due = schedule.take_due(at(101));
        assert_eq!(names(&due), ["shop.b"]);
        assert_eq!(schedule.next_due(), Some(at(105)));
        // While it is being asked it is not due again, however long that takes.
        assert_eq!(names(&schedule.take_due(at(300))), ["shop.a"]);
        assert_eq!(schedule.next_due(), None);
        schedule.asked(&due[0].0, &run(1), Speed::Quick, at(102));
        assert_eq!(schedule.next_due(), Some(at(111)));
        // An answer that comes late is followed at once, and only once.
        schedule.take_due(at(111));
        schedule.asked(&due[0].0, &run(1), Speed::Quick, at(155));
        assert_eq!(schedule.next_due(), Some(at(155)));
    }

    #[test]
    fn a_new_run_begins_anew_and_the_same_run_goes_on() {
        let shop: BotId = "shop".parse().unwrap();
        let mut schedule = Schedule::default();
        let probes = [probe("a", 0, 10)];
        schedule.watch(&shop, &run(1), &probes, at(0), at(0));
        let due = schedule.take_due(at(0));
        schedule.watch(&shop, &run(1), &probes, at(0), at(1));
        assert_eq!(schedule.next_due(), None, "it is still being asked");
        schedule.watch(&shop, &run(2), &probes, at(2), at(2));
        assert_eq!(schedule.next_due(), Some(at(2)));
        schedule.take_due(at(2));
        schedule.asked(&due[0].0, &run(1), Speed::Quick, at(3));
        assert_eq!(schedule.next_due(), None, "an answer of an older run");
        schedule.asked(&due[0].0, &run(2), Speed::Quick, at(3));
        assert_eq!(schedule.next_due(), Some(at(12)));
        schedule.postpone(at(900));
        assert_eq!(schedule.next_due(), Some(at(910)));
        schedule.forget(&shop);
        assert_eq!((schedule.next_due(), schedule.entries.len()), (None, 0));
    }
}
