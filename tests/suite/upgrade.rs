//! `multibot upgrade`: another program becomes the supervisor, and no bot notices; one that is no good is
//! followed by the one before it. The next release is played by this one under another name.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Home, SLEEPER, copies, is_alive, kill, wait_until};

const THIS: &str = env!("CARGO_BIN_EXE_multibot");

/// This very program under a name that tells it what to play.
fn next(home: &Home, name: &str) -> PathBuf {
    let dir = home.base().join("bin");
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join(name);
    // A file that this process has written cannot be run while another thread's fork holds it open.
    if fs::hard_link(THIS, &path).is_err() {
        let copied = Command::new("cp").arg(THIS).arg(&path).status().unwrap();
        assert!(copied.success());
    }
    path
}

/// A program that answers the check as this one does, and takes a home over as this text does.
fn script(home: &Home, name: &str, text: &str) -> PathBuf {
    let path = home.base().join(name);
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\"", path.to_str().unwrap()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let body = format!("#!/bin/sh\n[ \"$1\" = __resume ] || exec {THIS} \"$@\"\n{text}\n");
    writer.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    path
}

fn program_of(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap()
}

fn upgrade(home: &Home, program: &Path) -> crate::harness::Outcome {
    home.run(&["upgrade", "--binary", program.to_str().unwrap(), "--timeout", "2s"])
}

/// The home's schema, as the version that its database has.
fn schema(home: &Home, program: &Path) -> Value {
    let output = Command::new(program).arg("__check").arg(home.dir()).output().unwrap();
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["found"].clone()
}

/// The schema that this program writes, and the minor one after it.
fn own_schema(home: &Home) -> (String, String) {
    let own = schema(home, Path::new(THIS)).as_str().unwrap().to_owned();
    let (major, minor) = own.split_once('.').unwrap();
    let next = format!("{major}.{}", minor.parse::<u32>().unwrap() + 1);
    (own, next)
}

fn running(home: &Home) -> (u32, u32) {
    home.create("shop", SLEEPER);
    home.create("other", SLEEPER);
    home.ok(&["start"]);
    (home.supervisor_pid(), home.pid("shop"))
}

#[test]
fn another_version_takes_over_and_nothing_else_changes() {
    let home = Home::new();
    let (supervisor, pid) = running(&home);
    kill(pid, Signal::KILL);
    wait_until("it was restarted", &home, || home.bot("shop")["restarts"] == 1);
    home.wait_state("shop", "running");
    let before = home.bot("shop");
    let (_, next_schema) = own_schema(&home);
    let minor = next(&home, "multibot-next-minor");
    upgrade(&home, &minor).code(0).says(&[
        "2 bots are the same processes as before",
        &format!("upgraded: supervisor (pid {supervisor})"),
    ]);
    assert_eq!(
        (home.supervisor_pid(), program_of(supervisor)),
        (supervisor, minor.clone())
    );
    let after = home.bot("shop");
    for field in ["pid", "run_id", "restarts", "state"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    assert_eq!((copies(&home, "shop"), home.count_events("shop", "adopted")), (1, 1));
    assert_eq!(schema(&home, &minor), *next_schema);
    home.ok(&["start"]).says(&["already runs"]);
    // Children stay children: ends are known at once, and nobody is left unreaped.
    let shim = home.shim_pid("shop");
    home.ok(&["bot", "restart", "shop"]);
    wait_until("its shim is reaped", &home, || crate::harness::stat(shim).is_none());
    // The older program reads what the newer one has written, and takes over again.
    upgrade(&home, Path::new(THIS))
        .code(0)
        .says(&["2 bots are the same processes"]);
    assert_eq!(
        (home.supervisor_pid(), program_of(supervisor)),
        (supervisor, THIS.into())
    );
    home.ok(&["upgrade"]);
    assert_eq!(home.audit_actions("upgrade"), 3);
    home.ok(&["stop"]);
    home.assert_nothing_left();
}

#[test]
fn the_program_that_was_just_installed_takes_over_by_itself() {
    for (name, code) in [("multibot-next-minor", 0), ("multibot-next-broken", 1)] {
        let home = Home::new();
        let (supervisor, pid) = running(&home);
        // Its schema is newer than the home's, and that must not keep it from asking.
        let program = next(&home, name);
        let output = Command::new(&program)
            .arg("--home")
            .arg(home.dir())
            .arg("upgrade")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("2 bots are the same processes"), "{said}");
        let runs = if code == 0 { program } else { THIS.into() };
        assert_eq!((home.supervisor_pid(), program_of(supervisor)), (supervisor, runs));
        assert_eq!((home.pid("shop"), copies(&home, "shop")), (pid, 1));
        assert_eq!(home.audit_actions("upgrade"), usize::from(code == 0));
    }
}

#[test]
fn a_supervisor_in_the_foreground_stays_the_process_that_its_manager_knows() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    let mut supervisor = home.spawn(&["start", "--foreground"]);
    home.wait_state_when_up("shop", "running");
    let pid = home.pid("shop");
    let minor = next(&home, "multibot-next-minor");
    upgrade(&home, &minor).code(0);
    assert!(supervisor.is_running());
    assert_eq!((home.supervisor_pid(), home.pid("shop")), (supervisor.pid(), pid));
    assert_eq!(program_of(supervisor.pid()), minor);
    let said = supervisor.err();
    assert!(said.contains("shop: adopted"), "{said}");
    kill(supervisor.pid(), Signal::TERM);
    assert_eq!(supervisor.end(&home), Some(0), "{}", supervisor.err());
    assert!(!is_alive(pid));
}

#[test]
fn a_bot_that_ends_in_the_middle_of_an_upgrade_is_counted_and_its_shim_reaped() {
    let home = Home::new();
    let (supervisor, pid) = running(&home);
    let shim = home.shim_pid("shop");
    let program = script(
        &home,
        "slow",
        &format!("while [ ! -e go ]; do :; done; exec {THIS} \"$@\"")
            .replace("go", home.base().join("go").to_str().unwrap()),
    );
    let mut upgrade = home.spawn(&["upgrade", "--binary", program.to_str().unwrap()]);
    wait_until("the next program begins", &home, || {
        program_of(supervisor) != Path::new(THIS)
    });
    kill(pid, Signal::KILL);
    wait_until("its shim has ended", &home, || !is_alive(shim));
    home.write("go", "");
    assert_eq!(upgrade.end(&home), Some(1), "{}", upgrade.err());
    let said = upgrade.err();
    assert!(said.contains(&format!("shop ended meanwhile (pid {pid})")), "{said}");
    assert!(
        said.contains("1 bot is the same process") && said.contains("upgraded"),
        "{said}"
    );
    home.wait_state("shop", "running");
    let bot = home.bot("shop");
    assert_eq!((&bot["restarts"], &bot["last_exit"]["signal"]), (&json!(1), &json!(9)));
    assert!(crate::harness::stat(shim).is_none());
}

#[test]
fn what_cannot_take_over_is_refused_before_anything_happens() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.run(&["upgrade"]).code(3).one_line(&["no supervisor runs"]);
    home.ok(&["start"]);
    let supervisor = home.supervisor_pid();
    let data = home.write("data", "no program");
    for (program, words) in [
        ("/bin/true", "not a multibot that knows how to"),
        ("/no/such/file", "cannot find /no/such/file"),
        (data.to_str().unwrap(), "cannot take over"),
    ] {
        home.run(&["upgrade", "--binary", program]).code(1).one_line(&[words]);
    }
    home.write("home/multibot.yaml", "colour: blue\n");
    home.run(&["upgrade"]).code(1).says(&["colour", "nothing was changed"]);
    assert_eq!(home.supervisor_pid(), supervisor);
    assert_eq!(home.count_events("shop", "adopted"), 0);
    home.write("home/multibot.yaml", crate::harness::FAST);
}

#[test]
fn a_program_that_fails_or_hangs_gives_the_process_back() {
    for (name, words) in [
        ("multibot-next-broken", "change the schema"),
        ("multibot-next-stuck", "was not ready within 2s"),
    ] {
        let home = Home::new();
        let (supervisor, pid) = running(&home);
        let (own, _) = own_schema(&home);
        upgrade(&home, &next(&home, name))
            .code(1)
            .says(&[words, "runs on", "2 bots are the same processes"]);
        assert_eq!(
            (home.supervisor_pid(), program_of(supervisor)),
            (supervisor, THIS.into())
        );
        assert_eq!((home.pid("shop"), copies(&home, "shop")), (pid, 1));
        assert_eq!(schema(&home, Path::new(THIS)), *own);
        let notes = home.status()["supervisor"]["notes"].to_string();
        assert!(notes.contains("the last upgrade was taken back"), "{notes}");
        home.ok(&["bot", "restart", "shop"]);
        // It can be tried again.
        home.ok(&["upgrade"]);
    }
}

#[test]
fn a_program_that_dies_or_does_nothing_is_followed_by_the_previous_one() {
    for (text, words) in [("exit 1", "it ended at once"), ("exec sleep 100000", "it did nothing")] {
        let home = Home::new();
        let (supervisor, pid) = running(&home);
        upgrade(&home, &script(&home, "bad", text))
            .code(1)
            .says(&[words, "runs on"]);
        assert!(!is_alive(supervisor));
        assert_eq!(program_of(home.supervisor_pid()), Path::new(THIS));
        assert_eq!((home.pid("shop"), copies(&home, "shop")), (pid, 1));
        home.ok(&["bot", "restart", "shop"]);
    }
}

#[test]
fn a_schema_that_the_previous_program_cannot_read_is_taken_back() {
    let home = Home::new();
    let (_, pid) = running(&home);
    let (own, _) = own_schema(&home);
    let major = next(&home, "multibot-next-major");
    // It takes the home over for a moment, schema and all, and dies.
    let text = format!(
        "[ \"$1\" = __resume ] || exec {0} \"$@\"\n\
         lock=$(printf %s \"$3\" | sed 's/.*\"lock\":\\([0-9]*\\).*/\\1/')\n\
         {0} __resume \"$2\" \"{{\\\"lock\\\":$lock,\\\"patience_ms\\\":60000}}\" & child=$!\n\
         while [ ! -e {1}.v{2}.bak ] || ! {0} __check \"$2\" | grep -q '\"found\":\"2.0\"'; do sleep 0.05; done\n\
         kill -9 $child; exit 1",
        major.display(),
        home.path("multibot.db").display(),
        own
    );
    let program = script(&home, "bad", &text);
    home.run(&["upgrade", "--binary", program.to_str().unwrap(), "--timeout", "20s"])
        .code(1)
        .says(&["it ended at once", "runs on"]);
    assert_eq!(schema(&home, Path::new(THIS)), *own);
    assert_eq!((home.pid("shop"), copies(&home, "shop")), (pid, 1));
    home.ok(&["bot", "restart", "shop"]);
    home.ok(&["stop"]);
    assert!(home.path("multibot.db.v2.0.bak").exists());
    home.ok(&["start"]);
}

#[test]
fn a_program_that_breaks_the_database_gives_the_process_and_the_database_back() {
    let home = Home::new();
    let (supervisor, pid) = running(&home);
    let (own, _) = own_schema(&home);
    upgrade(&home, &next(&home, "multibot-next-lossy")).code(1).says(&[
        &format!("the database goes from schema {own} to 2.0"),
        "a copy is made first",
        "blocklist",
    ]);
    assert_eq!((home.supervisor_pid(), home.pid("shop")), (supervisor, pid));
    assert_eq!(schema(&home, Path::new(THIS)), *own);
    home.ok(&["bot", "restart", "shop"]);
}

#[test]
fn a_new_major_schema_that_works_is_kept_with_its_copy() {
    let home = Home::new();
    let (supervisor, pid) = running(&home);
    let copy = home.path(&format!("multibot.db.v{}.bak", own_schema(&home).0));
    let major = next(&home, "multibot-next-major");
    upgrade(&home, &major)
        .code(0)
        .says(&["a copy is made first", "upgraded"]);
    assert_eq!(
        (program_of(supervisor), schema(&home, &major)),
        (major.clone(), json!("2.0"))
    );
    assert!(is_alive(pid) && copy.exists());
    // The older program says what is the matter, and is no way back any more.
    home.run(&["bot", "stop", "shop"]).code(1).says(&["schema 2.0"]);
    upgrade(&home, Path::new(THIS))
        .code(1)
        .says(&["schema 2.0", "nothing was changed"]);
    let stopped = Command::new(&major)
        .arg("--home")
        .arg(home.dir())
        .arg("stop")
        .status()
        .unwrap();
    assert!(stopped.success());
    fs::rename(copy, home.path("multibot.db")).unwrap();
}

#[test]
fn a_supervisor_of_a_terminal_is_not_replaced() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    let mut up = home.spawn(&["up"]);
    home.wait_state_when_up("shop", "running");
    home.run(&["upgrade"]).code(1).says(&["belongs to a terminal"]);
    assert_eq!(home.bot("shop")["state"], json!("running"));
    kill(up.pid(), Signal::INT);
    assert_eq!(up.end(&home), Some(0));
}
