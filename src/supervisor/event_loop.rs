//! The supervisor's loop: gathers news, lets the machine decide, performs what it decided, and
//! publishes what is so. One thread owns all state; news come in as values, effects go out through
//! the host, and the outcomes of effects are fed back here directly, so a full queue cannot lock it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::model::bot::{BotId, End, LimitAction, RunId, State};
use crate::model::fact::Fact;
use crate::model::limits::{LATE_WAKE, SPAWN_TIME_MAX};
use crate::model::message::Envelope;
use crate::model::units::{Moment, Stamp};

use super::fleet::{Fleet, Member, Usage};
use super::host::{Configuration, Host};
use super::machine::{Event, Phase, SpawnFailure, Stage as StopStage, StopMode, Then};
use super::news::{News, Pace};
use super::snapshot::{self, Stage};

/// The one owner of all bots.
pub struct Supervisor<H: Host> {
    pub(super) host: H,
    pub(super) fleet: Fleet<H::Posted>,
    pub(super) pace: Pace,
    pub(super) stage: Stage,
    pub(super) identity: snapshot::Supervisor,
    pub(super) blocked: (u64, u64),
    /// Spawns that wait for their turn, so that many bots do not start in one instant.
    pub(super) launches: VecDeque<(BotId, RunId)>,
    pub(super) next_launch_at: Moment,
    /// Mailboxes that hold more than one turn may take.
    pub(super) unread: BTreeSet<Option<BotId>>,
    pub(super) recount: BTreeSet<BotId>,
    rescanned_at: Moment,
    pub(super) swept_at: Moment,
    pub(super) facts: Vec<Fact>,
    pub(super) replies: Vec<Envelope>,
    /// When the next snapshot is due; None while nothing has changed since the last one.
    pub(super) publish_at: Option<Moment>,
    pub(super) published_at: Moment,
    /// Whom to sample, or by which limits, is not what the sampler was told last.
    pub(super) targets_changed: bool,
}

/// News that one turn takes from its queue before it looks at deadlines.
const NEWS_PER_TURN: usize = 256;
/// The history explains; it does not archive what bots say.
const FACT_CHARS_MAX: usize = 2000;

impl<H: Host> Supervisor<H> {
    pub fn new(host: H, mut identity: snapshot::Supervisor) -> Supervisor<H> {
        identity.stage = Stage::Adopting;
        let now = host.now();
        Supervisor {
            host,
            fleet: Fleet::default(),
            pace: Pace::default(),
            stage: Stage::Adopting,
            identity,
            blocked: (0, 0),
            launches: VecDeque::new(),
            next_launch_at: now,
            unread: BTreeSet::new(),
            recount: BTreeSet::new(),
            rescanned_at: now,
            swept_at: now,
            facts: Vec::new(),
            replies: Vec::new(),
            publish_at: Some(now),
            published_at: Moment(0),
            targets_changed: false,
        }
    }

    /// Takes up the home as it is: configuration first, then what earlier supervisors left running,
    /// and only then anything new.
    pub fn open(&mut self, earlier: Vec<News>) -> Result<(), String> {
        let configuration = self.host.load()?;
        self.take(&configuration);
        for configured in configuration.bots {
            self.add(configured);
        }
        self.publish_now();
        for news in earlier {
            self.handle(news);
        }
        for bot in self.fleet.ids() {
            self.recover(&bot, None);
        }
        self.stage = Stage::Running;
        // In the order in which they were created. One that still runs under an earlier supervisor is
        // wanted as well: it is started anew when that run ends by itself.
        let mut bots: Vec<(u32, BotId)> = self
            .fleet
            .members()
            .map(|(bot, member)| (member.index, bot.clone()))
            .collect();
        bots.sort_unstable();
        for (_, bot) in bots {
            if self.fleet.get(&bot).is_some_and(Member::is_desired) {
                self.apply(&bot, Event::WantUp);
            } else {
                // A stop that was stored while no supervisor ran ends what an earlier one left.
                self.apply(&bot, Event::WantDown(StopMode::Graceful));
            }
        }
        self.unread.insert(None);
        self.touch();
        self.host.log("supervisor is ready");
        Ok(())
    }

    /// Runs until a stop has been asked for and every bot is down, or cannot be brought down.
    pub fn run(&mut self, queue: &Receiver<News>) {
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
        let launch = (!self.launches.is_empty()).then_some(self.next_launch_at);
        let rescan = self.host.rescan_every().map(|length| self.rescanned_at + length);
        [mail, self.fleet.next_due(), self.publish_at, launch, rescan]
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
            if let Some(member) = self.fleet.get_mut(&bot).filter(|member| member.seen.spawn_by.is_some()) {
                member.seen.spawn_by = Some(now + SPAWN_TIME_MAX);
            }
            self.apply(&bot, Event::ClockJumped);
        }
        self.rescan();
    }

    /// Whether a stop was asked for and nothing more can come of waiting.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Stopping && self.is_at_rest()
    }

    /// Says that it has stopped, also to commands that came too late.
    pub(super) fn close(&mut self) {
        self.stage = Stage::Stopped;
        self.refuse_all();
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
                self.rescan();
            }
            News::Spawned { bot, run, pid } => self.spawned(&bot, run, pid),
            News::SpawnFailed { bot, run, failure } => self.spawn_failed(&bot, run, failure),
            News::Ended { bot, run, end } => self.ended(&bot, run, end),
            News::Earlier {
                bot,
                run,
                pid,
                started_at_ms,
            } => {
                self.apply(&bot, Event::FoundEarlier { run, pid });
                if let Some(member) = self.fleet.get_mut(&bot) {
                    member.seen.pid = Some(pid);
                    member.seen.started_at = Some(Stamp::from_unix_ms(started_at_ms));
                }
            }
            News::Usage {
                bot,
                run,
                memory_bytes,
                cpu_percent,
            } => {
                if let Some(member) = self
                    .fleet
                    .get_mut(&bot)
                    .filter(|member| member.bot.live_run() == Some(&run))
                {
                    member.seen.usage = Some(Usage {
                        memory_bytes,
                        cpu_percent,
                    });
                    self.touch();
                }
            }
            News::LimitPassed { bot, run, why, action } => self.limit_passed(&bot, run, why, action),
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

    /// What is not watched is looked at again and again.
    fn rescan_if_blind(&mut self) {
        let Some(every) = self.host.rescan_every() else { return };
        if self.host.now().since(self.rescanned_at) >= every {
            self.rescan();
        }
    }

    fn rescan(&mut self) {
        self.rescanned_at = self.host.now();
        self.unread.insert(None);
        for bot in self.fleet.ids() {
            self.inbox_changed(&bot);
            self.unread.insert(Some(bot));
        }
    }

    fn spawned(&mut self, bot: &BotId, run: RunId, pid: u32) {
        let stamp = self.host.stamp();
        let mut has_beaten = false;
        if let Some(member) = self
            .fleet
            .get_mut(bot)
            .filter(|member| member.bot.live_run() == Some(&run))
        {
            member.seen.pid = Some(pid);
            member.seen.started_at = Some(stamp);
            member.seen.spawn_by = None;
            has_beaten = member.seen.heartbeat_at.is_some();
            self.targets_changed = true;
        }
        self.apply(bot, Event::Spawned { run: run.clone() });
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
        self.apply(bot, Event::SpawnFailed { run, failure });
        self.unread.insert(Some(bot.clone()));
    }

    fn ended(&mut self, bot: &BotId, run: RunId, end: End) {
        if !self.is_live(bot, &run) {
            return;
        }
        // What the bot said before it ended was said by this run, not by the next.
        self.read_all(bot);
        self.withdraw(bot);
        self.decide(bot, true);
        self.recover(bot, Some((&run, self.end_for_mail(bot, &end))));
        let stamp = self.host.stamp();
        if let Some(member) = self.fleet.get_mut(bot) {
            member.seen.last_end = Some((end.clone(), stamp));
            self.targets_changed = true;
        }
        self.fact(bot, Some(run.clone()), "exited", &end.to_string());
        match self.fleet.get(bot).map(|member| member.bot.state()) {
            Some(State::Stopping) => self.host.log(&format!("{bot}: {end}")),
            Some(_) => self.host.warn(&format!("{bot}: {end}")),
            None => {}
        }
        self.apply(bot, Event::Exited { run, end });
    }

    fn limit_passed(&mut self, bot: &BotId, run: RunId, why: String, action: LimitAction) {
        if !self.is_live(bot, &run) {
            return;
        }
        self.fact(
            bot,
            Some(run.clone()),
            "limit",
            &format!("{why}; action {}", action.word()),
        );
        self.host.warn(&format!("{bot}: {why}; action {}", action.word()));
        self.host.audit(&format!("limit {}", action.word()), bot, &why);
        match action {
            LimitAction::Alert => {
                if let Some(member) = self.fleet.get_mut(bot) {
                    member.seen.note = Some(why);
                }
                self.touch();
            }
            LimitAction::Restart => self.apply(
                bot,
                Event::Unhealthy {
                    run,
                    why,
                    then: Then::Restart,
                },
            ),
            LimitAction::Stop => self.apply(
                bot,
                Event::Unhealthy {
                    run,
                    why,
                    then: Then::GiveUp,
                },
            ),
        }
    }

    /// Does everything that is possible now: reads mail, starts what may start, publishes.
    pub(super) fn settle(&mut self) {
        self.read_some();
        self.launch_due();
        if !self.facts.is_empty() {
            let facts = std::mem::take(&mut self.facts);
            self.host.record(facts);
        }
        if std::mem::take(&mut self.targets_changed) {
            self.host.watch_usage(self.usage_targets());
        }
        if self.publish_at.is_some_and(|at| at <= self.host.now()) {
            self.count_all();
            self.publish_now();
        }
    }

    fn fire_deadlines(&mut self) {
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
            self.apply(&bot, Event::DeadlinePassed);
        }
    }

    /// Takes over what concerns the whole home.
    pub(super) fn take(&mut self, configuration: &Configuration) {
        self.pace = configuration.pace.clone();
        self.blocked = (configuration.blocked, configuration.blocked_permanent);
    }

    /// Restarts are off before the first stop signal goes out.
    pub(super) fn begin_stop(&mut self, mode: StopMode) {
        if self.stage == Stage::Running {
            self.host.log("supervisor is stopping");
        }
        self.stage = Stage::Stopping;
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

    pub(super) fn fact(&mut self, bot: &BotId, run: Option<RunId>, name: &str, detail: &str) {
        let at = self.host.stamp();
        // Masked before it is cut: half a secret is found by no mask.
        let masked = self
            .fleet
            .get(bot)
            .map_or_else(|| detail.to_owned(), |member| member.discretion.masked(detail));
        let detail = match masked.char_indices().nth(FACT_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &masked[..end]),
            None => masked,
        };
        self.facts.push(Fact {
            at,
            bot: bot.clone(),
            run,
            name: name.to_owned(),
            detail,
        });
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
        SpawnFailure::Command(why) | SpawnFailure::Passing(why) => why.clone(),
        SpawnFailure::Locked { pid, .. } => format!("another shim holds this bot (pid {pid})"),
        SpawnFailure::PreviousAlive { pid } => format!("previous run still alive (pid {pid})"),
        SpawnFailure::Cancelled => "called back".to_owned(),
    }
}
