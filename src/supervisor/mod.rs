//! Keeps bots as their operators want them: decides in `machine`, acts through `host`, tells in
//! `snapshot` what is so.

mod adopt;
pub mod asked;
mod backoff;
pub mod blocklist;
pub mod capacity;
mod deadline;
mod ends;
pub mod environment;
pub mod error_rate;
pub mod event_loop;
pub mod fleet;
pub mod health;
pub mod host;
mod inbox;
mod judging;
mod kernel;
pub mod launch;
pub mod leave;
pub mod ledger;
pub mod login;
pub mod lookouts;
pub mod machine;
mod mail;
pub mod mailboxes;
pub mod measure;
pub mod news;
mod people;
mod perform;
mod phase;
mod probing;
pub mod process;
pub mod publisher;
mod recall;
mod recipe;
pub mod recorder;
mod refresh;
mod reload;
mod relogin;
pub mod routes;
pub mod shims;
#[cfg(test)]
mod simulation;
pub mod snapshot;
mod survey;
mod tell;
pub mod traffic;
mod trouble;
mod upkeep;
mod usage;
#[cfg(test)]
mod walks;
pub mod watch;
