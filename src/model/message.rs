//! One message of the spool: the envelope. Its bytes on disk are described in `ipc/README.md`.

use super::units::Stamp;

/// The version that this program writes and the newest that it reads.
pub const ENVELOPE_VERSION: u32 = 1;

/// What an envelope is. Commands go to bots, the rest comes from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Command,
    Response,
    Event,
    Heartbeat,
    Error,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Command, Kind::Response, Kind::Event, Kind::Heartbeat, Kind::Error];

    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Command => "command",
            Kind::Response => "response",
            Kind::Event => "event",
            Kind::Heartbeat => "heartbeat",
            Kind::Error => "error",
        }
    }

    pub fn from_word(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// One message. `from` and `to` are a bot's id, `supervisor` or `cli`; `priority` runs from 0 (most
/// urgent) to 9.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    pub id: String,
    pub kind: Kind,
    pub name: String,
    pub from: String,
    pub to: String,
    pub correlation_id: Option<String>,
    pub dedup_key: Option<String>,
    pub order_key: Option<String>,
    pub priority: u8,
    pub created_at: Stamp,
    pub expires_at: Option<Stamp>,
    pub attempt: u32,
    pub max_attempts: u32,
    /// What went wrong with it before, oldest first.
    pub history: Vec<Setback>,
    /// Fields that this version does not know; whoever writes the envelope anew keeps them.
    pub unknown: serde_json::Map<String, serde_json::Value>,
    pub payload: serde_json::Value,
}

/// One delivery that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setback {
    pub at: Stamp,
    pub why: String,
    /// The run that had it, as far as one had.
    pub run: Option<String>,
}

/// Priority of ordinary messages.
pub const PRIORITY_DEFAULT: u8 = 5;
/// Priority of the supervisor's own commands to a bot.
pub const PRIORITY_CONTROL: u8 = 0;
/// Attempts before a message is buried, unless its sender says otherwise.
pub const MAX_ATTEMPTS_DEFAULT: u32 = 5;

impl Envelope {
    /// A first attempt at normal priority with nothing optional set.
    pub fn new(id: String, kind: Kind, name: &str, from: &str, to: &str, now: Stamp) -> Envelope {
        Envelope {
            id,
            kind,
            name: name.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            correlation_id: None,
            dedup_key: None,
            order_key: None,
            priority: PRIORITY_DEFAULT,
            created_at: now,
            expires_at: None,
            attempt: 1,
            max_attempts: MAX_ATTEMPTS_DEFAULT,
            history: Vec::new(),
            unknown: serde_json::Map::new(),
            payload: serde_json::Value::Object(serde_json::Map::new()),
        }
    }

    /// The same envelope with this content.
    pub fn with_payload(mut self, payload: serde_json::Value) -> Envelope {
        self.payload = payload;
        self
    }

    /// Whether this is the supervisor's word to one run: the next one has no use for it.
    pub fn is_for_one_run(&self) -> bool {
        let is_control = matches!(
            self.name.as_str(),
            "shutdown"
                | "status_request"
                | "refresh_admins"
                | "refresh_permissions"
                | "refresh_blocklist"
                | "refresh_credentials"
        );
        self.kind == Kind::Command && self.from == "supervisor" && is_control
    }

    /// An answer to this envelope, from its receiver to its sender.
    pub fn response(&self, id: String, now: Stamp) -> Envelope {
        let mut answer = Envelope::new(id, Kind::Response, &self.name, &self.to, &self.from, now);
        answer.correlation_id = Some(self.id.clone());
        answer.priority = self.priority;
        answer
    }
}
