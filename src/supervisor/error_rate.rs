//! How many errors a bot had in the last minute. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::units::Moment;

const SPAN: Duration = Duration::from_secs(60);
/// Errors are counted by this; a flood costs no more memory than a trickle.
const STEP_US: u64 = 1_000_000;

/// A count over a sliding minute. It outlives the runs of a bot: a crash loop is many errors a minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorRate {
    /// Second and count, the oldest first.
    steps: VecDeque<(u64, u64)>,
}

impl ErrorRate {
    pub fn add(&mut self, count: u64, now: Moment) {
        self.forget(now);
        let step = now.0 / STEP_US;
        match self.steps.back_mut() {
            _ if count == 0 => {}
            Some((last, sum)) if *last >= step => *sum += count,
            Some(_) | None => self.steps.push_back((step, count)),
        }
    }

    /// Drops what is older than a minute; whether that was anything.
    pub fn forget(&mut self, now: Moment) -> bool {
        let known = self.steps.len();
        while self.next_change().is_some_and(|at| at <= now) {
            self.steps.pop_front();
        }
        self.steps.len() < known
    }

    pub fn per_minute(&self) -> u64 {
        self.steps.iter().map(|(_, count)| count).sum()
    }

    /// When the count falls although nothing happens.
    pub fn next_change(&self) -> Option<Moment> {
        let (step, _) = self.steps.front()?;
        Some(Moment((step + 1) * STEP_US) + SPAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment(ms * 1000)
    }

    #[test]
    fn errors_count_for_a_minute() {
        let mut rate = ErrorRate::default();
        assert_eq!((rate.per_minute(), rate.next_change()), (0, None));
        rate.add(0, at(0));
        assert_eq!(rate.next_change(), None);
        rate.add(3, at(500));
        rate.add(2, at(900));
        rate.add(4, at(30_000));
        assert_eq!(rate.per_minute(), 9);
        assert!(!rate.forget(at(60_999)));
        assert_eq!(rate.next_change(), Some(at(61_000)));
        assert!(rate.forget(at(61_000)));
        assert_eq!(rate.per_minute(), 4);
        rate.add(1, at(200_000));
        assert_eq!(rate.per_minute(), 1);
    }

    #[test]
    fn a_flood_needs_no_memory() {
        let mut rate = ErrorRate::default();
        for ms in 0..600_000 {
            rate.add(7, at(ms));
        }
        assert!(rate.steps.len() <= 62, "{}", rate.steps.len());
        assert!(
            (420_000..=427_000).contains(&rate.per_minute()),
            "{}",
            rate.per_minute()
        );
    }
}
