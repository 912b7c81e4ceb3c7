//! What becomes of runs, as their shims and records tell it: reports, ends, and at start the runs that
//! an earlier supervisor left behind.

use crate::model::bot::{BotId, End, RunId};
use crate::model::limits::SWEEP_TIME_MAX;
use crate::run::orders::Report;
use crate::run::record::{RunRecord, read_exit, read_run};
use crate::run::remains;

use super::host::Host;
use super::machine::SpawnFailure;
use super::news::News;
use super::process::ProcessHost;
use super::shims::{Heard, ShimNews};

impl ProcessHost {
    /// What a shim has told or left behind, as news for the loop.
    pub(super) fn understand(&mut self, news: ShimNews) -> Option<News> {
        match news {
            ShimNews::Reported { bot, run, report } => Some(match report {
                Report::Spawned { pid } => News::Spawned { bot, run, pid },
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

    /// Another shim holds the bot: whoever that is, it is the one that runs.
    fn locked(&mut self, bot: BotId, run: RunId) -> News {
        let holder = read_run(&self.parts.home.run_of(&bot)).ok().flatten();
        let found = holder.and_then(|record| {
            let other = RunId::parse(&record.run_id)?;
            self.parts.shims.take_up(&bot, &other, &record.shim).ok()??;
            Some(SpawnFailure::Locked {
                run: other,
                pid: record.process.pid,
            })
        });
        let failure = found.unwrap_or_else(|| SpawnFailure::Passing("another shim holds this bot".to_owned()));
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
            Ok(Some(record)) if record.run_id == run.as_str() => record,
            Ok(_) => {
                let end = End::Unknown("the shim ended before the bot was started".to_owned());
                return Some(News::Ended { bot, run, end });
            }
            Err(error) => {
                return Some(News::Ended {
                    bot,
                    run,
                    end: End::Unknown(format!("shim killed; {error}")),
                });
            }
        };
        let queue = self.parts.queue.clone();
        let hunt = move || {
            let end = hunt_down(&record);
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

    /// What the loop is told at start of runs whose shim still lives, and the end of all that has none.
    pub fn find_earlier(&mut self, bots: &[BotId]) -> Vec<News> {
        let mut news = Vec::new();
        for bot in bots {
            let record = match read_run(&self.parts.home.run_of(bot)) {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(error) => {
                    self.warn(&format!("{bot}: {error}; its lock decides"));
                    continue;
                }
            };
            let Some(run) = RunId::parse(&record.run_id) else {
                continue;
            };
            match self.parts.shims.take_up(bot, &run, &record.shim) {
                Ok(Some(())) => news.push(News::Earlier {
                    bot: bot.clone(),
                    run,
                    pid: record.process.pid,
                    started_at_ms: record.started_at,
                }),
                Ok(None) => self.clear_stray(bot, &record),
                Err(error) => self.warn(&format!("{bot}: cannot look at shim {}: {error}", record.shim.pid)),
            }
        }
        news
    }

    /// The shim of this run is gone; what it may have left must not run on beside a new one.
    fn clear_stray(&self, bot: &BotId, record: &RunRecord) {
        let ended = matches!(read_exit(&self.parts.home.run_of(bot)), Ok(Some(exit)) if exit.run_id == record.run_id);
        if ended || !record.process.is_of_this_boot() {
            return;
        }
        if let Err(pid) = remains::clear(record, SWEEP_TIME_MAX) {
            tracing::error!("{bot}: pid {pid} of an earlier run cannot be killed");
        }
    }
}

fn failed(bot: BotId, run: RunId, failure: SpawnFailure) -> News {
    News::SpawnFailed { bot, run, failure }
}

fn hunt_down(record: &RunRecord) -> End {
    match remains::clear(record, SWEEP_TIME_MAX) {
        Ok(()) => End::Unknown("shim killed".to_owned()),
        Err(pid) => End::Unknown(format!("shim killed; pid {pid} cannot be killed")),
    }
}
