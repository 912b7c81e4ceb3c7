//! `multibot audit`

use serde_json::json;

use crate::cli::args::Audit;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::output::{self, Cell, Column, Style, Table};

pub(in crate::cli) fn run(client: &Client, audit: &Audit) -> Result<Exit, Failure> {
    let Some(store) = client.read_store()? else {
        return Ok(Exit::Done);
    };
    let entries = store.audit().recent(audit.bot.as_ref(), audit.lines)?;
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
