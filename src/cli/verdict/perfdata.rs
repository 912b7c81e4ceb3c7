//! The figures behind the line, in the form of the plugin guidelines.

use super::{Bounds, queue};
use crate::model::units::Stamp;
use crate::supervisor::snapshot::{BotStatus, LimitStatus, Snapshot};

/// One figure, as `'label'=value[UOM];[warn];[crit];[min];[max]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    label: String,
    value: String,
    unit: &'static str,
    bounds: [String; 4],
}

impl Figure {
    fn new(label: impl Into<String>, value: impl ToString, unit: &'static str) -> Figure {
        Figure {
            label: label.into(),
            value: value.to_string(),
            unit,
            bounds: [const { String::new() }; 4],
        }
    }

    fn bounds(mut self, bounds: [Option<f64>; 4]) -> Figure {
        self.bounds = bounds.map(|bound| bound.map_or_else(String::new, |bound| format!("{bound}")));
        self
    }

    pub(super) fn show(&self) -> String {
        let bounds = self.bounds.join(";");
        let shown = format!("'{}'={}{};{bounds}", self.label, self.value, self.unit);
        shown.trim_end_matches(';').to_owned()
    }
}

/// Figures of the whole home.
pub(super) fn totals(bots: &[&BotStatus], running: usize, wanted: usize, snapshot: &Snapshot) -> Vec<Figure> {
    let sum = |value: &dyn Fn(&BotStatus) -> u64| bots.iter().map(|bot| value(bot)).sum::<u64>();
    let cpu: f64 = bots.iter().filter_map(|bot| bot.cpu_percent).sum();
    let least = [None, None, Some(0.0), None];
    let of_home = snapshot.supervisor.alerts.len() as u64;
    let mut figures = vec![
        Figure::new("running", running, "").bounds([None, None, Some(0.0), Some(wanted as f64)]),
        Figure::new("restarts", sum(&|bot| u64::from(bot.restarts)), "c"),
        Figure::new("memory", sum(&|bot| bot.memory_bytes.unwrap_or(0)), "B").bounds(least),
        Figure::new("cpu", format!("{cpu:.1}"), "%").bounds(least),
        Figure::new("queue", sum(&|bot| queue(bot)), "").bounds(least),
        Figure::new("dead", sum(&|bot| bot.dead.unwrap_or(0)), "").bounds(least),
        Figure::new("alerts", sum(&|bot| u64::from(bot.alerts)) + of_home, "").bounds(least),
    ];
    let disk = snapshot.supervisor.disk_free_bytes;
    figures.extend(disk.map(|free| Figure::new("disk_free", free, "B").bounds(least)));
    figures
}

/// Figures of one bot that was named.
pub(super) fn figures_of(bot: &BotStatus, bounds: &Bounds, now: Stamp) -> Vec<Figure> {
    let label = |what: &str| format!("{}_{what}", bot.id);
    let limit = |what: &str| bot.limits.iter().find(|limit| limit.what == what);
    let of = |limit: Option<&LimitStatus>| {
        let (warn, max) = limit.map_or((None, None), |limit| (limit.warn, limit.max));
        [warn, max, Some(0.0), None]
    };
    let queue_bounds = [
        Some(bounds.warn_queue as f64),
        bounds.critical_queue.map(|most| most as f64),
        Some(0.0),
        None,
    ];
    let uptime = bot
        .started_at
        .map_or(0, |at| now.since(Stamp::from_unix_ms(at)).as_secs());
    let mut figures = vec![
        Figure::new(label("uptime"), uptime, "s").bounds([None, None, Some(0.0), None]),
        Figure::new(label("restarts"), bot.restarts, "c"),
        Figure::new(label("queue"), queue(bot), "").bounds(queue_bounds),
    ];
    let memory = bot.memory_bytes;
    figures.extend(memory.map(|bytes| Figure::new(label("memory"), bytes, "B").bounds(of(limit("memory")))));
    let cpu = bot.cpu_percent;
    figures.extend(cpu.map(|cpu| Figure::new(label("cpu"), format!("{cpu:.1}"), "%").bounds(of(limit("cpu")))));
    figures
}
