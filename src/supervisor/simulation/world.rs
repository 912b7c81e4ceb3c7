//! The world as the loop's host: it obeys as shims and bots do, and refuses what must never happen.

use super::*;
use crate::model::blocking::{BlockingPolicy, Heard, TargetEntry};
use crate::model::people::{Change, People};
use crate::store::By;
use crate::supervisor::host::LoginTarget;
use crate::supervisor::login::Given;

impl Host for World {
    type Claim = Rc<Hold>;
    type Posted = usize;

    fn now(&self) -> Moment {
        self.now
    }

    fn stamp(&self) -> Stamp {
        World::stamp(self)
    }

    fn new_run(&mut self) -> RunId {
        run_of(self.next_serial())
    }

    fn new_id(&mut self) -> String {
        format!("{:026}", self.next_serial())
    }

    fn load(&mut self) -> Result<Configuration, String> {
        Ok(Configuration {
            pace: self.pace.clone(),
            budget: self.budget.clone(),
            bots: self.configured.clone()?,
            blocked: 0,
            blocked_permanent: 0,
            blocklist: Vec::new(),
            people: People::default(),
        })
    }

    fn survey(&mut self, bots: &[BotId]) -> Vec<Found> {
        let ever = self.records.keys().chain(self.ledgers.keys());
        let known: BTreeSet<BotId> = bots.iter().chain(ever).cloned().collect();
        let found = known.into_iter().filter_map(|bot| {
            let remnant = self.remnant_of(&bot);
            let is_meant = bots.contains(&bot) || matches!(remnant, Remnant::Alive { .. });
            if !is_meant {
                self.ledgers.remove(&bot);
                self.records.remove(&bot);
                self.exits.remove(&bot);
            }
            is_meant.then(|| Found {
                ledger: self.ledgers.get(&bot).cloned().unwrap_or_default(),
                last_end: self.exits.get(&bot).map(|exit| (exit.end.clone(), exit.at)),
                shown: self.shown_of(&remnant),
                shown_at: self
                    .issues
                    .last()
                    .map(|it| Stamp::from_unix_ms(it.snapshot.generated_at)),
                is_told: self.facts.iter().any(|fact| fact.bot == bot && fact.name == "exited"),
                remnant,
                bot,
            })
        });
        found.collect()
    }

    fn note(&mut self, bot: &BotId, ledger: &Ledger) {
        self.ledgers.insert(bot.clone(), ledger.clone());
    }

    fn flush(&mut self) {}

    fn look(&mut self, _token: Token) -> Vec<News> {
        unreachable!("this world has no file descriptors")
    }

    fn prepare(&mut self, _bot: &BotId) -> Result<(), String> {
        Ok(())
    }

    fn forget(&mut self, bot: &BotId) {
        self.ledgers.remove(bot);
        self.records.remove(bot);
        self.exits.remove(bot);
        self.forgotten.push(bot.clone());
    }

    fn spawn(&mut self, launch: &Launch<'_>) -> Result<(), SpawnFailure> {
        let (bot, run) = (launch.spec.id.clone(), launch.run.clone());
        assert!(self.live(&bot).is_empty(), "a second live run of {bot}");
        self.launched.push((self.now, bot.clone()));
        let pid = 1000 + u32::try_from(self.next_serial()).unwrap();
        let has_reported = self.manners.get(&bot) != Some(&Manner::Mute);
        if has_reported {
            let (bot, run) = (bot.clone(), run.clone());
            self.records.insert(bot.clone(), run.clone());
            self.news.push_back(News::Spawned {
                bot,
                run,
                pid,
                kernel: vec![IN_FORCE.to_owned()],
            });
        }
        let started_at = self.stamp();
        let shim = Shim {
            bot,
            pid,
            has_reported,
            started_at,
            is_asked: false,
            recipe: Some(launch.recipe.to_owned()),
        };
        self.shims.insert(run, shim);
        Ok(())
    }

    fn terminate(&mut self, run: &RunId) {
        self.orders.push(Order::Terminate(run.clone()));
        self.ask(run);
        match self.manner_of(run) {
            Some(Manner::Obedient | Manner::Mute) => self.end(run, code(0)),
            Some(Manner::Deaf | Manner::Undead) | None => {}
        }
    }

    fn kill(&mut self, run: &RunId) {
        self.orders.push(Order::Kill(run.clone()));
        self.ask(run);
        if self.manner_of(run) != Some(Manner::Undead) {
            self.end(run, End::Signal { number: 9, core: false });
        }
    }

    fn abandon(&mut self, run: &RunId) {
        self.orders.push(Order::Abandon(run.clone()));
        self.end(run, End::Unknown("shim killed".to_owned()));
    }

    fn survivor(&mut self, _bot: &BotId, run: &RunId) -> Option<u32> {
        self.shims.get(run).map(|shim| shim.pid)
    }

    fn next_mail(&mut self, bot: Option<&BotId>) -> Option<Mail<Rc<Hold>>> {
        let envelope = self.mail.get_mut(&bot.cloned())?.pop_front()?;
        Some(Mail {
            envelopes: vec![envelope],
            claim: Rc::new(Hold::of(&self.claimed)),
        })
    }

    fn post(&mut self, bot: &BotId, envelope: Envelope, _durable: bool) -> Result<usize, String> {
        self.letters.push(Letter {
            to: bot.clone(),
            envelope,
            is_retracted: false,
        });
        Ok(self.letters.len() - 1)
    }

    fn retract(&mut self, bot: &BotId, posted: usize) {
        assert_eq!(self.letters[posted].to, *bot, "a letter taken from another bot's inbox");
        self.letters[posted].is_retracted = true;
    }

    fn counts(&mut self, bot: &BotId) -> BoxCounts {
        let unread = self.letters.iter().filter(|it| it.to == *bot && !it.is_retracted);
        BoxCounts {
            inbox_new: unread.count() as u64,
            next_due: self.due.get(bot).and_then(|due| due.first()).copied(),
            ..BoxCounts::default()
        }
    }

    fn settle(&mut self, _: &BotId, _: &QueuePolicy, answer: &Envelope, is_over: bool) -> Result<Settled, String> {
        let id = answer.correlation_id.clone().unwrap_or_default();
        let settled = self.settled.get(&id).cloned().unwrap_or(Settled::Absent);
        if settled == Settled::Undecided && is_over {
            let reason = "over".to_owned();
            return Ok(Settled::Buried { reason });
        }
        Ok(settled)
    }

    fn recover(
        &mut self,
        bot: &BotId,
        _: &QueuePolicy,
        live: Option<&RunId>,
        ended: Option<(&RunId, RunEnd)>,
    ) -> (usize, Vec<Buried>) {
        let is_spared = |run: &&RunId| live != Some(*run) && ended.as_ref().is_none_or(|(ended, _)| ended != run);
        let lost: Vec<&RunId> = self.live(bot).into_iter().filter(is_spared).collect();
        assert!(lost.is_empty(), "claims of live runs of {bot} are taken away: {lost:?}");
        let ended = ended.map(|(run, end)| (run.clone(), end));
        self.recoveries.push((bot.clone(), live.cloned(), ended));
        (0, std::mem::take(&mut self.doomed))
    }

    fn release_due(&mut self, bot: &BotId) -> Result<(Vec<Buried>, Option<Stamp>), String> {
        let (now, stamp) = (self.now, World::stamp(self));
        let due = self.due.entry(bot.clone()).or_default();
        due.retain(|at| *at > stamp);
        self.released.push((now, bot.clone()));
        Ok((Vec::new(), due.first().copied()))
    }

    fn mend(&mut self, _bot: &BotId) -> Result<bool, String> {
        Ok(false)
    }

    fn deliver(&mut self, _sender: &BotId, _claim: Option<Rc<Hold>>, outgoing: Outgoing) {
        let delivered = outgoing
            .deliveries
            .into_iter()
            .map(|(bot, _, envelope)| (bot, envelope));
        self.delivered.extend(delivered);
        self.refused.extend(outgoing.refused);
    }

    fn sweep(&mut self, _bot: &BotId) {}

    fn look_after(&mut self) -> Result<bool, String> {
        Ok(false)
    }

    fn hints_lost(&mut self) {}

    fn publish(&mut self, snapshot: Snapshot, replies: Vec<Envelope>, _claims: Vec<Rc<Hold>>) {
        self.issues.push(Issue {
            at: self.now,
            snapshot,
            replies,
        });
    }

    fn pass_on(&mut self, answers: Vec<(Envelope, Option<Rc<Hold>>)>) {
        self.passed_on.extend(answers.into_iter().map(|(answer, _)| answer));
    }

    fn rescan_every(&self) -> Option<Duration> {
        None
    }

    fn disk_free(&self) -> Option<u64> {
        None
    }

    fn was_left(&self) -> bool {
        false
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn record_metrics(&mut self, rows: Vec<MetricRow>) {
        self.passes.push(rows);
    }

    fn passed(&self, _: &BotId) -> Passed {
        Passed::default()
    }

    fn audit(&mut self, action: &str, bot: &BotId, detail: &str) {
        self.audited.push(format!("{bot}: {action}: {detail}"));
    }

    fn record(&mut self, facts: Vec<Fact>, _claims: Vec<Rc<Hold>>) {
        self.facts.extend(facts);
    }

    fn watch_usage(&mut self, targets: Vec<UsageTarget>) {
        self.usage_targets.clone_from(&targets);
        for target in targets {
            assert!(target.pid > 0, "{} is watched without a process", target.bot);
        }
    }

    fn watch_probes(&mut self, bot: &BotId, target: Option<ProbeTarget<'_>>) {
        if let Some(target) = &target {
            assert!(self.live(bot).contains(&target.run), "{bot} is asked without a run");
        }
        self.probed.retain(|(known, _)| known != bot);
        self.probed
            .extend(target.map(|target| (bot.clone(), target.run.clone())));
    }

    fn watch_platform(&mut self, bot: &BotId, target: Option<PlatformTarget<'_>>) {
        if let Some(target) = &target {
            assert!(
                self.live(bot).contains(&target.run),
                "the platform of {bot} is asked without a run"
            );
        }
        self.platforms.remove(bot);
        self.platforms
            .extend(target.map(|target| (bot.clone(), target.run.clone())));
    }

    fn hear_of_target(
        &mut self,
        _bot: &BotId,
        _target: &str,
        _heard: Heard,
        _policy: &BlockingPolicy,
    ) -> Result<Option<TargetEntry>, String> {
        Ok(None)
    }

    fn log_in(&mut self, _target: &LoginTarget<'_>) -> Result<(), String> {
        Ok(())
    }

    fn keep_login(&mut self, _bot: &BotId, _given: &Given, _by: &By) -> Result<(), String> {
        Ok(())
    }

    fn change_people(&mut self, _change: &Change, _by: &By) -> Result<String, String> {
        Ok("done".to_owned())
    }

    fn is_admin(&mut self, user: &str) -> Result<bool, String> {
        Ok(user == "admin")
    }

    fn see_user(&mut self, _bot: &BotId, _user: &str, _username: &str) -> Result<(), String> {
        Ok(())
    }

    fn sweep_blocklist(&mut self) -> Vec<(BotId, String)> {
        Vec::new()
    }

    fn hold(&mut self, bot: &BotId, judgement: &Judgement) {
        let bots = self.configured.as_mut().unwrap();
        let found = bots.iter_mut().find(|it| it.id == *bot);
        found.unwrap().judged = Some(judgement.clone());
    }

    fn last_words(&mut self, bot: &BotId, since: Stamp) -> Vec<(Stamp, String)> {
        let lines = self.lines.get(bot).cloned().unwrap_or_default();
        lines.into_iter().filter(|(at, _)| *at >= since).collect()
    }

    fn rival(&mut self, _bot: &BotId, _token: &Secret) -> Option<String> {
        self.rival.clone()
    }

    fn watch_log(&mut self, bot: &BotId, target: Option<LogTarget<'_>>) {
        self.logged.remove(bot);
        self.logged.extend(target.map(|target| (bot.clone(), target.since)));
    }

    fn log(&mut self, _line: &str) {}

    fn warn(&mut self, line: &str) {
        self.warnings.push(line.to_owned());
    }
}
