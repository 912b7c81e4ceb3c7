//! `multibot bot rotate-token`: another token for a bot, tried before and taken back after.

use std::time::Duration;

use serde_json::json;

use crate::cli::args::{RotateToken, TokenArg};
use crate::cli::client::{Client, is_well};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::token;
use crate::clock;
use crate::config::{Settings, legible_spec};
use crate::model::bot::{BotSpec, Platform, Secret, Wanted};
use crate::output;
use crate::platform::telegram;

/// How long the platform may take to say whose token it is.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

pub(super) fn run(client: &Client, args: &RotateToken) -> Result<Exit, Failure> {
    let id = &args.id;
    client.known(std::slice::from_ref(id))?;
    let new = match (&args.token, &args.token_file) {
        (Some(TokenArg::Given(token)), _) => token::checked(token.reveal(), "--token")?,
        (Some(TokenArg::Stdin), _) | (None, None) => token::from_stdin()?,
        (None, Some(path)) => token::from_file(path)?,
    };
    let defaults = client.settings()?.defaults;
    let store = client.store()?;
    let record = store.bots().get(id)?;
    let settings = Settings::from_json(&record.settings_json).unwrap_or_default();
    let spec = legible_spec(id, &[&settings, &defaults]);
    let old = store.credentials().token(id)?;
    if old.as_ref() == Some(&new) {
        output::note(&format!("{id} has this token already; nothing to do"));
        return Ok(Exit::Done);
    }
    token::refuse_in_command(&spec.command, Some(&new))?;
    verify(&spec, old.as_ref(), &new, args.force)?;
    put(client, args, Some(&new), "bot rotate-token", "another token")?;
    let is_to_run = record.wanted == Wanted::Up && spec.enabled;
    let Some(supervisor) = client.supervisor().filter(|_| is_to_run) else {
        client.reload()?;
        output::note(&format!("{id} has its new token and uses it from its next start on"));
        return Ok(Exit::Done);
    };
    client.reload()?;
    let settled = client.settle(
        &supervisor,
        "restarting",
        |bot| bot.id == id.as_str(),
        Some(args.timeout),
    );
    let why = match &settled {
        Ok(bots) if bots.iter().all(is_well) => {
            output::note(&format!("{id} runs with its new token"));
            return Ok(Exit::Done);
        }
        Ok(bots) => bots.iter().find_map(|bot| bot.reason.clone()).unwrap_or_default(),
        Err(failure) => failure.to_string(),
    };
    put(
        client,
        args,
        old.as_ref(),
        "bot rotate-token",
        "taken back: the bot does not run with it",
    )?;
    client.reload()?;
    Err(Failure::Refused(format!(
        "{id} does not run with the new token ({why}); it has its old one again"
    )))
}

fn put(client: &Client, args: &RotateToken, token: Option<&Secret>, action: &str, detail: &str) -> Result<(), Failure> {
    client.store()?.transaction(|store| {
        store.credentials().set_token(&args.id, token, clock::stamp())?;
        client.audit(store, action, Some(&args.id), detail)
    })
}

/// Asks the platform whose token it is. Only of telegram is there a question that disturbs nobody.
fn verify(spec: &BotSpec, old: Option<&Secret>, new: &Secret, is_forced: bool) -> Result<(), Failure> {
    if spec.platform != Platform::Telegram {
        return Ok(());
    }
    let asked = telegram::Client::new(&spec.telegram.api_root, new).call("getMe", &json!({}), ANSWER_TIME_MAX);
    let bot = &spec.id;
    let refuse = |why: String| Err(Failure::Refused(format!("{bot}: {why}; nothing was changed")));
    match asked {
        Ok(me) => {
            // A token begins with the number of its bot.
            let number = |token: &Secret| token.reveal().split(':').next().unwrap_or_default().to_owned();
            let (before, now) = (old.map(number), me["id"].to_string());
            match before {
                Some(before) if before != now && !is_forced => refuse(format!(
                    "the new token is that of another bot ({now}, until now {before}); take it all the same with --force"
                )),
                _ => Ok(()),
            }
        }
        Err(telegram::Fault::Unauthorized(why)) => refuse(format!("the platform refuses the new token ({why})")),
        Err(_) if is_forced => Ok(()),
        Err(fault) => refuse(format!("{fault}; take the token unseen with --force")),
    }
}
