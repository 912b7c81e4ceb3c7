//! What a bot's state means: what happens next, and what an operator can do. Pure: what is known of the bot goes in,
//! lines come out.

use std::time::Duration;

use crate::model::bot::{BotSpec, State};
use crate::model::units::{show_age, show_duration};

/// What is known of the bot.
pub(super) struct Known<'a> {
    pub(super) id: &'a str,
    pub(super) state: State,
    pub(super) is_wanted: bool,
    pub(super) has_supervisor: bool,
    /// The class of what its platform said, where that holds it.
    pub(super) held_for: Option<&'a str>,
    pub(super) reason: &'a str,
    /// Failures in a row.
    pub(super) failures: u32,
    /// How long until it is started again.
    pub(super) next_try: Option<Duration>,
    pub(super) waiting: u64,
    pub(super) dead: u64,
    pub(super) spec: &'a BotSpec,
}

/// A command, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remedy {
    pub(super) command: String,
    pub(super) why: &'static str,
}

/// What happens next without anybody doing anything.
pub(super) fn next(known: &Known<'_>) -> Vec<String> {
    if !known.has_supervisor {
        return vec!["nothing: no supervisor runs for this home".to_owned()];
    }
    let restart = &known.spec.restart;
    let mut lines = Vec::new();
    match known.state {
        _ if !known.spec.enabled => lines.push("nothing: it is disabled".to_owned()),
        State::Stopped if known.is_wanted => lines.push("it is about to be started".to_owned()),
        State::Stopped => {
            lines.push("nothing: it is stopped on purpose, and stays so over restarts and reboots".to_owned())
        }
        State::Backoff => {
            lines.extend(
                known
                    .next_try
                    .map(|left| format!("it is started again in {}", show_age(left))),
            );
            lines.push(format!(
                "each further failure doubles the wait up to {}; more than {} failures within {} make it failed",
                show_duration(restart.max_delay),
                restart.max_restarts,
                show_duration(restart.window)
            ));
        }
        State::Failed => lines.push(match (known.next_try, restart.retry_failed) {
            (Some(left), _) => format!("it is tried again in {}", show_age(left)),
            (None, Some(every)) => format!("it is tried again every {}", show_duration(every)),
            (None, None) => "nothing: restart.retry_failed is never".to_owned(),
        }),
        State::Held if known.held_for == Some("target") => {
            lines.push("it starts by itself when the block of its target ends".to_owned());
        }
        State::Held => lines.push("nothing, until what the reason names has changed".to_owned()),
        State::Unhealthy => lines.push("it is stopped and started anew".to_owned()),
        State::Starting => lines.push(format!(
            "it is running when it is ready; after {} it counts as failed",
            show_duration(known.spec.ready.timeout)
        )),
        State::Stopping => lines.push(format!(
            "it is killed when it takes longer than {}",
            show_duration(known.spec.stop.grace)
        )),
        State::Adopting => lines.push("the supervisor finds out what is left of its last run".to_owned()),
        State::Running if known.failures > 0 => lines.push(format!(
            "after {} without a failure its earlier ones are forgotten",
            show_duration(restart.reset_after)
        )),
        State::Running => lines.push("it goes on".to_owned()),
    }
    if known.waiting > 0 && known.state != State::Running {
        lines.push(format!("{} messages wait for it", known.waiting));
    }
    lines
}

/// What can be done, the likeliest first.
pub(super) fn remedies(known: &Known<'_>) -> Vec<Remedy> {
    let id = known.id;
    let mut found = Vec::new();
    let mut add = |command: String, why| found.push(Remedy { command, why });
    if !known.has_supervisor {
        add("multibot start".to_owned(), "start the supervisor and what is wanted");
        return found;
    }
    match known.state {
        _ if !known.spec.enabled => add(format!("multibot bot enable {id}"), "let it run"),
        State::Stopped => add(format!("multibot bot start {id}"), "start it"),
        State::Backoff | State::Failed | State::Unhealthy => {
            add(format!("multibot logs {id} -n 50"), "what it wrote before it ended");
            add(
                format!("multibot bot start {id}"),
                "try it at once, its failures forgotten",
            );
            if known.reason.contains("limit") || known.reason.contains("memory") {
                add(
                    format!("multibot metrics {id}"),
                    "what it used, and what is recommended",
                );
            }
            if known.reason.contains("not ready") {
                add(
                    format!("multibot bot set {id} ready.timeout=2m"),
                    "give it more time to become ready",
                );
            }
        }
        State::Held => match known.held_for {
            Some("credentials") => {
                add(format!("multibot bot rotate-token {id}"), "give it a token that holds");
                add(format!("multibot credentials list {id}"), "which fields it has");
                add(format!("multibot bot unhold {id}"), "try the same ones again");
            }
            Some("conflict") => {
                add(format!("multibot bot unhold {id}"), "when the other program is gone");
                add(format!("multibot bot rotate-token {id}"), "lock the other program out");
            }
            Some("target") => add(
                format!("multibot blocklist list {id}"),
                "since when, until when and why",
            ),
            Some(_) => {
                add(format!("multibot logs {id} -n 50"), "what its platform said");
                add(format!("multibot bot unhold {id}"), "when that is settled");
            }
            None => {
                add(format!("multibot bot show {id}"), "its settings");
                add("multibot check".to_owned(), "what else is wrong in this home");
            }
        },
        State::Running | State::Starting | State::Stopping | State::Adopting => {
            add(format!("multibot logs {id} -f"), "what it writes");
            add(format!("multibot metrics {id}"), "how it did");
        }
    }
    if known.dead > 0 {
        add(
            format!("multibot queue {id} list --in dead"),
            "messages that were given up, with their reasons",
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, bot_spec};

    fn spec() -> BotSpec {
        let mut settings = Settings::new();
        settings.set("command", r#"["/bin/true"]"#).unwrap();
        bot_spec(&"shop".parse().unwrap(), &[&settings]).unwrap()
    }

    fn known(spec: &BotSpec, state: State) -> Known<'_> {
        Known {
            id: "shop",
            state,
            is_wanted: true,
            has_supervisor: true,
            held_for: None,
            reason: "exit code 1",
            failures: 2,
            next_try: Some(Duration::from_secs(8)),
            waiting: 0,
            dead: 0,
            spec,
        }
    }

    #[test]
    fn every_state_has_a_next_step_and_a_remedy() {
        let spec = spec();
        for state in State::ALL {
            let known = known(&spec, state);
            assert!(!next(&known).is_empty() && !remedies(&known).is_empty(), "{state:?}");
        }
        let backoff = next(&known(&spec, State::Backoff));
        assert_eq!(backoff[0], "it is started again in 8s");
        assert!(backoff[1].contains("up to 1m") && backoff[1].contains("more than 5 failures within 10m"));
        let mut held = known(&spec, State::Held);
        held.held_for = Some("credentials");
        assert_eq!(remedies(&held)[0].command, "multibot bot rotate-token shop");
        held.has_supervisor = false;
        assert_eq!(remedies(&held)[0].command, "multibot start");
        let mut failed = known(&spec, State::Failed);
        failed.dead = 1;
        assert!(remedies(&failed).iter().any(|it| it.command.contains("--in dead")));
    }
}
