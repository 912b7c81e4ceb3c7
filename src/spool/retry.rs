//! What becomes of a message that was answered negatively, and when it comes back. Pure: jitter comes from the
//! message itself, so that the same answer always means the same.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::failure::{Failure, Then};
use crate::model::limits::{HISTORY_LEN_MAX, WHY_CHARS_MAX};
use crate::model::message::{Envelope, Setback};
use crate::model::queue::QueuePolicy;
use crate::model::units::Stamp;

/// What is to be done with the message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Later {
        envelope: Envelope,
        due: Stamp,
    },
    /// Behind what it must not overtake.
    Behind(Envelope),
    Bury {
        envelope: Envelope,
        reason: String,
    },
    /// It was for the run that refused it.
    Drop,
}

/// Judges a negative answer to this envelope, which carries its effective attempt.
pub(super) fn judge(mut envelope: Envelope, failure: &Failure, run: &str, rules: &QueuePolicy, now: Stamp) -> Verdict {
    if envelope.is_for_one_run() {
        return Verdict::Drop;
    }
    let why = clipped(&failure.message);
    match failure.then {
        Then::WaitBehind => Verdict::Behind(envelope),
        Then::Bury => {
            remember(&mut envelope, why.clone(), Some(run), now);
            Verdict::Bury { envelope, reason: why }
        }
        Then::RetryAfter(wait) => {
            remember(&mut envelope, why, Some(run), now);
            let due = later_by(now, wait);
            Verdict::Later { envelope, due }
        }
        Then::Retry => {
            remember(&mut envelope, why.clone(), Some(run), now);
            let wait = delay(&envelope.id, envelope.attempt, rules);
            match next_attempt(&mut envelope) {
                Ok(()) => {
                    let due = later_by(now, wait);
                    Verdict::Later { envelope, due }
                }
                Err(spent) => {
                    let reason = format!("{spent}: {why}");
                    Verdict::Bury { envelope, reason }
                }
            }
        }
    }
}

/// Counts one attempt more; the error says that there were enough, and leaves the count at what was done.
pub(super) fn next_attempt(envelope: &mut Envelope) -> Result<(), String> {
    if envelope.attempt >= envelope.max_attempts {
        return Err(format!(
            "{} of {} attempts spent",
            envelope.attempt, envelope.max_attempts
        ));
    }
    envelope.attempt += 1;
    Ok(())
}

/// Adds to what went wrong with a message; the oldest is forgotten first.
pub(super) fn remember(envelope: &mut Envelope, why: String, run: Option<&str>, now: Stamp) {
    let run = run.map(str::to_owned);
    envelope.history.push(Setback { at: now, why, run });
    let old = envelope.history.len().saturating_sub(HISTORY_LEN_MAX);
    envelope.history.drain(..old);
}

/// A reason that an envelope has room for, on one line.
pub(super) fn clipped(why: &str) -> String {
    let line = why.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(WHY_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The wait after this attempt: doubled from one to the next, shortened by up to a quarter so that many messages
/// that failed together do not come back together.
fn delay(id: &str, attempt: u32, rules: &QueuePolicy) -> Duration {
    let exponent = attempt.saturating_sub(1).min(40);
    let grown_s = rules.retry_delay.as_secs_f64() * 2f64.powi(exponent.cast_signed());
    let longest_s = grown_s.min(rules.max_retry_delay.as_secs_f64());
    Duration::from_secs_f64(longest_s * (1.0 - 0.25 * fraction(id, attempt)))
}

/// A number in 0..1 that depends on the message and the attempt alone.
fn fraction(id: &str, attempt: u32) -> f64 {
    let mut hash = Sha256::new();
    hash.update(id.as_bytes());
    hash.update(attempt.to_le_bytes());
    let digest = hash.finalize();
    f64::from(u16::from_le_bytes([digest[0], digest[1]])) / 65_536.0
}

pub(super) fn later_by(now: Stamp, wait: Duration) -> Stamp {
    Stamp(
        now.0
            .saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)),
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::message::Kind;
    use crate::model::queue::Durability;
    use crate::spool::envelope::tests::NOW;

    pub(in crate::spool) const RULES: QueuePolicy = QueuePolicy {
        max_messages: 10_000,
        max_bytes: 1 << 28,
        max_message: 1 << 18,
        retry_delay: Duration::from_secs(1),
        max_retry_delay: Duration::from_secs(60),
        max_crashes: 3,
        dedup_window: Duration::from_secs(3600),
        durability: Durability::Batch,
    };

    fn command(attempt: u32) -> Envelope {
        let mut envelope = Envelope::new("a".into(), Kind::Command, "dance", "cli", "shop", NOW);
        envelope.attempt = attempt;
        envelope
    }

    fn judged(attempt: u32, then: Then) -> Verdict {
        judge(command(attempt), &Failure::new("no\nway", then), "R", &RULES, NOW)
    }

    #[test]
    fn each_answer_means_one_thing() {
        match judged(2, Then::RetryAfter(Duration::from_secs(9))) {
            Verdict::Later { envelope, due } => {
                assert_eq!((envelope.attempt, due), (2, Stamp(NOW.0 + 9_000_000)));
                assert_eq!(envelope.history[0].why, "no way");
                assert_eq!(envelope.history[0].run.as_deref(), Some("R"));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(judged(2, Then::Retry), Verdict::Later { envelope, .. } if envelope.attempt == 3));
        assert!(matches!(judged(1, Then::Bury), Verdict::Bury { reason, .. } if reason == "no way"));
        let spent = "5 of 5 attempts spent: no way";
        assert!(matches!(judged(5, Then::Retry), Verdict::Bury { reason, .. } if reason == spent));
        assert_eq!(judged(1, Then::WaitBehind), Verdict::Behind(command(1)));
        let mut question = command(1);
        "status_request".clone_into(&mut question.name);
        "supervisor".clone_into(&mut question.from);
        let failure = Failure::new("late", Then::Bury);
        assert_eq!(judge(question, &failure, "R", &RULES, NOW), Verdict::Drop);
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_always_the_same() {
        for attempt in 1..50 {
            let wait = delay("a", attempt, &RULES);
            let full = Duration::from_secs(1 << (attempt - 1).min(20)).min(RULES.max_retry_delay);
            assert!(wait <= full && wait >= full * 3 / 4, "{attempt}: {wait:?}");
            assert_eq!(wait, delay("a", attempt, &RULES));
        }
        assert_ne!(delay("a", 1, &RULES), delay("b", 1, &RULES));
    }

    #[test]
    fn only_the_newest_setbacks_are_remembered() {
        let mut envelope = command(1);
        for number in 0..30 {
            remember(&mut envelope, number.to_string(), None, NOW);
        }
        assert_eq!((envelope.history.len(), envelope.history[0].why.as_str()), (20, "10"));
        assert_eq!(clipped(&"ä".repeat(600)).chars().count(), 501);
    }
}
