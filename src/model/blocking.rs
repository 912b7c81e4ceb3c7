//! When a bot no longer talks to a target, and for how long. Pure: what is known of the target and what was said of it
//! in, what is known afterwards out.

use std::time::Duration;

use super::units::Stamp;

/// The command that tells a built-in bot which targets it must leave alone: `{"targets":[target]}`, all of them.
pub const REFRESH_BLOCKLIST: &str = "refresh_blocklist";

/// How a bot's targets are blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockingPolicy {
    /// So many failed connections in a row block.
    pub max_failures: u32,
    /// How long they do.
    pub duration: Duration,
    /// How long a bot stays away from where it was thrown out, or from who does not want it; None: for ever.
    pub kicked: Option<Duration>,
}

/// What was said of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Connected,
    ConnectionFailed,
    /// The bot was thrown out, or the target wants nothing of it.
    Unwanted(&'static str),
}

/// Whether a target is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Some connections in a row have failed, not enough of them.
    Counted,
    Until(Stamp),
    ForEver,
}

/// What is known of one target of one bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetEntry {
    pub reason: String,
    pub blocked_at: Stamp,
    pub standing: Standing,
    /// Failed connections in a row.
    pub failures: u32,
}

impl TargetEntry {
    pub fn is_blocked(&self, now: Stamp) -> bool {
        match self.standing {
            Standing::Counted => false,
            Standing::Until(until) => now < until,
            Standing::ForEver => true,
        }
    }

    /// `until 2026-12-01T10:00:00Z (kicked)`.
    pub fn shown(&self) -> String {
        match self.standing {
            Standing::Counted => format!("not yet ({})", self.reason),
            Standing::Until(until) => format!("until {until} ({})", self.reason),
            Standing::ForEver => format!("for ever ({})", self.reason),
        }
    }
}

/// What is known of a target after that; None: nothing is worth knowing. A block is never shortened by what a bot
/// says: only time and operators lift it.
pub fn hear(known: Option<TargetEntry>, heard: Heard, policy: &BlockingPolicy, now: Stamp) -> Option<TargetEntry> {
    let blocked = known.clone().filter(|entry| entry.is_blocked(now));
    match heard {
        Heard::Connected => blocked.map(|entry| TargetEntry { failures: 0, ..entry }),
        Heard::ConnectionFailed => {
            if let Some(entry) = blocked {
                return Some(entry);
            }
            let before = known.filter(|entry| entry.standing == Standing::Counted);
            let failures = before.map_or(0, |entry| entry.failures) + 1;
            let is_enough = failures >= policy.max_failures;
            Some(TargetEntry {
                reason: format!("{failures} failed connections"),
                blocked_at: now,
                standing: if is_enough {
                    Standing::Until(after(now, policy.duration))
                } else {
                    Standing::Counted
                },
                failures,
            })
        }
        Heard::Unwanted(reason) => {
            let standing = policy
                .kicked
                .map_or(Standing::ForEver, |length| Standing::Until(after(now, length)));
            match blocked {
                Some(entry) if !is_longer(standing, entry.standing) => Some(entry),
                earlier => Some(TargetEntry {
                    reason: reason.to_owned(),
                    blocked_at: now,
                    standing,
                    failures: earlier.map_or(0, |entry| entry.failures),
                }),
            }
        }
    }
}

fn after(now: Stamp, length: Duration) -> Stamp {
    let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
    Stamp(now.0.saturating_add(micros))
}

fn is_longer(new: Standing, old: Standing) -> bool {
    match (new, old) {
        (_, Standing::ForEver) | (Standing::Counted, _) => false,
        (Standing::ForEver, _) | (Standing::Until(_), Standing::Counted) => true,
        (Standing::Until(new), Standing::Until(old)) => new > old,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dice::Dice;

    const POLICY: BlockingPolicy = BlockingPolicy {
        max_failures: 3,
        duration: Duration::from_secs(3600),
        kicked: None,
    };

    fn at(seconds: i64) -> Stamp {
        Stamp(seconds * 1_000_000)
    }

    /// The standing after these words, one a second from second 1 on.
    fn after_all(words: &[Heard], policy: &BlockingPolicy) -> Option<(Standing, u32)> {
        let mut known = None;
        for (second, word) in (1..).zip(words) {
            known = hear(known, *word, policy, at(second));
        }
        known.map(|entry: TargetEntry| (entry.standing, entry.failures))
    }

    #[test]
    fn three_failures_in_a_row_block_for_an_hour_and_a_kick_for_ever() {
        use Heard::{Connected, ConnectionFailed as Failed, Unwanted};
        let kicked = Unwanted("kicked");
        for (words, expected) in [
            (&[Failed, Failed][..], Some((Standing::Counted, 2))),
            (&[Failed, Failed, Failed], Some((Standing::Until(at(3603)), 3))),
            (&[Failed, Failed, Connected], None),
            (&[Failed, Failed, Connected, Failed], Some((Standing::Counted, 1))),
            (&[Failed, Failed, Failed, Failed], Some((Standing::Until(at(3603)), 3))),
            (
                &[Failed, Failed, Failed, Connected],
                Some((Standing::Until(at(3603)), 0)),
            ),
            (&[kicked], Some((Standing::ForEver, 0))),
            (&[kicked, Connected, Failed], Some((Standing::ForEver, 0))),
            (&[Failed, Failed, Failed, kicked], Some((Standing::ForEver, 3))),
            (&[Connected], None),
        ] {
            assert_eq!(after_all(words, &POLICY), expected, "{words:?}");
        }
        let short = BlockingPolicy {
            kicked: Some(Duration::from_secs(60)),
            ..POLICY
        };
        assert_eq!(after_all(&[kicked], &short), Some((Standing::Until(at(61)), 0)));
        let failed_first = [Failed, Failed, Failed, kicked];
        assert_eq!(
            after_all(&failed_first, &short),
            Some((Standing::Until(at(3603)), 3)),
            "never shortened"
        );
    }

    #[test]
    fn whoever_was_blocked_counts_from_the_start_when_that_is_over() {
        let mut known = None;
        for second in [1, 2, 3] {
            known = hear(known, Heard::ConnectionFailed, &POLICY, at(second));
        }
        let entry = hear(known, Heard::ConnectionFailed, &POLICY, at(3603)).unwrap();
        assert_eq!((entry.standing, entry.failures), (Standing::Counted, 1));
    }

    #[test]
    fn what_is_blocked_for_ever_stays_so_whatever_is_said() {
        for seed in 0..200 {
            let mut dice = Dice::new(seed);
            let mut known: Option<TargetEntry> = None;
            let mut was_for_ever = false;
            for step in 1..60 {
                let word = match dice.below(6) {
                    0 => Heard::Unwanted("kicked"),
                    1 | 2 => Heard::Connected,
                    _ => Heard::ConnectionFailed,
                };
                known = hear(known, word, &POLICY, at(step * 400));
                let is_for_ever = known.as_ref().is_some_and(|it| it.standing == Standing::ForEver);
                assert!(is_for_ever || !was_for_ever, "seed {seed}, step {step}");
                assert!(known.as_ref().is_none_or(|it| it.failures <= 3), "seed {seed}");
                was_for_ever = is_for_ever;
            }
        }
    }
}
