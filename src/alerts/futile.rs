//! Settings of sinks that cannot work as the home is now. Not an error: a bot may be created later. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::alert::{SinkKind, SinkPolicy, TokenFrom};
use crate::model::bot::BotId;

/// What there is that a sink may need.
pub struct Means<'a> {
    pub bots: &'a BTreeSet<BotId>,
    pub with_token: &'a BTreeSet<BotId>,
    /// Whether there is such a program.
    pub has_program: &'a dyn Fn(&str) -> bool,
}

/// One sentence for each thing that is missing.
pub fn missing(sinks: &BTreeMap<String, SinkPolicy>, means: &Means<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, policy) in sinks.iter().filter(|(_, policy)| policy.enabled) {
        let mut add = |key: &str, said: String| found.push(format!("alerts.sinks.{name}.{key}: {said}"));
        for bot in policy.bots.iter().filter(|bot| !means.bots.contains(*bot)) {
            add("bots", format!("there is no bot {bot}"));
        }
        match &policy.kind {
            SinkKind::Telegram {
                sender: TokenFrom::Bot(bot),
                ..
            } if !means.bots.contains(bot) => add("bot", format!("there is no bot {bot}, so nothing can be sent")),
            SinkKind::Telegram {
                sender: TokenFrom::Bot(bot),
                ..
            } if !means.with_token.contains(bot) => add("bot", format!("{bot} has no token, so nothing can be sent")),
            SinkKind::Exec(argv) => {
                let program = argv.first().filter(|program| !(means.has_program)(program));
                if let Some(program) = program {
                    add("command", format!("there is no program {program} that can be run"));
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bot(id: &str) -> BotId {
        id.parse().unwrap()
    }

    fn telegram(sender: &str) -> SinkKind {
        SinkKind::Telegram {
            sender: TokenFrom::Bot(bot(sender)),
            chat: "1".to_owned(),
            api_root: String::new(),
        }
    }

    fn exec(program: &str) -> SinkKind {
        SinkKind::Exec(vec![program.to_owned()])
    }

    #[test]
    fn what_is_missing_is_said_with_its_key() {
        let of = |kind, bots: &[&str]| SinkPolicy {
            bots: bots.iter().map(|id| bot(id)).collect(),
            ..SinkPolicy::of(kind)
        };
        for (policy, said) in [
            (of(SinkKind::Log, &[]), None),
            (of(SinkKind::Log, &["shop"]), None),
            (
                of(SinkKind::Log, &["shop", "nosuch"]),
                Some("bots: there is no bot nosuch"),
            ),
            (of(telegram("shop"), &[]), None),
            (
                of(telegram("mute"), &[]),
                Some("bot: mute has no token, so nothing can be sent"),
            ),
            (
                of(telegram("nosuch"), &[]),
                Some("bot: there is no bot nosuch, so nothing can be sent"),
            ),
            (of(exec("true"), &[]), None),
            (
                of(exec("/no"), &[]),
                Some("command: there is no program /no that can be run"),
            ),
        ] {
            let mut sinks = BTreeMap::from([("ops".to_owned(), policy)]);
            let means = Means {
                bots: &BTreeSet::from([bot("shop"), bot("mute")]),
                with_token: &BTreeSet::from([bot("shop")]),
                has_program: &|program| program == "true",
            };
            let expected: Vec<String> = said
                .into_iter()
                .map(|said| format!("alerts.sinks.ops.{said}"))
                .collect();
            assert_eq!(missing(&sinks, &means), expected);
            sinks.get_mut("ops").unwrap().enabled = false;
            assert_eq!(missing(&sinks, &means), Vec::<String>::new());
        }
    }
}
