//! `multibot events`

use std::time::Duration;

use serde_json::json;

use crate::cli::args::Events;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::model::fact::Fact;
use crate::output::{self, Cell, Column, Paint, Style, Table};
use crate::store::{Period, Store};

/// Events that are shown unless something else is asked for.
const LINES: u32 = 50;
/// How often the history is looked at while it is followed: one look reads a page or two.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(in crate::cli) fn run(client: &Client, events: &Events) -> Result<Exit, Failure> {
    let now = clock::stamp();
    let since = events.since.map(|since| since.from(now));
    if let Some(since) = since.filter(|since| *since >= now) {
        return Err(Failure::Usage(format!("--since: {since} is not in the past")));
    }
    let mut store = client.read_store()?;
    while store.is_none() && events.follow {
        std::thread::sleep(LOOK_EVERY);
        if !output::has_reader() {
            return Ok(Exit::Done);
        }
        store = client.read_store()?;
    }
    let Some(store) = store else { return Ok(Exit::Done) };
    let period = Period {
        bot: events.bot.as_ref(),
        since,
        until: events.until.map(|until| until.from(now)),
        name: events.name.as_deref(),
    };
    let usual = if events.since.is_some() { u32::MAX } else { LINES };
    // Looked at first: what comes meanwhile is followed, not missed.
    let mut last = store.events().last()?;
    let found = store.events().matching(&period, events.lines.unwrap_or(usual))?;
    // The history of a bot that was removed is still there; a name that never was is a slip.
    if let (Some(bot), true) = (&events.bot, found.is_empty()) {
        let is_unknown = store.events().recent(Some(bot), 1)?.is_empty();
        if is_unknown {
            store.bots().get(bot)?;
        }
    }
    let newest = found
        .last()
        .filter(|newest| last.as_ref().is_none_or(|last| newest.number > last.number));
    last = newest.cloned().or(last);
    let facts: Vec<Fact> = found.into_iter().map(|it| it.fact).collect();
    if events.json {
        facts.iter().try_for_each(print_record)?;
    } else if events.follow {
        facts.iter().try_for_each(print_line)?;
    } else {
        print_table(facts)?;
    }
    if events.follow {
        follow(&store, &period, last, events.json)?;
    }
    Ok(Exit::Done)
}

/// Shows what is added from now on, once and in its order, until nobody reads on.
fn follow(
    store: &Store,
    period: &Period<'_>,
    mut last: Option<crate::store::Numbered>,
    as_json: bool,
) -> Result<(), Failure> {
    while output::has_reader() {
        std::thread::sleep(LOOK_EVERY);
        let newest = store.events().last()?;
        if newest == last {
            continue;
        }
        let found = store.events().after(period, last.as_ref())?;
        for added in &found {
            if as_json {
                print_record(&added.fact)?;
            } else {
                print_line(&added.fact)?;
            }
        }
        // Where nothing of what was added is meant, it need not be looked at again.
        last = found
            .last()
            .cloned()
            .filter(|it| newest.as_ref().is_none_or(|newest| it.number > newest.number))
            .or(newest);
    }
    Ok(())
}

fn print_record(fact: &Fact) -> Result<(), Failure> {
    Ok(output::record(&json!({
        "at": fact.at.to_string(), "bot": fact.bot.as_str(),
        "run_id": fact.run.as_ref().map(|run| run.as_str()),
        "name": fact.name, "detail": fact.detail,
    }))?)
}

/// One event as a line by itself: columns cannot be as wide as what is still to come.
fn print_line(fact: &Fact) -> Result<(), Failure> {
    let style = Style::of_stdout();
    let bot = style.paint(Paint::of_name(fact.bot.as_str()), fact.bot.as_str());
    let name = output::visible(&fact.name);
    let line = format!("{}  {bot}  {name}  {}", fact.at, output::visible(&fact.detail));
    Ok(output::out(line.trim_end())?)
}

fn print_table(facts: Vec<Fact>) -> Result<(), Failure> {
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
    Ok(output::out(&table.render(&Style::of_stdout()))?)
}
