//! `multibot ipc`: one step of a bot that is a shell script()?.

mod credentials;

use serde_json::{Value, json};

use crate::cli::args::IpcVerb;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::model::message::Envelope;
use crate::output;
use crate::runner::script::Script;
use crate::spool::Failure as Negative;
use crate::spool::envelope::to_value;
use crate::spool::failure::Then;

/// Needs no home: the environment says where the mailboxes are.
pub(in crate::cli) fn run(verb: IpcVerb) -> Result<Exit, Failure> {
    let script = || Script::find(|name| std::env::var_os(name));
    match verb {
        IpcVerb::Ready => script()?.ready()?,
        IpcVerb::Heartbeat => script()?.beat()?,
        IpcVerb::Event { name, json } => script()?.event(&name, Value::Object(json.unwrap_or_default()))?,
        IpcVerb::Receive { timeout, json } => {
            let tell = |line: &str| output::note(&output::visible(line));
            let Some(envelope) = script()?.receive(timeout, tell)? else {
                return Ok(Exit::Failed);
            };
            if json {
                output::record(&to_value(&envelope))?;
            } else {
                output::out(&plain(&envelope))?;
            }
        }
        IpcVerb::Credentials { name, json } => return credentials::run(name.as_ref(), json),
        IpcVerb::Ack { id } => script()?.ack(&id)?,
        IpcVerb::Reply { id, text, json } => {
            let payload = match text {
                Some(text) => json!({"text": text}),
                None => Value::Object(json.unwrap_or_default()),
            };
            script()?.reply(&id, payload)?;
        }
        IpcVerb::Fail {
            id,
            message,
            retry_after,
            permanent,
        } => {
            let then = match retry_after {
                Some(wait) => Then::RetryAfter(wait),
                None if permanent => Then::Bury,
                None => Then::Retry,
            };
            script()?.fail(&id, &Negative::new(message, then))?;
        }
    }
    Ok(Exit::Done)
}

/// A message for `read` and `case`: names and numbers first, what was said behind. No word of the first line has
/// blanks in it.
fn plain(envelope: &Envelope) -> String {
    let Envelope {
        id,
        name,
        attempt,
        from,
        payload,
        ..
    } = envelope;
    let said = payload["text"]
        .as_str()
        .map_or_else(|| payload.to_string(), str::to_owned);
    format!("{id} {name} {attempt} {from}\n{said}\n")
}
