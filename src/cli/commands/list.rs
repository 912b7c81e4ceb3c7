//! `multibot list`

use serde_json::json;

use crate::cli::args::List;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::view;
use crate::model::bot::State;
use crate::output::{self, Cell, Column, Paint, Style, Table};

pub(in crate::cli) fn run(client: &Client, list: &List) -> Result<Exit, Failure> {
    let view = view::look(client)?;
    if list.json {
        let bots: Vec<_> = view
            .bots
            .iter()
            .map(|bot| {
                json!({
                    "id": bot.id, "index": bot.index, "platform": bot.platform, "wanted": bot.wanted,
                    "enabled": bot.enabled, "state": bot.state, "reason": bot.reason,
                })
            })
            .collect();
        output::document(&json!({"schema": 1, "bots": bots}))?;
        return Ok(Exit::Done);
    }
    for note in &view.supervisor.notes {
        output::note(&format!("note: {note}"));
    }
    if view.bots.is_empty() {
        output::note("no bots yet; create one with: multibot bot create demo");
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        Column::Number("index"),
        Column::Word("bot"),
        Column::Word("platform"),
        Column::Word("wanted"),
        Column::Word("state"),
        Column::Text("reason"),
    ]);
    for bot in &view.bots {
        let paint = State::from_word(&bot.state).map_or(Paint::Dim, Paint::of_state);
        table.row([
            Cell::from(bot.index.to_string()),
            bot.id.clone().into(),
            bot.platform.clone().into(),
            bot.wanted.clone().into(),
            Cell::painted(bot.state.clone(), paint),
            bot.reason.clone().unwrap_or_default().into(),
        ]);
    }
    output::out(&table.render(&Style::of_stdout()))?;
    Ok(Exit::Done)
}
