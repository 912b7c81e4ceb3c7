//! Asking for real: programs, connections and HTTP on ports that the kernel chooses.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::model::probe::{HttpCheck, Role};

const SOON: Duration = Duration::from_millis(150);
const PATIENT: Duration = Duration::from_secs(20);

fn sh(script: &str, timeout: Duration) -> Answer {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned);
    let env = [("WHO".to_owned(), "shop".to_owned())];
    exec::ask(&argv, &env, std::path::Path::new("/"), timeout, &Cancel::new(), "it-1").unwrap()
}

#[test]
fn a_program_answers_by_its_end_and_its_first_line() {
    for (script, is_success, text) in [
        ("exit 0", true, "exited with code 0"),
        ("echo; echo well $WHO; echo more", true, "well shop"),
        ("echo ill >&2; exit 3", false, "exited with code 3: ill"),
        ("kill -9 $$", false, "killed by SIGKILL"),
        ("pwd", true, "/"),
        // It prints more than a pipe holds, and is not held up by that.
        (
            "head -c 300000 /dev/zero | tr '\\0' x >&2; exit 4",
            false,
            "exited with code 4: x",
        ),
    ] {
        let answer = sh(script, PATIENT);
        assert_eq!(answer.is_success, is_success, "{script}: {answer:?}");
        assert!(answer.text.starts_with(text), "{script}: {answer:?}");
        assert!(answer.text.len() < 5000, "{script}");
    }
    let missing = ["/nowhere/x".to_owned()];
    let answer = exec::ask(
        &missing,
        &[],
        std::path::Path::new("/"),
        PATIENT,
        &Cancel::new(),
        "it-1",
    )
    .unwrap();
    assert_eq!(
        answer,
        Answer::failure("cannot run /nowhere/x: No such file or directory")
    );
}

#[test]
fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = format!("sleep 100000 & echo $! > {}; echo waiting; wait", file.display());
    let answer = sh(&script, Duration::from_millis(500));
    assert_eq!(answer, Answer::failure("no end within 500ms: waiting"));
    let child: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    let until = clock::now() + PATIENT;
    let lives = || crate::run::identity::Stat::of(child).is_some_and(|stat| !stat.is_zombie());
    while lives() && clock::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!lives(), "its child outlives it");
    // What a program leaves behind does not hold it up, and goes too.
    let answer = sh("sleep 100000 & echo done", PATIENT);
    assert_eq!(answer, Answer::success("done"));
}

#[test]
fn what_has_left_the_group_of_its_question_is_found_by_its_mark() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = format!(
        "setsid sh -c 'echo $$ > {0}; exec sleep 100000' & while [ ! -s {0} ]; do sleep 0.01; done",
        file.display()
    );
    let argv = ["/bin/sh".to_owned(), "-c".to_owned(), script];
    let env = [("PATH".to_owned(), std::env::var("PATH").unwrap())];
    let question = format!("it-{}", crate::spool::new_id(clock::stamp()));
    exec::ask(&argv, &env, dir.path(), PATIENT, &Cancel::new(), &question).unwrap();
    let left: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    let lives = || crate::run::identity::Stat::of(left).is_some_and(|stat| !stat.is_zombie());
    assert!(lives());
    let questions = Questions::default();
    questions.ended("another".to_owned());
    questions.sweep();
    assert!(lives(), "it is of another question");
    questions.ended(question);
    questions.sweep();
    assert!(!lives());
}

#[test]
fn a_question_that_is_called_back_has_no_answer() {
    let cancel = Arc::new(Cancel::new());
    let other = Arc::clone(&cancel);
    let asking = std::thread::spawn(move || {
        let argv = ["/bin/sleep", "100000"].map(str::to_owned);
        exec::ask(
            &argv,
            &[],
            std::path::Path::new("/"),
            Duration::from_secs(3000),
            &other,
            "it-2",
        )
    });
    cancel.call();
    assert_eq!(asking.join().unwrap(), None);
}

#[test]
fn a_connection_is_made_or_the_reason_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let check = |port| TcpCheck {
        host: "localhost".to_owned(),
        port,
    };
    assert_eq!(
        connect(&check(port), PATIENT),
        Answer::success(format!("connected to localhost:{port}"))
    );
    drop(listener);
    let answer = connect(&check(port), PATIENT);
    assert!(
        !answer.is_success && answer.text.ends_with("Connection refused"),
        "{answer:?}"
    );
}

/// Answers so many requests, each after its head was read; an empty answer keeps silent until the asker leaves.
fn serve(answers: Vec<String>) -> (u16, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let mut heads = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            heads.push(head_of(&stream));
            let mut stream = stream;
            if answer.is_empty() {
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            } else {
                let _ = stream.write_all(answer.as_bytes());
            }
        }
        heads
    });
    (port, serving)
}

fn head_of(stream: &TcpStream) -> String {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn http_is_judged_by_status_and_body_and_follows_nobody() {
    let reply = |status: &str, more: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{more}Connection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let (port, serving) = serve(vec![
        reply("200 OK", "", "all is well"),
        reply("503 Service Unavailable", "", ""),
        reply("302 Found", "Location: http://127.0.0.1:1/\r\n", ""),
        reply("200 OK", "", "all is ill"),
        reply("204 No Content", "", ""),
        String::new(),
    ]);
    let from = format!("http://127.0.0.1:{port}/health");
    let ask = |body: Option<&str>, status, timeout| {
        let check = HttpCheck {
            url: format!("{from}?token=s3cret"),
            method: "GET".to_owned(),
            headers: vec![("X-Key".to_owned(), "s3cret".to_owned())],
            status,
            body: body.map(str::to_owned),
        };
        http::ask(&check, timeout)
    };
    let any = (200, 399);
    assert_eq!(
        ask(Some("w.ll"), any, PATIENT),
        Answer::success(format!("HTTP 200 from {from}"))
    );
    assert_eq!(
        ask(None, any, PATIENT),
        Answer::failure(format!("HTTP 503 from {from}"))
    );
    assert_eq!(
        ask(None, any, PATIENT),
        Answer::success(format!("HTTP 302 from {from}"))
    );
    assert_eq!(
        ask(Some("w.ll"), any, PATIENT),
        Answer::failure(format!("HTTP 200 from {from}, but its body does not match \"w.ll\""))
    );
    assert_eq!(
        ask(None, (200, 200), PATIENT),
        Answer::failure(format!("HTTP 204 from {from}"))
    );
    assert_eq!(
        ask(None, any, SOON),
        Answer::failure(format!("no answer from {from} within 150ms"))
    );
    let heads = serving.join().unwrap();
    assert!(heads[0].starts_with("GET /health?token=s3cret HTTP/1.1"), "{heads:?}");
    assert!(heads[0].to_lowercase().contains("x-key: s3cret"), "{heads:?}");
    let refused = ask(None, any, PATIENT);
    assert_eq!(
        refused,
        Answer::failure(format!("cannot ask {from}: Connection refused"))
    );
}

#[test]
fn a_probe_that_hangs_costs_nobody_else_anything() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let (told, findings) = channel();
    let prober = Prober::new(move |finding: Finding| {
        let _ = told.send((finding.bot.to_string(), finding.answer.is_success));
    });
    let target = |check: Check| Target {
        run: RunId::parse(&"0".repeat(26)).unwrap(),
        began_at: clock::now(),
        probes: vec![Probe {
            name: "it".to_owned(),
            role: Role::Liveness,
            check,
            initial_delay: Duration::ZERO,
            period: Duration::from_millis(100),
            timeout: Duration::from_secs(3000),
            failure_threshold: 1,
            success_threshold: 1,
        }],
        env: Vec::new(),
        cwd: "/".into(),
    };
    let hanging = HttpCheck {
        url: format!("http://127.0.0.1:{silent_port}/"),
        method: "GET".to_owned(),
        headers: Vec::new(),
        status: (200, 399),
        body: None,
    };
    // More of them than a few threads could hold.
    for number in 0..40 {
        let deaf = format!("deaf{number}").parse().unwrap();
        prober.watch(deaf, Some(target(Check::Http(hanging.clone())))).unwrap();
    }
    let sleeper = ["/bin/sleep", "100000"].map(str::to_owned).to_vec();
    prober
        .watch("slow".parse().unwrap(), Some(target(Check::Exec(sleeper))))
        .unwrap();
    let quick = vec!["/bin/true".to_owned()];
    prober
        .watch("well".parse().unwrap(), Some(target(Check::Exec(quick))))
        .unwrap();
    for _ in 0..3 {
        assert_eq!(findings.recv_timeout(PATIENT), Ok(("well".to_owned(), true)));
    }
    assert_eq!(prober.late(), 0);
    drop(silent);
    prober.watch("slow".parse().unwrap(), None).unwrap();
    prober.close();
}
