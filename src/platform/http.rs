//! One way to speak HTTP to a platform: bounded in time and size, and no error shows an address, as addresses
//! hold tokens.

use std::time::Duration;

use crate::model::bot::Secret;

/// A platform's answers are small; files have a bound of their own.
pub(super) const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// A client for many requests, which keeps its connections open between them.
#[derive(Clone, Debug)]
pub struct Http {
    agent: ureq::Agent,
}

/// An answer as it came, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u64>,
    pub body: String,
}

/// A request to which no answer came, in one line without its address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

impl Http {
    /// `connect_timeout` bounds how long a host may take to accept.
    pub fn new(connect_timeout: Duration) -> Http {
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(connect_timeout))
            .http_status_as_error(false)
            // Elsewhere is not where the operator wanted it, and a proxy of some shell would read it.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("multibot/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Http { agent }
    }

    /// Posts a body of this type and waits up to `timeout` for all of the answer.
    pub fn post(&self, url: &Secret, content_type: &str, body: &[u8], timeout: Duration) -> Result<Answer, NoAnswer> {
        let request = self.agent.post(url.reveal()).header("content-type", content_type);
        let sent = request.config().timeout_global(Some(timeout)).build().send(body);
        sent.map_err(|error| NoAnswer(why(&error))).and_then(read)
    }

    /// Asks for a small document, likewise.
    pub fn get(&self, url: &Secret, timeout: Duration) -> Result<Answer, NoAnswer> {
        let request = self.agent.get(url.reveal());
        let sent = request.config().timeout_global(Some(timeout)).build().call();
        sent.map_err(|error| NoAnswer(why(&error))).and_then(read)
    }

    /// The agent itself, for what is neither a small question nor a small answer.
    pub fn agent(&self) -> &ureq::Agent {
        &self.agent
    }
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> Result<Answer, NoAnswer> {
    let header = answer.headers().get("retry-after");
    let retry_after = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
    let body = body.map_err(|error| NoAnswer(why(&error)))?;
    Ok(Answer {
        status,
        retry_after,
        body,
    })
}

/// What went wrong, in words that never quote the address.
pub fn why(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(source) => source.to_string(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::HostNotFound => "its name cannot be resolved".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        ureq::Error::BadUri(_) => "its address cannot be used".to_owned(),
        ureq::Error::Tls(what) => format!("TLS: {what}"),
        ureq::Error::BodyExceedsLimit(max) => format!("the answer is longer than {max} bytes"),
        _ => "the answer is not understood".to_owned(),
    }
}
