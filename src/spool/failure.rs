//! A negative answer: the error by which a consumer gives a message back. Pure.
//!
//! Its payload is `{"message":text,"retry_after":seconds?,"permanent":true?,"behind":true?}`; unknown fields and
//! fields of a wrong type count as missing, since a bot that answers badly has still answered.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::model::message::{Envelope, Kind};
use crate::model::units::Stamp;

/// Why a message was not handled, and what is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    pub then: Then,
}

/// What a consumer asks for with its negative answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Again after a while; it counts as an attempt.
    Retry,
    /// Again after this time; it does not count as an attempt.
    RetryAfter(Duration),
    /// Never again.
    Bury,
    /// Again after what it must not overtake; it does not count as an attempt.
    WaitBehind,
}

/// The longest wait that a bot may ask for: what lies longer has been forgotten.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

impl Failure {
    pub fn new(message: impl Into<String>, then: Then) -> Failure {
        Failure {
            message: message.into(),
            then,
        }
    }

    /// What the payload of an error says.
    pub fn read(payload: &Value) -> Failure {
        let message = payload["message"].as_str().unwrap_or("no reason given").to_owned();
        let seconds = payload["retry_after"].as_f64().filter(|seconds| *seconds >= 0.0);
        let wait = seconds.map(|seconds| {
            let length = Duration::try_from_secs_f64(seconds).unwrap_or(RETRY_AFTER_MAX);
            length.min(RETRY_AFTER_MAX)
        });
        let then = match wait {
            _ if payload["permanent"] == true => Then::Bury,
            Some(wait) => Then::RetryAfter(wait),
            None if payload["behind"] == true => Then::WaitBehind,
            None => Then::Retry,
        };
        Failure { message, then }
    }

    pub fn payload(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("message".to_owned(), self.message.as_str().into());
        match self.then {
            Then::Retry => None,
            Then::RetryAfter(wait) => fields.insert("retry_after".to_owned(), wait.as_secs_f64().into()),
            Then::Bury => fields.insert("permanent".to_owned(), true.into()),
            Then::WaitBehind => fields.insert("behind".to_owned(), true.into()),
        };
        Value::Object(fields)
    }

    /// The error that gives this command back, signed by the bot that got it.
    pub fn answer(&self, command: &Envelope, bot: &str, id: String, now: Stamp) -> Envelope {
        let mut answer = command.response(id, now).with_payload(self.payload());
        answer.kind = Kind::Error;
        bot.clone_into(&mut answer.from);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_payload_says_what_is_to_become_of_the_message() {
        let after = |ms| Then::RetryAfter(Duration::from_millis(ms));
        for (payload, then) in [
            (json!({"message": "m"}), Then::Retry),
            (json!({"message": "m", "retry_after": 1.5}), after(1500)),
            (json!({"message": "m", "retry_after": 0}), after(0)),
            (json!({"message": "m", "retry_after": -1}), Then::Retry),
            (json!({"message": "m", "retry_after": "soon"}), Then::Retry),
            (
                json!({"message": "m", "retry_after": 1e300}),
                Then::RetryAfter(RETRY_AFTER_MAX),
            ),
            (json!({"message": "m", "retry_after": 5, "permanent": true}), Then::Bury),
            (json!({"message": "m", "permanent": "yes"}), Then::Retry),
            (json!({"message": "m", "behind": true}), Then::WaitBehind),
        ] {
            assert_eq!(Failure::read(&payload), Failure::new("m", then), "{payload}");
        }
        assert_eq!(Failure::read(&json!({"why": 5})).message, "no reason given");
    }

    #[test]
    fn what_is_written_reads_back() {
        for then in [
            Then::Retry,
            Then::Bury,
            Then::WaitBehind,
            Then::RetryAfter(Duration::from_millis(2500)),
        ] {
            let failure = Failure::new("no", then);
            assert_eq!(Failure::read(&failure.payload()), failure);
        }
    }
}
