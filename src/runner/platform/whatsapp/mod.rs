//! WhatsApp's Cloud API: webhooks come in by a listener, messages go out by a few senders, and the bot hears of both as
//! news.
//!
//! Invariants: a webhook is answered with 200 only after the bot has stored what it told; to one number one message is
//! under way.

mod messages;
mod receiver;
mod sender;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use super::hub::{Connection, Hub, Line};
use super::{Class, Credentials, News, Outcome, Outgoing, PlainTexts, Platform, Ticket};
use crate::model::whatsapp::WhatsappPolicy;
use crate::platform::listener::Listener;
use crate::platform::whatsapp::{Client, Fault};
use crate::run::brief::Brief;
use crate::runner::arrival::File;
use crate::runner::lanes::Pace;
use crate::spool::Waker;

use messages::Part;

/// Calls under way at once.
const SENDERS: usize = 4;
/// What the Cloud API takes from one number, <https://developers.facebook.com/docs/whatsapp/cloud-api/overview>: 80 messages
/// a second, ...
const PACE_OF_ALL: Pace = Pace {
    interval: Duration::from_millis(20),
    burst: 20,
};
/// ... and one in 6 seconds to one user, with bursts that are paid back.
const PACE_OF_CHAT: Pace = Pace {
    interval: Duration::from_secs(6),
    burst: 20,
};
const PACE_OF_FILES: Pace = Pace {
    interval: Duration::ZERO,
    burst: 1,
};
/// How long the question takes that tries the credentials.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// First and longest wait while the Graph API cannot be reached.
const RETRY_DELAY: Duration = Duration::from_millis(500);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(20);

pub(super) struct Whatsapp {
    policy: WhatsappPolicy,
    file_bytes_max: u64,
    hub: Arc<Hub<Client, Job>>,
    news: Receiver<News>,
    staff: Staff,
    listener: Option<Listener>,
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
        parts: std::collections::VecDeque<Part>,
        sent: Vec<String>,
        /// How often it was told to wait without being told how long.
        waits: u32,
    },
    Fetch {
        ticket: Ticket,
        file: File,
        into: PathBuf,
    },
}

impl Whatsapp {
    pub(super) fn new(brief: &Brief, waker: Waker) -> Whatsapp {
        let (hub, news) = Hub::new(PACE_OF_ALL, waker);
        Whatsapp {
            policy: brief.whatsapp.clone(),
            file_bytes_max: brief.media_max_file,
            hub: Arc::new(hub),
            news,
            staff: Staff::Missing,
            listener: None,
        }
    }

    /// Errors, in one line, with what only an operator can mend.
    fn open(&mut self, credentials: &Credentials) -> Result<(), String> {
        let needed = |field: &'static str| {
            let missing = || format!("it has no {field}: set it with multibot credentials set");
            credentials.get(field).ok_or_else(missing)
        };
        let (token, phone_id) = (needed("token")?, needed("phone_id")?);
        let phone_id = phone_id.reveal().to_owned();
        let client = Client::new(&self.policy.api_root, &self.policy.version, &phone_id, token);
        // The port is free before it is listened at anew.
        self.listener = None;
        let keys = match &self.policy.listen {
            None => None,
            Some(address) => Some((address, needed("app_secret")?.clone(), needed("verify_token")?.clone())),
        };
        let connection = self.hub.renew(Line::Open(client.clone()));
        if let Some((address, app_secret, verify_token)) = keys {
            let receiver = receiver::Receiver {
                app_secret,
                verify_token,
                phone_id,
                hub: Arc::clone(&self.hub),
            };
            match Listener::begin(address, move |request| receiver.answer(request)) {
                Ok(listener) => self.listener = Some(listener),
                Err(error) => self.hub.tell(News::Unreachable {
                    why: format!("cannot listen for webhooks at {address}: {error}"),
                }),
            }
        }
        if let Err(error) = self.employ(client, connection) {
            let why = format!("cannot start a thread: {error}");
            self.hub.tell(News::Unreachable { why });
        }
        Ok(())
    }

    fn employ(&mut self, client: Client, connection: Connection) -> std::io::Result<()> {
        if self.staff == Staff::Missing {
            let max = self.file_bytes_max;
            Hub::employ(&self.hub, SENDERS, move |hub, client, lane, job| {
                sender::work(hub, client, lane, job, max);
            })?;
            self.staff = Staff::Employed;
        }
        // A port that is taken by somebody else stays so until the connection is opened anew.
        if self.policy.listen.is_some() && self.listener.is_none() {
            return Ok(());
        }
        let hub = Arc::clone(&self.hub);
        thread::Builder::new()
            .name("caller".to_owned())
            .spawn(move || call_until_heard(&hub, &client, connection))?;
        Ok(())
    }
}

/// Tries the credentials until there is an answer.
fn call_until_heard(hub: &Hub<Client, Job>, client: &Client, connection: Connection) {
    let mut delay = RETRY_DELAY;
    let mut told = false;
    while hub.is_current(connection) {
        let answer = client.display_number(CALL_TIMEOUT);
        if !hub.is_current(connection) {
            return;
        }
        match answer {
            Ok(_) => {
                hub.reached();
                return hub.tell(News::Connected { name: None });
            }
            Err(Fault::Unauthorized(why)) => return hub.tell(News::Unauthorized { why }),
            Err(Fault::Refused { code, text }) => {
                let why = format!("the phone number is refused: {code}: {text}");
                return hub.tell(News::Unauthorized { why });
            }
            Err(fault @ (Fault::Wait { .. } | Fault::Unreachable(_))) => {
                if !std::mem::replace(&mut told, true) {
                    hub.tell(News::Unreachable { why: fault.to_string() });
                }
            }
        }
        if !hub.stay(connection, delay) {
            return;
        }
        delay = (delay * 2).min(RETRY_DELAY_MAX);
    }
}

impl Platform for Whatsapp {
    fn word(&self) -> &'static str {
        "whatsapp-cloud"
    }

    fn plain_texts(&self) -> PlainTexts {
        PlainTexts::AreLeft
    }

    fn connect(&mut self, credentials: &Credentials) {
        if let Err(why) = self.open(credentials) {
            self.hub.tell(News::Unauthorized { why });
        }
    }

    fn leave(&mut self) {
        self.listener = None;
        self.hub.leave();
    }

    fn send(&mut self, ticket: Ticket, outgoing: Outgoing) {
        let refuse = |why: String| {
            let class = Class::BadRequest;
            let outcome = Outcome::Refused { class, why };
            self.hub.tell(News::Settled { ticket, outcome });
        };
        let Some(chat) = outgoing.chat.clone() else {
            return refuse("a bot of whatsapp has many chats: name one, by its phone number".to_owned());
        };
        match messages::parts(&chat, outgoing) {
            Ok(parts) => {
                let (sent, waits) = (Vec::new(), 0);
                let job = Job::Send {
                    ticket,
                    parts,
                    sent,
                    waits,
                };
                self.hub.push(&chat, PACE_OF_CHAT, job);
            }
            Err(why) => refuse(why),
        }
    }

    fn fetch(&mut self, ticket: Ticket, file: &File, into: PathBuf) {
        let file = file.clone();
        let job = Job::Fetch { ticket, file, into };
        self.hub.push(&format!("file {ticket}"), PACE_OF_FILES, job);
    }

    fn news(&mut self) -> Option<News> {
        self.news.try_recv().ok()
    }
}

impl Drop for Whatsapp {
    fn drop(&mut self) {
        self.hub.renew(Line::Closed);
    }
}
