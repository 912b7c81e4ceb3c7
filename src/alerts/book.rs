//! Keeps the alerts of one home: which conditions have lasted long enough to be raised, which are over, and of which
//! somebody must be told now. Pure: conditions and moments go in, alerts and words come out.
//!
//! Invariants, asserted by seeded walks: at most one open alert for a rule and a bot; each alert that was told of is
//! told of as recovered exactly once; a reminder only of what is open, told, not acknowledged and not silenced.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::alert::{Acked, Alert, AlertSettings, HomeAlert, OpenAlerts, OpenInHome, Rule, Silence, Told};
use crate::model::bot::BotId;
use crate::model::units::{Moment, Stamp};

use super::outage::Outage;
use super::rules::{Condition, Outlook, Since, is_covered};
use super::scene::Tick;

/// What happened to an alert, as the sinks are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    Raised,
    /// It has become worse since it was raised.
    Escalated,
    Recovered,
    Reminded,
}

impl Change {
    pub fn word(self) -> &'static str {
        match self {
            Change::Raised => "raised",
            Change::Escalated => "escalated",
            Change::Recovered => "recovered",
            Change::Reminded => "reminded",
        }
    }
}

/// What an alert is about; only one of a kind is open.
type Key = (Rule, Option<BotId>);

/// All alerts that are not finished.
#[derive(Debug, Default)]
pub struct Book {
    open: BTreeMap<Key, Entry>,
    /// Over, and the sinks do not know it yet.
    over: Vec<Alert>,
    /// Conditions that hold and have not lasted long enough, by when they were first seen.
    pending: BTreeMap<Key, Pending>,
    /// What must be written down, oldest first.
    unwritten: Vec<Alert>,
    /// A supervisor is adopted once.
    is_adoption_told: bool,
}

#[derive(Debug)]
struct Entry {
    alert: Alert,
    /// Since when its condition is gone.
    gone_since: Option<Moment>,
    /// When its text was taken over last.
    text_at: Option<Moment>,
    /// What it would say now; the text above is written down and follows later.
    text_now: String,
    outlook: Outlook,
    /// The outlook that the sinks know; None where an earlier supervisor has told them.
    told_outlook: Option<Outlook>,
    /// When this supervisor told of it last.
    told_at: Option<Stamp>,
}

impl Entry {
    fn new(alert: Alert, outlook: Outlook) -> Entry {
        Entry {
            gone_since: None,
            text_at: None,
            text_now: alert.text.clone(),
            outlook,
            told_outlook: None,
            told_at: None,
            alert,
        }
    }

    /// The alert as it is told now.
    fn current(&self) -> Alert {
        Alert {
            text: self.text_now.clone(),
            ..self.alert.clone()
        }
    }
}

#[derive(Debug)]
struct Pending {
    seen: Moment,
    since: Since,
}

/// What is configured, and what is silenced.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    pub settings: &'a AlertSettings,
    pub silences: &'a [Silence],
}

impl Book {
    /// Goes on with what an earlier supervisor has left.
    pub fn resume(unfinished: Vec<Alert>) -> Book {
        let mut book = Book::default();
        for alert in unfinished {
            if alert.recovered_at.is_some() {
                book.over.push(alert);
                continue;
            }
            let key = (alert.rule, alert.bot.clone());
            let entry = Entry::new(alert, Outlook::Open);
            book.open.insert(key, entry);
        }
        book
    }

    /// Takes in what holds now. `new_id` makes the ids of new alerts.
    pub fn look(
        &mut self,
        conditions: Vec<Condition>,
        outage: Option<&Outage>,
        settings: &AlertSettings,
        tick: Tick,
        new_id: &mut dyn FnMut() -> String,
    ) {
        let mut holding: BTreeMap<Key, Condition> = BTreeMap::new();
        for condition in conditions {
            holding.insert((condition.rule, condition.bot.clone()), condition);
        }
        self.pending.retain(|key, _| holding.contains_key(key));
        let mut ripe: BTreeMap<Key, Condition> = BTreeMap::new();
        for (key, condition) in &holding {
            let pending = self.pending.entry(key.clone()).or_insert(Pending {
                seen: tick.now,
                since: condition.since,
            });
            // What has a time of its own only until it is seen for certain begins to last then.
            if matches!((pending.since, condition.since), (Since::At(_), Since::Seen)) {
                pending.seen = tick.now;
            }
            pending.since = condition.since;
            if has_lasted(pending, settings.rule(key.0).lasting, tick) {
                ripe.insert(key.clone(), condition.clone());
            }
        }
        self.follow(&holding, &ripe, settings, tick);
        self.raise(ripe, outage, tick, new_id);
    }

    /// Carries the open alerts on: worse, better, or over.
    fn follow(
        &mut self,
        holding: &BTreeMap<Key, Condition>,
        ripe: &BTreeMap<Key, Condition>,
        settings: &AlertSettings,
        tick: Tick,
    ) {
        let mut over = Vec::new();
        for (key, entry) in &mut self.open {
            // A condition with a time of its own holds when it has lasted; any other as long as it is there.
            let now = holding.get(key).filter(|condition| match condition.since {
                Since::At(_) => ripe.contains_key(key),
                Since::Seen => true,
            });
            let Some(condition) = now else {
                let since = *entry.gone_since.get_or_insert(tick.now);
                if tick.now.since(since) >= settings.recover_after {
                    over.push(key.clone());
                }
                continue;
            };
            entry.gone_since = None;
            entry.text_now.clone_from(&condition.text);
            entry.outlook = condition.outlook;
            entry.told_outlook.get_or_insert(condition.outlook);
            let is_stale = entry.text_at.is_none_or(|at| tick.now.since(at) >= TEXT_EVERY);
            if condition.level != entry.alert.level || (is_stale && condition.text != entry.alert.text) {
                entry.text_at = Some(tick.now);
                entry.alert.level = condition.level;
                entry.alert.text.clone_from(&condition.text);
                note(&mut self.unwritten, &entry.alert);
            }
        }
        for key in over {
            if let Some(mut entry) = self.open.remove(&key) {
                entry.alert.recovered_at = Some(tick.stamp);
                note(&mut self.unwritten, &entry.alert);
                if entry.alert.told == Told::Raised {
                    self.over.push(entry.alert);
                }
            }
        }
    }

    fn raise(
        &mut self,
        ripe: BTreeMap<Key, Condition>,
        outage: Option<&Outage>,
        tick: Tick,
        new_id: &mut dyn FnMut() -> String,
    ) {
        let covered: Vec<Key> = ripe
            .keys()
            .filter(|(rule, bot)| {
                let holds = |other: Rule| {
                    let key = (other, bot.clone());
                    ripe.contains_key(&key) || self.open.contains_key(&key)
                };
                bot.as_ref().is_some_and(|bot| is_covered(*rule, bot, &holds, outage))
            })
            .cloned()
            .collect();
        for (key, condition) in ripe {
            if self.open.contains_key(&key) || covered.contains(&key) {
                continue;
            }
            let is_adoption = key.0 == Rule::Adopted;
            if is_adoption && std::mem::replace(&mut self.is_adoption_told, true) {
                continue;
            }
            let alert = Alert {
                id: new_id(),
                rule: condition.rule,
                bot: condition.bot,
                level: condition.level,
                text: condition.text,
                raised_at: tick.stamp,
                // It has happened, and nothing of it lasts.
                recovered_at: is_adoption.then_some(tick.stamp),
                reminded_at: None,
                told: Told::Nothing,
                told_level: None,
                acked: None,
            };
            note(&mut self.unwritten, &alert);
            if is_adoption {
                self.over.push(alert);
                continue;
            }
            let entry = Entry::new(alert, condition.outlook);
            self.open.insert(key, entry);
        }
    }

    /// What the sinks must be told of now. Each is answered by [`Book::told`] when it is safe.
    pub fn words(&self, order: Order<'_>, tick: Tick) -> Vec<(Change, Alert)> {
        let mut words: Vec<(Change, Alert)> = Vec::new();
        for alert in &self.over {
            // What happens once has no recovery of its own.
            let is_event = alert.told == Told::Nothing;
            if is_event && silenced_until(alert, order.silences, tick.stamp).is_some() {
                continue;
            }
            words.push((if is_event { Change::Raised } else { Change::Recovered }, alert.clone()));
        }
        for entry in self.open.values() {
            if let Some(change) = due_change(entry, order, tick) {
                words.push((change, entry.current()));
            }
        }
        words.sort_by(|a, b| a.1.id.cmp(&b.1.id));
        words
    }

    /// The sinks have been given this word of this alert.
    pub fn told(&mut self, change: Change, id: &str, stamp: Stamp) {
        if let Some(place) = self.over.iter().position(|alert| alert.id == id) {
            let mut alert = self.over.remove(place);
            alert.told = Told::Recovered;
            note(&mut self.unwritten, &alert);
            return;
        }
        let Some(entry) = self.open.values_mut().find(|entry| entry.alert.id == id) else {
            return;
        };
        match change {
            // Told late, after a silence: the next reminder counts from here.
            Change::Raised if stamp.since(entry.alert.raised_at) > LATE => entry.alert.reminded_at = Some(stamp),
            Change::Raised | Change::Recovered => {}
            Change::Escalated => {
                entry.alert.acked = None;
                entry.alert.reminded_at = Some(stamp);
            }
            Change::Reminded => entry.alert.reminded_at = Some(stamp),
        }
        entry.alert.told = Told::Raised;
        entry.told_at = Some(stamp);
        entry.told_outlook = Some(entry.outlook);
        entry.alert.text.clone_from(&entry.text_now);
        entry.alert.told_level = Some(entry.alert.level);
        note(&mut self.unwritten, &entry.alert);
    }

    /// An event that nobody wants to hear of stays unsaid.
    pub fn drop_silenced(&mut self, silences: &[Silence], stamp: Stamp) {
        self.over
            .retain(|alert| alert.told == Told::Raised || silenced_until(alert, silences, stamp).is_none());
    }

    /// Takes over who has acknowledged what, as it is stored.
    pub fn acknowledge(&mut self, stored: &[Alert]) {
        for alert in stored {
            if let Some(entry) = self.open.values_mut().find(|entry| entry.alert.id == alert.id) {
                entry.alert.acked.clone_from(&alert.acked);
            }
        }
    }

    /// When something is due although nothing happens; None: never.
    pub fn next_due(&self, order: Order<'_>, tick: Tick) -> Option<Duration> {
        let pending = self.pending.iter().filter(|(key, _)| !self.open.contains_key(key));
        let ripens = pending.filter_map(|(key, pending)| {
            let lasting = order.settings.rule(key.0).lasting;
            match pending.since {
                // What has lasted and is covered by another alert waits for news.
                _ if has_lasted(pending, lasting, tick) => None,
                Since::Seen => Some((pending.seen + lasting).since(tick.now)),
                Since::At(at) => Some(lasting.saturating_sub(tick.stamp.since(at))),
            }
        });
        let open = self.open.values().flat_map(|entry| {
            let gone = entry
                .gone_since
                .map(|since| (since + order.settings.recover_after).since(tick.now));
            [gone, next_word(entry, order, tick)]
        });
        ripens.chain(open.flatten()).min()
    }

    /// What has changed since the last call, to be written down.
    pub fn take_unwritten(&mut self) -> Vec<Alert> {
        std::mem::take(&mut self.unwritten)
    }

    /// What could not be written down is tried again.
    pub fn give_back_unwritten(&mut self, alerts: Vec<Alert>) {
        let newer = std::mem::replace(&mut self.unwritten, alerts);
        for alert in newer {
            note(&mut self.unwritten, &alert);
        }
    }

    /// How many alerts of each bot are open, and which of the home.
    pub fn open_in_home(&self) -> OpenInHome {
        let mut open = OpenInHome::default();
        for entry in self.open.values() {
            let level = entry.alert.level;
            let Some(bot) = entry.alert.bot.clone() else {
                open.of_home.push(HomeAlert {
                    rule: entry.alert.rule,
                    level,
                    text: entry.alert.text.clone(),
                });
                continue;
            };
            let none = OpenAlerts { count: 0, worst: level };
            let of_bot = open.of_bots.entry(bot).or_insert(none);
            of_bot.count += 1;
            of_bot.worst = of_bot.worst.max(level);
        }
        open
    }

    /// The open alert of a rule about the whole home.
    pub fn open_of_home(&self, rule: Rule) -> Option<&Alert> {
        self.open.get(&(rule, None)).map(|entry| &entry.alert)
    }
}

/// Numbers in a text change all the time; nobody reads them so often.
const TEXT_EVERY: Duration = Duration::from_secs(60);
/// A word of a raise that comes so much later was held back by a silence.
const LATE: Duration = Duration::from_secs(60);

fn has_lasted(pending: &Pending, lasting: Duration, tick: Tick) -> bool {
    match pending.since {
        Since::Seen => tick.now.since(pending.seen) >= lasting,
        Since::At(at) => tick.stamp.since(at) >= lasting,
    }
}

/// Notes an alert to be written down; only its newest form counts.
fn note(unwritten: &mut Vec<Alert>, alert: &Alert) {
    unwritten.retain(|other| other.id != alert.id);
    unwritten.push(alert.clone());
}

/// Until when an alert is silenced; None: it is not.
fn silenced_until(alert: &Alert, silences: &[Silence], stamp: Stamp) -> Option<Stamp> {
    let covering = silences
        .iter()
        .filter(|silence| silence.until > stamp && silence.covers(alert.rule, alert.bot.as_ref()));
    covering.map(|silence| silence.until).max()
}

fn due_change(entry: &Entry, order: Order<'_>, tick: Tick) -> Option<Change> {
    if silenced_until(&entry.alert, order.silences, tick.stamp).is_some() {
        return None;
    }
    match entry.alert.told {
        // What is perhaps over in a moment need not be told any more.
        Told::Nothing => entry.gone_since.is_none().then_some(Change::Raised),
        Told::Raised if has_become_worse(entry) => Some(Change::Escalated),
        Told::Raised | Told::Recovered => {
            let at = remind_at(entry, order)?;
            (at <= tick.stamp).then_some(Change::Reminded)
        }
    }
}

/// Since the sinks were told of it last.
fn has_become_worse(entry: &Entry) -> bool {
    entry.alert.told_level.is_some_and(|told| entry.alert.level > told)
        || entry.told_outlook.is_some_and(|told| entry.outlook > told)
}

fn remind_at(entry: &Entry, order: Order<'_>) -> Option<Stamp> {
    let wait = order.settings.remind_after?;
    let acked: &Option<Acked> = &entry.alert.acked;
    if acked.is_some() || entry.gone_since.is_some() {
        return None;
    }
    let last = entry.alert.reminded_at.unwrap_or(entry.alert.raised_at);
    let last = entry.told_at.map_or(last, |told| told.max(last));
    let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
    Some(Stamp(last.0.saturating_add(wait)))
}

/// How long until something may have to be said of an open alert.
fn next_word(entry: &Entry, order: Order<'_>, tick: Tick) -> Option<Duration> {
    let silent = silenced_until(&entry.alert, order.silences, tick.stamp);
    let is_untold = entry.alert.told == Told::Nothing || has_become_worse(entry);
    let at = match (is_untold, silent) {
        (true, Some(until)) => until,
        (true, None) => return None,
        (false, silent) => {
            let at = remind_at(entry, order)?;
            silent.map_or(at, |until| until.max(at))
        }
    };
    Some(at.since(tick.stamp))
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
