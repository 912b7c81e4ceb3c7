//! Calls of the Graph API for one phone number. One call is one request; whoever calls decides whether and when to
//! repeat it.

use std::io::{self, Read, Write};
use std::time::Duration;

use serde_json::Value;

use crate::model::bot::Secret;
use crate::platform::http::{ANSWER_BYTES_MAX, Http, why};

/// How long the API may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REASON_CHARS_MAX: usize = 300;

/// The Graph API for one token and one phone number.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    /// `<api_root>/<version>`, without a slash at the end.
    base: String,
    phone_id: String,
    token: Secret,
}

/// Why a call came to nothing; every text is one line without the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// 190 and the like: the token is wrong, has expired, or the account is locked.
    #[error("the token is refused: {0}")]
    Unauthorized(String),
    /// Too many requests; None: for how long is not said, so longer from time to time.
    #[error("too many requests: {text}")]
    Wait { after: Option<Duration>, text: String },
    /// The request itself is refused: repeating it would be refused again.
    #[error("{code}: {text}")]
    Refused { code: u64, text: String },
    /// No answer, or one of a server that is in trouble: nobody can say whether the call was obeyed.
    #[error("cannot reach the Graph API: {0}")]
    Unreachable(String),
}

/// A file that lies with the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    pub url: String,
    pub bytes: Option<u64>,
}

/// Tokens that are wrong or have expired or lack a permission, accounts that are locked or restricted. 3 comes with HTTP
/// 500 and is no trouble of the server.
const UNAUTHORIZED: [u64; 8] = [3, 10, 102, 190, 368, 463, 131_005, 131_031];
/// Permissions that were not granted or taken away, one code each.
const UNPERMITTED: std::ops::RangeInclusive<u64> = 200..=299;
/// Too many calls: of the app, of the account, of the number, to one user.
const WAIT: [u64; 6] = [4, 17, 80007, 130429, 131048, 131056];
/// The server is in trouble.
const TROUBLE: [u64; 4] = [1, 2, 131000, 131016];

impl Client {
    /// A client for this token at this root, such as `https://graph.facebook.com`, in a version such as `v23.0`.
    pub fn new(api_root: &str, version: &str, phone_id: &str, token: &Secret) -> Client {
        Client {
            http: Http::new(CONNECT_TIMEOUT),
            base: format!("{}/{version}", api_root.trim_end_matches('/')),
            phone_id: phone_id.to_owned(),
            token: token.clone(),
        }
    }

    /// The number as people dial it, which also tries the token.
    pub fn display_number(&self, timeout: Duration) -> Result<String, Fault> {
        let fields = format!("{}?fields=display_phone_number", self.phone_id);
        let answer = self.get(&fields, timeout)?;
        Ok(answer["display_phone_number"].as_str().unwrap_or_default().to_owned())
    }

    /// Sends a message in the API's own words; returns its number, `wamid.…`.
    pub fn send(&self, message: &Value, timeout: Duration) -> Result<String, Fault> {
        let answer = self.post("messages", "application/json", message.to_string().as_bytes(), timeout)?;
        Ok(answer["messages"][0]["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Uploads a file, encoded as a form; returns its number.
    pub fn upload(&self, content_type: &str, body: &[u8], timeout: Duration) -> Result<String, Fault> {
        let answer = self.post("media", content_type, body, timeout)?;
        match answer["id"].as_str() {
            Some(id) => Ok(id.to_owned()),
            None => Err(Fault::Unreachable(
                "an upload was answered without its number".to_owned(),
            )),
        }
    }

    /// Where a file of a user lies, for some minutes.
    pub fn media(&self, id: &str, timeout: Duration) -> Result<Media, Fault> {
        // The number is a user's word: it must not become another path.
        let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        let answer = self.get(&id, timeout)?;
        match answer["url"].as_str() {
            Some(url) => Ok(Media {
                url: url.to_owned(),
                bytes: answer["file_size"].as_u64(),
            }),
            None => Err(Fault::Refused {
                code: 0,
                text: "the file has no address".to_owned(),
            }),
        }
    }

    /// Writes a file to `to` and returns its length; at most `bytes_max` of it.
    pub fn download(&self, media: &Media, to: &mut dyn Write, bytes_max: u64, timeout: Duration) -> Result<u64, Fault> {
        let unreachable = |why: &str| Fault::Unreachable(self.masked(why));
        let request = self.http.agent().get(&media.url);
        let request = request.header("authorization", format!("Bearer {}", self.token.reveal()));
        let asked = request.config().timeout_global(Some(timeout)).build().call();
        let mut answer = asked.map_err(|error| unreachable(&why(&error)))?;
        match answer.status().as_u16() {
            200 => {}
            code @ 400..500 => {
                let text = format!("the file cannot be fetched: HTTP {code}");
                return Err(Fault::Refused {
                    code: u64::from(code),
                    text,
                });
            }
            code => return Err(unreachable(&format!("HTTP {code}"))),
        }
        // One byte more than is allowed, to see that there is more.
        let mut bounded = answer.body_mut().as_reader().take(bytes_max + 1);
        let bytes = io::copy(&mut bounded, to).map_err(|error| unreachable(&error.to_string()))?;
        if bytes > bytes_max {
            let text = format!("the file is longer than {bytes_max} bytes");
            return Err(Fault::Refused { code: 413, text });
        }
        Ok(bytes)
    }

    fn get(&self, path: &str, timeout: Duration) -> Result<Value, Fault> {
        let request = self.http.agent().get(format!("{}/{path}", self.base));
        let request = request.header("authorization", format!("Bearer {}", self.token.reveal()));
        let asked = request.config().timeout_global(Some(timeout)).build().call();
        self.understand(asked)
    }

    fn post(&self, edge: &str, content_type: &str, body: &[u8], timeout: Duration) -> Result<Value, Fault> {
        let request = self
            .http
            .agent()
            .post(format!("{}/{}/{edge}", self.base, self.phone_id));
        let request = request.header("authorization", format!("Bearer {}", self.token.reveal()));
        let request = request.header("content-type", content_type);
        let asked = request.config().timeout_global(Some(timeout)).build().send(body);
        self.understand(asked)
    }

    fn understand(&self, asked: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, Fault> {
        let mut answer = asked.map_err(|error| Fault::Unreachable(self.masked(&why(&error))))?;
        let status = answer.status().as_u16();
        let header = answer.headers().get("retry-after");
        let after = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let body = body.map_err(|error| Fault::Unreachable(self.masked(&why(&error))))?;
        self.meaning(status, after, &body)
    }

    fn meaning(&self, status: u16, after: Option<u64>, body: &str) -> Result<Value, Fault> {
        let Ok(answer) = serde_json::from_str::<Value>(body) else {
            return Err(Fault::Unreachable(format!("HTTP {status} without JSON")));
        };
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let error = &answer["error"];
        let code = error["code"].as_u64().unwrap_or(0);
        let said = error["error_data"]["details"].as_str().or(error["message"].as_str());
        let text = self.masked(said.unwrap_or("no reason given"));
        Err(match (status, code) {
            _ if UNAUTHORIZED.contains(&code) || UNPERMITTED.contains(&code) => {
                Fault::Unauthorized(format!("{code}: {text}"))
            }
            (_, code) if WAIT.contains(&code) => Fault::Wait {
                after: after.map(Duration::from_secs),
                text: format!("{code}: {text}"),
            },
            (429, _) => Fault::Wait {
                after: after.map(Duration::from_secs),
                text,
            },
            (401, _) => Fault::Unauthorized(text),
            (500.., _) => Fault::Unreachable(format!("HTTP {status}: {text}")),
            (_, code) if TROUBLE.contains(&code) => Fault::Unreachable(format!("{code}: {text}")),
            _ => Fault::Refused { code, text },
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

    fn client() -> Client {
        Client::new("http://127.0.0.1:1/", "v23.0", "PH", &Secret::new("very-secret".into()))
    }

    #[test]
    fn every_answer_has_its_meaning() {
        let error = |code: u64, message: &str| json!({"error": {"code": code, "message": message}}).to_string();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let wait = |after, text: &str| Fault::Wait {
            after,
            text: text.into(),
        };
        for (status, after, body, fault) in [
            (
                401,
                None,
                error(190, "expired very-secret"),
                Fault::Unauthorized("190: expired [secret]".into()),
            ),
            (
                400,
                None,
                error(190, "expired"),
                Fault::Unauthorized("190: expired".into()),
            ),
            (401, None, error(0, "who"), Fault::Unauthorized("who".into())),
            (403, None, error(10, "no"), Fault::Unauthorized("10: no".into())),
            (403, None, error(299, "no"), Fault::Unauthorized("299: no".into())),
            (500, None, error(3, "no"), Fault::Unauthorized("3: no".into())),
            (
                400,
                None,
                error(300, "no"),
                Fault::Refused {
                    code: 300,
                    text: "no".into(),
                },
            ),
            (400, None, error(131056, "pair"), wait(None, "131056: pair")),
            (429, Some(7), error(130429, "rate"), wait(seconds(7), "130429: rate")),
            (429, Some(3), "{}".into(), wait(seconds(3), "no reason given")),
            (
                400,
                None,
                error(131026, "no"),
                Fault::Refused {
                    code: 131026,
                    text: "no".into(),
                },
            ),
            (
                500,
                None,
                error(131000, "oh"),
                Fault::Unreachable("HTTP 500: oh".into()),
            ),
            (
                400,
                None,
                error(131016, "down"),
                Fault::Unreachable("131016: down".into()),
            ),
            (
                502,
                None,
                "<html>".into(),
                Fault::Unreachable("HTTP 502 without JSON".into()),
            ),
        ] {
            assert_eq!(client().meaning(status, after, &body), Err(fault), "{body}");
        }
        assert_eq!(client().meaning(200, None, "{\"id\":\"1\"}"), Ok(json!({"id": "1"})));
    }

    #[test]
    fn no_text_shows_the_token() {
        let client = client();
        let error = client.display_number(Duration::from_secs(5)).unwrap_err();
        assert!(matches!(error, Fault::Unreachable(_)));
        assert!(!format!("{error} {error:?} {client:?}").contains("very-secret"));
    }
}
