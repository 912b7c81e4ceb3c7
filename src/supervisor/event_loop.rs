//! The supervisor's loop: gathers news, lets the machine decide, performs what it decided, and
//! publishes what is so. One thread owns all state; news come in as values, effects go out through
//! the host, and the outcomes of effects are fed back here directly, so a full queue cannot lock it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::model::alert::OpenInHome;
use crate::model::bot::{BotId, End, RunId, State};
use crate::model::fact::Fact;
use crate::model::limits::{LATE_WAKE, SPAWN_TIME_MAX};
use crate::model::message::Envelope;
use crate::model::people::People;
use crate::model::units::{Moment, Stamp};
use crate::store::BlockedTarget;

use super::capacity::Budget;
use super::fleet::{Fleet, Member};
use super::host::{Configuration, Host};
use super::leave::Parting;
use super::machine::{Event, Phase, SpawnFailure, Stage as StopStage, StopMode};
use super::measure::Tally;
use super::news::{News, Pace, Trouble};
use super::people::Telling;
use super::relogin::Asker;
use super::snapshot::{self, Stage};

/// The one owner of all bots.
pub struct Supervisor<H: Host> {
    pub(super) host: H,
    pub(super) fleet: Fleet<H::Posted>,
    pub(super) pace: Pace,
    pub(super) budget: Budget,
    pub(super) stage: Stage,
    pub(super) parting: Parting,
    pub(super) identity: snapshot::Supervisor,
    pub(super) blocked: (u64, u64),
    pub(super) blocklist: Vec<BlockedTarget>,
    pub(super) people: People,
    /// Bots whose login programs run, and who had asked for that.
    pub(super) logins: BTreeMap<BotId, Asker>,
    /// When the first block ends.
    pub(super) unblock_at: Option<Moment>,
    /// Spawns that wait for their turn, so that many bots do not start in one instant.
    pub(super) launches: VecDeque<(BotId, RunId)>,
    pub(super) next_launch_at: Moment,
    /// Mailboxes that hold more than one turn may take.
    pub(super) unread: BTreeSet<Option<BotId>>,
    /// Adopted runs that were started with other settings than are stored now.
    pub(super) outdated: Vec<BotId>,
    pub(super) recount: BTreeSet<BotId>,
    pub(super) rescanned_at: Moment,
    pub(super) looked_at: Moment,
    pub(super) swept_at: Moment,
    pub(super) started_at: Moment,
    pub(super) tally: Tally,
    pub(super) facts: Vec<Fact>,
    pub(super) replies: Vec<Envelope>,
    /// What bots answered to whoever asked them, each with the file in which it came.
    pub(super) passing: Vec<(Envelope, Option<H::Claim>)>,
    /// The outbox file that is being read.
    pub(super) in_hand: Option<H::Claim>,
    /// Files of which the facts, and of which the answers, are not handed on yet.
    pub(super) recording: Vec<H::Claim>,
    pub(super) answering: Vec<H::Claim>,
    /// When the next snapshot is due; None while nothing has changed since the last one.
    pub(super) publish_at: Option<Moment>,
    pub(super) published_at: Moment,
    /// Whom to sample, or by which limits, is not what the sampler was told last.
    pub(super) targets_changed: bool,
    /// There may be room now for bots that wait for it.
    pub(super) room_changed: bool,
    /// Open alerts, as they were told last.
    pub(super) alerts: OpenInHome,
    /// Most bots fail together.
    pub(super) trouble: Option<Trouble>,
}

/// News that one turn takes from its queue before it looks at deadlines.
const NEWS_PER_TURN: usize = 256;

impl<H: Host> Supervisor<H> {
    pub fn new(host: H, mut identity: snapshot::Supervisor) -> Supervisor<H> {
        identity.stage = Stage::Adopting;
        let now = host.now();
        Supervisor {
            host,
            fleet: Fleet::default(),
            pace: Pace::default(),
            budget: Budget::default(),
            stage: Stage::Adopting,
            parting: Parting::default(),
            identity,
            blocked: (0, 0),
            blocklist: Vec::new(),
            people: People::default(),
            logins: BTreeMap::new(),
            unblock_at: None,
            launches: VecDeque::new(),
            next_launch_at: now,
            unread: BTreeSet::new(),
            outdated: Vec::new(),
            recount: BTreeSet::new(),
            rescanned_at: now,
            looked_at: now,
            swept_at: now,
            started_at: now,
            tally: Tally::default(),
            facts: Vec::new(),
            replies: Vec::new(),
            passing: Vec::new(),
            in_hand: None,
            recording: Vec::new(),
            answering: Vec::new(),
            publish_at: Some(now),
            published_at: Moment(0),
            targets_changed: false,
            room_changed: false,
            alerts: OpenInHome::default(),
            trouble: None,
        }
    }

    /// Runs until a stop has been asked for and every bot is down, or cannot be brought down; or until it
    /// is to leave its bots. Says which.
    pub fn run(&mut self, queue: &Receiver<News>) -> Parting {
        loop {
            self.settle();
            if self.is_done() {
                break;
            }
            let wake_at = self.wake_at();
            let first = match self.wait(queue, wake_at) {
                Ok(news) => Some(news),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let more = queue.try_iter().take(NEWS_PER_TURN);
            self.turn(wake_at, first.into_iter().chain(more));
        }
        self.close();
        self.parting.clone()
    }

    /// Sleeps until there is news or something is due. With nothing due it sleeps for ever.
    fn wait(&self, queue: &Receiver<News>, wake_at: Option<Moment>) -> Result<News, RecvTimeoutError> {
        match wake_at {
            Some(at) => queue.recv_timeout(at.since(self.host.now())),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// When the loop must go on although there is no news; None: not before there is some.
    pub(super) fn wake_at(&self) -> Option<Moment> {
        let now = self.host.now();
        let mail = (!self.unread.is_empty()).then_some(now);
        let is_leaving = self.stage == Stage::Leaving;
        let launch = (!self.launches.is_empty() && !is_leaving).then_some(self.next_launch_at);
        let rescan = self.host.rescan_every().map(|length| self.rescanned_at + length);
        let due = if is_leaving {
            self.spawn_deadlines().min()
        } else {
            self.fleet.next_due()
        };
        let unblock = self.unblock_at.filter(|_| !is_leaving);
        [mail, due, self.publish_at, launch, rescan, self.measure_due(), unblock]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.max(now))
    }

    /// One turn of a loop that wanted to wake at `wake_at`: news first, then what is due.
    pub(super) fn turn(&mut self, wake_at: Option<Moment>, news: impl IntoIterator<Item = News>) {
        self.wake_up(wake_at);
        for news in news {
            self.handle(news);
        }
        self.fire_deadlines();
        self.rescan_if_blind();
        self.sweep_daily();
        self.measure_if_due();
        if self.stage == Stage::Running {
            self.unblock_if_due();
        }
    }

    /// A loop that woke far too late has slept with the machine: what it did not hear meanwhile must
    /// not count against the bots, and hints may have been lost.
    fn wake_up(&mut self, wake_at: Option<Moment>) {
        let now = self.host.now();
        let late = wake_at.map_or(Duration::ZERO, |at| now.since(at));
        if late <= LATE_WAKE {
            return;
        }
        self.host
            .warn(&format!("woke {}s late; liveness starts anew", late.as_secs()));
        for bot in self.fleet.ids() {
            self.ask_anew(&bot);
            if let Some(member) = self.fleet.get_mut(&bot) {
                member.seen.health.pardon(now);
                member.seen.asked.pile.pardon(now);
            }
            if let Some(member) = self.fleet.get_mut(&bot).filter(|member| member.seen.spawn_by.is_some()) {
                member.seen.spawn_by = Some(now + SPAWN_TIME_MAX);
            }
            self.apply(&bot, Event::ClockJumped);
        }
        self.rescan();
    }

    /// Whether a stop or a leave was asked for and nothing more can come of waiting.
    pub(super) fn is_done(&self) -> bool {
        match self.stage {
            Stage::Stopping => self.is_at_rest(),
            Stage::Leaving => self.is_quiet(),
            Stage::Adopting | Stage::Running | Stage::Stopped | Stage::Left => false,
        }
    }

    /// Says that it has stopped, also to commands that came too late.
    pub(super) fn close(&mut self) {
        let is_making_way = self.is_making_way();
        self.stage = match self.stage {
            Stage::Leaving => Stage::Left,
            Stage::Adopting | Stage::Running | Stage::Stopping | Stage::Stopped | Stage::Left => Stage::Stopped,
        };
        if !is_making_way {
            self.refuse_all();
        }
        self.publish_now();
    }

    /// One piece of news.
    pub(super) fn handle(&mut self, news: News) {
        match news {
            News::Shim(token) => {
                for news in self.host.look(token) {
                    self.handle(news);
                }
            }
            News::Inbox => {
                self.unread.insert(None);
            }
            News::Outbox(bot) => {
                self.unread.insert(Some(bot));
            }
            News::Counts(bot) => self.inbox_changed(&bot),
            News::Folders(bot) => self.folders_changed(&bot),
            News::Heartbeat(bot) => self.heartbeat(&bot),
            News::HintsLost => {
                self.host.hints_lost();
                self.look_after();
            }
            News::Spawned { bot, run, pid, kernel } => self.spawned(&bot, run, pid, kernel),
            News::SpawnFailed { bot, run, failure } => self.spawn_failed(&bot, run, failure),
            News::Ended { bot, run, end } => {
                let at = self.host.stamp();
                self.ended(&bot, run, end, at);
            }
            News::Sampled(samples) => self.sampled(samples),
            News::Probed {
                bot,
                run,
                probe,
                answer,
            } => self.probed(&bot, &run, &probe, &answer),
            News::Platform { bot, run, word } => self.platform_said(&bot, &run, word),
            News::LoggedIn { bot, outcome } => self.logged_in(&bot, outcome),
            News::LogsRead(findings) => self.logs_read(findings),
            News::Alerts(alerts) => self.alerts_changed(alerts),
            News::Outage(trouble) => self.outage_changed(trouble),
            // While the loop stops, a reload would start what is to go down.
            News::Reload => {
                if self.stage == Stage::Running
                    && let Err(error) = self.reload()
                {
                    self.host.warn(&format!("reload failed: {error}"));
                }
            }
            News::Stop(mode) => self.begin_stop(mode),
        }
    }

    fn spawned(&mut self, bot: &BotId, run: RunId, pid: u32, kernel: Vec<String>) {
        let stamp = self.host.stamp();
        let mut has_beaten = false;
        if let Some(member) = self
            .fleet
            .get_mut(bot)
            .filter(|member| member.bot.live_run() == Some(&run))
        {
            member.seen.pid = Some(pid);
            member.seen.kernel = kernel;
            member.seen.started_at = Some(stamp);
            member.seen.spawn_by = None;
            has_beaten = member.seen.heartbeat_at.is_some();
            self.targets_changed = true;
        }
        self.apply(bot, Event::Spawned { run: run.clone() });
        self.watch_log(bot);
        // A bot may speak before its shim has told of it.
        if has_beaten {
            self.apply(bot, Event::Heartbeat { run });
        }
        self.unread.insert(Some(bot.clone()));
    }

    fn is_live(&self, bot: &BotId, run: &RunId) -> bool {
        self.fleet.get(bot).and_then(|member| member.bot.live_run()) == Some(run)
    }

    fn spawn_failed(&mut self, bot: &BotId, run: RunId, failure: SpawnFailure) {
        if !self.is_live(bot, &run) {
            return;
        }
        self.withdraw(bot);
        self.fact(bot, Some(run.clone()), "spawn_failed", &describe(&failure));
        if let Some(member) = self.fleet.get_mut(bot) {
            member.count(&run);
        }
        let winner = match &failure {
            SpawnFailure::Locked { pid, started_at, .. } => Some((*pid, *started_at)),
            _ => None,
        };
        self.apply(bot, Event::SpawnFailed { run, failure });
        if let Some((pid, started_at)) = winner
            && let Some(member) = self.fleet.get_mut(bot)
        {
            (member.seen.pid, member.seen.started_at) = (Some(pid), Some(started_at));
        }
        self.unread.insert(Some(bot.clone()));
    }

    /// A run is over, since `at`.
    pub(super) fn ended(&mut self, bot: &BotId, run: RunId, end: End, at: Stamp) {
        if !self.is_live(bot, &run) {
            return;
        }
        // What the bot said before it ended was said by this run, not by the next.
        self.read_all(bot);
        self.judge_end(bot, &end, at);
        self.withdraw(bot);
        self.decide(bot, true);
        self.recover(bot, Some((&run, self.end_for_mail(bot, &end))));
        if let Some(member) = self.fleet.get_mut(bot) {
            member.seen.last_end = Some((end.clone(), at));
            member.seen.last_why = match &member.bot.phase {
                Phase::Stopping { .. } => member.bot.reason(&member.policy),
                _ => None,
            };
            member.count(&run);
            self.targets_changed = true;
        }
        let told = match self.stage {
            Stage::Adopting => format!("{end}, while no supervisor ran"),
            Stage::Running | Stage::Stopping | Stage::Stopped | Stage::Leaving | Stage::Left => end.to_string(),
        };
        self.fact(bot, Some(run.clone()), "exited", &told);
        match self.fleet.get(bot).map(|member| member.bot.state()) {
            Some(State::Stopping) => self.host.log(&format!("{bot}: {end}")),
            Some(_) => self.host.warn(&format!("{bot}: {end}")),
            None => {}
        }
        self.apply(bot, Event::Exited { run, end });
    }

    /// Does everything that is possible now: reads mail, starts what may start, publishes.
    pub(super) fn settle(&mut self) {
        self.read_some();
        self.admit();
        self.launch_due();
        self.record();
        self.pass_on();
        if std::mem::take(&mut self.targets_changed) {
            self.host.watch_usage(self.usage_targets());
        }
        if self.publish_at.is_some_and(|at| at <= self.host.now()) {
            self.count_all();
            self.publish_now();
        }
    }

    fn fire_deadlines(&mut self) {
        if self.stage == Stage::Leaving {
            return self.abandon_late_spawns();
        }
        let now = self.host.now();
        while let Some(bot) = self.fleet.due_by(now) {
            let Some(member) = self.fleet.get_mut(&bot) else {
                continue;
            };
            if member.seen.spawn_by.is_some_and(|at| at <= now) {
                member.seen.spawn_by = None;
                if let (Phase::Spawning { .. } | Phase::Stopping { .. }, Some(run)) =
                    (&member.bot.phase, member.bot.live_run().cloned())
                {
                    self.host.abandon(&run);
                }
            }
            if self
                .fleet
                .get(&bot)
                .is_some_and(|member| member.seen.poll.next_at.is_some_and(|at| at <= now))
            {
                self.poll_status(&bot);
            }
            if self
                .fleet
                .get(&bot)
                .is_some_and(|member| member.seen.later_at.is_some_and(|at| at <= now))
            {
                self.release(&bot);
            }
            self.look_at_probes(&bot);
            self.apply(&bot, Event::DeadlinePassed);
        }
    }

    /// Takes over what concerns the whole home.
    pub(super) fn take(&mut self, configuration: &Configuration) {
        self.pace = configuration.pace.clone();
        self.budget = configuration.budget.clone();
        self.room_changed = true;
        self.blocked = (configuration.blocked, configuration.blocked_permanent);
        self.take_blocklist(configuration.blocklist.clone());
        self.people = configuration.people.clone();
        if self.stage == Stage::Running {
            self.tell_everybody(Telling::News);
        }
    }

    /// Restarts are off before the first stop signal goes out.
    pub(super) fn begin_stop(&mut self, mode: StopMode) {
        if self.stage == Stage::Running {
            self.host.log("supervisor is stopping");
        }
        self.stage = Stage::Stopping;
        self.parting = Parting::Stop;
        // Commands that were left for another program.
        self.unread.insert(None);
        for bot in self.fleet.ids() {
            self.apply(&bot, Event::WantDown(mode));
        }
        self.touch();
    }

    fn is_at_rest(&self) -> bool {
        self.replies.is_empty()
            && self.fleet.members().all(|(_, member)| {
                member.bot.live_run().is_none()
                    || matches!(
                        member.bot.phase,
                        Phase::Stopping {
                            stage: StopStage::Stuck,
                            ..
                        }
                    )
            })
    }
}

impl<P> Member<P> {
    /// Whether the operator wants this bot to run.
    pub(super) fn is_desired(&self) -> bool {
        self.desired == crate::model::bot::Wanted::Up && self.policy.spec.enabled
    }
}

fn describe(failure: &SpawnFailure) -> String {
    match failure {
        SpawnFailure::Command(why) | SpawnFailure::Passing(why) | SpawnFailure::Unproven(why) => why.clone(),
        SpawnFailure::Locked { pid, .. } => format!("another shim holds this bot (pid {pid})"),
        SpawnFailure::PreviousAlive { pid } => format!("previous run still alive (pid {pid})"),
        SpawnFailure::Cancelled => "called back".to_owned(),
    }
}
