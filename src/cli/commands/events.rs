//! `multibot events`

use serde_json::json;

use crate::cli::args::Events;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::output::{self, Cell, Column, Paint, Style, Table};

pub(in crate::cli) fn run(client: &Client, events: &Events) -> Result<Exit, Failure> {
    let Some(store) = client.read_store()? else {
        return Ok(Exit::Done);
    };
    let facts = store.events().recent(events.bot.as_ref(), events.lines)?;
    // The history of a bot that was removed is still there; a name that never was is a slip.
    if let (Some(bot), true) = (&events.bot, facts.is_empty()) {
        store.bots().get(bot)?;
    }
    if events.json {
        for fact in &facts {
            output::record(&json!({
                "at": fact.at.to_string(), "bot": fact.bot.as_str(),
                "run_id": fact.run.as_ref().map(|run| run.as_str()),
                "name": fact.name, "detail": fact.detail,
            }))?;
        }
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        Column::Word("time"),
        Column::Word("bot"),
        Column::Word("event"),
        Column::Text("detail"),
    ]);
    for fact in facts {
        table.row([
            Cell::from(fact.at.to_string()),
            Cell::painted(fact.bot.as_str(), Paint::of_name(fact.bot.as_str())),
            fact.name.into(),
            fact.detail.into(),
        ]);
    }
    output::out(&table.render(&Style::of_stdout()))?;
    Ok(Exit::Done)
}
