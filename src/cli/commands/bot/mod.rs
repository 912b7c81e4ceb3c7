//! The verbs under `multibot bot`: one file for each kind of change.

mod create;
mod edit;
mod login;
mod power;
mod remove;
mod rotate_token;
mod set;
mod show;
mod unhold;

pub(in crate::cli) use self::power::is_alive;
pub(in crate::cli) use self::set::SAMPLING_OFF;
use crate::cli::args::BotVerb;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::model::bot::BotId;

/// Stops a bot and removes it with what waits for it; its log stays.
pub(in crate::cli) fn remove(client: &Client, id: &BotId) -> Result<Exit, Failure> {
    remove::run(client, id, true, false)
}

pub(in crate::cli) fn run(client: &Client, verb: BotVerb) -> Result<Exit, Failure> {
    match verb {
        BotVerb::Create(create) => create::run(client, &create),
        BotVerb::Show {
            id,
            effective: true,
            json,
        } => show::effective(client, &id, json),
        BotVerb::Show { id, json, .. } => show::run(client, &id, json),
        BotVerb::Set { id, settings } => set::run(client, &id, &settings),
        BotVerb::Edit { id } => edit::run(client, &id),
        BotVerb::Unset { id, keys } => set::unset(client, &id, &keys),
        BotVerb::Remove { id, force, purge } => remove::run(client, &id, force, purge),
        BotVerb::Start { chosen, force, timeout } => power::start(client, &chosen, force, timeout),
        BotVerb::Stop { chosen, force, timeout } => power::stop(client, &chosen, force, timeout),
        BotVerb::Restart { chosen, force, timeout } => power::restart(client, &chosen, force, timeout),
        BotVerb::Enable(named) => power::enable(client, &named.ids),
        BotVerb::Disable(named) => power::disable(client, &named.ids),
        BotVerb::Login { id } => login::run(client, &id),
        BotVerb::Unhold(named) => unhold::run(client, &named.ids),
        BotVerb::RotateToken(args) => rotate_token::run(client, &args),
    }
}
