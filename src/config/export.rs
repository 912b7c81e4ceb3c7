//! Settings as the YAML that `apply` reads. Pure.
//!
//! Scalars, lists and mappings of operators are written as JSON, which YAML holds whole: nothing needs to be quoted anew.

use std::fmt::Write;

use serde_json::Value;

use super::keys::KEYS;
use super::settings::{ENV, Settings};
use super::variable::is_sensitive;

/// One bot as an entry of `bots:`. Returns the names of variables that are left out, because their values look like
/// secrets, unless `with_secrets`.
pub fn to_yaml(id: &str, settings: &Settings, with_secrets: bool) -> (String, Vec<String>) {
    let mut tree = Vec::new();
    let mut left_out = Vec::new();
    for (key, value) in settings.iter() {
        // What only another version knows means nothing in a file.
        let Some(known) = KEYS.iter().find(|known| known.name == key) else {
            continue;
        };
        let mut value = value.clone();
        if let (ENV, Some(variables), false) = (key, value.as_object_mut(), with_secrets) {
            let secret: Vec<String> = variables.keys().filter(|name| is_sensitive(name)).cloned().collect();
            for name in secret {
                variables.shift_remove(&name);
                left_out.push(name);
            }
        }
        put(&mut tree, known.name, value);
    }
    let mut text = format!("  - id: {}\n", Value::from(id));
    for name in &left_out {
        let _ = writeln!(text, "    # env.{name} is left out: it looks like a secret");
    }
    write_entries(&mut text, &tree, 4);
    (text, left_out)
}

/// The groups of keys, in the order in which they were put.
enum Node {
    Group(Vec<(String, Node)>),
    Leaf(Value),
}

/// Puts a value at the place that its dotted key names.
fn put(entries: &mut Vec<(String, Node)>, key: &str, value: Value) {
    let Some((group, rest)) = key.split_once('.') else {
        return entries.push((key.to_owned(), Node::Leaf(value)));
    };
    for (name, node) in entries.iter_mut() {
        if let Node::Group(below) = node
            && name == group
        {
            return put(below, rest, value);
        }
    }
    let mut below = Vec::new();
    put(&mut below, rest, value);
    entries.push((group.to_owned(), Node::Group(below)));
}

fn write_entries(text: &mut String, entries: &[(String, Node)], indent: usize) {
    for (name, node) in entries {
        match node {
            Node::Leaf(value) => text.push_str(&format!("{:indent$}{name}: {value}\n", "")),
            Node::Group(below) => {
                text.push_str(&format!("{:indent$}{name}:\n", ""));
                write_entries(text, below, indent + 2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read_bots;

    #[test]
    fn what_is_exported_reads_back_as_it_was() {
        let mut settings = Settings::new();
        for (key, text) in [
            ("command", r#"["/bin/sh","-c","echo \"a: b\" # no comment"]"#),
            ("cwd", "/srv/a b"),
            ("env", r#"{"PORT":"8080","GREETING":"yes: no","EMPTY":""}"#),
            ("restart.delay", "2s"),
            ("restart.factor", "1.5"),
            ("enabled", "false"),
            ("limits.memory.max", "200MiB"),
            ("probes", r#"{"api":{"tcp":"8080"}}"#),
            ("commands", r#"{"hours":{"reply":"{{user}}:\n10 to 18"}}"#),
            ("allowed_users", "7,@ann"),
            ("errors.classes", r#"[{"exit":9,"class":"banned"}]"#),
        ] {
            settings.set(key, text).unwrap();
        }
        let (text, left_out) = to_yaml("shop", &settings, false);
        assert!(left_out.is_empty());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("all.yaml"), format!("bots:\n{text}")).unwrap();
        let [document] = read_bots(dir.path(), &Settings::new()).unwrap().try_into().unwrap();
        assert_eq!((document.id.as_str(), document.settings), ("shop", settings), "{text}");
    }

    #[test]
    fn variables_that_look_like_secrets_are_left_out_unless_they_are_wanted() {
        let mut settings = Settings::new();
        settings.set("env", r#"{"PORT":"1","API_KEY":"hush"}"#).unwrap();
        let (text, left_out) = to_yaml("shop", &settings, false);
        assert!(
            !text.contains("hush") && text.contains("PORT") && left_out == ["API_KEY"],
            "{text}"
        );
        assert!(to_yaml("shop", &settings, true).0.contains("hush"));
    }
}
