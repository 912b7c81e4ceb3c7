//! Builds a bot's environment. Pure. It is built and never inherited, so that a bot that works from
//! a shell works after a reboot, and what the operator's shell holds does not leak into bots.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::config::is_sensitive;
use crate::model::bot::{BotId, BotSpec, RunId, Secret};
use crate::model::credential::{FieldName, Fields};

/// Where system programs lie when no setting says otherwise.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What multibot itself tells a bot.
pub(super) struct Identity<'a> {
    pub(super) bot: &'a BotId,
    pub(super) index: u32,
    /// None: a program that works for the bot and is no run of it.
    pub(super) run: Option<&'a RunId>,
    pub(super) home_id: &'a str,
    pub(super) inbox: &'a Path,
    pub(super) outbox: &'a Path,
    pub(super) heartbeat: &'a Path,
    pub(super) media: &'a Path,
}

/// The layers below the bot's own settings.
pub(super) struct Base<'a> {
    /// The operator's account, as `/etc/passwd` tells it.
    pub(super) account: &'a Account,
    /// Multibot's own program, for scripts that speak through it.
    pub(super) program: Option<&'a Path>,
    /// `env` of multibot.yaml.
    pub(super) settings: &'a BTreeMap<String, String>,
    /// Looks up the supervisor's own environment, for `env_inherit`.
    pub(super) inherited: &'a dyn Fn(&str) -> Option<String>,
}

/// What a bot is given that nobody else may see.
pub struct Secrets<'a> {
    pub token: Option<&'a Secret>,
    pub fields: &'a Fields,
}

impl Secrets<'_> {
    fn of(&self, name: &FieldName) -> Option<&Secret> {
        if name.is_token() {
            self.token
        } else {
            self.fields.get(name)
        }
    }
}

/// The user that bots run as.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub name: String,
    pub home: String,
    pub shell: String,
}

impl Account {
    /// Finds a uid in the text of `/etc/passwd`. Read as a file on purpose: name services need
    /// shared libraries that a static program must not load.
    pub fn find(passwd: &str, uid: u32) -> Option<Account> {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.len() >= 7 && fields[2].parse() == Ok(uid)).then(|| Account {
                name: fields[0].to_owned(),
                home: fields[5].to_owned(),
                shell: fields[6].to_owned(),
            })
        })
    }
}

/// The whole environment of one run. Later layers win: account, multibot.yaml, `env_inherit`,
/// `env_file`, `env`, the credentials, and last what multibot itself says, which nothing may change.
pub(super) fn build(
    spec: &BotSpec,
    base: &Base<'_>,
    env_file: &BTreeMap<String, String>,
    secrets: &Secrets<'_>,
    identity: &Identity<'_>,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        env.insert(name.to_owned(), value.to_owned());
    };
    set(
        "PATH",
        &search_path(
            spec.command.first().map(String::as_str),
            base.program.and_then(Path::parent),
        ),
    );
    set("LANG", "C.UTF-8");
    set("TMPDIR", "/tmp");
    let Account { name, home, shell } = base.account;
    for (variable, value) in [("USER", name), ("LOGNAME", name), ("HOME", home), ("SHELL", shell)] {
        if !value.is_empty() {
            set(variable, value);
        }
    }
    // Python buffers its output in a pipe; a log that is minutes behind explains nothing.
    set("PYTHONUNBUFFERED", "1");
    for (name, value) in base.settings {
        set(name, value);
    }
    for name in &spec.env_inherit {
        if let Some(value) = (base.inherited)(name) {
            set(name, &value);
        }
    }
    for (name, value) in env_file.iter().chain(&spec.env) {
        set(name, value);
    }
    if let Some(token) = secrets.token {
        for name in spec.token_env.iter().map(String::as_str).chain(["BOT_TOKEN"]) {
            set(name, token.reveal());
        }
    }
    for (name, value) in secrets.fields {
        set(&name.variable(), value.reveal());
    }
    for (variable, name) in &spec.credentials_env {
        if let Some(value) = secrets.of(name) {
            set(variable, value.reveal());
        }
    }
    let path = |path: &Path| path.display().to_string();
    set("BOT_ID", identity.bot.as_str());
    set("BOT_INDEX", &identity.index.to_string());
    if let Some(run) = identity.run {
        set("MULTIBOT_RUN_ID", run.as_str());
    }
    set("MULTIBOT_HOME_ID", identity.home_id);
    set("MULTIBOT_INBOX", &path(identity.inbox));
    set("MULTIBOT_OUTBOX", &path(identity.outbox));
    set("MULTIBOT_HEARTBEAT", &path(identity.heartbeat));
    set("MULTIBOT_MEDIA", &path(identity.media));
    if let Some(program) = base.program {
        set("MULTIBOT_PROGRAM", &path(program));
    }
    env
}

/// Tells the bot where sd_notify is heard, and how often it should be. An operator who has set a socket in the
/// `env_file` means another listener: false, and nothing is added.
pub(super) fn add_notify(env: &mut BTreeMap<String, String>, address: &str, watchdog: Duration) -> bool {
    if env.contains_key("NOTIFY_SOCKET") {
        return false;
    }
    env.insert("NOTIFY_SOCKET".to_owned(), address.to_owned());
    env.entry("WATCHDOG_USEC".to_owned())
        .or_insert_with(|| watchdog.as_micros().to_string());
    true
}

/// What of an environment and beside it must not be seen: the token and other credentials, and the values of variables with
/// telling names. Short values such as `yes` or `8080` are no secrets and would mask ordinary text.
pub(super) fn secrets_of(env: &BTreeMap<String, String>, token: Option<&Secret>, fields: &Fields) -> Vec<Secret> {
    const SECRET_LEN_MIN: usize = 6;
    env.iter()
        .filter(|(name, value)| is_sensitive(name) && value.len() >= SECRET_LEN_MIN)
        .map(|(_, value)| Secret::new(value.clone()))
        .chain(token.cloned())
        .chain(
            fields
                .values()
                .filter(|value| value.reveal().len() >= SECRET_LEN_MIN)
                .cloned(),
        )
        .collect()
}

/// The default path, with the program's own folder in front where that is no system folder: a tool
/// of a version manager finds its interpreter beside itself. At the end the folder of multibot, where the
/// others have none.
fn search_path(program: Option<&str>, program_dir: Option<&Path>) -> String {
    let mut folders: Vec<&str> = DEFAULT_PATH.split(':').collect();
    let own = program.and_then(|program| Path::new(program).parent());
    let is_new = |folder: &&str, folders: &[&str]| folder.starts_with('/') && !folders.contains(folder);
    if let Some(own) = own.and_then(Path::to_str).filter(|own| is_new(own, &folders)) {
        folders.insert(0, own);
    }
    if let Some(last) = program_dir.and_then(Path::to_str).filter(|last| is_new(last, &folders)) {
        folders.push(last);
    }
    folders.join(":")
}

/// Reads the text of an `env_file`: `NAME=value` lines, `#` comments, an optional `export `, values
/// bare or in single or double quotes (where `\n \t \" \\` are read). The error names the line.
pub fn parse_env_file(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut env = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let wrong = |what: &str| Err(format!("line {}: {what}", number + 1));
        let Some((name, value)) = line.split_once('=') else {
            return wrong("expected NAME=value");
        };
        let name = name.trim();
        let mut chars = name.chars();
        let first_ok = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !first_ok || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return wrong("the name of a variable holds letters, digits and _ and starts with no digit");
        }
        match unquote(value.trim()) {
            Some(value) => env.insert(name.to_owned(), value),
            None => return wrong("a quote is not closed"),
        };
    }
    Ok(env)
}

fn unquote(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        return rest.split_once('\'').map(|(inner, _)| inner.to_owned());
    }
    let Some(rest) = value.strip_prefix('"') else {
        // A comment after a bare value needs a space before its #.
        return Some(value.split(" #").next().unwrap_or("").trim_end().to_owned());
    };
    let mut text = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn env_files_as_people_write_them() {
        let text = "# keys\nexport A=1\nB = two words # why\nC='a # b'\nD=\"x\\ny\\\"\"\nE=\n\nF=a=b\n";
        let env = parse_env_file(text).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "a # b"),
            ("D", "x\ny\""),
            ("E", ""),
            ("F", "a=b"),
        ];
        assert_eq!(
            env,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        );
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, error) in [
            ("A=1\nnonsense", "line 2: expected NAME=value"),
            ("A='x", "line 1: a quote is not closed"),
            ("1A=x", "line 1: the name"),
        ] {
            let found = parse_env_file(text).unwrap_err();
            assert!(found.starts_with(error), "{found}");
        }
    }

    #[test]
    fn programs_beside_the_bot_come_first_and_multibot_last() {
        for (program, dir, path) in [
            (None, None, DEFAULT_PATH.to_owned()),
            (Some("/usr/bin/python3"), Some("/usr/bin"), DEFAULT_PATH.to_owned()),
            (Some("python3"), Some("relative"), DEFAULT_PATH.to_owned()),
            (
                Some("/opt/a/run"),
                Some("/opt/b"),
                format!("/opt/a:{DEFAULT_PATH}:/opt/b"),
            ),
            (Some("/opt/a/run"), Some("/opt/a"), format!("/opt/a:{DEFAULT_PATH}")),
        ] {
            assert_eq!(search_path(program, dir.map(Path::new)), path, "{program:?} {dir:?}");
        }
    }

    #[test]
    fn what_the_operator_says_of_notify_stays() {
        let add = |known: &[(&str, &str)]| {
            let mut env: BTreeMap<String, String> = known
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let is_ours = add_notify(&mut env, "/s", Duration::from_secs(60));
            let told = ["NOTIFY_SOCKET", "WATCHDOG_USEC"].map(|name| env.remove(name).unwrap_or_default());
            (is_ours, told.join(" "))
        };
        assert_eq!(add(&[]), (true, "/s 60000000".into()));
        assert_eq!(add(&[("WATCHDOG_USEC", "5")]), (true, "/s 5".into()));
        assert_eq!(add(&[("NOTIFY_SOCKET", "@x")]), (false, "@x ".into()));
    }

    #[test]
    fn accounts_are_found_by_uid() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000::/home/bob:/bin/sh\n";
        assert_eq!(Account::find(passwd, 1000).unwrap().home, "/home/bob");
        assert!(Account::find(passwd, 7).is_none());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = parse_env_file(&text);
        }
    }
}
