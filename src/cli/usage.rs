//! Reads the command line, or says what is to be printed instead: the help that was asked for, or in
//! one line what is wrong.

use std::ffi::OsString;

use clap::Parser;
use clap::builder::StyledStr;
use clap::error::ErrorKind;

use super::args::Cli;
use super::exit::Exit;
use crate::output::{self, Style};

/// What there is to print instead of running a verb.
#[derive(Clone, Debug)]
pub enum Instead {
    /// Help or version, as asked for.
    Asked(StyledStr),
    /// Nothing was said: the help, as a reminder.
    Nothing(StyledStr),
    /// One line that says what is wrong and where to read on.
    Wrong(String),
}

/// Reads the words of a command line, the program's name first.
pub fn parse(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Cli, Instead> {
    Cli::try_parse_from(words).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Instead::Asked(error.render()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Instead::Nothing(error.render()),
        _ => Instead::Wrong(one_line(&error.render().to_string())),
    })
}

/// Whether the verb of this command line is `check`, whatever else is right or wrong with it.
pub fn is_check(words: impl IntoIterator<Item = OsString>) -> bool {
    let mut words = words.into_iter().skip(1);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--home") => drop(words.next()),
            Some("help") => {}
            Some(flag) if flag.starts_with('-') => {}
            verb => return verb == Some("check"),
        }
    }
    false
}

impl Instead {
    /// Prints it and says with what the program ends.
    pub fn print(&self) -> Result<Exit, output::Error> {
        match self {
            Instead::Asked(text) => output::out(&shown(text, &Style::of_stdout())).map(|()| Exit::Done),
            Instead::Nothing(text) => {
                output::note(&shown(text, &Style::of_stderr()));
                Ok(Exit::Usage)
            }
            Instead::Wrong(text) => {
                output::error(text);
                Ok(Exit::Usage)
            }
        }
    }
}

fn shown(text: &StyledStr, style: &Style) -> String {
    if style.has_colour() {
        text.ansi().to_string()
    } else {
        text.to_string()
    }
}

/// The parser's phrases, and ours for the same.
const PHRASES: [(&str, &str); 10] = [
    ("unrecognized subcommand", "unknown command"),
    ("unexpected argument", "unknown argument"),
    ("' found", "'"),
    ("the following required arguments were not provided:", "missing:"),
    ("requires a subcommand but one was not provided", "needs a command"),
    ("[subcommands: ", "[commands: "),
    ("a similar subcommand exists: ", "nearest is "),
    ("some similar subcommands exist: ", "nearest are "),
    ("a similar argument exists: ", "nearest is "),
    ("a similar value exists: ", "nearest is "),
];

/// The parser's report in one line: what is wrong, what may have been meant, and whose help to read.
fn one_line(report: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut help = Vec::new();
    for paragraph in report.trim().split("\n\n") {
        if let Some(usage) = paragraph.strip_prefix("Usage: ") {
            let has_stray_word = report.contains("unexpected argument '") && !report.contains("argument '-");
            if usage.contains("[-- <") && has_stray_word {
                help.push("a bot's command is written after --".to_owned());
            }
            // The program's own name comes first, whatever the file is called.
            let verbs = usage.split(' ').skip(1).take_while(|word| is_verb(word));
            let path: Vec<&str> = std::iter::once("multibot").chain(verbs).collect();
            help.push(format!("see {} --help", path.join(" ")));
        } else if paragraph.trim_start().starts_with("tip: ") {
            let tips = paragraph.lines().map(|line| line.trim().trim_start_matches("tip: "));
            // How to give a word with a dash as a value: never what was meant here.
            parts.extend(tips.filter(|tip| !tip.starts_with("to pass ")).map(str::to_owned));
        } else if !paragraph.starts_with("For more information") {
            parts.push(paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" "));
        }
    }
    parts.extend(help);
    let text = parts.join("; ");
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let text = PHRASES
        .iter()
        .fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours));
    output::visible(&without_tokens(&text))
}

fn is_verb(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// A token in the wrong place must not be repeated where cron or a log keeps it.
fn without_tokens(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(['\'', '"']) {
        let word = part.trim_end_matches(['\'', '"']);
        let end = &part[word.len()..];
        let looks_like_token = word.split_once(':').is_some_and(|(number, key)| {
            let all_digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            all_digits && key.bytes().any(|byte| byte.is_ascii_alphabetic()) && !key.contains(' ')
        });
        shown.push_str(if looks_like_token { "[token]" } else { word });
        shown.push_str(end);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn said(line: &str) -> String {
        match parse(line.split(' ')) {
            Err(Instead::Wrong(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_that_was_asked_for_is_no_fault_and_silence_is() {
        for line in [
            "multibot --help",
            "multibot -h",
            "multibot help bot set",
            "multibot bot --help",
            "multibot -V",
        ] {
            assert!(matches!(parse(line.split(' ')), Err(Instead::Asked(_))), "{line}");
        }
        for line in ["multibot", "multibot bot"] {
            assert!(matches!(parse(line.split(' ')), Err(Instead::Nothing(_))), "{line}");
        }
    }

    #[test]
    fn a_check_is_known_by_its_verb_alone() {
        for (line, is) in [
            ("multibot check", true),
            ("multibot --home check check --nonsense", true),
            ("multibot --home=x -v check --help", true),
            ("multibot help check", true),
            ("multibot --home check status", false),
            ("multibot send check", false),
            ("multibot", false),
        ] {
            assert_eq!(is_check(line.split(' ').map(OsString::from)), is, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_one_line_with_the_nearest_word_and_the_help() {
        for (line, text) in [
            (
                "multibot strat",
                "unknown command 'strat'; nearest are 'status', 'restart', 'start'; see multibot --help",
            ),
            (
                "multibot start --timout 5s",
                "unknown argument '--timout'; nearest is '--timeout'; see multibot start --help",
            ),
            (
                "multibot bot create A",
                "invalid value 'A' for '<ID>': \"A\" is not a bot id: it must start with a-z or 0-9",
            ),
            ("multibot bot create", "missing: <ID>; see multibot bot create --help"),
            (
                "multibot bot create a --token 1:a --token-file f",
                "the argument '--token <TOKEN>' cannot be used with '--token-file <FILE>'; see multibot bot create --help",
            ),
            (
                "multibot bot create a --platform telegramm",
                "invalid value 'telegramm' for '--platform <PLATFORM>' [possible values: none, telegram, whatsapp-cloud, loopback, discord, whatsapp]; nearest is 'telegram'",
            ),
            (
                "multibot bot create a python3",
                "unknown argument 'python3'; a bot's command is written after --; see multibot bot create --help",
            ),
            (
                "multibot bot stop",
                "missing: <BOT|--all>; see multibot bot stop --help",
            ),
            (
                "multibot bot stop a --all",
                "the argument '[BOT]...' cannot be used with '--all'; see multibot bot stop --help",
            ),
            (
                "multibot start --timeout 5",
                "invalid value '5' for '--timeout <TIME>': \"5\" is not a duration: write 500ms, 5s, 10m, 2h or 7d",
            ),
            (
                "multibot logs --grep (",
                "invalid value '(' for '--grep <REGEX>': found open group without closing ')'",
            ),
            (
                "multibot logs --since yesterday",
                "invalid value 'yesterday' for '--since <TIME>': write a time such as 2026-11-23T08:00:00Z, or how long ago, such as 10m or 2h",
            ),
            (
                "multibot send a",
                "missing: <NAME|--text <TEXT>|--photo <FILE>|--document <FILE>|--ndjson|--all>; see multibot send --help",
            ),
            (
                "multibot send a b --timeout 1s",
                "missing: --wait; see multibot send --help",
            ),
            (
                "multibot send a b --json 1",
                "invalid value '1' for '--json <JSON>': it must be a JSON object, such as {\"chat\": 42}",
            ),
            (
                "multibot events -n 0",
                "invalid value '0' for '--lines <N>': write a whole number from 1 on",
            ),
            (
                "multibot bot set a b",
                "invalid value 'b' for '<KEY=VALUE>...': there is no = in it",
            ),
            (
                "multibot bot set a",
                "missing: <KEY=VALUE>...; see multibot bot set --help",
            ),
            (
                "multibot --home x",
                "'multibot' needs a command [commands: up, start, stop, restart, upgrade, status, list, bot, apply, explain, import, schema, export, blocklist, admin, permission, credentials, logs, send, queue, alerts, ipc, metrics, check, events, audit, completions, help]; see multibot --help",
            ),
            (
                "multibot bot create a --tokn 1:b",
                "unknown argument '--tokn'; nearest is '--token'; see multibot bot create --help",
            ),
            (
                "multibot bot create a 123456:ABC-def",
                "unknown argument '[token]'; a bot's command is written after --; see multibot bot create --help",
            ),
            (
                "multibot bot crate x",
                "unknown command 'crate'; nearest is 'create'; see multibot bot --help",
            ),
            (
                "multibot completions tcsh",
                "invalid value 'tcsh' for '<SHELL>' [possible values: bash, elvish, fish, powershell, zsh]; nearest is 'zsh'",
            ),
            (
                "multibot bot create 123456:ABC-def",
                "invalid value '[token]' for '<ID>': \"[token]\" is not a bot id: only a-z 0-9 . _ - are allowed",
            ),
            (
                "multibot start --timeout 12:30",
                "invalid value '12:30' for '--timeout <TIME>': \"12:30\" is not a duration: write 500ms, 5s, 10m, 2h or 7d",
            ),
        ] {
            assert_eq!(said(line), text, "{line}");
        }
    }
}
