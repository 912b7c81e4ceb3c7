//! What an operator is told of: rules, levels, alerts, and where word of them goes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::bot::{BotId, Secret};
use super::units::Stamp;

/// How much an alert matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Info,
    Warning,
    Critical,
}

impl Level {
    pub const ALL: [Level; 3] = [Level::Info, Level::Warning, Level::Critical];

    pub fn word(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Critical => "critical",
        }
    }

    pub fn from_word(word: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.word() == word)
    }
}

/// What an alert can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Wanted up and not running.
    Down,
    /// Over the warning threshold of its memory limit.
    Memory,
    /// Too many errors a minute.
    Errors,
    /// Too many messages wait.
    Backlog,
    /// A bot that beats has fallen silent.
    Heartbeat,
    /// Failures in a row, or given up.
    CrashLoop,
    Held,
    /// The maximum of a limit was passed, and its action taken.
    Limit,
    /// Over the warning threshold of any other limit.
    LimitWarn,
    /// Its readiness probes fail.
    NotReady,
    /// The disk of the home is nearly full.
    DiskLow,
    /// A supervisor found bots of one that had died.
    Adopted,
    /// Most bots fail together.
    Outage,
}

impl Rule {
    pub const ALL: [Rule; 13] = [
        Rule::Down,
        Rule::Memory,
        Rule::Errors,
        Rule::Backlog,
        Rule::Heartbeat,
        Rule::CrashLoop,
        Rule::Held,
        Rule::Limit,
        Rule::LimitWarn,
        Rule::NotReady,
        Rule::DiskLow,
        Rule::Adopted,
        Rule::Outage,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Rule::Down => "down",
            Rule::Memory => "memory",
            Rule::Errors => "errors",
            Rule::Backlog => "backlog",
            Rule::Heartbeat => "heartbeat",
            Rule::CrashLoop => "crash_loop",
            Rule::Held => "held",
            Rule::Limit => "limit",
            Rule::LimitWarn => "limit_warn",
            Rule::NotReady => "not_ready",
            Rule::DiskLow => "disk_low",
            Rule::Adopted => "adopted",
            Rule::Outage => "outage",
        }
    }

    pub fn from_word(word: &str) -> Option<Rule> {
        Rule::ALL.into_iter().find(|rule| rule.word() == word)
    }

    /// How it behaves where nothing is configured.
    pub fn policy(self) -> RulePolicy {
        let (level, lasting_s, threshold) = match self {
            Rule::Down => (Level::Critical, 60, None),
            Rule::Memory => (Level::Warning, 0, None),
            Rule::Errors => (Level::Warning, 0, Some(10)),
            Rule::Backlog => (Level::Warning, 0, Some(1000)),
            Rule::Heartbeat => (Level::Critical, 60, None),
            Rule::CrashLoop => (Level::Critical, 5, Some(3)),
            Rule::Held => (Level::Warning, 0, None),
            Rule::Limit => (Level::Warning, 0, None),
            Rule::LimitWarn => (Level::Info, 0, None),
            Rule::NotReady => (Level::Warning, 30, None),
            Rule::DiskLow => (Level::Warning, 0, None),
            Rule::Adopted => (Level::Info, 0, None),
            Rule::Outage => (Level::Critical, 0, None),
        };
        RulePolicy {
            enabled: true,
            level,
            lasting: Duration::from_secs(lasting_s),
            threshold,
        }
    }
}

/// One rule as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePolicy {
    pub enabled: bool,
    pub level: Level,
    /// How long its condition must hold (`for`).
    pub lasting: Duration,
    /// What must be passed; None for a rule that counts nothing.
    pub threshold: Option<u64>,
}

/// An alert: raised when a condition came, over when it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// A ULID.
    pub id: String,
    pub rule: Rule,
    /// None: it is about the whole home.
    pub bot: Option<BotId>,
    pub level: Level,
    /// One line; secrets are masked.
    pub text: String,
    pub raised_at: Stamp,
    pub recovered_at: Option<Stamp>,
    /// When the last reminder went out.
    pub reminded_at: Option<Stamp>,
    pub told: Told,
    /// The level that the sinks know; None where they were told of nothing, or by a version that did not note it.
    pub told_level: Option<Level>,
    pub acked: Option<Acked>,
}

/// What the sinks have been given of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    Nothing,
    Raised,
    Recovered,
}

impl Told {
    pub fn word(self) -> &'static str {
        match self {
            Told::Nothing => "nothing",
            Told::Raised => "raised",
            Told::Recovered => "recovered",
        }
    }

    pub fn from_word(word: &str) -> Option<Told> {
        [Told::Nothing, Told::Raised, Told::Recovered]
            .into_iter()
            .find(|told| told.word() == word)
    }
}

/// Who has said that he knows of an alert: there are no more reminders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acked {
    pub at: Stamp,
    pub by: String,
}

/// Alerts of this bot, this rule, or both, are not told until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// None: of every bot, and of the home.
    pub bot: Option<BotId>,
    /// None: of every rule.
    pub rule: Option<Rule>,
    pub until: Stamp,
    pub created_at: Stamp,
    pub by: String,
    pub reason: Option<String>,
}

impl Silence {
    /// Whether it concerns an alert of this rule and bot.
    pub fn covers(&self, rule: Rule, bot: Option<&BotId>) -> bool {
        self.rule.is_none_or(|own| own == rule) && self.bot.as_ref().is_none_or(|own| Some(own) == bot)
    }
}

/// The open alerts of one bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenAlerts {
    pub count: u32,
    pub worst: Level,
}

/// How the reason of a bot begins that is ended for its silence.
pub const NO_HEARTBEAT: &str = "no heartbeat";

/// One open alert about the whole home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeAlert {
    pub rule: Rule,
    pub level: Level,
    pub text: String,
}

/// All that is open in a home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenInHome {
    /// Each bot that has some.
    pub of_bots: BTreeMap<BotId, OpenAlerts>,
    /// About no bot, in the order of their rules.
    pub of_home: Vec<HomeAlert>,
    /// What sinks need and the home does not have, one sentence each.
    pub sinks_miss: Vec<String>,
}

/// Everything about alerts in multibot.yaml.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertSettings {
    /// Every rule that differs from its default.
    pub rules: BTreeMap<Rule, RulePolicy>,
    /// None: never.
    pub remind_after: Option<Duration>,
    /// How long a condition must be gone before its alert is over.
    pub recover_after: Duration,
    pub outage: OutagePolicy,
    /// By name; `log` is there unless it is configured otherwise.
    pub sinks: BTreeMap<String, SinkPolicy>,
}

impl AlertSettings {
    pub fn rule(&self, rule: Rule) -> RulePolicy {
        self.rules.get(&rule).cloned().unwrap_or_else(|| rule.policy())
    }
}

impl Default for AlertSettings {
    fn default() -> AlertSettings {
        AlertSettings {
            rules: BTreeMap::new(),
            remind_after: Some(Duration::from_secs(4 * 3600)),
            recover_after: Duration::from_secs(10),
            outage: OutagePolicy::default(),
            sinks: BTreeMap::from([("log".to_owned(), SinkPolicy::of(SinkKind::Log))]),
        }
    }
}

/// When many failures are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutagePolicy {
    /// Failures within this time are taken together.
    pub window: Duration,
    /// At least so many bots must have failed.
    pub min_bots: u32,
    /// How long most bots must run again before it is over.
    pub recover_after: Duration,
    /// The shortest wait before a restart while it lasts.
    pub restart_delay: Duration,
}

impl Default for OutagePolicy {
    fn default() -> OutagePolicy {
        OutagePolicy {
            window: Duration::from_secs(60),
            min_bots: 3,
            recover_after: Duration::from_secs(30),
            restart_delay: Duration::from_secs(30),
        }
    }
}

/// Where word of alerts goes, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkPolicy {
    pub enabled: bool,
    pub kind: SinkKind,
    pub min_level: Level,
    /// Empty: all.
    pub rules: Vec<Rule>,
    /// Empty: all, and what is about the whole home.
    pub bots: Vec<BotId>,
    /// Messages a minute; None: any number.
    pub rate: Option<u32>,
    /// How long one delivery may take.
    pub timeout: Duration,
    pub retry_delay: Duration,
    pub max_retry_delay: Duration,
    /// What could not be delivered for so long is set aside.
    pub expire_after: Duration,
}

impl SinkPolicy {
    /// One of this kind with nothing else configured.
    pub fn of(kind: SinkKind) -> SinkPolicy {
        SinkPolicy {
            enabled: true,
            rate: (kind != SinkKind::Log).then_some(30),
            kind,
            min_level: Level::Info,
            rules: Vec::new(),
            bots: Vec::new(),
            timeout: Duration::from_secs(10),
            retry_delay: Duration::from_secs(5),
            max_retry_delay: Duration::from_secs(300),
            expire_after: Duration::from_secs(48 * 3600),
        }
    }

    /// Whether it is to hear of such an alert.
    pub fn wants(&self, rule: Rule, bot: Option<&BotId>, level: Level) -> bool {
        let is_of_bot = self.bots.is_empty() || bot.is_some_and(|bot| self.bots.contains(bot));
        self.enabled && level >= self.min_level && (self.rules.is_empty() || self.rules.contains(&rule)) && is_of_bot
    }
}

/// How a sink passes on what it is given.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    /// A line in the supervisor's log.
    Log,
    /// A program with its arguments.
    Exec(Vec<String>),
    /// POST with multibot's own JSON.
    Webhook(Address),
    Slack(Address),
    Discord(Address),
    Telegram {
        sender: TokenFrom,
        chat: String,
        api_root: String,
    },
}

impl SinkKind {
    pub fn word(&self) -> &'static str {
        match self {
            SinkKind::Log => "log",
            SinkKind::Exec(_) => "exec",
            SinkKind::Webhook(_) => "webhook",
            SinkKind::Slack(_) => "slack",
            SinkKind::Discord(_) => "discord",
            SinkKind::Telegram { .. } => "telegram",
        }
    }
}

/// An address that must not be shown: who knows it may post there.
#[derive(Clone, Debug, PartialEq)]
pub enum Address {
    Url(Secret),
    /// A file that holds it, read at each delivery.
    File(PathBuf),
}

/// Whose token a Telegram message is sent with.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenFrom {
    /// A configured bot.
    Bot(BotId),
    File(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for rule in Rule::ALL {
            assert_eq!(Rule::from_word(rule.word()), Some(rule));
        }
        for level in Level::ALL {
            assert_eq!(Level::from_word(level.word()), Some(level));
        }
        for told in [Told::Nothing, Told::Raised, Told::Recovered] {
            assert_eq!(Told::from_word(told.word()), Some(told));
        }
        assert_eq!((Rule::from_word("up"), Level::from_word("loud")), (None, None));
    }

    #[test]
    fn a_silence_covers_what_it_names() {
        let shop: BotId = "shop".parse().unwrap();
        let other: BotId = "other".parse().unwrap();
        let silence = |bot: Option<&BotId>, rule| Silence {
            bot: bot.cloned(),
            rule,
            until: Stamp(1),
            created_at: Stamp(0),
            by: "cli:ann".to_owned(),
            reason: None,
        };
        for (silence, rule, bot, covers) in [
            (silence(None, None), Rule::DiskLow, None, true),
            (silence(Some(&shop), None), Rule::Down, Some(&shop), true),
            (silence(Some(&shop), None), Rule::Down, Some(&other), false),
            (silence(Some(&shop), None), Rule::DiskLow, None, false),
            (silence(None, Some(Rule::Down)), Rule::Down, Some(&other), true),
            (silence(None, Some(Rule::Down)), Rule::Held, Some(&other), false),
            (silence(Some(&shop), Some(Rule::Down)), Rule::Held, Some(&shop), false),
        ] {
            assert_eq!(silence.covers(rule, bot), covers, "{silence:?} {rule:?} {bot:?}");
        }
    }

    #[test]
    fn a_sink_hears_what_it_asked_for() {
        let shop: BotId = "shop".parse().unwrap();
        let mut sink = SinkPolicy::of(SinkKind::Log);
        assert!(sink.wants(Rule::Adopted, None, Level::Info));
        sink.min_level = Level::Warning;
        assert!(!sink.wants(Rule::Adopted, None, Level::Info));
        sink.bots = vec![shop.clone()];
        assert!(!sink.wants(Rule::DiskLow, None, Level::Critical));
        assert!(sink.wants(Rule::Down, Some(&shop), Level::Critical));
        sink.rules = vec![Rule::Held];
        assert!(!sink.wants(Rule::Down, Some(&shop), Level::Critical));
        assert!(sink.wants(Rule::Held, Some(&shop), Level::Critical));
        sink.enabled = false;
        assert!(!sink.wants(Rule::Held, Some(&shop), Level::Critical));
    }
}
