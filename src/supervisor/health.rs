//! What the probes of one run have said so far, and when the loop must look itself. Decides nothing about
//! the bot: that is told to the machine by `probing.rs`.

use crate::model::probe::{Answer, Backlog, Check, Judge, LogCheck, Probe, Role, Verdict};
use crate::model::units::{Moment, Stamp, show_duration};

use super::snapshot::ProbeStatus;

/// An answer in `status` is one line of a table.
const ANSWER_CHARS_MAX: usize = 300;
pub(super) const SAMPLING_OFF: &str = "sampling.period is off";

/// The probes of one run. `P` is how its host names a posted message.
pub struct Health<P> {
    pub attention: Attention,
    pub watched: Vec<Watched<P>>,
    /// What an earlier supervisor published of the same run.
    pub earlier: Vec<ProbeStatus>,
    pub logs: LogReading,
}

/// Whether anybody reads the logs that probes ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogReading {
    #[default]
    On,
    /// `sampling.period` is off.
    Off,
}

/// Whether answers count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attention {
    /// The run is not ready yet, or is being ended.
    #[default]
    Resting,
    /// Silence counts from this moment.
    Asking { since: Moment },
}

/// One probe, and what it has said.
pub struct Watched<P> {
    pub probe: Probe,
    pub judge: Judge,
    /// Since when the verdict is what it is.
    pub since: Option<Stamp>,
    pub answer: Option<(String, Stamp)>,
    /// When it is looked at again; for what others look at, not before this moment.
    pub next_at: Moment,
    pub memory: Memory<P>,
}

/// What must be remembered between two looks.
pub enum Memory<P> {
    Nothing,
    Question(Question<P>),
    /// The last line that matched since the last look, and when one last did.
    Line {
        newest: Option<String>,
        at: Option<Moment>,
        gap: LogGap,
    },
    Backlog(Backlog),
}

/// What of a log was not read: from that nothing follows, neither that a line came nor that it did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogGap {
    /// Since the last look that was judged, in words.
    pub unread: Option<String>,
    /// When it was last noticed: silence counts from there.
    pub at: Option<Moment>,
}

/// A question for status that waits for its answer until a moment.
pub struct Question<P> {
    pub id: String,
    pub posted: P,
    pub until: Moment,
}

impl<P> Default for Health<P> {
    fn default() -> Health<P> {
        Health {
            attention: Attention::Resting,
            watched: Vec::new(),
            earlier: Vec::new(),
            logs: LogReading::On,
        }
    }
}

impl<P> Health<P> {
    /// From now on answers count. Probes that were there before go on as they are; `began_at` is the run's start.
    /// Returns the messages of those that are gone.
    pub fn ask(&mut self, probes: &[Probe], began_at: Moment, now: Moment) -> Vec<P> {
        if self.attention == Attention::Resting {
            self.attention = Attention::Asking { since: now };
        }
        let mut before = std::mem::take(&mut self.watched);
        for probe in probes {
            let known = before.iter().position(|watched| watched.probe == *probe);
            let first_at = (began_at + probe.initial_delay).max(now);
            self.watched.push(match known {
                Some(at) => before.swap_remove(at),
                None => self.begin(probe, first_at),
            });
        }
        before.into_iter().filter_map(Watched::question).collect()
    }

    fn begin(&self, probe: &Probe, next_at: Moment) -> Watched<P> {
        let earlier = self.earlier.iter().find(|line| line.name == probe.name);
        let verdict = earlier.and_then(|line| Verdict::from_word(&line.state));
        Watched {
            probe: probe.clone(),
            judge: Judge::of(verdict.unwrap_or_default()),
            since: earlier.and_then(|line| line.since).map(Stamp::from_unix_ms),
            answer: earlier.and_then(|line| Some((line.answer.clone()?, Stamp::from_unix_ms(line.answered_at?)))),
            next_at,
            memory: match probe.check {
                Check::Log(_) => Memory::Line {
                    newest: None,
                    at: None,
                    gap: LogGap::default(),
                },
                Check::Backlog(_) => Memory::Backlog(Backlog::default()),
                _ => Memory::Nothing,
            },
        }
    }

    /// Nothing counts any more; what was said can still be read. Returns the messages that nobody should answer.
    pub fn rest(&mut self) -> Vec<P> {
        self.attention = Attention::Resting;
        self.watched.iter_mut().filter_map(Watched::forget_question).collect()
    }

    /// Nobody listened for a while: every time begins anew.
    pub fn pardon(&mut self, now: Moment) {
        if let Attention::Asking { since } = &mut self.attention {
            *since = now;
        }
        for watched in &mut self.watched {
            watched.judge.pardon();
            watched.next_at = watched.next_at.max(now + watched.probe.period);
            match &mut watched.memory {
                Memory::Question(question) => question.until = now + watched.probe.timeout,
                Memory::Line { at: Some(at), .. } => *at = now,
                Memory::Backlog(backlog) => backlog.pardon(now),
                Memory::Line { at: None, .. } | Memory::Nothing => {}
            }
        }
    }

    /// When the loop must look at one of the probes.
    pub fn deadline(&self) -> Option<Moment> {
        if self.attention == Attention::Resting {
            return None;
        }
        self.watched.iter().filter_map(Watched::deadline).min()
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Watched<P>> {
        self.watched.iter_mut().find(|watched| watched.probe.name == name)
    }

    /// Whether a question of a probe has this id; any, where the answer names none.
    pub fn has_asked(&self, id: Option<&str>) -> bool {
        self.watched.iter().any(|watched| watched.asks(id))
    }

    /// None without a readiness probe.
    pub fn ready(&self) -> Option<bool> {
        let mut readiness = self.readiness().peekable();
        readiness.peek()?;
        Some(readiness.all(|watched| watched.judge.verdict() == Verdict::Passing))
    }

    /// Whether a readiness probe has found that the bot is not ready.
    pub fn is_failing(&self) -> bool {
        self.readiness()
            .any(|watched| watched.judge.verdict() == Verdict::Failing)
    }

    fn readiness(&self) -> impl Iterator<Item = &Watched<P>> {
        self.watched
            .iter()
            .filter(|watched| watched.probe.role == Role::Readiness)
    }

    /// Why it is not ready, in one line: by every probe that fails, else by the first that has not answered.
    pub fn why_not_ready(&self) -> Option<String> {
        if self.attention == Attention::Resting {
            return None;
        }
        let not = |verdict| {
            self.readiness()
                .filter(move |watched| watched.judge.verdict() == verdict)
        };
        let failing: Vec<String> = not(Verdict::Failing).map(Watched::says).collect();
        let said = match failing.as_slice() {
            [] => self.silence(not(Verdict::Unknown).next()?),
            _ => failing.join("; "),
        };
        Some(format!("not ready: {said}"))
    }

    /// What is told of a probe that has not found anything yet.
    fn silence(&self, watched: &Watched<P>) -> String {
        let is_deaf = self.logs == LogReading::Off && matches!(watched.probe.check, Check::Log(_));
        match &watched.answer {
            None if is_deaf => format!("probe {}: {SAMPLING_OFF}", watched.probe.name),
            _ => watched.says(),
        }
    }

    pub fn statuses(&self) -> Vec<ProbeStatus> {
        self.watched.iter().map(Watched::status).collect()
    }
}

impl<P> Watched<P> {
    fn deadline(&self) -> Option<Moment> {
        match (&self.probe.check, &self.memory) {
            (_, Memory::Question(question)) => Some(question.until),
            (Check::Heartbeat { .. } | Check::StatusRequest | Check::Backlog(_), _) => Some(self.next_at),
            // Others look: a thread of its own, or whoever reads the logs.
            (Check::Exec(_) | Check::Http(_) | Check::Tcp(_) | Check::Log(_), _) => None,
        }
    }

    pub fn asks(&self, id: Option<&str>) -> bool {
        match &self.memory {
            Memory::Question(question) => id.is_none_or(|id| question.id == id),
            Memory::Nothing | Memory::Line { .. } | Memory::Backlog(_) => false,
        }
    }

    pub fn forget_question(&mut self) -> Option<P> {
        match std::mem::replace(&mut self.memory, Memory::Nothing) {
            Memory::Question(question) => Some(question.posted),
            other => {
                self.memory = other;
                None
            }
        }
    }

    fn question(mut self) -> Option<P> {
        self.forget_question()
    }

    /// Takes an answer, already masked; the new verdict where it changes, and whether `status` shows anything else.
    pub fn take(&mut self, answer: &Answer, stamp: Stamp) -> (Option<Verdict>, bool) {
        // That a failing one goes on failing is no news.
        let limit = self.probe.failure_threshold;
        let failures = self.judge.failures().min(limit);
        let changed = self.judge.take(&self.probe, answer.is_success);
        if changed.is_some() {
            self.since = Some(stamp);
        }
        let text = one_line(&answer.text);
        let is_news = self.answer.as_ref().is_none_or(|(known, _)| *known != text)
            || changed.is_some()
            || failures != self.judge.failures().min(limit);
        self.answer = Some((text, stamp));
        (changed, is_news)
    }

    /// `probe api: HTTP 503 from http://127.0.0.1:8080/`
    pub fn says(&self) -> String {
        let name = &self.probe.name;
        match &self.answer {
            Some((text, _)) => format!("probe {name}: {text}"),
            None => format!("probe {name} has not answered yet"),
        }
    }

    /// `probe api failed 3 times: HTTP 503 from http://127.0.0.1:8080/`
    pub fn why_failing(&self) -> String {
        let name = &self.probe.name;
        let text = self.answer.as_ref().map_or("no answer", |(text, _)| text);
        match self.judge.failures() {
            0 | 1 => format!("probe {name} failed: {text}"),
            count => format!("probe {name} failed {count} times: {text}"),
        }
    }

    /// What was read of a log, before it is judged. `at` is when its newest line that matched was written.
    pub fn hear_line(&mut self, line: String, written_at: Moment) {
        if let Memory::Line { newest, at, .. } = &mut self.memory {
            *newest = Some(line);
            *at = (*at).max(Some(written_at));
        }
    }

    /// Something of the log was not read, neither now nor later.
    pub fn miss_lines(&mut self, unread: &str, now: Moment) {
        if let Memory::Line { gap, .. } = &mut self.memory {
            *gap = LogGap {
                unread: Some(unread.to_owned()),
                at: Some(now),
            };
        }
    }

    /// A log was read, and perhaps it is time to judge what was in it. Of what was not read nothing is concluded:
    /// the answer says so, and the verdict stays.
    pub fn look_at_lines(&mut self, since: Moment, now: Moment, stamp: Stamp) -> Option<Answer> {
        let (Check::Log(check), Memory::Line { newest, at, gap }) = (&self.probe.check, &mut self.memory) else {
            return None;
        };
        if now < self.next_at {
            return None;
        }
        self.next_at = now + self.probe.period;
        let (newest, unread) = (newest.take(), gap.unread.take());
        let is_heard = newest.is_some();
        let answer = match check {
            LogCheck::MustNotAppear { pattern } => Some(match newest {
                Some(line) => Answer::failure(format!("a line matched {pattern:?}: {line}")),
                None => Answer::success(format!("no line matched {pattern:?}")),
            }),
            LogCheck::MustAppear { pattern, within } => {
                let (last, known) = (at.unwrap_or(since), at.unwrap_or(since).max(gap.at.unwrap_or_default()));
                match at {
                    _ if now.since(known) > *within => Some(Answer::failure(format!(
                        "no line matched {pattern:?} for {}",
                        show_duration(*within)
                    ))),
                    Some(_) if now.since(last) <= *within => {
                        Some(Answer::success(format!("a line matched {pattern:?}")))
                    }
                    // There is still time for the first one, or it may have been in what was not read.
                    Some(_) | None => None,
                }
            }
        };
        match unread {
            Some(unread) if !is_heard => {
                self.answer = Some((unread, stamp));
                None
            }
            _ => answer,
        }
    }

    fn status(&self) -> ProbeStatus {
        ProbeStatus {
            name: self.probe.name.clone(),
            role: self.probe.role.word().to_owned(),
            kind: self.probe.check.word().to_owned(),
            state: self.judge.verdict().word().to_owned(),
            since: self.since.map(Stamp::unix_ms),
            answer: self.answer.as_ref().map(|(text, _)| text.clone()),
            answered_at: self.answer.as_ref().map(|(_, at)| at.unix_ms()),
            failures: self.judge.failures(),
        }
    }
}

/// Answers come from anywhere: one line, no control characters, not too long.
fn one_line(text: &str) -> String {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let clean = first.trim().chars().filter(|c| !c.is_control());
    let mut line: String = clean.clone().take(ANSWER_CHARS_MAX).collect();
    if clean.count() > ANSWER_CHARS_MAX {
        line.push('…');
    }
    line
}
