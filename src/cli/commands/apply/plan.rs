//! What `multibot apply` would do, before it does it.

use serde_json::{Value, json};

use super::{Ready, placed};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::config::{Difference, Fault, How, Settings, differences};
use crate::model::bot::BotId;
use crate::output::{self, visible};
use crate::store::{Error, Store};

/// All steps, in the order of the files; what is to be removed stands last.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
}

pub(super) struct Step {
    pub(super) bot: BotId,
    pub(super) what: What,
}

pub(super) enum What {
    Create,
    Change(Changes),
    Nothing,
    Remove,
}

/// What differs from what is stored.
pub(super) struct Changes {
    pub(super) settings: Vec<Difference>,
    /// Names of secret fields, `token` among them.
    pub(super) secrets: Vec<String>,
}

impl What {
    pub(super) fn word(&self) -> &'static str {
        match self {
            What::Create => "create",
            What::Change(_) => "change",
            What::Nothing => "unchanged",
            What::Remove => "remove",
        }
    }
}

impl Plan {
    /// Compares the files with the store; with `prune`, what no file names is to be removed.
    pub(super) fn make(
        client: &Client,
        bots: &[Ready<'_>],
        prune: bool,
        faults: &mut Vec<Fault>,
    ) -> Result<Plan, Failure> {
        let Some(store) = client.read_store()? else {
            let create = |ready: &Ready<'_>| Step {
                bot: ready.bot.id.clone(),
                what: What::Create,
            };
            return Ok(Plan {
                steps: bots.iter().map(create).collect(),
            });
        };
        let mut steps = Vec::with_capacity(bots.len());
        for ready in bots {
            match compare(&store, ready) {
                Ok(what) => steps.push(Step {
                    bot: ready.bot.id.clone(),
                    what,
                }),
                Err(failure) => faults.push(placed(ready.document, failure)),
            }
        }
        if prune {
            for record in store.bots().list()? {
                if !bots.iter().any(|ready| ready.bot.id == record.id) {
                    steps.push(Step {
                        bot: record.id,
                        what: What::Remove,
                    });
                }
            }
        }
        Ok(Plan { steps })
    }

    pub(super) fn changes_anything(&self) -> bool {
        self.steps.iter().any(|step| !matches!(step.what, What::Nothing))
    }

    pub(super) fn count(&self, word: &str) -> usize {
        self.steps.iter().filter(|step| step.what.word() == word).count()
    }

    /// Shown to people, a line a bot and a line a key.
    pub(super) fn show(&self) -> Result<(), Failure> {
        let mut text = String::new();
        for Step { bot, what } in &self.steps {
            let sign = match what {
                What::Create => "+",
                What::Change(_) => "~",
                What::Remove => "-",
                What::Nothing => continue,
            };
            text.push_str(&format!("{sign} {bot}\n"));
            if let What::Change(changes) = what {
                for it in &changes.settings {
                    text.push_str(&format!("    {}\n", visible(&line(it))));
                }
                for name in &changes.secrets {
                    text.push_str(&format!("    {name}: another value\n"));
                }
            }
        }
        let [create, change, remove, unchanged] =
            ["create", "change", "remove", "unchanged"].map(|word| self.count(word));
        text.push_str(&format!(
            "{create} to create, {change} to change, {remove} to remove, {unchanged} untouched\n"
        ));
        output::out(&text)?;
        Ok(())
    }

    pub(super) fn to_json(&self) -> Value {
        let steps = self.steps.iter().map(|Step { bot, what }| {
            let mut step = json!({"id": bot.as_str(), "action": what.word()});
            if let What::Change(changes) = what {
                let settings = changes
                    .settings
                    .iter()
                    .map(|it| json!({"key": it.key, "before": it.before, "after": it.after}));
                step["changes"] = settings.collect();
                step["secrets"] = json!(changes.secrets);
            }
            step
        });
        steps.collect()
    }
}

fn line(it: &Difference) -> String {
    let shown = |value: &Option<String>| value.as_deref().unwrap_or("(not shown)").to_owned();
    match it.how {
        How::Added => format!("{}: {}", it.key, shown(&it.after)),
        How::Changed => format!("{}: {} -> {}", it.key, shown(&it.before), shown(&it.after)),
        How::Removed => format!("{}: {} -> its default", it.key, shown(&it.before)),
    }
}

fn compare(store: &Store, ready: &Ready<'_>) -> Result<What, Failure> {
    let record = match store.bots().get(&ready.bot.id) {
        Ok(record) => record,
        Err(Error::NoSuchBot { .. }) => return Ok(What::Create),
        Err(error) => return Err(error.into()),
    };
    let before = Settings::from_json(&record.settings_json)?;
    let after = Settings::from_json(&ready.bot.settings_json)?;
    let mut secrets = Vec::new();
    if ready.bot.token.is_some() && store.credentials().token(&ready.bot.id)? != ready.bot.token {
        secrets.push("token".to_owned());
    }
    let known = store.credentials().fields()?;
    for (name, value) in &ready.fields {
        let is_own = |field: &&crate::model::credential::Field| {
            field.name == *name && field.owner == crate::model::credential::Owner::Bot(ready.bot.id.clone())
        };
        if known.iter().find(is_own).is_none_or(|field| field.value != *value) {
            secrets.push(name.to_string());
        }
    }
    let changes = Changes {
        settings: differences(&before, &after),
        secrets,
    };
    let is_same = changes.settings.is_empty() && changes.secrets.is_empty();
    Ok(if is_same { What::Nothing } else { What::Change(changes) })
}
