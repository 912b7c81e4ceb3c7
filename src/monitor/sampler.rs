//! The thread that measures: every period, what each bot's whole process tree uses.
//!
//! It looks only at the processes of the bots it was told of, and without any it sleeps until it is
//! told again. Memory is the sum of resident sizes, so pages that processes share count once each.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::open_files::{self, Connections};
use super::rules::Watch;
use crate::clock;
use crate::model::bot::{BotId, Limits, RunId};
use crate::model::limits::LATE_WAKE;
use crate::model::units::Moment;
use crate::model::usage::{Activity, Measure, Sample, Standing, Usage};
use crate::run::host_memory::host_memory;
use crate::run::identity::Stat;
use crate::run::process_tree::processes_below_shim;

/// One run to look at, by its first process.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub bot: BotId,
    pub run: RunId,
    pub pid: u32,
    pub limits: Limits,
    /// How it stood to them when this sampler had not seen it yet.
    pub known: Vec<Standing>,
}

/// Starts the sampler. Targets are sent through the result, each list replacing the last; `tell` is
/// called from the sampler's thread once a pass.
pub fn start(period: Duration, tell: impl Fn(Vec<Sample>) + Send + 'static) -> io::Result<Sender<Vec<Target>>> {
    let (sender, queue) = channel();
    std::thread::Builder::new().name("sampler".to_owned()).spawn(move || {
        // Without /proc there is nothing to measure; bots run all the same, their usage unknown.
        if let Some(sampler) = Sampler::new() {
            sample_all(&queue, period, sampler, tell);
        }
    })?;
    Ok(sender)
}

fn sample_all(queue: &Receiver<Vec<Target>>, period: Duration, mut sampler: Sampler, tell: impl Fn(Vec<Sample>)) {
    let mut targets: Vec<Target> = Vec::new();
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
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = clock::now();
                if now.since(next_at) > LATE_WAKE {
                    sampler.interrupt();
                }
                tell(sampler.pass(&targets, now));
                next_at = now + period;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// How often connections are counted of bots that have no limit on them. The kernel walks the whole table of
/// the host for its answer, which costs more than all the rest of a pass over a hundred bots.
const CONNECTIONS_EVERY: Duration = Duration::from_secs(30);

/// Measures, and remembers of each run what the next pass must know.
pub struct Sampler {
    system: System,
    watched: HashMap<RunId, Watched>,
    /// When the connections of all runs were counted.
    counted_at: Option<Moment>,
}

/// One run between two passes.
#[derive(Default)]
struct Watched {
    watch: Watch,
    last: Option<Look>,
    connections: Option<u64>,
}

/// What the last pass saw of a run.
struct Look {
    at: Moment,
    shim: u32,
    cpu_ticks: u64,
    /// Bytes that the shim has read in all.
    output_bytes: Option<u64>,
}

/// A run's processes as one pass found them.
struct Tree {
    shim: u32,
    first: Stat,
    processes: Vec<(u32, Stat)>,
}

impl Sampler {
    /// None where there is no `/proc` to look into.
    pub fn new() -> Option<Sampler> {
        Some(Sampler {
            system: System::new().ok()?,
            watched: HashMap::new(),
            counted_at: None,
        })
    }

    /// Nobody looked for a long time: what had been passed before has not been passed without a break.
    fn interrupt(&mut self) {
        self.watched.values_mut().for_each(|watched| watched.watch.interrupt());
    }

    /// One pass over all targets. What is measured between two passes is unknown in a run's first one.
    pub fn pass(&mut self, targets: &[Target], now: Moment) -> Vec<Sample> {
        let live: HashSet<&RunId> = targets.iter().map(|target| &target.run).collect();
        self.watched.retain(|run, _| live.contains(run));
        let trees: Vec<Option<Tree>> = targets.iter().map(|target| self.tree_of(target)).collect();
        let found = trees.iter().flatten().flat_map(|tree| &tree.processes);
        let all: Vec<Pid> = found.map(|(pid, _)| Pid::from_u32(*pid)).collect();
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        self.system
            .refresh_processes_specifics(ProcessesToUpdate::Some(&all), true, what);
        let host_memory = host_memory();
        for target in targets {
            self.watched.entry(target.run.clone()).or_insert_with(|| Watched {
                watch: Watch::resume(&target.limits, host_memory, &target.known, now),
                ..Watched::default()
            });
        }
        self.count_connections(targets, &trees, now);
        let pairs = targets.iter().zip(trees);
        pairs
            .filter_map(|(target, tree)| Some(self.sample(target, &tree?, host_memory, now)))
            .collect()
    }

    /// Counts the connections of those that have a limit on them, of new runs, and now and then of all.
    fn count_connections(&mut self, targets: &[Target], trees: &[Option<Tree>], now: Moment) {
        let is_due = self.counted_at.is_none_or(|at| now.since(at) >= CONNECTIONS_EVERY);
        let is_wanted = |sampler: &Sampler, target: &Target| {
            let limit = &target.limits.connections;
            is_due
                || limit.warn_at(Measure::Connections).is_some()
                || limit.max.is_some()
                || sampler.watched.get(&target.run).is_none_or(|it| it.last.is_none())
        };
        let wanted: Vec<_> = targets
            .iter()
            .zip(trees)
            .filter(|(it, _)| is_wanted(self, it))
            .collect();
        if is_due {
            self.counted_at = Some(now);
        }
        if wanted.is_empty() {
            return;
        }
        let all = Connections::read();
        for (target, tree) in wanted {
            let Some(tree) = tree else { continue };
            let watched = self.watched.entry(target.run.clone()).or_default();
            watched.connections = all.held_by(tree.processes.iter().map(|(pid, _)| *pid));
        }
    }

    /// All processes of a run. Those that lost their parent hang below the shim, which is the parent of the
    /// bot's first process, so the tree is taken from there; the shim itself does not count. None when the
    /// run is over.
    fn tree_of(&self, target: &Target) -> Option<Tree> {
        let known = self.watched.get(&target.run).and_then(|watched| watched.last.as_ref());
        let shim = match known {
            Some(last) => last.shim,
            None => Stat::of(target.pid)?.parent,
        };
        let processes = processes_below_shim(shim);
        // With its shim dead the process hangs below another one, which has more children than this bot's.
        let (_, first) = *processes
            .iter()
            .find(|(pid, stat)| *pid == target.pid && stat.parent == shim)?;
        Some(Tree { shim, first, processes })
    }

    fn sample(&mut self, target: &Target, tree: &Tree, host_memory: Option<u64>, now: Moment) -> Sample {
        let pids = || tree.processes.iter().map(|(pid, _)| *pid);
        let watched = self.watched.entry(target.run.clone()).or_default();
        let look = Look {
            at: now,
            shim: tree.shim,
            cpu_ticks: tree.first.cpu_ticks,
            output_bytes: read_bytes(tree.shim),
        };
        let last = watched.last.replace(look);
        let look = watched.last.as_ref();
        let known: Vec<u64> = pids().filter_map(open_files::count).collect();
        let mut usage = Usage {
            memory_bytes: 0,
            cpu_percent: last.as_ref().map(|_| 0.0),
            open_files: (!known.is_empty()).then(|| known.iter().sum()),
            threads: tree.processes.iter().map(|(_, stat)| u64::from(stat.threads)).sum(),
            processes: tree.processes.len() as u64,
            connections: watched.connections,
            output: last.as_ref().zip(look).and_then(|(last, look)| look.output_since(last)),
            activity: activity(&tree.first, last.as_ref()),
        };
        for process in pids().filter_map(|pid| self.system.process(Pid::from_u32(pid))) {
            usage.memory_bytes += process.memory();
            usage.cpu_percent = usage.cpu_percent.map(|sum| sum + f64::from(process.cpu_usage()));
        }
        let (standings, changes) = watched.watch.judge(&target.limits, host_memory, &usage, now);
        Sample {
            bot: target.bot.clone(),
            run: target.run.clone(),
            usage,
            standings,
            changes,
        }
    }
}

impl Look {
    /// Bytes a second that the bot has written on its output since an earlier look.
    fn output_since(&self, earlier: &Look) -> Option<f64> {
        let bytes = self.output_bytes?.checked_sub(earlier.output_bytes?)?;
        let seconds = self.at.since(earlier.at).as_secs_f64();
        (seconds > 0.0).then(|| bytes as f64 / seconds)
    }
}

/// A process may be in state D for an instant at every look, while it reads from a disk; one that hangs
/// there uses no CPU meanwhile.
fn activity(first: &Stat, last: Option<&Look>) -> Activity {
    match first.state {
        'T' => Activity::Stopped,
        'D' if last.is_some_and(|last| last.cpu_ticks == first.cpu_ticks) => Activity::Stuck,
        _ => Activity::Active,
    }
}

/// Bytes that a shim has read since its start: the output of its bot, and little else. None where the kernel
/// does not count, or does not tell this user.
fn read_bytes(shim: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{shim}/io")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("rchar:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(state: char, cpu_ticks: u64) -> Stat {
        Stat {
            state,
            parent: 1,
            group: 1,
            cpu_ticks,
            threads: 1,
            start_ticks: 1,
        }
    }

    fn look(at_ms: u64, cpu_ticks: u64, output_bytes: Option<u64>) -> Look {
        Look {
            at: Moment(at_ms * 1000),
            shim: 1,
            cpu_ticks,
            output_bytes,
        }
    }

    #[test]
    fn only_what_cannot_run_is_halted() {
        let last = look(0, 7, None);
        for (state, ticks, known, expected) in [
            ('S', 7, Some(&last), Activity::Active),
            ('R', 9, Some(&last), Activity::Active),
            // Somebody debugs it.
            ('t', 7, Some(&last), Activity::Active),
            ('T', 7, Some(&last), Activity::Stopped),
            ('T', 7, None, Activity::Stopped),
            ('D', 7, Some(&last), Activity::Stuck),
            ('D', 8, Some(&last), Activity::Active),
            ('D', 7, None, Activity::Active),
        ] {
            assert_eq!(activity(&stat(state, ticks), known), expected, "{state} {ticks}");
        }
    }

    #[test]
    fn output_is_bytes_a_second_between_two_looks() {
        let first = look(1000, 0, Some(500));
        assert_eq!(look(1500, 0, Some(1500)).output_since(&first), Some(2000.0));
        assert_eq!(look(1500, 0, Some(500)).output_since(&first), Some(0.0));
        assert_eq!(look(1500, 0, None).output_since(&first), None);
        assert_eq!(look(1000, 0, Some(900)).output_since(&first), None);
    }
}
