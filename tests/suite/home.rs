//! The home directory: where it is, who may use it, and what must be refused in one clear line.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{FAST, Home, SLEEPER, mode, walk};

#[test]
fn everything_in_a_home_is_for_its_owner_alone() {
    let home = Home::missing();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    home.ok(&["send", "shop", "hello"]);
    home.wait_state("shop", "running");
    assert_eq!(mode(&home.dir()), 0o700);
    for path in walk(&home.dir()) {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        // Files that come and go, such as a snapshot's temporary name, may be gone by now.
        if path.symlink_metadata().is_ok() {
            assert_eq!(mode(&path), expected, "{}", path.display());
        }
    }
}

#[test]
fn a_home_that_others_could_enter_is_closed() {
    let home = Home::new();
    fs::set_permissions(home.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    home.ok(&["bot", "create", "shop", "--no-start", "--", "/bin/true"]);
    assert_eq!(mode(&home.dir()), 0o700);
}

#[test]
fn without_home_and_variables_one_line_says_what_to_set() {
    let home = Home::missing();
    for args in [&["status"][..], &["start"], &["bot", "create", "demo"]] {
        let output = home.bare_command().env_remove("HOME").args(args).output().unwrap();
        crate::harness::Outcome::of(args, output)
            .code(1)
            .one_line(&["--home", "MULTIBOT_HOME", "HOME"]);
    }
}

#[test]
fn completions_need_no_home() {
    let home = Home::missing();
    let mut command = home.bare_command();
    let output = command.env_remove("HOME").args(["completions", "bash"]).output();
    assert!(output.unwrap().status.success());
}

#[test]
fn the_flag_wins_then_multibot_home_then_xdg_then_home() {
    let home = Home::missing();
    let at = |name: &str| home.base().join(name);
    let create = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = home.bare_command();
        for (name, folder) in variables {
            command.env(name, at(folder));
        }
        command.args(args);
        let output = command
            .args(["bot", "create", "a", "--no-start", "--", "/bin/true"])
            .output();
        crate::harness::Outcome::of(args, output.unwrap()).code(0);
    };
    let flag = at("flag");
    create(
        &["--home", flag.to_str().unwrap()],
        &[("MULTIBOT_HOME", "m"), ("XDG_STATE_HOME", "x")],
    );
    assert!(at("flag/multibot.db").is_file() && !at("m").exists() && !at("x").exists());
    create(&[], &[("MULTIBOT_HOME", "m"), ("XDG_STATE_HOME", "x")]);
    assert!(at("m/multibot.db").is_file() && !at("x").exists());
    create(&[], &[("XDG_STATE_HOME", "x"), ("HOME", "h")]);
    assert!(at("x/multibot/multibot.db").is_file() && !at("h").exists());
    create(&[], &[("HOME", "h")]);
    assert!(at("h/.local/state/multibot/multibot.db").is_file());
}

#[test]
fn a_foreign_home_is_refused_with_both_uids() {
    if !rustix::process::geteuid().is_root() {
        // Only root can give a folder away.
        return;
    }
    let home = Home::new();
    std::os::unix::fs::chown(home.dir(), Some(54321), None).unwrap();
    for args in [&["status"][..], &["start"], &["bot", "create", "demo"], &["logs"]] {
        home.run(args)
            .code(1)
            .one_line(&["belongs to uid 54321", "uid 0", "--home"]);
    }
    assert!(!home.path("multibot.db").exists());
    std::os::unix::fs::chown(home.dir(), Some(0), None).unwrap();
}

#[test]
fn a_home_that_cannot_be_made_is_one_clear_line() {
    let home = Home::missing();
    // Root may write anywhere, but not below /proc.
    let dir = if rustix::process::geteuid().is_root() {
        "/proc/multibot-home".to_owned()
    } else {
        let closed = home.base().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
        closed.join("home").display().to_string()
    };
    for args in [&["start"][..], &["bot", "create", "demo"]] {
        let output = home.bare_command().args(["--home", &dir]).args(args).output().unwrap();
        crate::harness::Outcome::of(args, output)
            .code(1)
            .one_line(&[&dir, "cannot be created or written"]);
    }
}

#[test]
fn a_file_is_no_home() {
    let home = Home::missing();
    home.write("home", "text");
    for args in [&["status"][..], &["start"], &["bot", "create", "demo"]] {
        home.run(args).code(1).one_line(&["is not a directory"]);
    }
    assert_eq!(fs::read_to_string(home.dir()).unwrap(), "text");
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let home = Home::new();
    home.create_with("shop", &["--no-start"], SLEEPER);
    {
        let database = rusqlite::Connection::open(home.path("multibot.db")).unwrap();
        database.pragma_update(None, "user_version", 999_000).unwrap();
    }
    for args in [
        &["start"][..],
        &["bot", "create", "demo"],
        &["list"],
        &["start", "--foreground"],
    ] {
        home.run(args).code(1).one_line(&["multibot.db", "newer"]);
    }
    let database = rusqlite::Connection::open(home.path("multibot.db")).unwrap();
    let version: i64 = database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 999_000);
    // So that the end of the test can open it again.
    fs::remove_file(home.path("multibot.db")).unwrap();
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let home = Home::new();
    home.write(
        "home/multibot.db",
        "this is a diary, not a database, and it is long enough to have a header\n",
    );
    for args in [&["start"][..], &["bot", "create", "demo"], &["list"]] {
        home.run(args).code(1).one_line(&["multibot.db", "not a database"]);
    }
    assert!(home.read("multibot.db").starts_with("this is a diary"));
    fs::remove_file(home.path("multibot.db")).unwrap();
}

#[test]
fn a_stale_lock_and_a_torn_snapshot_do_not_keep_a_supervisor_from_starting() {
    for lock in [
        "",
        "{\"pid\":1,\"start",
        "{\"pid\":1,\"start_ticks\":1,\"boot_id\":\"of another boot\",\"pid_ns\":1}",
    ] {
        let home = Home::new();
        home.create("shop", SLEEPER);
        home.write("home/run/supervisor.lock", lock);
        home.write("home/run/status.json", "{\"schema\":1,\"gen");
        home.write("home/run/shop/run.json", "{\"v\":1,");
        home.run(&["status"]).code(3);
        home.ok(&["start"]);
        home.wait_state("shop", "running");
    }
}

#[test]
fn faults_in_multibot_yaml_are_told_with_their_places_and_nothing_starts() {
    let home = Home::with_settings(&format!("{FAST}start_dely: 1s\nlog:\n  keep: many\n"));
    let outcome = home.run(&["start"]).code(1);
    let lines: Vec<&str> = outcome.err.lines().collect();
    assert_eq!(lines.len(), 2, "{outcome:#?}");
    let line = FAST.lines().count() + 1;
    let key = format!("multibot.yaml:{line}:1: unknown key \"start_dely\", nearest is \"start_delay\"");
    let number = format!("multibot.yaml:{}:9: log.keep: \"many\" is not a whole number", line + 2);
    outcome.says(&[&key]).says(&[&number]);
    home.run(&["status"]).code(3);
}
