//! What becomes of a text in a chat. Pure: the text, who wrote it and how the bot stands go in, what is to be done
//! comes out.

use std::collections::BTreeSet;
use std::time::Duration;

use super::arrival::Message;
use super::platform::PlainTexts;
use crate::model::bot::RunId;
use crate::model::chat::{ANY_TEXT, Action, ChatCommand, ChatPolicy, fill};
use crate::model::people::{ADMIN_COMMANDS, Level, People};
use crate::model::units::show_age;

/// What a bot knows when it hears a text.
pub(super) struct Scene<'a> {
    pub(super) policy: &'a ChatPolicy,
    pub(super) people: &'a People,
    pub(super) standing: Standing<'a>,
    pub(super) plain_texts: PlainTexts,
    /// The bot's own name on its platform.
    pub(super) name: Option<&'a str>,
}

/// What a chat may learn of the bot.
pub(super) struct Standing<'a> {
    pub(super) uptime: Duration,
    pub(super) run: &'a RunId,
    /// Chat messages since the run began, the one that is being answered included.
    pub(super) messages_in: u64,
    /// Replies since the run began.
    pub(super) messages_out: u64,
}

/// What is to be done with a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    Silence,
    /// Its writer is not listened to.
    Stranger,
    Reply(String),
    /// An own command that is more than a text, with what stands behind its name.
    Act {
        action: Action,
        args: String,
    },
    Ask(Question),
}

/// What the bot asks of its supervisor for an admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    SetAdmin { user: String, remove: bool },
    SetPermission { command: String, level: Level },
    RemovePermission { command: String },
    Refresh,
    Login,
}

/// A command that every bot has.
struct BuiltIn {
    name: &'static str,
    /// What stands behind it.
    usage: &'static str,
    what: &'static str,
    decide: fn(&Scene<'_>, args: &[&str], user: &str) -> Decision,
}

const BUILT_IN: [BuiltIn; 9] = [
    BuiltIn {
        name: "help",
        usage: "",
        what: "this list",
        decide: |scene, _, user| Decision::Reply(help(scene, user)),
    },
    BuiltIn {
        name: "ping",
        usage: "",
        what: "answers pong",
        decide: |_, _, _| Decision::Reply("pong".to_owned()),
    },
    BuiltIn {
        name: "status",
        usage: "",
        what: "uptime, run, messages",
        decide: |scene, _, _| Decision::Reply(status(&scene.standing)),
    },
    BuiltIn {
        name: "admin",
        usage: "@user|id [remove]",
        what: "makes somebody an admin of all bots, or takes it away",
        decide: |scene, args, _| match args {
            [user] => ask_admin(user, false),
            [user, "remove"] => ask_admin(user, true),
            _ => usage(scene, "admin"),
        },
    },
    BuiltIn {
        name: "refresh",
        usage: "",
        what: "reads admins, permissions and credentials anew, for all bots",
        decide: |_, _, _| Decision::Ask(Question::Refresh),
    },
    BuiltIn {
        name: "setperm",
        usage: "<command> <admin|user>",
        what: "who may use a command",
        decide: |scene, args, _| match args {
            [command, level] => set_permission(scene, command, level),
            _ => usage(scene, "setperm"),
        },
    },
    BuiltIn {
        name: "removeperm",
        usage: "<command>",
        what: "gives a command its default back",
        decide: |scene, args, _| match args {
            [command] => Decision::Ask(Question::RemovePermission {
                command: named(scene, command),
            }),
            _ => usage(scene, "removeperm"),
        },
    },
    BuiltIn {
        name: "listperms",
        usage: "",
        what: "who may use what",
        decide: |scene, _, _| Decision::Reply(permissions(scene)),
    },
    BuiltIn {
        name: "relogin",
        usage: "",
        what: "runs the bot's login program for new credentials",
        decide: |_, _, _| Decision::Ask(Question::Login),
    },
];

/// How a chat begins with a bot on some platforms.
const START: &str = "start";

/// What to do with this message in this chat.
pub(super) fn decide(scene: &Scene<'_>, chat: &str, message: &Message) -> Decision {
    let user = message.user.as_deref().unwrap_or_default();
    if !is_heard(scene, user, message.username.as_deref()) {
        return Decision::Stranger;
    }
    let values = |args: &str| {
        let args = args.to_owned();
        move |name: &str| match name {
            "user" => message.username.clone().unwrap_or_else(|| user.to_owned()),
            "chat" => chat.to_owned(),
            _ => args.clone(),
        }
    };
    if let Some((name, args)) = command_in(scene, &message.text) {
        if let Some(own) = scene.policy.commands.get(&name) {
            return if may(scene, &name, user) {
                act(own, &args, values(&args))
            } else {
                refused(message, &name)
            };
        }
        let name = if name == START { "help".to_owned() } else { name };
        if let Some(known) = BUILT_IN.iter().find(|known| known.name == name) {
            if !may(scene, &name, user) {
                return refused(message, &name);
            }
            let words: Vec<&str> = args.split_whitespace().collect();
            return (known.decide)(scene, &words, user);
        }
        if scene.plain_texts == PlainTexts::AreLeft && !scene.policy.commands.contains_key(ANY_TEXT) {
            // Others in a group may have meant another bot.
            return if message.is_group {
                Decision::Silence
            } else {
                unknown(scene, &name)
            };
        }
    }
    match (scene.policy.commands.get(ANY_TEXT), scene.plain_texts) {
        (Some(any), _) if may(scene, ANY_TEXT, user) => act(any, &message.text, values(&message.text)),
        (Some(_), _) | (None, PlainTexts::AreLeft) => Decision::Silence,
        (None, PlainTexts::ComeBack) => Decision::Reply(message.text.clone()),
    }
}

fn is_heard(scene: &Scene<'_>, user: &str, username: Option<&str>) -> bool {
    let allowed = &scene.policy.allowed_users;
    let is_named = |entry: &String| {
        let name = entry.strip_prefix('@');
        entry == user
            || name
                .zip(username)
                .is_some_and(|(entry, name)| entry.eq_ignore_ascii_case(name))
    };
    allowed.is_empty() || allowed.iter().any(is_named) || scene.people.is_admin(user)
}

/// The name of a command, in small letters, and what stands behind it. None where the text is none, or one of
/// another bot.
fn command_in(scene: &Scene<'_>, text: &str) -> Option<(String, String)> {
    let text = text.trim();
    let mut prefixes: Vec<&String> = scene.policy.prefixes.iter().collect();
    // The longest first: one may begin another.
    prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
    let rest = prefixes
        .into_iter()
        .find_map(|prefix| text.strip_prefix(prefix.as_str()))?;
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (word, args) = rest.split_at(end);
    let (name, bot) = word
        .split_once('@')
        .map_or((word, None), |(name, bot)| (name, Some(bot)));
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let is_ours = bot.is_none_or(|bot| scene.name.is_some_and(|own| own.eq_ignore_ascii_case(bot)));
    (is_name && is_ours).then(|| (name.to_ascii_lowercase(), args.trim().to_owned()))
}

fn may(scene: &Scene<'_>, name: &str, user: &str) -> bool {
    scene.people.allowed(name, user, default_level(scene, name))
}

fn default_level(scene: &Scene<'_>, name: &str) -> Level {
    let is_for_admins = scene.policy.commands.get(name).is_some_and(|own| own.is_for_admins);
    if is_for_admins || ADMIN_COMMANDS.contains(&name) {
        Level::Admin
    } else {
        Level::User
    }
}

fn act(own: &ChatCommand, args: &str, value: impl Fn(&str) -> String) -> Decision {
    match &own.action {
        Action::Reply(template) => Decision::Reply(fill(template, value)),
        action => Decision::Act {
            action: action.clone(),
            args: args.to_owned(),
        },
    }
}

/// In a group it is nobody else's business.
fn refused(message: &Message, name: &str) -> Decision {
    if message.is_group {
        return Decision::Silence;
    }
    Decision::Reply(format!("{name} is for admins only"))
}

fn unknown(scene: &Scene<'_>, name: &str) -> Decision {
    let prefix = prefix(scene);
    Decision::Reply(format!("unknown command {name}; {prefix}help lists them"))
}

fn prefix<'a>(scene: &Scene<'a>) -> &'a str {
    scene.policy.prefixes.first().map_or("", String::as_str)
}

fn usage(scene: &Scene<'_>, name: &str) -> Decision {
    let usage = BUILT_IN
        .iter()
        .find(|known| known.name == name)
        .map_or("", |known| known.usage);
    Decision::Reply(format!("usage: {}{name} {usage}", prefix(scene)))
}

fn ask_admin(user: &str, remove: bool) -> Decision {
    let user = user.to_owned();
    Decision::Ask(Question::SetAdmin { user, remove })
}

/// A command as an admin writes it, with or without a prefix.
fn named(scene: &Scene<'_>, word: &str) -> String {
    let bare = scene
        .policy
        .prefixes
        .iter()
        .find_map(|prefix| word.strip_prefix(prefix.as_str()));
    bare.unwrap_or(word).to_ascii_lowercase()
}

fn set_permission(scene: &Scene<'_>, command: &str, level: &str) -> Decision {
    let command = named(scene, command);
    match Level::from_word(level) {
        Some(_) if ADMIN_COMMANDS.contains(&command.as_str()) => {
            Decision::Reply(format!("{command} is for admins only and stays so"))
        }
        Some(level) => Decision::Ask(Question::SetPermission { command, level }),
        None => usage(scene, "setperm"),
    }
}

/// The commands of this bot, by name.
fn names(scene: &Scene<'_>) -> BTreeSet<String> {
    let own = scene.policy.commands.keys().cloned();
    let built_in = BUILT_IN.iter().map(|known| known.name.to_owned());
    own.chain(built_in).filter(|name| name != ANY_TEXT).collect()
}

fn help(scene: &Scene<'_>, user: &str) -> String {
    let prefix = prefix(scene);
    let mut lines: Vec<String> = Vec::new();
    for name in names(scene).iter().filter(|name| may(scene, name, user)) {
        let own = scene.policy.commands.get(name);
        let known = BUILT_IN.iter().find(|known| known.name == name);
        let (usage, what) = match (own, known) {
            (Some(own), _) => ("", own.help.as_deref().unwrap_or_default()),
            (None, Some(known)) => (known.usage, known.what),
            (None, None) => continue,
        };
        let head = format!("{prefix}{name} {usage}");
        let what = if what.is_empty() {
            String::new()
        } else {
            format!(" - {what}")
        };
        lines.push(format!("{}{what}", head.trim_end()));
    }
    if scene.plain_texts == PlainTexts::ComeBack && !scene.policy.commands.contains_key(ANY_TEXT) {
        lines.push("anything else comes back as it is".to_owned());
    }
    lines.join("\n")
}

fn permissions(scene: &Scene<'_>) -> String {
    let known: BTreeSet<String> = scene.people.permissions.keys().cloned().chain(names(scene)).collect();
    let of = |level: Level| {
        let is =
            |name: &&String| (scene.people.allowed(name, "", default_level(scene, name))) == (level == Level::User);
        let named: Vec<&str> = known.iter().filter(is).map(String::as_str).collect();
        if named.is_empty() {
            "none".to_owned()
        } else {
            named.join(", ")
        }
    };
    let admins = match scene.people.admins.len() {
        1 => "1 admin".to_owned(),
        many => format!("{many} admins"),
    };
    format!(
        "{admins}\nadmins only: {}\neverybody: {}",
        of(Level::Admin),
        of(Level::User)
    )
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
    use crate::model::chat::Receiver;

    const RUN: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

    struct Case {
        policy: ChatPolicy,
        people: People,
        plain_texts: PlainTexts,
        message: Message,
    }

    fn case(plain_texts: PlainTexts) -> Case {
        let own = |action, is_for_admins| ChatCommand {
            action,
            is_for_admins,
            help: Some("own".to_owned()),
        };
        let reply = Action::Reply("{{user}} in {{chat}}: {{args}}".to_owned());
        let mut policy = ChatPolicy::default();
        policy.commands.insert("hours".to_owned(), own(reply, false));
        let forward = Action::Forward(Receiver::Bot("desk".to_owned()));
        policy.commands.insert("order".to_owned(), own(forward, true));
        let people = People {
            admins: BTreeSet::from(["1".to_owned()]),
            permissions: [("hours".to_owned(), Level::Admin)].into(),
        };
        let message = Message {
            user: Some("2".to_owned()),
            username: Some("Bob".to_owned()),
            ..Message::default()
        };
        Case {
            policy,
            people,
            plain_texts,
            message,
        }
    }

    impl Case {
        fn decide(&self, text: &str, user: &str) -> Decision {
            let run = RunId::parse(RUN).unwrap();
            let scene = Scene {
                policy: &self.policy,
                people: &self.people,
                plain_texts: self.plain_texts,
                name: Some("shop_bot"),
                standing: Standing {
                    uptime: Duration::from_secs(125),
                    run: &run,
                    messages_in: 3,
                    messages_out: 2,
                },
            };
            let message = Message {
                user: Some(user.to_owned()),
                text: text.to_owned(),
                ..self.message.clone()
            };
            decide(&scene, "-7", &message)
        }

        fn reply(&self, text: &str, user: &str) -> String {
            match self.decide(text, user) {
                Decision::Reply(reply) => reply,
                other => format!("{other:?}"),
            }
        }
    }

    #[test]
    fn commands_are_answered_and_on_loopback_the_rest_comes_back_unchanged() {
        let case = case(PlainTexts::ComeBack);
        let status = format!("up 2m 5s, run {RUN}, messages: 3 in, 2 out");
        for (text, reply) in [
            ("?ping", "pong"),
            (" ?ping\n", "pong"),
            ("/ping", "pong"),
            ("?PING", "pong"),
            ("?ping me", "pong"),
            ("/ping@Shop_Bot", "pong"),
            ("/ping@other_bot", "/ping@other_bot"),
            ("?status", status.as_str()),
            ("?nonsense", "?nonsense"),
            ("?", "?"),
            ("? ping", "? ping"),
            ("ping", "ping"),
            ("", ""),
            (" two  spaces ", " two  spaces "),
            ("Grüße 你好\n\t\u{0}", "Grüße 你好\n\t\u{0}"),
        ] {
            assert_eq!(case.reply(text, "2"), reply, "{text:?}");
        }
    }

    #[test]
    fn on_a_platform_plain_texts_are_left_and_unknown_commands_told_to_their_writer_alone() {
        let mut case = case(PlainTexts::AreLeft);
        assert_eq!(case.decide("hello", "2"), Decision::Silence);
        assert_eq!(
            case.reply("/nonsense", "2"),
            "unknown command nonsense; ?help lists them"
        );
        assert!(case.reply("/start", "2").starts_with("?help - this list"));
        case.message.is_group = true;
        assert_eq!(case.decide("/nonsense", "2"), Decision::Silence);
        assert_eq!(case.decide("?setperm x user", "2"), Decision::Silence);
        let any = ChatCommand {
            action: Action::Forward(Receiver::Events),
            is_for_admins: false,
            help: None,
        };
        case.policy.commands.insert(ANY_TEXT.to_owned(), any);
        for text in ["hello there", "?nonsense"] {
            assert_eq!(
                case.decide(text, "2"),
                Decision::Act {
                    action: Action::Forward(Receiver::Events),
                    args: text.to_owned()
                }
            );
        }
    }

    #[test]
    fn own_commands_are_filled_in_and_follow_their_permissions() {
        let case = case(PlainTexts::AreLeft);
        assert_eq!(case.reply("?hours today please", "1"), "Bob in -7: today please");
        assert_eq!(case.reply("?hours", "2"), "hours is for admins only");
        assert_eq!(case.reply("?order", "2"), "order is for admins only");
        let forward = Action::Forward(Receiver::Bot("desk".to_owned()));
        assert_eq!(
            case.decide("?order 2 pizzas", "1"),
            Decision::Act {
                action: forward,
                args: "2 pizzas".to_owned()
            }
        );
    }

    #[test]
    fn the_commands_of_admins_ask_and_are_fixed() {
        let case = case(PlainTexts::AreLeft);
        for (text, question) in [
            (
                "?admin @ann",
                Question::SetAdmin {
                    user: "@ann".into(),
                    remove: false,
                },
            ),
            (
                "?admin 77 remove",
                Question::SetAdmin {
                    user: "77".into(),
                    remove: true,
                },
            ),
            (
                "?setperm ?Ping admin",
                Question::SetPermission {
                    command: "ping".into(),
                    level: Level::Admin,
                },
            ),
            (
                "?removeperm ping",
                Question::RemovePermission { command: "ping".into() },
            ),
            ("?refresh", Question::Refresh),
            ("?relogin", Question::Login),
        ] {
            assert_eq!(case.decide(text, "1"), Decision::Ask(question), "{text}");
            assert!(case.reply(text, "2").ends_with("is for admins only"), "{text}");
        }
        for name in ADMIN_COMMANDS {
            assert_eq!(
                case.reply(&format!("?setperm {name} user"), "1"),
                format!("{name} is for admins only and stays so")
            );
        }
        assert_eq!(
            case.reply("?setperm ping everybody", "1"),
            "usage: ?setperm <command> <admin|user>"
        );
        assert_eq!(case.reply("?admin", "1"), "usage: ?admin @user|id [remove]");
        assert_eq!(
            case.reply("?listperms", "1"),
            "1 admin\nadmins only: admin, hours, listperms, order, refresh, relogin, removeperm, setperm\neverybody: help, ping, status"
        );
    }

    #[test]
    fn help_names_what_its_reader_may_use() {
        let case = case(PlainTexts::ComeBack);
        assert_eq!(
            case.reply("?help", "2"),
            "?help - this list\n?ping - answers pong\n?status - uptime, run, messages\nanything else comes back as it is"
        );
        let all = case.reply("?help", "1");
        for known in &BUILT_IN {
            assert!(all.contains(&format!("?{}", known.name)), "{all}");
        }
        assert!(all.contains("?hours - own"));
    }

    #[test]
    fn strangers_are_not_heard_and_admins_always_are() {
        let mut case = case(PlainTexts::ComeBack);
        case.policy.allowed_users = vec!["3".to_owned(), "@bob".to_owned()];
        assert_eq!(case.reply("?ping", "2"), "pong", "allowed by name");
        case.message.username = None;
        assert_eq!(case.decide("?ping", "2"), Decision::Stranger);
        assert_eq!(case.reply("?ping", "3"), "pong");
        assert_eq!(case.reply("?ping", "1"), "pong");
    }
}
