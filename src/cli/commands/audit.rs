//! `multibot audit`

use serde_json::json;

use crate::cli::args::{Audit, AuditVerb};
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::output::{self, Cell, Column, Style, Table};
use crate::store::{AuditQuery, Chain, Store};

pub(in crate::cli) fn run(client: &Client, audit: &Audit) -> Result<Exit, Failure> {
    let Some(store) = client.read_store()? else {
        return Ok(Exit::Done);
    };
    if audit.verb == Some(AuditVerb::Verify) {
        return verify(&store);
    }
    let query = AuditQuery {
        bot: audit.bot.as_ref(),
        since: audit.since.map(|since| since.from(clock::stamp())),
        actor: audit.actor.as_deref(),
    };
    let entries = store.audit().recent(&query, audit.lines)?;
    if audit.json {
        for entry in &entries {
            output::record(&json!({
                "at": entry.at.to_string(), "actor": entry.actor, "action": entry.action,
                "bot": entry.bot.as_ref().map(|bot| bot.as_str()), "detail": entry.detail,
            }))?;
        }
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        Column::Word("time"),
        Column::Word("actor"),
        Column::Word("action"),
        Column::Word("bot"),
        Column::Text("detail"),
    ]);
    for entry in entries {
        table.row([
            Cell::from(entry.at.to_string()),
            entry.actor.into(),
            entry.action.into(),
            entry.bot.map(|bot| bot.to_string()).unwrap_or_default().into(),
            entry.detail.into(),
        ]);
    }
    output::out(&table.render(&Style::of_stdout()))?;
    Ok(Exit::Done)
}

fn verify(store: &Store) -> Result<Exit, Failure> {
    match store.audit().verify()? {
        Chain::Whole { sealed, unsealed } => {
            let older = match unsealed {
                0 => String::new(),
                count => format!("; {count} are older than the hashes"),
            };
            output::out(&format!(
                "the audit is whole: {sealed} entries are as they were written{older}\n"
            ))?;
            Ok(Exit::Done)
        }
        Chain::Broken { row, at, why } => Err(Failure::Refused(format!(
            "the audit was changed: entry {row} of {at}: {why}; what stands from there on proves nothing"
        ))),
        Chain::Cut { last, expected } => Err(Failure::Refused(format!(
            "the audit was cut: it ends with entry {last}, the last one was {expected}"
        ))),
    }
}
