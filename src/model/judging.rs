//! What a platform says of a bot, and when that decides over it. Pure: signs in, at most one class out.
//!
//! A sign is an event, an exit code, or a line of the log. Events and exit codes are meant as what they say and decide
//! at once. A line may only quote: it decides where the run ends right behind it, or where it comes again and again.
//! A conflict is always counted, for right after a kill the platform still serves the run that is gone.

use std::time::Duration;

use regex_lite::Regex;

use super::bot::Platform;
use super::units::Stamp;

/// With this code a bot says that its platform refuses its token (EX_NOPERM).
pub const UNAUTHORIZED_CODE: i32 = 77;
/// So many signs of one class ...
pub const SIGNS_MIN: usize = 3;
/// ... within this time decide.
pub const SIGNS_WINDOW: Duration = Duration::from_secs(60);
/// What was written so long before the end of a run may be why it ended.
pub const LAST_WORDS: Duration = Duration::from_secs(10);
/// One error is often told in several lines.
const SAME_SIGN: Duration = Duration::from_millis(500);

/// What is wrong, as far as only an operator can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The token, or the session, is not accepted.
    Credentials,
    /// Another program uses the same token.
    Conflict,
    /// The platform has shut the account out.
    Banned,
    /// The platform does not accept what the bot asks for, such as intents that were never granted to it.
    Rejected,
    /// The one place that the bot serves is on its blocklist. Nothing that is said means this: it is looked up.
    Target,
}

impl Class {
    pub const ALL: [Class; 4] = [Class::Credentials, Class::Conflict, Class::Banned, Class::Rejected];

    pub fn word(self) -> &'static str {
        match self {
            Class::Credentials => "credentials",
            Class::Conflict => "conflict",
            Class::Banned => "banned",
            Class::Rejected => "rejected",
            Class::Target => "target_blocked",
        }
    }

    pub fn from_word(word: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.word() == word)
    }

    /// What is wrong, in words that stand at the head of a reason.
    pub fn meaning(self) -> &'static str {
        match self {
            Class::Credentials => "credentials: its token is not accepted",
            Class::Conflict => "another program polls this token",
            Class::Banned => "banned by its platform",
            Class::Rejected => "rejected by its platform",
            Class::Target => "target blocked",
        }
    }
}

/// Why a bot is held by what its platform says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub class: Class,
    /// What was said, in one line without secrets.
    pub evidence: String,
    pub at: Stamp,
}

impl Judgement {
    /// The reason that an operator reads, with the way out.
    pub fn reason(&self, bot: &str) -> String {
        let (meaning, evidence) = (self.class.meaning(), &self.evidence);
        if self.class == Class::Target {
            let target = bot.split_once('@').map_or(bot, |(_, target)| target);
            return format!("{meaning} {evidence}; let it go with: multibot blocklist remove {bot} {target}");
        }
        let way = match self.class {
            Class::Credentials => format!("multibot bot rotate-token {bot}, or multibot bot unhold {bot}"),
            Class::Conflict => format!("stop the other one, then multibot bot unhold {bot}"),
            Class::Banned | Class::Rejected | Class::Target => format!("mend it there, then multibot bot unhold {bot}"),
        };
        format!("{meaning} ({evidence}); {way}")
    }
}

/// Whether a bot is judged, and what an operator has added to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgingPolicy {
    pub mode: Mode,
    pub own: Vec<OwnSign>,
}

/// `judge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    On,
    Off,
}

impl Default for JudgingPolicy {
    fn default() -> JudgingPolicy {
        JudgingPolicy {
            mode: Mode::On,
            own: Vec::new(),
        }
    }
}

/// One of `errors.classes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSign {
    pub mark: OwnMark,
    pub class: Class,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnMark {
    /// A regular expression that a line of the log matches.
    Line(String),
    Exit(i32),
}

/// A line that multibot knows by itself. `needle` must stand in the line, so that most lines cost one search.
struct KnownLine {
    platforms: &'static [Platform],
    needle: &'static str,
    pattern: &'static str,
    class: Class,
}

const TELEGRAM: &[Platform] = &[Platform::Telegram];
const DISCORD: &[Platform] = &[Platform::Discord];
const WHATSAPP: &[Platform] = &[Platform::Whatsapp];
const CLOUD: &[Platform] = &[Platform::WhatsappCloud];

const fn line(platforms: &'static [Platform], needle: &'static str, pattern: &'static str, class: Class) -> KnownLine {
    KnownLine {
        platforms,
        needle,
        pattern,
        class,
    }
}

/// What frameworks write. A number alone is no sign: each line must also say whose number it is.
const LINES: &[KnownLine] = &[
    // python-telegram-bot, aiogram, grammY and telegraf, node-telegram-bot-api and telebot, the API itself.
    line(TELEGRAM, "InvalidToken", r"\bInvalidToken\b", Class::Credentials),
    line(
        TELEGRAM,
        "TelegramUnauthorizedError",
        r"\bTelegramUnauthorizedError\b",
        Class::Credentials,
    ),
    line(
        TELEGRAM,
        "401: Unauthorized",
        r"\b401: Unauthorized",
        Class::Credentials,
    ),
    line(
        TELEGRAM,
        "401",
        r"ETELEGRAM: 401\b|Telegram API .*[Ee]rror code: 401\b",
        Class::Credentials,
    ),
    line(
        TELEGRAM,
        "error_code",
        r#""error_code"\s*:\s*401\b"#,
        Class::Credentials,
    ),
    line(
        TELEGRAM,
        "terminated by other getUpdates",
        r"terminated by other getUpdates",
        Class::Conflict,
    ),
    line(
        TELEGRAM,
        "TelegramConflictError",
        r"\bTelegramConflictError\b",
        Class::Conflict,
    ),
    line(TELEGRAM, "409: Conflict", r"\b409: Conflict", Class::Conflict),
    line(TELEGRAM, "error_code", r#""error_code"\s*:\s*409\b"#, Class::Conflict),
    // discord.py and discord.js, and the close codes of the gateway.
    line(DISCORD, "LoginFailure", r"\bLoginFailure\b", Class::Credentials),
    line(DISCORD, "TokenInvalid", r"\bTokenInvalid\b", Class::Credentials),
    line(
        DISCORD,
        "invalid token was provided",
        r"invalid token was provided",
        Class::Credentials,
    ),
    line(
        DISCORD,
        "4004",
        r"(?i)\b(clos\w*|code)\b.{0,40}\b4004\b",
        Class::Credentials,
    ),
    line(
        DISCORD,
        "401",
        r"HTTPException: 401 Unauthorized|DiscordAPIError\S*: 401: Unauthorized",
        Class::Credentials,
    ),
    line(
        DISCORD,
        "401",
        r"\b401 Unauthorized \(error code: 0\)",
        Class::Credentials,
    ),
    line(
        DISCORD,
        "401",
        r"(?i)\bclos\w*\b.{0,40}\b401[0-4]\b|\bcode\b.{0,40}\b401[0-4]\b",
        Class::Rejected,
    ),
    line(
        DISCORD,
        "PrivilegedIntentsRequired",
        r"\bPrivilegedIntentsRequired\b",
        Class::Rejected,
    ),
    line(
        DISCORD,
        "sed disallowed intents",
        r"[Uu]sed disallowed intents",
        Class::Rejected,
    ),
    // Baileys and its kin: the status of the last disconnect.
    line(
        WHATSAPP,
        "401",
        r#"(?i)\b(status|reason)\w*["']?\s*[:=]\s*["']?401\b"#,
        Class::Credentials,
    ),
    line(
        WHATSAPP,
        "403",
        r#"(?i)\b(status|reason)\w*["']?\s*[:=]\s*["']?403\b"#,
        Class::Banned,
    ),
    line(
        WHATSAPP,
        "440",
        r#"(?i)\b(status|reason)\w*["']?\s*[:=]\s*["']?440\b"#,
        Class::Conflict,
    ),
    line(
        WHATSAPP,
        "Stream Errored (conflict)",
        r"Stream Errored \(conflict\)",
        Class::Conflict,
    ),
    // The Graph API.
    line(CLOUD, "OAuthException", r#""code"\s*:\s*190\b"#, Class::Credentials),
];

/// Something that was seen of a bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign<'a> {
    Event(&'a str),
    Exit(i32),
    Line(&'a str),
}

/// The signs that mean something for one bot, ready to be looked for.
#[derive(Debug)]
pub struct Signs {
    platform: Platform,
    mode: Mode,
    lines: Vec<(&'static str, Regex, Class)>,
    own_lines: Vec<(Regex, Class)>,
    own_exits: Vec<(i32, Class)>,
}

impl Signs {
    /// A pattern that is none was refused when it was written.
    pub fn of(platform: Platform, policy: &JudgingPolicy) -> Signs {
        let is_on = policy.mode == Mode::On;
        let known = LINES.iter().filter(|it| is_on && it.platforms.contains(&platform));
        let own = || policy.own.iter().filter(|_| is_on);
        Signs {
            platform,
            mode: policy.mode,
            lines: known
                .filter_map(|it| Some((it.needle, Regex::new(it.pattern).ok()?, it.class)))
                .collect(),
            own_lines: own()
                .filter_map(|it| match &it.mark {
                    OwnMark::Line(pattern) => Some((Regex::new(pattern).ok()?, it.class)),
                    OwnMark::Exit(_) => None,
                })
                .collect(),
            own_exits: own()
                .filter_map(|it| match it.mark {
                    OwnMark::Exit(code) => Some((code, it.class)),
                    OwnMark::Line(_) => None,
                })
                .collect(),
        }
    }

    /// Whether any line can mean something.
    pub fn has_lines(&self) -> bool {
        !self.lines.is_empty() || !self.own_lines.is_empty()
    }

    /// What a sign means; None where it means nothing. What an operator wrote comes first.
    pub fn meaning(&self, sign: Sign<'_>) -> Option<Class> {
        if self.mode == Mode::Off {
            return None;
        }
        match sign {
            Sign::Event("unauthorized") => Some(Class::Credentials),
            Sign::Event("conflict") => Some(Class::Conflict),
            Sign::Event(_) => None,
            Sign::Exit(code) => {
                let own = self.own_exits.iter().find(|(known, _)| *known == code);
                let is_usual = code == UNAUTHORIZED_CODE && self.platform != Platform::None;
                own.map(|(_, class)| *class).or(is_usual.then_some(Class::Credentials))
            }
            Sign::Line(text) => {
                let own = self.own_lines.iter().find(|(pattern, _)| pattern.is_match(text));
                own.map(|(_, class)| *class).or_else(|| {
                    let known = self.lines.iter();
                    known
                        .filter(|(needle, _, _)| text.contains(needle))
                        .find(|(_, pattern, _)| pattern.is_match(text))
                        .map(|(_, _, class)| *class)
                })
            }
        }
    }
}

/// Whether a sign decides alone or only counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It is meant as what it says.
    Decides,
    Counts,
}

impl Weight {
    /// `is_last`: the run has ended with it.
    pub fn of(sign: Sign<'_>, class: Class, is_last: bool) -> Weight {
        match (class, sign) {
            (Class::Conflict, _) => Weight::Counts,
            (_, Sign::Line(_)) if !is_last => Weight::Counts,
            (_, Sign::Line(_) | Sign::Event(_) | Sign::Exit(_)) => Weight::Decides,
        }
    }
}

/// The signs against one bot that did not decide yet, over all its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Docket {
    counted: Vec<(Class, Stamp)>,
    /// What was seen before is settled.
    since: Stamp,
}

impl Docket {
    /// Hears a sign that was given at `at`; whether its class is decided now.
    pub fn hear(&mut self, class: Class, weight: Weight, at: Stamp) -> bool {
        if at < self.since {
            return false;
        }
        if weight == Weight::Decides {
            return true;
        }
        let of_class = |counted: &[(Class, Stamp)]| counted.iter().filter(|(it, _)| *it == class).count();
        let is_same =
            |(it, before): &(Class, Stamp)| *it == class && at.since(*before).max(before.since(at)) < SAME_SIGN;
        if !self.counted.iter().any(is_same) {
            self.counted.push((class, at));
        }
        self.counted.retain(|(_, before)| at.since(*before) < SIGNS_WINDOW);
        of_class(&self.counted) >= SIGNS_MIN
    }

    /// An operator has decided anew, or what the bot is started with has changed: older signs mean nothing.
    pub fn clear(&mut self, now: Stamp) {
        *self = Docket {
            counted: Vec::new(),
            since: now,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dice::Dice;

    fn signs(platform: Platform) -> Signs {
        Signs::of(platform, &JudgingPolicy::default())
    }

    #[test]
    fn every_pattern_is_one_and_holds_its_needle_apart_from_the_platform() {
        for known in LINES {
            assert!(Regex::new(known.pattern).is_ok(), "{}", known.pattern);
        }
    }

    #[test]
    fn what_frameworks_write_is_understood_on_their_platform_alone() {
        for (platform, text, class) in [
            (
                Platform::Telegram,
                "telegram.error.InvalidToken: The token `[secret]` was rejected",
                Class::Credentials,
            ),
            (
                Platform::Telegram,
                "aiogram.exceptions.TelegramUnauthorizedError: Telegram server says",
                Class::Credentials,
            ),
            (
                Platform::Telegram,
                "GrammyError: Call to 'getMe' failed! (401: Unauthorized)",
                Class::Credentials,
            ),
            (
                Platform::Telegram,
                "TelegramError: 401: Unauthorized",
                Class::Credentials,
            ),
            (
                Platform::Telegram,
                r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#,
                Class::Credentials,
            ),
            (
                Platform::Telegram,
                "error: [polling_error] ETELEGRAM: 401 Unauthorized",
                Class::Credentials,
            ),
            (
                Platform::Telegram,
                "A request to the Telegram API was unsuccessful. Error code: 401. Description: Unauthorized",
                Class::Credentials,
            ),
            (
                Platform::Telegram,
                "telegram.error.Conflict: Conflict: terminated by other getUpdates request; make sure that",
                Class::Conflict,
            ),
            (
                Platform::Telegram,
                r#"{"ok": false, "error_code": 409}"#,
                Class::Conflict,
            ),
            (
                Platform::Discord,
                "discord.errors.LoginFailure: Improper token has been passed.",
                Class::Credentials,
            ),
            (
                Platform::Discord,
                "Error [TokenInvalid]: An invalid token was provided.",
                Class::Credentials,
            ),
            (
                Platform::Discord,
                "Shard ID None WebSocket closed with 4004",
                Class::Credentials,
            ),
            (
                Platform::Discord,
                "Shard ID None WebSocket closed with 4014",
                Class::Rejected,
            ),
            (Platform::Discord, "gateway close code: 4010", Class::Rejected),
            (
                Platform::Whatsapp,
                "connection closed, statusCode: 401",
                Class::Credentials,
            ),
            (
                Platform::Whatsapp,
                r#"{"statusCode":403,"error":"Forbidden"}"#,
                Class::Banned,
            ),
            (Platform::Whatsapp, "reason=440 connectionReplaced", Class::Conflict),
            (
                Platform::WhatsappCloud,
                r#"{"error":{"type":"OAuthException","code":190}}"#,
                Class::Credentials,
            ),
        ] {
            assert_eq!(signs(platform).meaning(Sign::Line(text)), Some(class), "{text}");
            for other in Platform::ALL.into_iter().filter(|other| *other != platform) {
                assert_eq!(
                    signs(other).meaning(Sign::Line(text)),
                    None,
                    "{text} on {}",
                    other.word()
                );
            }
        }
    }

    #[test]
    fn numbers_that_are_somebody_elses_are_no_signs() {
        for (platform, text) in [
            (Platform::Telegram, "GET /admin 401"),
            (Platform::Telegram, "401 Unauthorized from https://weather.example/api"),
            (Platform::Telegram, "order 401 paid, error_code 0"),
            (Platform::Telegram, "message 409 sent"),
            (Platform::Discord, "4004 users online"),
            (Platform::Discord, "served 4014 requests"),
            (Platform::Whatsapp, "message 401 of 440 sent"),
        ] {
            assert_eq!(signs(platform).meaning(Sign::Line(text)), None, "{text}");
        }
    }

    #[test]
    fn codes_and_events() {
        assert_eq!(signs(Platform::None).meaning(Sign::Exit(UNAUTHORIZED_CODE)), None);
        assert_eq!(signs(Platform::Telegram).meaning(Sign::Exit(1)), None);
        for platform in [Platform::Telegram, Platform::Discord, Platform::Loopback] {
            let meaning = signs(platform).meaning(Sign::Exit(UNAUTHORIZED_CODE));
            assert_eq!(meaning, Some(Class::Credentials));
        }
        for platform in Platform::ALL {
            let signs = signs(platform);
            assert_eq!(signs.meaning(Sign::Event("unauthorized")), Some(Class::Credentials));
            assert_eq!(signs.meaning(Sign::Event("conflict")), Some(Class::Conflict));
            assert_eq!(signs.meaning(Sign::Event("connected")), None);
        }
    }

    #[test]
    fn an_operator_adds_signs_and_switches_all_off() {
        let own = |mark, class| OwnSign { mark, class };
        let mut policy = JudgingPolicy {
            own: vec![
                own(OwnMark::Line("licen[cs]e expired".into()), Class::Banned),
                own(OwnMark::Exit(UNAUTHORIZED_CODE), Class::Rejected),
                own(OwnMark::Exit(3), Class::Credentials),
            ],
            ..JudgingPolicy::default()
        };
        let signs = Signs::of(Platform::None, &policy);
        assert!(signs.has_lines());
        assert_eq!(signs.meaning(Sign::Line("the license expired")), Some(Class::Banned));
        assert_eq!(signs.meaning(Sign::Exit(3)), Some(Class::Credentials));
        assert_eq!(signs.meaning(Sign::Exit(UNAUTHORIZED_CODE)), Some(Class::Rejected));
        policy.mode = Mode::Off;
        let signs = Signs::of(Platform::Telegram, &policy);
        assert!(!signs.has_lines());
        for sign in [Sign::Exit(3), Sign::Event("unauthorized"), Sign::Line("InvalidToken")] {
            assert_eq!(signs.meaning(sign), None);
        }
    }

    #[test]
    fn a_line_decides_only_where_the_run_ends_with_it_and_a_conflict_never_alone() {
        let line = Sign::Line("InvalidToken");
        assert_eq!(Weight::of(line, Class::Credentials, false), Weight::Counts);
        assert_eq!(Weight::of(line, Class::Credentials, true), Weight::Decides);
        for (sign, is_last) in [(line, true), (Sign::Event("conflict"), false), (Sign::Exit(9), true)] {
            assert_eq!(Weight::of(sign, Class::Conflict, is_last), Weight::Counts);
        }
    }

    fn at(ms: i64) -> Stamp {
        Stamp(1_700_000_000_000_000 + ms * 1000)
    }

    #[test]
    fn one_error_in_several_lines_counts_once_and_three_within_a_minute_decide() {
        let mut docket = Docket::default();
        let mut hear = |ms| docket.hear(Class::Conflict, Weight::Counts, at(ms));
        assert!(!hear(0) && !hear(1) && !hear(400), "one error");
        assert!(!hear(30_000));
        assert!(!hear(60_500), "the first one is over");
        assert!(hear(61_500));
    }

    #[test]
    fn what_was_before_an_operators_word_means_nothing() {
        let mut docket = Docket::default();
        docket.clear(at(100));
        assert!(!docket.hear(Class::Credentials, Weight::Decides, at(99)));
        assert!(docket.hear(Class::Credentials, Weight::Decides, at(101)));
    }

    /// Whatever comes in whatever order: fewer than three distinct signs of a class within the window never decide,
    /// and the docket stays bounded.
    #[test]
    fn a_walk_through_signs() {
        for seed in 0..200 {
            let mut dice = Dice::new(seed);
            let (mut docket, mut now, mut heard) = (Docket::default(), 0_i64, Vec::<(Class, i64)>::new());
            for _ in 0..200 {
                now += i64::try_from(dice.below(40_000)).unwrap();
                let class = Class::ALL[dice.below(4) as usize];
                let is_decided = docket.hear(class, Weight::Counts, at(now));
                heard.push((class, now));
                let recent = |(it, ms): &&(Class, i64)| *it == class && now - ms < 60_000;
                let count = heard.iter().filter(recent).count();
                assert!(!is_decided || count >= SIGNS_MIN, "seed {seed}");
                assert!(docket.counted.len() <= 200);
            }
        }
    }
}
