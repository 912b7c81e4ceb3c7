//! A supervisor that leaves while its bots go on: nothing new is begun, what was begun is seen to its end,
//! and then the next supervisor, or the next version of this one, finds everything noted.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::event_loop::Supervisor;
use super::host::Host;
use super::snapshot::Stage;
use crate::model::limits::UPGRADE_TIME_MAX;
use crate::model::units::Moment;

impl<H: Host> Supervisor<H> {
    /// From now on nothing is started, and no deadline counts against a bot.
    pub(super) fn begin_leave(&mut self, parting: Parting) -> Result<(), String> {
        if self.stage != Stage::Running {
            return Err("the supervisor is on its way out already".to_owned());
        }
        if self.identity.in_terminal && matches!(parting, Parting::Upgrade(_)) {
            return Err("it belongs to a terminal (multibot up): end it there and start it anew".to_owned());
        }
        self.host.log("supervisor is leaving; its bots go on");
        self.stage = Stage::Leaving;
        self.parting = parting;
        self.touch();
        Ok(())
    }

    /// Whether another program is about to go on here: commands are then left for that one.
    pub(super) fn is_making_way(&self) -> bool {
        self.stage == Stage::Leaving && matches!(self.parting, Parting::Upgrade(_))
    }

    /// Whether every spawn that was ordered has been answered, and every command.
    pub(super) fn is_quiet(&self) -> bool {
        self.replies.is_empty() && self.spawn_deadlines().next().is_none()
    }

    /// When a shim that has not reported is given up: the only deadlines of a supervisor that leaves.
    pub(super) fn spawn_deadlines(&self) -> impl Iterator<Item = Moment> {
        self.fleet.members().filter_map(|(_, member)| member.seen.spawn_by)
    }

    pub(super) fn abandon_late_spawns(&mut self) {
        let now = self.host.now();
        for bot in self.fleet.ids() {
            let Some(member) = self.fleet.get_mut(&bot) else {
                continue;
            };
            if member.seen.spawn_by.is_some_and(|at| at <= now) {
                member.seen.spawn_by = None;
                if let Some(run) = member.bot.live_run().cloned() {
                    self.host.abandon(&run);
                }
            }
        }
    }
}

/// How a supervisor's loop ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Parting {
    /// With its bots.
    #[default]
    Stop,
    /// Its bots go on without it.
    KeepBots,
    /// Its bots go on under the program that this process becomes.
    Upgrade(Upgrade),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    pub program: PathBuf,
    /// How long the next program may take until it has taken over.
    pub patience: Duration,
}

impl Upgrade {
    /// From an operator's command.
    pub(super) fn of(payload: &Value) -> Result<Upgrade, String> {
        let program = PathBuf::from(payload["program"].as_str().unwrap_or_default());
        if !program.is_absolute() {
            return Err("the program must be named by its whole path".to_owned());
        }
        let patience = payload["patience_ms"]
            .as_u64()
            .map_or(UPGRADE_TIME_MAX, Duration::from_millis);
        Ok(Upgrade { program, patience })
    }
}
