//! Carries out what waits in the lanes, one call after the other.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::{Job, calls, classes};
use crate::clock;
use crate::platform::telegram::{Client, Fault};
use crate::runner::arrival::File;
use crate::runner::media::{self, Failed};
use crate::runner::platform::hub::Hub;
use crate::runner::platform::{Class, News, Outcome, Ticket};

/// How long a call may take: it may hold a large file.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);
/// What a job waits whose token was refused: the bot ends before.
const REFUSED_DELAY: Duration = Duration::from_secs(5);

pub(super) fn work(hub: &Telegrams, client: &Client, lane: &str, job: Job, file_bytes_max: u64) {
    match job {
        Job::Send { ticket, calls, sent } => send(hub, client, lane, (ticket, calls, sent)),
        Job::Fetch { ticket, file, into } => fetch(hub, client, lane, (ticket, file, into), file_bytes_max),
    }
}

type Telegrams = Hub<Client, Job>;
type Sending = (Ticket, VecDeque<calls::Call>, Vec<String>);

/// Makes the first of the calls.
fn send(hub: &Telegrams, client: &Client, lane: &str, (ticket, mut calls, mut sent): Sending) {
    let Some(call) = calls.front() else {
        return hub.settle(lane, ticket, Outcome::Sent { messages: sent });
    };
    let answer = match calls::body(call) {
        Ok((kind, body)) => client.post(call.method, &kind, &body, CALL_TIMEOUT),
        Err(why) => {
            let class = Class::BadRequest;
            return hub.settle(lane, ticket, Outcome::Refused { class, why });
        }
    };
    match answer {
        Ok(result) => {
            sent.extend(result["message_id"].as_i64().map(|id| id.to_string()));
            calls.pop_front();
            if calls.is_empty() {
                return hub.settle(lane, ticket, Outcome::Sent { messages: sent });
            }
            hub.again(lane, Job::Send { ticket, calls, sent }, clock::now());
        }
        // It is what it should be already.
        Err(Fault::Refused { ref text, .. }) if text.contains("message is not modified") => {
            hub.settle(lane, ticket, Outcome::Sent { messages: sent });
        }
        Err(Fault::Refused {
            migrated_to: Some(to), ..
        }) => {
            for call in &mut calls {
                call.parameters.insert("chat_id".to_owned(), to.into());
            }
            let (from, to) = (lane.to_owned(), to.to_string());
            hub.tell(News::Moved { from, to });
            hub.again(lane, Job::Send { ticket, calls, sent }, clock::now());
        }
        Err(Fault::Refused { code, text, .. }) => {
            let class = classes::class(code, &text);
            hub.settle(lane, ticket, Outcome::Refused { class, why: text });
        }
        Err(fault) => postpone(hub, lane, Job::Send { ticket, calls, sent }, fault),
    }
}

fn fetch(
    hub: &Telegrams,
    client: &Client,
    lane: &str,
    (ticket, file, into): (Ticket, File, PathBuf),
    file_bytes_max: u64,
) {
    let refused = |why: String| Outcome::Refused {
        class: Class::Other,
        why,
    };
    match download(client, &file, &into, file_bytes_max) {
        Ok(bytes) => hub.settle(lane, ticket, Outcome::Fetched { path: into, bytes }),
        Err(Failed::Here(why)) => hub.settle(lane, ticket, refused(why)),
        Err(Failed::There(Fault::Refused { text, .. })) => hub.settle(lane, ticket, refused(text)),
        Err(Failed::There(fault)) => postpone(hub, lane, Job::Fetch { ticket, file, into }, fault),
    }
}

/// Brings a file to where it is to be: whole, or not at all.
fn download(client: &Client, file: &File, into: &Path, max: u64) -> Result<u64, Failed<Fault>> {
    media::bounded(file.bytes, max)?;
    let found = client.call("getFile", &json!({"file_id": file.id}), CALL_TIMEOUT);
    let found = found.map_err(Failed::There)?;
    let path = found["file_path"].as_str().unwrap_or_default();
    media::bring(into, |target| client.download(path, target, max, FETCH_TIMEOUT))
}

/// Puts a job back that nothing is known of but that it must wait.
fn postpone(hub: &Telegrams, lane: &str, job: Job, fault: Fault) {
    match fault {
        Fault::Wait { after, .. } => hub.again(lane, job, clock::now() + after),
        Fault::Unauthorized(why) => {
            hub.again(lane, job, clock::now() + REFUSED_DELAY);
            hub.tell(News::Unauthorized { why });
        }
        Fault::Conflict(_) | Fault::Refused { .. } | Fault::Unreachable(_) => hub.unheard(lane, job),
    }
}
