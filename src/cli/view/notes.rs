//! What an operator should know of the home as a whole, one sentence each.

use super::show_ms;
use crate::model::alert::Level;
use crate::supervisor::snapshot::Snapshot;

/// The worst level of the open alerts about the home itself.
pub(super) fn worst_of_home(snapshot: &Snapshot) -> Option<Level> {
    let alerts = snapshot.supervisor.alerts.iter();
    alerts.filter_map(|alert| Level::from_word(&alert.level)).max()
}

pub(super) fn notes_of(snapshot: &Snapshot) -> Vec<String> {
    let about = &snapshot.supervisor;
    let came_back = about.came_back.as_ref();
    let told = came_back.map(|why| format!("the last upgrade was taken back: {why}"));
    let outage = about.outage.as_ref().map(|outage| {
        format!(
            "{} of {} bots fail together since {}: failures are not counted and restarts slowed down",
            outage.failing,
            outage.of,
            show_ms(outage.since)
        )
    });
    let alerts = worst_of_home(snapshot).map(|level| {
        let (count, level) = (about.alerts.len(), level.word());
        let what = if count == 1 { "alert" } else { "alerts" };
        let texts: Vec<String> = about
            .alerts
            .iter()
            .map(|it| format!("{}: {}", it.rule, it.text))
            .collect();
        format!("{count} {what} of the home ({level}): {}", texts.join("; "))
    });
    let notes = about.notes.iter().cloned();
    notes
        .chain(told)
        .chain(outage)
        .chain(alerts)
        .chain(about.sinks_miss.iter().cloned())
        .collect()
}
