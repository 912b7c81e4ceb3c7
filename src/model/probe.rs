//! Probes: how a bot is asked whether it works, and how answers become a verdict. Pure.
//!
//! The names and defaults are those of Kubernetes, so that who knows one knows the other.

use std::fmt;
use std::time::Duration;

use super::units::{Moment, show_duration};

/// One probe of a bot as configured. Its `Debug` names it alone: headers and arguments may hold secrets.
#[derive(Clone, PartialEq)]
pub struct Probe {
    pub name: String,
    pub role: Role,
    pub check: Check,
    /// From the start of the run to the first look.
    pub initial_delay: Duration,
    pub period: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// So many failures in a row make it failing.
    pub failure_threshold: u32,
    /// So many successes in a row make it passing.
    pub success_threshold: u32,
}

impl fmt::Debug for Probe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Probe({} {})", self.name, self.check.word())
    }
}

/// What a failing probe leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The bot is restarted.
    Liveness,
    /// The bot is marked as not ready.
    Readiness,
}

impl Role {
    pub const ALL: [Role; 2] = [Role::Liveness, Role::Readiness];

    pub fn word(self) -> &'static str {
        match self {
            Role::Liveness => "liveness",
            Role::Readiness => "readiness",
        }
    }

    pub fn from_word(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// How the bot is asked.
#[derive(Clone, PartialEq)]
pub enum Check {
    /// A program that ends with 0 where the bot is well.
    Exec(Vec<String>),
    Http(HttpCheck),
    /// Somebody accepts a connection there.
    Tcp(TcpCheck),
    /// The bot's last heartbeat is not older than this; None: than `heartbeat_timeout`.
    Heartbeat {
        max_age: Option<Duration>,
    },
    /// The bot answers a `status_request`.
    StatusRequest,
    Log(LogCheck),
    Backlog(BacklogCheck),
}

impl Check {
    /// The words under which a check is written.
    pub const WORDS: [&'static str; 7] = ["exec", "http", "tcp", "heartbeat", "status_request", "log", "backlog"];

    pub fn word(&self) -> &'static str {
        match self {
            Check::Exec(_) => "exec",
            Check::Http(_) => "http",
            Check::Tcp(_) => "tcp",
            Check::Heartbeat { .. } => "heartbeat",
            Check::StatusRequest => "status_request",
            Check::Log(_) => "log",
            Check::Backlog(_) => "backlog",
        }
    }

    /// Whether asking takes a process or a connection, and may hang.
    pub fn is_outside(&self) -> bool {
        matches!(self, Check::Exec(_) | Check::Http(_) | Check::Tcp(_))
    }
}

#[derive(Clone, PartialEq)]
pub struct HttpCheck {
    pub url: String,
    pub method: String,
    pub headers: Vec<(String, String)>,
    /// The first and the last status that is a success.
    pub status: (u16, u16),
    /// A pattern that the body must match.
    pub body: Option<String>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct TcpCheck {
    pub host: String,
    pub port: u16,
}

#[derive(Clone, PartialEq, Eq)]
pub enum LogCheck {
    MustAppear { pattern: String, within: Duration },
    MustNotAppear { pattern: String },
}

impl LogCheck {
    pub fn pattern(&self) -> &str {
        match self {
            LogCheck::MustAppear { pattern, .. } | LogCheck::MustNotAppear { pattern } => pattern,
        }
    }
}

/// Messages pile up in the inbox while the bot runs.
#[derive(Clone, PartialEq, Eq)]
pub struct BacklogCheck {
    /// More than this may not wait for as long as `growing_for`; None: any number may, as long as it falls.
    pub max: Option<u64>,
    pub growing_for: Duration,
}

/// One answer to a probe: whether it is a success, and what it says in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub is_success: bool,
    pub text: String,
}

impl Answer {
    pub fn success(text: impl Into<String>) -> Answer {
        Answer {
            is_success: true,
            text: text.into(),
        }
    }

    pub fn failure(text: impl Into<String>) -> Answer {
        Answer {
            is_success: false,
            text: text.into(),
        }
    }
}

/// What the answers so far amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// No answer counts yet.
    #[default]
    Unknown,
    Passing,
    Failing,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Unknown => "unknown",
            Verdict::Passing => "passing",
            Verdict::Failing => "failing",
        }
    }

    pub fn from_word(word: &str) -> Option<Verdict> {
        [Verdict::Unknown, Verdict::Passing, Verdict::Failing]
            .into_iter()
            .find(|verdict| verdict.word() == word)
    }
}

/// Turns the answers to one probe of one run into its verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judge {
    verdict: Verdict,
    /// Answers in a row that were the same, and of which kind.
    failures: u32,
    successes: u32,
}

impl Judge {
    /// One that goes on where an earlier one stood.
    pub fn of(verdict: Verdict) -> Judge {
        Judge {
            verdict,
            ..Judge::default()
        }
    }

    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes one answer; the new verdict where it changes.
    pub fn take(&mut self, probe: &Probe, is_success: bool) -> Option<Verdict> {
        let verdict = if is_success {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            (self.successes >= probe.success_threshold).then_some(Verdict::Passing)
        } else {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            (self.failures >= probe.failure_threshold).then_some(Verdict::Failing)
        };
        let changed = verdict.filter(|verdict| *verdict != self.verdict)?;
        self.verdict = changed;
        Some(changed)
    }

    /// Nobody looked for a while, so failures that are not in a row any more are forgotten.
    pub fn pardon(&mut self) {
        self.failures = 0;
    }
}

/// What is remembered of a bot's inbox between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    waiting: u64,
    oldest: Option<i64>,
    over_since: Option<Moment>,
    stuck_since: Option<Moment>,
}

impl Backlog {
    /// Looks at how many messages wait and when the oldest of them was posted, in any unit.
    pub fn look(&mut self, check: &BacklogCheck, waiting: u64, oldest: Option<i64>, now: Moment) -> Answer {
        let is_over = check.max.is_some_and(|max| waiting > max);
        self.over_since = is_over.then(|| self.over_since.unwrap_or(now));
        let has_moved = waiting < self.waiting || oldest != self.oldest;
        self.stuck_since = match self.stuck_since {
            _ if waiting == 0 => None,
            Some(since) if !has_moved => Some(since),
            Some(_) | None => Some(now),
        };
        (self.waiting, self.oldest) = (waiting, oldest);
        let lasted = |since: Option<Moment>| since.is_some_and(|since| now.since(since) >= check.growing_for);
        let length = show_duration(check.growing_for);
        if lasted(self.over_since) {
            let max = check.max.unwrap_or_default();
            Answer::failure(format!("{waiting} messages wait, more than {max} for {length}"))
        } else if lasted(self.stuck_since) {
            Answer::failure(format!("{waiting} messages wait, and none was taken for {length}"))
        } else {
            Answer::success(format!("{waiting} messages wait"))
        }
    }

    /// Nobody looked for a while: the time begins anew.
    pub fn pardon(&mut self, now: Moment) {
        self.over_since = self.over_since.map(|_| now);
        self.stuck_since = self.stuck_since.map(|_| now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(failure_threshold: u32, success_threshold: u32) -> Probe {
        Probe {
            name: "api".to_owned(),
            role: Role::Liveness,
            check: Check::StatusRequest,
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            failure_threshold,
            success_threshold,
        }
    }

    fn verdicts(probe: &Probe, answers: &str) -> String {
        let mut judge = Judge::default();
        answers
            .chars()
            .map(|answer| match judge.take(probe, answer == '+') {
                Some(Verdict::Passing) => 'P',
                Some(Verdict::Failing) => 'F',
                Some(Verdict::Unknown) => '?',
                None => '.',
            })
            .collect()
    }

    #[test]
    fn thresholds_count_answers_in_a_row() {
        for (failures, successes, answers, said) in [
            (3, 1, "+++", "P.."),
            (3, 1, "---", "..F"),
            (3, 1, "--+--+---+", "..P.....FP"),
            (1, 1, "+-+-", "PFPF"),
            (3, 2, "+-++---++", "...P..F.P"),
            (1, 3, "---", "F.."),
        ] {
            assert_eq!(
                verdicts(&probe(failures, successes), answers),
                said,
                "{failures}/{successes} {answers}"
            );
        }
    }

    #[test]
    fn what_was_not_looked_at_is_not_held_against_it() {
        let probe = probe(2, 1);
        let mut judge = Judge::of(Verdict::Passing);
        assert_eq!(judge.take(&probe, false), None);
        judge.pardon();
        assert_eq!(judge.take(&probe, false), None);
        assert_eq!(judge.take(&probe, false), Some(Verdict::Failing));
    }

    /// Whatever the answers: a verdict changes only after enough equal answers in a row, and then it does.
    #[test]
    fn no_walk_of_answers_flaps() {
        let mut dice: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut roll = move |below: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % below
        };
        for _ in 0..2000 {
            let probe = probe(1 + roll(5) as u32, 1 + roll(4) as u32);
            let bias = 1 + roll(9);
            let mut judge = Judge::default();
            let mut row: (bool, u32) = (true, 0);
            for _ in 0..60 {
                let is_success = roll(10) < bias;
                row = if row.0 == is_success {
                    (row.0, row.1 + 1)
                } else {
                    (is_success, 1)
                };
                let before = judge.verdict();
                let changed = judge.take(&probe, is_success);
                let (needed, goal) = if is_success {
                    (probe.success_threshold, Verdict::Passing)
                } else {
                    (probe.failure_threshold, Verdict::Failing)
                };
                let expected = (row.1 >= needed && before != goal).then_some(goal);
                assert_eq!(changed, expected, "after {row:?} of {needed}");
                assert_eq!(judge.verdict(), changed.unwrap_or(before));
            }
        }
    }

    fn looks(max: Option<u64>, looks: &[(u64, u64, i64)]) -> String {
        let check = BacklogCheck {
            max,
            growing_for: Duration::from_secs(60),
        };
        let mut backlog = Backlog::default();
        looks
            .iter()
            .map(|(second, waiting, oldest)| {
                let oldest = (*waiting > 0).then_some(*oldest);
                let answer = backlog.look(&check, *waiting, oldest, Moment(second * 1_000_000));
                if answer.is_success { '+' } else { '-' }
            })
            .collect()
    }

    #[test]
    fn a_backlog_fails_when_it_is_over_or_stuck_for_its_time() {
        for (max, seen, said) in [
            (None, &[(0, 0, 0), (60, 0, 0), (120, 0, 0)][..], "+++"),
            // Nothing is taken.
            (None, &[(0, 1, 5), (30, 3, 5), (60, 9, 5)], "++-"),
            // It falls, or another message is the oldest one: somebody works.
            (None, &[(0, 3, 5), (30, 2, 5), (60, 2, 5), (90, 2, 5)], "+++-"),
            (None, &[(0, 3, 5), (30, 4, 6), (60, 5, 7), (90, 6, 8)], "++++"),
            // Too many, although somebody works.
            (Some(3), &[(0, 4, 1), (30, 5, 2), (60, 4, 3)], "++-"),
            (
                Some(3),
                &[(0, 4, 1), (30, 3, 2), (60, 4, 3), (119, 4, 4), (120, 4, 5)],
                "++++-",
            ),
        ] {
            assert_eq!(looks(max, seen), said, "{seen:?}");
        }
    }

    #[test]
    fn a_probe_shows_nothing_but_its_name() {
        assert_eq!(format!("{:?}", probe(1, 1)), "Probe(api status_request)");
    }
}
