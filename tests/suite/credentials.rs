//! Secret fields: what a bot gets of them, and the file that holds the same.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use crate::harness::{Home, Outcome, SLEEPER, mode, walk};

const SECRET: &str = "hidden-app-secret-4711";
const OTHER: &str = "other-app-secret-0815";
/// What both would give away.
const PART: &str = "app-secret";

/// Tells its variables to a file outside of the home.
fn teller(home: &Home) -> String {
    let told = home.base().join("told").display().to_string();
    format!(r#"echo "$BOT_APP_SECRET|$SHOP_KEY|$BOT_TOKEN" >> {told}; echo "mine is $BOT_APP_SECRET"; {SLEEPER}"#)
}

fn told(home: &Home) -> Vec<String> {
    let text = fs::read_to_string(home.base().join("told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn set(home: &Home, args: &[&str], value: &str) -> String {
    let all = [&["credentials", "set"], args].concat();
    home.run_with_stdin(&all, value).code(0).err.clone()
}

fn file(home: &Home, value: &Value) -> String {
    let path = home.write("secrets.json", &value.to_string());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

fn read(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_field_reaches_its_bot_alone_and_restarts_it_when_it_changes() {
    let home = Home::new();
    home.create("shop", &teller(&home));
    home.create("calm", SLEEPER);
    set(&home, &["app_secret", "--shared"], SECRET);
    home.set("shop", &[r#"credentials.env={"SHOP_KEY":"app_secret"}"#]);
    home.ok(&["start"]);
    home.wait_log("shop", "awake");
    let calm = home.pid("calm");
    let said = set(&home, &["app_secret", "--bot", "shop"], &format!("{OTHER}\n"));
    assert!(said.contains("restarts for it: shop") && !said.contains(PART), "{said}");
    home.wait_state("shop", "running");
    assert_eq!(home.pid("calm"), calm, "a field of another bot is none of its business");
    let said = home.ok(&["credentials", "remove", "app_secret", "--bot", "shop"]).err;
    assert!(said.contains("restarts for it: shop"), "{said}");
    home.wait_state("shop", "running");
    let line = |value: &str| format!("{value}|{value}|");
    crate::harness::wait_until("the third run has told", &home, || told(&home).len() == 3);
    assert_eq!(told(&home), [line(SECRET), line(OTHER), line(SECRET)]);
    assert!(home.log_of("shop").contains("mine is [masked]"));
    for path in walk(&home.dir()) {
        let is_store = path.file_name().unwrap().to_string_lossy().starts_with("multibot.db");
        if let (false, Ok(bytes)) = (is_store, fs::read(&path)) {
            assert!(!String::from_utf8_lossy(&bytes).contains(PART), "{}", path.display());
        }
    }
    assert!(home.processes().iter().all(|process| !process.cmdline.contains(PART)));
    assert_eq!(home.audit_actions("credentials set"), 2);
}

#[test]
fn a_bot_asks_for_its_own_credentials_and_nobody_else_does() {
    let home = Home::new();
    let out = home.base().join("asked").display().to_string();
    let ask = format!(
        r#"{{ "$MULTIBOT_PROGRAM" ipc credentials; multibot ipc credentials phone_id; multibot ipc credentials nothing
        echo "code $?"; }} > {out} 2>&1; mv {out} {out}.done
        MULTIBOT_HOME_ID=0 multibot ipc credentials; BOT_ID=calm multibot ipc credentials; {SLEEPER}"#
    );
    home.create_with("shop", &["--token", "12:abcdef"], &ask);
    home.create("calm", SLEEPER);
    set(&home, &["app_secret", "--shared"], "it's $HOME");
    set(&home, &["phone_id", "--shared"], "1");
    set(&home, &["phone_id", "--bot", "shop"], "2");
    home.ok(&["start"]);
    home.wait_log("shop", "awake");
    let told = fs::read_to_string(format!("{out}.done")).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[..4],
        [
            r#"BOT_APP_SECRET='it'\''s $HOME'"#,
            "BOT_PHONE_ID='2'",
            "BOT_TOKEN='12:abcdef'",
            "2"
        ]
    );
    assert!(lines[4].contains("shop has no nothing: give it one") && lines[5] == "code 1");
    let log = home.log_of("shop");
    assert_eq!(log.matches("name no home of").count(), 2, "{log}");
    home.run(&["ipc", "credentials"])
        .code(2)
        .one_line(&["not inside a bot"]);
}

#[test]
fn a_bot_that_refuses_new_credentials_is_restarted_and_one_that_was_told_is_not_restarted_later() {
    let home = Home::new();
    // It answers every message: the first one with an error, later ones as they should be.
    let answers = format!(
        r#"multibot ipc ready; echo "has $BOT_KEY"; while multibot ipc receive > m; do
        read -r id name rest < m
        case $name in
            status_request) multibot ipc reply "$id" ;;
            refresh_credentials) if [ -e {flag} ]; then echo told; multibot ipc reply "$id"
                else multibot ipc fail "$id" --message no; fi ;;
            *) exit ;;
        esac; done"#,
        flag = home.base().join("flag").display()
    );
    home.create("shop", &answers);
    home.set("shop", &["credentials.refresh=command"]);
    set(&home, &["key", "--bot", "shop"], "k-1");
    home.ok(&["start"]);
    home.wait_log("shop", "has k-1");
    let first = home.pid("shop");
    set(&home, &["key", "--bot", "shop"], "k-2");
    home.wait_log("shop", "has k-2");
    // The log may be ahead of the status.
    let is_another = || home.state("shop") == "running" && home.pid("shop") != first;
    crate::harness::wait_until("it runs anew", &home, is_another);
    fs::write(home.base().join("flag"), "").unwrap();
    let second = home.pid("shop");
    set(&home, &["key", "--bot", "shop"], "k-3");
    home.wait_log("shop", "told");
    home.kill_supervisor();
    home.ok(&["start"]);
    home.wait_state("shop", "running");
    assert_eq!(home.pid("shop"), second);
    let told = home.ok(&["events", "shop", "--json"]).out;
    assert!(told.contains("refresh_credentials") && !told.contains("k-3"));
}

#[test]
fn a_file_of_bots_says_where_fields_are_and_holds_none() {
    let home = Home::new();
    let told = home.base().join("told").display().to_string();
    let bot = |fields: &str| {
        let run = format!("echo \"$BOT_APP_SECRET|$BOT_PHONE_ID\" >> {told}; {SLEEPER}");
        let command = json!(["/bin/sh", "-c", run]);
        let text = format!("id: shop\ncommand: {command}\ncredentials: {{env: {{K: app_secret}}, fields: {fields}}}\n");
        home.write("shop.yaml", &text).display().to_string()
    };
    let secret = home.write("app.secret", SECRET);
    let path = bot("{app_secret: {file: app.secret}, phone_id: {env: SHOP_PHONE}}");
    let apply = |phone: Option<&str>| {
        let mut command = home.command(&["apply", &path]);
        command.envs(phone.map(|phone| ("SHOP_PHONE", phone)));
        Outcome::of(&["apply", &path], command.output().unwrap())
    };
    apply(None).code(1).one_line(&["SHOP_PHONE is not set", "shop.yaml"]);
    assert!(!apply(Some("5")).code(0).err.contains(PART));
    home.ok(&["start"]);
    home.wait_log("shop", "awake");
    assert!(apply(Some("5")).code(0).err.contains("shop unchanged"));
    fs::write(secret, OTHER).unwrap();
    assert!(apply(Some("5")).code(0).err.contains("shop updated"));
    crate::harness::wait_until("the next run has told", &home, || told_lines(&told).len() == 2);
    assert_eq!(told_lines(&told), [format!("{SECRET}|5"), format!("{OTHER}|5")]);
    assert!(!home.ok(&["bot", "show", "shop"]).out.contains(PART));
    home.ok(&["bot", "stop", "shop"]);
    home.ok(&["bot", "remove", "shop"]);
    bot("{app_secret: {file: app.secret}}");
    home.ok(&["bot", "create", "shop", "--no-start", "--from", &path]);
    let records = home.ok(&["credentials", "list", "--json"]).records();
    assert_eq!((records.len(), &records[0]["field"]), (1, &json!("app_secret")));
}

fn told_lines(path: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn what_is_listed_has_no_values() {
    let home = Home::new();
    home.create_with("shop", &["--token", "12:abcdef"], SLEEPER);
    set(&home, &["app_secret", "--shared"], SECRET);
    set(&home, &["app_secret", "--bot", "shop"], OTHER);
    let records = home.ok(&["credentials", "list", "--json"]).records();
    let short: Vec<(&Value, &Value)> = records.iter().map(|it| (&it["bot"], &it["field"])).collect();
    let (all, shop) = (json!(null), json!("shop"));
    let (secret, token) = (json!("app_secret"), json!("token"));
    assert_eq!(short, [(&all, &secret), (&shop, &secret), (&shop, &token)]);
    let shown = home.ok(&["credentials", "list", "shop"]).out;
    assert!(shown.contains("BOT_APP_SECRET") && !shown.contains("shared"), "{shown}");
    assert!(!shown.contains(PART) && !shown.contains("abcdef"));
}

#[test]
fn wrong_fields_are_refused_and_nothing_is_stored() {
    let home = Home::new();
    home.create_with("shop", &["--token", "12:abcdef"], SLEEPER);
    home.create("rave", SLEEPER);
    let refused = |args: &[&str], value: &str, code: i32, words: &[&str]| {
        let outcome = home.run_with_stdin(&[&["credentials", "set"], args].concat(), value);
        let outcome = outcome.code(code).says(words);
        assert!(!outcome.err.contains(PART), "{}", outcome.err);
    };
    refused(&["app_secret", "--bot", "shpo"], SECRET, 4, &["no bot shpo", "shop"]);
    refused(&["app_secret"], SECRET, 2, &["--bot", "--shared"]);
    refused(&["App-Secret", "--shared"], SECRET, 2, &["small letters"]);
    refused(&["app_secret", "--shared"], " \n", 2, &["app_secret", "empty"]);
    refused(&["token", "--shared"], "13:app-secret", 1, &["cannot be shared"]);
    refused(
        &["token", "--bot", "rave"],
        "12:abcdef",
        1,
        &["bot shop holds this token"],
    );
    refused(&["app_secret", "--bot", "rave"], "/bin/sh", 1, &["command", "word 1"]);
    home.run(&["bot", "set", "shop", r#"credentials.env={"KEY":"hidden-app-secret"}"#])
        .code(1)
        .says(&["credentials.env: KEY", "name of a field"]);
    assert_eq!(home.ok(&["credentials", "list", "--json"]).records().len(), 1);
}

#[test]
fn both_sides_become_alike_and_the_newer_one_wins() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    set(&home, &["newer_here", "--bot", "shop"], SECRET);
    set(&home, &["older_here", "--bot", "shop"], SECRET);
    set(&home, &["only_here", "--shared"], SECRET);
    let entry = |value: &str, at: Value| json!({"value": value, "updatedAt": at});
    let later = in_an_hour();
    let path = file(
        &home,
        &json!({"note": "mine", "bots": {"shop": {
            "newer_here": entry(OTHER, json!(1)),
            "older_here": entry(OTHER, json!(later)),
            "only_there": entry(OTHER, json!("2024-01-08T10:00:00Z")),
        }}}),
    );
    let planned = home
        .run(&["credentials", "sync", &path, "--dry-run"])
        .code(10)
        .err
        .clone();
    assert!(
        planned.contains("would be taken into the store: older_here of shop, only_there of shop"),
        "{planned}"
    );
    assert_eq!(home.ok(&["credentials", "list", "--json"]).records().len(), 3);
    let said = home.ok(&["credentials", "sync", &path]).err;
    assert!(
        said.contains("written into the file: only_here of shared, newer_here of shop"),
        "{said}"
    );
    let written = read(&path);
    assert_eq!(written["note"], "mine");
    assert_eq!(written["shared"]["only_here"]["value"], SECRET);
    let shop = &written["bots"]["shop"];
    assert_eq!(
        (&shop["newer_here"]["value"], &shop["older_here"]["value"]),
        (&json!(SECRET), &json!(OTHER))
    );
    assert_eq!(mode(path.as_ref()), 0o600);
    let again = home.ok(&["credentials", "sync", &path]).err;
    assert!(again.contains("nothing to do"), "{again}");
    // A file that is made anew has all that the store has.
    let copy = home.base().join("copy.json").display().to_string();
    home.ok(&["credentials", "export", &copy]);
    assert_eq!(mode(copy.as_ref()), 0o600);
    let values = |file: &Value| {
        let shop = file["bots"]["shop"].as_object().unwrap();
        shop.iter()
            .map(|(name, it)| format!("{name}={}", it["value"]))
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(values(&read(&copy)), values(&written));
    let left: Vec<_> = fs::read_dir(home.base()).unwrap().filter_map(Result::ok).collect();
    assert!(
        left.iter()
            .all(|it| !it.file_name().to_string_lossy().ends_with(".tmp"))
    );
}

/// In milliseconds since 1970, as a file may have it.
fn in_an_hour() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(now.as_millis()).unwrap() + 3_600_000
}

#[test]
fn a_tie_is_named_and_decided_by_the_operator() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    set(&home, &["app_secret", "--bot", "shop"], SECRET);
    let path = home.base().join("secrets.json").display().to_string();
    home.ok(&["credentials", "export", &path]);
    let mut value = read(&path);
    value["bots"]["shop"]["app_secret"]["value"] = json!(OTHER);
    file(&home, &value);
    let outcome = home.run(&["credentials", "sync", &path]).code(1);
    assert!(outcome.err.contains("conflict: app_secret of shop") && !outcome.err.contains(PART));
    assert_eq!(read(&path), value);
    home.ok(&["credentials", "sync", &path, "--prefer", "store"]);
    assert_eq!(read(&path)["bots"]["shop"]["app_secret"]["value"], SECRET);
    file(&home, &value);
    home.ok(&["credentials", "import", &path, "--prefer", "file"]);
    let copy = home.base().join("copy.json").display().to_string();
    home.ok(&["credentials", "export", &copy]);
    assert_eq!(read(&copy)["bots"]["shop"]["app_secret"]["value"], OTHER);
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let home = Home::new();
    home.create_with("shop", &["--token", "12:abcdef"], SLEEPER);
    home.create("rave", SLEEPER);
    let good = json!({"value": SECRET, "updatedAt": 5});
    let refused = |path: &str, words: &[&str]| {
        let outcome = home.run(&["credentials", "sync", path]).code(1).says(words);
        assert!(!outcome.err.contains(PART), "{}", outcome.err);
        assert_eq!(home.ok(&["credentials", "list", "--json"]).records().len(), 1);
    };
    let path = file(
        &home,
        &json!({"shared": {"app_secret": good}, "bots": {"gone": {"k": good}}}),
    );
    refused(&path, &["bots.gone", "no bot gone", "nothing was changed"]);
    let path = file(&home, &json!({"shared": {"app_secret": good, "b": {"value": SECRET}}}));
    refused(&path, &["shared: b", "updatedAt"]);
    let token = json!({"value": "12:abcdef", "updatedAt": 5});
    let path = file(
        &home,
        &json!({"shared": {"app_secret": good}, "bots": {"rave": {"token": token}}}),
    );
    refused(&path, &["token of rave", "bot shop holds this token"]);
    let path = file(&home, &json!({"shared": {"app_secret": good}}));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    refused(&path, &["others may read it", "chmod 600"]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let link = home.base().join("link.json");
    symlink(&path, &link).unwrap();
    refused(&link.display().to_string(), &["it is a link"]);
    home.run(&["credentials", "import", "/nowhere/secrets.json"])
        .code(1)
        .says(&["cannot read"]);
}
