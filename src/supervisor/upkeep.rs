//! What keeps the history useful and small: sums of minutes and hours, and the end of what is too old or too much.
//! The recorder's thread does it after it has written.

use crate::model::fact::Fact;
use crate::model::metric::{MetricRow, Retention};
use crate::model::units::Stamp;
use crate::store::{Error, Store};

/// Events that are kept at the most.
const EVENTS_MAX: u32 = 500_000;
/// How many recorded events lie between two looks at old ones.
const PRUNE_EVERY: usize = 10_000;
/// The same after a look that failed.
const PRUNE_AGAIN: usize = 100;
const MINUTE_MS: i64 = 60_000;

/// When what is due next.
#[derive(Debug)]
pub(super) struct Upkeep {
    retention: Retention,
    /// Events that may still come before old ones are dropped.
    until_prune: usize,
    /// The minute of the newest measurement that was dealt with.
    minute: i64,
}

impl Upkeep {
    pub(super) fn new(retention: Retention) -> Upkeep {
        Upkeep {
            retention,
            until_prune: 0,
            minute: 0,
        }
    }

    /// History is kept for so long from now on, and what that makes too old goes with the next write.
    pub(super) fn keep(&mut self, retention: Retention) {
        if retention != self.retention {
            self.retention = retention;
            (self.until_prune, self.minute) = (0, 0);
        }
    }

    /// Does what is due after these were written. What fails is tried again with a later write.
    pub(super) fn after(&mut self, history: &Store, facts: &[Fact], rows: &[MetricRow]) {
        if let Some(newest) = facts.last() {
            if self.until_prune == 0 {
                let outcome = self.drop_events(history, newest.at);
                self.until_prune = if outcome.is_ok() { PRUNE_EVERY } else { PRUNE_AGAIN };
                told("old events are not dropped", outcome);
            }
            self.until_prune = self.until_prune.saturating_sub(facts.len());
        }
        let Some(newest) = rows.iter().map(|row| row.at).max() else {
            return;
        };
        // A clock that was set back counts as well: it is another minute.
        let minute = newest.unix_ms() / MINUTE_MS;
        if minute != self.minute {
            self.minute = minute;
            told("measurements are not summed up", history.metrics().sum_up(newest));
            told("old measurements are not dropped", self.drop_rows(history, newest));
        }
    }

    fn drop_events(&self, history: &Store, newest: Stamp) -> Result<(), Error> {
        let age = i64::try_from(self.retention.events.as_micros()).unwrap_or(i64::MAX);
        let before = Stamp(newest.0.saturating_sub(age));
        history.events().prune_events(before, EVENTS_MAX).map(|_| ())
    }

    fn drop_rows(&self, history: &Store, newest: Stamp) -> Result<(), Error> {
        history.metrics().drop_old(&self.retention, newest)?;
        let size_max = self.retention.size_max;
        let dropped = history.metrics().drop_surplus(size_max)?;
        if dropped > 0 {
            tracing::warn!("{dropped} measurements were dropped: the database has reached history.max_size");
        }
        // Bots that talk a lot fill it with events alone.
        let dropped = history.events().drop_surplus(size_max)?;
        if dropped > 0 {
            tracing::warn!("{dropped} events were dropped: the database has reached history.max_size");
        }
        history.give_back(size_max)
    }
}

fn told(what: &str, outcome: Result<(), Error>) {
    if let Err(error) = outcome {
        tracing::warn!("{what}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bot::State;
    use crate::store::Access;
    use std::time::Duration;

    const DAY: Duration = Duration::from_secs(86_400);

    fn retention(size_max: u64) -> Retention {
        Retention {
            raw: DAY,
            minute: DAY,
            hour: DAY,
            events: DAY,
            size_max,
        }
    }

    #[test]
    fn a_history_of_events_alone_is_bounded_as_well() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("multibot.db"), Access::History).unwrap();
        let at = Stamp::from_unix_ms(1_700_000_000_000);
        let fact = Fact {
            at,
            bot: "shop".parse().unwrap(),
            run: None,
            name: "order".to_owned(),
            detail: "x".repeat(200),
        };
        let facts = vec![fact; 30_000];
        store.events().append(&facts).unwrap();
        let rows = [MetricRow::of_pass(at, "shop".parse().unwrap(), State::Running)];
        let full = store.used_bytes().unwrap();
        let mut upkeep = Upkeep::new(retention(full));
        upkeep.after(&store, &facts, &rows);
        assert_eq!(store.used_bytes().unwrap(), full);
        // The same minute again, and it is looked at again because less may be kept.
        upkeep.keep(retention(full / 2));
        upkeep.after(&store, &[], &rows);
        let used = store.used_bytes().unwrap();
        assert!(used <= full / 2 && used > full * 9 / 20, "{used} of {full}");
        assert!(store.file_bytes().unwrap() <= full / 2, "room is given back");
        let left = store.events().recent(None, 50_000).unwrap().len();
        assert!((13_000..=15_000).contains(&left), "{left}");
    }
}
