//! `multibot explain`: why a bot is as it is, what was tried, what happens next, and what can be done.

mod rules;

use serde_json::json;

use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::view;
use crate::clock;
use crate::config::{Settings, legible_spec};
use crate::model::bot::{BotId, State};
use crate::model::fact::Fact;
use crate::model::units::{Stamp, show_age};
use crate::output::{self, visible};

use rules::Known;

/// Events that tell what was tried.
const EVENTS: u32 = 8;
/// Those that say nothing of how a bot does.
const CHATTER: [&str; 4] = ["message_received", "user_seen", "status_response", "heartbeat"];

pub(in crate::cli) fn run(client: &Client, id: &BotId, is_json: bool) -> Result<Exit, Failure> {
    client.known(std::slice::from_ref(id))?;
    let Some(store) = client.read_store()? else {
        return Ok(Exit::Done);
    };
    let own = Settings::from_json(&store.bots().get(id)?.settings_json)?;
    let spec = legible_spec(id, &[&own, &client.settings()?.defaults]);
    let mut view = view::look(client)?;
    view.only(std::slice::from_ref(id));
    let Some(bot) = view.bots.pop() else {
        return Ok(Exit::Done);
    };
    let now = clock::stamp();
    let since = bot.state_since.as_deref().and_then(Stamp::parse);
    let next_at = bot.next_restart_at.as_deref().and_then(Stamp::parse);
    let reason = bot.reason.clone().unwrap_or_default();
    let known = Known {
        id: id.as_str(),
        state: State::from_word(&bot.state).unwrap_or(State::Stopped),
        is_wanted: bot.wanted == "up",
        has_supervisor: client.supervisor().is_some(),
        held_for: bot.hold.as_ref().map(|hold| hold.class.as_str()),
        reason: &reason,
        failures: bot.failures,
        next_try: next_at.map(|at| at.since(now)),
        waiting: bot.inbox_new.unwrap_or(0) + bot.inbox_later.unwrap_or(0),
        dead: bot.dead.unwrap_or(0),
        spec: &spec,
    };
    let tried = tried(&store.events().recent(Some(id), 100)?);
    if is_json {
        let (next, remedies) = (rules::next(&known), rules::remedies(&known));
        let tried = tried
            .iter()
            .map(|fact| json!({"at": fact.at.to_string(), "event": fact.name, "detail": fact.detail}));
        let remedies = remedies.iter().map(|it| json!({"command": it.command, "why": it.why}));
        output::document(&json!({
            "schema": 1, "id": id.as_str(), "state": bot.state, "since": bot.state_since, "wanted": bot.wanted,
            "reason": bot.reason, "failures": bot.failures, "tried": tried.collect::<Vec<_>>(), "next": next,
            "remedies": remedies.collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Done);
    }
    let lasting = since.map(|since| format!(" for {}", show_age(now.since(since))));
    let head = format!("{id} is {}{}", bot.state, lasting.unwrap_or_default());
    let text = told(&head, &known, &tried, now);
    for line in text.lines() {
        output::out(&format!("{}\n", visible(line).trim_end()))?;
    }
    Ok(Exit::Done)
}

/// All of it for people.
fn told(head: &str, known: &Known<'_>, tried: &[Fact], now: Stamp) -> String {
    let (next, remedies) = (rules::next(known), rules::remedies(known));
    let because = if known.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", known.reason)
    };
    let mut text = format!("{head}{because}\n");
    if known.failures > 0 {
        text.push_str(&format!("it has failed {} times in a row\n", known.failures));
    }
    text.push_str("\nwhat happened:\n");
    for fact in tried {
        let ago = show_age(now.since(fact.at));
        text.push_str(&format!("  {ago:>8} ago  {}  {}\n", fact.name, fact.detail));
    }
    text.push_str("\nwhat happens next:\n");
    next.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    text.push_str("\nwhat you can do:\n");
    let width = remedies.iter().map(|it| it.command.len()).max().unwrap_or(0);
    for it in &remedies {
        text.push_str(&format!("  {:width$}  {}\n", it.command, it.why));
    }
    text
}

/// The newest events that tell how the bot did, oldest first.
fn tried(recent: &[Fact]) -> Vec<Fact> {
    let telling = recent.iter().filter(|fact| !CHATTER.contains(&fact.name.as_str()));
    let all: Vec<Fact> = telling.cloned().collect();
    let first = all.len().saturating_sub(EVENTS as usize);
    all[first..].to_vec()
}
