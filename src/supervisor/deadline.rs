//! When the machine has something to decide although nothing happens. Pure.
#![deny(clippy::wildcard_enum_match_arm)]

use super::phase::{Bot, Phase, Policy, Stage};
use crate::model::bot::ReadyWhen;
use crate::model::units::Moment;

/// When the bot must be looked at again although nothing happened.
pub fn deadline(bot: &Bot, policy: &Policy) -> Option<Moment> {
    match &bot.phase {
        Phase::Down(_) | Phase::Spawning { .. } => None,
        Phase::Starting { since, extended_to, .. } => Some(match policy.ready().when {
            ReadyWhen::Alive => *since + policy.ready().min_uptime,
            ReadyWhen::Signal => (*since + policy.ready().timeout).max(extended_to.unwrap_or_default()),
        }),
        Phase::Running { ready_at, heard_at, .. } => {
            let silent = heard_at.map(|at| at + policy.spec.heartbeat_timeout);
            let healthy = (bot.failures.streak() > 0).then(|| *ready_at + policy.restart().reset_after);
            [silent, healthy].into_iter().flatten().min()
        }
        Phase::Stopping { stage, .. } => match stage {
            Stage::Asked { until } | Stage::Killed { until } => Some(*until),
            Stage::Stuck => None,
        },
        Phase::Waiting { until, .. } => Some(*until),
        Phase::GaveUp { until, .. } | Phase::Held { until, .. } => *until,
    }
}
