//! Telegram: one thread polls, a few send, and the bot hears of both as news.
//!
//! Invariants: the next poll confirms only what the bot has stored; of one chat one call is under way; what is
//! restarted leaves its old connection behind, whose answers count no more.

mod calls;
mod classes;
mod poller;
mod sender;
mod updates;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use super::hub::{Connection, Hub, Line};
use super::{Credentials, News, Outcome, Outgoing, PlainTexts, Platform, Ticket};
use crate::platform::telegram::Client;
use crate::run::brief::Brief;
use crate::runner::arrival::File;
use crate::runner::lanes::Pace;
use crate::spool::Waker;

use calls::Call;

/// Calls under way at once: more chats than these wait for each other.
const SENDERS: usize = 4;
/// What the Bot API takes from one bot, <https://core.telegram.org/bots/faq#my-bot-is-hitting-limits>: about 30 messages a
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
    staff: Staff,
}

/// What the threads of one bot know beside each other.
struct Shared {
    api_root: String,
    parse_mode: Option<String>,
    poll_timeout: Duration,
    file_bytes_max: u64,
    hub: Arc<Hub<Client, Job>>,
}

/// Whether there are threads that send.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Staff {
    Missing,
    Employed,
}

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
        let (hub, news) = Hub::new(PACE_OF_ALL, waker);
        let shared = Shared {
            api_root: brief.telegram.api_root.clone(),
            parse_mode: brief.telegram.parse_mode.clone(),
            poll_timeout: brief.telegram.poll_timeout,
            file_bytes_max: brief.media_max_file,
            hub: Arc::new(hub),
        };
        Telegram {
            shared: Arc::new(shared),
            news,
            staff: Staff::Missing,
        }
    }

    fn begin(&mut self, client: Client, connection: Connection) -> std::io::Result<()> {
        if self.staff == Staff::Missing {
            let file_bytes_max = self.shared.file_bytes_max;
            Hub::employ(&self.shared.hub, SENDERS, move |hub, client, lane, job| {
                sender::work(hub, client, lane, job, file_bytes_max);
            })?;
            self.staff = Staff::Employed;
        }
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

    fn connect(&mut self, credentials: &Credentials) {
        let Some(token) = credentials.get("token") else {
            let why = "it has no token: set one with multibot bot rotate-token".to_owned();
            return self.shared.hub.tell(News::Unauthorized { why });
        };
        let client = Client::new(&self.shared.api_root, token);
        let connection = self.shared.hub.renew(Line::Open(client.clone()));
        if let Err(error) = self.begin(client, connection) {
            let why = format!("cannot start a thread: {error}");
            self.shared.hub.tell(News::Unreachable { why });
        }
    }

    fn leave(&mut self) {
        self.shared.hub.leave();
    }

    fn send(&mut self, ticket: Ticket, outgoing: Outgoing) {
        let Some(chat) = outgoing.chat.clone() else {
            let why = "a bot of telegram has many chats: name one".to_owned();
            let class = super::Class::BadRequest;
            let outcome = Outcome::Refused { class, why };
            return self.shared.hub.tell(News::Settled { ticket, outcome });
        };
        let pace = if chat.starts_with(['-', '@']) {
            PACE_OF_GROUP
        } else {
            PACE_OF_CHAT
        };
        let calls = calls::calls(&chat, outgoing, self.shared.parse_mode.as_deref());
        let sent = Vec::new();
        self.shared.hub.push(&chat, pace, Job::Send { ticket, calls, sent });
    }

    fn fetch(&mut self, ticket: Ticket, file: &File, into: PathBuf) {
        let file = file.clone();
        // Beside the chats: a large file holds up no message.
        let job = Job::Fetch { ticket, file, into };
        self.shared.hub.push(&format!("file {ticket}"), PACE_OF_FILES, job);
    }

    fn news(&mut self) -> Option<News> {
        self.news.try_recv().ok()
    }
}

impl Drop for Telegram {
    fn drop(&mut self) {
        self.shared.hub.renew(Line::Closed);
    }
}
