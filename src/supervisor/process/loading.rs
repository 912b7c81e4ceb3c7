//! What multibot.yaml and the store say, as the loop takes it.

use std::collections::HashMap;

use super::ProcessHost;
use crate::clock;
use crate::config::{BudgetSettings, Memory, Settings, bot_spec, legible_spec, read_supervisor};
use crate::model::bot::{BotId, Secret};
use crate::model::credential::Field;
use crate::run::host_memory::host_memory;
use crate::store::{Access, Credentials, Store};
use crate::supervisor::blocklist::judgement_of_target;
use crate::supervisor::capacity::Budget;
use crate::supervisor::host::{Configuration, Configured, Unusable};
use crate::supervisor::lookouts::PlatformOrder;
use crate::supervisor::news::Pace;
use crate::supervisor::recipe::recipe;

impl ProcessHost {
    /// Reads both. What multibot.yaml says goes on where it cannot be read any more.
    pub(super) fn load_all(&mut self) -> Result<Configuration, String> {
        match read_supervisor(&self.parts.home.settings()) {
            Ok(settings) => {
                (self.parts.settings_observer)(&settings);
                self.defaults = settings.defaults;
                self.env = settings.env;
                self.pace = Pace {
                    start_delay: settings.start_delay,
                    status_poll_interval: settings.status_poll_interval,
                    sampling_period: settings.sampling_period,
                    asking: settings.asking,
                };
                (self.parts.platform_probe)(PlatformOrder::Policy(self.pace.asking.clone()));
                self.parts.recorder.keep(settings.history);
                self.budget = budget_of(&settings.budget);
                self.settings_fault = None;
            }
            // A slip in a file must not take the operator's stop away: what was read last goes on.
            Err(faults) => {
                let fault = one_line(&faults.to_string());
                tracing::error!("settings are not taken over: {fault}");
                self.settings_fault = Some(format!("settings are not taken over: {fault}"));
            }
        }
        self.store_the_unstored();
        let store = Store::open(&self.parts.home.database(), Access::Read).map_err(|error| error.to_string())?;
        let mut tokens: HashMap<_, _> = store
            .credentials()
            .tokens()
            .map_err(|error| error.to_string())?
            .into_iter()
            .collect();
        let fields = store.credentials().fields().map_err(|error| error.to_string())?;
        let mut judged: HashMap<_, _> = store
            .holds()
            .list()
            .map_err(|error| error.to_string())?
            .into_iter()
            .collect();
        judged.extend(self.unstored.clone());
        let records = store.bots().list().map_err(|error| error.to_string())?;
        let now = clock::stamp();
        let blocked = store.blocklist().counts(now).map_err(|error| error.to_string())?;
        let blocklist = store
            .blocklist()
            .blocked(None, now)
            .map_err(|error| error.to_string())?;
        Ok(Configuration {
            pace: self.pace.clone(),
            budget: self.budget.clone(),
            bots: records
                .into_iter()
                .map(|record| {
                    let judged = judged
                        .remove(&record.id)
                        .or_else(|| judgement_of_target(&record.id, &blocklist));
                    Configured {
                        judged,
                        ..self.configured(record, &mut tokens, &fields)
                    }
                })
                .collect(),
            blocked: u64::from(blocked.blocked),
            blocked_permanent: u64::from(blocked.permanent),
            blocklist,
            people: store.people().load().map_err(|error| error.to_string())?,
        })
    }

    fn configured(
        &self,
        record: crate::store::BotRecord,
        tokens: &mut HashMap<BotId, Secret>,
        fields: &[Field],
    ) -> Configured {
        let settings = Settings::from_json(&record.settings_json).map_err(|fault| fault.to_string());
        let token = tokens.remove(&record.id);
        let fields = Credentials::of_bot(fields, &record.id);
        let recipe = settings.as_ref().map_or_else(
            |_| String::new(),
            |settings| recipe(&[settings, &self.defaults], token.as_ref(), &fields),
        );
        let unusable = |why: String, settings: &Settings| Unusable {
            why: one_line(&why),
            legible: Box::new(legible_spec(&record.id, &[settings, &self.defaults])),
        };
        let spec = match &settings {
            Ok(settings) => bot_spec(&record.id, &[settings, &self.defaults])
                .map_err(|faults| unusable(faults.to_string(), settings)),
            Err(why) => Err(unusable(why.clone(), &Settings::new())),
        };
        Configured {
            token,
            fields,
            recipe,
            judged: None,
            id: record.id,
            index: record.index,
            wanted: record.wanted,
            spec,
        }
    }
}

/// A share of memory is one of what there is now.
fn budget_of(settings: &BudgetSettings) -> Budget {
    let memory_bytes = settings.memory.and_then(|memory| match memory {
        Memory::Bytes(bytes) => Some(bytes),
        Memory::Share(share) => host_memory().map(|bytes| (bytes as f64 * share) as u64),
    });
    Budget {
        memory_bytes,
        cpu_percent: settings.cpu_percent,
        max_bots: settings.max_bots,
    }
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}
