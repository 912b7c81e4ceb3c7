//! `multibot bot login`: runs what gets a bot's credentials, with a person at hand, and stores them.

use std::collections::BTreeMap;

use crate::cli::client::{Client, account, actor};
use crate::cli::commands::credentials::tell;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::config::{Settings, bot_spec};
use crate::model::bot::BotId;
use crate::store::{By, Credentials};
use crate::supervisor::environment::Secrets;
use crate::supervisor::launch::Ground;
use crate::supervisor::login::{Login, Talk};

pub(super) fn run(client: &Client, id: &BotId) -> Result<Exit, Failure> {
    client.known(std::slice::from_ref(id))?;
    let login = prepare(client, id)?;
    let given = login
        .run(Talk::Person)
        .map_err(|why| Failure::Refused(format!("{id}: {why}")))?;
    let by = By {
        actor: actor(),
        bot: None,
        chat: None,
    };
    client.store()?.credentials().log_in(id, &given, &by, clock::stamp())?;
    let names: Vec<&str> = given.iter().map(|(name, _)| name.as_str()).collect();
    tell(client, &format!("stored {} of {id}", names.join(", ")))
}

/// What the program is started with: all that the bot itself would be, but for a run.
fn prepare(client: &Client, id: &BotId) -> Result<Login, Failure> {
    let supervisor = client.settings()?;
    let store = client.store()?;
    let record = store.bots().get(id)?;
    let spec = bot_spec(
        id,
        &[&Settings::from_json(&record.settings_json)?, &supervisor.defaults],
    )?;
    let credentials = store.credentials();
    let (token, fields) = (credentials.token(id)?, Credentials::of_bot(&credentials.fields()?, id));
    let env: BTreeMap<String, String> = supervisor.env;
    let ground = Ground {
        home: &client.home,
        home_id: &store.home_id()?,
        account: &account().unwrap_or_default(),
        settings: &env,
    };
    let secrets = Secrets {
        token: token.as_ref(),
        fields: &fields,
    };
    Login::of(&spec, record.index, &ground, &secrets).map_err(Failure::Refused)
}
