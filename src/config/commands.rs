//! `commands` as they are written: read into canonical JSON with every fault at its place, and typed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::fault::Fault;
use super::kind::Kind;
use super::yaml::{Entry, Node, Place, Shape};
use crate::model::chat::{ANY_TEXT, Action, ChatCommand, PLACEHOLDERS, Receiver, unknown_placeholders};
use crate::model::nearest::nearest;
use crate::model::people::ADMIN_COMMANDS;
use crate::model::units::{parse_duration, parse_size};

const NAME_LEN_MAX: usize = 32;
/// A longer reply is more than one message of most platforms.
const REPLY_CHARS_MAX: usize = 4096;
const TIMEOUT: Kind = Kind::Duration {
    min: Duration::from_millis(100),
    max: Duration::from_secs(600),
};
const OUTPUT: Kind = Kind::Size { min: 1 };
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const OUTPUT_DEFAULT: u64 = 16 << 10;
/// What a command does; exactly one of them.
const ACTIONS: [&str; 3] = ["reply", "exec", "forward"];
const FIELDS: [&str; 7] = ["reply", "exec", "forward", "timeout", "max_output", "for", "help"];
const FOR: Kind = Kind::Words(&["everybody", "admins"]);
const SHAPE: &str = "{hours: {reply: \"10 to 18\"}}";

/// The canonical value. None with at least one fault, or where it was left empty.
pub(super) fn read_commands(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Value> {
    let known = faults.len();
    let entries = match &node.shape {
        Shape::Null => return None,
        Shape::Map(entries) => entries,
        Shape::Scalar(_) | Shape::List(_) => {
            return refuse(faults, node.place, format!("{key}: write a mapping: {SHAPE}"));
        }
    };
    let mut commands = Map::new();
    for entry in entries {
        if let Some(why) = name_fault(&entry.name) {
            refuse(faults, entry.place, format!("{key}: {:?} {why}", entry.name));
        } else if let Some(value) = read_command(&format!("{key}.{}", entry.name), &entry.node, faults) {
            commands.insert(entry.name.clone(), value);
        }
    }
    (faults.len() == known).then_some(Value::Object(commands))
}

fn name_fault(name: &str) -> Option<String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    let is_name = (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(inner);
    if ADMIN_COMMANDS.contains(&name) {
        return Some("is a command of every bot that stays for admins: choose another name".to_owned());
    }
    (!is_name && name != ANY_TEXT).then(|| {
        format!("is not a name of a command: write at most {NAME_LEN_MAX} of a-z 0-9 _ -, or \"{ANY_TEXT}\" for all other texts")
    })
}

fn refuse(faults: &mut Vec<Fault>, place: Place, why: String) -> Option<Value> {
    faults.push(Fault::at(place, why));
    None
}

fn read_command(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Value> {
    let known = faults.len();
    let Shape::Map(entries) = &node.shape else {
        let why = format!(
            "{key}: write a mapping with one of {}, such as {{reply: hello}}",
            ACTIONS.join(", ")
        );
        return refuse(faults, node.place, why);
    };
    let mut command = Map::new();
    for entry in entries {
        let value = read_field(key, entry, faults);
        command.extend(value.map(|value| (entry.name.clone(), value)));
    }
    if faults.len() > known {
        return None;
    }
    let actions: Vec<&str> = ACTIONS
        .into_iter()
        .filter(|action| command.contains_key(*action))
        .collect();
    match actions.as_slice() {
        ["exec"] => {}
        [_] if command.contains_key("timeout") || command.contains_key("max_output") => {
            return refuse(
                faults,
                node.place,
                format!("{key}: timeout and max_output belong to exec"),
            );
        }
        [_] => {}
        [] => {
            let why = format!("{key}: nothing says what it does: write one of {}", ACTIONS.join(", "));
            return refuse(faults, node.place, why);
        }
        [first, second, ..] => {
            let why = format!("{key}: {first} and {second} stand beside each other: a command does one thing");
            return refuse(faults, node.place, why);
        }
    }
    Some(Value::Object(command))
}

fn read_field(key: &str, entry: &Entry, faults: &mut Vec<Fault>) -> Option<Value> {
    let name = format!("{key}.{}", entry.name);
    match entry.name.as_str() {
        "reply" => read_reply(&name, &entry.node, faults),
        "exec" => Kind::Argv.read(&name, &entry.node, faults),
        "forward" => match &entry.node.shape {
            Shape::Scalar(text) if text == "events" || text.parse::<crate::model::bot::BotId>().is_ok() => {
                Some(Value::from(text.as_str()))
            }
            _ => refuse(
                faults,
                entry.node.place,
                format!("{name}: write events, or the id of the bot that answers"),
            ),
        },
        "timeout" => TIMEOUT.read(&name, &entry.node, faults),
        "max_output" => OUTPUT.read(&name, &entry.node, faults),
        "for" => FOR.read(&name, &entry.node, faults),
        "help" => Kind::Text.read(&name, &entry.node, faults),
        other => {
            let wrong = format!("unknown key {name:?}");
            let why = match nearest(other, FIELDS) {
                Some(near) => format!("{wrong}, nearest is {:?}", format!("{key}.{near}")),
                None => format!("{wrong}; {key} has {}", FIELDS.join(", ")),
            };
            refuse(faults, entry.place, why)
        }
    }
}

/// A reply may have several lines.
fn read_reply(name: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Value> {
    let text = super::kind::scalar(name, node, faults)?;
    let why = if text.trim().is_empty() {
        "it is empty".to_owned()
    } else if text.chars().count() > REPLY_CHARS_MAX {
        format!("it is longer than {REPLY_CHARS_MAX} characters")
    } else if let Some(unknown) = unknown_placeholders(text).first() {
        let known = PLACEHOLDERS.map(|name| format!("{{{{{name}}}}}")).join(" ");
        format!("{{{{{unknown}}}}} is not known: write {known}")
    } else {
        return Some(Value::from(text));
    };
    refuse(faults, node.place, format!("{name}: {why}"))
}

/// The commands of a canonical value; what only a later version knows is left out.
pub(super) fn commands_of(value: Option<Value>) -> BTreeMap<String, ChatCommand> {
    let Some(Value::Object(map)) = value else {
        return BTreeMap::new();
    };
    map.iter()
        .filter_map(|(name, value)| Some((name.clone(), typed(value)?)))
        .collect()
}

fn typed(value: &Value) -> Option<ChatCommand> {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let action = if let Some(reply) = text("reply") {
        Action::Reply(reply.to_owned())
    } else if let Some(Value::Array(argv)) = value.get("exec") {
        Action::Exec {
            argv: argv
                .iter()
                .filter_map(|word| word.as_str().map(str::to_owned))
                .collect(),
            timeout: text("timeout")
                .and_then(|text| parse_duration(text).ok())
                .unwrap_or(TIMEOUT_DEFAULT),
            max_output: text("max_output")
                .and_then(|text| parse_size(text).ok())
                .unwrap_or(OUTPUT_DEFAULT),
        }
    } else {
        Action::Forward(match text("forward")? {
            "events" => Receiver::Events,
            bot => Receiver::Bot(bot.to_owned()),
        })
    };
    Some(ChatCommand {
        action,
        is_for_admins: text("for") == Some("admins"),
        help: text("help").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn commands_are_read_from_one_text_and_typed() {
        let mut settings = Settings::new();
        let text = r#"{"hours":{"reply":"{{user}}: 10 to 18","help":"when"},"deploy":{"exec":["./deploy.sh","now"],"timeout":"1m","for":"admins"},"*":{"forward":"desk"}}"#;
        settings.set("commands", text).unwrap();
        let commands = commands_of(settings.get("commands").cloned());
        assert_eq!(commands["hours"].action, Action::Reply("{{user}}: 10 to 18".into()));
        assert_eq!(commands["hours"].help.as_deref(), Some("when"));
        let deploy = Action::Exec {
            argv: vec!["./deploy.sh".into(), "now".into()],
            timeout: Duration::from_secs(60),
            max_output: OUTPUT_DEFAULT,
        };
        assert_eq!(
            (&commands["deploy"].action, commands["deploy"].is_for_admins),
            (&deploy, true)
        );
        assert_eq!(commands["*"].action, Action::Forward(Receiver::Bot("desk".into())));
        settings.set("commands.ping", r#"{"forward":"events"}"#).unwrap();
        assert_eq!(commands_of(settings.get("commands").cloned()).len(), 4);
    }

    #[test]
    fn every_slip_is_told() {
        for (text, said) in [
            ("x", "commands: write a mapping"),
            (
                r#"{"Hours":{"reply":"a"}}"#,
                "commands: \"Hours\" is not a name of a command",
            ),
            (r#"{"setperm":{"reply":"a"}}"#, "\"setperm\" is a command of every bot"),
            (
                r#"{"a":"b"}"#,
                "commands.a: write a mapping with one of reply, exec, forward",
            ),
            (r#"{"a":{"help":"b"}}"#, "commands.a: nothing says what it does"),
            (
                r#"{"a":{"reply":"b","exec":["c"]}}"#,
                "commands.a: reply and exec stand beside each other",
            ),
            (
                r#"{"a":{"reply":"b","timeout":"5s"}}"#,
                "commands.a: timeout and max_output belong to exec",
            ),
            (
                r#"{"a":{"reply":"{{usr}}"}}"#,
                "commands.a.reply: {{usr}} is not known: write {{user}} {{chat}} {{args}}",
            ),
            (r#"{"a":{"reply":" "}}"#, "commands.a.reply: it is empty"),
            (r#"{"a":{"exec":"ls"}}"#, "commands.a.exec: write a list"),
            (
                r#"{"a":{"forward":"A b"}}"#,
                "commands.a.forward: write events, or the id",
            ),
            (
                r#"{"a":{"replay":"b"}}"#,
                "unknown key \"commands.a.replay\", nearest is \"commands.a.reply\"",
            ),
        ] {
            let error = Settings::new().set("commands", text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
