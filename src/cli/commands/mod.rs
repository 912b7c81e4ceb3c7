//! One file a verb.

pub(super) mod alerts;
pub(super) mod apply;
pub(super) mod audit;
pub(super) mod blocklist;
pub(super) mod bot;
pub(super) mod check;
pub(super) mod completions;
pub(super) mod credentials;
pub(super) mod events;
pub(super) mod explain;
pub(super) mod export;
pub(super) mod import;
pub(super) mod ipc;
pub(super) mod list;
pub(super) mod logs;
pub(super) mod metrics;
pub(super) mod people;
pub(super) mod queue;
pub(super) mod restart;
pub(super) mod resume;
pub(super) mod send;
pub(super) mod start;
pub(super) mod status;
pub(super) mod stop;
pub(super) mod up;
pub(super) mod upgrade;

/// `multibot schema`: needs no home.
pub(super) fn schema() -> Result<super::exit::Exit, super::failure::Failure> {
    crate::output::document(&crate::config::json_schema())?;
    Ok(super::exit::Exit::Done)
}
