//! How a built-in bot behaves in chats: to whom it listens, and which commands it has beside those of every bot.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The settings of one built-in bot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatPolicy {
    /// What a command begins with; at least one.
    pub prefixes: Vec<String>,
    /// The users that it listens to; empty: to all.
    pub allowed_users: Vec<String>,
    /// What the others hear, once in each run; None: nothing.
    pub others: Option<String>,
    /// By name, in small letters; [`ANY_TEXT`] is what is no command.
    pub commands: BTreeMap<String, ChatCommand>,
}

/// The name of the command for every text that is none.
pub const ANY_TEXT: &str = "*";
/// How often a program may be started at once by the commands of one bot.
pub const PROGRAMS_MAX: usize = 4;

impl Default for ChatPolicy {
    fn default() -> ChatPolicy {
        ChatPolicy {
            prefixes: vec!["?".to_owned(), "/".to_owned()],
            allowed_users: Vec::new(),
            others: None,
            commands: BTreeMap::new(),
        }
    }
}

/// A command of the operator's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatCommand {
    pub action: Action,
    /// Who may use it unless a permission says otherwise: admins alone, or all.
    pub is_for_admins: bool,
    /// What `help` says of it.
    pub help: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A text in which `{{user}}`, `{{chat}}` and `{{args}}` are filled in.
    Reply(String),
    /// A program that gets the message as one line of JSON; what it prints is the answer.
    Exec {
        argv: Vec<String>,
        timeout: Duration,
        /// Bytes of its output that are sent.
        max_output: u64,
    },
    /// The message becomes the event `message_received`, with its text: for everybody who follows the events, or for
    /// another bot, whose answer is sent to the chat.
    Forward(Receiver),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    Events,
    Bot(String),
}

/// What may stand between double braces in a reply.
pub const PLACEHOLDERS: [&str; 3] = ["user", "chat", "args"];

/// The words between double braces that are no [`PLACEHOLDERS`].
pub fn unknown_placeholders(template: &str) -> Vec<&str> {
    pieces(template)
        .filter_map(|piece| match piece {
            Piece::Name(name) if !PLACEHOLDERS.contains(&name) => Some(name),
            Piece::Name(_) | Piece::Text(_) => None,
        })
        .collect()
}

/// Fills in a template. What it does not know stays as it is; what is filled in is not looked at again.
pub fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    pieces(template)
        .map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Name(name) if PLACEHOLDERS.contains(&name) => value(name),
            Piece::Name(name) => format!("{{{{{name}}}}}"),
        })
        .collect()
}

enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

fn pieces(template: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = template;
    let mut name: Option<&str> = None;
    std::iter::from_fn(move || {
        if let Some(name) = name.take() {
            return Some(Piece::Name(name));
        }
        if rest.is_empty() {
            return None;
        }
        let found = rest.split_once("{{").and_then(|(before, after)| {
            let (inside, after) = after.split_once("}}")?;
            Some((before, inside.trim(), after))
        });
        match found {
            Some((before, inside, after)) => {
                rest = after;
                name = Some(inside);
                Some(Piece::Text(before))
            }
            None => Some(Piece::Text(std::mem::take(&mut rest))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_once_and_the_unknown_stays() {
        let value = |name: &str| format!("<{name}>{{{{user}}}}");
        for (template, filled) in [
            ("", ""),
            ("hello", "hello"),
            ("hi {{ user }}!", "hi <user>{{user}}!"),
            ("{{chat}}{{args}}", "<chat>{{user}}<args>{{user}}"),
            ("{{ nobody }} {{user", "{{nobody}} {{user"),
            ("}} {{", "}} {{"),
        ] {
            assert_eq!(fill(template, value), filled, "{template}");
        }
        assert_eq!(unknown_placeholders("{{user}} {{usr}} {{}}"), ["usr", ""]);
    }
}
