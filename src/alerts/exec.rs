//! Runs an operator's program for one word of an alert, in a process group of its own that is ended with it.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde_json::Value;

use crate::clock;
use crate::model::units::show_duration;
use crate::spool::Failure;
use crate::spool::failure::Then;

/// How often a wait looks whether the supervisor ends.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a hook gets of the supervisor's own environment.
const KEPT: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// The variables, each with the field that it holds.
const VARIABLES: [(&str, &str); 7] = [
    ("MULTIBOT_ALERT_ID", "id"),
    ("MULTIBOT_ALERT_RULE", "rule"),
    ("MULTIBOT_ALERT_BOT", "bot"),
    ("MULTIBOT_ALERT_LEVEL", "level"),
    ("MULTIBOT_ALERT_STATE", "change"),
    ("MULTIBOT_ALERT_TEXT", "text"),
    ("MULTIBOT_ALERT_SINCE", "raised_at"),
];

/// Whether there is such a program to be run, as a path or in PATH.
pub fn has_program(program: &str) -> bool {
    let is_one = |path: &Path| {
        let metadata = std::fs::metadata(path);
        metadata.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return is_one(Path::new(program));
    }
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&dirs).any(|dir| is_one(&dir.join(program)))
}

/// Runs the program with the word in its environment and on its standard input; it must end with code 0 in time.
pub fn run(argv: &[String], content: &Value, timeout: Duration, stopped: &AtomicBool) -> Result<(), Failure> {
    let again = |said: String| Failure::new(said, Then::Retry);
    let Some((program, arguments)) = argv.split_first() else {
        return Err(Failure::new("no program is configured", Then::Bury));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .env_clear();
    // Nothing else of the shell in which the supervisor was started: that may be anything, and hold secrets.
    for variable in KEPT {
        if let Some(value) = std::env::var_os(variable) {
            command.env(variable, value);
        }
    }
    for (variable, field) in VARIABLES {
        command.env(variable, content[field].as_str().unwrap_or_default());
    }
    command.env("MULTIBOT_ALERT_HOME", content["home"].as_str().unwrap_or_default());
    let mut child = command
        .spawn()
        .map_err(|error| again(format!("cannot start {program}: {error}")))?;
    let input = child.stdin.take();
    let body = format!("{content}\n");
    // A program that does not read must not hold up the one who waits for it. It ends with the pipe.
    let writer = std::thread::Builder::new()
        .name("hook input".to_owned())
        .spawn(move || input.map(|mut input| input.write_all(body.as_bytes())));
    let group = Pid::from_child(&child);
    let is_over = wait(group, timeout, stopped);
    // Before it is reaped, so that its number is nobody else's: what it has started ends with it.
    let _ = kill_process_group(group, Signal::KILL);
    let status = child.wait().map_err(|error| again(format!("{program}: {error}")))?;
    if let Ok(writer) = writer {
        // The program may have ended without reading.
        let _ = writer.join();
    }
    if !is_over && stopped.load(Ordering::Relaxed) {
        return Err(again(format!("{program} was ended with the supervisor")));
    }
    if !is_over {
        let length = show_duration(timeout);
        return Err(again(format!("{program} took longer than {length}")));
    }
    if status.success() {
        return Ok(());
    }
    Err(again(format!("{program}: {status}")))
}

/// Waits for the end; false when the time is over, or the supervisor ends.
fn wait(pid: Pid, timeout: Duration, stopped: &AtomicBool) -> bool {
    let until = clock::now() + timeout;
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    loop {
        let left = until.since(clock::now());
        if left.is_zero() || stopped.load(Ordering::Relaxed) {
            return false;
        }
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(left.min(LOOK_EVERY).subsec_nanos()),
        };
        // An interrupted wait is begun anew.
        if poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&wait)).is_ok_and(|ready| ready > 0) {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sh(script: &str, timeout_ms: u64) -> Result<(), Failure> {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        let content = json!({"id": "A", "rule": "down", "bot": "shop", "level": "critical", "change": "raised",
            "text": "it's down", "raised_at": "t", "home": "/h"});
        let stopped = AtomicBool::new(false);
        run(&argv, &content, Duration::from_millis(timeout_ms), &stopped)
    }

    #[test]
    fn the_program_gets_the_facts_twice() {
        let script = "read -r line; case $line in *'\"rule\":\"down\"'*) ;; *) exit 3 ;; esac; \
            [ \"$MULTIBOT_ALERT_ID $MULTIBOT_ALERT_RULE $MULTIBOT_ALERT_BOT $MULTIBOT_ALERT_LEVEL\" = 'A down shop critical' ] && \
            [ \"$MULTIBOT_ALERT_STATE $MULTIBOT_ALERT_TEXT $MULTIBOT_ALERT_SINCE $MULTIBOT_ALERT_HOME\" = \"raised it's down t /h\" ]";
        assert_eq!(sh(script, 30_000), Ok(()));
    }

    #[test]
    fn a_program_is_found_by_its_path_or_in_path() {
        for (program, is_there) in [
            ("/bin/sh", true),
            ("sh", true),
            ("/", false),
            ("/etc/passwd", false),
            ("no-such-x", false),
        ] {
            assert_eq!(has_program(program), is_there, "{program}");
        }
    }

    #[test]
    fn nothing_else_of_the_environment_is_handed_on() {
        // The tests themselves run with variables of cargo.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let script = "[ -z \"${CARGO_MANIFEST_DIR+set}\" ] && [ -n \"$PATH\" ]";
        assert_eq!(sh(script, 30_000), Ok(()));
    }

    #[test]
    fn what_fails_or_hangs_is_tried_again() {
        for (script, timeout_ms, said) in [
            ("exit 7", 30_000, "/bin/sh: exit status: 7"),
            ("sleep 1000 & sleep 1000", 50, "/bin/sh took longer than 50ms"),
        ] {
            let failure = sh(script, timeout_ms).unwrap_err();
            assert_eq!((failure.message.as_str(), failure.then), (said, Then::Retry));
        }
        let failure = run(
            &["/no/such/program".to_owned()],
            &json!({}),
            Duration::from_secs(1),
            &AtomicBool::new(false),
        );
        assert!(
            failure
                .unwrap_err()
                .message
                .starts_with("cannot start /no/such/program: ")
        );
    }
}
