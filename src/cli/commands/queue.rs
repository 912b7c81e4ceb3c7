//! `multibot queue`: messages and where they are. Works on the folders themselves, with and without a supervisor.

use serde_json::{Value, json};

use crate::cli::args::{Picked, Queue, QueueVerb};
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::model::bot::BotId;
use crate::model::units::{Stamp, show_age};
use crate::output::{self, Cell, Column, Paint, Style, Table};
use crate::spool::envelope::to_value;
use crate::spool::{DeadLetters, Defaults, Item, Mailbox, Place, Poster, new_id};
use crate::supervisor::mailboxes::QUEUE_CLAIMANT;

pub(in crate::cli) fn run(client: &Client, queue: &Queue) -> Result<Exit, Failure> {
    let bots = match &queue.bot {
        Some(bot) => {
            client.known(std::slice::from_ref(bot))?;
            vec![bot.clone()]
        }
        None => {
            let records = client
                .read_store()?
                .map_or(Ok(Vec::new()), |store| store.bots().list())?;
            records.into_iter().map(|record| record.id).collect()
        }
    };
    match queue.verb.as_ref() {
        None => list(client, &bots, None, false),
        Some(QueueVerb::List { place, json }) => list(client, &bots, *place, *json),
        Some(QueueVerb::Show { id, json }) => show(client, &bots, id, *json),
        Some(QueueVerb::Stats { json }) => stats(client, &bots, *json),
        Some(QueueVerb::Retry(picked)) => act(client, &bots, picked, Action::Retry),
        Some(QueueVerb::Hold(picked)) => act(client, &bots, picked, Action::Hold),
        Some(QueueVerb::Release(picked)) => act(client, &bots, picked, Action::Release),
        Some(QueueVerb::Drop(picked)) => act(client, &bots, picked, Action::Drop),
    }
}

/// What is done to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Retry,
    Hold,
    Release,
    Drop,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Action::Retry => "retry",
            Action::Hold => "hold",
            Action::Release => "release",
            Action::Drop => "drop",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Action::Retry => "sent again",
            Action::Hold => "held back",
            Action::Release => "released",
            Action::Drop => "dropped",
        }
    }

    /// Where a message may be for this.
    fn places(self) -> &'static [Place] {
        match self {
            Action::Retry => &[Place::Dead, Place::Later, Place::Held],
            Action::Hold => &[Place::New, Place::Later],
            Action::Release => &[Place::Held],
            Action::Drop => &[Place::New, Place::Later, Place::Held, Place::Dead],
        }
    }
}

/// A bot's folders.
fn folders(client: &Client, bot: &BotId) -> (Mailbox, DeadLetters) {
    let home = &client.home;
    (Mailbox::new(home.inbox_of(bot)), DeadLetters::new(home.dead_of(bot)))
}

fn items(client: &Client, bot: &BotId) -> Result<Vec<Item>, Failure> {
    let (inbox, dead) = folders(client, bot);
    let defaults = Defaults {
        from: "supervisor",
        to: bot.as_str(),
        now: clock::stamp(),
    };
    Ok(inbox.items(&dead, &defaults)?)
}

fn list(client: &Client, bots: &[BotId], place: Option<Place>, is_json: bool) -> Result<Exit, Failure> {
    let now = clock::stamp();
    let mut table = Table::new(&[
        Column::Word("bot"),
        Column::Word("place"),
        Column::Word("id"),
        Column::Word("name"),
        Column::Number("priority"),
        Column::Number("attempt"),
        Column::Number("age"),
        Column::Text("what"),
    ]);
    for bot in bots {
        for item in items(client, bot)? {
            if place.is_some_and(|place| place != item.place) {
                continue;
            }
            if is_json {
                output::record(&value(bot, &item, now, false))?;
                continue;
            }
            let envelope = item.envelope.as_ref();
            let number = |number: Option<u32>| number.map_or("-".to_owned(), |number| number.to_string());
            table.row([
                Cell::painted(bot.as_str(), Paint::of_name(bot.as_str())),
                item.place.word().into(),
                output::visible(item.id()).into(),
                envelope.map_or("-", |envelope| &envelope.name).to_owned().into(),
                number(envelope.map(|envelope| u32::from(envelope.priority))).into(),
                number(envelope.map(|envelope| envelope.attempt)).into(),
                item_age(&item, now).map_or("-".to_owned(), show_age).into(),
                output::visible(&what(&item, now)).into(),
            ]);
        }
    }
    if !is_json {
        output::out(&table.render(&Style::of_stdout()))?;
    }
    Ok(Exit::Done)
}

/// How long ago a message was posted, or a dead letter buried.
fn item_age(item: &Item, now: Stamp) -> Option<std::time::Duration> {
    (item.posted_at.0 > 0).then(|| now.since(item.posted_at))
}

/// What there is to say of a message beside its fields.
fn what(item: &Item, now: Stamp) -> String {
    if let Some(reason) = &item.reason {
        return reason.clone();
    }
    if let Some(due) = item.due {
        let wait = show_age(due.since(now));
        let why = item.envelope.as_ref().and_then(|envelope| envelope.history.last());
        return why.map_or_else(|| format!("in {wait}"), |past| format!("in {wait}: {}", past.why));
    }
    item.claimant.as_ref().map_or(String::new(), |run| format!("run {run}"))
}

fn value(bot: &BotId, item: &Item, now: Stamp, is_whole: bool) -> Value {
    let envelope = item.envelope.as_ref();
    let mut value = json!({
        "bot": bot.as_str(),
        "place": item.place.word(),
        "id": item.id(),
        "file": item.file,
        "kind": envelope.map(|envelope| envelope.kind.word()),
        "name": envelope.map(|envelope| envelope.name.as_str()),
        "from": envelope.map(|envelope| envelope.from.as_str()),
        "priority": envelope.map(|envelope| envelope.priority),
        "attempt": envelope.map(|envelope| envelope.attempt),
        "age_s": item_age(item, now).map(|age| age.as_secs()),
        "due_at": item.due.map(|due| due.to_string()),
        "run_id": item.claimant,
        "reason": item.reason,
    });
    if is_whole {
        value["envelope"] = envelope.map_or(Value::Null, to_value);
    }
    value
}

/// The messages that are meant by a word, each with its bot.
fn called(client: &Client, bots: &[BotId], word: &str) -> Result<Vec<(BotId, Item)>, Failure> {
    let mut found = Vec::new();
    for bot in bots {
        let named = items(client, bot)?.into_iter().filter(|item| item.is_called(word));
        found.extend(named.map(|item| (bot.clone(), item)));
    }
    if found.is_empty() {
        return Err(Failure::Refused(format!(
            "no message {word}: it is done, or look with: multibot queue list"
        )));
    }
    Ok(found)
}

fn show(client: &Client, bots: &[BotId], id: &str, is_json: bool) -> Result<Exit, Failure> {
    let now = clock::stamp();
    for (bot, item) in called(client, bots, id)? {
        let value = value(&bot, &item, now, true);
        if is_json {
            output::record(&value)?;
            continue;
        }
        let fields = value.as_object().into_iter().flatten();
        for (key, value) in fields.filter(|(key, value)| !value.is_null() && *key != "envelope") {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            output::out(&output::visible(&format!("{key:<9} {text}")))?;
        }
        let Some(envelope) = &item.envelope else { continue };
        for past in &envelope.history {
            output::out(&output::visible(&format!("{:<9} {} {}", "history", past.at, past.why)))?;
        }
        output::out(&output::visible(&format!("{:<9} {}", "payload", envelope.payload)))?;
    }
    Ok(Exit::Done)
}

fn stats(client: &Client, bots: &[BotId], is_json: bool) -> Result<Exit, Failure> {
    let now = clock::stamp();
    let mut columns = vec![Column::Word("bot")];
    columns.extend(Place::ALL.map(|place| Column::Number(place.word())));
    columns.push(Column::Number("oldest"));
    let mut table = Table::new(&columns);
    for bot in bots {
        let items = items(client, bot)?;
        let count = |place: Place| items.iter().filter(|item| item.place == place).count();
        let is_open = |item: &&Item| !matches!(item.place, Place::Held | Place::Dead);
        let oldest = items
            .iter()
            .filter(is_open)
            .filter_map(|item| item_age(item, now))
            .max();
        if is_json {
            let mut value = json!({"bot": bot.as_str()});
            for place in Place::ALL {
                value[place.word()] = count(place).into();
            }
            value["oldest_age_s"] = json!(oldest.map(|age| age.as_secs()));
            output::record(&value)?;
            continue;
        }
        let mut cells = vec![Cell::painted(bot.as_str(), Paint::of_name(bot.as_str()))];
        cells.extend(Place::ALL.map(|place| Cell::from(count(place).to_string())));
        cells.push(oldest.map_or("-".to_owned(), show_age).into());
        table.row(cells);
    }
    if !is_json {
        output::out(&table.render(&Style::of_stdout()))?;
    }
    Ok(Exit::Done)
}

/// Does the same to every message that is meant; each is found anew, as taking one out of a file moves the others.
fn act(client: &Client, bots: &[BotId], picked: &Picked, action: Action) -> Result<Exit, Failure> {
    let words: Vec<String> = if picked.all {
        let mut words = Vec::new();
        for bot in bots {
            let there = items(client, bot)?
                .into_iter()
                .filter(|item| picked.place == Some(item.place));
            words.extend(there.map(|item| item.id().to_owned()));
        }
        words
    } else {
        picked.ids.clone()
    };
    let mut failed = 0;
    for word in &words {
        let outcome = called(client, bots, word).and_then(|found| act_on(client, found, picked, action));
        let problem = outcome.as_ref().err().map(ToString::to_string);
        if let Some(problem) = &problem {
            failed += 1;
            output::error(&output::visible(problem));
        }
        if picked.json {
            let done = problem.is_none().then_some(action.word());
            output::record(&json!({"id": word, "done": done, "error": problem}))?;
        }
    }
    output::note(&format!(
        "{} of {} messages {}",
        words.len() - failed,
        words.len(),
        action.done()
    ));
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

fn act_on(client: &Client, found: Vec<(BotId, Item)>, picked: &Picked, action: Action) -> Result<(), Failure> {
    let mut refusal = String::new();
    for (bot, item) in found {
        if picked.place.is_some_and(|place| place != item.place) || !action.places().contains(&item.place) {
            refusal = format!(
                "cannot {} {} of {bot}: it is in {}",
                action.word(),
                item.id(),
                item.place.word()
            );
            continue;
        }
        let claimant = format!("{QUEUE_CLAIMANT}{}", new_id(clock::stamp()));
        let inbox = folders(client, &bot).0;
        let is_done = match action {
            Action::Hold => inbox.hold(&item, &claimant)?,
            Action::Release => inbox.release(&item, &claimant)?,
            Action::Drop => inbox.discard(&item, &claimant)?,
            Action::Retry if item.place == Place::Dead => revive(client, &bot, &item, &claimant)?,
            Action::Retry => inbox.release(&item, &claimant)?,
        };
        if is_done {
            let store = client.store()?;
            client.audit(&store, &format!("queue {}", action.word()), Some(&bot), item.id())?;
            return Ok(());
        }
        refusal = format!(
            "cannot {} {} of {bot}: somebody else has it by now",
            action.word(),
            item.id()
        );
    }
    Err(Failure::Refused(refusal))
}

/// Posts a dead letter again, from its first attempt on and with its history, where it came from.
fn revive(client: &Client, bot: &BotId, item: &Item, claimant: &str) -> Result<bool, Failure> {
    let Some(mut envelope) = item.envelope.clone() else {
        let (id, why) = (item.id(), item.reason.as_deref().unwrap_or("it cannot be read"));
        return Err(Failure::Refused(format!("cannot retry {id} of {bot}: {why}")));
    };
    envelope.attempt = 1;
    let policy = client.queue_policy(bot)?;
    let target = if item.from_box.as_deref() == Some("outbox") {
        Mailbox::new(client.home.outbox_of(bot))
    } else {
        Mailbox::new(client.home.inbox_of(bot)).bounded(&policy)
    };
    target.create()?;
    let now = clock::stamp();
    target.post(&mut Poster::new(), &[envelope], policy.durability, now)?;
    Ok(folders(client, bot).0.discard(item, claimant)?)
}
