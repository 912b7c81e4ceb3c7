//! A home of which no supervisor tells: what is stored, and the processes themselves.

use super::{SupervisorView, View, bot_view, summarise};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::config::{Settings, legible_spec};
use crate::model::bot::{BotId, State};
use crate::model::units::Stamp;
use crate::run::identity::boot_id;
use crate::run::record::read_exit;
use crate::supervisor::ledger;
use crate::supervisor::snapshot::{BotStatus, LastExit};

/// What is so while no supervisor tells it: the stored bots, and whether their last run still lives.
pub(super) fn look_without(client: &Client, now: Stamp) -> Result<View, Failure> {
    let mut bots = Vec::new();
    let mut blocked = (0, 0);
    if let Some(store) = client.read_store()? {
        let defaults = client.settings().map(|settings| settings.defaults).unwrap_or_default();
        for record in store.bots().list()? {
            let settings = Settings::from_json(&record.settings_json).unwrap_or_default();
            let spec = legible_spec(&record.id, &[&settings, &defaults]);
            let mut status = at_rest(client, &record.id);
            status.index = record.index;
            status.wanted = record.wanted.word().to_owned();
            status.platform = spec.platform.word().to_owned();
            status.enabled = spec.enabled;
            bots.push(bot_view(&status, now));
        }
        let counts = store.blocklist().counts(now)?;
        blocked = (u64::from(counts.blocked), u64::from(counts.permanent));
    }
    let mut summary = summarise(&bots);
    (summary.blocked, summary.blocked_permanent) = blocked;
    Ok(View {
        schema: 1,
        generated_at: now.to_string(),
        supervisor: SupervisorView {
            running: false,
            pid: None,
            version: None,
            started_at: None,
            home: client.home.dir().display().to_string(),
            stale: false,
            notes: Vec::new(),
            capacity: None,
            adopted: 0,
            alerts: 0,
            alert_level: None,
            disk_free_bytes: None,
            outage: None,
        },
        summary,
        bots,
    })
}

/// A bot as its run record tells it.
fn at_rest(client: &Client, bot: &BotId) -> BotStatus {
    let dir = client.home.run_of(bot);
    let alive = client.last_run(bot).filter(|run| run.process.is_alive());
    let last_exit = read_exit(&dir)
        .ok()
        .flatten()
        .filter(|exit| exit.spawn_failed.is_none());
    BotStatus {
        id: bot.to_string(),
        enabled: true,
        state: if alive.is_some() {
            State::Running
        } else {
            State::Stopped
        }
        .word()
        .to_owned(),
        reason: Some(
            if alive.is_some() {
                "runs without a supervisor"
            } else {
                "no supervisor runs"
            }
            .to_owned(),
        ),
        pid: alive.as_ref().map(|run| run.process.pid),
        run_id: alive.as_ref().map(|run| run.run_id.clone()),
        started_at: alive.as_ref().map(|run| run.started_at),
        kernel: alive.map(|run| run.kernel).unwrap_or_default(),
        restarts: ledger::read(&dir, &boot_id())
            .ok()
            .flatten()
            .map_or(0, |ledger| ledger.restarts),
        last_exit: last_exit.map(|exit| LastExit {
            code: exit.code,
            signal: exit.signal,
            at: exit.at,
            oom: exit.oom,
            why: Some(exit.end().to_string()),
        }),
        ..BotStatus::default()
    }
}
