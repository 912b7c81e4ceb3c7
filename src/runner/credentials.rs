//! What a bot's credentials are now, as the store has them: read by the bot itself, of its own home alone.

use std::path::Path;

use crate::home::Home;
use crate::model::bot::BotId;
use crate::model::credential::{Fields, TOKEN};
use crate::store::{self, Access, Store};

/// Why a bot cannot read them, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("MULTIBOT_INBOX and MULTIBOT_HOME_ID name no home of {bot}: {inbox}")]
    Foreign { bot: BotId, inbox: String },
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The fields of a bot, its token among them; `home_id` and `inbox` are what its environment says. A copied home has the
/// same mark in another place, and another home in the same place has another mark.
pub fn current(bot: &BotId, home_id: &str, inbox: &Path) -> Result<Fields, Error> {
    let foreign = || Error::Foreign {
        bot: bot.clone(),
        inbox: inbox.display().to_string(),
    };
    // `<home>/ipc/<bot>/inbox`
    let dir = inbox.ancestors().nth(3).ok_or_else(foreign)?.to_owned();
    let home = Home::find(Some(dir), |_| None).map_err(|_| foreign())?;
    if home.inbox_of(bot) != inbox {
        return Err(foreign());
    }
    let store = Store::open(&home.database(), Access::Read)?;
    if store.home_id()? != home_id {
        return Err(foreign());
    }
    store.bots().get(bot)?;
    let known = store.credentials();
    let mut fields = store::Credentials::of_bot(&known.fields()?, bot);
    if let (Some(token), Ok(name)) = (known.token(bot)?, TOKEN.parse()) {
        fields.insert(name, token);
    }
    Ok(fields)
}
