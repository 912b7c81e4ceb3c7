//! Built-in bots of Telegram against a double of the Bot API.

use serde_json::json;

use crate::doubles::telegram::Telegram;
use crate::harness::{Home, wait_until};

const TOKEN: &str = "77:AAsecretsecretsecretsecretsecret";

/// A home with one built-in bot that runs and is connected.
fn shop(telegram: &Telegram, settings: &[&str]) -> Home {
    let home = telegram.home();
    home.ok(&["bot", "create", "shop", "--platform", "telegram", "--token", TOKEN]);
    if !settings.is_empty() {
        home.set("shop", settings);
    }
    home.ok(&["start"]);
    home.wait_event("shop", "connected");
    home
}

fn is_polling(telegram: &Telegram, home: &Home) {
    wait_until("it polls", home, || telegram.calls(TOKEN, "getUpdates") > 0);
}

#[test]
fn a_token_alone_makes_a_bot_that_answers_in_chats_and_sends_what_is_posted() {
    let telegram = Telegram::start();
    let home = shop(&telegram, &[]);
    telegram.say(TOKEN, 5, 5, "/start");
    telegram.say(TOKEN, 5, 5, "?ping");
    telegram.say(TOKEN, 5, 5, "just talking");
    telegram.say(TOKEN, -100, 5, "/ping@bot77_bot");
    telegram.say(TOKEN, -100, 5, "/ping@another_bot");
    telegram.wait_sent(&home, TOKEN, 3);
    let texts = telegram.texts(TOKEN, 5);
    assert!(texts[0].contains("?ping - answers pong"), "{texts:?}");
    assert_eq!((texts[1].as_str(), texts.len()), ("pong", 2));
    assert_eq!(telegram.texts(TOKEN, -100), ["pong"]);
    wait_until("all is confirmed", &home, || telegram.pending(TOKEN) == 0);

    let answer = home.ok(&["send", "shop", "--to", "5", "--text", "your order is ready", "--wait"]);
    assert!(answer.out.contains("message"), "{}", answer.out);
    assert_eq!(telegram.texts(TOKEN, 5)[2], "your order is ready");
    let long = "x".repeat(5000);
    home.ok(&["send", "shop", "--to", "5", "--text", &long, "--wait"]);
    let texts = telegram.texts(TOKEN, 5);
    assert_eq!(texts[3..].concat(), long);
    assert_eq!(texts.len(), 5);
    // The token is in the store alone.
    for event in home.events("shop") {
        assert!(!event.to_string().contains("AAsecret"), "{event}");
    }
    assert!(!home.log_of("shop").contains("AAsecret"));
    assert!(
        home.processes()
            .iter()
            .all(|process| !process.cmdline.contains("AAsecret"))
    );
}

#[test]
fn a_burst_with_a_kill_in_the_middle_is_answered_in_the_order_of_each_chat() {
    let telegram = Telegram::start();
    let own = r#"commands={"echo":{"reply":"{{args}}"}}"#;
    let home = shop(&telegram, &[own]);
    const CHATS: i64 = 6;
    for number in 0..30 {
        let chat = 10 + number % CHATS;
        telegram.say(TOKEN, chat, chat, &format!("?echo {number}"));
    }
    telegram.wait_sent(&home, TOKEN, 3);
    crate::harness::kill(home.pid("shop"), rustix::process::Signal::KILL);
    let count = |chat: i64| {
        let mut texts = telegram.texts(TOKEN, chat);
        texts.dedup();
        texts.len()
    };
    wait_until("every message is answered", &home, || {
        (0..CHATS).all(|chat| count(10 + chat) >= 5)
    });
    let mut twice = 0;
    for chat in 0..CHATS {
        let numbers: Vec<i64> = telegram
            .texts(TOKEN, 10 + chat)
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let mut once = numbers.clone();
        once.dedup();
        assert_eq!(once, (0..5).map(|round| chat + round * CHATS).collect::<Vec<i64>>());
        twice += numbers.len() - once.len();
    }
    // Of each chat one message at most was under way.
    assert!(twice <= CHATS as usize, "{twice} were answered twice");
    wait_until("all is confirmed", &home, || telegram.pending(TOKEN) == 0);
}

#[test]
fn a_revoked_token_holds_the_bot_and_a_new_one_brings_it_back() {
    let telegram = Telegram::start();
    let home = shop(&telegram, &["telegram.poll_timeout=1s"]);
    is_polling(&telegram, &home);
    telegram.revoke(TOKEN, true);
    home.wait_state("shop", "held");
    assert!(
        home.reason("shop").starts_with("credentials: "),
        "{}",
        home.reason("shop")
    );
    assert_eq!(home.count_events("shop", "exited"), 1);
    telegram.revoke(TOKEN, false);
    home.ok(&["bot", "unhold", "shop"]);
    home.wait_state("shop", "running");
    telegram.say(TOKEN, 5, 5, "?ping");
    telegram.wait_sent(&home, TOKEN, 1);
}

#[test]
fn two_homes_with_one_token_are_told_apart_by_the_platform() {
    let telegram = Telegram::start();
    let first = shop(&telegram, &["telegram.poll_timeout=20s"]);
    is_polling(&telegram, &first);
    let second = shop(&telegram, &["telegram.poll_timeout=20s"]);
    let is_held = |home: &Home| home.state("shop") == "held";
    wait_until("one gives way", &first, || is_held(&first) || is_held(&second));
    let loser = if is_held(&first) { &first } else { &second };
    assert!(
        loser.reason("shop").contains("polls this token"),
        "{}",
        loser.reason("shop")
    );
}

#[test]
fn an_outage_is_waited_out_and_nothing_is_lost() {
    let telegram = Telegram::start();
    let home = shop(&telegram, &["telegram.poll_timeout=1s"]);
    is_polling(&telegram, &home);
    telegram.outage(true);
    home.wait_event("shop", "connection_failed");
    for number in 0..3 {
        let text = number.to_string();
        home.ok(&["send", "shop", "--to", "5", "--text", &text]);
    }
    telegram.say(TOKEN, 6, 6, "?ping");
    let detail = || home.bot("shop")["connected"] == json!(false);
    wait_until("status tells that it is not connected", &home, detail);
    telegram.outage(false);
    telegram.wait_sent(&home, TOKEN, 4);
    assert_eq!(telegram.texts(TOKEN, 5), ["0", "1", "2"]);
    assert_eq!(telegram.texts(TOKEN, 6), ["pong"]);
    assert_eq!(
        (home.state("shop").as_str(), home.count_events("shop", "exited")),
        ("running", 0)
    );
}

#[test]
fn a_flood_is_waited_for_exactly_and_lost_answers_cost_a_repetition() {
    let telegram = Telegram::start();
    let home = shop(&telegram, &[]);
    telegram.flood(3, 1);
    for chat in ["5", "6", "7"] {
        home.ok(&["send", "shop", "--to", chat, "--text", "hello"]);
    }
    telegram.wait_sent(&home, TOKEN, 3);
    assert_eq!(telegram.hurried(TOKEN), 0, "nothing was sent before the told time");
    telegram.lose_answers(1);
    home.ok(&["send", "shop", "--to", "5", "--text", "again", "--wait"]);
    assert_eq!(telegram.texts(TOKEN, 5), ["hello", "again", "again"]);
    assert_eq!(home.count_events("shop", "exited"), 0);
}

#[test]
fn a_chat_that_does_not_want_the_bot_is_blocked_and_holds_up_no_other() {
    let telegram = Telegram::start();
    let home = shop(&telegram, &[]);
    telegram.refuse(5, 403, "Forbidden: bot was blocked by the user");
    home.ok(&["send", "shop", "--to", "5", "--text", "hello"]);
    home.ok(&["send", "shop", "--to", "6", "--text", "hello", "--wait"]);
    home.wait_event("shop", "delivery_failed");
    let is_listed = || {
        home.ok(&["blocklist", "list", "--json"])
            .out
            .contains("blocked by the user")
    };
    wait_until("the chat is blocked", &home, is_listed);
    let refused = home.run(&["send", "shop", "--to", "5", "--text", "again"]);
    assert!(refused.err.contains("5 is blocked for shop"), "{}", refused.err);
    telegram.kick(TOKEN, -9);
    home.wait_event("shop", "kicked");
    let list = || home.ok(&["blocklist", "list", "--json"]).out;
    wait_until("the group is blocked", &home, || list().contains("-9"));
    // Whoever moves a file into the inbox himself is not asked first: the refusal comes from the platform.
    telegram.refuse(-7, 403, "Forbidden: bot was kicked from the supergroup chat");
    home.ok(&["send", "shop", "--to", "-7", "--text", "x"]);
    wait_until("the other group is blocked too", &home, || list().contains("-7"));
}

#[test]
fn a_connection_is_closed_and_opened_anew_in_the_same_process() {
    let telegram = Telegram::start();
    let home = shop(&telegram, &["telegram.poll_timeout=20s"]);
    is_polling(&telegram, &home);
    let pid = home.pid("shop");
    home.ok(&["send", "shop", "restart_connection", "--wait"]);
    assert_eq!(home.pid("shop"), pid);
    let names: Vec<String> = home
        .events("shop")
        .iter()
        .map(|event| event["name"].as_str().unwrap().to_owned())
        .collect();
    let place = |name: &str| names.iter().rposition(|known| known == name);
    assert!(place("disconnected") < place("connected"), "{names:?}");
    telegram.say(TOKEN, 5, 5, "?ping");
    telegram.wait_sent(&home, TOKEN, 1);
    assert_eq!(
        home.count_events("shop", "conflict"),
        0,
        "the old connection is left behind"
    );
}

#[test]
fn files_go_both_ways_and_a_group_that_moves_is_followed() {
    let telegram = Telegram::start();
    let home = shop(&telegram, &["media.max_file=100KiB"]);
    telegram.send_document(TOKEN, 5, "../menu.pdf", b"%PDF menu");
    let received = home.wait_event("shop", "media_received");
    let path = received["detail"].as_str().unwrap_or_default().to_owned() + &received.to_string();
    assert!(path.contains("/media/shop/received/5/"), "{path}");
    let folder = home.path("media/shop/received/5");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().collect();
    assert_eq!(files.len(), 1);
    assert_eq!(std::fs::read(files[0].path()).unwrap(), b"%PDF menu");
    telegram.send_document(TOKEN, 5, "large.bin", &vec![0; 200 << 10]);
    home.wait_event("shop", "media_failed");

    let photo = home.write("photo.jpg", "jpeg bytes");
    let photo = photo.to_str().unwrap();
    home.ok(&[
        "send", "shop", "--to", "5", "--photo", photo, "--text", "look", "--wait",
    ]);
    home.ok(&["send", "shop", "--to", "5", "--document", photo, "--wait"]);
    let sent = telegram.sent(TOKEN);
    assert_eq!((sent[0].method.as_str(), sent[0].text()), ("sendPhoto", "look"));
    assert_eq!(sent[0].file, Some(("photo.jpg".to_owned(), b"jpeg bytes".to_vec())));
    assert_eq!(sent[1].method, "sendDocument");
    home.run(&["send", "shop", "--to", "5", "--photo", "/nonexistent.jpg", "--wait"])
        .code(2)
        .says(&["/nonexistent.jpg"]);

    telegram.migrate(-5, -1005);
    home.ok(&["send", "shop", "--to", "-5", "--text", "still here?", "--wait"]);
    assert_eq!(telegram.texts(TOKEN, -1005), ["still here?"]);
    home.wait_event("shop", "chat_moved");
    let edit = r#"{"chat":"5","message":"1","text":"new"}"#;
    home.ok(&["send", "shop", "edit_message", "--json", edit, "--wait"]);
    home.ok(&[
        "send",
        "shop",
        "chat_action",
        "--json",
        r#"{"chat":5,"action":"typing"}"#,
        "--wait",
    ]);
    let methods: Vec<String> = telegram.sent(TOKEN).into_iter().map(|sent| sent.method).collect();
    assert_eq!(methods[methods.len() - 2..], ["editMessageText", "sendChatAction"]);
}

#[test]
fn own_commands_answer_run_programs_and_forward_and_strangers_are_left() {
    let telegram = Telegram::start();
    let script = r#"read line; echo "$line" | sed 's/.*"args":"\([^"]*\)".*/you said \1/'"#;
    let commands = json!({
        "hi": {"reply": "hello {{user}}"},
        "say": {"exec": ["/bin/sh", "-c", script]},
        "slow": {"exec": ["/bin/sh", "-c", "sleep 1000"], "timeout": "200ms"},
        "*": {"forward": "events"},
    });
    let settings = [
        format!("commands={commands}"),
        "allowed_users=5,@user6".to_owned(),
        "strangers=not for you".to_owned(),
    ];
    let home = shop(&telegram, &settings.each_ref().map(String::as_str));
    for text in ["?hi", "?slow", "?say this and that", "anything"] {
        telegram.say(TOKEN, 5, 5, text);
    }
    telegram.say(TOKEN, 6, 6, "?hi");
    telegram.say(TOKEN, 7, 7, "?hi");
    telegram.say(TOKEN, 7, 7, "?hi");
    telegram.wait_sent(&home, TOKEN, 5);
    wait_until("all is confirmed", &home, || telegram.pending(TOKEN) == 0);
    assert_eq!(
        telegram.texts(TOKEN, 5),
        ["hello user5", "that did not work", "you said this and that"]
    );
    assert_eq!(telegram.texts(TOKEN, 6), ["hello user6"]);
    assert_eq!(telegram.texts(TOKEN, 7), ["not for you"]);
    home.wait_log("shop", "took longer than 200ms");
    let forwarded = || {
        home.events("shop")
            .iter()
            .any(|event| event.to_string().contains("anything"))
    };
    wait_until("the text is in the events", &home, forwarded);
}

#[test]
fn a_stop_finishes_what_is_in_hand_and_leaves_the_rest_for_the_next_run() {
    let telegram = Telegram::start();
    let home = shop(&telegram, &[]);
    for number in 0..12 {
        home.ok(&["send", "shop", "--to", "5", "--text", &number.to_string()]);
    }
    telegram.wait_sent(&home, TOKEN, 1);
    home.ok(&["bot", "stop", "shop"]);
    let early = telegram.sent(TOKEN).len();
    home.ok(&["bot", "start", "shop"]);
    telegram.wait_sent(&home, TOKEN, 12);
    let texts = telegram.texts(TOKEN, 5);
    assert_eq!(
        texts,
        (0..12).map(|number| number.to_string()).collect::<Vec<_>>(),
        "{early} before the stop"
    );
}

#[test]
fn a_file_in_outgoing_is_sent_when_it_is_complete_and_the_oldest_leave_for_the_quota() {
    let telegram = Telegram::start();
    let home = shop(&telegram, &["media.quota=4KiB"]);
    let outgoing = home.path("media/shop/outgoing/5");
    std::fs::create_dir_all(&outgoing).unwrap();
    std::fs::write(outgoing.join("menu.pdf"), vec![b'm'; 3000]).unwrap();
    std::fs::write(outgoing.join("half.pdf.part"), "half").unwrap();
    let sent = telegram.wait_sent(&home, TOKEN, 1);
    assert_eq!((sent[0].method.as_str(), sent[0].chat), ("sendDocument", 5));
    let first = home.path("media/shop/sent/5/menu.pdf");
    wait_until("it lies in sent", &home, || first.exists());
    let aside = home.write("aside.png", &"p".repeat(3000));
    std::fs::rename(aside, outgoing.join("photo.png")).unwrap();
    let sent = telegram.wait_sent(&home, TOKEN, 2);
    assert_eq!(sent[1].method, "sendPhoto");
    home.wait_event("shop", "media_removed");
    assert!(!first.exists() && outgoing.join("half.pdf.part").exists());
    assert!(home.path("media/shop/sent/5/photo.png").exists());
    telegram.refuse(6, 403, "Forbidden: bot was blocked by the user");
    let other = home.path("media/shop/outgoing/6");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("a.txt"), "a").unwrap();
    let refused = home.path("media/shop/refused/6/a.txt");
    wait_until("what is refused is not tried for ever", &home, || refused.exists());
}
