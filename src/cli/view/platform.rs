//! What the platform of a bot says of it.

use serde::Serialize;

use super::show_ms;
use crate::supervisor::snapshot::{AskedStatus, HoldStatus};

#[derive(Debug, Serialize)]
pub(in crate::cli) struct HoldView {
    pub class: String,
    pub evidence: String,
    pub at: String,
}

#[derive(Debug, Serialize)]
pub(in crate::cli) struct AskedView {
    pub name: Option<String>,
    pub pending: Option<u64>,
    pub at: Option<String>,
    pub unreachable: Option<String>,
    pub stalled: Option<String>,
}

pub(super) fn hold_view(hold: &HoldStatus) -> HoldView {
    HoldView {
        class: hold.class.clone(),
        evidence: hold.evidence.clone(),
        at: show_ms(hold.at),
    }
}

pub(super) fn asked_view(asked: &AskedStatus) -> AskedView {
    AskedView {
        name: asked.name.clone(),
        pending: asked.pending,
        at: asked.at.map(show_ms),
        unreachable: asked.unreachable.clone(),
        stalled: asked.stalled.clone(),
    }
}
