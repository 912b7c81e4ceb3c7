//! What a platform answers when it is asked about a bot, and what follows from the updates that wait there. Pure.

use std::time::Duration;

use super::units::{Moment, show_duration};

/// How platforms are asked, for all bots together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskingPolicy {
    /// None: they are not asked.
    pub period: Option<Duration>,
    /// None: what waits there is only shown.
    pub backlog_for: Option<Duration>,
    pub calls_per_second: u32,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The bot's own name there.
    Name(String),
    /// So many updates wait for it.
    Pending(u64),
    /// The token is refused, in one line, and was so when it was asked again.
    Unauthorized(String),
    /// Nothing was heard, for this reason.
    Unreachable(String),
}

/// Follows the number of updates that wait while one run is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pile {
    last: u64,
    /// When they last became fewer, or none waited.
    moved_at: Option<Moment>,
}

impl Pile {
    /// Takes a number; says why the run does not work, where it has not taken any for `longest`.
    pub fn look(&mut self, pending: u64, longest: Duration, now: Moment) -> Option<String> {
        let is_moving = pending == 0 || pending < self.last || self.moved_at.is_none();
        if is_moving {
            self.moved_at = Some(now);
        }
        self.last = pending;
        let stood = self.moved_at.map_or(Duration::ZERO, |at| now.since(at));
        (stood >= longest).then(|| {
            let updates = if pending == 1 { "update waits" } else { "updates wait" };
            format!(
                "{pending} {updates} at its platform and have not become fewer for {}",
                show_duration(longest)
            )
        })
    }

    /// Nobody looked for a while: the time counts anew.
    pub fn pardon(&mut self, now: Moment) {
        self.moved_at = self.moved_at.map(|_| now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Moment {
        Moment(s * 1_000_000)
    }

    #[test]
    fn a_pile_that_does_not_fall_is_told_and_one_that_falls_is_not() {
        let longest = Duration::from_secs(300);
        let mut pile = Pile::default();
        for (second, pending, is_told) in [
            (0, 5, false),
            (200, 9, false),
            (299, 9, false),
            (300, 9, true),
            (301, 8, false),
            (600, 20, false),
            (601, 20, true),
            (602, 0, false),
            (902, 0, false),
            (903, 1, false),
            (1201, 1, false),
            (1202, 1, true),
        ] {
            let told = pile.look(pending, longest, at(second));
            assert_eq!(told.is_some(), is_told, "{second}: {told:?}");
        }
    }

    #[test]
    fn sleep_is_not_held_against_it() {
        let mut pile = Pile::default();
        pile.look(5, Duration::from_secs(300), at(0));
        pile.pardon(at(10_000));
        assert_eq!(pile.look(5, Duration::from_secs(300), at(10_299)), None);
        assert!(pile.look(5, Duration::from_secs(300), at(10_300)).is_some());
    }
}
