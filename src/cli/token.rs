//! Tokens on their way into the store: where they are read from, and what they must not be.

use std::io::{BufRead, IsTerminal, Read};
use std::path::Path;

use super::failure::Failure;
use crate::config::{BotDocument, SecretSource, Settings};
use crate::log::Mask;
use crate::model::bot::{BotId, BotSpec, Platform, Secret};
use crate::model::credential::{FieldName, checked_value};
use crate::store::Store;
use crate::supervisor::login::Given;

/// Reads a token from where a YAML file says it is.
pub(super) fn from_source(source: &SecretSource) -> Result<Secret, Failure> {
    match source {
        SecretSource::File(path) => from_file(path),
        SecretSource::Env(name) => match std::env::var(name) {
            Ok(value) => checked(&value, &format!("variable {name}")),
            Err(_) => Err(Failure::Refused(format!(
                "the token's variable {name} is not set in this shell: export it and try again"
            ))),
        },
    }
}

/// Reads the fields of a bot's file from where it says they are.
pub(super) fn fields_from(document: &BotDocument) -> Result<Given, Failure> {
    let read = |(name, source): (&FieldName, &SecretSource)| {
        let (place, text) = match source {
            SecretSource::File(path) => {
                let shown = path.display().to_string();
                let cannot = Failure::io(format!("cannot read {name} from {shown}"));
                (shown, std::fs::read_to_string(path).map_err(cannot)?)
            }
            SecretSource::Env(variable) => {
                let unset = |_| {
                    Failure::Refused(format!(
                        "{name}: the variable {variable} is not set in this shell: export it"
                    ))
                };
                (format!("variable {variable}"), std::env::var(variable).map_err(unset)?)
            }
        };
        let value = checked_value(&text).map_err(|why| Failure::Refused(format!("{name} in {place}: {why}")))?;
        Ok((name.clone(), value))
    };
    document.credentials.iter().map(read).collect()
}

/// Reads a file that holds a token and nothing else.
pub(super) fn from_file(path: &Path) -> Result<Secret, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(Failure::io(format!("cannot read the token from {shown}")))?;
    checked(&text, &shown.to_string())
}

/// Reads standard input: a person's line, or all that a pipe brings, which holds a token and nothing else.
pub(super) fn from_stdin() -> Result<Secret, Failure> {
    let mut text = String::new();
    let mut stdin = std::io::stdin().lock();
    let read = if stdin.is_terminal() {
        stdin.read_line(&mut text)
    } else {
        stdin.read_to_string(&mut text)
    };
    read.map_err(Failure::io("cannot read the token from stdin"))?;
    checked(&text, "stdin")
}

/// A token without the white space around it. One with white space or control characters inside is
/// something else, such as a whole configuration file.
pub(super) fn checked(text: &str, place: &str) -> Result<Secret, Failure> {
    let token = text.trim();
    if token.is_empty() {
        return Err(Failure::Usage(format!("the token in {place} is empty")));
    }
    if token.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Failure::Usage(format!(
            "the token in {place} has white space inside: it must be one word"
        )));
    }
    if is_assignment(token) {
        return Err(Failure::Usage(format!(
            "the token in {place} is written as NAME=token: give the token alone, or let the bot read that file with --env-file"
        )));
    }
    Ok(Secret::new(token.to_owned()))
}

/// A line of an `.env` file, which is easily taken for the token itself.
fn is_assignment(token: &str) -> bool {
    token.split_once('=').is_some_and(|(name, value)| {
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(is_name)
            && !value.trim_matches('=').is_empty()
    })
}

/// A bot without a command is played by multibot; its token's shape tells on which platform, unless
/// its settings do.
pub(super) fn decide_platform(settings: &mut Settings, token: Option<&Secret>) {
    let has_command = settings.get("command").is_some();
    if settings.get("platform").is_none() && !has_command && token.is_some_and(is_of_telegram) {
        settings.set_platform(Platform::Telegram);
    }
}

/// `<digits>:<letters, digits, _ and ->`, as BotFather gives them; short ones count, for tests use them.
fn is_of_telegram(token: &Secret) -> bool {
    token.reveal().split_once(':').is_some_and(|(id, key)| {
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        !id.is_empty() && id.chars().all(|c| c.is_ascii_digit()) && !key.is_empty() && key.chars().all(is_key)
    })
}

/// A token among the arguments would be seen by every user of the host.
pub(super) fn refuse_in_command(command: &[String], token: Option<&Secret>) -> Result<(), Failure> {
    let mask = Mask::new(token.map(Secret::reveal));
    match command.iter().position(|word| mask.masked(word) != *word) {
        None => Ok(()),
        Some(place) => Err(Failure::Refused(format!(
            "the command's word {} holds a token, which every user of this host could read: let the bot take it from the variable BOT_TOKEN, or name another with --token-env",
            place + 1
        ))),
    }
}

/// A bot that is given another bot's token by a variable would fight with it over every message.
pub(super) fn refuse_of_others(store: &Store, id: &BotId, spec: &BotSpec) -> Result<(), Failure> {
    for (name, value) in &spec.env {
        let holder = store.credentials().holder(&Secret::new(value.clone()))?;
        if let Some(other) = holder.filter(|holder| holder != id) {
            return Err(Failure::Refused(format!(
                "env {name} of {id} holds the token of bot {other}: two bots on one token fight over its messages"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_one_word() {
        assert_eq!(checked(" 123:abc\n", "x").unwrap().reveal(), "123:abc");
        assert_eq!(checked("QUJD==", "x").unwrap().reveal(), "QUJD==");
        for text in ["", "  \n", "a b", "a\nb", "BOT_TOKEN=123:abc"] {
            assert!(checked(text, "x").is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_shape_of_a_token_tells_its_platform() {
        for (text, is_telegram) in [
            ("123:abc", true),
            ("123456789:AAF-x_y", true),
            ("abc", false),
            ("a:b", false),
            ("1:", false),
            ("1:a b", false),
        ] {
            assert_eq!(is_of_telegram(&Secret::new(text.to_owned())), is_telegram, "{text}");
        }
    }

    #[test]
    fn a_token_in_the_command_is_refused_without_being_shown() {
        let token = Secret::new("hunter2".to_owned());
        let command = ["python3".to_owned(), "--token=hunter2".to_owned()];
        let error = refuse_in_command(&command, Some(&token)).unwrap_err().to_string();
        assert!(error.contains("word 2") && !error.contains("hunter2"), "{error}");
        assert!(refuse_in_command(&command[..1], Some(&token)).is_ok());
    }
}
