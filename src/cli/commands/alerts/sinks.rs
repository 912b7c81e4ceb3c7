//! `multibot alerts sinks`: where word of alerts goes, and what has not arrived.

use serde_json::json;

use crate::alerts::{Backlog, SinkBox};
use crate::cli::args::AlertSinks;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::model::units::{Stamp, show_age};
use crate::output::{self, Cell, Column, Paint, Style, Table};

pub(super) fn run(client: &Client, args: &AlertSinks) -> Result<Exit, Failure> {
    let now = clock::stamp();
    let mut table = Table::new(&[
        Column::Word("sink"),
        Column::Word("type"),
        Column::Word("state"),
        Column::Number("waiting"),
        Column::Number("since"),
        Column::Number("dead"),
        Column::Text("why"),
    ]);
    for (name, policy) in &client.settings()?.alerts.sinks {
        let backlog = SinkBox::new(&client.home, name).backlog()?;
        let (state, paint) = match (policy.enabled, backlog.failing_since, backlog.waiting) {
            (false, _, _) => ("disabled", Paint::Dim),
            (true, Some(_), _) => ("failing", Paint::Bad),
            (true, None, 0) => ("idle", Paint::Dim),
            (true, None, _) => ("waiting", Paint::Warning),
        };
        if args.json {
            let at = |stamp: Option<Stamp>| stamp.map(|stamp| stamp.to_string());
            output::record(&json!({
                "sink": name,
                "type": policy.kind.word(),
                "state": state,
                "waiting": backlog.waiting,
                "waiting_since": at(backlog.since),
                "failing_since": at(backlog.failing_since),
                "reason": backlog.reason,
                "dead": backlog.dead,
            }))?;
            continue;
        }
        let since = backlog.failing_since.or(backlog.since);
        table.row([
            Cell::from(name.clone()),
            policy.kind.word().into(),
            Cell::painted(state, paint),
            backlog.waiting.to_string().into(),
            since.map_or("-".to_owned(), |at| show_age(now.since(at))).into(),
            backlog.dead.to_string().into(),
            output::visible(backlog.reason.as_deref().unwrap_or_default()).into(),
        ]);
    }
    if !args.json {
        output::out(&table.render(&Style::of_stdout()))?;
    }
    Ok(Exit::Done)
}

/// Why a word that was not tried yet waits.
pub(super) fn turn(backlog: &Backlog) -> String {
    match &backlog.reason {
        Some(reason) => format!("{} wait for the first of them, which fails: {reason}", backlog.waiting),
        None => format!("it is not its turn yet; {} wait", backlog.waiting),
    }
}
