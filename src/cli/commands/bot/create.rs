//! `multibot bot create`

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::cli::args::{Create, TokenArg};
use crate::cli::client::Client;
use crate::cli::commands::credentials;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::{hidden, token};
use crate::clock;
use crate::config::{Fault, Faults, Settings, bot_spec, read_bots};
use crate::model::bot::{BotId, BotSpec, Platform, Secret, Wanted};
use crate::model::judging::{Class, Judgement, Mode};
use crate::output;
use crate::platform::telegram;
use crate::store::NewBot;
use crate::supervisor::login::Given;

/// A platform that is slow must not keep a bot from being created.
const INTRODUCTION_TIME_MAX: Duration = Duration::from_secs(3);

pub(super) fn run(client: &Client, create: &Create) -> Result<Exit, Failure> {
    let defaults = client.settings()?.defaults;
    let here = std::env::current_dir().map_err(Failure::io("cannot tell the current directory"))?;
    let (mut settings, token_of_file, fields) = from_file(create, &defaults)?;
    take_flags(create, &mut settings, &here)?;
    let token = match given_token(create)? {
        Some(token) => Some(token),
        None => token_of_file,
    };
    let token = match token {
        None if needs_token(create) && hidden::can_ask() => asked_token(create)?,
        token => token,
    };
    token::decide_platform(&mut settings, token.as_ref());
    let spec = bot_spec(&create.id, &[&settings, &defaults])?;
    token::refuse_in_command(&spec.command, token.as_ref())?;
    let wanted = if create.no_start { Wanted::Down } else { Wanted::Up };
    let bot = NewBot {
        id: create.id.clone(),
        platform: Some(spec.platform).filter(|platform| *platform != Platform::None),
        settings_json: settings.to_json(),
        wanted,
        token,
    };
    let introduced = introduce(&spec, bot.token.as_ref());
    let store = client.store()?;
    let record = store.transaction(|store| {
        let record = store.bots().create(&bot, clock::stamp())?;
        if let Introduced::Refused(judgement) = &introduced {
            store.holds().put(&bot.id, judgement)?;
        }
        token::refuse_of_others(store, &bot.id, &spec)?;
        credentials::put(client, store, &bot.id, &fields)?;
        client.audit(store, "bot create", Some(&bot.id), &format!("wanted {}", wanted.word()))?;
        Ok::<_, Failure>(record)
    })?;
    let is_told = client.reload()?.is_some();
    let what_now = match (wanted, spec.enabled, is_told) {
        _ if matches!(introduced, Introduced::Refused(_)) => introduced.told(&bot.id),
        (Wanted::Down, _, _) => format!("it stays down until: multibot bot start {}", bot.id),
        (Wanted::Up, false, _) => format!("it is disabled; let it run with: multibot bot enable {}", bot.id),
        (Wanted::Up, true, true) => "it starts now".to_owned(),
        (Wanted::Up, true, false) => "no supervisor runs; it starts with: multibot start".to_owned(),
    };
    let name = match &introduced {
        Introduced::Named(name) => format!(", @{name}"),
        _ => String::new(),
    };
    output::note(&format!(
        "created {} (index {}, platform {}{name}); {what_now}",
        bot.id,
        record.index,
        spec.platform.word()
    ));
    if let Introduced::Unheard(why) = &introduced {
        output::note(&format!("warning: nobody could say whether the token is good: {why}"));
    }
    Ok(Exit::Done)
}

/// What the platform says of a token before its bot begins.
enum Introduced {
    NotAsked,
    Named(String),
    /// It is refused: the bot is created, and held.
    Refused(Judgement),
    Unheard(String),
}

impl Introduced {
    fn told(&self, id: &BotId) -> String {
        match self {
            Introduced::Refused(judgement) => format!("it is held: {}", judgement.reason(id.as_str())),
            Introduced::NotAsked | Introduced::Named(_) | Introduced::Unheard(_) => String::new(),
        }
    }
}

/// Asks telegram whose token this is, which disturbs nobody who works with it.
fn introduce(spec: &BotSpec, token: Option<&Secret>) -> Introduced {
    let (Platform::Telegram, Mode::On, Some(token)) = (spec.platform, spec.judging.mode, token) else {
        return Introduced::NotAsked;
    };
    let api = telegram::Client::new(&spec.telegram.api_root, token);
    match api.call("getMe", &json!({}), INTRODUCTION_TIME_MAX) {
        Ok(me) => me["username"]
            .as_str()
            .map_or(Introduced::NotAsked, |name| Introduced::Named(output::visible(name))),
        Err(telegram::Fault::Unauthorized(why)) => Introduced::Refused(Judgement {
            class: Class::Credentials,
            evidence: format!("getMe: {why}"),
            at: clock::stamp(),
        }),
        Err(fault) => Introduced::Unheard(fault.to_string()),
    }
}

/// The settings and the token of `--from`, a file that describes one bot.
fn from_file(create: &Create, defaults: &Settings) -> Result<(Settings, Option<Secret>, Given), Failure> {
    let Some(path) = &create.from else {
        return Ok((Settings::new(), None, Given::new()));
    };
    let mut documents = read_bots(path, defaults)?;
    let (Some(document), true) = (documents.pop(), documents.is_empty()) else {
        let way = "multibot apply takes files with several bots";
        return Err(Failure::Usage(format!(
            "--from {}: it must describe exactly one bot; {way}",
            path.display()
        )));
    };
    let needs_token = create.token.is_none() && create.token_file.is_none();
    let token = document
        .token
        .as_ref()
        .filter(|_| needs_token)
        .map(token::from_source)
        .transpose()?;
    let fields = token::fields_from(&document)?;
    Ok((document.settings, token, fields))
}

/// Puts the flags over what is there. What is wrong with them is told at once, all of it.
fn take_flags(create: &Create, settings: &mut Settings, here: &Path) -> Result<(), Failure> {
    let mut faults = Vec::new();
    let mut note = |outcome: Result<(), Fault>| faults.extend(outcome.err());
    if let Some(platform) = create.platform {
        settings.set_platform(platform);
    }
    if let Some((program, arguments)) = create.command.split_first() {
        let argv: Vec<String> = std::iter::once(resolve(program, here))
            .chain(arguments.iter().cloned())
            .collect();
        note(settings.set_command(&argv));
    }
    for variable in &create.env {
        note(settings.set_variable(&variable.key, &variable.value));
    }
    if !create.token_env.is_empty() {
        note(settings.set_token_env(&create.token_env));
    }
    for (key, path) in [("env_file", &create.env_file), ("cwd", &create.cwd)] {
        if let Some(path) = path {
            note(settings.set_path(key, path));
        }
    }
    if !faults.is_empty() {
        return Err(Failure::Usage(Faults(faults).to_string()));
    }
    if settings.get("cwd").is_none() {
        settings.set_path("cwd", here)?;
    }
    Ok(settings.resolve_paths(here)?)
}

/// The program's full path, so that the bot starts after a reboot as it would from this shell. A
/// program that is not found is kept as it is written: it may be installed later.
fn resolve(program: &str, here: &Path) -> String {
    let is_program = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return std::path::absolute(here.join(program)).map_or(program.to_owned(), |path| path.display().to_string());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| is_program(path))
    {
        Some(found) => std::path::absolute(&found).unwrap_or(found).display().to_string(),
        None => {
            output::note(&format!(
                "warning: {program} is not in PATH now; the bot fails until it is there"
            ));
            program.to_owned()
        }
    }
}

/// Whether the bot cannot do anything without a token that nobody has given yet.
fn needs_token(create: &Create) -> bool {
    let is_of_network = matches!(create.platform, Some(Platform::Telegram | Platform::WhatsappCloud));
    is_of_network && create.command.is_empty() && create.from.is_none()
}

/// Asks a person. Nothing typed means that the token comes later.
fn asked_token(create: &Create) -> Result<Option<Secret>, Failure> {
    let text = hidden::read(&format!("token of {} (not shown, empty: later): ", create.id))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    token::checked(&text, "stdin").map(Some)
}

fn given_token(create: &Create) -> Result<Option<Secret>, Failure> {
    let of_file = |path: &PathBuf| token::from_file(path).map(Some);
    match (&create.token, &create.token_file) {
        (Some(TokenArg::Given(token)), _) => token::checked(token.reveal(), "--token").map(Some),
        (Some(TokenArg::Stdin), _) => token::from_stdin().map(Some),
        (None, Some(path)) => of_file(path),
        (None, None) => Ok(None),
    }
}
