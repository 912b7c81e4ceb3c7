//! Examples of every verb, for its help and its manual page. A test parses each of them.

mod apply;
mod blocklist;
mod credentials;
mod ipc;
mod people;

use std::fmt::Write;

use clap::builder::Styles;

/// One command line and what it is good for.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    pub purpose: &'static str,
    pub line: &'static str,
}

const fn example(purpose: &'static str, line: &'static str) -> Example {
    Example { purpose, line }
}

/// The examples of a verb by its words: `start`, `bot create`; empty for the program itself.
pub fn of(verb: &str) -> &'static [Example] {
    all()
        .find(|(words, _)| *words == verb)
        .map_or(&[], |(_, examples)| examples)
}

fn all() -> impl Iterator<Item = &'static (&'static str, &'static [Example])> {
    TABLE
        .iter()
        .chain(apply::TABLE)
        .chain(blocklist::TABLE)
        .chain(credentials::TABLE)
        .chain(ipc::TABLE)
        .chain(people::TABLE)
}

/// The same as they stand below the help.
pub fn text(verb: &str) -> String {
    let head = Styles::styled();
    let head = head.get_header();
    let mut text = format!("{head}Examples:{head:#}\n");
    for (index, Example { purpose, line }) in of(verb).iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        let _ = write!(text, "{gap}  {purpose}:\n      {line}\n");
    }
    text.truncate(text.trim_end().len());
    text
}

const TABLE: &[(&str, &[Example])] = &[
    (
        "",
        &[
            example("A first bot, built in, that needs no token", "multibot bot create demo"),
            example("Start everything in the background", "multibot start"),
            example("See how it is", "multibot status"),
            example("Talk to it", "multibot send demo --text hello --wait"),
            example(
                "A bot of your own, in any language, with its token in a file",
                "multibot bot create shop --token-file shop.token -- python3 shop.py",
            ),
        ],
    ),
    (
        "up",
        &[
            example("Run every bot of a folder, and watch", "multibot up bot_configs"),
            example("Run one of them", "multibot up bot_configs/demo.yaml"),
            example(
                "The same in a home of its own, to try things out",
                "multibot --home /tmp/try up bot_configs",
            ),
        ],
    ),
    (
        "start",
        &[
            example("Start, and wait until every wanted bot runs", "multibot start"),
            example("From cron, at boot", "multibot --home /srv/bots start --timeout 5m"),
            example("In a unit of systemd or a container", "multibot start --foreground"),
        ],
    ),
    (
        "stop",
        &[
            example("Stop everything, gently", "multibot stop"),
            example("Stop everything now", "multibot stop --force"),
            example("Leave the bots running", "multibot stop --keep-bots"),
        ],
    ),
    (
        "upgrade",
        &[
            example("This program, newly installed, takes over", "multibot upgrade"),
            example("Another one does", "multibot upgrade --binary /usr/local/bin/multibot"),
        ],
    ),
    (
        "restart",
        &[
            example("Everything anew, gently", "multibot restart"),
            example("Everything anew, at once", "multibot restart --force"),
        ],
    ),
    (
        "status",
        &[
            example("How is everything", "multibot status"),
            example("Two bots only", "multibot status shop news"),
            example("One bot, every five seconds", "multibot status shop --watch 5s"),
            example("For a script", "multibot --home /srv/bots status --json"),
        ],
    ),
    (
        "list",
        &[
            example("All bots", "multibot list"),
            example("For a script", "multibot list --json"),
        ],
    ),
    (
        "bot",
        &[
            example(
                "A bot from a command",
                "multibot bot create news -- ./news.sh --lang en",
            ),
            example("Stop it until further notice", "multibot bot stop news"),
            example(
                "Restart it on failure after 5 seconds each time",
                "multibot bot set news restart.delay=5s restart.factor=1",
            ),
        ],
    ),
    (
        "bot create",
        &[
            example("The built-in bot: no token, no network", "multibot bot create demo"),
            example(
                "A program in any language",
                "multibot bot create news -- ./news.sh --lang en",
            ),
            example(
                "With a token, under the name that the program expects",
                "multibot bot create shop --token-file shop.token --token-env TELEGRAM_TOKEN -- python3 shop.py",
            ),
            example(
                "With a token from a password store",
                "pass shop/token | multibot bot create shop --token - -- python3 shop.py",
            ),
            example(
                "With an environment of its own, and not started yet",
                "multibot bot create eu --env LANG=de_DE.UTF-8 --env-file eu.env --no-start -- node bot.js",
            ),
        ],
    ),
    (
        "bot show",
        &[
            example("Everything about one bot", "multibot bot show shop"),
            example("For a script", "multibot bot show shop --json"),
            example(
                "Every setting that holds, and who says so",
                "multibot bot show shop --effective",
            ),
        ],
    ),
    (
        "bot set",
        &[
            example(
                "Wait longer before restarts, and longer for its end",
                "multibot bot set shop restart.delay=2s stop.grace=30s",
            ),
            example(
                "Restart it when it uses more than 200 MiB for a minute",
                "multibot bot set shop limits.memory.max=200MiB limits.memory.for=1m",
            ),
            example(
                "Change one variable of its environment",
                "multibot bot set shop env.LANG=de_DE.UTF-8",
            ),
            example(
                "Take a limit and a probe away again",
                "multibot bot set shop limits.memory.max= limits.memory.for= probes.web=",
            ),
        ],
    ),
    (
        "bot remove",
        &[
            example("Remove a bot that is down", "multibot bot remove shop"),
            example(
                "Stop it, drop its messages and remove it",
                "multibot bot remove shop --force",
            ),
            example("Remove its log and its history too", "multibot bot remove shop --purge"),
        ],
    ),
    (
        "bot start",
        &[
            example("Start two bots", "multibot bot start shop news"),
            example("Start all", "multibot bot start --all"),
        ],
    ),
    (
        "bot stop",
        &[
            example("Stop a bot", "multibot bot stop shop"),
            example("Kill one that hangs", "multibot bot stop shop --force"),
        ],
    ),
    (
        "bot restart",
        &[
            example("Restart a bot", "multibot bot restart shop"),
            example(
                "Restart all, and wait up to ten minutes",
                "multibot bot restart --all --timeout 10m",
            ),
        ],
    ),
    ("bot enable", &[example("Let it run again", "multibot bot enable shop")]),
    (
        "bot disable",
        &[example("Keep it down for now", "multibot bot disable shop")],
    ),
    (
        "bot unhold",
        &[example("After its account was unlocked", "multibot bot unhold shop")],
    ),
    (
        "bot login",
        &[example("By the program of its login.exec", "multibot bot login shop")],
    ),
    (
        "bot rotate-token",
        &[
            example("From a file", "multibot bot rotate-token shop --token-file shop.token"),
            example(
                "From a pipe",
                "pass show shop | multibot bot rotate-token shop --token -",
            ),
        ],
    ),
    (
        "logs",
        &[
            example("Follow everything", "multibot logs -f"),
            example("The last 20 lines of one bot", "multibot logs shop -n 20"),
            example(
                "Errors of the last two hours",
                "multibot logs shop --since 2h --err --grep '(?i)error|timeout'",
            ),
            example("Why did the supervisor do that", "multibot logs supervisor"),
        ],
    ),
    (
        "send",
        &[
            example(
                "Say something to the built-in bot and read its answer",
                "multibot send demo --text hello --wait",
            ),
            example(
                "A command of your own",
                "multibot send shop reload_prices --json '{\"shop\": 7}'",
            ),
            example(
                "Once, however often this is run, and not after an hour",
                "multibot send shop --text 'Order 4711 is ready' --dedup-key order-4711 --expires 1h",
            ),
            example(
                "Many messages at once, one JSON object on each line",
                "cat messages.ndjson | multibot send shop -",
            ),
            example("Every bot", "multibot send --all refresh_permissions"),
        ],
    ),
    (
        "queue",
        &[
            example("All messages of all bots", "multibot queue"),
            example(
                "What became dead letters of one bot, and why",
                "multibot queue shop list --in dead",
            ),
            example("Try them all again", "multibot queue shop retry --all --in dead"),
        ],
    ),
    (
        "alerts",
        &[
            example("What is wrong now", "multibot alerts"),
            example("Nobody needs to be reminded of it", "multibot alerts ack --all"),
            example(
                "Quiet while you work on a bot",
                "multibot alerts silence shop --for 2h --reason maintenance",
            ),
            example("Does word arrive?", "multibot alerts test"),
        ],
    ),
    (
        "alerts list",
        &[
            example("Everything of the last day", "multibot alerts list --since 1d"),
            example(
                "What one bot has had, for a script",
                "multibot alerts list --all --bot shop --json",
            ),
        ],
    ),
    (
        "alerts ack",
        &[
            example("One of them", "multibot alerts ack 01KEXAMPE0000000000000000C"),
            example("All of one bot", "multibot alerts ack --bot shop"),
        ],
    ),
    (
        "alerts silence",
        &[
            example(
                "One rule, of every bot",
                "multibot alerts silence --rule memory --for 1d",
            ),
            example("Which silences there are", "multibot alerts silence"),
            example("End all silences of a bot", "multibot alerts silence shop --clear"),
        ],
    ),
    (
        "alerts sinks",
        &[
            example("Does every sink deliver?", "multibot alerts sinks"),
            example("The same for a script", "multibot alerts sinks --json"),
        ],
    ),
    (
        "alerts test",
        &[
            example("Every sink", "multibot alerts test"),
            example("One, before it is needed", "multibot alerts test ops"),
        ],
    ),
    (
        "queue list",
        &[
            example("All messages of one bot", "multibot queue shop list"),
            example("For a script", "multibot queue list --json"),
        ],
    ),
    (
        "queue show",
        &[example(
            "One message with all that is known of it",
            "multibot queue show 01KEXAMPE0000000000000000C",
        )],
    ),
    (
        "queue retry",
        &[
            example(
                "A dead letter once more",
                "multibot queue retry 01KEXAMPE0000000000000000C",
            ),
            example(
                "All that wait for their next attempt, now",
                "multibot queue shop retry --all --in later",
            ),
        ],
    ),
    (
        "queue hold",
        &[example(
            "Hold back all that waits",
            "multibot queue shop hold --all --in new",
        )],
    ),
    (
        "queue release",
        &[example("Let it go on", "multibot queue shop release --all --in held")],
    ),
    (
        "queue drop",
        &[example(
            "Remove a message for good",
            "multibot queue drop 01KEXAMPE0000000000000000C",
        )],
    ),
    (
        "queue stats",
        &[example("How many messages are where", "multibot queue stats")],
    ),
    (
        "events",
        &[
            example("What happened lately", "multibot events"),
            example(
                "The last 200 events of one bot, for a script",
                "multibot events shop -n 200 --json",
            ),
            example("Watch what happens", "multibot events -f"),
            example(
                "Every end of a run of the last day",
                "multibot events --name exited --since 24h",
            ),
        ],
    ),
    (
        "metrics",
        &[
            example("All bots over the last day", "multibot metrics"),
            example(
                "One bot over a week, with plots and recommendations",
                "multibot metrics shop --since 7d",
            ),
            example(
                "Its figures for a spreadsheet",
                "multibot metrics shop --since 7d --csv",
            ),
            example("What there is to do, for a script", "multibot metrics --json"),
        ],
    ),
    (
        "check",
        &[
            example("From Nagios or Icinga", "multibot --home /srv/bots check"),
            example("One bot, with its own figures", "multibot check shop --warn-queue 100"),
        ],
    ),
    (
        "audit",
        &[
            example("The newest changes", "multibot audit"),
            example("Who stopped it", "multibot audit --bot shop"),
        ],
    ),
    (
        "completions",
        &[
            example(
                "bash",
                "multibot completions bash > ~/.local/share/bash-completion/completions/multibot",
            ),
            example(
                "zsh, in a folder of your $fpath",
                "multibot completions zsh > ~/.zfunc/_multibot",
            ),
            example(
                "fish",
                "multibot completions fish > ~/.config/fish/completions/multibot.fish",
            ),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Cli;
    use clap::{CommandFactory, Parser};

    /// Splits a line as a shell would, as far as the examples need it.
    fn words(line: &str) -> Vec<String> {
        let line = line.rsplit_once("| ").map_or(line, |(_, last)| last);
        let line = line.split_once(" > ").map_or(line, |(first, _)| first);
        let mut words = vec![String::new()];
        let mut is_quoted = false;
        for letter in line.chars() {
            match letter {
                '\'' => is_quoted = !is_quoted,
                ' ' if !is_quoted => words.push(String::new()),
                _ => words.last_mut().unwrap().push(letter),
            }
        }
        words
    }

    /// What fits into the help's width behind its indent.
    const LINE_CHARS_MAX: usize = 94;

    #[test]
    fn every_example_is_one_that_the_parser_takes() {
        for (verb, examples) in all() {
            for example in *examples {
                let said = Cli::try_parse_from(words(example.line)).map_err(|error| error.to_string());
                assert!(said.is_ok(), "{}: {said:?}", example.line);
                assert!(example.line.len() <= LINE_CHARS_MAX, "{}", example.line);
                // A bot may stand between the words of a verb.
                let mut own = verb.split(' ').filter(|word| !word.is_empty());
                let shown = own.all(|word| words(example.line).iter().any(|written| written == word));
                assert!(shown, "{verb}: {}", example.line);
            }
        }
    }

    #[test]
    fn every_verb_has_examples_and_every_example_a_verb() {
        let mut verbs = vec![String::new()];
        for verb in Cli::command().get_subcommands() {
            verbs.push(verb.get_name().to_owned());
            verbs.extend(
                verb.get_subcommands()
                    .map(|below| format!("{} {}", verb.get_name(), below.get_name())),
            );
        }
        for verb in &verbs {
            assert!(!of(verb).is_empty(), "{verb:?}");
        }
        assert_eq!(verbs.len(), all().count());
    }
}
