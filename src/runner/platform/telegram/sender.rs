//! Carries out what waits in the lanes, one call after the other.

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;

use super::{Job, Line, Shared, calls, classes};
use crate::clock;
use crate::platform::telegram::{Client, Fault};
use crate::runner::arrival::File;
use crate::runner::lanes::Next;
use crate::runner::platform::{Class, News, Outcome, Ticket};

/// How long a call may take: it may hold a large file.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);
/// What a job waits whose token was refused: the bot ends before.
const REFUSED_DELAY: Duration = Duration::from_secs(5);

/// Works until the bot is gone.
pub(super) fn run(shared: &Shared) {
    while let Some((client, lane, job)) = take(shared) {
        match job {
            Job::Send { ticket, calls, sent } => send(shared, &client, &lane, (ticket, calls, sent)),
            Job::Fetch { ticket, file, into } => fetch(shared, &client, &lane, (ticket, file, into)),
        }
    }
}

/// Waits for the next job; None when the bot is gone.
fn take(shared: &Shared) -> Option<(Client, String, Job)> {
    let mut state = shared.state();
    loop {
        let now = clock::now();
        let wait = match &state.line {
            Line::Closed => return None,
            Line::Unopened => None,
            Line::Open(client) => {
                let client = client.clone();
                match state.lanes.next(now) {
                    Next::Job(lane, job) => return Some((client, lane, job)),
                    Next::At(then) => Some(then.since(now)),
                    Next::Nothing => None,
                }
            }
        };
        state = match wait {
            None => shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(wait) => match shared.changed.wait_timeout(state, wait) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            },
        };
    }
}

type Sending = (Ticket, VecDeque<calls::Call>, Vec<String>);

/// Makes the first of the calls.
fn send(shared: &Shared, client: &Client, lane: &str, (ticket, mut calls, mut sent): Sending) {
    let Some(call) = calls.front() else {
        return settle(shared, lane, ticket, Outcome::Sent { messages: sent });
    };
    let answer = match calls::body(call) {
        Ok((kind, body)) => client.post(call.method, &kind, &body, CALL_TIMEOUT),
        Err(why) => {
            let class = Class::BadRequest;
            return settle(shared, lane, ticket, Outcome::Refused { class, why });
        }
    };
    match answer {
        Ok(result) => {
            sent.extend(result["message_id"].as_i64().map(|id| id.to_string()));
            calls.pop_front();
            if calls.is_empty() {
                return settle(shared, lane, ticket, Outcome::Sent { messages: sent });
            }
            let job = Job::Send { ticket, calls, sent };
            shared.state().lanes.again(lane, job, clock::now());
            shared.changed.notify_one();
        }
        // It is what it should be already.
        Err(Fault::Refused { ref text, .. }) if text.contains("message is not modified") => {
            settle(shared, lane, ticket, Outcome::Sent { messages: sent });
        }
        Err(Fault::Refused {
            migrated_to: Some(to), ..
        }) => {
            for call in &mut calls {
                call.parameters.insert("chat_id".to_owned(), to.into());
            }
            let (from, to) = (lane.to_owned(), to.to_string());
            shared.tell(News::Moved { from, to });
            shared
                .state()
                .lanes
                .again(lane, Job::Send { ticket, calls, sent }, clock::now());
            shared.changed.notify_one();
        }
        Err(Fault::Refused { code, text, .. }) => {
            let class = classes::class(code, &text);
            settle(shared, lane, ticket, Outcome::Refused { class, why: text });
        }
        Err(fault) => postpone(shared, lane, Job::Send { ticket, calls, sent }, fault),
    }
}

fn fetch(shared: &Shared, client: &Client, lane: &str, (ticket, file, into): (Ticket, File, PathBuf)) {
    let refused = |why: String| Outcome::Refused {
        class: Class::Other,
        why,
    };
    match download(shared, client, &file, &into) {
        Ok(bytes) => settle(shared, lane, ticket, Outcome::Fetched { path: into, bytes }),
        Err(Failed::Here(why)) => settle(shared, lane, ticket, refused(why)),
        Err(Failed::There(Fault::Refused { text, .. })) => settle(shared, lane, ticket, refused(text)),
        Err(Failed::There(fault)) => postpone(shared, lane, Job::Fetch { ticket, file, into }, fault),
    }
}

/// Where a file could not be fetched.
enum Failed {
    Here(String),
    There(Fault),
}

/// Brings a file to where it is to be: whole, or not at all.
fn download(shared: &Shared, client: &Client, file: &File, into: &Path) -> Result<u64, Failed> {
    let here = |error: std::io::Error| Failed::Here(format!("{}: {error}", into.display()));
    let max = shared.file_bytes_max;
    if file.bytes.is_some_and(|bytes| bytes > max) {
        return Err(Failed::Here(format!(
            "the file is longer than media.max_file, {max} bytes"
        )));
    }
    let found = client.call("getFile", &json!({"file_id": file.id}), CALL_TIMEOUT);
    let found = found.map_err(Failed::There)?;
    let path = found["file_path"].as_str().unwrap_or_default().to_owned();
    if let Some(dir) = into.parent() {
        fs::create_dir_all(dir).map_err(here)?;
    }
    let part = into.with_extension("part");
    let mut target = fs::File::create(&part).map_err(here)?;
    let fetched = client.download(&path, &mut target, max, FETCH_TIMEOUT);
    let bytes = match fetched {
        Ok(bytes) => bytes,
        Err(fault) => {
            let _ = fs::remove_file(&part);
            return Err(Failed::There(fault));
        }
    };
    target.flush().and_then(|()| target.sync_data()).map_err(here)?;
    fs::rename(&part, into).map_err(here)?;
    Ok(bytes)
}

/// Puts a job back that nothing is known of but that it must wait.
fn postpone(shared: &Shared, lane: &str, job: Job, fault: Fault) {
    let now = clock::now();
    let mut state = shared.state();
    match fault {
        Fault::Wait { after, .. } => state.lanes.again(lane, job, now + after),
        Fault::Unauthorized(why) => {
            state.lanes.again(lane, job, now + REFUSED_DELAY);
            let _ = state.news.send(News::Unauthorized { why });
        }
        Fault::Conflict(_) | Fault::Refused { .. } | Fault::Unreachable(_) => {
            state.lanes.unreachable(lane, job, now);
        }
    }
    drop(state);
    shared.waker.wake();
    // The others learn that they may have to wait, or may go on.
    shared.changed.notify_all();
}

fn settle(shared: &Shared, lane: &str, ticket: Ticket, outcome: Outcome) {
    shared.state().lanes.done(lane);
    shared.tell(News::Settled { ticket, outcome });
    shared.changed.notify_one();
}
