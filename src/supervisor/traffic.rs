//! What passes through the inboxes of bots, as their watches tell it: how many messages come in, and how long it
//! takes from the post of one until the bot is done with it.
//!
//! The watcher's thread notes, the loop takes. Only names are looked at: the name of a file carries the time of its
//! post. A lost hint costs a figure, never a message.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::bot::BotId;
use crate::model::message::PRIORITY_CONTROL;
use crate::model::units::Stamp;
use crate::spool::{FileName, LaterName};

/// Files of one bot whose move is remembered until they leave `cur/`: that comes next.
const MOVED_MAX: usize = 1024;

/// Shared by who notes and who takes.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<Mutex<BTreeMap<BotId, Passage>>>);

/// What passed through one inbox since it was last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Files that came in, without the supervisor's own questions.
    pub came: u64,
    /// How long each took until it was done.
    pub times: Times,
}

/// Lengths of time in classes that are at most a sixteenth wide, so that any number of them takes a few hundred
/// bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    classes: BTreeMap<u64, u64>,
    count: u64,
}

/// A folder of a bot's mailboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    New,
    Cur,
    Later,
    Dead,
}

#[derive(Debug, Default)]
struct Passage {
    passed: Passed,
    /// Messages that have a new place, so that leaving the old one does not mean that they are done.
    moved: VecDeque<(u64, String)>,
}

impl Traffic {
    /// A file has come to a place.
    pub(super) fn arrived(&self, bot: &BotId, place: Place, name: &str) {
        let found = match place {
            Place::Later => LaterName::parse(name).map(|later| later.name),
            Place::New | Place::Dead => FileName::parse(name),
            Place::Cur => None,
        };
        let Some(found) = found.filter(|name| name.priority != PRIORITY_CONTROL) else {
            return;
        };
        self.with(bot, |passage| {
            if place == Place::New && found.attempt == 1 {
                passage.passed.came += 1;
            } else {
                passage.moved.truncate(MOVED_MAX - 1);
                passage.moved.push_front((found.micros, found.id));
            }
        });
    }

    /// A file was removed from `cur/` at `now`.
    pub(super) fn removed(&self, bot: &BotId, name: &str, now: Stamp) {
        let posted = name.split_once(',').and_then(|(_, posted)| FileName::parse(posted));
        let Some(posted) = posted.filter(|name| name.priority != PRIORITY_CONTROL) else {
            return;
        };
        self.with(bot, |passage| {
            let place = passage
                .moved
                .iter()
                .position(|(micros, id)| *micros == posted.micros && *id == posted.id);
            match place {
                Some(place) => drop(passage.moved.remove(place)),
                None => {
                    let took = now.since(posted.posted_at());
                    passage
                        .passed
                        .times
                        .add(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
                }
            }
        });
    }

    /// What has passed since the last time this was asked.
    pub fn take(&self, bot: &BotId) -> Passed {
        self.with(bot, |passage| std::mem::take(&mut passage.passed))
    }

    pub(super) fn forget(&self, bot: &BotId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(bot);
    }

    fn with<T>(&self, bot: &BotId, work: impl FnOnce(&mut Passage) -> T) -> T {
        // Counters make sense after any panic.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(all.entry(bot.clone()).or_default())
    }
}

impl Times {
    pub fn add(&mut self, ms: u64) {
        *self.classes.entry(class_of(ms)).or_default() += 1;
        self.count += 1;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The length below which so many percent of them lie, in milliseconds; None where there are none.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.classes.iter().find_map(|(class, count)| {
            seen += count;
            (seen >= rank).then(|| middle_of(*class))
        })
    }
}

/// Short lengths are classes of their own; of longer ones the five highest bits count.
fn class_of(ms: u64) -> u64 {
    let shift = u64::from(59_u32.saturating_sub(ms.leading_zeros()));
    (shift << 5) | (ms >> shift)
}

fn middle_of(class: u64) -> u64 {
    let (shift, high) = (class >> 5, class & 31);
    (high << shift) + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bot() -> BotId {
        "shop".parse().unwrap()
    }

    fn name(micros: u64, priority: u8, attempt: u32) -> String {
        let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned();
        FileName {
            priority,
            micros,
            id,
            attempt,
        }
        .to_string()
    }

    fn claimed(micros: u64) -> String {
        format!("01BX5ZZKBKACTAV9WEVGEMMVRZ,{}", name(micros, 5, 1))
    }

    #[test]
    fn what_comes_is_counted_and_what_is_done_is_timed() {
        let traffic = Traffic::default();
        for micros in [1_000_000, 2_000_000] {
            traffic.arrived(&bot(), Place::New, &name(micros, 5, 1));
            traffic.arrived(&bot(), Place::Cur, &claimed(micros));
        }
        traffic.removed(&bot(), &claimed(1_000_000), Stamp(1_012_000));
        traffic.removed(&bot(), &claimed(2_000_000), Stamp(2_003_000));
        let passed = traffic.take(&bot());
        assert_eq!((passed.came, passed.times.count()), (2, 2));
        assert_eq!(
            (passed.times.percentile(50), passed.times.percentile(95)),
            (Some(3), Some(12))
        );
        assert_eq!(traffic.take(&bot()), Passed::default());
    }

    #[test]
    fn what_moved_on_is_not_done() {
        let traffic = Traffic::default();
        let later = format!("00000000009000000-0000000000000000-{}", name(1, 5, 2));
        traffic.arrived(&bot(), Place::Later, &later);
        traffic.arrived(&bot(), Place::Dead, &name(2, 5, 1));
        traffic.arrived(&bot(), Place::New, &name(3, 5, 2));
        for micros in 1..=3 {
            traffic.removed(&bot(), &claimed(micros), Stamp(5000));
        }
        assert_eq!(traffic.take(&bot()), Passed::default());
        // When it comes again and is done then, the whole time counts.
        traffic.removed(&bot(), &claimed(1), Stamp(9001));
        assert_eq!(traffic.take(&bot()).times.percentile(50), Some(9));
    }

    #[test]
    fn questions_of_the_supervisor_progress_and_foreign_files_do_not_count() {
        let traffic = Traffic::default();
        traffic.arrived(&bot(), Place::New, &name(1, PRIORITY_CONTROL, 1));
        traffic.arrived(&bot(), Place::New, "hello.json");
        traffic.removed(&bot(), &format!("{}.acked", claimed(1)), Stamp(9));
        traffic.removed(&bot(), &format!("R,{}", name(1, PRIORITY_CONTROL, 1)), Stamp(9));
        assert_eq!(traffic.take(&bot()), Passed::default());
    }

    proptest! {
        #[test]
        fn a_class_is_narrow(ms in 0_u64..=u64::MAX >> 1) {
            let shown = middle_of(class_of(ms));
            prop_assert!(shown.abs_diff(ms) <= ms / 16, "{ms} is shown as {shown}");
        }

        #[test]
        fn a_percentile_is_near_that_of_the_sorted_list(mut all in proptest::collection::vec(0_u64..1_000_000, 1..200), percent in 1_u64..=100) {
            let mut times = Times::default();
            all.iter().for_each(|ms| times.add(*ms));
            all.sort_unstable();
            let exact = all[(all.len() * percent as usize).div_ceil(100) - 1];
            prop_assert!(times.percentile(percent).unwrap().abs_diff(exact) <= exact / 16);
        }
    }
}
