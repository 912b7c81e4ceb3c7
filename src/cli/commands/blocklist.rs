//! `multibot blocklist`: targets that bots leave alone. Works on the store, with and without a supervisor; one that runs
//! takes changes over.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cli::args::{BlocklistAdd, BlocklistList, BlocklistRemove, BlocklistStats, BlocklistVerb};
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::model::blocking::{Standing, TargetEntry};
use crate::model::bot::BotId;
use crate::model::units::{Stamp, show_age};
use crate::output::{self, Cell, Column, Style, Table};
use crate::store::BlockedTarget;

const TARGET_BYTES_MAX: usize = 256;

pub(in crate::cli) fn run(client: &Client, verb: &BlocklistVerb) -> Result<Exit, Failure> {
    match verb {
        BlocklistVerb::List(args) => list(client, args),
        BlocklistVerb::Add(args) => add(client, args),
        BlocklistVerb::Remove(args) => remove(client, args),
        BlocklistVerb::Stats(args) => stats(client, args),
    }
}

fn blocked(client: &Client, bot: Option<&BotId>, now: Stamp) -> Result<Vec<BlockedTarget>, Failure> {
    match client.read_store()? {
        None => Ok(Vec::new()),
        Some(store) => Ok(store.blocklist().blocked(bot, now)?),
    }
}

fn list(client: &Client, args: &BlocklistList) -> Result<Exit, Failure> {
    client.known(args.bot.as_slice())?;
    let now = clock::stamp();
    let mut table = Table::new(&[
        Column::Word("bot"),
        Column::Word("target"),
        Column::Number("since"),
        Column::Number("left"),
        Column::Text("reason"),
    ]);
    for BlockedTarget { bot, target, entry } in blocked(client, args.bot.as_ref(), now)? {
        let until = match entry.standing {
            Standing::Until(until) => Some(until),
            Standing::Counted | Standing::ForEver => None,
        };
        if args.json {
            output::record(&json!({
                "bot": bot.as_str(),
                "target": target,
                "reason": entry.reason,
                "blocked_at": entry.blocked_at.to_string(),
                "until": until.map(|until| until.to_string()),
                "failures": entry.failures,
            }))?;
            continue;
        }
        table.row([
            Cell::from(bot.to_string()),
            output::visible(&target).into(),
            show_age(now.since(entry.blocked_at)).into(),
            until
                .map_or("for ever".to_owned(), |until| show_age(until.since(now)))
                .into(),
            output::visible(&entry.reason).into(),
        ]);
    }
    if !args.json {
        output::out(&table.render(&Style::of_stdout()))?;
    }
    Ok(Exit::Done)
}

fn add(client: &Client, args: &BlocklistAdd) -> Result<Exit, Failure> {
    let BlocklistAdd {
        bot, target, length, ..
    } = args;
    client.known(std::slice::from_ref(bot))?;
    if target.trim().is_empty() || target.len() > TARGET_BYTES_MAX {
        return Err(Failure::Usage("the target must be 1 to 256 bytes long".to_owned()));
    }
    let now = clock::stamp();
    let entry = TargetEntry {
        reason: args.reason.split_whitespace().collect::<Vec<_>>().join(" "),
        blocked_at: now,
        standing: length.map_or(Standing::ForEver, |length| {
            let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
            Standing::Until(Stamp(now.0.saturating_add(micros)))
        }),
        failures: 0,
    };
    client.store()?.transaction(|store| {
        store.blocklist().put(bot, target, &entry)?;
        client.audit(
            store,
            "blocklist add",
            Some(bot),
            &format!("{target}: {}", entry.shown()),
        )
    })?;
    client.reload()?;
    output::note(&format!("{bot} leaves {target} alone {}", entry.shown()));
    Ok(Exit::Done)
}

fn remove(client: &Client, args: &BlocklistRemove) -> Result<Exit, Failure> {
    let BlocklistRemove { bot, target } = args;
    client.known(std::slice::from_ref(bot))?;
    let was_there = client.store()?.transaction(|store| {
        let was_there = store.blocklist().remove(bot, target)?;
        if was_there {
            client.audit(store, "blocklist remove", Some(bot), target)?;
        }
        Ok::<_, Failure>(was_there)
    })?;
    if !was_there {
        output::note(&format!("{target} is not blocked for {bot}; nothing to do"));
        return Ok(Exit::Done);
    }
    client.reload()?;
    output::note(&format!("{bot} may talk to {target} again"));
    Ok(Exit::Done)
}

/// What one bot has on the list.
#[derive(Default)]
struct Counts {
    blocked: usize,
    permanent: usize,
    next: Option<Stamp>,
}

fn stats(client: &Client, args: &BlocklistStats) -> Result<Exit, Failure> {
    let now = clock::stamp();
    let mut bots: BTreeMap<BotId, Counts> = BTreeMap::new();
    for it in blocked(client, None, now)? {
        let counts = bots.entry(it.bot).or_default();
        counts.blocked += 1;
        match it.entry.standing {
            Standing::Until(until) => counts.next = Some(counts.next.map_or(until, |next| next.min(until))),
            Standing::ForEver | Standing::Counted => counts.permanent += 1,
        }
    }
    let mut table = Table::new(&[
        Column::Word("bot"),
        Column::Number("blocked"),
        Column::Number("permanent"),
        Column::Number("next free in"),
    ]);
    for (bot, counts) in bots {
        if args.json {
            output::record(&json!({
                "bot": bot.as_str(),
                "blocked": counts.blocked,
                "permanent": counts.permanent,
                "next_until": counts.next.map(|next| next.to_string()),
            }))?;
            continue;
        }
        table.row([
            Cell::from(bot.to_string()),
            counts.blocked.to_string().into(),
            counts.permanent.to_string().into(),
            counts
                .next
                .map_or("-".to_owned(), |next| show_age(next.since(now)))
                .into(),
        ]);
    }
    if !args.json {
        output::out(&table.render(&Style::of_stdout()))?;
    }
    Ok(Exit::Done)
}
