//! `multibot import`: bots that another tool had, with a plan before anything is created.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use crate::cli::args::{ImportDotenv, ImportVerb};
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::token;
use crate::clock;
use crate::config::{Settings, bot_spec};
use crate::model::bot::{BotId, Platform, Secret, Wanted};
use crate::output::{self, visible};
use crate::store::NewBot;
use crate::supervisor::environment::parse_env_file;

/// Where the tokens are, separated by commas.
const TOKENS: &str = "TELEGRAM_BOT_TOKEN";
const MEDIA: &str = "MEDIA_TMP_LOCATION";
const CLEAN: &str = "CLEAN_UP_MEDIADIR";

pub(in crate::cli) fn run(client: &Client, verb: &ImportVerb) -> Result<Exit, Failure> {
    let ImportVerb::Dotenv(args) = verb;
    dotenv(client, args)
}

fn dotenv(client: &Client, args: &ImportDotenv) -> Result<Exit, Failure> {
    let shown = args.file.display();
    let text = std::fs::read_to_string(&args.file).map_err(Failure::io(format!("cannot read {shown}")))?;
    let variables = parse_env_file(&text).map_err(|why| Failure::Usage(format!("{shown}: {why}")))?;
    let bots = bots_of(client, args, variables)?;
    if let Some(store) = client.read_store()? {
        let known = store.bots().list()?;
        if let Some(bot) = bots.iter().find(|bot| known.iter().any(|record| record.id == bot.id)) {
            let why = format!(
                "bot {} exists already: choose other names with --name; nothing was created",
                bot.id
            );
            return Err(Failure::Refused(why));
        }
    }
    show(&bots, args)?;
    if args.dry_run {
        return Ok(Exit::WouldChange);
    }
    let (store, now) = (client.store()?, clock::stamp());
    let defaults = client.settings()?.defaults;
    store.transaction(|store| {
        for bot in &bots {
            store.bots().create(bot, now)?;
            let spec = bot_spec(&bot.id, &[&Settings::from_json(&bot.settings_json)?, &defaults])?;
            token::refuse_of_others(store, &bot.id, &spec)?;
            client.audit(store, "import dotenv", Some(&bot.id), "created")?;
        }
        Ok::<_, Failure>(())
    })?;
    let is_told = client.reload()?.is_some();
    let next = match (args.no_start, is_told) {
        (true, _) => "they stay down until: multibot bot start",
        (false, true) => "they start now",
        (false, false) => "no supervisor runs; they start with: multibot start",
    };
    output::note(&format!("created {} bots; {next}", bots.len()));
    Ok(Exit::Done)
}

/// A bot for each token. What is wrong is told by the name of its variable, never by its value.
fn bots_of(
    client: &Client,
    args: &ImportDotenv,
    mut variables: BTreeMap<String, String>,
) -> Result<Vec<NewBot>, Failure> {
    let shown = args.file.display();
    let tokens = variables.remove(TOKENS).unwrap_or_default();
    let tokens: Vec<&str> = tokens
        .split(',')
        .map(str::trim)
        .filter(|token| !token.is_empty())
        .collect();
    if tokens.is_empty() {
        return Err(Failure::Usage(format!("{shown}: no token in {TOKENS}")));
    }
    let media = variables.remove(MEDIA).filter(|dir| !dir.is_empty());
    let clean = variables
        .remove(CLEAN)
        .is_some_and(|word| word.eq_ignore_ascii_case("true") || word == "1");
    let base = std::path::absolute(args.file.parent().unwrap_or(Path::new(".")));
    let base = base.map_err(Failure::io("cannot tell the current directory"))?;
    let defaults = client.settings()?.defaults;
    let mut bots = Vec::with_capacity(tokens.len());
    for (number, text) in tokens.into_iter().enumerate() {
        let name = format!("{}-{number}", args.name);
        let id: BotId = name.parse().map_err(|error| Failure::Usage(format!("{error}")))?;
        let token = token::checked(text, &format!("{TOKENS}, number {}", number + 1))?;
        let settings = settings(args, &name, &variables, media.as_deref(), clean, &base)?;
        bots.push(new_bot(id, settings, token, &defaults, args)?);
    }
    Ok(bots)
}

fn settings(
    args: &ImportDotenv,
    name: &str,
    variables: &BTreeMap<String, String>,
    media: Option<&str>,
    clean: bool,
    base: &Path,
) -> Result<Settings, Failure> {
    let mut settings = Settings::new();
    settings.set_platform(Platform::Telegram);
    if !args.command.is_empty() {
        settings.set_command(&args.command)?;
        settings.set_token_env(&[TOKENS.to_owned()])?;
    }
    for (variable, value) in variables {
        settings.set_variable(variable, value)?;
    }
    if let Some(media) = media {
        settings.set_path("media.dir", &Path::new(media).join(name))?;
    }
    if clean {
        settings.set("media.clean_on_start", "true")?;
    }
    settings.set_path("cwd", base)?;
    settings.resolve_paths(base)?;
    Ok(settings)
}

fn new_bot(
    id: BotId,
    settings: Settings,
    token: Secret,
    defaults: &Settings,
    args: &ImportDotenv,
) -> Result<NewBot, Failure> {
    let spec = bot_spec(&id, &[&settings, defaults])?;
    token::refuse_in_command(&spec.command, Some(&token))?;
    Ok(NewBot {
        id,
        platform: Some(spec.platform),
        settings_json: settings.to_json(),
        wanted: if args.no_start { Wanted::Down } else { Wanted::Up },
        token: Some(token),
    })
}

/// The plan: what each bot is, and what is no longer what it was.
fn show(bots: &[NewBot], args: &ImportDotenv) -> Result<(), Failure> {
    for bot in bots {
        let settings = Settings::from_json(&bot.settings_json)?;
        let variables = settings.get("env").and_then(|env| env.as_object());
        let names: Vec<&str> = variables.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let media = settings.get("media.dir").map(Settings::show);
        if args.json {
            output::record(&json!({
                "id": bot.id.as_str(), "action": "create", "variables": names, "media_dir": media,
                "built_in": args.command.is_empty(),
            }))?;
            continue;
        }
        let plays = match args.command.first() {
            Some(program) => program.as_str(),
            None => "the built-in bot of telegram",
        };
        let media = media.map(|dir| format!("; media in {dir}")).unwrap_or_default();
        let line = format!(
            "+ {}: {plays}; its own token; variables: {}{media}",
            bot.id,
            names.join(", ")
        );
        output::out(&format!("{}\n", visible(&line)))?;
    }
    if !args.json {
        output::note(
            "BOT_INDEX counts the bots of this home in the order of their creation; it is 0, 1, 2 in a new home",
        );
    }
    Ok(())
}
