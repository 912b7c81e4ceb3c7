//! The shim's loop: waits for output, signals and deaths, and ends the run.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::WaitStatus;
use signal_hook::consts::{SIGCHLD, SIGQUIT, SIGTERM};

use super::capture::Capture;
use super::limits::{self, InForce, Want};
use super::notify::Notify;
use super::sweep::{self, Children};
use super::{has_hung_up, report, spawn, timespec};
use crate::clock;
use crate::model::limits::SWEEP_TIME_MAX;
use crate::model::units::{Moment, Stamp};
use crate::run::leaf;
use crate::run::lock::Lock;
use crate::run::orders::{Orders, Report};
use crate::run::record::{ExitRecord, RECORD_VERSION, read_run, write_exit};

/// How far the run has come.
enum Stage {
    Running,
    /// The stop signal was sent at the supervisor's word; what lives at `kill_at` is killed.
    Stopping {
        kill_at: Moment,
    },
    /// SIGKILL was sent; what lives at `until` is reported as a survivor.
    Sweeping {
        until: Moment,
    },
    /// Survivors were reported; the lock is kept until they are gone.
    Outlived,
}

/// How often descendants that should be dying are looked at again.
const SWEEP_STEP: Duration = Duration::from_millis(20);
/// How often survivors are looked at: they may take hours.
const SURVIVOR_STEP: Duration = Duration::from_secs(1);

/// Starts the bot and stays until nothing of it is left. The lock is held by the caller.
pub(super) fn keep(orders: Orders, mut in_force: InForce, mut supervisor: UnixStream, _held: &Lock) {
    let Ok(signals) = Signals::register() else {
        let why = "cannot register signal handlers".to_owned();
        return report(&mut supervisor, &Report::SpawnFailed { why });
    };
    let (mut capture, out, err) = match Capture::open(&orders) {
        Ok(opened) => opened,
        Err(source) => {
            let why = format!("cannot make pipes: {source}");
            return report(&mut supervisor, &Report::SpawnFailed { why });
        }
    };
    let notify = orders.notify.as_ref().and_then(|it| {
        let opened = Notify::open(it, &orders.bot);
        opened.map_err(|why| capture.say(&format!("sd_notify: {why}"))).ok()
    });
    // An asked stop that came before the spawn, or a supervisor that died: leave without a trace.
    if signals.terminate.load(Ordering::Relaxed) || has_hung_up(supervisor.as_fd()) {
        remove_leaf(&in_force);
        return;
    }
    match spawn::spawn(&orders, &in_force, out, err) {
        Ok(pid) => {
            if orders.kernel.asks() {
                // What the child could have it wrote into its record.
                let record = read_run(&orders.run_dir).ok().flatten();
                in_force = record.map_or(in_force, |record| InForce {
                    leaf: record.leaf,
                    said: record.kernel,
                });
            }
            let kernel = std::mem::take(&mut in_force.said);
            report(&mut supervisor, &Report::Spawned { pid, kernel });
            drop(supervisor);
            close_stdin();
            let mut keeper = Keeper::new(&orders, pid, in_force.leaf, capture, notify, signals);
            drop(orders);
            keeper.run();
        }
        Err(failure) => {
            remove_leaf(&in_force);
            record_failure(&orders, &failure);
            report(&mut supervisor, &failure);
        }
    }
}

/// A group that cannot be removed is in nobody's way; the next shim tries again.
fn remove_leaf(in_force: &InForce) {
    if let Some(dir) = &in_force.leaf {
        let _ = leaf::remove(dir);
    }
}

/// Standard input is the other copy of the supervisor's socket.
fn close_stdin() {
    if let Ok(null) = std::fs::File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
    }
}

/// The child may have written a run record before its exec failed; this voids it.
fn record_failure(orders: &Orders, failure: &Report) {
    let (Report::CommandFailed { why } | Report::SpawnFailed { why }) = failure else {
        return;
    };
    let record = ExitRecord {
        v: RECORD_VERSION,
        run_id: orders.run_id.clone(),
        code: None,
        signal: None,
        core: false,
        spawn_failed: Some(why.clone()),
        at: clock::stamp().unix_ms(),
        survivors: Vec::new(),
        asked: false,
        oom: false,
        memory_max: None,
        oom_suspected: false,
    };
    let _ = write_exit(&orders.run_dir, &record);
}

/// The three signals that the shim knows, as flags, and a socket that wakes the loop.
struct Signals {
    terminate: Arc<AtomicBool>,
    kill: Arc<AtomicBool>,
    wake: UnixStream,
}

impl Signals {
    fn register() -> std::io::Result<Signals> {
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let terminate = Arc::new(AtomicBool::new(false));
        let kill = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGTERM, Arc::clone(&terminate))?;
        signal_hook::flag::register(SIGQUIT, Arc::clone(&kill))?;
        for number in [SIGTERM, SIGQUIT, SIGCHLD] {
            signal_hook::low_level::pipe::register(number, sender.try_clone()?)?;
        }
        Ok(Signals { terminate, kill, wake })
    }

    fn drain(&self) {
        let mut bytes = [0u8; 64];
        while matches!(std::io::Read::read(&mut &self.wake, &mut bytes), Ok(count) if count > 0) {}
    }
}

struct Keeper {
    pid: u32,
    stage: Stage,
    capture: Capture,
    notify: Option<Notify>,
    signals: Signals,
    /// Set once the bot's first process is reaped.
    ended: Option<(WaitStatus, Stamp)>,
    /// Whether the bot was to end before it did.
    asked: bool,
    orders: Remembered,
}

/// What is needed of the orders after the spawn; the rest, secrets above all, is dropped.
struct Remembered {
    run_dir: PathBuf,
    run_id: String,
    stop_signal: i32,
    grace: Duration,
    leaf: Option<PathBuf>,
    memory_max: Option<u64>,
    /// How many processes of the host the kernel had killed for memory when the run began.
    host_oom_kills: Option<u64>,
}

impl Keeper {
    fn new(
        orders: &Orders,
        pid: u32,
        leaf: Option<PathBuf>,
        capture: Capture,
        notify: Option<Notify>,
        signals: Signals,
    ) -> Keeper {
        Keeper {
            pid,
            stage: Stage::Running,
            capture,
            notify,
            signals,
            ended: None,
            asked: false,
            orders: Remembered {
                run_dir: orders.run_dir.clone(),
                run_id: orders.run_id.clone(),
                stop_signal: orders.stop_signal,
                grace: Duration::from_millis(orders.grace_ms),
                leaf,
                memory_max: orders.kernel.memory_max,
                host_oom_kills: limits::host_oom_kills(),
            },
        }
    }

    fn run(&mut self) {
        loop {
            let readable = self.wait();
            if readable.signals {
                self.signals.drain();
            }
            self.capture.read(readable.out, readable.err);
            // The order of a stop comes before the bot's answer to it.
            self.obey();
            self.hear(readable.notify);
            let children_left = self.reap();
            self.advance(children_left);
            if self.ended.is_some() && !children_left {
                self.finish(Vec::new());
                self.clear_leaf();
                return;
            }
        }
    }

    /// Sleeps until there is output, a signal or a deadline. Without a stop there is no deadline: an
    /// idle bot's shim never wakes.
    fn wait<'a>(&'a self) -> Readable {
        let (out, err) = self.capture.pipes();
        let mut fds = vec![PollFd::from_borrowed_fd(self.signals.wake.as_fd(), PollFlags::IN)];
        let mut slot_of = |pipe: Option<BorrowedFd<'a>>| {
            pipe.map(|fd| {
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
                fds.len() - 1
            })
        };
        let (out, err) = (slot_of(out), slot_of(err));
        let notify = slot_of(self.notify.as_ref().map(Notify::socket));
        let timeout = self.timeout().map(timespec);
        // An interrupted poll is a wake-up like any other: the flags are looked at next.
        let _ = poll(&mut fds, timeout.as_ref());
        let is_ready = |slot: Option<usize>| slot.is_some_and(|slot| !fds[slot].revents().is_empty());
        Readable {
            signals: is_ready(Some(0)),
            out: is_ready(out),
            err: is_ready(err),
            notify: is_ready(notify),
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let stage = match self.stage {
            Stage::Running => None,
            Stage::Stopping { kill_at } => Some(kill_at.since(clock::now())),
            Stage::Sweeping { .. } => Some(SWEEP_STEP),
            Stage::Outlived => Some(SURVIVOR_STEP),
        };
        let word = self.notify.as_ref().and_then(Notify::due_at);
        let word = word.map(|at| at.since(clock::now()));
        [stage, word].into_iter().flatten().min()
    }

    /// Passes on what the bot says of itself. A bot that is ending may ask for more time.
    fn hear(&mut self, is_ready: bool) {
        let Some(notify) = &mut self.notify else { return };
        if !is_ready {
            return notify.pass_on();
        }
        if let (Some(length), Stage::Stopping { kill_at }) = (notify.hear(), &mut self.stage) {
            *kill_at = (*kill_at).max(clock::now() + length);
        }
    }

    /// Acts on the supervisor's signals.
    fn obey(&mut self) {
        if self.signals.kill.swap(false, Ordering::Relaxed) {
            self.asked |= self.ended.is_none();
            self.sweep();
        }
        if self.signals.terminate.swap(false, Ordering::Relaxed) && matches!(self.stage, Stage::Running) {
            self.asked |= self.ended.is_none();
            sweep::signal_group(self.pid, self.orders.stop_signal);
            self.stage = Stage::Stopping {
                kill_at: clock::now() + self.orders.grace,
            };
        }
    }

    /// Kills everything and gives it a while to be gone.
    fn sweep(&mut self) {
        if self.ended.is_none() {
            sweep::signal_group(self.pid, rustix::process::Signal::KILL.as_raw());
        }
        self.kill_leaf();
        sweep::kill_descendants();
        if !matches!(self.stage, Stage::Outlived) {
            self.stage = Stage::Sweeping {
                until: clock::now() + SWEEP_TIME_MAX,
            };
        }
    }

    /// Hits all of the run at one blow, whoever is just forking as well.
    fn kill_leaf(&self) {
        if let Some(dir) = &self.orders.leaf {
            leaf::kill(dir);
        }
    }

    /// Whether the kernel has killed the bot for want of memory; an end that was asked for was not that.
    fn want(&self, status: WaitStatus) -> Want {
        let is_killed = status.terminating_signal() == Some(rustix::process::Signal::KILL.as_raw());
        if is_killed && !self.asked {
            limits::judge(self.orders.leaf.as_deref(), self.orders.host_oom_kills)
        } else {
            Want::None
        }
    }

    /// Reaps whoever has ended; says whether any descendant is left.
    fn reap(&mut self) -> bool {
        loop {
            match sweep::reap() {
                Children::Ended(reaped) if reaped.pid == self.pid => {
                    self.ended = Some((reaped.status, clock::stamp()));
                }
                Children::Ended(_) => {}
                Children::Living => return true,
                Children::None => return false,
            }
        }
    }

    /// Moves on when the bot has ended or a deadline has come.
    fn advance(&mut self, children_left: bool) {
        let now = clock::now();
        match self.stage {
            // Nobody asked for this end: what the bot left behind has nothing to wait for.
            Stage::Running if self.ended.is_some() && children_left => self.sweep(),
            Stage::Stopping { kill_at } if kill_at <= now => self.sweep(),
            Stage::Sweeping { until } => {
                // Whoever was forked between the look and the blow is found on the next look.
                let living = sweep::kill_descendants();
                if until <= now && !living.is_empty() && self.ended.is_some() {
                    self.finish(living);
                    self.stage = Stage::Outlived;
                }
            }
            Stage::Outlived => {
                sweep::kill_descendants();
            }
            Stage::Running | Stage::Stopping { .. } => {}
        }
    }

    /// Whoever is still in the group came from outside, and is ended as well.
    fn clear_leaf(&self) {
        if let Some(dir) = &self.orders.leaf
            && leaf::remove(dir).is_err()
        {
            // One that stays keeps the group; the next shim looks at it again.
            let _ = leaf::clear(dir, SWEEP_TIME_MAX);
        }
    }

    /// Writes out what the bot said last and records its end.
    fn finish(&mut self, survivors: Vec<u32>) {
        self.capture.finish();
        if let Some(notify) = &mut self.notify {
            notify.finish();
        }
        let Some((status, at)) = self.ended else { return };
        let want = self.want(status);
        let record = ExitRecord {
            v: RECORD_VERSION,
            run_id: self.orders.run_id.clone(),
            code: status.exit_status(),
            signal: status.terminating_signal(),
            core: status.as_raw() & 0x80 != 0 && status.signaled(),
            spawn_failed: None,
            at: at.unix_ms(),
            survivors,
            asked: self.asked,
            oom: want == Want::Counted,
            memory_max: self.orders.memory_max,
            oom_suspected: want == Want::Suspected,
        };
        if let Err(error) = write_exit(&self.orders.run_dir, &record) {
            self.capture
                .say(&format!("the end of this run is not recorded: {error}"));
        }
    }
}

struct Readable {
    signals: bool,
    out: bool,
    err: bool,
    notify: bool,
}
