//! Calls of the Bot API: a method and its parameters out, the result or the kind of refusal back. One call is one
//! request; whoever calls decides whether and when to repeat it.

use std::io::{self, Read, Write};
use std::time::Duration;

use serde_json::Value;

use crate::model::bot::Secret;
use crate::platform::http::{Answer, Http, why};

/// How long the API may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What is waited where a 429 does not say it.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(5);
const REASON_CHARS_MAX: usize = 300;

/// The Bot API for one token.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    /// `<api_root>/bot<token>`, without a slash at the end.
    base: Secret,
    token: Secret,
}

/// Why a call came to nothing; every text is one line without the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// 401, and 404 as the API answers to what cannot be a token: the token is wrong or was revoked.
    #[error("the token is refused: {0}")]
    Unauthorized(String),
    /// 409: another program polls this token, or a webhook is set.
    #[error("another program has this token: {0}")]
    Conflict(String),
    /// 429: nothing more is heard before so much time has passed.
    #[error("too many requests, to be repeated after {} s: {text}", .after.as_secs())]
    Wait { after: Duration, text: String },
    /// The request itself is refused: repeating it would be refused again.
    #[error("{text}")]
    Refused {
        code: u16,
        text: String,
        /// Where the group has gone that became a supergroup.
        migrated_to: Option<i64>,
    },
    /// No answer, or one of a server that is in trouble: nobody can say whether the call was obeyed.
    #[error("cannot reach the Bot API: {0}")]
    Unreachable(String),
}

impl Client {
    /// A client for this token at this root, such as `https://api.telegram.org`.
    pub fn new(api_root: &str, token: &Secret) -> Client {
        let base = format!("{}/bot{}", api_root.trim_end_matches('/'), token.reveal());
        Client {
            http: Http::new(CONNECT_TIMEOUT),
            base: Secret::new(base),
            token: token.clone(),
        }
    }

    /// Calls a method with JSON parameters and waits up to `timeout` for its result.
    pub fn call(&self, method: &str, parameters: &Value, timeout: Duration) -> Result<Value, Fault> {
        self.post(method, "application/json", parameters.to_string().as_bytes(), timeout)
    }

    /// Calls a method with a body that is encoded already.
    pub fn post(&self, method: &str, content_type: &str, body: &[u8], timeout: Duration) -> Result<Value, Fault> {
        let url = Secret::new(format!("{}/{method}", self.base.reveal()));
        match self.http.post(&url, content_type, body, timeout) {
            Ok(answer) => self.understand(&answer),
            Err(error) => Err(Fault::Unreachable(self.masked(&error.0))),
        }
    }

    /// Writes a file that `getFile` has named to `to` and returns its length; at most `bytes_max` of it.
    pub fn download(&self, path: &str, to: &mut dyn Write, bytes_max: u64, timeout: Duration) -> Result<u64, Fault> {
        let root = self.base.reveal();
        let root = root
            .strip_suffix(&format!("/bot{}", self.token.reveal()))
            .unwrap_or(root);
        let url = Secret::new(format!("{root}/file/bot{}/{path}", self.token.reveal()));
        let unreachable = |why: &str| Fault::Unreachable(self.masked(why));
        let request = self.http.agent().get(url.reveal());
        let asked = request.config().timeout_global(Some(timeout)).build().call();
        let mut answer = asked.map_err(|error| unreachable(&why(&error)))?;
        match answer.status().as_u16() {
            200 => {}
            code @ 400..500 => {
                let text = format!("the file cannot be fetched: HTTP {code}");
                let migrated_to = None;
                return Err(Fault::Refused {
                    code,
                    text,
                    migrated_to,
                });
            }
            code => return Err(unreachable(&format!("HTTP {code}"))),
        }
        // One byte more than is allowed, to see that there is more.
        let mut bounded = answer.body_mut().as_reader().take(bytes_max + 1);
        let bytes = io::copy(&mut bounded, to).map_err(|error| unreachable(&error.to_string()))?;
        if bytes > bytes_max {
            let text = format!("the file is longer than {bytes_max} bytes");
            return Err(Fault::Refused {
                code: 413,
                text,
                migrated_to: None,
            });
        }
        Ok(bytes)
    }

    fn understand(&self, answer: &Answer) -> Result<Value, Fault> {
        let Ok(mut body) = serde_json::from_str::<Value>(&answer.body) else {
            return Err(Fault::Unreachable(format!("HTTP {} without JSON", answer.status)));
        };
        if body["ok"] == true {
            return Ok(body["result"].take());
        }
        let code = body["error_code"].as_u64().and_then(|code| u16::try_from(code).ok());
        let code = code.unwrap_or(answer.status);
        let text = self.masked(body["description"].as_str().unwrap_or("no reason given"));
        let parameters = &body["parameters"];
        Err(match code {
            401 | 404 => Fault::Unauthorized(text),
            409 => Fault::Conflict(text),
            429 => Fault::Wait {
                after: parameters["retry_after"]
                    .as_u64()
                    .or(answer.retry_after)
                    .map_or(RETRY_AFTER_DEFAULT, Duration::from_secs),
                text,
            },
            500.. => Fault::Unreachable(format!("HTTP {code}: {text}")),
            _ => Fault::Refused {
                code,
                text,
                migrated_to: parameters["migrate_to_chat_id"].as_i64(),
            },
        })
    }

    /// A text of the other side in one line, without the token.
    fn masked(&self, text: &str) -> String {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line.replace(self.token.reveal(), "[secret]")
            .chars()
            .take(REASON_CHARS_MAX)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn understood(status: u16, body: &str) -> Result<Value, Fault> {
        let client = Client::new("http://127.0.0.1:1/", &Secret::new("12:very-secret".into()));
        client.understand(&Answer {
            status,
            retry_after: Some(7),
            body: body.to_owned(),
        })
    }

    #[test]
    fn every_answer_has_its_meaning() {
        let refused = |code: u16, text: &str| json!({"ok": false, "error_code": code, "description": text}).to_string();
        assert_eq!(
            understood(200, r#"{"ok":true,"result":{"id":1}}"#),
            Ok(json!({"id": 1}))
        );
        for (status, body, fault) in [
            (401, refused(401, "Unauthorized"), Fault::Unauthorized("Unauthorized".into())),
            (404, refused(404, "Not Found"), Fault::Unauthorized("Not Found".into())),
            (409, refused(409, "Conflict: a\nb"), Fault::Conflict("Conflict: a b".into())),
            (502, "<html>".into(), Fault::Unreachable("HTTP 502 without JSON".into())),
            (500, refused(500, "oh"), Fault::Unreachable("HTTP 500: oh".into())),
            (
                429,
                refused(429, "slow"),
                Fault::Wait {
                    after: Duration::from_secs(7),
                    text: "slow".into(),
                },
            ),
            (
                400,
                r#"{"ok":false,"error_code":400,"description":"no 12:very-secret","parameters":{"migrate_to_chat_id":-5}}"#
                    .into(),
                Fault::Refused {
                    code: 400,
                    text: "no [secret]".into(),
                    migrated_to: Some(-5),
                },
            ),
        ] {
            assert_eq!(understood(status, &body), Err(fault), "{body}");
        }
    }

    #[test]
    fn no_text_shows_the_token() {
        let client = Client::new("http://127.0.0.1:1", &Secret::new("12:very-secret".into()));
        let error = client.call("getMe", &json!({}), Duration::from_secs(5)).unwrap_err();
        assert!(matches!(error, Fault::Unreachable(_)));
        assert!(!format!("{error} {error:?} {client:?}").contains("very-secret"));
    }
}
