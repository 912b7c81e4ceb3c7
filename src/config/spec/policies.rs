//! The settings of one subject each, typed.

use std::collections::BTreeMap;

use super::{Effective, variables};
use crate::config::commands::commands_of;
use crate::model::bot::{ReadyPolicy, ReadyWhen, RestartPolicy, RestartWhen, StopPolicy, signal_number};
use crate::model::chat::ChatPolicy;
use crate::model::credential::login::LoginPolicy;
use crate::model::credential::{FieldName, FieldNameError, Refresh};
use crate::model::kernel::{GroupWhen, KernelPolicy, MemoryMax};
use crate::model::queue::{Durability, QueuePolicy};
use crate::model::telegram::TelegramPolicy;
use crate::model::units::parse_size;
use crate::model::whatsapp::WhatsappPolicy;

impl Effective {
    pub(super) fn restart(&mut self) -> RestartPolicy {
        RestartPolicy {
            when: match self.text("restart.policy").as_deref() {
                Some("never") => RestartWhen::Never,
                Some("on-failure") => RestartWhen::OnFailure,
                _ => RestartWhen::Always,
            },
            delay: self.duration("restart.delay"),
            factor: self.number("restart.factor").unwrap_or(1.0),
            max_delay: self.duration("restart.max_delay"),
            max_restarts: self.integer("restart.max_restarts"),
            window: self.duration("restart.window"),
            reset_after: self.duration("restart.reset_after"),
            retry_failed: self.duration_or_none("restart.retry_failed"),
        }
    }

    pub(super) fn telegram(&mut self) -> TelegramPolicy {
        TelegramPolicy {
            api_root: self.text("telegram.api_root").unwrap_or_default(),
            parse_mode: self.text("telegram.parse_mode"),
            poll_timeout: self.duration("telegram.poll_timeout"),
        }
    }

    pub(super) fn whatsapp(&mut self) -> WhatsappPolicy {
        WhatsappPolicy {
            api_root: self.text("whatsapp.api_root").unwrap_or_default(),
            version: self.text("whatsapp.version").unwrap_or_default(),
            listen: self.text("whatsapp.listen"),
        }
    }

    pub(super) fn chat(&mut self) -> ChatPolicy {
        let prefixes = self.texts("prefixes");
        ChatPolicy {
            prefixes: if prefixes.is_empty() {
                ChatPolicy::default().prefixes
            } else {
                prefixes
            },
            allowed_users: self.texts("allowed_users"),
            others: self.text("strangers"),
            commands: commands_of(self.value("commands")),
        }
    }

    /// Variables whose field cannot be one are told and left out.
    pub(super) fn credentials_env(&mut self) -> BTreeMap<String, FieldName> {
        let written = variables(self.value("credentials.env"));
        let mut known = BTreeMap::new();
        for (variable, name) in written {
            match name.parse() {
                Ok(name) => drop(known.insert(variable, name)),
                // The text may be the secret itself, in the wrong place.
                Err(FieldNameError(_)) => self.complain(
                    &["credentials.env"],
                    format!(
                        "credentials.env: {variable}: write the name of a field, such as app_secret, not its value"
                    ),
                ),
            }
        }
        known
    }

    pub(super) fn login(&mut self) -> LoginPolicy {
        LoginPolicy {
            exec: self.texts("login.exec"),
            timeout: self.duration("login.timeout"),
        }
    }

    /// How a run learns of changed credentials.
    pub(super) fn credentials_refresh(&mut self) -> Refresh {
        match self.text("credentials.refresh").as_deref() {
            Some("command") => Refresh::Command,
            _ => Refresh::Restart,
        }
    }

    pub(super) fn queue(&mut self) -> QueuePolicy {
        let durability = self
            .text("queue.durability")
            .and_then(|word| Durability::from_word(&word));
        QueuePolicy {
            max_messages: u64::from(self.integer("queue.max_messages")),
            max_bytes: self.size("queue.max_bytes"),
            max_message: self.size("queue.max_message"),
            retry_delay: self.duration("queue.retry_delay"),
            max_retry_delay: self.duration("queue.max_retry_delay"),
            max_crashes: self.integer("queue.max_crashes"),
            dedup_window: self.duration("queue.dedup_window"),
            durability: durability.unwrap_or(Durability::Batch),
        }
    }

    pub(super) fn stop(&mut self) -> StopPolicy {
        let signal = self.text("stop.signal").and_then(|text| signal_number(&text));
        StopPolicy {
            signal: signal.unwrap_or_default(),
            grace: self.duration("stop.grace"),
        }
    }

    pub(super) fn ready(&mut self, is_built_in: bool) -> ReadyPolicy {
        ReadyPolicy {
            when: match self.text("ready.when").as_deref() {
                Some("alive") => ReadyWhen::Alive,
                Some("signal") => ReadyWhen::Signal,
                _ if is_built_in => ReadyWhen::Signal,
                _ => ReadyWhen::Alive,
            },
            timeout: self.duration("ready.timeout"),
            min_uptime: self.duration("ready.min_uptime"),
        }
    }

    pub(super) fn kernel(&mut self) -> KernelPolicy {
        KernelPolicy {
            group: match self.text("kernel.group").as_deref() {
                Some("always") => GroupWhen::Always,
                _ => GroupWhen::Auto,
            },
            memory_max: match self.text("kernel.memory_max").as_deref() {
                Some("off") => MemoryMax::Off,
                Some("auto") | None => MemoryMax::Auto,
                Some(size) => parse_size(size).map_or(MemoryMax::Auto, MemoryMax::Bytes),
            },
            memory_high: self.text("kernel.memory_high").and_then(|text| parse_size(&text).ok()),
            cpu_max: self.number("kernel.cpu_max"),
            pids_max: self.integer_or_none("kernel.pids_max"),
            open_files: self.integer_or_none("kernel.open_files"),
            nice: self
                .value("nice")
                .and_then(|value| value.as_i64())
                .and_then(|number| i32::try_from(number).ok()),
            weight: self.integer_or_none("weight"),
        }
    }
}
