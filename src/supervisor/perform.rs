//! From a decision to what is done: lets the machine decide about a bot, performs the effects, spaces
//! the launches, and tells what changed.

use crate::model::bot::{BotId, End, RunId, State};
use crate::model::limits::SPAWN_TIME_MAX;

use super::capacity::has_place;
use super::environment::secrets_of;
use super::event_loop::Supervisor;
use super::fleet::{Discretion, Place};
use super::host::{Host, Launch};
use super::machine::{Effect, Event, Phase, SpawnFailure, Stage as StopStage, StopMode, Tick, step};
use super::news::News;
use super::people::{Telling, will_listen};
use super::snapshot::Stage;
use super::usage::is_asked_anew;

impl<H: Host> Supervisor<H> {
    /// Lets the machine decide about one bot, performs its effects and tells what changed.
    pub(super) fn apply(&mut self, bot: &BotId, event: Event) {
        let tick = Tick {
            now: self.host.now(),
            next_run: self.host.new_run(),
            room: self.room_for(bot),
            outage: self.outage_delay(),
        };
        let stamp = self.host.stamp();
        let Some(member) = self.fleet.get_mut(bot) else { return };
        let before = member.bot.clone();
        let is_asked = is_asked_anew(&event, &before);
        let (after, effects) = step(before.clone(), &member.policy, event, &tick);
        member.bot = after;
        if before.live_run() != member.bot.live_run() {
            member.seen.of_next_run();
            self.targets_changed = true;
        }
        if is_asked {
            member.docket.clear(stamp);
        }
        let is_forgotten = member.forget_limit_action(is_asked, tick.now);
        let (state, reason) = (member.bot.state(), member.bot.reason(&member.policy));
        let is_stuck = matches!(
            &member.bot.phase,
            Phase::Stopping {
                stage: StopStage::Stuck,
                ..
            }
        );
        let changed = before != member.bot;
        let is_new_run = member.bot.live_run().is_some() && before.live_run() != member.bot.live_run();
        // What is missing may change often while it waits; only its wait is news.
        let is_still_waiting = before.is_without_room() && member.bot.is_without_room();
        let is_held_anew = state == State::Held && changed && !is_still_waiting;
        let announce = before.state() != state || is_new_run || is_held_anew;
        if before.state() != state {
            member.state_since = stamp;
        }
        self.room_changed |= has_place(&before) && !has_place(&member.bot);
        let run = member.bot.live_run().cloned();
        if announce {
            self.fact(bot, run.clone(), state.word(), reason.as_deref().unwrap_or(""));
            let because = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            self.tell_state(state, &format!("{bot}: {}{because}", state.word()));
        }
        if is_stuck && let Some(run) = run {
            self.name_survivor(bot, &run);
        }
        if changed || is_forgotten {
            self.touch();
        }
        // Before anything is done: a supervisor that is killed after it must not be asked to count twice.
        self.note(bot);
        if before.state() != state {
            self.watch_health(bot);
            self.watch_log(bot);
        }
        for effect in effects {
            self.perform(bot, effect);
        }
        self.fleet.refresh(bot);
        self.forget_if_gone(bot);
    }

    /// What went wrong stands out in the log.
    fn tell_state(&mut self, state: State, line: &str) {
        match state {
            State::Unhealthy | State::Backoff | State::Failed | State::Held => self.host.warn(line),
            State::Adopting | State::Stopped | State::Starting | State::Running | State::Stopping => {
                self.host.log(line);
            }
        }
    }

    fn name_survivor(&mut self, bot: &BotId, run: &RunId) {
        let survivor = self.host.survivor(bot, run);
        if let Some(member) = self.fleet.get_mut(bot) {
            member.seen.note = survivor.map(|pid| format!("pid {pid} cannot be killed"));
        }
    }

    /// A bot that was removed leaves when nothing of it lives.
    fn forget_if_gone(&mut self, bot: &BotId) {
        let gone = self
            .fleet
            .get(bot)
            .is_some_and(|member| member.place == Place::Leaving && member.bot.live_run().is_none());
        if gone {
            self.host.forget(bot);
            self.fleet.remove(bot);
            self.touch();
        }
    }

    pub(super) fn perform(&mut self, bot: &BotId, effect: Effect) {
        match effect {
            Effect::Spawn { run } => self.launches.push_back((bot.clone(), run)),
            Effect::Terminate { run } => {
                if !self.call_back(bot, &run) {
                    self.announce_shutdown(bot, StopMode::Graceful);
                    self.host.terminate(&run);
                }
            }
            Effect::Kill { run } => {
                if !self.call_back(bot, &run) {
                    self.announce_shutdown(bot, StopMode::Forced);
                    self.host.kill(&run);
                }
            }
        }
    }

    /// Takes a spawn back that is still waiting for its turn.
    fn call_back(&mut self, bot: &BotId, run: &RunId) -> bool {
        let Some(place) = self.launches.iter().position(|(_, waiting)| waiting == run) else {
            return false;
        };
        self.launches.remove(place);
        self.apply(
            bot,
            Event::Exited {
                run: run.clone(),
                end: End::Unknown("never started".to_owned()),
            },
        );
        true
    }

    pub(super) fn launch_due(&mut self) {
        if self.stage == Stage::Leaving {
            return;
        }
        while !self.launches.is_empty() && self.next_launch_at <= self.host.now() {
            let Some((bot, run)) = self.launches.pop_front() else {
                return;
            };
            self.next_launch_at = self.host.now() + self.pace.start_delay;
            self.launch(&bot, &run);
        }
    }

    fn launch(&mut self, bot: &BotId, run: &RunId) {
        // Whatever lies in the outbox was said by runs before this one.
        self.read_all(bot);
        if let Err(error) = self.host.prepare(bot) {
            let failure = SpawnFailure::Passing(error);
            return self.handle(News::SpawnFailed {
                bot: bot.clone(),
                run: run.clone(),
                failure,
            });
        }
        // What a disk refused to take back at the end of the last run.
        self.recover(bot, None);
        if self.fleet.get(bot).is_some_and(will_listen) {
            self.tell_lists(bot, Telling::News);
        }
        let (now, stamp) = (self.host.now(), self.host.stamp());
        let Some(member) = self.fleet.get_mut(bot) else { return };
        // Nobody is left who knows older secrets.
        member.discretion = Discretion::new(secrets_of(
            &member.policy.spec.env,
            member.token.as_ref(),
            &member.fields,
        ));
        member.seen.spawn_by = Some(now + SPAWN_TIME_MAX);
        member.seen.launched_at = Some(stamp);
        let launch = Launch {
            run,
            index: member.index,
            spec: &member.policy.spec,
            token: member.token.as_ref(),
            fields: &member.fields,
            recipe: &member.recipe,
        };
        let outcome = self.host.spawn(&launch);
        self.fleet.refresh(bot);
        if let Err(failure) = outcome {
            self.handle(News::SpawnFailed {
                bot: bot.clone(),
                run: run.clone(),
                failure,
            });
        }
    }
}
