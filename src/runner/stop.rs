//! How a bot learns that it must end, and how long it may go on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::model::units::{Moment, Stamp};
use crate::spool::Waker;

/// The stop signal, as far as the bot's loop sees it. It may come any number of times.
#[derive(Clone)]
pub(super) struct Stop {
    is_requested: Arc<AtomicBool>,
    waker: Waker,
}

/// Until when a bot that ends takes what waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Graceful { until: Moment },
    Forced,
}

/// What a bot allows itself when only a signal came and nobody said a deadline: half of the default grace.
const UNTOLD_TIME: Duration = Duration::from_secs(5);
/// What the last words and the end of the process need before a deadline.
const LAST_WORDS_TIME: Duration = Duration::from_millis(500);

impl Stop {
    pub(super) fn new(waker: Waker) -> Stop {
        Stop {
            is_requested: Arc::new(AtomicBool::new(false)),
            waker,
        }
    }

    /// Takes SIGTERM and SIGINT from now on.
    pub(super) fn listen(&self) -> io::Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let stop = self.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for _ in signals.forever() {
                stop.request();
            }
        })?;
        Ok(())
    }

    /// Asks the bot to end, and wakes it.
    pub(super) fn request(&self) {
        self.is_requested.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    pub(super) fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::SeqCst)
    }
}

impl Ending {
    /// A graceful end that somebody asked for at `stamp`, which is `now`; the deadline is when the bot is
    /// killed.
    pub(super) fn graceful(deadline: Option<Stamp>, now: Moment, stamp: Stamp) -> Ending {
        let left = match deadline {
            Some(deadline) => deadline.since(stamp).saturating_sub(LAST_WORDS_TIME),
            None => UNTOLD_TIME,
        };
        Ending::Graceful { until: now + left }
    }

    /// What holds when `newer` comes after this: what is forced stays forced, else the last word counts.
    pub(super) fn then(self, newer: Ending) -> Ending {
        match self {
            Ending::Forced => Ending::Forced,
            Ending::Graceful { .. } => newer,
        }
    }

    /// Whether one more message may be taken.
    pub(super) fn has_time(self, now: Moment) -> bool {
        match self {
            Ending::Graceful { until } => now < until,
            Ending::Forced => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment(1_000_000);

    #[test]
    fn a_deadline_leaves_time_for_last_words() {
        let stamp = Stamp(7_000_000);
        for (deadline, until) in [
            (Some(Stamp(17_000_000)), 10_500_000),
            (Some(Stamp(7_500_001)), 1_000_001),
            (Some(Stamp(7_500_000)), 1_000_000),
            (Some(Stamp(0)), 1_000_000),
            (None, 6_000_000),
        ] {
            let ending = Ending::graceful(deadline, NOW, stamp);
            assert_eq!(ending, Ending::Graceful { until: Moment(until) }, "{deadline:?}");
            assert_eq!(ending.has_time(NOW), until > NOW.0);
            assert!(!ending.has_time(Moment(until)));
        }
        assert!(!Ending::Forced.has_time(Moment(0)));
    }

    #[test]
    fn the_last_word_counts_unless_force_was_used() {
        let short = Ending::Graceful { until: Moment(1) };
        let long = Ending::Graceful { until: Moment(2) };
        for (first, second, both) in [
            (short, long, long),
            (long, short, short),
            (long, Ending::Forced, Ending::Forced),
            (Ending::Forced, long, Ending::Forced),
        ] {
            assert_eq!(first.then(second), both);
        }
    }
}
