//! `multibot send`

mod stream;

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::args::{PayloadArg, Send};
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::model::bot::BotId;
use crate::model::limits::ENVELOPE_BYTES_MAX;
use crate::model::message::{Envelope, Kind};
use crate::model::queue::QueuePolicy;
use crate::model::units::Stamp;
use crate::output;
use crate::spool::replies::{read_reply, reply_path};
use crate::spool::{self, Mailbox, Poster, Submitted, wait_for_file};
use crate::store::BlockedTarget;

/// Another sender with the same dedup key is done, or dead, within this time.
const PENDING_TIME_MAX: Duration = Duration::from_secs(6);

/// Puts the message into the bot's inbox itself: it is accepted and safe whether or not a supervisor
/// runs. Only an answer needs one.
pub(in crate::cli) fn run(client: &Client, send: Send) -> Result<Exit, Failure> {
    if send.all {
        return broadcast(client, &send);
    }
    let bot: BotId = send
        .target
        .parse()
        .map_err(|error| Failure::Usage(format!("{error}")))?;
    client.known(std::slice::from_ref(&bot))?;
    if send.ndjson || send.name.as_deref() == Some("-") {
        return stream::run(client, &bot, &send, std::io::stdin().lock());
    }
    if send.wait {
        client.need_supervisor()?;
    }
    let envelope = message(&bot, &send, send.name.as_deref())?;
    let id = envelope.id.clone();
    let mut gate = Gate::open(client, &bot)?;
    gate.submit(&[envelope])?;
    if let Some((_, first)) = gate.done.duplicates.first() {
        output::note(&format!("duplicate of {first}: not sent again"));
        return Ok(Exit::Done);
    }
    if !send.wait {
        output::note(&format!("accepted as {id}{}", unread_until_start(client, &bot)));
        return Ok(Exit::Done);
    }
    answer(client, bot, &id, send.timeout)
}

/// One command to every bot, each its own message: one that cannot take it stops no other.
fn broadcast(client: &Client, send: &Send) -> Result<Exit, Failure> {
    let records = client
        .read_store()?
        .map_or(Ok(Vec::new()), |store| store.bots().list())?;
    let mut failed = 0;
    for record in &records {
        let envelope = message(&record.id, send, Some(&send.target))?;
        let sent = Gate::open(client, &record.id).and_then(|mut gate| gate.submit(&[envelope]));
        if let Err(error) = sent {
            failed += 1;
            output::error(&output::visible(&format!("{}: {error}", record.id)));
        }
    }
    output::note(&format!(
        "accepted for {} of {} bots",
        records.len() - failed,
        records.len()
    ));
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

fn message(bot: &BotId, send: &Send, name: Option<&str>) -> Result<Envelope, Failure> {
    let (name, payload) = match (for_chat(send)?, name) {
        (Some(payload), _) => ("send_message", payload),
        (None, Some(name)) => (name, content(send.json.as_ref())?),
        (None, None) => {
            let what = "say what to send: the NAME of a command, --text TEXT, or - to read many messages from stdin";
            return Err(Failure::Usage(what.to_owned()));
        }
    };
    let now = clock::stamp();
    let id = spool::new_id(now);
    let mut envelope = Envelope::new(id, Kind::Command, name, "cli", bot.as_str(), now).with_payload(payload);
    envelope.priority = send.priority;
    envelope.expires_at = send.expires.map(|length| after(now, length));
    envelope.dedup_key.clone_from(&send.dedup_key);
    envelope.order_key.clone_from(&send.order_key);
    Ok(envelope)
}

/// What the flags say of a message for a chat; None where they say nothing of one.
fn for_chat(send: &Send) -> Result<Option<Value>, Failure> {
    let file = match (&send.photo, &send.document) {
        (Some(photo), _) => Some(("photo", source(photo)?)),
        (None, Some(document)) => Some(("document", source(document)?)),
        (None, None) => None,
    };
    let mut payload = match (file, &send.text) {
        (Some((field, source)), caption) => json!({ field: source, "caption": caption }),
        (None, Some(text)) => json!({"text": text}),
        (None, None) if send.to.is_some() => {
            let what = "--to: say what to send: --text TEXT, --photo FILE or --document FILE";
            return Err(Failure::Usage(what.to_owned()));
        }
        (None, None) => return Ok(None),
    };
    if let Some(chat) = &send.to {
        payload["chat"] = chat.as_str().into();
    }
    Ok(Some(payload))
}

/// A file of this host by its full path, as the bot may have another working directory; an address or a number of the
/// platform's as it is.
fn source(text: &str) -> Result<String, Failure> {
    let path = Path::new(text);
    // A platform's number of a file has neither a slash nor a dot.
    let is_address = text.starts_with("http://") || text.starts_with("https://");
    let is_path = text.contains(['/', '.']) && !is_address;
    if !is_path && !path.exists() {
        return Ok(text.to_owned());
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => return Err(Failure::Usage(format!("{text}: not a file that can be sent"))),
        Err(error) => return Err(Failure::Usage(format!("{text}: {error}"))),
    }
    let full = std::path::absolute(path).map_err(Failure::io("find"))?;
    Ok(full.to_string_lossy().into_owned())
}

fn content(json: Option<&PayloadArg>) -> Result<Value, Failure> {
    match json {
        None => Ok(json!({})),
        Some(PayloadArg::Given(fields)) => Ok(Value::Object(fields.clone())),
        Some(PayloadArg::Stdin) => {
            let mut text = String::new();
            let most = ENVELOPE_BYTES_MAX as u64 + 1;
            let read = std::io::stdin().lock().take(most).read_to_string(&mut text);
            read.map_err(Failure::io("read stdin"))?;
            let fields = crate::cli::args::payload(&text).map_err(|why| Failure::Usage(format!("--json: {why}")))?;
            Ok(Value::Object(fields))
        }
    }
}

fn after(now: Stamp, length: Duration) -> Stamp {
    Stamp(
        now.0
            .saturating_add(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)),
    )
}

/// One sender's way into one inbox, and what it has brought there.
struct Gate {
    inbox: Mailbox,
    policy: QueuePolicy,
    /// Targets that the bot must leave alone.
    blocked: Vec<BlockedTarget>,
    poster: Poster,
    done: Submitted,
}

impl Gate {
    fn open(client: &Client, bot: &BotId) -> Result<Gate, Failure> {
        let policy = client.queue_policy(bot)?;
        let inbox = Mailbox::new(client.home.inbox_of(bot)).bounded(&policy);
        inbox.create_inbox()?;
        let blocked = match client.read_store()? {
            None => Vec::new(),
            Some(store) => store.blocklist().blocked(Some(bot), clock::stamp())?,
        };
        Ok(Gate {
            inbox,
            policy,
            blocked,
            poster: Poster::new(),
            done: Submitted::default(),
        })
    }

    /// Waits for another sender that is at the same dedup key in this moment.
    fn submit(&mut self, envelopes: &[Envelope]) -> Result<(), Failure> {
        envelopes
            .iter()
            .try_for_each(|envelope| self.refuse_blocked(envelope))?;
        let begun = clock::now();
        loop {
            let now = clock::stamp();
            let sent = self
                .inbox
                .submit(&mut self.poster, envelopes, &self.policy, now, &mut self.done);
            match sent {
                Err(spool::Error::DedupPending { .. }) if clock::now().since(begun) < PENDING_TIME_MAX => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                sent => return Ok(sent?),
            }
        }
    }

    /// What is to go to a chat that the bot must leave alone is not accepted at all.
    fn refuse_blocked(&self, envelope: &Envelope) -> Result<(), Failure> {
        let chat = match &envelope.payload["chat"] {
            Value::String(chat) => chat.clone(),
            Value::Number(chat) => chat.to_string(),
            _ => return Ok(()),
        };
        let is_blocked = |it: &&BlockedTarget| it.target == chat && it.entry.is_blocked(envelope.created_at);
        match self.blocked.iter().find(is_blocked) {
            Some(it) if envelope.name == "send_message" => {
                let (bot, how) = (&it.bot, it.entry.shown());
                Err(Failure::Refused(format!(
                    "{chat} is blocked for {bot} {how}; let it go with: multibot blocklist remove {bot} {chat}"
                )))
            }
            _ => Ok(()),
        }
    }
}

/// What to add to the news that something was accepted.
fn unread_until_start(client: &Client, bot: &BotId) -> String {
    match client.supervisor() {
        Some(_) => String::new(),
        None => format!("; no supervisor runs, so {bot} reads it after: multibot start"),
    }
}

/// Waits for the final word on a message and prints it.
fn answer(client: &Client, bot: BotId, id: &str, timeout: Duration) -> Result<Exit, Failure> {
    if !wait_for_file(&reply_path(&client.home.replies(), id)?, timeout) {
        return Err(Failure::Unanswered { bot, after: timeout });
    }
    let reply = read_reply(&client.home.replies(), id)?.unwrap_or_default();
    let answer = &reply["payload"];
    if reply["kind"] == "error" {
        let why = answer["message"]
            .as_str()
            .map_or_else(|| answer.to_string(), output::visible);
        return Err(Failure::Refused(format!("{bot} refused: {why}")));
    }
    match answer["text"].as_str() {
        Some(text) => text.lines().try_for_each(|line| output::out(&output::visible(line)))?,
        None => output::record(answer)?,
    }
    Ok(Exit::Done)
}
