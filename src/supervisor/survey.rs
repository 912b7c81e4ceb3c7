//! What a supervisor that starts finds of its bots: runs whose shims live, runs that ended while nobody
//! looked, and remains that have lost their shim, which are ended here.
//!
//! Nothing is ever taken for down because a record is missing or torn: then the bot's lock and the marks
//! of its processes decide, and what they cannot tell is held.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::model::bot::{BotId, End, RunId};
use crate::model::limits::SWEEP_TIME_MAX;
use crate::model::units::Stamp;
use crate::run::lock::Lock;
use crate::run::record::{ExitRecord, RunRecord, read_exit, read_run, write_run};
use crate::run::remains;
use crate::run::strays::{self, Marked};

use super::host::{Found, Remnant};
use super::ledger::{self, Ledger};
use super::machine::Hold;
use super::process::ProcessHost;
use super::snapshot::{Snapshot, Stage};

/// How many of a bot's last events may have come after the end of its last run.
const LOOK_BACK: u32 = 100;
/// The events that tell of a run's end.
const ENDS: [&str; 2] = ["exited", "spawn_failed"];

/// The remnant of one bot, before its dead are looked for.
enum Trace {
    Known(Remnant),
    /// Its shim is gone and has not told of an end.
    Orphaned(RunRecord),
    /// Its record is torn, and no shim holds its lock.
    Unrecorded,
}

impl ProcessHost {
    /// Looks at every bot that is configured or has ever run here.
    pub(super) fn survey_home(&mut self, bots: &[BotId]) -> Vec<Found> {
        self.end_questions();
        let last = self.last_snapshot();
        // A supervisor that has stopped its bots leaves nothing to go on with.
        let is_fresh = last.as_ref().is_some_and(|it| it.supervisor.stage == Stage::Stopped);
        self.was_left = last.as_ref().is_some_and(|it| it.supervisor.stage == Stage::Left);
        let removed = self.ever_run().into_iter().filter(|bot| !bots.contains(bot));
        let all: Vec<BotId> = bots.iter().cloned().chain(removed).collect();
        let traces: Vec<(BotId, Trace)> = all.into_iter().map(|bot| (bot.clone(), self.trace(&bot))).collect();
        let mut strays = self.strays_beside(&traces);
        let mut found = Vec::new();
        for (bot, trace) in traces {
            let others = strays.remove(bot.as_str()).unwrap_or_default();
            let remnant = self.judge(&bot, trace, &others, is_fresh);
            let is_over = matches!(remnant, Remnant::Nothing | Remnant::Ended { .. });
            if is_over && !bots.contains(&bot) {
                self.forget_runs(&bot);
                continue;
            }
            found.push(self.found(bot, remnant, is_fresh, last.as_ref()));
        }
        // What belongs to no bot that anybody knows of is a stray all the same.
        for run in strays.into_values().flatten() {
            let _ = remains::clear_marked(&run, SWEEP_TIME_MAX);
        }
        found
    }

    /// Ends the programs of probes that the last supervisor had asking when it died; the bots live on.
    fn end_questions(&self) {
        let (home_id, ipc) = (self.home_id.as_str(), self.parts.home.dir().join("ipc"));
        let asking = || {
            let marked = strays::of_home(home_id, &ipc).into_iter();
            marked.filter(|it| it.question.is_some()).map(|it| it.pid).collect()
        };
        if let Err(pid) = remains::clear_all(asking, SWEEP_TIME_MAX) {
            tracing::warn!("a program of a probe (pid {pid}) cannot be ended");
        }
    }

    fn found(&self, bot: BotId, remnant: Remnant, is_fresh: bool, last: Option<&Snapshot>) -> Found {
        let dir = self.parts.home.run_of(&bot);
        let ledger = if is_fresh {
            if let Err(source) = ledger::remove(&dir) {
                tracing::error!("{bot}: cannot remove its old ledger: {source}");
            }
            Ledger::default()
        } else {
            ledger::read(&dir, &self.boot_id)
                .unwrap_or_else(|error| {
                    tracing::error!("{bot}: {error}; its restarts are counted anew");
                    None
                })
                .unwrap_or_default()
        };
        let shown = match &remnant {
            Remnant::Alive { run, .. } => last.and_then(|it| {
                let mut lines = it.bots.iter();
                lines.find(|line| line.run_id.as_deref() == Some(run.as_str())).cloned()
            }),
            Remnant::Nothing | Remnant::Ended { .. } | Remnant::Unclear(_) => None,
        };
        let exit = read_exit(&dir)
            .ok()
            .flatten()
            .filter(|exit| exit.spawn_failed.is_none());
        // After a reboot, or a stop, the last end is history.
        let goes_on = ledger != Ledger::default() || !matches!(remnant, Remnant::Nothing);
        let last_end = exit
            .filter(|_| goes_on && !is_fresh)
            .map(|exit| (exit.end(), Stamp::from_unix_ms(exit.at)));
        Found {
            is_told: self.is_told(&bot, &remnant),
            bot,
            ledger,
            remnant,
            shown_at: shown.as_ref().and(last).map(|it| Stamp::from_unix_ms(it.generated_at)),
            shown,
            last_end,
        }
    }

    /// Whether the history has the end of this run, or there is none to be told.
    fn is_told(&self, bot: &BotId, remnant: &Remnant) -> bool {
        let Remnant::Ended { run, .. } = remnant else {
            return true;
        };
        match self.parts.store.events().recent(Some(bot), LOOK_BACK) {
            Ok(facts) => facts
                .iter()
                .any(|fact| fact.run.as_ref() == Some(run) && ENDS.contains(&fact.name.as_str())),
            Err(_) => true,
        }
    }

    fn last_snapshot(&self) -> Option<Snapshot> {
        let snapshot: Snapshot = serde_json::from_slice(&fs::read(self.parts.home.snapshot()).ok()?).ok()?;
        (snapshot.supervisor.identity.boot_id == self.boot_id).then_some(snapshot)
    }

    /// The bots that have a folder for their records.
    fn ever_run(&self) -> Vec<BotId> {
        let dirs = fs::read_dir(self.parts.home.dir().join("run"))
            .into_iter()
            .flatten()
            .flatten();
        // One that never came to be has left a ledger alone.
        let left = |dir: &fs::DirEntry| ["run.json", ledger::NAME].map(|name| dir.path().join(name).exists());
        let named = dirs.filter(|dir| left(dir).contains(&true));
        named.filter_map(|dir| dir.file_name().to_str()?.parse().ok()).collect()
    }

    fn trace(&mut self, bot: &BotId) -> Trace {
        match read_run(&self.parts.home.run_of(bot)) {
            Ok(None) => Trace::Known(Remnant::Nothing),
            Ok(Some(record)) => self.trace_recorded(bot, record),
            Err(error) => {
                tracing::warn!("{bot}: {error}; its lock and its marks decide");
                self.trace_torn(bot)
            }
        }
    }

    fn trace_recorded(&mut self, bot: &BotId, record: RunRecord) -> Trace {
        // Of another boot, or of a container that is gone: its pids name nobody here.
        if !record.shim.is_of_this_boot() {
            return Trace::Known(Remnant::Nothing);
        }
        let Some(run) = RunId::parse(&record.run_id) else {
            return self.trace_torn(bot);
        };
        let taken = self.parts.shims.take_up(bot, &run, &record.shim);
        // Only after the look at the shim: one that has just ended has recorded it by now.
        let exit = self.exit_of(bot, &record.run_id);
        match (taken, exit) {
            (Ok(Some(())), exit) => Trace::Known(Remnant::Alive {
                run,
                pid: record.process.pid,
                started_at: Stamp::from_unix_ms(record.started_at),
                recipe: record.recipe,
                kernel: record.kernel,
                ending: exit.map(|exit| (exit.end(), exit.asked)),
            }),
            (Ok(None), Some(exit)) if exit.survivors.is_empty() => Trace::Known(ended(run, &exit)),
            (Ok(None), _) => Trace::Orphaned(record),
            (Err(error), _) => {
                let why = format!("cannot look at its shim (pid {}): {error}", record.shim.pid);
                Trace::Known(Remnant::Unclear(Hold::Unproven(why)))
            }
        }
    }

    /// The record says nothing. A shim that lives is found by its lock and its bot; its record is then
    /// written anew, so that every command finds the run again.
    fn trace_torn(&mut self, bot: &BotId) -> Trace {
        let home = &self.parts.home;
        let (lock, dir) = (home.lock_of(bot), home.run_of(bot));
        if let Some(record) = strays::trace(&lock, bot.as_str()).filter(|it| RunId::parse(&it.run_id).is_some()) {
            if let Err(error) = write_run(&dir, &record) {
                tracing::error!("{bot}: {error}");
            }
            tracing::warn!(
                "{bot}: run {} was found by its lock (pid {})",
                record.run_id,
                record.process.pid
            );
            return self.trace_recorded(bot, record);
        }
        // The one look at a lock by taking it: this supervisor has started nothing yet, so there is no
        // start that could fail on it.
        match Lock::take(&lock) {
            Ok(Some(_)) => Trace::Unrecorded,
            Ok(None) => Trace::Known(Remnant::Unclear(Hold::Unproven(unproven(&lock)))),
            Err(error) => {
                let why = format!("cannot look at its lock {}: {error}", lock.display());
                Trace::Known(Remnant::Unclear(Hold::Unproven(why)))
            }
        }
    }

    fn exit_of(&self, bot: &BotId, run_id: &str) -> Option<ExitRecord> {
        let exit = read_exit(&self.parts.home.run_of(bot)).ok().flatten();
        exit.filter(|exit| exit.run_id == run_id)
    }

    /// The runs of each bot that have processes and no shim. They are not ended yet.
    fn strays_beside(&self, traces: &[(BotId, Trace)]) -> BTreeMap<String, BTreeSet<String>> {
        let live: BTreeSet<&str> = traces
            .iter()
            .filter_map(|(_, trace)| match trace {
                Trace::Known(Remnant::Alive { run, .. }) => Some(run.as_str()),
                Trace::Known(_) | Trace::Orphaned(_) | Trace::Unrecorded => None,
            })
            .collect();
        // Whose bot is held may well have a shim that nobody could make out.
        let unclear: BTreeSet<&str> = traces
            .iter()
            .filter(|(_, trace)| matches!(trace, Trace::Known(Remnant::Unclear(_))))
            .map(|(bot, _)| bot.as_str())
            .collect();
        let mut strays: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for Marked { bot, run_id, .. } in strays::of_home(&self.home_id, &self.parts.home.dir().join("ipc")) {
            if !live.contains(run_id.as_str()) && !unclear.contains(bot.as_str()) {
                strays.entry(bot).or_default().insert(run_id);
            }
        }
        strays
    }

    /// Ends what has no shim, and says what is left of a bot then.
    fn judge(&mut self, bot: &BotId, trace: Trace, strays: &BTreeSet<String>, is_fresh: bool) -> Remnant {
        let mut survivor = None;
        for run in strays {
            // A shim that had its orders when its supervisor died may have carried them out just now.
            if let Some(remnant) = self.newborn(bot, run) {
                return remnant;
            }
            tracing::warn!("{bot}: what is left of run {run} is ended: its shim is gone");
            survivor = survivor.or(remains::clear_marked(run, SWEEP_TIME_MAX).err());
        }
        let remnant = match trace {
            Trace::Known(remnant) => remnant,
            Trace::Orphaned(record) => {
                // Without marks only the bot's first process and its descendants can be left.
                if record.process.is_alive() {
                    survivor = survivor.or(remains::clear(&record, SWEEP_TIME_MAX).err());
                }
                self.orphaned(bot, &record.run_id)
            }
            Trace::Unrecorded => self.unrecorded(bot, strays.last()),
        };
        match (remnant, survivor) {
            (remnant @ (Remnant::Alive { .. } | Remnant::Unclear(_)), _) => remnant,
            (_, Some(pid)) => Remnant::Unclear(Hold::PreviousAlive { pid }),
            // What the last supervisor itself has ended is no news.
            (Remnant::Ended { .. }, None) if is_fresh => Remnant::Nothing,
            (remnant, None) => remnant,
        }
    }

    fn newborn(&mut self, bot: &BotId, run: &str) -> Option<Remnant> {
        let record = strays::trace(&self.parts.home.lock_of(bot), bot.as_str())?;
        if record.run_id != run {
            return None;
        }
        match self.trace_recorded(bot, record) {
            Trace::Known(remnant @ Remnant::Alive { .. }) => Some(remnant),
            Trace::Known(_) | Trace::Orphaned(_) | Trace::Unrecorded => None,
        }
    }

    fn orphaned(&self, bot: &BotId, run_id: &str) -> Remnant {
        let Some(run) = RunId::parse(run_id) else {
            return Remnant::Nothing;
        };
        match self.exit_of(bot, run_id) {
            Some(exit) => ended(run, &exit),
            None => Remnant::Ended {
                run,
                end: End::Unknown("shim killed".to_owned()),
                at: crate::clock::stamp(),
                asked: false,
            },
        }
    }

    /// Nothing of a run whose record is torn lives any more: its exit record, or a stray's mark, names it.
    fn unrecorded(&self, bot: &BotId, stray: Option<&String>) -> Remnant {
        let exit = read_exit(&self.parts.home.run_of(bot)).ok().flatten();
        if let Some(run) = stray.and_then(|run| RunId::parse(run)) {
            return self.orphaned(bot, run.as_str());
        }
        match exit.as_ref().and_then(|exit| Some((RunId::parse(&exit.run_id)?, exit))) {
            Some((run, exit)) => ended(run, exit),
            None => Remnant::Nothing,
        }
    }
}

fn ended(run: RunId, exit: &ExitRecord) -> Remnant {
    Remnant::Ended {
        run,
        end: exit.end(),
        at: Stamp::from_unix_ms(exit.at),
        asked: exit.asked,
    }
}

/// What is said of a bot whose lock somebody holds whom no record and no mark names.
pub(super) fn unproven(lock: &std::path::Path) -> String {
    format!(
        "somebody holds {} and no record tells who: look with lslocks, and end it there",
        lock.display()
    )
}
