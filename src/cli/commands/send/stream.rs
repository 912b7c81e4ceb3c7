//! `multibot send BOT -`: many messages from stdin, one JSON object on each line, posted in large batches.

use std::collections::HashMap;
use std::io::{BufRead, Read};

use serde_json::{Map, Value, json};

use super::{Gate, after, unread_until_start};
use crate::cli::args::{Send, payload};
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::model::bot::BotId;
use crate::model::limits::{ENVELOPE_BYTES_MAX, ENVELOPES_PER_FILE_MAX, MAILBOX_FILE_BYTES_MAX};
use crate::model::message::Envelope;
use crate::model::units::{Stamp, show_size};
use crate::output;
use crate::spool::envelope::{Defaults, from_line, to_line};
use crate::spool::new_id;

/// Lines that go into one file.
#[derive(Default)]
struct Batch {
    envelopes: Vec<Envelope>,
    bytes: u64,
    first_line: usize,
}

pub(super) fn run(client: &Client, bot: &BotId, send: &Send, mut input: impl BufRead) -> Result<Exit, Failure> {
    let mut gate = Gate::open(client, bot)?;
    let mut batch = Batch::default();
    let mut lines = Lines {
        input: &mut input,
        number: 0,
        line_of: HashMap::new(),
    };
    loop {
        let envelope = match lines.next_envelope(bot, send) {
            Ok(Some(envelope)) => envelope,
            Ok(None) => break,
            Err(why) => {
                post(&mut gate, &mut batch)?;
                return Err(ended(&gate, &format!("line {}: {why}", lines.number)));
            }
        };
        let bytes = to_line(&envelope).len() as u64 + 1;
        // The most urgent message decides for all in a file.
        let is_other = batch
            .envelopes
            .last()
            .is_some_and(|last| last.priority != envelope.priority);
        if is_other || batch.envelopes.len() == ENVELOPES_PER_FILE_MAX || batch.bytes + bytes > MAILBOX_FILE_BYTES_MAX {
            post(&mut gate, &mut batch)?;
        }
        if batch.envelopes.is_empty() {
            batch.first_line = lines.number;
        }
        batch.bytes += bytes;
        batch.envelopes.push(envelope);
    }
    post(&mut gate, &mut batch)?;
    output::note(&format!("{}{}", counted(&gate), unread_until_start(client, bot)));
    Ok(Exit::Done)
}

/// Standard input, line by line.
struct Lines<'a, R> {
    input: &'a mut R,
    /// Of the line that was read last, from 1 on.
    number: usize,
    /// Where each id stood: what becomes of a message is told by it.
    line_of: HashMap<String, usize>,
}

impl<R: BufRead> Lines<'_, R> {
    /// The envelope of the next line that is not blank; None at the end.
    fn next_envelope(&mut self, bot: &BotId, send: &Send) -> Result<Option<Envelope>, String> {
        while let Some(line) = self.next()? {
            if line.trim().is_empty() {
                continue;
            }
            let envelope = read(line.trim(), bot, send, clock::stamp())?;
            return match self.line_of.insert(envelope.id.clone(), self.number) {
                Some(earlier) => Err(format!("its id is that of line {earlier}")),
                None => Ok(Some(envelope)),
            };
        }
        Ok(None)
    }

    /// The next line; None at the end. One that is longer than any message is not read to its end.
    fn next(&mut self) -> Result<Option<String>, String> {
        self.number += 1;
        let mut bytes = Vec::new();
        let length_max = 2 * ENVELOPE_BYTES_MAX as u64;
        self.input
            .by_ref()
            .take(length_max)
            .read_until(b'\n', &mut bytes)
            .map_err(|error| format!("cannot read stdin: {error}"))?;
        if bytes.len() as u64 == length_max {
            return Err(format!("it is longer than {}", show_size(length_max)));
        }
        let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
        Ok((!text.is_empty()).then_some(text))
    }
}

fn post(gate: &mut Gate, batch: &mut Batch) -> Result<(), Failure> {
    let Batch {
        envelopes, first_line, ..
    } = std::mem::take(batch);
    if envelopes.is_empty() {
        return Ok(());
    }
    gate.submit(&envelopes)
        .map_err(|error| ended(gate, &format!("from line {first_line} on: {error}")))
}

/// Why it went no further, and how far it had come.
fn ended(gate: &Gate, why: &str) -> Failure {
    Failure::Refused(format!("{why}; before that {}", counted(gate)))
}

fn counted(gate: &Gate) -> String {
    let count = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        many => format!("{many} {word}s"),
    };
    let accepted = format!("accepted {}", count(gate.done.accepted.len(), "message"));
    match gate.done.duplicates.len() {
        0 => accepted,
        many => format!("{accepted}, {}", count(many, "duplicate")),
    }
}

/// A line's envelope. What the command line says holds where the line says nothing; whom it is from and for is not
/// the line's to say.
fn read(line: &str, bot: &BotId, send: &Send, now: Stamp) -> Result<Envelope, String> {
    let mut fields: Map<String, Value> = payload(line)?;
    if let Some(text) = fields.shift_remove("text") {
        if fields.contains_key("payload") {
            return Err("it has both text and payload: write one of them".to_owned());
        }
        fields.insert("payload".to_owned(), json!({ "text": text }));
        fields.entry("name").or_insert_with(|| "send_message".into());
    }
    fields.entry("id").or_insert_with(|| new_id(now).into());
    fields.entry("kind").or_insert_with(|| "command".into());
    fields.insert("from".to_owned(), "cli".into());
    fields.insert("to".to_owned(), bot.as_str().into());
    fields.entry("priority").or_insert_with(|| send.priority.into());
    if let Some(length) = send.expires {
        let expires_at = after(now, length).to_string();
        fields.entry("expires_at").or_insert_with(|| expires_at.into());
    }
    if let Some(key) = &send.order_key {
        fields.entry("order_key").or_insert_with(|| key.as_str().into());
    }
    let defaults = Defaults {
        from: "cli",
        to: bot.as_str(),
        now,
    };
    from_line(&Value::Object(fields).to_string(), &defaults).map_err(|fault| fault.to_string())
}
