//! Built-in bots of WhatsApp's Cloud API against a double of the Graph API.

use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::doubles::graph::{Graph, PHONE, deliver, exchange, text, told};
use crate::harness::{Home, kill, wait_until};

const TOKEN: &str = "EAAsecretsecretsecret";
const APP_SECRET: &str = "app-secret-of-the-test";

struct Shop {
    home: Home,
    /// Where the bot takes webhooks.
    hook: String,
}

/// A port that nobody has in this moment; whoever takes it first has it.
fn free_port() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

fn shop(graph: &Graph) -> Shop {
    let home = Home::new();
    let hook = free_port();
    home.ok(&[
        "bot",
        "create",
        "shop",
        "--platform",
        "whatsapp-cloud",
        "--token",
        TOKEN,
        "--no-start",
    ]);
    for (field, value) in [
        ("phone_id", PHONE),
        ("app_secret", APP_SECRET),
        ("verify_token", "let-me-in"),
    ] {
        home.run_with_stdin(&["credentials", "set", "--bot", "shop", field], value)
            .code(0);
    }
    home.set(
        "shop",
        &[
            &format!("whatsapp.api_root={}", graph.root()),
            &format!("whatsapp.listen={hook}"),
        ],
    );
    home.ok(&["start"]);
    home.ok(&["bot", "start", "shop"]);
    home.wait_event("shop", "connected");
    Shop { home, hook }
}

impl Shop {
    fn tell(&self, messages: &[Value]) -> u16 {
        deliver(&self.hook, APP_SECRET, &told(messages))
    }
}

#[test]
fn webhooks_are_verified_signed_stored_and_answered_once() {
    let graph = Graph::start(TOKEN);
    let shop = shop(&graph);
    let verify = |token: &str| {
        let path = format!("/hook?hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1158201444");
        exchange(&shop.hook, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    };
    assert_eq!(verify("let-me-in"), (200, "1158201444".to_owned()));
    assert_eq!(verify("guessed").0, 403);
    let ping = told(&[text("wamid.1", "4917", "?ping")]);
    assert_eq!(deliver(&shop.hook, "another secret", &ping), 403);
    assert_eq!(
        exchange(&shop.hook, "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}").0,
        403
    );
    assert_eq!(deliver(&shop.hook, APP_SECRET, &ping), 200);
    assert_eq!(deliver(&shop.hook, APP_SECRET, &ping), 200, "told twice");
    assert_eq!(
        shop.tell(&[text("wamid.2", "4917", "?help"), text("wamid.3", "4918", "?ping")]),
        200
    );
    graph.wait_sent(&shop.home, 3);
    let texts = graph.texts("4917");
    assert_eq!((texts[0].as_str(), texts.len()), ("pong", 2));
    assert_eq!(graph.texts("4918"), ["pong"]);
    let status = shop.home.ok(&["status", "--json"]).out;
    for secret in [TOKEN, APP_SECRET, "let-me-in"] {
        assert!(!status.contains(secret) && !shop.home.log_of("shop").contains(secret));
        assert!(
            shop.home
                .processes()
                .iter()
                .all(|process| !process.cmdline.contains(secret))
        );
    }
}

#[test]
fn what_was_answered_with_200_survives_a_kill() {
    let graph = Graph::start(TOKEN);
    let shop = shop(&graph);
    graph.outage(true);
    let messages: Vec<Value> = (0..30)
        .map(|number| text(&format!("wamid.{number}"), &format!("49{}", number % 5), "?ping"))
        .collect();
    for pair in messages.chunks(2) {
        assert_eq!(shop.tell(pair), 200);
    }
    kill(shop.home.pid("shop"), Signal::KILL);
    graph.outage(false);
    graph.wait_sent(&shop.home, 30);
    for chat in 0..5 {
        assert_eq!(graph.texts(&format!("49{chat}")).len(), 6);
    }
}

#[test]
fn texts_templates_and_files_are_sent_and_refusals_acted_on() {
    let graph = Graph::start(TOKEN);
    let shop = shop(&graph);
    let home = &shop.home;
    let answer = home
        .ok(&["send", "shop", "--to", "4917", "--text", "hello", "--wait"])
        .out;
    assert!(answer.contains("wamid.S1"), "{answer}");
    let template = json!({"chat": "4917", "template": {"name": "welcome", "language": {"code": "en"}}}).to_string();
    home.ok(&["send", "shop", "send_message", "--json", &template, "--wait"]);
    let photo = home.write("photo.jpg", "jpeg bytes");
    home.ok(&[
        "send",
        "shop",
        "--to",
        "4917",
        "--photo",
        photo.to_str().unwrap(),
        "--text",
        "see",
        "--wait",
    ]);
    let sent = graph.sent();
    assert_eq!(sent[1]["template"]["name"], "welcome");
    assert_eq!(sent[2]["image"], json!({"caption": "see", "id": "U1"}));
    assert!(String::from_utf8_lossy(&graph.uploads()[0]).contains("jpeg bytes"));

    graph.flood(1, 131_056);
    home.ok(&["send", "shop", "--to", "4920", "--text", "patience", "--wait"]);
    assert_eq!(graph.texts("4920"), ["patience"]);
    graph.refuse("4921", 131_026);
    home.run(&["send", "shop", "--to", "4921", "--text", "x", "--wait"])
        .code(1)
        .says(&["no_chat", "131026"]);
    graph.refuse("4922", 131_047);
    home.run(&["send", "shop", "--to", "4922", "--text", "x", "--wait"])
        .code(1)
        .says(&["131047"]);
    let blocked = || home.ok(&["blocklist", "list", "--json"]).out;
    wait_until("the undeliverable number is blocked", home, || {
        blocked().contains("4921")
    });
    assert!(!blocked().contains("4922"), "a silent user is not blocked");

    graph.keep("M1", b"a voice");
    let voice =
        json!({"id": "wamid.9", "from": "4917", "type": "audio", "audio": {"id": "M1", "mime_type": "audio/ogg"}});
    assert_eq!(shop.tell(&[voice]), 200);
    home.wait_event("shop", "media_received");
    let folder = home.path("media/shop/received/4917");
    let file = std::fs::read_dir(folder).unwrap().flatten().next().unwrap();
    assert_eq!(std::fs::read(file.path()).unwrap(), b"a voice");
}

#[test]
fn an_expired_token_and_missing_credentials_hold_the_bot() {
    let graph = Graph::start(TOKEN);
    let shop = shop(&graph);
    let home = &shop.home;
    graph.expire("another");
    home.ok(&["send", "shop", "--to", "4917", "--text", "late"]);
    home.wait_state("shop", "held");
    assert!(
        home.reason("shop").starts_with("credentials: "),
        "{}",
        home.reason("shop")
    );
    graph.expire(TOKEN);
    home.ok(&["bot", "unhold", "shop"]);
    graph.wait_sent(home, 1);
    assert_eq!(graph.texts("4917"), ["late"]);
    // Another secret is told to the running bot, which opens its connection anew with it.
    home.wait_state("shop", "running");
    let pid = home.pid("shop");
    home.run_with_stdin(&["credentials", "set", "--bot", "shop", "app_secret"], "another-secret")
        .code(0);
    let ping = told(&[text("wamid.1", "4917", "?ping")]);
    wait_until("the new secret holds", home, || {
        deliver(&shop.hook, "another-secret", &ping) == 200
    });
    assert_eq!((home.pid("shop"), deliver(&shop.hook, APP_SECRET, &ping)), (pid, 403));
    home.ok(&["credentials", "remove", "--bot", "shop", "app_secret"]);
    home.wait_state("shop", "held");
    assert!(
        home.log_of("shop").contains("it has no app_secret"),
        "{}",
        home.log_of("shop")
    );
}

#[test]
fn a_connection_is_opened_anew_at_the_same_port_and_lost_answers_are_repeated() {
    let graph = Graph::start(TOKEN);
    let shop = shop(&graph);
    let pid = shop.home.pid("shop");
    shop.home.ok(&["send", "shop", "restart_connection", "--wait"]);
    assert_eq!(shop.home.pid("shop"), pid);
    assert_eq!(shop.tell(&[text("wamid.1", "4917", "?ping")]), 200);
    graph.wait_sent(&shop.home, 1);
    graph.lose_answers(1);
    shop.home
        .ok(&["send", "shop", "--to", "4918", "--text", "twice", "--wait"]);
    assert_eq!(graph.texts("4918"), ["twice", "twice"]);
}
