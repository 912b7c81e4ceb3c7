//! `errors.classes` as it is written: read into canonical JSON with every fault at its place, and typed.

use serde_json::{Map, Value};

use super::fault::Fault;
use super::kind::Kind;
use super::yaml::{Node, Shape};
use crate::model::judging::{Class, OwnMark, OwnSign};

const CLASS: Kind = Kind::Words(&["credentials", "conflict", "banned", "rejected"]);
const CODE: Kind = Kind::Integer { min: 0, max: 255 };
const SHAPE: &str = "{match: PATTERN, class: credentials} or {exit: CODE, class: banned}";

/// The canonical list. None with at least one fault, or where it was left empty.
pub(super) fn read_classes(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Value> {
    let items = match &node.shape {
        Shape::Null => return None,
        Shape::List(items) => items,
        Shape::Scalar(_) | Shape::Map(_) => {
            faults.push(Fault::at(node.place, format!("{key}: write a list of {SHAPE}")));
            return None;
        }
    };
    let known = faults.len();
    let mut list = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        list.extend(read_one(&format!("{key}: entry {}", index + 1), item, faults));
    }
    (faults.len() == known).then_some(Value::Array(list))
}

fn read_one(name: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Value> {
    let Shape::Map(entries) = &node.shape else {
        faults.push(Fault::at(node.place, format!("{name}: write {SHAPE}")));
        return None;
    };
    let known = faults.len();
    let mut map = Map::new();
    for entry in entries {
        let field = format!("{name}: {}", entry.name);
        let value = match entry.name.as_str() {
            "match" => Kind::Pattern.read(&field, &entry.node, faults),
            "exit" => CODE.read(&field, &entry.node, faults),
            "class" => CLASS.read(&field, &entry.node, faults),
            _ => {
                faults.push(Fault::at(entry.place, format!("{field} is unknown; write {SHAPE}")));
                None
            }
        };
        map.extend(value.map(|value| (entry.name.clone(), value)));
    }
    if faults.len() > known {
        return None;
    }
    let marks = usize::from(map.contains_key("match")) + usize::from(map.contains_key("exit"));
    if marks != 1 || !map.contains_key("class") {
        faults.push(Fault::at(
            node.place,
            format!("{name} is not one sign and its class: write {SHAPE}"),
        ));
        return None;
    }
    Some(Value::Object(map))
}

/// The signs of a canonical list; what only a later version knows is left out.
pub(super) fn signs_of(value: Option<Value>) -> Vec<OwnSign> {
    let Some(Value::Array(items)) = value else {
        return Vec::new();
    };
    let sign = |item: &Value| {
        let class = Class::from_word(item.get("class")?.as_str()?)?;
        let line = item.get("match").and_then(Value::as_str);
        let code = item.get("exit").and_then(Value::as_i64);
        let mark = match (line, code) {
            (Some(pattern), _) => OwnMark::Line(pattern.to_owned()),
            (None, Some(code)) => OwnMark::Exit(i32::try_from(code).ok()?),
            (None, None) => return None,
        };
        Some(OwnSign { mark, class })
    };
    items.iter().filter_map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn the_words_are_those_of_the_model() {
        let Kind::Words(words) = CLASS else { unreachable!() };
        assert_eq!(words, Class::ALL.map(Class::word));
    }

    #[test]
    fn signs_are_read_from_one_text_and_typed() {
        let mut settings = Settings::new();
        let text = r#"[{"match":"licen[cs]e expired","class":"banned"},{"exit":"9","class":"credentials"}]"#;
        settings.set("errors.classes", text).unwrap();
        let signs = signs_of(settings.get("errors.classes").cloned());
        let expected = [
            (OwnMark::Line("licen[cs]e expired".into()), Class::Banned),
            (OwnMark::Exit(9), Class::Credentials),
        ];
        assert_eq!(signs, expected.map(|(mark, class)| OwnSign { mark, class }));
    }

    #[test]
    fn every_slip_is_told() {
        for (text, said) in [
            ("x", "errors.classes: write a list of"),
            (
                r#"[{"match":"a"}]"#,
                "errors.classes: entry 1 is not one sign and its class",
            ),
            (
                r#"[{"match":"a","exit":1,"class":"banned"}]"#,
                "entry 1 is not one sign",
            ),
            (
                r#"[{"match":"(","class":"banned"}]"#,
                "entry 1: match: \"(\" is not a regular expression",
            ),
            (
                r#"[{"exit":300,"class":"banned"}]"#,
                "entry 1: exit: \"300\" is not a whole number from 0 to 255",
            ),
            (r#"[{"exit":3,"class":"bannd"}]"#, "nearest is \"banned\""),
            (r#"[{"code":3,"class":"banned"}]"#, "entry 1: code is unknown"),
        ] {
            let fault = Settings::new().set("errors.classes", text).unwrap_err().to_string();
            assert!(fault.contains(said), "{text}: {fault}");
        }
    }
}
