//! What README and multibot-json(7) promise to scripts, held against the program.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs the program in a home of its own.
fn multibot(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_multibot"))
        .arg("--home")
        .arg(home)
        .args(arguments)
        .env_remove("MULTIBOT_HOME")
        .output()
        .unwrap()
}

fn with_two_bots() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for bot in ["one", "two"] {
        assert!(
            multibot(home.path(), &["bot", "create", bot, "--", "sleep", "1"])
                .status
                .success()
        );
    }
    home
}

/// The lines of README's fenced blocks of one language that contain a word.
fn lines(language: &str, word: &str) -> Vec<String> {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let fence = format!("```{language}\n");
    let blocks = readme
        .split(fence.as_str())
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    blocks
        .flat_map(str::lines)
        .filter(|line| line.contains(word))
        .map(str::to_owned)
        .collect()
}

/// A shell that finds nothing but this program under its plain name.
fn shell(home: &Path, line: &str) -> Output {
    let bin = home.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let _ = std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_multibot"), bin.join("multibot"));
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
    Command::new("/bin/sh")
        .args(["-c", line])
        .env_clear()
        .env("PATH", path)
        .env("MULTIBOT_HOME", home)
        .output()
        .unwrap()
}

#[test]
fn the_jq_lines_work() {
    let home = with_two_bots();
    if !shell(home.path(), "jq --version").status.success() {
        println!("skipped: there is no jq");
        return;
    }
    let lines = lines("sh", "| jq");
    assert_eq!(lines.len(), 3);
    let answers: Vec<String> = lines
        .iter()
        .map(|line| {
            let run = shell(home.path(), line);
            let complaint = String::from_utf8_lossy(&run.stderr);
            assert!(
                run.status.success() && !complaint.contains("jq:"),
                "{line}: {complaint}"
            );
            String::from_utf8(run.stdout).unwrap()
        })
        .collect();
    assert_eq!(answers, ["one: stopped\ntwo: stopped\n", "0\n", "one 0\ntwo 0\n"]);
}

#[test]
fn the_cron_line_speaks_up_when_something_is_wrong() {
    let home = with_two_bots();
    let lines = lines("cron", "multibot");
    let [line] = lines.as_slice() else {
        panic!("one cron line, not {lines:?}")
    };
    let command = line.trim_start_matches(|c: char| "*/0123456789 ".contains(c));
    let command = format!("/{command}")
        .replace("/usr/local/bin/multibot", env!("CARGO_BIN_EXE_multibot"))
        .replace("/srv/bots", home.path().to_str().unwrap())
        .replace(" | mail -s bots ops@example.org", "");
    let run = shell(home.path(), &command);
    assert_eq!(String::from_utf8_lossy(&run.stdout), "bots need a look\n", "{command}");
}

/// Names every field of a document: `supervisor.pid`, `bots[].id`.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let below = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                fields(value, &below, found);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter().for_each(|value| fields(value, &format!("{path}[]"), found));
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// The fields that a section of multibot-json(7) promises.
fn promised(section: &str) -> BTreeSet<String> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/multibot-json.7")).unwrap();
    let section = page.split(&format!(".SH {section}\n")).nth(1).unwrap();
    let entries: Vec<&str> = section.split(".SH").next().unwrap().lines().collect();
    entries
        .windows(2)
        .filter(|pair| pair[0] == ".TP" || pair[0] == ".TQ")
        .filter_map(|pair| pair[1].strip_prefix(".B ").map(str::to_owned))
        .collect()
}

#[test]
fn the_fields_of_status_are_those_of_the_manual() {
    let home = with_two_bots();
    let printed = multibot(home.path(), &["status", "--json"]);
    let mut found = BTreeSet::new();
    fields(&serde_json::from_slice(&printed.stdout).unwrap(), "", &mut found);
    assert_eq!(found, promised("STATUS"));
}

#[test]
fn the_fields_of_metrics_are_those_of_the_manual() {
    let home = with_two_bots();
    let database = rusqlite::Connection::open(home.path().join("multibot.db")).unwrap();
    let sql = "INSERT INTO process_metrics (resolution, at, bot, status, samples, wanted, up, measured, messages_in, \
               messages_done, messages_out, errors, restarts) \
               VALUES (60, (unixepoch() - 60) * 1000, 'one', 3, 1, 1, 1, 0, 0, 0, 0, 0, 0)";
    database.execute(sql, []).unwrap();
    let read = |args: &[&str]| {
        let printed = multibot(home.path(), args);
        let mut found = BTreeSet::new();
        fields(&serde_json::from_slice(&printed.stdout).unwrap(), "", &mut found);
        found
    };
    let promised = promised("METRICS");
    assert_eq!(read(&["metrics", "one", "--json"]), promised);
    let of_all: BTreeSet<String> = promised
        .iter()
        .filter(|name| !name.starts_with("points"))
        .map(|name| name.replace("bot.", "bots[]."))
        .collect();
    assert_eq!(read(&["metrics", "--json"]), of_all);
}
