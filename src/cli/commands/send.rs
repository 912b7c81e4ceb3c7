//! `multibot send`

use serde_json::{Value, json};

use crate::cli::args::Send;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::model::message::{Envelope, Kind};
use crate::output;
use crate::spool::replies::{read_reply, reply_path};
use crate::spool::{self, Durability, Mailbox, Poster, wait_for_file};

/// Puts the message into the bot's inbox itself: it is accepted and safe whether or not a supervisor
/// runs. Only an answer needs one.
pub(in crate::cli) fn run(client: &Client, send: Send) -> Result<Exit, Failure> {
    client.known(std::slice::from_ref(&send.bot))?;
    if send.wait {
        client.need_supervisor()?;
    }
    let (name, payload) = match (send.text, send.name) {
        (Some(text), _) => ("send_message".to_owned(), json!({"text": text})),
        (None, name) => (name.unwrap_or_default(), Value::Object(send.json.unwrap_or_default())),
    };
    let now = clock::stamp();
    let id = spool::new_id(now);
    let envelope = Envelope::new(id.clone(), Kind::Command, &name, "cli", send.bot.as_str(), now).with_payload(payload);
    let inbox = Mailbox::new(client.home.inbox_of(&send.bot));
    inbox.create()?;
    inbox.post(&mut Poster::new(), &[envelope], Durability::Batch, now)?;
    if !send.wait {
        output::note(&match client.supervisor() {
            Some(_) => format!("accepted as {id}"),
            None => format!(
                "accepted as {id}; no supervisor runs, so {} reads it after: multibot start",
                send.bot
            ),
        });
        return Ok(Exit::Done);
    }
    if !wait_for_file(&reply_path(&client.home.replies(), &id)?, send.timeout) {
        return Err(Failure::Unanswered {
            bot: send.bot,
            after: send.timeout,
        });
    }
    let reply = read_reply(&client.home.replies(), &id)?.unwrap_or_default();
    let answer = &reply["payload"];
    if reply["kind"] == "error" {
        let why = answer["message"]
            .as_str()
            .map_or_else(|| answer.to_string(), output::visible);
        return Err(Failure::Refused(format!("{} refused: {why}", send.bot)));
    }
    match answer["text"].as_str() {
        Some(text) => text.lines().try_for_each(|line| output::out(&output::visible(line)))?,
        None => output::record(answer)?,
    }
    Ok(Exit::Done)
}
