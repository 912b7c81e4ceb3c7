//! `multibot alerts`: what is wrong, who knows of it, what is silenced, and whether word of it would arrive. Works on
//! the store and the mailboxes of the sinks, with and without a supervisor; one that runs takes changes over.

mod sinks;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::alerts::{Fate, SinkBox, test_content};
use crate::cli::args::{AlertAck, AlertList, AlertSilence, AlertTest, AlertVerb, Alerts};
use crate::cli::client::{Client, Takeover, actor};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::model::alert::{Alert, Level, Rule, Silence, SinkPolicy};
use crate::model::bot::BotId;
use crate::model::nearest::nearest;
use crate::model::units::{Stamp, show_age, show_duration};
use crate::output::{self, Cell, Column, Paint, Style, Table};
use crate::spool::new_id;

/// Alerts that one list shows; as many as are kept.
const LIST_MAX: u32 = 10_000;
/// How often a test looks whether its word has gone out.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(in crate::cli) fn run(client: &Client, alerts: &Alerts) -> Result<Exit, Failure> {
    match &alerts.verb {
        None => list(client, &alerts.list),
        Some(AlertVerb::List(args)) => list(client, args),
        Some(AlertVerb::Ack(args)) => acknowledge(client, args),
        Some(AlertVerb::Silence(args)) => silence(client, args),
        Some(AlertVerb::Sinks(args)) => sinks::run(client, args),
        Some(AlertVerb::Test(args)) => test(client, args),
    }
}

fn list(client: &Client, args: &AlertList) -> Result<Exit, Failure> {
    let now = clock::stamp();
    let (mut alerts, silences) = match client.read_store()? {
        None => (Vec::new(), Vec::new()),
        Some(store) => {
            let since = args.since.map(|since| since.from(now));
            let alerts = match (args.all, since) {
                (false, None) => store.alerts().open()?,
                (_, since) => store.alerts().recent(since.unwrap_or(Stamp(0)), LIST_MAX)?,
            };
            (alerts, store.alerts().silences(now)?)
        }
    };
    alerts.retain(|alert| args.bot.is_none() || alert.bot == args.bot);
    let silenced = |alert: &Alert| {
        let covering = silences
            .iter()
            .filter(|silence| silence.covers(alert.rule, alert.bot.as_ref()));
        covering.map(|silence| silence.until).max()
    };
    if args.json {
        for alert in &alerts {
            output::record(&value(alert, silenced(alert)))?;
        }
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        Column::Word("id"),
        Column::Word("level"),
        Column::Word("rule"),
        Column::Word("bot"),
        Column::Number("since"),
        Column::Word("state"),
        Column::Text("what"),
    ]);
    for alert in &alerts {
        let until = silenced(alert);
        table.row([
            Cell::from(alert.id.clone()),
            Cell::painted(alert.level.word(), paint(alert)),
            alert.rule.word().into(),
            alert.bot.as_ref().map_or("-".to_owned(), BotId::to_string).into(),
            show_age(now.since(alert.raised_at)).into(),
            state(alert, until).into(),
            output::visible(&explanation(alert, until, now)).into(),
        ]);
    }
    if alerts.is_empty() {
        output::note("no alerts");
    } else {
        output::out(&table.render(&Style::of_stdout()))?;
    }
    Ok(Exit::Done)
}

fn paint(alert: &Alert) -> Paint {
    match alert.level {
        _ if alert.recovered_at.is_some() => Paint::Dim,
        Level::Critical => Paint::Bad,
        Level::Warning => Paint::Warning,
        Level::Info => Paint::Dim,
    }
}

fn state(alert: &Alert, silenced_until: Option<Stamp>) -> &'static str {
    match (alert.recovered_at, &alert.acked, silenced_until) {
        (Some(_), _, _) => "recovered",
        (None, Some(_), _) => "acked",
        (None, None, Some(_)) => "silenced",
        (None, None, None) => "open",
    }
}

fn explanation(alert: &Alert, silenced_until: Option<Stamp>, now: Stamp) -> String {
    match (alert.recovered_at, &alert.acked, silenced_until) {
        (Some(at), _, _) => {
            let length = show_age(at.since(alert.raised_at));
            format!("{}; over after {length}", alert.text)
        }
        (None, Some(acked), _) => format!("{}; {} knows of it", alert.text, acked.by),
        (None, None, Some(until)) => format!("{}; silent for {}", alert.text, show_age(until.since(now))),
        (None, None, None) => alert.text.clone(),
    }
}

fn value(alert: &Alert, silenced_until: Option<Stamp>) -> Value {
    let at = |stamp: Option<Stamp>| stamp.map(|stamp| stamp.to_string());
    json!({
        "id": alert.id,
        "rule": alert.rule.word(),
        "bot": alert.bot.as_ref().map(BotId::as_str),
        "level": alert.level.word(),
        "text": alert.text,
        "state": state(alert, silenced_until),
        "raised_at": alert.raised_at.to_string(),
        "recovered_at": at(alert.recovered_at),
        "reminded_at": at(alert.reminded_at),
        "acked_at": at(alert.acked.as_ref().map(|acked| acked.at)),
        "acked_by": alert.acked.as_ref().map(|acked| acked.by.as_str()),
        "silenced_until": at(silenced_until),
    })
}

fn acknowledge(client: &Client, args: &AlertAck) -> Result<Exit, Failure> {
    if let Some(bot) = &args.bot {
        client.known(std::slice::from_ref(bot))?;
    }
    let store = client.store()?;
    let open = store.alerts().open()?;
    let is_meant = |alert: &&Alert| args.all || (args.bot.is_some() && alert.bot == args.bot);
    let mut meant: Vec<&Alert> = open.iter().filter(is_meant).collect();
    for id in &args.ids {
        let found = open.iter().find(|alert| alert.id == id.to_uppercase());
        meant.push(found.ok_or_else(|| {
            let said = format!("no open alert {id}: it is over, or look with: multibot alerts");
            Failure::Refused(said)
        })?);
    }
    let ids: Vec<String> = meant.iter().map(|alert| alert.id.clone()).collect();
    let count = store.alerts().acknowledge(&ids, &actor(), clock::stamp())?;
    for alert in meant {
        let detail = format!("{} {}", alert.rule.word(), alert.id);
        client.audit(&store, "alerts ack", alert.bot.as_ref(), &detail)?;
    }
    let takeover = client.hand_over(Duration::MAX)?;
    output::note(&format!(
        "{count} {} acknowledged",
        if count == 1 { "alert" } else { "alerts" }
    ));
    note_delay(takeover);
    Ok(Exit::Done)
}

/// It is stored; says when that holds later.
fn note_delay(takeover: Takeover) {
    if let Some(why) = takeover.delay() {
        output::note(&why);
    }
}

fn silence(client: &Client, args: &AlertSilence) -> Result<Exit, Failure> {
    let Some(lasting) = args.lasting else {
        return if args.clear {
            clear(client, args)
        } else {
            list_silences(client, args)
        };
    };
    if let Some(bot) = &args.bot {
        client.known(std::slice::from_ref(bot))?;
    }
    let now = clock::stamp();
    let length = i64::try_from(lasting.as_micros()).unwrap_or(i64::MAX);
    let silence = Silence {
        bot: args.bot.clone(),
        rule: args.rule,
        until: Stamp(now.0.saturating_add(length)),
        created_at: now,
        by: actor(),
        reason: args.reason.clone(),
    };
    let store = client.store()?;
    store.alerts().add_silence(&silence)?;
    let reason = args.reason.as_deref().map(|reason| format!(": {reason}"));
    let detail = format!(
        "{} for {}{}",
        args.rule.map_or("every rule", Rule::word),
        show_duration(lasting),
        reason.unwrap_or_default()
    );
    client.audit(&store, "alerts silence", args.bot.as_ref(), &detail)?;
    let takeover = client.hand_over(Duration::MAX)?;
    output::note(&format!(
        "silent until {}: {} of {}",
        silence.until,
        args.rule.map_or("every rule", Rule::word),
        args.bot.as_ref().map_or("every bot", BotId::as_str)
    ));
    note_delay(takeover);
    Ok(Exit::Done)
}

fn clear(client: &Client, args: &AlertSilence) -> Result<Exit, Failure> {
    let store = client.store()?;
    let count = store.alerts().clear_silences(args.bot.as_ref(), args.rule)?;
    let detail = format!("{} ended", args.rule.map_or("every rule", Rule::word));
    client.audit(&store, "alerts silence", args.bot.as_ref(), &detail)?;
    let takeover = client.hand_over(Duration::MAX)?;
    output::note(&format!(
        "{count} {} ended",
        if count == 1 { "silence" } else { "silences" }
    ));
    note_delay(takeover);
    Ok(Exit::Done)
}

fn list_silences(client: &Client, args: &AlertSilence) -> Result<Exit, Failure> {
    let now = clock::stamp();
    let all = client
        .read_store()?
        .map_or(Ok(Vec::new()), |store| store.alerts().silences(now))?;
    let is_meant = |silence: &&Silence| {
        (args.bot.is_none() || silence.bot == args.bot) && (args.rule.is_none() || silence.rule == args.rule)
    };
    let mut table = Table::new(&[
        Column::Word("bot"),
        Column::Word("rule"),
        Column::Number("left"),
        Column::Word("by"),
        Column::Text("reason"),
    ]);
    for silence in all.iter().filter(is_meant) {
        if args.json {
            output::record(&json!({
                "bot": silence.bot.as_ref().map(BotId::as_str),
                "rule": silence.rule.map(Rule::word),
                "until": silence.until.to_string(),
                "created_at": silence.created_at.to_string(),
                "by": silence.by,
                "reason": silence.reason,
            }))?;
            continue;
        }
        let bot = silence.bot.as_ref().map_or("every", BotId::as_str).to_owned();
        table.row([
            Cell::from(bot),
            silence.rule.map_or("every", Rule::word).into(),
            show_age(silence.until.since(now)).into(),
            silence.by.clone().into(),
            output::visible(silence.reason.as_deref().unwrap_or_default()).into(),
        ]);
    }
    if !args.json {
        output::out(&table.render(&Style::of_stdout()))?;
    }
    Ok(Exit::Done)
}

/// A word on its way to one sink.
struct Trial {
    name: String,
    mailbox: SinkBox,
    id: String,
    fate: Fate,
}

fn test(client: &Client, args: &AlertTest) -> Result<Exit, Failure> {
    let sinks = chosen(client.settings()?.alerts.sinks, args.sink.as_deref())?;
    client.home.create()?;
    let home = client.home.dir().display().to_string();
    let mut trials = Vec::new();
    for (name, policy) in &sinks {
        let now = clock::stamp();
        let id = new_id(now);
        let mailbox = SinkBox::new(&client.home, name);
        mailbox.post(id.clone(), test_content(&id, &home, now), policy)?;
        trials.push(Trial {
            name: name.clone(),
            mailbox,
            id,
            fate: Fate::Waiting(None),
        });
    }
    let begun = clock::now();
    let takeover = client.hand_over(args.timeout)?;
    loop {
        for trial in &mut trials {
            trial.fate = trial.mailbox.fate(&trial.id)?;
        }
        let is_open = trials.iter().any(|trial| trial.fate == Fate::Waiting(None));
        if takeover != Takeover::Done || !is_open || clock::now().since(begun) >= args.timeout {
            break;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    show_trials(&trials, takeover, args.json)?;
    let all_well = trials.iter().all(|trial| trial.fate == Fate::Delivered);
    Ok(if all_well { Exit::Done } else { Exit::Failed })
}

/// The sinks that are meant, as far as they are enabled.
fn chosen(all: BTreeMap<String, SinkPolicy>, wanted: Option<&str>) -> Result<BTreeMap<String, SinkPolicy>, Failure> {
    let Some(wanted) = wanted else {
        return Ok(all.into_iter().filter(|(_, policy)| policy.enabled).collect());
    };
    if let Some(policy) = all.get(wanted) {
        if !policy.enabled {
            return Err(Failure::Refused(format!(
                "sink {wanted} is not enabled: alerts.sinks.{wanted}.enabled in multibot.yaml"
            )));
        }
        return Ok(BTreeMap::from([(wanted.to_owned(), policy.clone())]));
    }
    let near = nearest(wanted, all.keys().map(String::as_str)).map(|near| format!(", nearest is {near}"));
    Err(Failure::Refused(format!(
        "no sink {wanted}{}; they stand in multibot.yaml under alerts.sinks",
        near.unwrap_or_default()
    )))
}

fn show_trials(trials: &[Trial], takeover: Takeover, is_json: bool) -> Result<(), Failure> {
    let mut table = Table::new(&[Column::Word("sink"), Column::Word("outcome"), Column::Text("why")]);
    for trial in trials {
        let (outcome, why) = match &trial.fate {
            Fate::Delivered => ("delivered", None),
            Fate::Dead(why) => ("refused", Some(why.clone())),
            Fate::Waiting(Some(why)) => ("waiting", Some(format!("{why}; it is tried again"))),
            Fate::Waiting(None) if takeover == Takeover::NoSupervisor => {
                let waiting = trial.mailbox.backlog()?.waiting;
                let said = format!("no supervisor runs; {waiting} to be delivered when one does");
                ("waiting", Some(said))
            }
            Fate::Waiting(None) => {
                let why = match takeover.delay() {
                    Some(why) => why,
                    None => sinks::turn(&trial.mailbox.backlog()?),
                };
                ("waiting", Some(why))
            }
        };
        if is_json {
            output::record(&json!({"sink": trial.name, "id": trial.id, "outcome": outcome, "why": why}))?;
            continue;
        }
        table.row([
            Cell::from(trial.name.clone()),
            outcome.into(),
            output::visible(&why.unwrap_or_default()).into(),
        ]);
    }
    if !is_json {
        output::out(&table.render(&Style::of_stdout()))?;
    }
    Ok(())
}
