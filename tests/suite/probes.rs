//! Probes against bots that misbehave: each is caught by its probe, explained, and restarted or only marked;
//! a neighbour whose probes are well is never touched.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{FAST, Home, SLEEPER, is_alive, kill, wait_until};

/// Logs are read often, and a bot that is restarted again and again is not given up.
const WATCHFUL: &str = "\
start_delay: 0s
sampling: {period: 100ms}
defaults:
  ready: {min_uptime: 0s}
  restart: {delay: 50ms, factor: 1, max_restarts: 100000}
  stop: {grace: 5s}
";

const WELL: u8 = 0;
const BROKEN: u8 = 1;
const DEAF: u8 = 2;

/// The health page of a bot, which misbehaves as told.
struct Page {
    port: u16,
    mode: Arc<AtomicU8>,
    is_over: Arc<AtomicBool>,
}

impl Page {
    fn open() -> Page {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let page = Page {
            port: listener.local_addr().unwrap().port(),
            mode: Arc::default(),
            is_over: Arc::default(),
        };
        let (mode, is_over) = (Arc::clone(&page.mode), Arc::clone(&page.is_over));
        std::thread::spawn(move || {
            let mut unanswered = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let answer = match mode.load(Ordering::SeqCst) {
                    WELL => "200 OK",
                    BROKEN => "503 Service Unavailable",
                    _ => {
                        unanswered.push(stream);
                        continue;
                    }
                };
                // One read holds the whole head of so small a request.
                let _ = stream.read(&mut [0; 4096]);
                let _ = write!(
                    stream,
                    "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
        });
        page
    }

    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/health", self.port)
    }

    /// Asks often, and waits longer than a busy host needs.
    fn probe(&self) -> Value {
        json!({"http": self.url(), "period": "100ms", "timeout": "30s"})
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Its thread waits for somebody to come.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// A running home with a bot that has these probes, and a neighbour that is well.
fn watched(script: &str, probes: &Value, well: &Page) -> (Home, String) {
    let home = Home::with_settings(WATCHFUL);
    home.create("shop", script);
    home.create("next", SLEEPER);
    home.set("next", &[&format!("probes={}", json!({"api": well.probe()}))]);
    home.ok(&["start"]);
    home.set("shop", &[&format!("probes={probes}")]);
    let run = home.bot("next")["run_id"].as_str().unwrap().to_owned();
    (home, run)
}

/// The bot was restarted by its probe, which says why in the history and in `status`.
fn assert_restarted(home: &Home, because: &str) {
    wait_until("the probe has restarted it twice", home, || {
        home.bot("shop")["restarts"].as_u64() >= Some(2)
    });
    let told = home.wait_event("shop", "unhealthy");
    let detail = told["detail"].as_str().unwrap();
    assert!(detail.contains(because), "{detail}");
    wait_until("its last exit says why", home, || {
        let why = home.bot("shop")["last_exit"]["why"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        why.contains(because)
    });
}

fn assert_untouched(home: &Home, run: &str) {
    let next = home.bot("next");
    assert_eq!((&next["run_id"], &next["restarts"]), (&json!(run), &json!(0)), "{next}");
}

fn probe(home: &Home, bot: &str, name: &str) -> Value {
    let bot = home.bot(bot);
    let probes = bot["probes"].as_array().unwrap();
    probes
        .iter()
        .find(|probe| probe["name"] == name)
        .cloned()
        .unwrap_or_default()
}

fn wait_probe(home: &Home, bot: &str, name: &str, state: &str) {
    wait_until(&format!("probe {name} of {bot} is {state}"), home, || {
        probe(home, bot, name)["state"] == state
    });
}

#[test]
fn a_page_that_breaks_hangs_or_is_gone_restarts_its_bot_until_it_is_well() {
    let (page, well) = (Page::open(), Page::open());
    let mut api = page.probe();
    api["timeout"] = json!("300ms");
    let (home, run) = watched(SLEEPER, &json!({"api": api}), &well);
    wait_probe(&home, "shop", "api", "passing");
    wait_probe(&home, "next", "api", "passing");
    assert_eq!(
        probe(&home, "shop", "api")["answer"],
        format!("HTTP 200 from {}", page.url())
    );
    page.set(BROKEN);
    assert_restarted(
        &home,
        &format!("probe api failed 3 times: HTTP 503 from {}", page.url()),
    );
    page.set(WELL);
    wait_probe(&home, "shop", "api", "passing");
    page.set(DEAF);
    let before = home.bot("shop")["restarts"].as_u64();
    wait_until("it is restarted for its silence", &home, || {
        home.bot("shop")["restarts"].as_u64() > before
    });
    let events = home.events("shop");
    let because = format!("no answer from {} within 300ms", page.url());
    assert!(
        events
            .iter()
            .any(|event| event["detail"].as_str().unwrap().contains(&because)),
        "{events:?}"
    );
    drop(page);
    wait_until("it is restarted because nobody is there", &home, || {
        let events = home.events("shop");
        events
            .iter()
            .any(|event| event["detail"].as_str().unwrap().contains("Connection refused"))
    });
    assert_untouched(&home, &run);
}

#[test]
fn a_restart_by_a_probe_waits_like_any_other_and_says_why() {
    let well = Page::open();
    let probes = json!({"api": {"tcp": 1, "period": "100ms", "failure_threshold": 1}});
    let (home, run) = watched(SLEEPER, &json!({}), &well);
    home.set(
        "shop",
        &["restart.delay=1h", "restart.max_delay=1h", &format!("probes={probes}")],
    );
    home.wait_state("shop", "backoff");
    let reason = home.reason("shop");
    assert_eq!(
        reason,
        "probe api failed: cannot connect to 127.0.0.1:1: Connection refused"
    );
    assert!(home.run(&["status"]).out.contains(&reason));
    assert!(home.audit_actions("probe restart") >= 1);
    assert_untouched(&home, &run);
}

#[test]
fn a_program_that_asks_and_hangs_is_killed_with_its_children() {
    let well = Page::open();
    let hanging = "echo $$ > asked; echo \"$BOT_ID ${BOT_TOKEN:-no token}\"; sleep 100000 & sleep 100000";
    let probes = json!({"it": {"exec": ["/bin/sh", "-c", hanging], "period": "100ms", "timeout": "500ms",
        "failure_threshold": 2}});
    let (home, run) = watched(SLEEPER, &probes, &well);
    assert_restarted(&home, "probe it failed 2 times: no end within 500ms: shop no token");
    // Nobody is asked any more, and who asked is gone.
    home.ok(&["bot", "stop", "shop"]);
    wait_until("no program asks", &home, || {
        home.processes()
            .iter()
            .all(|process| !process.cmdline.contains("asked"))
    });
    assert_untouched(&home, &run);
}

/// A bot that is being asked by a program which notes its pid and hangs; who asks, where somebody does.
fn asked_for_ever(home: &Home, hang: &str) -> impl Fn() -> Option<u32> {
    home.create("shop", SLEEPER);
    let hanging = format!("echo $$ > asked; {hang}");
    let probes = json!({"it": {"exec": ["/bin/sh", "-c", hanging], "timeout": "5m"}});
    home.set("shop", &[&format!("probes={probes}")]);
    home.ok(&["start"]);
    let file = home.base().join("asked");
    let pid = move || std::fs::read_to_string(&file).ok()?.trim().parse().ok();
    wait_until("it is being asked", home, || pid().is_some());
    pid
}

#[test]
fn a_program_that_asks_does_not_outlive_the_supervisor() {
    let home = Home::new();
    let pid = asked_for_ever(&home, "sleep 100000");
    let asked = pid().unwrap();
    assert!(is_alive(asked));
    home.ok(&["stop", "--keep-bots"]);
    wait_until("who asked is gone", &home, || !is_alive(asked));
}

#[test]
fn a_program_that_asks_is_ended_by_the_next_supervisor_and_its_bot_goes_on() {
    let home = Home::new();
    let pid = asked_for_ever(&home, "exec sleep 100000");
    let (asked, bot) = (pid().unwrap(), home.pid("shop"));
    home.kill_supervisor();
    assert!(is_alive(asked));
    home.ok(&["start"]);
    wait_until("who asked is gone", &home, || !is_alive(asked));
    home.wait_state("shop", "running");
    assert_eq!(home.pid("shop"), bot);
    wait_until("it is asked anew", &home, || pid().is_some_and(|it| it != asked));
    // What leaves its group goes with its bot.
    let leaving = "setsid sh -c 'echo $$ > left; exec sleep 100000' & while [ ! -s left ]; do sleep 0.01; done";
    let probes = json!({"it": {"exec": ["/bin/sh", "-c", leaving], "period": "1h", "timeout": "5m"}});
    home.set("shop", &[&format!("probes={probes}")]);
    wait_probe(&home, "shop", "it", "passing");
    let left = home.base().join("left");
    let left: u32 = std::fs::read_to_string(left).unwrap().trim().parse().unwrap();
    home.ok(&["bot", "stop", "shop"]);
    wait_until("what it left is gone", &home, || !is_alive(left));
}

#[test]
fn what_a_program_prints_is_masked() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    let script = "echo \"key $API_KEY\"; exit 1";
    let probes = json!({"it": {"exec": ["/bin/sh", "-c", script], "role": "readiness", "period": "100ms"}});
    home.set("shop", &["env.API_KEY=s3cret-value", &format!("probes={probes}")]);
    home.ok(&["start"]);
    wait_probe(&home, "shop", "it", "failing");
    let answer = probe(&home, "shop", "it")["answer"].as_str().unwrap().to_owned();
    assert!(
        answer.starts_with("exited with code 1: key ") && !answer.contains("s3cret"),
        "{answer}"
    );
    for text in [home.read("run/status.json"), home.log_of("supervisor")] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn a_bot_that_goes_silent_is_missed() {
    let well = Page::open();
    // It beats twice and then hangs.
    let script = "multibot ipc heartbeat; multibot ipc heartbeat; exec sleep 100000";
    let probes = json!({"beat": {"heartbeat": "500ms", "period": "100ms"}});
    let (home, run) = watched(script, &probes, &well);
    assert_restarted(&home, "probe beat failed: no heartbeat for 500ms");
    assert_untouched(&home, &run);
}

#[test]
fn a_bot_must_answer_when_it_is_asked_for_its_status() {
    let well = Page::open();
    let probes = json!({"it": {"status_request": true, "period": "200ms", "timeout": "300ms"}});
    let (home, run) = watched(SLEEPER, &probes, &well);
    let patient = json!({"it": {"status_request": true, "period": "200ms", "timeout": "30s"}});
    home.ok(&["bot", "create", "demo"]);
    home.set("demo", &[&format!("probes={patient}")]);
    home.ok(&["bot", "start", "demo"]);
    assert_restarted(&home, "probe it failed 3 times: no status_response within 300ms");
    wait_probe(&home, "demo", "it", "passing");
    assert_eq!(home.bot("demo")["restarts"], 0);
    home.ok(&["bot", "stop", "shop"]);
    assert_eq!(
        home.bot("shop")["inbox_new"],
        0,
        "questions of runs that are over are taken back"
    );
    assert_untouched(&home, &run);
}

#[test]
fn lines_that_must_not_come_and_lines_that_must() {
    let well = Page::open();
    let script = "while :; do echo \"poll done\"; [ ! -e lost ] || echo 'connection lost'; sleep 0.05; done";
    let probes = json!({
        "polls": {"log": {"must_appear": "poll done", "within": "20s"}, "period": "100ms"},
        "quiet": {"log": {"must_not_appear": "connection lost"}, "period": "100ms"},
    });
    let (home, run) = watched(script, &probes, &well);
    wait_probe(&home, "shop", "polls", "passing");
    wait_probe(&home, "shop", "quiet", "passing");
    assert_eq!(home.bot("shop")["restarts"], 0);
    home.write("lost", "");
    assert_restarted(
        &home,
        "probe quiet failed: a line matched \"connection lost\": connection lost",
    );
    std::fs::remove_file(home.base().join("lost")).unwrap();
    wait_probe(&home, "shop", "quiet", "passing");
    let missing = json!({"log": {"must_appear": "never said", "within": "300ms"}, "period": "100ms"});
    home.set("shop", &[&format!("probes.polls={missing}")]);
    wait_until("the missing line restarts it", &home, || {
        let events = home.events("shop");
        let because = "probe polls failed: no line matched \"never said\" for 300ms";
        events
            .iter()
            .any(|event| event["detail"].as_str().unwrap().contains(because))
    });
    assert_untouched(&home, &run);
}

#[test]
fn messages_that_nobody_takes_are_a_failure() {
    let well = Page::open();
    let probes = json!({"pile": {"backlog": {"growing_for": "300ms"}, "period": "100ms"}});
    let (home, run) = watched(SLEEPER, &probes, &well);
    wait_probe(&home, "shop", "pile", "passing");
    home.ok(&["send", "shop", "--text", "hello"]);
    assert_restarted(
        &home,
        "probe pile failed: 1 messages wait, and none was taken for 300ms",
    );
    assert_untouched(&home, &run);
}

#[test]
fn a_bot_that_is_not_ready_is_marked_and_goes_on() {
    let (page, well) = (Page::open(), Page::open());
    page.set(BROKEN);
    let mut api = page.probe();
    api["role"] = json!("readiness");
    let (home, _) = watched(SLEEPER, &json!({"api": api}), &well);
    wait_probe(&home, "shop", "api", "failing");
    let bot = home.bot("shop");
    assert_eq!((&bot["state"], &bot["ready"]), (&json!("running"), &json!(false)));
    let because = format!("not ready: probe api: HTTP 503 from {}", page.url());
    assert_eq!(home.reason("shop"), because);
    let table = home.run(&["status"]).out;
    assert!(table.contains(&format!("{because}, since ")), "{table}");
    page.set(WELL);
    wait_until("it is ready again", &home, || home.bot("shop")["ready"] == true);
    let bot = home.bot("shop");
    assert_eq!((&bot["reason"], &bot["restarts"]), (&Value::Null, &json!(0)));
    assert_eq!(home.count_events("shop", "not_ready"), 1);
    home.wait_event("shop", "ready_again");
    assert_eq!(home.bot("next")["ready"], Value::Null, "it has no such probe");
}

#[test]
fn probes_go_on_under_the_next_supervisor() {
    let (page, well) = (Page::open(), Page::open());
    let (home, run) = watched(SLEEPER, &json!({"api": page.probe()}), &well);
    wait_probe(&home, "shop", "api", "passing");
    let pid = home.pid("shop");
    home.ok(&["stop", "--keep-bots"]);
    home.ok(&["start"]);
    wait_probe(&home, "shop", "api", "passing");
    let supervisor = home.kill_supervisor();
    home.ok(&["start"]);
    assert_ne!(home.supervisor_pid(), supervisor);
    home.ok(&["upgrade", "--binary", env!("CARGO_BIN_EXE_multibot")]);
    wait_probe(&home, "shop", "api", "passing");
    assert_eq!(home.pid("shop"), pid);
    page.set(BROKEN);
    assert_restarted(&home, "probe api failed 3 times: HTTP 503");
    assert_untouched(&home, &run);
}

#[test]
fn errors_in_the_output_are_counted() {
    let home = Home::with_settings(WATCHFUL);
    let script = "echo 'INFO all is well'; echo 'ERROR one' >&2; echo 'plain line' >&2
printf 'Traceback (most recent call last):\\n  File \"a.py\", line 1\\nValueError: x\\n' >&2
echo 'E42 by its own mark'; exec sleep 100000";
    home.create("shop", script);
    home.create("own", script);
    home.set("own", &["errors.pattern=^E[0-9]+ "]);
    home.ok(&["start"]);
    wait_until("both errors are counted", &home, || {
        home.bot("shop")["errors_per_minute"] == 2
    });
    wait_until("its own errors are counted", &home, || {
        home.bot("own")["errors_per_minute"] == 1
    });
}

#[test]
fn a_home_without_probes_and_sampling_does_not_wake() {
    let home = Home::with_settings(FAST);
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let threads = std::fs::read_dir(format!("/proc/{}/task", home.supervisor_pid())).unwrap();
    let names: Vec<String> = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok())
        .collect();
    let asks = |name: &String| ["probes", "prober", "logs"].contains(&name.trim());
    assert!(!names.iter().any(asks), "{names:?}");
}

#[test]
fn headers_are_shown_to_nobody() {
    let (home, page) = (Home::new(), Page::open());
    page.set(BROKEN);
    let probes = json!({"api": {"role": "readiness", "period": "100ms",
        "http": {"url": format!("{}?key=s3cret", page.url()), "headers": {"Authorization": "Bearer s3cret"}}}});
    home.create("shop", SLEEPER);
    home.set("shop", &[&format!("probes={probes}")]);
    home.ok(&["start"]);
    wait_probe(&home, "shop", "api", "failing");
    let shown = home.ok(&["bot", "show", "shop", "--json"]).json();
    assert_eq!(
        shown["settings"]["probes"]["api"]["http"]["headers"]["Authorization"],
        "[hidden]"
    );
    let status = home.status().to_string();
    for text in [status, home.log_of("supervisor"), format!("{:?}", home.events("shop"))] {
        assert!(text.contains("HTTP 503") && !text.contains("s3cret"), "{text}");
    }
}

#[test]
fn wrong_probes_are_refused_with_their_place() {
    let home = Home::new();
    let file = home.write(
        "shop.yaml",
        "id: shop\ncommand: [/bin/true]\nprobes:\n  api:\n    htpp: http://127.0.0.1/\n  two: {tcp: 1, exec: [a]}\n",
    );
    home.run(&["apply", file.to_str().unwrap()]).code(1).says(&[
        "shop.yaml:5:5: unknown key \"probes.api.htpp\", nearest is \"probes.api.http\"",
        "shop.yaml:6:17: probes.two: tcp and exec stand beside each other",
    ]);
    home.create("shop", SLEEPER);
    home.run(&["bot", "set", "shop", "probes.api={\"tcp\":0}"])
        .code(2)
        .one_line(&["probes.api.tcp", "is no address"]);
}

#[test]
fn a_bot_that_is_halted_does_not_answer() {
    let well = Page::open();
    let probes = json!({"it": {"status_request": true, "period": "200ms", "timeout": "1s", "initial_delay": "100ms"}});
    let home = Home::with_settings(WATCHFUL);
    home.ok(&["bot", "create", "shop"]);
    home.create("next", SLEEPER);
    home.set("shop", &[&format!("probes={probes}"), "stop.grace=100ms"]);
    home.set("next", &[&format!("probes={}", json!({"api": well.probe()}))]);
    home.ok(&["start"]);
    wait_probe(&home, "shop", "it", "passing");
    kill(home.pid("shop"), Signal::STOP);
    let told = home.wait_event("shop", "unhealthy");
    assert_eq!(told["detail"], "probe it failed 3 times: no status_response within 1s");
    home.wait_state("shop", "running");
    assert_eq!(home.bot("next")["restarts"], 0);
}
