//! Asks the Bot API for updates, as one connection.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Shared, updates};
use crate::platform::telegram::{Client, Fault};
use crate::runner::platform::hub::Connection;
use crate::runner::platform::{News, Receipt};

/// How long a call may take that does not wait for anything.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// First and longest wait while the Bot API cannot be reached.
const RETRY_DELAY: Duration = Duration::from_millis(500);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(20);
/// What passes before a token is polled again that somebody else polls: two that ask at once end each other.
const CONFLICT_DELAY: Duration = Duration::from_secs(3);
const UPDATES_MAX: u32 = 100;

/// What stands between two calls.
enum Reach {
    /// So many calls in a row came to nothing.
    Lost(u32),
    Found,
}

struct Poller<'a> {
    shared: &'a Arc<Shared>,
    client: &'a Client,
    connection: Connection,
    reach: Reach,
    /// The name of the bot.
    name: Option<String>,
    /// The first update that is not confirmed.
    offset: Option<i64>,
}

/// Polls until the connection is another one, or the token is worth nothing.
pub(super) fn run(shared: &Arc<Shared>, client: &Client, connection: Connection) {
    let mut poller = Poller {
        shared,
        client,
        connection,
        reach: Reach::Lost(0),
        name: None,
        offset: None,
    };
    while poller.is_current() {
        let answer = match poller.name {
            None => poller.ask_name(),
            Some(_) => poller.ask_updates(),
        };
        if !poller.is_current() {
            return;
        }
        let wait = match answer {
            Ok(wait) => wait,
            Err(fault) => match poller.after(fault) {
                Some(wait) => wait,
                None => return,
            },
        };
        if !wait.is_zero() && !shared.hub.stay(connection, wait) {
            return;
        }
    }
}

impl Poller<'_> {
    fn is_current(&self) -> bool {
        self.shared.hub.is_current(self.connection)
    }

    fn ask_name(&mut self) -> Result<Duration, Fault> {
        let me = self.client.call("getMe", &json!({}), CALL_TIMEOUT)?;
        self.name = Some(me["username"].as_str().unwrap_or_default().to_owned());
        self.found();
        Ok(Duration::ZERO)
    }

    fn ask_updates(&mut self) -> Result<Duration, Fault> {
        let timeout = self.shared.poll_timeout;
        let mut parameters = json!({
            "timeout": timeout.as_secs(),
            "limit": UPDATES_MAX,
            "allowed_updates": updates::KINDS,
        });
        if let Some(offset) = self.offset {
            parameters["offset"] = offset.into();
        }
        let answer = self.client.call("getUpdates", &parameters, timeout + CALL_TIMEOUT)?;
        self.found();
        let updates = answer.as_array().map_or(&[][..], Vec::as_slice);
        if updates.is_empty() || !self.is_current() {
            return Ok(Duration::ZERO);
        }
        Ok(if self.hand_over(updates) {
            let last = updates.iter().filter_map(updates::number).max();
            self.offset = last.map(|last| last + 1).or(self.offset);
            Duration::ZERO
        } else {
            RETRY_DELAY
        })
    }

    /// Whether the bot has stored all that these tell.
    fn hand_over(&self, updates: &[Value]) -> bool {
        let arrivals: Vec<_> = updates.iter().filter_map(updates::arrival).collect();
        if arrivals.is_empty() {
            return true;
        }
        let (receipt, answer) = mpsc::sync_channel(1);
        let receipt = Receipt(receipt);
        self.shared.hub.tell(News::Arrived { arrivals, receipt });
        answer.recv().unwrap_or(false)
    }

    fn found(&mut self) {
        if let Reach::Lost(_) = self.reach {
            self.reach = Reach::Found;
            self.shared.hub.reached();
            let name = self.name.clone().filter(|name| !name.is_empty());
            self.shared.hub.tell(News::Connected { name });
        }
    }

    /// How long to wait after a fault; None when there is nothing to wait for.
    fn after(&mut self, fault: Fault) -> Option<Duration> {
        let why = fault.to_string();
        match fault {
            Fault::Unauthorized(why) => {
                self.shared.hub.tell(News::Unauthorized { why });
                return None;
            }
            Fault::Conflict(why) => {
                self.shared.hub.tell(News::Conflict { why });
                return Some(CONFLICT_DELAY);
            }
            Fault::Wait { after, .. } => return Some(after),
            Fault::Refused { .. } | Fault::Unreachable(_) => {}
        }
        let failures = match self.reach {
            Reach::Lost(failures) => failures,
            Reach::Found => 0,
        };
        if failures == 0 {
            self.shared.hub.tell(News::Unreachable { why });
        }
        self.reach = Reach::Lost(failures.saturating_add(1));
        let delay = RETRY_DELAY * 2u32.saturating_pow(failures.min(16));
        Some(delay.min(RETRY_DELAY_MAX))
    }
}
