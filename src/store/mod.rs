//! The store: `multibot.db`, the durable part of a home. It holds what the operator configured and
//! wants, the tokens, what happened and who asked for it.
//!
//! No other module knows that this is SQLite: functions take and return words of `model` and plain
//! values, and settings pass through as JSON text that only `config` understands. The SQL stays
//! portable: BIGINT (times in unix milliseconds) and TEXT columns, no JSON operators, no writing CTEs.
//!
//! Invariants: every write is inside a transaction that began IMMEDIATE; no two bots hold one token;
//! a bot's index never changes while it exists; no error and no `Debug` shows a token.

mod alerts;
mod audit;
mod blocklist;
mod bots;
mod credentials;
mod db;
mod error;
mod events;
mod file;
mod holds;
mod metrics;
mod passage;
mod people;
mod room;
mod schema;

pub use alerts::Alerts;
pub use audit::{Audit, AuditEntry, AuditQuery, Chain};
pub use blocklist::{BlockedCounts, BlockedTarget, Blocklist};
pub use bots::{BotRecord, Bots, NewBot, Put, Which};
pub use credentials::Credentials;
pub use db::{Access, Store};
pub use error::Error;
pub use events::{Events, Numbered, Period};
pub use holds::Holds;
pub use metrics::Metrics;
pub use passage::Outlook;
pub use people::{Admin, By, People, Refusal};
pub use schema::{Upgrade, Version};
