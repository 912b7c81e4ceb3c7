//! Telegram: one thread polls, a few send, and the bot hears of both as news.
//!
//! Invariants: the next poll confirms only what the bot has stored; of one chat one call is under way; what is
//! restarted leaves its old connection behind, whose answers count no more.

mod calls;
mod classes;
mod poller;
mod sender;
mod split;
mod updates;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::{News, Outcome, Outgoing, PlainTexts, Platform, Ticket};
use crate::clock;
use crate::model::bot::Secret;
use crate::platform::telegram::Client;
use crate::run::brief::Brief;
use crate::runner::arrival::File;
use crate::runner::lanes::{Lanes, Pace};
use crate::spool::Waker;

use calls::Call;

/// Calls under way at once: more chats than these wait for each other.
const SENDERS: usize = 4;
/// What the Bot API takes from one bot, https://core.telegram.org/bots/faq#my-bot-is-hitting-limits: about 30 messages a
/// second, ...
const PACE_OF_ALL: Pace = Pace {
    interval: Duration::from_millis(40),
    burst: 5,
};
/// ... one a second in a chat, with short bursts, ...
const PACE_OF_CHAT: Pace = Pace {
    interval: Duration::from_secs(1),
    burst: 5,
};
/// ... and 20 a minute in a group.
const PACE_OF_GROUP: Pace = Pace {
    interval: Duration::from_secs(4),
    burst: 5,
};
const PACE_OF_FILES: Pace = Pace {
    interval: Duration::ZERO,
    burst: 1,
};

pub(super) struct Telegram {
    shared: Arc<Shared>,
    news: Receiver<News>,
    senders: Vec<thread::JoinHandle<()>>,
}

/// What the threads and the bot have in common.
struct Shared {
    api_root: String,
    parse_mode: Option<String>,
    poll_timeout: Duration,
    file_bytes_max: u64,
    state: Mutex<State>,
    changed: Condvar,
    waker: Waker,
}

struct State {
    connection: Connection,
    line: Line,
    lanes: Lanes<Job>,
    news: Sender<News>,
}

/// What messages go out by.
enum Line {
    Unopened,
    Open(Client),
    /// The bot is gone.
    Closed,
}

/// The number of a connection; every change of it ends what went by the old one.
type Connection = u64;

enum Job {
    Send {
        ticket: Ticket,
        calls: VecDeque<Call>,
        sent: Vec<String>,
    },
    Fetch {
        ticket: Ticket,
        file: File,
        into: PathBuf,
    },
}

impl Telegram {
    pub(super) fn new(brief: &Brief, waker: Waker) -> Telegram {
        let (sender, news) = mpsc::channel();
        let state = State {
            connection: 0,
            line: Line::Unopened,
            lanes: Lanes::new(PACE_OF_ALL),
            news: sender,
        };
        let shared = Arc::new(Shared {
            api_root: brief.telegram.api_root.clone(),
            parse_mode: brief.telegram.parse_mode.clone(),
            poll_timeout: brief.telegram.poll_timeout,
            file_bytes_max: brief.media_max_file,
            state: Mutex::new(state),
            changed: Condvar::new(),
            waker,
        });
        Telegram {
            shared,
            news,
            senders: Vec::new(),
        }
    }

    fn begin_sending(&mut self) -> std::io::Result<()> {
        while self.senders.len() < SENDERS {
            let shared = Arc::clone(&self.shared);
            let name = format!("sender {}", self.senders.len() + 1);
            let sender = thread::Builder::new().name(name).spawn(move || sender::run(&shared))?;
            self.senders.push(sender);
        }
        Ok(())
    }

    fn begin_polling(&self, client: Client, connection: Connection) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        thread::Builder::new()
            .name("poller".to_owned())
            .spawn(move || poller::run(&shared, &client, connection))?;
        Ok(())
    }
}

impl Platform for Telegram {
    fn word(&self) -> &'static str {
        "telegram"
    }

    fn plain_texts(&self) -> PlainTexts {
        PlainTexts::AreLeft
    }

    fn connect(&mut self, token: Option<&Secret>) {
        let Some(token) = token else {
            let why = "it has no token: set one with multibot bot rotate-token".to_owned();
            return self.shared.tell(News::Unauthorized { why });
        };
        let client = Client::new(&self.shared.api_root, token);
        let connection = self.shared.renew(Line::Open(client.clone()));
        let begun = self
            .begin_sending()
            .and_then(|()| self.begin_polling(client, connection));
        if let Err(error) = begun {
            let why = format!("cannot start a thread: {error}");
            self.shared.tell(News::Unreachable { why });
        }
    }

    fn leave(&mut self) {
        let mut state = self.shared.state();
        state.connection += 1;
        drop(state);
        self.shared.changed.notify_all();
    }

    fn send(&mut self, ticket: Ticket, outgoing: Outgoing) {
        let Some(chat) = outgoing.chat.clone() else {
            let why = "a bot of telegram has many chats: name one".to_owned();
            let class = super::Class::BadRequest;
            let outcome = Outcome::Refused { class, why };
            return self.shared.tell(News::Settled { ticket, outcome });
        };
        let pace = if chat.starts_with(['-', '@']) {
            PACE_OF_GROUP
        } else {
            PACE_OF_CHAT
        };
        let calls = calls::calls(&chat, outgoing, self.shared.parse_mode.as_deref());
        let sent = Vec::new();
        self.shared
            .state()
            .lanes
            .push(&chat, pace, Job::Send { ticket, calls, sent });
        self.shared.changed.notify_one();
    }

    fn fetch(&mut self, ticket: Ticket, file: &File, into: PathBuf) {
        let file = file.clone();
        // Beside the chats: a large file holds up no message.
        let job = Job::Fetch { ticket, file, into };
        self.shared
            .state()
            .lanes
            .push(&format!("file {ticket}"), PACE_OF_FILES, job);
        self.shared.changed.notify_one();
    }

    fn news(&mut self) -> Option<News> {
        self.news.try_recv().ok()
    }
}

impl Drop for Telegram {
    fn drop(&mut self) {
        self.shared.renew(Line::Closed);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection; another one has this line.
    fn renew(&self, line: Line) -> Connection {
        let mut state = self.state();
        state.connection += 1;
        state.line = line;
        state.lanes.reachable();
        let connection = state.connection;
        drop(state);
        self.changed.notify_all();
        connection
    }

    fn tell(&self, news: News) {
        // Nobody listens any more when the bot has ended.
        let _ = self.state().news.send(news);
        self.waker.wake();
    }

    /// Waits so long, or until the connection is not this one any more; whether it still is.
    fn stay(&self, connection: Connection, length: Duration) -> bool {
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
}
