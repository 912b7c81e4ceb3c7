//! Passes one word on: to a log, a program, a webhook or a chat. Errors are one line and show no address and no token.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};

use crate::log::Mask;
use crate::model::alert::{Address, SinkKind, TokenFrom};
use crate::model::bot::{BotId, Secret};
use crate::spool::Failure;
use crate::spool::failure::Then;

use super::exec;
use super::notice::{chat_line, line};

/// What a server that says nothing better is waited for.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(30);
/// An answer is read only for its reason.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;
const REASON_CHARS_MAX: usize = 200;

/// The means of one delivery.
pub struct Means<'a> {
    pub timeout: Duration,
    /// Raised when the supervisor ends.
    pub stopped: &'a AtomicBool,
    /// Finds the token of a bot of this home.
    pub token_of: &'a dyn Fn(&BotId) -> Result<Option<Secret>, String>,
}

/// Delivers; the error says whether and when it is to be tried again.
pub fn deliver(kind: &SinkKind, content: &Value, means: &Means<'_>) -> Result<(), Failure> {
    match kind {
        SinkKind::Log => {
            write_log(content);
            Ok(())
        }
        SinkKind::Exec(argv) => exec::run(argv, content, means.timeout, means.stopped),
        SinkKind::Webhook(address) => post(&url_of(address)?, content, means.timeout),
        SinkKind::Slack(address) => {
            let text = chat_line(content)
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;");
            post(&url_of(address)?, &json!({ "text": text }), means.timeout)
        }
        SinkKind::Discord(address) => {
            // Nobody is mentioned by what a bot happens to print.
            let body = json!({"content": chat_line(content), "allowed_mentions": {"parse": []}});
            post(&url_of(address)?, &body, means.timeout)
        }
        SinkKind::Telegram { sender, chat, api_root } => {
            let token = token_of(sender, means)?;
            let url = format!("{}/bot{}/sendMessage", api_root.trim_end_matches('/'), token.reveal());
            let body = json!({
                "chat_id": chat,
                "text": chat_line(content),
                "disable_notification": content["level"] == "info",
            });
            post(&Secret::new(url), &body, means.timeout)
        }
    }
}

fn write_log(content: &Value) {
    let text = format!("alert {}", line(content));
    match (content["change"].as_str(), content["level"].as_str()) {
        (Some("recovered" | "test"), _) | (_, Some("info")) => tracing::info!("{text}"),
        (_, Some("critical")) => tracing::error!("{text}"),
        _ => tracing::warn!("{text}"),
    }
}

/// A thing that an operator must mend is tried again: nothing is lost meanwhile.
fn read_secret(path: &Path) -> Result<Secret, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display()), Then::Retry))?;
    let text = text.trim();
    if text.is_empty() {
        let said = format!("{} is empty", path.display());
        return Err(Failure::new(said, Then::Retry));
    }
    Ok(Secret::new(text.to_owned()))
}

fn url_of(address: &Address) -> Result<Secret, Failure> {
    match address {
        Address::Url(url) => Ok(url.clone()),
        Address::File(path) => read_secret(path),
    }
}

fn token_of(sender: &TokenFrom, means: &Means<'_>) -> Result<Secret, Failure> {
    match sender {
        TokenFrom::File(path) => read_secret(path),
        TokenFrom::Bot(bot) => {
            let found = (means.token_of)(bot).map_err(|why| Failure::new(why, Then::Retry))?;
            found.ok_or_else(|| Failure::new(format!("bot {bot} has no token"), Then::Retry))
        }
    }
}

/// Posts JSON. What the other side refuses for good is not tried again.
fn post(url: &Secret, body: &Value, timeout: Duration) -> Result<(), Failure> {
    let place = host_of(url.reveal());
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        // Elsewhere is not where the operator wanted it, and a proxy of some shell would read it.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("multibot/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let sent = agent
        .post(url.reveal())
        .header("content-type", "application/json")
        .send(body.to_string());
    let mut answer = match sent {
        Ok(answer) => answer,
        Err(error) => return Err(Failure::new(format!("{place}: {}", why(&error, url)), Then::Retry)),
    };
    let status = answer.status().as_u16();
    if (200..300).contains(&status) {
        return Ok(());
    }
    let header = answer
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok());
    let header = header.and_then(|text| text.trim().parse::<f64>().ok());
    let text = answer
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_string()
        .unwrap_or_default();
    Err(refusal(&place, status, header, &masked(&text, url)))
}

/// What an answer that is no success means.
fn refusal(place: &str, status: u16, retry_after: Option<f64>, text: &str) -> Failure {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    let stated = ["description", "message", "error"]
        .into_iter()
        .find_map(|key| answer[key].as_str());
    let reason: String = stated.unwrap_or(text).chars().take(REASON_CHARS_MAX).collect();
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    let colon = if reason.is_empty() { "" } else { ": " };
    let said = format!("{place}: HTTP {status}{colon}{reason}");
    let in_body = answer["parameters"]["retry_after"].as_f64();
    let seconds = retry_after.or(in_body).or(answer["retry_after"].as_f64());
    let wait = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let then = match (status, wait) {
        (429, wait) => Then::RetryAfter(wait.unwrap_or(RETRY_AFTER_DEFAULT)),
        (503, Some(wait)) => Then::RetryAfter(wait),
        // A wrong address or a revoked token is mended by an operator, and then it goes on.
        (401 | 403 | 404 | 408 | 410 | 425, _) | (500.., _) => Then::Retry,
        _ => Then::Bury,
    };
    Failure::new(said, then)
}

fn why(error: &ureq::Error, url: &Secret) -> String {
    let text = match error {
        ureq::Error::Io(source) => source.to_string(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::HostNotFound => "its name cannot be resolved".to_owned(),
        ureq::Error::BadUri(_) => "its address cannot be used".to_owned(),
        other => other.to_string(),
    };
    masked(&text, url)
}

/// A text without the address and its parts.
fn masked(text: &str, url: &Secret) -> String {
    let full = url.reveal();
    let path = full.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
    let parts = [Some(full), path.map(|(_, path)| path)];
    let known = parts.into_iter().flatten().filter(|part| part.len() > 3);
    Mask::new(known).masked(text)
}

/// `hooks.example.org:8443`: all that may be shown of an address.
pub fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_of_an_address_is_shown() {
        for (url, host) in [
            ("https://hooks.example.org/services/T0/B0/secret", "hooks.example.org"),
            ("http://me:secret@127.0.0.1:80?token=secret", "127.0.0.1:80"),
            ("https://host#secret", "host"),
        ] {
            assert_eq!(host_of(url), host);
        }
        let url = Secret::new("https://h/services/T0/secret".to_owned());
        let clean = masked("bad https://h/services/T0/secret and services/T0/secret", &url);
        assert!(!clean.contains("secret"), "{clean}");
    }

    #[test]
    fn refusals_are_final_wait_or_come_again() {
        let telegram = r#"{"ok":false,"description":"Too Many Requests","parameters":{"retry_after":7}}"#;
        for (status, header, text, said, then) in [
            (
                429,
                Some(2.5),
                "",
                "h: HTTP 429",
                Then::RetryAfter(Duration::from_millis(2500)),
            ),
            (
                429,
                None,
                telegram,
                "h: HTTP 429: Too Many Requests",
                Then::RetryAfter(Duration::from_secs(7)),
            ),
            (
                429,
                None,
                "slow",
                "h: HTTP 429: slow",
                Then::RetryAfter(RETRY_AFTER_DEFAULT),
            ),
            (
                503,
                Some(1.0),
                "",
                "h: HTTP 503",
                Then::RetryAfter(Duration::from_secs(1)),
            ),
            (500, None, "", "h: HTTP 500", Then::Retry),
            (404, None, "gone", "h: HTTP 404: gone", Then::Retry),
            (302, None, "", "h: HTTP 302", Then::Bury),
            (
                400,
                None,
                r#"{"message":"no such\nfield"}"#,
                "h: HTTP 400: no such field",
                Then::Bury,
            ),
        ] {
            assert_eq!(refusal("h", status, header, text), Failure::new(said, then), "{status}");
        }
    }
}
