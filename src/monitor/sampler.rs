//! The thread that measures: every period, the memory and CPU of each bot's whole process tree.
//!
//! It looks only at the processes of the bots it was told of, and without any it sleeps until it is
//! told again. Memory is the sum of resident sizes, so pages that processes share count once each.

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::rules::{Passed, Sample, Watch};
use crate::clock;
use crate::model::bot::{BotId, Limits, RunId};
use crate::model::units::Moment;
use crate::run::identity::Stat;
use crate::run::process_tree::descendants;

/// One run to look at, by its first process.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub bot: BotId,
    pub run: RunId,
    pub pid: u32,
    pub limits: Limits,
}

/// What one pass found of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub bot: BotId,
    pub run: RunId,
    pub sample: Sample,
    pub passed: Vec<Passed>,
}

/// Starts the sampler. Targets are sent through the result, each list replacing the last; `tell` is
/// called from the sampler's thread once a run and pass.
pub fn start(period: Duration, tell: impl Fn(Finding) + Send + 'static) -> io::Result<Sender<Vec<Target>>> {
    let (sender, queue) = channel();
    std::thread::Builder::new().name("sampler".to_owned()).spawn(move || {
        // Without /proc there is nothing to measure; bots run all the same, their usage unknown.
        if let Ok(system) = System::new() {
            sample_all(&queue, period, system, tell);
        }
    })?;
    Ok(sender)
}

fn sample_all(queue: &Receiver<Vec<Target>>, period: Duration, mut system: System, tell: impl Fn(Finding)) {
    let mut targets: Vec<Target> = Vec::new();
    let mut watches: HashMap<RunId, Watch> = HashMap::new();
    let mut next_at = clock::now() + period;
    loop {
        let news = if targets.is_empty() {
            queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            queue.recv_timeout(next_at.since(clock::now()))
        };
        match news {
            Ok(newer) => {
                if targets.is_empty() {
                    next_at = clock::now() + period;
                }
                targets = newer;
                watches.retain(|run, _| targets.iter().any(|target| target.run == *run));
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = clock::now();
                for finding in pass(&mut system, &targets, &mut watches, now) {
                    tell(finding);
                }
                next_at = now + period;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One pass over all targets. CPU is measured between two passes, so a process counts from its second.
fn pass(system: &mut System, targets: &[Target], watches: &mut HashMap<RunId, Watch>, now: Moment) -> Vec<Finding> {
    let trees: Vec<Vec<Pid>> = targets.iter().map(|target| tree_of(target.pid)).collect();
    let all: Vec<Pid> = trees.iter().flatten().copied().collect();
    let what = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&all), true, what);
    targets
        .iter()
        .zip(&trees)
        .map(|(target, tree)| {
            let processes = tree.iter().filter_map(|pid| system.process(*pid));
            let mut sample = Sample {
                memory_bytes: 0,
                cpu_percent: 0.0,
            };
            for process in processes {
                sample.memory_bytes += process.memory();
                sample.cpu_percent += f64::from(process.cpu_usage());
            }
            let watch = watches.entry(target.run.clone()).or_default();
            let passed = watch.judge(&target.limits, sample, now);
            Finding {
                bot: target.bot.clone(),
                run: target.run.clone(),
                sample,
                passed,
            }
        })
        .collect()
}

/// All processes of a run. Those that lost their parent hang below the shim, which is the parent of the
/// bot's first process, so the tree is taken from there; the shim itself does not count.
fn tree_of(pid: u32) -> Vec<Pid> {
    let shim = Stat::of(pid).map(|stat| stat.parent);
    shim.map(descendants)
        .unwrap_or_default()
        .into_iter()
        .map(Pid::from_u32)
        .collect()
}
