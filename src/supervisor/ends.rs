//! What becomes of runs, as their shims and records tell it: reports and ends.

use crate::model::bot::{BotId, End, RunId};
use crate::model::limits::SWEEP_TIME_MAX;
use crate::model::units::Stamp;
use crate::run::orders::Report;
use crate::run::record::{RunRecord, read_exit, read_run};
use crate::run::remains;
use crate::run::strays;

use super::ledger;
use super::machine::SpawnFailure;
use super::news::News;
use super::process::ProcessHost;
use super::shims::{Heard, ShimNews};
use super::survey::unproven;

impl ProcessHost {
    /// What a shim has told or left behind, as news for the loop.
    pub(super) fn understand(&mut self, news: ShimNews) -> Option<News> {
        match news {
            ShimNews::Reported { bot, run, report } => Some(match report {
                Report::Spawned { pid, kernel } => News::Spawned { bot, run, pid, kernel },
                Report::CommandFailed { why } => failed(bot, run, SpawnFailure::Command(why)),
                Report::SpawnFailed { why } => failed(bot, run, SpawnFailure::Passing(why)),
                Report::PreviousAlive { pid } => failed(bot, run, SpawnFailure::PreviousAlive { pid }),
                Report::Locked => self.locked(bot, run),
            }),
            ShimNews::Ended {
                heard: Heard::Refused, ..
            } => None,
            ShimNews::Ended { bot, run, .. } => self.end_of(bot, run),
        }
    }

    /// A bot of the same name that is created later begins anew. A run that is not known to be over keeps
    /// its record: the next shim must find what is left of it.
    pub(super) fn forget_runs(&self, bot: &BotId) {
        let dir = self.parts.home.run_of(bot);
        let mut old = vec![ledger::remove(&dir)];
        if let (Ok(Some(run)), Ok(Some(exit))) = (read_run(&dir), read_exit(&dir))
            && run.run_id == exit.run_id
            && exit.survivors.is_empty()
        {
            old.push(std::fs::remove_file(dir.join("run.json")));
            old.push(std::fs::remove_file(dir.join("exit.json")));
        }
        for error in old.into_iter().filter_map(Result::err) {
            tracing::error!("{bot}: cannot clear {}: {error}", dir.display());
        }
    }

    /// Another shim holds the bot: whoever that is, it is the one that runs. Who it is tells its record,
    /// or, where that is torn or not written yet, its lock.
    fn locked(&mut self, bot: BotId, run: RunId) -> News {
        let lock = self.parts.home.lock_of(&bot);
        let recorded = read_run(&self.parts.home.run_of(&bot)).ok().flatten();
        let traced = || strays::trace(&lock, bot.as_str());
        let holder = recorded.filter(|record| record.shim.is_alive()).or_else(traced);
        let found = holder.and_then(|record| {
            let other = RunId::parse(&record.run_id)?;
            self.parts.shims.take_up(&bot, &other, &record.shim).ok()??;
            Some(SpawnFailure::Locked {
                run: other,
                pid: record.process.pid,
                started_at: Stamp::from_unix_ms(record.started_at),
            })
        });
        let failure = found.unwrap_or_else(|| SpawnFailure::Unproven(unproven(&lock)));
        failed(bot, run, failure)
    }

    /// A shim has ended: what it recorded is the end of its run. One that recorded nothing was killed,
    /// and what it kept must be ended before anybody calls the run over; that may take a while.
    fn end_of(&mut self, bot: BotId, run: RunId) -> Option<News> {
        let dir = self.parts.home.run_of(&bot);
        if let Ok(Some(exit)) = read_exit(&dir)
            && exit.run_id == run.as_str()
        {
            return Some(News::Ended {
                bot,
                run,
                end: exit.end(),
            });
        }
        let record = match read_run(&dir) {
            Ok(Some(record)) if record.run_id == run.as_str() => Some(record),
            Ok(_) => {
                let end = End::Unknown("the shim ended before the bot was started".to_owned());
                return Some(News::Ended { bot, run, end });
            }
            // Torn: what is left is found by its mark alone.
            Err(_) => None,
        };
        let queue = self.parts.queue.clone();
        let hunt = move || {
            let end = hunt_down(&run, record.as_ref());
            // Only a loop that has ended takes no more news.
            let _ = queue.send(News::Ended { bot, run, end });
        };
        // Without a thread the hunt is done here: late is better than two runs.
        match std::thread::Builder::new().name("hunt".to_owned()).spawn(hunt.clone()) {
            Ok(_) => None,
            Err(_) => {
                hunt();
                None
            }
        }
    }
}

fn failed(bot: BotId, run: RunId, failure: SpawnFailure) -> News {
    News::SpawnFailed { bot, run, failure }
}

fn hunt_down(run: &RunId, record: Option<&RunRecord>) -> End {
    let outcome = match record {
        Some(record) => remains::clear(record, SWEEP_TIME_MAX),
        None => remains::clear_marked(run.as_str(), SWEEP_TIME_MAX),
    };
    match outcome {
        Ok(()) => End::Unknown("shim killed".to_owned()),
        Err(pid) => End::Unknown(format!("shim killed; pid {pid} cannot be killed")),
    }
}
