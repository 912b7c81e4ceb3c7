//! Kinds of several values: lists and mappings.

use serde_json::{Map, Value};

use crate::config::fault::Fault;
use crate::config::variable::{NAME_RULE, is_name, is_reserved};
use crate::config::yaml::{Node, Shape};
use crate::model::alert::Rule;
use crate::model::bot::BotId;
use crate::model::nearest::nearest;

pub(super) fn read_argv(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Value> {
    let mut refuse = |place, why: &str| {
        faults.push(Fault::at(place, format!("{key}: {why}")));
        None
    };
    let Shape::List(items) = &node.shape else {
        return refuse(node.place, "write a list: [\"python3\", \"shop.py\"]");
    };
    if items.is_empty() {
        return refuse(node.place, "the list is empty; without a command, remove the key");
    }
    let mut argv = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match &item.shape {
            Shape::Scalar(text) if text.contains('\0') => {
                return refuse(item.place, "an argument holds a NUL character");
            }
            Shape::Scalar(text) if index == 0 && text.trim().is_empty() => {
                return refuse(item.place, "the program's name is empty");
            }
            Shape::Scalar(text) if index == 0 && (text == "~" || text.starts_with("~/")) => {
                return refuse(item.place, "a leading ~ is not expanded: write the program's full path");
            }
            Shape::Scalar(text) => argv.push(Value::from(text.as_str())),
            Shape::Null => return refuse(item.place, "an argument has no value; write \"\" for an empty one"),
            Shape::List(_) | Shape::Map(_) => {
                return refuse(item.place, "an argument is not one text; quote it");
            }
        }
    }
    Some(Value::Array(argv))
}

/// Entries are told by their number: what stands in the wrong place here may be a token.
pub(super) fn read_names(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Value> {
    let items = match &node.shape {
        Shape::Null => return None,
        Shape::List(items) => items,
        Shape::Scalar(_) | Shape::Map(_) => {
            faults.push(Fault::at(
                node.place,
                format!("{key}: write a list: [NAME, OTHER_NAME]"),
            ));
            return None;
        }
    };
    let known = faults.len();
    let mut names = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let number = index + 1;
        match &item.shape {
            Shape::Scalar(name) if !is_name(name) => faults.push(Fault::at(
                item.place,
                format!("{key}: entry {number} is not a variable name: {NAME_RULE}"),
            )),
            Shape::Scalar(name) if is_reserved(name) => faults.push(Fault::at(item.place, reserved(key, name))),
            Shape::Scalar(name) => names.push(Value::from(name.as_str())),
            Shape::Null | Shape::List(_) | Shape::Map(_) => {
                faults.push(Fault::at(item.place, format!("{key}: entry {number} is not one name")))
            }
        }
    }
    (faults.len() == known).then_some(Value::Array(names))
}

/// Texts that are compared with words of a chat.
pub(super) fn read_texts(key: &str, what: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Value> {
    // One entry may stand alone, several in one text as `bot set` takes them.
    let split: Vec<Node>;
    let items = match &node.shape {
        Shape::Null => return None,
        Shape::List(items) => items.as_slice(),
        Shape::Scalar(text) => {
            split = text.split(',').map(|part| Node::scalar(part.trim())).collect();
            split.as_slice()
        }
        Shape::Map(_) => {
            faults.push(Fault::at(
                node.place,
                format!("{key}: write a list, each entry a {what}"),
            ));
            return None;
        }
    };
    let known = faults.len();
    let mut texts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match &item.shape {
            Shape::Scalar(text) if is_short_word(text) => texts.push(Value::from(text.as_str())),
            _ => {
                let why = format!(
                    "{key}: entry {} is not a {what}: write 1 to 64 characters without spaces",
                    index + 1
                );
                faults.push(Fault::at(item.place, why));
            }
        }
    }
    (faults.len() == known && !texts.is_empty()).then_some(Value::Array(texts))
}

fn is_short_word(text: &str) -> bool {
    (1..=64).contains(&text.chars().count()) && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

pub(super) fn read_senders(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Value> {
    let Shape::List(items) = &node.shape else {
        if node.shape != Shape::Null {
            faults.push(Fault::at(node.place, format!("{key}: write a list: [shop, desk]")));
        }
        return None;
    };
    let known = faults.len();
    let mut senders = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match &item.shape {
            Shape::Scalar(name) if name == "*" || name.parse::<BotId>().is_ok() => {
                senders.push(Value::from(name.as_str()));
            }
            Shape::Scalar(_) | Shape::Null | Shape::List(_) | Shape::Map(_) => {
                let why = format!("{key}: entry {} is not the id of a bot, nor \"*\"", index + 1);
                faults.push(Fault::at(item.place, why));
            }
        }
    }
    (faults.len() == known).then_some(Value::Array(senders))
}

pub(super) fn read_rules(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Value> {
    let Shape::List(items) = &node.shape else {
        if node.shape != Shape::Null {
            faults.push(Fault::at(node.place, format!("{key}: write a list: [down, held]")));
        }
        return None;
    };
    let known = faults.len();
    let mut rules = Vec::with_capacity(items.len());
    for item in items {
        match &item.shape {
            Shape::Scalar(word) if Rule::from_word(word).is_some() => rules.push(Value::from(word.as_str())),
            Shape::Scalar(word) => {
                let all = Rule::ALL.map(Rule::word);
                let near = nearest(word, all).map(|near| format!("; nearest is {near:?}"));
                let said = format!(
                    "{key}: {word:?} is none of {}{}",
                    all.join(", "),
                    near.unwrap_or_default()
                );
                faults.push(Fault::at(item.place, said));
            }
            Shape::Null | Shape::List(_) | Shape::Map(_) => {
                faults.push(Fault::at(item.place, format!("{key}: write a list: [down, held]")));
            }
        }
    }
    (faults.len() == known).then_some(Value::Array(rules))
}

fn reserved(key: &str, name: &str) -> String {
    format!("{key}: {name} is set by multibot itself; choose another name")
}

pub(super) fn read_variables(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Value> {
    let entries = match &node.shape {
        Shape::Null => return None,
        Shape::Map(entries) => entries,
        Shape::Scalar(_) | Shape::List(_) => {
            faults.push(Fault::at(
                node.place,
                format!("{key}: write a mapping: {{NAME: value}}"),
            ));
            return None;
        }
    };
    let known = faults.len();
    let mut variables = Map::new();
    for entry in entries {
        let name = &entry.name;
        if !is_name(name) {
            faults.push(Fault::at(
                entry.place,
                format!("{key}: {name:?} is not a variable name: {NAME_RULE}"),
            ));
        } else if is_reserved(name) {
            faults.push(Fault::at(entry.place, reserved(key, name)));
        } else {
            let why = match &entry.node.shape {
                Shape::Scalar(text) if !text.contains('\0') => {
                    variables.insert(name.clone(), Value::from(text.as_str()));
                    continue;
                }
                Shape::Scalar(_) => ": the value holds a NUL character",
                Shape::Null => " has no value: write \"\" for an empty one",
                Shape::List(_) | Shape::Map(_) => ": the value is not one text; quote it",
            };
            faults.push(Fault::at(entry.node.place, format!("{key}.{name}{why}")));
        }
    }
    (faults.len() == known).then_some(Value::Object(variables))
}
