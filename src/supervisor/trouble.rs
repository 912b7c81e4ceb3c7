//! What others find wrong with the bots together: the alerts that are open, and an outage that has befallen most of them.

use std::time::Duration;

use super::event_loop::Supervisor;
use super::host::Host;
use super::news::Trouble;
use super::snapshot::{BotStatus, HomeAlert};
use crate::model::alert::OpenInHome;

impl<H: Host> Supervisor<H> {
    /// Takes over which alerts are open. Only what has changed is published: an alert is judged by what is published.
    pub(super) fn alerts_changed(&mut self, alerts: OpenInHome) {
        if self.alerts != alerts {
            let of_home = alerts.of_home.iter().map(|alert| HomeAlert {
                rule: alert.rule.word().to_owned(),
                level: alert.level.word().to_owned(),
                text: alert.text.clone(),
            });
            self.identity.alerts = of_home.collect();
            self.identity.sinks_miss.clone_from(&alerts.sinks_miss);
            self.alerts = alerts;
            self.touch();
        }
    }

    pub(super) fn outage_changed(&mut self, trouble: Option<Trouble>) {
        match (&self.trouble, &trouble) {
            (None, Some(Trouble { outage, .. })) => self.host.warn(&format!(
                "{} of {} bots fail together: failures are not counted and restarts slowed down",
                outage.failing, outage.of
            )),
            (Some(_), None) => self.host.log("the outage is over: failures count again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if self.trouble != trouble {
            self.identity.outage = trouble.as_ref().map(|trouble| trouble.outage.clone());
            self.trouble = trouble;
            self.touch();
        }
    }

    /// The shortest wait before a restart while an outage lasts.
    pub(super) fn outage_delay(&self) -> Option<Duration> {
        self.trouble.as_ref().map(|trouble| trouble.restart_delay)
    }

    pub(super) fn show_alerts(&self, bots: &mut [BotStatus]) {
        for (id, open) in &self.alerts.of_bots {
            if let Some(bot) = bots.iter_mut().find(|bot| bot.id == id.as_str()) {
                bot.alerts = open.count;
                bot.alert_level = Some(open.worst.word().to_owned());
            }
        }
    }
}
