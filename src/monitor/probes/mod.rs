//! Asks bots from outside: by a program, over HTTP, by a connection.
//!
//! One thread keeps the schedule and sleeps until the next probe is due. Those who ask are a few threads
//! more, made when they are needed: a probe that hangs costs one of them its timeout, and nobody else. One
//! probe never overlaps itself. Whoever is asked no more is not answered for either: a program that asks is
//! ended with all that it started.

mod address;
mod exec;
mod http;
mod schedule;

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::model::bot::{BotId, RunId};
use crate::model::limits::{LATE_WAKE, PROBERS_MAX};
use crate::model::probe::{Answer, Check, Probe, TcpCheck};
use crate::model::units::{Moment, show_duration};

use exec::Cancel;
use schedule::{Key, Schedule};

/// The probes of one run.
pub struct Target {
    pub run: RunId,
    pub began_at: Moment,
    pub probes: Vec<Probe>,
    /// What a program that asks is started with.
    pub env: Vec<(String, String)>,
    pub cwd: PathBuf,
}

/// What came of asking once.
#[derive(Debug)]
pub struct Finding {
    pub bot: BotId,
    pub run: RunId,
    pub probe: String,
    pub answer: Answer,
}

/// Asks as long as it is told whom. Starts its threads with the first bot that has a probe.
pub struct Prober {
    tell: Arc<dyn Fn(Finding) + Send + Sync>,
    orders: Mutex<Option<Sender<Order>>>,
}

enum Order {
    Watch(BotId, Option<Target>),
    Asked {
        key: Key,
        run: RunId,
        is_program: bool,
    },
    /// End the programs that are under way, and say when they are gone.
    Close(Sender<()>),
}

/// What a run is asked with.
struct Subject {
    run: RunId,
    env: Vec<(String, String)>,
    cwd: PathBuf,
    cancel: Arc<Cancel>,
}

/// One question on its way.
struct Task {
    key: Key,
    probe: Arc<Probe>,
    subject: Arc<Subject>,
}

/// What the supervisor waits for the ends of programs that ask, when it ends itself.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// A request needs little; eight times that is plenty.
const STACK_BYTES: usize = 512 * 1024;

impl Prober {
    /// `tell` is called from the threads that ask.
    pub fn new(tell: impl Fn(Finding) + Send + Sync + 'static) -> Prober {
        Prober {
            tell: Arc::new(tell),
            orders: Mutex::new(None),
        }
    }

    /// Has a bot asked, from now on by these probes; None: not any more. Errors where no thread can be started.
    pub fn watch(&self, bot: BotId, target: Option<Target>) -> io::Result<()> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.is_none() {
            if target.is_none() {
                return Ok(());
            }
            let (sender, queue) = channel();
            let keeper = Keeper::new(Arc::clone(&self.tell), sender.clone());
            std::thread::Builder::new()
                .name("probes".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || keeper.run(&queue))?;
            *orders = Some(sender);
        }
        if let Some(sender) = orders.as_ref() {
            // A thread that has ended asks nobody any more; the bots' probes stay unknown.
            let _ = sender.send(Order::Watch(bot, target));
        }
        Ok(())
    }

    /// Ends what is under way and waits for that, a moment at most.
    pub fn close(&self) {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (done, closed) = channel();
        if let Some(sender) = orders
            && sender.send(Order::Close(done)).is_ok()
        {
            let _ = closed.recv_timeout(CLOSE_TIME_MAX);
        }
    }
}

/// The thread that keeps the schedule.
struct Keeper {
    tell: Arc<dyn Fn(Finding) + Send + Sync>,
    orders: Sender<Order>,
    schedule: Schedule,
    subjects: HashMap<BotId, Arc<Subject>>,
    tasks: Sender<Task>,
    /// Shared by all who ask: who is free takes the next.
    waiting: Arc<Mutex<Receiver<Task>>>,
    askers: usize,
    /// Questions that are on their way.
    asking: usize,
    /// Those of them that have a program run.
    programs: usize,
    closing: Option<Sender<()>>,
}

impl Keeper {
    fn new(tell: Arc<dyn Fn(Finding) + Send + Sync>, orders: Sender<Order>) -> Keeper {
        let (tasks, waiting) = channel();
        Keeper {
            tell,
            orders,
            schedule: Schedule::default(),
            subjects: HashMap::new(),
            tasks,
            waiting: Arc::new(Mutex::new(waiting)),
            askers: 0,
            asking: 0,
            programs: 0,
            closing: None,
        }
    }

    fn run(mut self, queue: &Receiver<Order>) {
        loop {
            let due = self.schedule.next_due();
            let news = match due {
                Some(at) => queue.recv_timeout(at.since(clock::now())),
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let now = clock::now();
            match news {
                Ok(order) => self.obey(order, now),
                Err(RecvTimeoutError::Timeout) if due.is_some_and(|at| now.since(at) > LATE_WAKE) => {
                    // The machine has slept, and so have the bots.
                    self.schedule.postpone(now);
                }
                Err(RecvTimeoutError::Timeout) => self.ask_due(now),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.programs == 0
                && let Some(done) = self.closing.take()
            {
                let _ = done.send(());
                return;
            }
        }
    }

    fn obey(&mut self, order: Order, now: Moment) {
        match order {
            Order::Watch(bot, target) => {
                let before = self.subjects.remove(&bot);
                let goes_on = |subject: &Arc<Subject>| target.as_ref().is_some_and(|it| it.run == subject.run);
                let (same, other) = (before.as_ref().filter(|it| goes_on(it)), before.as_ref());
                if let (None, Some(subject)) = (same, other) {
                    subject.cancel.call();
                }
                // What is under way for this run can still be called back.
                let cancel = same.map_or_else(|| Arc::new(Cancel::new()), |subject| Arc::clone(&subject.cancel));
                let Some(target) = target else {
                    return self.schedule.forget(&bot);
                };
                self.schedule
                    .watch(&bot, &target.run, &target.probes, target.began_at, now);
                let subject = Subject {
                    run: target.run,
                    env: target.env,
                    cwd: target.cwd,
                    cancel,
                };
                self.subjects.insert(bot, Arc::new(subject));
            }
            Order::Asked { key, run, is_program } => {
                self.asking -= 1;
                self.programs -= usize::from(is_program);
                self.schedule.asked(&key, &run, now);
            }
            Order::Close(done) => {
                self.schedule = Schedule::default();
                self.subjects.values().for_each(|subject| subject.cancel.call());
                self.closing = Some(done);
            }
        }
    }

    fn ask_due(&mut self, now: Moment) {
        for (key, probe) in self.schedule.take_due(now) {
            let Some(subject) = self.subjects.get(&key.bot) else {
                continue;
            };
            let subject = Arc::clone(subject);
            self.asking += 1;
            self.programs += usize::from(is_program(&probe));
            if self.asking > self.askers && self.askers < PROBERS_MAX {
                match self.start_asker() {
                    Ok(()) => self.askers += 1,
                    Err(error) => tracing::warn!("cannot start a thread for probes: {error}"),
                }
            }
            // Whoever takes it lives as long as this thread.
            let _ = self.tasks.send(Task { key, probe, subject });
        }
    }

    fn start_asker(&self) -> io::Result<()> {
        let (waiting, orders, tell) = (Arc::clone(&self.waiting), self.orders.clone(), Arc::clone(&self.tell));
        let ask_on = move || {
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(task) = next else { return };
                if let Some(answer) = ask(&task.probe, &task.subject) {
                    tell(Finding {
                        bot: task.key.bot.clone(),
                        run: task.subject.run.clone(),
                        probe: task.key.probe.clone(),
                        answer,
                    });
                }
                let asked = Order::Asked {
                    run: task.subject.run.clone(),
                    is_program: is_program(&task.probe),
                    key: task.key,
                };
                if orders.send(asked).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("prober".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(ask_on)
            .map(|_| ())
    }
}

fn is_program(probe: &Probe) -> bool {
    matches!(probe.check, Check::Exec(_))
}

/// One answer; None where nobody wants to know any more.
fn ask(probe: &Probe, subject: &Subject) -> Option<Answer> {
    match &probe.check {
        Check::Exec(argv) => exec::ask(argv, &subject.env, &subject.cwd, probe.timeout, &subject.cancel),
        Check::Http(check) => Some(http::ask(check, probe.timeout)),
        Check::Tcp(check) => Some(connect(check, probe.timeout)),
        // The supervisor sees itself whether these are well.
        Check::Heartbeat { .. } | Check::StatusRequest | Check::Log(_) | Check::Backlog(_) => None,
    }
}

fn connect(check: &TcpCheck, timeout: Duration) -> Answer {
    let shown = if check.host.contains(':') {
        format!("[{}]:{}", check.host, check.port)
    } else {
        format!("{}:{}", check.host, check.port)
    };
    let found = match address::find(&check.host, check.port) {
        Ok(found) => found,
        Err(why) => return Answer::failure(why),
    };
    let until = clock::now() + timeout;
    let mut why = String::new();
    for address in found {
        let left = until.since(clock::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(_) => return Answer::success(format!("connected to {shown}")),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
            Err(error) => why = words(&error),
        }
    }
    if why.is_empty() {
        why = format!("no connection within {}", show_duration(timeout));
    }
    Answer::failure(format!("cannot connect to {shown}: {why}"))
}

/// An operating error without its number, which says nothing more to people.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
