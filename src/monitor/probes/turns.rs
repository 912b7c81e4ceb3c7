//! Whose question comes next, when more are due than may be under way at once. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::model::bot::BotId;
use crate::model::limits::{PROBERS_MAX, PROBERS_RESERVED};
use crate::model::units::Moment;

/// A question that has waited so long is late; less is the change from one thread to the next.
const LATE: Duration = Duration::from_secs(1);
/// Who was answered within this time the last time is quick.
const QUICK_MAX: Duration = Duration::from_secs(1);

/// How long a probe took when it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Speed {
    /// It took long, or was never asked.
    #[default]
    Slow,
    Quick,
}

impl Speed {
    pub(super) fn of(took: Duration) -> Speed {
        if took <= QUICK_MAX { Speed::Quick } else { Speed::Slow }
    }
}

/// The questions that wait, the oldest first, and how many of each bot are under way.
#[derive(Debug)]
pub(super) struct Turns<T> {
    waiting: VecDeque<Waiting<T>>,
    under_way: HashMap<BotId, usize>,
    total: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    bot: BotId,
    speed: Speed,
    since: Moment,
    task: T,
}

impl<T> Turns<T> {
    pub(super) fn new() -> Turns<T> {
        Turns {
            waiting: VecDeque::new(),
            under_way: HashMap::new(),
            total: 0,
        }
    }

    pub(super) fn add(&mut self, bot: BotId, speed: Speed, task: T, now: Moment) {
        self.waiting.push_back(Waiting {
            bot,
            speed,
            since: now,
            task,
        });
    }

    /// The next question, which is under way from now on; None while too many are. A bot gets a second one only
    /// where nobody waits for a first one, and the last places are for bots that answer quickly.
    pub(super) fn next(&mut self) -> Option<T> {
        let is_idle = |it: &Waiting<T>| !self.under_way.contains_key(&it.bot);
        let at = if self.total >= PROBERS_MAX {
            None
        } else if self.total >= PROBERS_MAX - PROBERS_RESERVED {
            self.waiting
                .iter()
                .position(|it| it.speed == Speed::Quick && is_idle(it))
        } else {
            let first = self.waiting.iter().position(is_idle);
            first.or_else(|| (!self.waiting.is_empty()).then_some(0))
        };
        let Waiting { bot, task, .. } = self.waiting.remove(at?)?;
        *self.under_way.entry(bot).or_default() += 1;
        self.total += 1;
        Some(task)
    }

    /// A question of this bot was answered, or could not be asked.
    pub(super) fn ended(&mut self, bot: &BotId) {
        self.total = self.total.saturating_sub(1);
        if let Some(count) = self.under_way.get_mut(bot) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(bot);
            }
        }
    }

    /// Forgets questions that nobody wants to know any more.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(&T) -> bool) {
        self.waiting.retain(|it| is_wanted(&it.task));
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many questions have waited too long.
    pub(super) fn late(&self, now: Moment) -> usize {
        self.waiting.iter().filter(|it| now.since(it.since) >= LATE).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bot(number: usize) -> BotId {
        format!("b{number}").parse().unwrap()
    }

    fn all(turns: &mut Turns<usize>) -> Vec<usize> {
        std::iter::from_fn(|| turns.next()).collect()
    }

    const SHARED: usize = PROBERS_MAX - PROBERS_RESERVED;

    #[test]
    fn a_bot_gets_a_second_question_when_nobody_else_waits() {
        let mut turns = Turns::new();
        let now = Moment(0);
        for task in 0..3 {
            turns.add(bot(1), Speed::Slow, task, now);
        }
        turns.add(bot(2), Speed::Slow, 3, now);
        assert_eq!(all(&mut turns), [0, 3, 1, 2]);
        turns.ended(&bot(1));
        turns.add(bot(2), Speed::Quick, 4, now);
        turns.add(bot(3), Speed::Slow, 5, now);
        assert_eq!(all(&mut turns), [5, 4]);
    }

    #[test]
    fn who_hangs_leaves_places_for_the_quick() {
        let mut turns = Turns::new();
        for number in 0..PROBERS_MAX + 100 {
            turns.add(bot(number), Speed::Slow, number, Moment(0));
        }
        assert_eq!(all(&mut turns).len(), SHARED);
        let (now, late) = (Moment(500_000), Moment(1_000_000));
        for number in 0..PROBERS_RESERVED + 1 {
            turns.add(bot(2000 + number), Speed::Quick, 2000 + number, now);
        }
        // A second question of a bot that is being asked has no claim to them.
        turns.add(bot(0), Speed::Quick, 0, now);
        let quick: Vec<usize> = (2000..2000 + PROBERS_RESERVED).collect();
        assert_eq!(all(&mut turns), quick);
        assert_eq!((turns.late(now), turns.late(late)), (0, PROBERS_RESERVED + 100));
        turns.ended(&bot(2000));
        assert_eq!(turns.next(), Some(2000 + PROBERS_RESERVED));
        for number in 0..PROBERS_RESERVED {
            turns.ended(&bot(2001 + number));
        }
        turns.ended(&bot(0));
        // The one that has waited longest.
        assert_eq!(turns.next(), Some(SHARED));
        turns.retain(|task| *task == 0);
        assert!(turns.is_waiting());
        turns.retain(|_| false);
        assert_eq!((turns.is_waiting(), turns.next()), (false, None));
    }
}
