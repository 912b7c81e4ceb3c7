//! What the loop does with probes: whom to have asked, what it asks itself, and what follows from the answers.

use std::time::Duration;

use crate::model::bot::{BotId, RunId};
use crate::model::probe::{Answer, Check, Role, Verdict};
use crate::model::units::{Moment, show_duration};

use super::event_loop::Supervisor;
use super::health::{Attention, LogReading, Memory, Question};
use super::host::{Host, LogTarget, ProbeTarget};
use super::machine::{Event, Phase, Then};
use super::news::{LogFinding, LogMatch};
use super::snapshot::Stage;

impl<H: Host> Supervisor<H> {
    /// Has a bot asked by what its probes are now; one that does not run is not asked.
    pub(super) fn watch_health(&mut self, bot: &BotId) {
        self.watch_platform(bot);
        let (now, stamp) = (self.host.now(), self.host.stamp());
        let Some(member) = self.fleet.get_mut(bot) else { return };
        let Phase::Running { run, .. } = &member.bot.phase else {
            let unread = member.seen.health.rest();
            self.host.watch_probes(bot, None);
            for posted in unread {
                self.host.retract(bot, posted);
            }
            return;
        };
        let age = member.seen.started_at.map_or(Duration::ZERO, |at| stamp.since(at));
        let began_at = earlier(now, age);
        let spec = &member.policy.spec;
        member.seen.health.logs = match self.pace.sampling_period {
            Some(_) => LogReading::On,
            None => LogReading::Off,
        };
        let unread = member.seen.health.ask(&spec.probes, began_at, now);
        let is_outside = spec.probes.iter().any(|probe| probe.check.is_outside());
        let target = is_outside.then_some(ProbeTarget {
            run,
            index: member.index,
            spec,
            began_at,
        });
        self.host.watch_probes(bot, target);
        for posted in unread {
            self.host.retract(bot, posted);
        }
        self.watch_log(bot);
        self.fleet.refresh(bot);
        self.touch();
    }

    /// Has the log of a bot read as long as it runs, or will by itself.
    pub(super) fn watch_log(&mut self, bot: &BotId) {
        let Some(member) = self.fleet.get(bot) else { return };
        let began_at = member.seen.launched_at.or(member.seen.started_at);
        match &member.bot.phase {
            Phase::Starting { run, .. } | Phase::Running { run, .. } => self.host.watch_log(
                bot,
                Some(LogTarget {
                    run,
                    spec: &member.policy.spec,
                    since: began_at.max(member.seen.read_until).unwrap_or_default(),
                }),
            ),
            // What a run said last is read while it ends, and while its successor waits.
            Phase::Spawning { .. } | Phase::Stopping { .. } | Phase::Waiting { .. } => {}
            Phase::Down(_) | Phase::GaveUp { .. } | Phase::Held { .. } => self.host.watch_log(bot, None),
        }
    }

    /// Somebody asked a bot, and this is what came of it.
    pub(super) fn probed(&mut self, bot: &BotId, run: &RunId, name: &str, answer: &Answer) {
        let stamp = self.host.stamp();
        let Some(member) = self.fleet.get_mut(bot) else { return };
        // A supervisor that leaves decides nothing; the next one asks anew.
        let is_asked = member.seen.health.attention != Attention::Resting && self.stage != Stage::Leaving;
        if !is_asked || member.bot.live_run() != Some(run) {
            return;
        }
        let masked = Answer {
            text: member.discretion.masked(&answer.text),
            is_success: answer.is_success,
        };
        let was_failing = member.seen.health.is_failing();
        let Some(watched) = member.seen.health.get_mut(name) else {
            return;
        };
        let (changed, is_news) = watched.take(&masked, stamp);
        let (role, why, says) = (watched.probe.role, watched.why_failing(), watched.says());
        let is_failing = member.seen.health.is_failing();
        if is_news {
            self.touch();
        }
        match (role, changed) {
            (Role::Liveness, Some(Verdict::Failing)) => {
                self.host.audit("probe restart", bot, &why);
                let (run, then) = (run.clone(), Then::Restart);
                self.apply(bot, Event::Unhealthy { run, why, then });
            }
            (Role::Readiness, Some(_)) if is_failing && !was_failing => {
                self.fact(bot, Some(run.clone()), "not_ready", &says);
                self.host.warn(&format!("{bot}: not ready: {says}"));
            }
            (Role::Readiness, Some(_)) if was_failing && !is_failing => {
                self.fact(bot, Some(run.clone()), "ready_again", &says);
                self.host.log(&format!("{bot}: ready again: {says}"));
            }
            (Role::Liveness | Role::Readiness, _) => {}
        }
    }

    /// Looks at those probes of a bot that need nobody outside, where their time has come.
    pub(super) fn look_at_probes(&mut self, bot: &BotId) {
        let now = self.host.now();
        let Some(member) = self.fleet.get_mut(bot) else { return };
        if member.seen.errors.forget(now) {
            self.touch();
        }
        let Some(member) = self.fleet.get_mut(bot) else { return };
        let (Attention::Asking { since }, Some(run)) = (member.seen.health.attention, member.bot.live_run().cloned())
        else {
            self.fleet.refresh(bot);
            return;
        };
        let heard_at = match &member.bot.phase {
            Phase::Running { heard_at, .. } => *heard_at,
            _ => None,
        };
        let usual = member.policy.spec.heartbeat_timeout;
        let mut answers = Vec::new();
        let mut late = Vec::new();
        let mut to_ask = Vec::new();
        for watched in &mut member.seen.health.watched {
            let is_due = watched.next_at <= now;
            match (&watched.probe.check, &mut watched.memory) {
                (Check::StatusRequest, Memory::Question(question)) if question.until <= now => {
                    let text = format!("no status_response within {}", show_duration(watched.probe.timeout));
                    answers.push((watched.probe.name.clone(), Answer::failure(text)));
                    late.extend(watched.forget_question());
                }
                (Check::StatusRequest, Memory::Nothing) if is_due => {
                    watched.next_at = now + watched.probe.period;
                    to_ask.push((watched.probe.name.clone(), watched.probe.timeout));
                }
                (Check::Heartbeat { max_age }, _) if is_due => {
                    watched.next_at = now + watched.probe.period;
                    let answer = heartbeat(max_age.unwrap_or(usual), heard_at, since, now);
                    answers.extend(answer.map(|answer| (watched.probe.name.clone(), answer)));
                }
                (Check::Backlog(check), Memory::Backlog(backlog)) if is_due => {
                    watched.next_at = now + watched.probe.period;
                    let counts = self.host.counts(bot);
                    let oldest = counts.inbox_oldest.map(|at| at.0);
                    let answer = backlog.look(check, counts.inbox_new, oldest, now);
                    answers.push((watched.probe.name.clone(), answer));
                }
                _ => {}
            }
        }
        late.into_iter().for_each(|posted| self.host.retract(bot, posted));
        for (name, timeout) in to_ask {
            self.ask_by_probe(bot, &name, now + timeout);
        }
        for (name, answer) in answers {
            self.probed(bot, &run, &name, &answer);
        }
        self.fleet.refresh(bot);
    }

    fn ask_by_probe(&mut self, bot: &BotId, name: &str, until: Moment) {
        let timeout = until.since(self.host.now());
        // That it could not be posted is not the bot's fault.
        let Some((id, posted)) = self.post_status_request(bot, timeout) else {
            return;
        };
        let member = self.fleet.get_mut(bot);
        if let Some(watched) = member.and_then(|member| member.seen.health.get_mut(name)) {
            watched.memory = Memory::Question(Question { id, posted, until });
        }
    }

    /// A bot answered a question for its status; says whether a probe had asked it.
    pub(super) fn probe_answered(&mut self, bot: &BotId, id: Option<&str>) -> bool {
        let Some(member) = self.fleet.get_mut(bot) else {
            return false;
        };
        let Some(run) = member.bot.live_run().cloned() else {
            return false;
        };
        let mut answered = Vec::new();
        for watched in &mut member.seen.health.watched {
            if watched.asks(id) {
                let posted = watched.forget_question();
                answered.push((watched.probe.name.clone(), posted));
            }
        }
        for (name, posted) in &mut answered {
            // A bot that tells its status unasked may leave the question unread.
            if let Some(posted) = posted.take() {
                self.host.retract(bot, posted);
            }
            self.probed(bot, &run, name, &Answer::success("answered"));
        }
        self.fleet.refresh(bot);
        !answered.is_empty()
    }

    /// The logs were read once more.
    pub(super) fn logs_read(&mut self, findings: Vec<LogFinding>) {
        let now = self.host.now();
        let stamp = self.host.stamp();
        for finding in findings {
            self.lines_of_platform(&finding.bot, &finding.signs);
            let Some(member) = self.fleet.get_mut(&finding.bot) else {
                continue;
            };
            member.seen.errors.add(finding.recent, now);
            self.tally.errors(&finding.bot, finding.errors);
            if member.bot.live_run() == Some(&finding.run) {
                if let Some(unread) = &finding.unread {
                    let watched = member.seen.health.watched.iter_mut();
                    watched.for_each(|watched| watched.miss_lines(unread, now));
                }
                for LogMatch { probe, line, at } in finding.matched {
                    if let Some(watched) = member.seen.health.get_mut(&probe) {
                        watched.hear_line(line, at.map_or(now, |at| earlier(now, stamp.since(at))));
                    }
                }
            }
            if finding.errors > 0 || finding.unread.is_some() {
                self.fleet.refresh(&finding.bot);
                self.touch();
            }
        }
        self.judge_lines(now);
    }

    fn judge_lines(&mut self, now: Moment) {
        let stamp = self.host.stamp();
        let has_lines = |probe: &crate::model::probe::Probe| matches!(probe.check, Check::Log(_));
        let bots: Vec<BotId> = self
            .fleet
            .members()
            .filter(|(_, member)| member.policy.spec.probes.iter().any(has_lines))
            .map(|(bot, _)| bot.clone())
            .collect();
        for bot in bots {
            let Some(member) = self.fleet.get_mut(&bot) else {
                continue;
            };
            let (Attention::Asking { since }, Some(run)) =
                (member.seen.health.attention, member.bot.live_run().cloned())
            else {
                continue;
            };
            let looked = member.seen.health.watched.iter_mut().filter_map(|watched| {
                let answer = watched.look_at_lines(since, now, stamp)?;
                Some((watched.probe.name.clone(), answer))
            });
            for (name, answer) in looked.collect::<Vec<_>>() {
                self.probed(&bot, &run, &name, &answer);
            }
        }
    }

    /// A bot said itself that it had an error.
    pub(super) fn count_error(&mut self, bot: &BotId) {
        let now = self.host.now();
        if let Some(member) = self.fleet.get_mut(bot) {
            member.seen.errors.add(1, now);
        }
        self.fleet.refresh(bot);
        self.touch();
    }
}

fn earlier(now: Moment, by: Duration) -> Moment {
    Moment(now.0.saturating_sub(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
}

/// None while there is still time for the first one.
fn heartbeat(max_age: Duration, heard_at: Option<Moment>, since: Moment, now: Moment) -> Option<Answer> {
    let last = heard_at.unwrap_or(since).max(since);
    let length = show_duration(max_age);
    if now.since(last) > max_age {
        return Some(Answer::failure(format!("no heartbeat for {length}")));
    }
    heard_at.map(|_| Answer::success(format!("a heartbeat within {length}")))
}
