//! What shows a home again and again: `status --watch`.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Home, SLEEPER, wait_until};

#[test]
fn a_watched_status_goes_on_in_a_pipe_and_ends_with_its_reader() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.create_with("off", &["--no-start"], SLEEPER);
    let mut command = home.command(&["status", "shop", "--watch", "100ms"]);
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    // One table after the other, each with its time and a blank line behind it, nothing that moves a cursor.
    for _ in 0..2 {
        let table: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        assert_eq!(table.len(), 4, "{table:?}");
        assert!(table[0].ends_with('Z') && table[1].starts_with("BOT"), "{table:?}");
        assert!(
            table[2].starts_with("shop") && table[3].starts_with("Status: "),
            "{table:?}"
        );
        assert!(!table.concat().contains('\x1b'), "{table:?}");
    }
    drop(lines);
    let mut status = None;
    wait_until("it ends", &home, || {
        status = watch.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
    let mut said = String::new();
    watch.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(
        said.lines().all(|line| line.starts_with("no supervisor runs")),
        "{said}"
    );
}

#[test]
fn a_watched_status_is_one_object_on_each_line_and_follows_what_happens() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    let mut watch = home.spawn(&["status", "--json", "--watch=100ms"]);
    let states = |text: &str| -> Vec<String> {
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let state = |line: &str| serde_json::from_str::<Value>(line).unwrap()["bots"][0]["state"].clone();
        whole
            .lines()
            .map(|line| state(line).as_str().unwrap().to_owned())
            .collect()
    };
    wait_until("it shows what is", &home, || states(&watch.out()).len() > 1);
    home.ok(&["start"]);
    wait_until("it shows that the bot runs", &home, || {
        states(&watch.out()).last().is_some_and(|state| state == "running")
    });
    assert!(watch.is_running());
    for (args, said) in [
        (&["status", "--watch", "1ms"][..], "write 100ms or more"),
        (&["status", "--watch", "shop"], "is not a duration"),
    ] {
        home.run(args).code(2).one_line(&["--watch", said]);
    }
    home.run(&["status", "--watch", "1s", "nobody"])
        .code(4)
        .one_line(&["no bot nobody"]);
}
