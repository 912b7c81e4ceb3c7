//! What the bot answers in a chat. Pure: the text and how the bot stands in, the reply out.

use std::time::Duration;

use crate::model::bot::RunId;
use crate::model::units::show_age;

/// What a chat may learn of the bot.
pub(super) struct Standing<'a> {
    pub(super) uptime: Duration,
    pub(super) run: &'a RunId,
    /// Chat messages since the run began, the one that is being answered included.
    pub(super) messages_in: u64,
    /// Replies since the run began.
    pub(super) messages_out: u64,
}

/// The reply to a text: a command's own, else the text unchanged. A command stands alone; spaces around it
/// do not matter.
pub(super) fn reply(text: &str, standing: &Standing<'_>) -> String {
    match COMMANDS.iter().find(|command| command.word == text.trim()) {
        Some(command) => (command.reply)(standing),
        None => text.to_owned(),
    }
}

struct Command {
    word: &'static str,
    what: &'static str,
    reply: fn(&Standing<'_>) -> String,
}

const COMMANDS: [Command; 3] = [
    Command {
        word: "?help",
        what: "this list",
        reply: help,
    },
    Command {
        word: "?ping",
        what: "answers pong",
        reply: |_| "pong".to_owned(),
    },
    Command {
        word: "?status",
        what: "uptime, run, messages",
        reply: status,
    },
];

fn help(_: &Standing<'_>) -> String {
    let commands = COMMANDS.map(|command| format!("{} ({})", command.word, command.what));
    format!("{}; anything else comes back as it is", commands.join(", "))
}

fn status(standing: &Standing<'_>) -> String {
    let Standing {
        uptime,
        run,
        messages_in,
        messages_out,
    } = standing;
    format!(
        "up {}, run {run}, messages: {messages_in} in, {messages_out} out",
        show_age(*uptime)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

    fn answer(text: &str) -> String {
        let run = RunId::parse(RUN).unwrap();
        let standing = Standing {
            uptime: Duration::from_secs(125),
            run: &run,
            messages_in: 3,
            messages_out: 2,
        };
        reply(text, &standing)
    }

    #[test]
    fn commands_are_answered_and_the_rest_comes_back_unchanged() {
        let status = format!("up 2m 5s, run {RUN}, messages: 3 in, 2 out");
        for (text, reply) in [
            ("?ping", "pong"),
            (" ?ping\n", "pong"),
            ("?status", status.as_str()),
            ("?PING", "?PING"),
            ("?ping me", "?ping me"),
            ("?", "?"),
            ("ping", "ping"),
            ("", ""),
            (" two  spaces ", " two  spaces "),
            ("Grüße 你好\n\t\u{0}", "Grüße 你好\n\t\u{0}"),
        ] {
            assert_eq!(answer(text), reply, "{text:?}");
        }
    }

    #[test]
    fn help_names_every_command() {
        let help = answer("?help");
        for command in &COMMANDS {
            assert!(help.contains(&format!("{} (", command.word)), "{help}");
            assert_ne!(answer(command.word), command.word);
        }
    }
}
