//! Facts: what happened to a bot, as it is stored in `process_events`, logged and shown.

use super::bot::{BotId, RunId};
use super::units::Stamp;

/// One thing that happened. Facts come from comparing a bot before and after a step, or from what a
/// bot said of itself, so that no branch of the machine can forget to announce itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub at: Stamp,
    pub bot: BotId,
    pub run: Option<RunId>,
    /// A state name (`running`, `backoff`, …) or the name of an event that the bot sent.
    pub name: String,
    /// One line for people; secrets are already masked.
    pub detail: String,
}
