//! `multibot ipc credentials`: the secret fields of the bot that asks, as the store has them now.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::model::bot::{BotId, Secret};
use crate::model::credential::{FieldName, Fields};
use crate::output;
use crate::runner::{credentials, script};

pub(super) fn run(name: Option<&FieldName>, is_json: bool) -> Result<Exit, Failure> {
    let asker = Asker::find()?;
    let mut fields = asker.fields()?;
    if let Some(name) = name {
        fields.retain(|known, _| known == name);
        if fields.is_empty() {
            return Err(Failure::Refused(format!(
                "{} has no {name}: give it one with: multibot credentials set {name} --bot {}",
                asker.bot, asker.bot
            )));
        }
    }
    if is_json {
        let texts = fields
            .iter()
            .map(|(name, value)| (name.to_string(), Value::from(value.reveal())));
        output::record(&Value::Object(texts.collect::<Map<_, _>>()))?;
    } else if name.is_some() {
        fields.values().try_for_each(|value| output::out(value.reveal()))?;
    } else {
        let line = |(name, value): (&FieldName, &Secret)| assignment(name, value.reveal());
        output::out(&fields.iter().map(line).collect::<String>())?;
    }
    Ok(Exit::Done)
}

/// A line that a shell reads as it is meant, whatever the value holds.
fn assignment(name: &FieldName, value: &str) -> String {
    format!("{}='{}'\n", name.variable(), value.replace('\'', "'\\''"))
}

/// The bot that the environment names, and where its home lies.
struct Asker {
    bot: BotId,
    home_id: String,
    inbox: PathBuf,
}

impl Asker {
    /// A login program has no run, so none is asked for.
    fn find() -> Result<Asker, Failure> {
        let names = ["BOT_ID", "MULTIBOT_HOME_ID", "MULTIBOT_INBOX"];
        let values = names.map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let [Some(bot), Some(home_id), Some(inbox)] = values else {
            let missing = names.into_iter().zip(values).filter(|(_, value)| value.is_none());
            return Err(script::Error::NotABot {
                names: missing.map(|(name, _)| name).collect(),
            }
            .into());
        };
        Ok(Asker {
            bot: bot
                .parse()
                .map_err(|error| script::Error::Identity(format!("BOT_ID: {error}")))?,
            home_id,
            inbox: inbox.into(),
        })
    }

    fn fields(&self) -> Result<Fields, Failure> {
        match credentials::current(&self.bot, &self.home_id, &self.inbox) {
            Ok(fields) => Ok(fields),
            Err(credentials::Error::Store(error)) => Err(error.into()),
            Err(error) => Err(Failure::Refused(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_any_value() {
        let name = "app_secret".parse().unwrap();
        for (value, line) in [
            ("a b", "BOT_APP_SECRET='a b'\n"),
            ("$(x)'\"\\\ny", "BOT_APP_SECRET='$(x)'\\''\"\\\ny'\n"),
        ] {
            assert_eq!(assignment(&name, value), line);
        }
    }
}
