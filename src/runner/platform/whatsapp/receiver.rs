//! Answers the webhooks of one phone number.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use super::{Hub, Job, messages};
use crate::model::bot::Secret;
use crate::platform::listener::{Reply, Request};
use crate::platform::whatsapp::{Client, Notice, is_signed, notices};
use crate::runner::arrival::{Arrival, File, Message, What};
use crate::runner::platform::{News, Receipt};

/// How long the bot may take to store what has come; the platform tells it again.
const STORE_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) struct Receiver {
    pub(super) app_secret: Secret,
    pub(super) verify_token: Secret,
    pub(super) phone_id: String,
    pub(super) hub: Arc<Hub<Client, Job>>,
}

impl Receiver {
    pub(super) fn answer(&self, request: &Request) -> Reply {
        match request.method.as_str() {
            "GET" => self.verify(request),
            "POST" => self.take(request),
            _ => Reply::new(405, "GET verifies, POST tells"),
        }
    }

    /// The platform asks once whether this is the right place.
    fn verify(&self, request: &Request) -> Reply {
        let asked = |name: &str| request.query.get(name).map_or("", String::as_str);
        let is_right = asked("hub.mode") == "subscribe" && asked("hub.verify_token") == self.verify_token.reveal();
        if is_right {
            Reply::new(200, asked("hub.challenge"))
        } else {
            Reply::new(403, "not the verify_token of this bot")
        }
    }

    fn take(&self, request: &Request) -> Reply {
        let signature = request.headers.get("x-hub-signature-256").map_or("", String::as_str);
        if !is_signed(&self.app_secret, &request.body, signature) {
            return Reply::new(403, "not signed with the app_secret of this bot");
        }
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return Reply::new(400, "not JSON");
        };
        let arrivals: Vec<Arrival> = notices(&body, &self.phone_id).into_iter().map(arrival).collect();
        if arrivals.is_empty() || self.is_stored(arrivals) {
            Reply::new(200, "")
        } else {
            Reply::new(503, "not stored: tell it again")
        }
    }

    fn is_stored(&self, arrivals: Vec<Arrival>) -> bool {
        let (sender, answer) = mpsc::sync_channel(1);
        let receipt = Receipt(sender);
        self.hub.tell(News::Arrived { arrivals, receipt });
        answer.recv_timeout(STORE_TIMEOUT).unwrap_or(false)
    }
}

fn arrival(notice: Notice) -> Arrival {
    match notice {
        Notice::Message(message) => Arrival {
            id: message.id.clone(),
            chat: message.from.clone(),
            what: What::Message(Message {
                message: Some(message.id),
                user: Some(message.from),
                // Not unique, so nobody can be called by it.
                username: None,
                text: message.text,
                is_group: false,
                file: message.media.map(|(id, _, name)| File { id, name, bytes: None }),
            }),
        },
        Notice::Undelivered {
            id,
            recipient,
            code,
            text,
        } => Arrival {
            id: format!("failed {id}"),
            chat: recipient,
            what: What::Undelivered {
                class: messages::class(code).word().to_owned(),
                text: format!("{code}: {text}"),
            },
        },
    }
}
