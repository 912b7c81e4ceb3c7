//! Carries out what waits in the lanes, one message after the other.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::messages::{self, Part};
use super::{Hub, Job};
use crate::clock;
use crate::platform::whatsapp::{Client, Fault};
use crate::runner::arrival::File;
use crate::runner::media::{self, Failed};
use crate::runner::platform::{Class, News, Outcome, Ticket, form};

/// How long a call may take: it may hold a large file.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);
/// What a job waits whose token was refused: the bot ends before.
const REFUSED_DELAY: Duration = Duration::from_secs(5);
/// The first wait where the API does not say how long; it is four times as long from wait to wait, as the API asks.
const WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(256);
/// The largest file that the Cloud API takes.
const UPLOAD_BYTES_MAX: u64 = 100 << 20;

type Desk = Hub<Client, Job>;

pub(super) fn work(hub: &Desk, client: &Client, lane: &str, job: Job, file_bytes_max: u64) {
    match job {
        Job::Send {
            ticket,
            parts,
            sent,
            waits,
        } => send(hub, client, lane, (ticket, parts, sent, waits)),
        Job::Fetch { ticket, file, into } => fetch(hub, client, lane, (ticket, file, into), file_bytes_max),
    }
}

/// Sends the first of the parts.
fn send(hub: &Desk, client: &Client, lane: &str, job: (Ticket, VecDeque<Part>, Vec<String>, u32)) {
    let (ticket, mut parts, mut sent, waits) = job;
    let Some(part) = parts.front_mut() else {
        return hub.settle(lane, ticket, Outcome::Sent { messages: sent });
    };
    match upload(client, part).and_then(|()| client.send(&part.message, CALL_TIMEOUT).map_err(Failed::There)) {
        Ok(id) => {
            sent.push(id);
            parts.pop_front();
            if parts.is_empty() {
                return hub.settle(lane, ticket, Outcome::Sent { messages: sent });
            }
            let job = Job::Send {
                ticket,
                parts,
                sent,
                waits: 0,
            };
            hub.again(lane, job, clock::now());
        }
        Err(Failed::Here(why)) => {
            let class = Class::BadRequest;
            hub.settle(lane, ticket, Outcome::Refused { class, why });
        }
        Err(Failed::There(Fault::Refused { code, text })) => {
            let (class, why) = (messages::class(code), format!("{code}: {text}"));
            hub.settle(lane, ticket, Outcome::Refused { class, why });
        }
        Err(Failed::There(fault)) => {
            let waits = waits + u32::from(matches!(fault, Fault::Wait { after: None, .. }));
            let job = Job::Send {
                ticket,
                parts,
                sent,
                waits,
            };
            postpone(hub, lane, job, fault, waits);
        }
    }
}

/// Brings the file of a part to the API, which then knows it by a number.
fn upload(client: &Client, part: &mut Part) -> Result<(), Failed<Fault>> {
    let Some(upload) = &part.upload else { return Ok(()) };
    let mime = messages::mime(&upload.path);
    let fields = [("messaging_product", "whatsapp".to_owned()), ("type", mime.to_owned())];
    let encoded = form::encode(fields.into_iter(), "file", &upload.path, mime, UPLOAD_BYTES_MAX);
    let (kind, body) = encoded.map_err(Failed::Here)?;
    let id = client.upload(&kind, &body, CALL_TIMEOUT).map_err(Failed::There)?;
    part.message[upload.kind]["id"] = id.into();
    // Whatever becomes of the message, the file need not be uploaded again.
    part.upload = None;
    Ok(())
}

fn fetch(hub: &Desk, client: &Client, lane: &str, job: (Ticket, File, PathBuf), file_bytes_max: u64) {
    let (ticket, file, into) = job;
    let refused = |why: String| Outcome::Refused {
        class: Class::Other,
        why,
    };
    match download(client, &file, &into, file_bytes_max) {
        Ok(bytes) => hub.settle(lane, ticket, Outcome::Fetched { path: into, bytes }),
        Err(Failed::Here(why)) => hub.settle(lane, ticket, refused(why)),
        Err(Failed::There(Fault::Refused { text, .. })) => hub.settle(lane, ticket, refused(text)),
        Err(Failed::There(fault)) => postpone(hub, lane, Job::Fetch { ticket, file, into }, fault, 1),
    }
}

fn download(client: &Client, file: &File, into: &Path, max: u64) -> Result<u64, Failed<Fault>> {
    let media = client.media(&file.id, CALL_TIMEOUT).map_err(Failed::There)?;
    media::bounded(media.bytes, max)?;
    media::bring(into, |target| client.download(&media, target, max, FETCH_TIMEOUT))
}

/// Puts a job back that nothing is known of but that it must wait.
fn postpone(hub: &Desk, lane: &str, job: Job, fault: Fault, waits: u32) {
    match fault {
        Fault::Wait { after, .. } => {
            let untold = (WAIT * 4u32.saturating_pow(waits.saturating_sub(1).min(8))).min(WAIT_MAX);
            hub.again(lane, job, clock::now() + after.unwrap_or(untold));
        }
        Fault::Unauthorized(why) => {
            hub.again(lane, job, clock::now() + REFUSED_DELAY);
            hub.tell(News::Unauthorized { why });
        }
        Fault::Refused { .. } | Fault::Unreachable(_) => hub.unheard(lane, job),
    }
}
