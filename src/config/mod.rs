//! Turns what operators write (YAML files, `bot set KEY=VALUE`, stored settings) into the model's
//! [`BotSpec`](crate::model::bot::BotSpec) and into [`SupervisorSettings`], and tells every fault of it in one go.
//!
//! It reads files and nothing else: no store, no process, no environment variable, no clock. It never
//! sees a token, only where one is to be found.
//!
//! Invariants: [`KEYS`] and [`SUPERVISOR_KEYS`] are the only list of keys. Reading, checking, defaults,
//! storing and the manual all come from them, so a key cannot exist in one place and be missing in
//! another. No text of a fault holds a value of a variable or of a token.
//!
//! The way of a value: a node with its place (`yaml`) or a plain text is read by the kind of its key
//! (`kind`) into its canonical form, kept in [`Settings`], layered over defaults and typed (`spec`).

mod alert_keys;
mod alerts;
mod bot;
mod classes;
mod commands;
mod difference;
mod export;
mod fault;
mod flatten;
mod keys;
mod kind;
mod probe;
mod schema;
mod settings;
mod source;
mod spec;
mod supervisor;
mod variable;
mod yaml;

pub use alert_keys::{ALERT_KEYS, RULE_KEYS, SINK_KEYS};
pub use bot::{BotDocument, SecretSource, read_bots};
pub use difference::{Difference, How, differences};
pub use export::to_yaml;
pub use fault::{Fault, Faults};
pub use keys::{KEYS, Key, SUPERVISOR_KEYS};
pub use kind::Kind;
pub use schema::json_schema;
pub use settings::Settings;
pub use spec::{bot_spec, legible_spec, needs_sampling};
pub use supervisor::{BudgetSettings, Memory, SupervisorSettings, read_supervisor};
pub use variable::is_sensitive;
