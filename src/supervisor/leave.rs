//! A supervisor that leaves while its bots go on: nothing new is begun, what was begun is seen to its end,
//! and then the next supervisor, or the next version of this one, finds everything noted.

use super::event_loop::Supervisor;
use super::host::Host;
use super::snapshot::Stage;
use crate::model::units::Moment;

impl<H: Host> Supervisor<H> {
    /// From now on nothing is started, and no deadline counts against a bot.
    pub(super) fn begin_leave(&mut self, parting: Parting) -> Result<(), String> {
        if self.stage != Stage::Running {
            return Err("the supervisor is stopping its bots".to_owned());
        }
        self.host.log("supervisor is leaving; its bots go on");
        self.stage = Stage::Leaving;
        self.parting = parting;
        self.touch();
        Ok(())
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
}
