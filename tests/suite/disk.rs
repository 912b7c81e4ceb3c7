//! A full disk under load: what was accepted is not lost, what is refused is told, and all goes on when
//! there is room again. Needs root, for a small file system of its own; elsewhere it says so and passes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{FAST, Home, is_alive, kill, wait_until};
use rustix::process::Signal;

/// A small file system under a home; it is unmounted when the test is over.
struct Disk<'a> {
    home: &'a Home,
}

impl Disk<'_> {
    fn mount(home: &Home) -> Option<Disk<'_>> {
        fs::create_dir(home.dir()).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=12m,mode=0700", "tmpfs"])
            .arg(home.dir())
            .output();
        if !mounted.is_ok_and(|outcome| outcome.status.success()) {
            println!("skipped: no file system can be mounted here");
            return None;
        }
        home.write("home/multibot.yaml", FAST);
        Some(Disk { home })
    }

    fn filler(&self) -> PathBuf {
        self.home.path("filler")
    }

    /// Writes until nothing more goes.
    fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
        while file.write_all(&[7]).is_ok() {}
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.filler());
        self.home.run(&["stop", "--force"]);
        let _ = Command::new("umount").arg("-l").arg(self.home.dir()).status();
    }
}

/// Sends one text; the id under which it was accepted.
fn send(home: &Home, text: &str) -> Option<String> {
    let outcome = home.run(&["send", "demo", "--text", text]);
    if outcome.status == Some(0) {
        let id = outcome.err.split("accepted as ").nth(1).and_then(|rest| rest.get(..26));
        return Some(id.unwrap_or_else(|| panic!("no id in {outcome:?}")).to_owned());
    }
    outcome.code(1).one_line(&["disk full"]);
    None
}

#[test]
fn a_full_disk_loses_nothing_and_all_goes_on_when_there_is_room_again() {
    let home = Home::missing();
    let Some(disk) = Disk::mount(&home) else { return };
    home.ok(&["bot", "create", "demo"]);
    home.ok(&["start"]);
    let mut accepted = BTreeMap::new();
    for round in 0..3 {
        for number in 0..10 {
            let text = format!("{round}-{number}");
            let id = send(&home, &text).unwrap_or_else(|| panic!("{text} was refused with room on the disk"));
            accepted.insert(id, text);
        }
        disk.fill();
        assert_eq!(send(&home, "refused"), None);
        // Also a bot that dies now comes back, and nothing that it had is lost.
        let old = home.bot("demo")["pid"].as_u64();
        if let Some(pid) = old.and_then(|pid| u32::try_from(pid).ok()) {
            kill(pid, Signal::KILL);
            wait_until("it is gone", &home, || !is_alive(pid));
        }
        fs::remove_file(disk.filler()).unwrap();
        wait_until("another one runs", &home, || {
            let bot = home.bot("demo");
            bot["state"] == "running" && bot["pid"].as_u64() != old
        });
    }
    wait_until("everything accepted is answered", &home, || {
        let answer = |id: &String| home.read(&format!("ipc/supervisor/replies/{id}.json"));
        accepted
            .iter()
            .all(|(id, text)| answer(id).contains(&format!("\"text\":\"{text}\"")))
    });
    assert_eq!(home.ok(&["send", "demo", "--text", "hello", "--wait"]).out, "hello\n");
    home.wait_state("demo", "running");
}
