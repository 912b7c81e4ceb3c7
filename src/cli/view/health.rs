//! What the probes of a bot say.

use serde::Serialize;

use super::show_ms;
use crate::supervisor::snapshot::ProbeStatus;

#[derive(Debug, Serialize)]
pub(in crate::cli) struct ProbeView {
    pub name: String,
    pub role: String,
    pub kind: String,
    pub state: String,
    pub since: Option<String>,
    pub answer: Option<String>,
    pub answered_at: Option<String>,
    pub failures: u32,
}

pub(super) fn probe_view(probe: &ProbeStatus) -> ProbeView {
    ProbeView {
        name: probe.name.clone(),
        role: probe.role.clone(),
        kind: probe.kind.clone(),
        state: probe.state.clone(),
        since: probe.since.map(show_ms),
        answer: probe.answer.clone(),
        answered_at: probe.answered_at.map(show_ms),
        failures: probe.failures,
    }
}
