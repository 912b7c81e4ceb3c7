//! Ties the monitor to the supervisor: neither knows the other's words, here they are translated.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::{Error, start_error, tell};
use crate::model::judging::Signs;
use crate::model::usage::Sample;
use crate::monitor::{log_watch, platform_probe, probes, sampler};
use crate::supervisor::host::UsageTarget;
use crate::supervisor::lookouts::{PlatformOrder, TellLogWatch, TellPlatformProbe, TellProber};
use crate::supervisor::news::{LogFinding, LogMatch, News};
use crate::supervisor::process::TellSampler;

/// None where nothing is to be sampled.
pub(super) fn start_sampler(period: Option<Duration>, queue: &SyncSender<News>) -> Result<Option<TellSampler>, Error> {
    let Some(period) = period else { return Ok(None) };
    let queue = queue.clone();
    let sampler = sampler::start(period, move |samples: Vec<Sample>| {
        tell(&queue, News::Sampled(samples));
    })
    .map_err(start_error("the sampler"))?;
    Ok(Some(Box::new(move |targets: Vec<UsageTarget>| {
        let target = |it: UsageTarget| sampler::Target {
            bot: it.bot,
            run: it.run,
            pid: it.pid,
            limits: it.limits,
            known: it.standings,
        };
        // A sampler that has ended leaves usage unknown.
        let _ = sampler.send(targets.into_iter().map(target).collect());
    })))
}

/// Its threads begin with the first bot that has a probe.
pub(super) fn start_prober(queue: &SyncSender<News>) -> Arc<probes::Prober> {
    let queue = queue.clone();
    Arc::new(probes::Prober::new(move |finding: probes::Finding| {
        let probes::Finding {
            bot,
            run,
            probe,
            answer,
        } = finding;
        tell(
            &queue,
            News::Probed {
                bot,
                run,
                probe,
                answer,
            },
        );
    }))
}

pub(super) fn tell_prober(prober: &Arc<probes::Prober>) -> TellProber {
    let prober = Arc::clone(prober);
    Box::new(move |bot, lookout| {
        let target = lookout.map(|it| probes::Target {
            run: it.run,
            began_at: it.began_at,
            probes: it.probes,
            env: it.env,
            cwd: it.cwd,
        });
        if let Err(error) = prober.watch(bot, target) {
            tracing::error!("cannot start a thread for probes: {error}");
        }
    })
}

pub(super) fn late_probes(prober: &Arc<probes::Prober>) -> Box<dyn Fn() -> usize> {
    let prober = Arc::clone(prober);
    Box::new(move || prober.late())
}

/// Its thread asks nobody before the first bot of a platform that can be asked runs.
pub(super) fn start_platform_probe(queue: &SyncSender<News>) -> Result<TellPlatformProbe, Error> {
    let queue = queue.clone();
    let orders = platform_probe::start(move |finding: platform_probe::Finding| {
        let platform_probe::Finding { bot, run, word } = finding;
        tell(&queue, News::Platform { bot, run, word });
    })
    .map_err(start_error("the questions to platforms"))?;
    Ok(Box::new(move |order| {
        let order = match order {
            PlatformOrder::Policy(policy) => platform_probe::Order::Policy(policy),
            PlatformOrder::Target(bot, lookout) => {
                let target = lookout.map(|it| platform_probe::Target {
                    run: it.run,
                    api_root: it.api_root,
                    token: it.token,
                });
                platform_probe::Order::Target(bot, target)
            }
        };
        // A thread that has ended leaves what platforms say unknown.
        let _ = orders.send(order);
    }))
}

fn log_match(log_watch::Match { probe, line, at }: log_watch::Match) -> LogMatch {
    LogMatch { probe, line, at }
}

pub(super) fn start_log_watch(
    period: Option<Duration>,
    queue: &SyncSender<News>,
) -> Result<Option<TellLogWatch>, Error> {
    let Some(period) = period else { return Ok(None) };
    let queue = queue.clone();
    let orders = log_watch::start(period, move |findings| {
        let findings = findings.into_iter().map(|it| LogFinding {
            bot: it.bot,
            run: it.run,
            errors: it.errors,
            recent: it.recent,
            matched: it.matched.into_iter().map(log_match).collect(),
            signs: it.signs,
            unread: it.unread,
        });
        tell(&queue, News::LogsRead(findings.collect()));
    })
    .map_err(start_error("the watch over logs"))?;
    Ok(Some(Box::new(move |bot, lookout| {
        let target = lookout.map(|it| log_watch::Target {
            run: it.run,
            path: it.path,
            since: it.since,
            errors_pattern: it.errors_pattern,
            patterns: it
                .checks
                .iter()
                .map(|(name, check)| (name.clone(), check.pattern().to_owned()))
                .collect(),
            signs: Signs::of(it.platform, &it.judging),
        });
        // A thread that has ended leaves probes of logs unknown.
        let _ = orders.send((bot, target));
    })))
}
