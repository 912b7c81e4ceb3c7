//! Bots as YAML: one file with one bot or a list of them, or a folder of such files.
//!
//! Everything that can be known from the files is checked here: names, values, what they mean together
//! over the given defaults, and ids that stand twice. Nothing is changed on disk, no token is read.

mod secrets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::fault::{Fault, Faults};
use super::flatten::Reading;
use super::keys::KEYS;
use super::kind::scalar;
use super::settings::Settings;
use super::source::read_tree;
use super::spec::assemble;
use super::yaml::{Entry, Node, Place, Shape};
use crate::model::bot::BotId;
use crate::model::credential::FieldName;

/// Where a bot's token, or another secret field, is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable in the environment of the command that applies the file.
    Env(String),
    File(PathBuf),
}

/// One bot as its file describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct BotDocument {
    pub id: BotId,
    /// What was written, paths made full; `cwd` is always there, unless the defaults have one.
    pub settings: Settings,
    pub token: Option<SecretSource>,
    /// Its fields beside the token.
    pub credentials: BTreeMap<FieldName, SecretSource>,
    pub file: PathBuf,
    /// Line of the bot's id, or where the bot begins.
    pub line: u64,
    column: u64,
}

impl BotDocument {
    /// Something that is wrong with this bot, at its place.
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        let place = Place {
            line: self.line,
            column: self.column,
        };
        Fault::at(place, message).in_file(&self.file)
    }
}

/// The words of a bot's mapping that are no settings.
const DOCUMENT_WORDS: &[&str] = &["id", "token", "bots", "credentials.fields"];

/// Reads the bots of a file, or of all `*.yaml` and `*.yml` files of a folder in the order of their
/// names; hidden files and subfolders are left out. `defaults` is the layer below every bot, as
/// [`read_supervisor`](super::read_supervisor) gives it.
///
/// Errors with every fault of every file.
pub fn read_bots(path: &Path, defaults: &Settings) -> Result<Vec<BotDocument>, Faults> {
    let mut bots: Vec<BotDocument> = Vec::new();
    let mut faults = Vec::new();
    for file in files_of(path)? {
        match read_tree(&file) {
            Ok(tree) => {
                let mut reader = FileReader::new(&file, defaults);
                reader.read(&tree);
                bots.extend(reader.bots);
                faults.extend(Faults::of_file(reader.faults, &file));
            }
            Err(error) => faults.push(error.into_fault()),
        }
    }
    faults.extend(doubles(&bots));
    if faults.is_empty() {
        Ok(bots)
    } else {
        Err(Faults(faults))
    }
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let refuse = |error: std::io::Error| Fault::new(format!("cannot read the folder: {error}")).in_file(path);
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(refuse)? {
        let file = entry.map_err(refuse)?.path();
        let is_yaml = file.extension().is_some_and(|end| end == "yaml" || end == "yml");
        let is_hidden = file
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_yaml && !is_hidden && !file.is_dir() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(Fault::new("the folder holds no *.yaml file").in_file(path));
    }
    files.sort();
    Ok(files)
}

fn doubles(bots: &[BotDocument]) -> Vec<Fault> {
    let mut first: BTreeMap<&BotId, &BotDocument> = BTreeMap::new();
    let mut faults = Vec::new();
    for bot in bots {
        let Some(other) = first.get(&bot.id) else {
            first.insert(&bot.id, bot);
            continue;
        };
        let there = format!("{}:{}:{}", other.file.display(), other.line, other.column);
        let place = Place {
            line: bot.line,
            column: bot.column,
        };
        faults.push(Fault::at(place, format!("bot {} is already in {there}", bot.id)).in_file(&bot.file));
    }
    faults
}

/// Collects the bots and faults of one file.
struct FileReader<'a> {
    file: &'a Path,
    /// What relative paths start from.
    dir: PathBuf,
    defaults: &'a Settings,
    bots: Vec<BotDocument>,
    faults: Vec<Fault>,
}

impl<'a> FileReader<'a> {
    fn new(file: &'a Path, defaults: &'a Settings) -> FileReader<'a> {
        FileReader {
            file,
            dir: full_dir(file),
            defaults,
            bots: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn read(&mut self, tree: &Node) {
        let entries = match &tree.shape {
            Shape::Map(entries) => entries,
            Shape::Null => return,
            Shape::List(_) => return self.refuse(tree.place, "a list of bots stands under bots:"),
            Shape::Scalar(_) => return self.refuse(tree.place, "found one value, expected a mapping of keys"),
        };
        let list = entries.iter().find(|entry| entry.name == "bots");
        let own = |entry: &&Entry| entry.name != "bots" && !entry.name.starts_with("x-");
        let Some(first) = entries.iter().find(own) else {
            return list.into_iter().for_each(|list| self.read_list(list));
        };
        if list.is_some() && !entries.iter().any(|entry| entry.name == "id") {
            let said = format!(
                "{:?} stands beside bots: and belongs to no bot: move it into the bots, or into defaults: of multibot.yaml",
                first.name
            );
            self.refuse(first.place, said);
        } else {
            self.read_bot(tree.place, entries, true);
        }
        list.into_iter().for_each(|list| self.read_list(list));
    }

    fn read_list(&mut self, list: &Entry) {
        match &list.node.shape {
            Shape::Null => {}
            Shape::List(items) => {
                for item in items {
                    match &item.shape {
                        Shape::Map(entries) => self.read_bot(item.place, entries, false),
                        _ => self.refuse(item.place, "bots: write a mapping for each bot, beginning with - id:"),
                    }
                }
            }
            Shape::Scalar(_) | Shape::Map(_) => {
                self.refuse(list.node.place, "bots: write a list, each bot beginning with - id:");
            }
        }
    }

    /// `is_top`: the bot is the file's own, may be named by the file and stand beside `bots`.
    fn read_bot(&mut self, place: Place, entries: &[Entry], is_top: bool) {
        let mut reading = Reading::new(KEYS, DOCUMENT_WORDS, "");
        let mut id = None;
        let mut token = None;
        let mut credentials = BTreeMap::new();
        for entry in entries {
            match entry.name.as_str() {
                "id" => id = Some(&entry.node),
                "token" => token = self.read_secret("token", &entry.node),
                "credentials" => {
                    let (settings, fields) = secrets::apart(entry);
                    reading.take(&settings);
                    fields
                        .iter()
                        .for_each(|node| credentials.extend(self.read_fields(node)));
                }
                "bots" if is_top => {}
                "defaults" => self.refuse(entry.place, "defaults: belongs into multibot.yaml"),
                _ => reading.take(entry),
            }
        }
        self.resolve(&mut reading);
        let place = id.map_or(place, |node| node.place);
        if let Some(id) = self.read_id(place, id, is_top) {
            self.check(&id, place, &mut reading);
            self.bots.push(BotDocument {
                id,
                settings: reading.settings,
                token,
                credentials,
                file: self.file.to_owned(),
                line: place.line,
                column: place.column,
            });
        }
        self.faults.extend(reading.faults);
    }

    /// The id as written, else the file's name for the file's own bot.
    fn read_id(&mut self, place: Place, node: Option<&Node>, is_top: bool) -> Option<BotId> {
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let (text, hint) = match node {
            Some(node) => (scalar("id", node, &mut self.faults)?, ""),
            None if is_top => (stem.as_ref(), "; the file's name is the id, or write id: in it"),
            None => {
                self.refuse(place, "a bot in a list needs an id");
                return None;
            }
        };
        match text.parse() {
            Ok(id) => Some(id),
            Err(error) => {
                self.faults.push(Fault::at(place, format!("id: {error}{hint}")));
                None
            }
        }
    }

    fn resolve(&mut self, reading: &mut Reading) {
        let settings = &mut reading.settings;
        let has_cwd = reading.places.contains_key("cwd") || self.defaults.get("cwd").is_some();
        let resolved = if has_cwd {
            Ok(())
        } else {
            settings.set_path("cwd", &self.dir)
        };
        if let Err(fault) = resolved.and_then(|()| settings.resolve_paths(&self.dir)) {
            reading.faults.push(fault);
        }
    }

    /// What keys mean together, told at the key that was written here.
    fn check(&self, id: &BotId, bot: Place, reading: &mut Reading) {
        let Err(complaints) = assemble(id, &[&reading.settings, self.defaults]) else {
            return;
        };
        for complaint in complaints {
            // A refused value leaves its default behind, and complaints about that would mislead.
            if complaint.keys.iter().any(|key| reading.is_faulty(key)) {
                continue;
            }
            let written = complaint.keys.iter().find_map(|key| reading.places.get(key));
            let place = written.copied().unwrap_or(bot);
            reading.faults.push(Fault::at(place, complaint.message));
        }
    }

    fn refuse(&mut self, place: Place, message: impl Into<String>) {
        self.faults.push(Fault::at(place, message));
    }
}

/// The directory of a file, as a full path.
pub(super) fn full_dir(file: &Path) -> PathBuf {
    let full = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    full.parent().map_or_else(|| full.clone(), Path::to_owned)
}

#[cfg(test)]
mod tests;
