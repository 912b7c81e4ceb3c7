//! What the threads of a platform and its bot have in common: the line to the other side, the jobs that wait for it, and
//! the news.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::{News, Outcome, Ticket};
use crate::clock;
use crate::model::units::Moment;
use crate::runner::lanes::{Lanes, Next, Pace};
use crate::spool::Waker;

/// The number of a connection; every change of it ends what went by the old one.
pub(super) type Connection = u64;

/// `C` is the client of the platform, `J` a job for one of its senders.
pub(super) struct Hub<C, J> {
    state: Mutex<State<C, J>>,
    changed: Condvar,
    waker: Waker,
}

struct State<C, J> {
    connection: Connection,
    line: Line<C>,
    lanes: Lanes<J>,
    news: Sender<News>,
}

/// What messages go out by.
pub(super) enum Line<C> {
    Unopened,
    Open(C),
    /// The bot is gone.
    Closed,
}

impl<C: Clone + Send + 'static, J: Send + 'static> Hub<C, J> {
    /// All jobs together keep this pace.
    pub(super) fn new(pace: Pace, waker: Waker) -> (Hub<C, J>, Receiver<News>) {
        let (sender, news) = mpsc::channel();
        let state = State {
            connection: 0,
            line: Line::Unopened,
            lanes: Lanes::new(pace),
            news: sender,
        };
        let hub = Hub {
            state: Mutex::new(state),
            changed: Condvar::new(),
            waker,
        };
        (hub, news)
    }

    fn state(&self) -> MutexGuard<'_, State<C, J>> {
        // Every change under the lock is whole by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection; another one has this line.
    pub(super) fn renew(&self, line: Line<C>) -> Connection {
        let mut state = self.state();
        state.connection += 1;
        state.line = line;
        state.lanes.reachable();
        let connection = state.connection;
        drop(state);
        self.changed.notify_all();
        connection
    }

    /// Ends the connection; what is to be sent goes on by its line.
    pub(super) fn leave(&self) {
        self.state().connection += 1;
        self.changed.notify_all();
    }

    pub(super) fn is_current(&self, connection: Connection) -> bool {
        self.state().connection == connection
    }

    /// Waits so long, or until the connection is not this one any more; whether it still is.
    pub(super) fn stay(&self, connection: Connection, length: Duration) -> bool {
        let until = clock::now() + length;
        let mut state = self.state();
        loop {
            let left = until.since(clock::now());
            if state.connection != connection || left.is_zero() {
                return state.connection == connection;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    pub(super) fn tell(&self, news: News) {
        // Nobody listens any more when the bot has ended.
        let _ = self.state().news.send(news);
        self.waker.wake();
    }

    /// The other side was heard: what waits for it need not wait.
    pub(super) fn reached(&self) {
        self.state().lanes.reachable();
        self.changed.notify_all();
    }

    pub(super) fn push(&self, lane: &str, pace: Pace, job: J) {
        self.state().lanes.push(lane, pace, job);
        self.changed.notify_one();
    }

    /// Starts threads that carry out jobs until the bot is gone.
    pub(super) fn employ(
        hub: &Arc<Hub<C, J>>,
        count: usize,
        work: impl Fn(&Hub<C, J>, &C, &str, J) + Clone + Send + 'static,
    ) -> io::Result<()> {
        for number in 1..=count {
            let (hub, work) = (Arc::clone(hub), work.clone());
            thread::Builder::new().name(format!("sender {number}")).spawn(move || {
                while let Some((client, lane, job)) = hub.take() {
                    work(&hub, &client, &lane, job);
                }
            })?;
        }
        Ok(())
    }

    /// Waits for the next job; None when the bot is gone.
    fn take(&self) -> Option<(C, String, J)> {
        let mut state = self.state();
        loop {
            let now = clock::now();
            let wait = match &state.line {
                Line::Closed => return None,
                Line::Unopened => None,
                Line::Open(client) => {
                    let client = client.clone();
                    match state.lanes.next(now) {
                        Next::Job(lane, job) => return Some((client, lane, job)),
                        Next::At(then) => Some(then.since(now)),
                        Next::Nothing => None,
                    }
                }
            };
            state = match wait {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => match self.changed.wait_timeout(state, wait) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                },
            };
        }
    }

    /// The job of this lane is over.
    pub(super) fn settle(&self, lane: &str, ticket: Ticket, outcome: Outcome) {
        self.state().lanes.done(lane);
        self.tell(News::Settled { ticket, outcome });
        self.changed.notify_one();
    }

    /// The job was heard, and goes on not before this moment.
    pub(super) fn again(&self, lane: &str, job: J, not_before: Moment) {
        self.state().lanes.again(lane, job, not_before);
        // The others learn that they may have to wait as well.
        self.changed.notify_all();
    }

    /// Nobody heard the job: all wait.
    pub(super) fn unheard(&self, lane: &str, job: J) {
        self.state().lanes.unreachable(lane, job, clock::now());
        self.changed.notify_all();
    }
}
