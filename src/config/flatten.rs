//! Reads the mappings of a file against a table of keys: nested names become dotted ones, values
//! canonical, and every fault is kept with its place.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::keys::{Key, find, is_group, names_below, unknown};
use super::settings::Settings;
use super::yaml::{Entry, Place, Shape};

/// What one mapping held.
pub(super) struct Reading {
    table: &'static [Key],
    /// Words that are allowed beside the table; named when an unknown key is close to one.
    more: &'static [&'static str],
    /// Stands before the names of keys in faults, such as `defaults.`.
    shown: String,
    pub(super) settings: Settings,
    /// Where each key was written, the faulty ones included.
    pub(super) places: BTreeMap<&'static str, Place>,
    pub(super) faults: Vec<Fault>,
}

impl Reading {
    pub(super) fn new(table: &'static [Key], more: &'static [&'static str], shown: &str) -> Reading {
        Reading {
            table,
            more,
            shown: shown.to_owned(),
            settings: Settings::new(),
            places: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    /// Takes one line of the top mapping. Names that begin with `x-` are free for anchors.
    pub(super) fn take(&mut self, entry: &Entry) {
        if !entry.name.starts_with("x-") {
            self.take_below("", entry);
        }
    }

    /// Whether a key was written and its value refused.
    pub(super) fn is_faulty(&self, name: &str) -> bool {
        self.places.contains_key(name) && self.settings.get(name).is_none()
    }

    fn take_below(&mut self, group: &str, entry: &Entry) {
        let name = if group.is_empty() {
            entry.name.clone()
        } else {
            format!("{group}.{}", entry.name)
        };
        let shown = format!("{}{name}", self.shown);
        if let Some(key) = find(self.table, &name) {
            self.take_value(key, &shown, entry);
            return;
        }
        if !is_group(self.table, &name) {
            let said = unknown(self.table, &name, self.more, &self.shown);
            self.faults.push(Fault::at(entry.place, said));
            return;
        }
        match &entry.node.shape {
            Shape::Map(entries) => entries.iter().for_each(|below| self.take_below(&name, below)),
            Shape::Null => {}
            Shape::Scalar(_) | Shape::List(_) => {
                let below = names_below(self.table, &name).join(", ");
                let said = format!("{shown}: write a mapping with {below}");
                self.faults.push(Fault::at(entry.node.place, said));
            }
        }
    }

    fn take_value(&mut self, key: &'static Key, shown: &str, entry: &Entry) {
        if let Some(first) = self.places.get(key.name) {
            let said = format!("{shown} is written twice, first in line {}", first.line);
            self.faults.push(Fault::at(entry.place, said));
            return;
        }
        self.places.insert(key.name, entry.node.place);
        if let Some(value) = key.kind.read(shown, &entry.node, &mut self.faults) {
            self.settings.insert(key.name, value);
        }
    }
}
