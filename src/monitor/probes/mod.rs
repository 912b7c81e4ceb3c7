//! Asks bots from outside: by a program, over HTTP, by a connection.
//!
//! One thread keeps the schedule and sleeps until the next probe is due. Every question has a thread of its own
//! as long as it lasts: a probe that hangs costs that one its timeout, and nobody else. Only where more questions
//! hang than there may be threads do others wait, in a fair order, and that is told. One probe never overlaps
//! itself. Whoever is asked no more is not answered for either: a program that asks is
//! ended with all that it started.

mod address;
mod exec;
mod http;
mod questions;
mod schedule;
mod turns;

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::model::bot::{BotId, RunId};
use crate::model::limits::LATE_WAKE;
use crate::model::probe::{Answer, Check, Probe, TcpCheck};
use crate::model::units::{Moment, show_duration};

use exec::Cancel;
use questions::Questions;
use schedule::{Key, Schedule};
use turns::{Speed, Turns};

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
    late: Arc<AtomicUsize>,
}

enum Order {
    Watch(BotId, Option<Target>),
    Asked(Asked),
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

/// A question is over.
struct Asked {
    key: Key,
    run: RunId,
    is_program: bool,
    took: Duration,
}

/// One question, waiting or under way.
struct Task {
    key: Key,
    probe: Arc<Probe>,
    subject: Arc<Subject>,
}

/// What the supervisor waits for the ends of programs that ask, when it ends itself.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// A request needs a tenth of that, with encryption a third.
const STACK_BYTES: usize = 256 * 1024;
/// While questions wait for a thread, it is looked again so often whether there is one.
const RETRY_PERIOD: Duration = Duration::from_secs(1);

impl Prober {
    /// `tell` is called from the threads that ask.
    pub fn new(tell: impl Fn(Finding) + Send + Sync + 'static) -> Prober {
        Prober {
            tell: Arc::new(tell),
            orders: Mutex::new(None),
            late: Arc::default(),
        }
    }

    /// How many probes are due and wait because too many others have not answered.
    pub fn late(&self) -> usize {
        self.late.load(Ordering::Relaxed)
    }

    /// Has a bot asked, from now on by these probes; None: not any more. Errors where no thread can be started.
    pub fn watch(&self, bot: BotId, target: Option<Target>) -> io::Result<()> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.is_none() {
            if target.is_none() {
                return Ok(());
            }
            let (sender, queue) = channel();
            let keeper = Keeper::new(Arc::clone(&self.tell), sender.clone(), Arc::clone(&self.late));
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
    turns: Turns<Task>,
    /// Questions under way that have a program run.
    programs: usize,
    questions: Arc<Questions>,
    /// How many questions wait too long, for others to read.
    late: Arc<AtomicUsize>,
    closing: Option<Sender<()>>,
}

impl Keeper {
    fn new(tell: Arc<dyn Fn(Finding) + Send + Sync>, orders: Sender<Order>, late: Arc<AtomicUsize>) -> Keeper {
        Keeper {
            tell,
            orders,
            schedule: Schedule::default(),
            subjects: HashMap::new(),
            turns: Turns::new(),
            programs: 0,
            questions: Arc::default(),
            late,
            closing: None,
        }
    }

    fn run(mut self, queue: &Receiver<Order>) {
        loop {
            let due = self.schedule.next_due();
            let retry = self.turns.is_waiting().then(|| clock::now() + RETRY_PERIOD);
            let news = match due.into_iter().chain(retry).min() {
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
                Err(RecvTimeoutError::Timeout) => self.take_due(now),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.ask_waiting(now);
            self.count_late(now);
            if self.programs == 0
                && let Some(done) = self.closing.take()
            {
                self.questions.sweep();
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
                    self.turns.retain(|task| task.key.bot != bot);
                    if !subject.env.is_empty() {
                        self.start_sweep();
                    }
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
            Order::Asked(asked) => {
                self.turns.ended(&asked.key.bot);
                self.programs -= usize::from(asked.is_program);
                self.schedule.asked(&asked.key, &asked.run, Speed::of(asked.took), now);
            }
            Order::Close(done) => {
                self.schedule = Schedule::default();
                self.turns.retain(|_| false);
                self.subjects.values().for_each(|subject| subject.cancel.call());
                self.closing = Some(done);
            }
        }
    }

    fn take_due(&mut self, now: Moment) {
        for (key, probe, speed) in self.schedule.take_due(now) {
            let Some(subject) = self.subjects.get(&key.bot) else {
                continue;
            };
            let (bot, subject) = (key.bot.clone(), Arc::clone(subject));
            self.turns.add(bot, speed, Task { key, probe, subject }, now);
        }
    }

    /// Starts a thread for every question whose turn it is.
    fn ask_waiting(&mut self, now: Moment) {
        while let Some(task) = self.turns.next() {
            let (key, probe, subject) = (task.key.clone(), Arc::clone(&task.probe), Arc::clone(&task.subject));
            let started = self.start_asker(task);
            if let Err(error) = started {
                tracing::warn!("cannot start a thread for probes: {error}");
                self.turns.ended(&key.bot);
                let bot = key.bot.clone();
                self.turns.add(bot, Speed::Slow, Task { key, probe, subject }, now);
                return;
            }
            self.programs += usize::from(is_program(&probe));
        }
    }

    fn count_late(&self, now: Moment) {
        let late = self.turns.late(now);
        if self.late.swap(late, Ordering::Relaxed) == 0 && late > 0 {
            tracing::warn!("{late} probes are asked late: too many others do not answer");
        }
    }

    /// Ends what programs have left; whoever still asks for this bot sweeps when it has ended.
    fn start_sweep(&self) {
        let questions = Arc::clone(&self.questions);
        let sweep = std::thread::Builder::new()
            .name("prober".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || questions.sweep());
        if let Err(error) = sweep {
            tracing::warn!("cannot start a thread for probes: {error}");
        }
    }

    fn start_asker(&self, task: Task) -> io::Result<()> {
        let (orders, tell, questions) = (self.orders.clone(), Arc::clone(&self.tell), Arc::clone(&self.questions));
        let ask_once = move || {
            let began_at = clock::now();
            let answer = ask(&task.probe, &task.subject, &questions);
            let took = clock::now().since(began_at);
            if let Some(answer) = answer {
                tell(Finding {
                    bot: task.key.bot.clone(),
                    run: task.subject.run.clone(),
                    probe: task.key.probe.clone(),
                    answer,
                });
            }
            // Nobody keeps a schedule any more once this fails.
            let _ = orders.send(Order::Asked(Asked {
                run: task.subject.run.clone(),
                is_program: is_program(&task.probe),
                took,
                key: task.key,
            }));
        };
        std::thread::Builder::new()
            .name("prober".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(ask_once)
            .map(|_| ())
    }
}

fn is_program(probe: &Probe) -> bool {
    matches!(probe.check, Check::Exec(_))
}

/// One answer; None where nobody wants to know any more.
fn ask(probe: &Probe, subject: &Subject, questions: &Questions) -> Option<Answer> {
    match &probe.check {
        Check::Exec(argv) => {
            // No other question, of any supervisor, has this name.
            let question = format!("{}-{}", probe.name, crate::spool::new_id(clock::stamp()));
            let (env, cancel) = (&subject.env, &subject.cancel);
            let answer = exec::ask(argv, env, &subject.cwd, probe.timeout, cancel, &question);
            questions.ended(question);
            if answer.is_none() {
                questions.sweep();
            }
            answer
        }
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
