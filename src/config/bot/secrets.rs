//! Where a bot's file says that its secrets are to be found: none stands in it. No text of theirs is told in a fault, for
//! it may be the secret itself, in the wrong place.

use super::{FileReader, SecretSource};
use crate::config::kind::{path_fault, scalar};
use crate::config::variable::is_name;
use crate::config::yaml::{Entry, Node, Shape};
use crate::model::credential::{FieldName, FieldNameError};
use crate::model::nearest::nearest;

/// The settings of `credentials`, and what stands under `fields` beside them.
pub(super) fn apart(credentials: &Entry) -> (Entry, Vec<Node>) {
    let mut settings = credentials.clone();
    let mut fields = Vec::new();
    if let Shape::Map(entries) = &mut settings.node.shape {
        entries.retain(|entry| {
            let is_setting = entry.name != "fields";
            fields.extend((!is_setting).then(|| entry.node.clone()));
            is_setting
        });
    }
    (settings, fields)
}

impl FileReader<'_> {
    /// The fields beside the token, each with its source.
    pub(super) fn read_fields(&mut self, node: &Node) -> Vec<(FieldName, SecretSource)> {
        let entries = match &node.shape {
            Shape::Map(entries) => entries.as_slice(),
            Shape::Null => &[],
            Shape::Scalar(_) | Shape::List(_) => {
                let said = "credentials.fields: write a mapping: {FIELD: {env: NAME}} or {FIELD: {file: PATH}}";
                self.refuse(node.place, said);
                &[]
            }
        };
        let mut fields = Vec::new();
        for entry in entries {
            match entry.name.parse::<FieldName>() {
                Ok(name) if name.is_token() => {
                    self.refuse(
                        entry.place,
                        "credentials.fields: the token stands under token: beside credentials",
                    );
                }
                Ok(name) => {
                    let source = self.read_secret(&format!("credentials.fields.{name}"), &entry.node);
                    fields.extend(source.map(|source| (name, source)));
                }
                Err(FieldNameError(_)) => {
                    let said = "credentials.fields: write the name of a field, such as app_secret, not its value";
                    self.refuse(entry.place, said);
                }
            }
        }
        fields
    }

    /// Where the secret of this key is found.
    pub(super) fn read_secret(&mut self, word: &str, node: &Node) -> Option<SecretSource> {
        let what = if word == "token" { "token" } else { "secret" };
        let entries = match &node.shape {
            Shape::Map(entries) => entries.as_slice(),
            Shape::Scalar(_) => {
                let said =
                    format!("{word}: a {what} does not belong into this file; write {{env: NAME}} or {{file: PATH}}");
                self.refuse(node.place, said);
                return None;
            }
            Shape::Null | Shape::List(_) => &[],
        };
        let [entry] = entries else {
            self.refuse(
                node.place,
                format!("{word}: write either {{env: NAME}} or {{file: PATH}}"),
            );
            return None;
        };
        let key = format!("{word}.{}", entry.name);
        let known = [format!("{word}.env"), format!("{word}.file")];
        if !known.contains(&key) {
            let near = nearest(&key, known.iter().map(String::as_str)).unwrap_or(&known[0]);
            self.refuse(entry.place, format!("unknown key {key:?}, nearest is {near:?}"));
            return None;
        }
        let text = scalar(&key, &entry.node, &mut self.faults)?;
        if entry.name == "file" {
            if let Some(why) = path_fault(text) {
                self.refuse(entry.node.place, format!("{key}: {why}"));
                return None;
            }
            return Some(SecretSource::File(self.dir.join(text)));
        }
        if !is_name(text) {
            let said = format!("{key}: it is not a variable's name; write the name, not the {what}");
            self.refuse(entry.node.place, said);
            return None;
        }
        Some(SecretSource::Env(text.to_owned()))
    }
}
