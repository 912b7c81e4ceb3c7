//! Asks over HTTP: one request on a connection of its own, no redirect followed, no proxy, a bounded answer.

use std::time::Duration;

use regex_lite::Regex;
use ureq::config::Config;
use ureq::http::{Request, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};

use super::address;
use crate::model::probe::{Answer, HttpCheck};
use crate::model::units::show_duration;

/// So much of an answer is looked at for its pattern.
const BODY_BYTES_MAX: u64 = 64 * 1024;
/// The heads of a request and of an answer fit; hundreds of these may wait at once.
const BUFFER_BYTES: usize = 16 * 1024;
const USER_AGENT: &str = concat!("multibot-probe/", env!("CARGO_PKG_VERSION"));

pub(super) fn ask(check: &HttpCheck, timeout: Duration) -> Answer {
    let from = shown(&check.url);
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_idle_connections(0)
        .proxy(None)
        .user_agent(USER_AGENT)
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .build();
    let agent = Agent::with_parts(config, DefaultConnector::default(), HostsResolver);
    let mut request = Request::builder().method(check.method.as_str()).uri(&check.url);
    for (name, value) in &check.headers {
        request = request.header(name, value);
    }
    // Its error could quote a header.
    let Ok(request) = request.body(()) else {
        return Answer::failure(format!("cannot ask {from}: the request cannot be made"));
    };
    match agent.run(request) {
        Ok(mut response) => {
            let status = response.status().as_u16();
            let (first, last) = check.status;
            if !(first..=last).contains(&status) {
                return Answer::failure(format!("HTTP {status} from {from}"));
            }
            match &check.body {
                Some(pattern) => {
                    let body = response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string();
                    judge_body(pattern, body, status, &from, timeout)
                }
                None => Answer::success(format!("HTTP {status} from {from}")),
            }
        }
        Err(error) => Answer::failure(why(&error, &from, timeout)),
    }
}

fn judge_body(pattern: &str, body: Result<String, Error>, status: u16, from: &str, timeout: Duration) -> Answer {
    let said = format!("HTTP {status} from {from}");
    match body {
        Ok(body) if Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(&body)) => Answer::success(said),
        Ok(_) => Answer::failure(format!("{said}, but its body does not match {pattern:?}")),
        Err(Error::BodyExceedsLimit(_)) => Answer::failure(format!("{said}, but its body is longer than 64 KiB")),
        Err(error) => Answer::failure(why(&error, from, timeout)),
    }
}

fn why(error: &Error, from: &str, timeout: Duration) -> String {
    match error {
        Error::Timeout(_) => format!("no answer from {from} within {}", show_duration(timeout)),
        Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            format!("no answer from {from} within {}", show_duration(timeout))
        }
        Error::Io(error) => format!("cannot ask {from}: {}", super::words(error)),
        Error::HostNotFound => format!("cannot ask {from}: its host is not in /etc/hosts"),
        other => format!("cannot ask {from}: {other}"),
    }
}

/// An address as people may see it: without a password and without what follows a question mark.
fn shown(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = bare.split_once("://").unwrap_or(("http", bare));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// Knows the hosts that probes know.
#[derive(Debug)]
struct HostsResolver;

impl Resolver for HostsResolver {
    fn resolve(&self, uri: &Uri, _config: &Config, _timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        });
        let host = uri.host().unwrap_or_default();
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let found = address::find(bare, port).map_err(|_| Error::HostNotFound)?;
        let mut addresses = self.empty();
        for address in found.into_iter().take(4) {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        for (url, text) in [
            ("http://127.0.0.1:8080/health", "http://127.0.0.1:8080/health"),
            ("http://me:s3cret@h/x?token=s3cret#y", "http://h/x"),
            ("https://h?a=b@c", "https://h"),
        ] {
            assert_eq!(shown(url), text);
        }
    }
}
