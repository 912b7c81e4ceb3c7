//! Admins and permissions: by the command line, in chats, and as bots come to know of them.

use serde_json::json;

use crate::doubles::telegram::Telegram;
use crate::harness::{Home, wait_until};

const TOKEN: &str = "77:AAsecretsecretsecretsecretsecret";

/// Plays a user on loopback and returns the reply.
fn say(home: &Home, bot: &str, user: &str, text: &str) -> String {
    let message = json!({"text": text, "user": user}).to_string();
    let answer = home.ok(&["send", bot, "send_message", "--json", &message, "--wait"]);
    answer.out
}

#[test]
fn an_operator_names_admins_and_permissions_and_running_bots_know_at_once() {
    let home = Home::new();
    home.ok(&["admin", "add", "7"]);
    home.ok(&["bot", "create", "one"]);
    home.ok(&["bot", "create", "two"]);
    home.ok(&["start"]);
    assert!(say(&home, "one", "7", "?listperms").contains("1 admin"));
    assert!(say(&home, "one", "8", "?listperms").contains("for admins only"));
    home.ok(&["admin", "add", "8"]);
    home.ok(&["permission", "set", "?Ping", "admin"]);
    for bot in ["one", "two"] {
        assert!(say(&home, bot, "8", "?listperms").contains("2 admins"));
        assert!(say(&home, bot, "9", "?ping").contains("ping is for admins only"));
        assert!(say(&home, bot, "8", "?ping").contains("pong"));
    }
    home.ok(&["admin", "remove", "8"]);
    home.ok(&["permission", "remove", "ping"]);
    assert!(say(&home, "two", "8", "?ping").contains("pong"));
    assert!(say(&home, "two", "8", "?admin 9").contains("for admins only"));
    let admins = home.ok(&["admin", "list", "--json"]).records();
    assert_eq!((admins.len(), &admins[0]["user"]), (1, &json!("7")));
    let fixed = home.ok(&["permission", "list", "--json"]).records();
    assert!(fixed.iter().all(|it| it["fixed"] == true) && fixed.len() == 6);
    home.run(&["permission", "set", "setperm", "user"])
        .code(2)
        .one_line(&["stays so"]);
    home.run(&["admin", "add", "@nobody"])
        .code(1)
        .one_line(&["@nobody", "number"]);
    home.run(&["admin", "add", "a b"]).code(2).one_line(&["no user"]);
    assert_eq!(
        (home.audit_actions("admin add"), home.audit_actions("permission set")),
        (2, 1)
    );
}

#[test]
fn an_admin_does_the_same_in_a_chat_and_it_is_stored() {
    let home = Home::new();
    home.ok(&["admin", "add", "7"]);
    home.ok(&["bot", "create", "one"]);
    home.ok(&["bot", "create", "two"]);
    home.ok(&["start"]);
    assert!(say(&home, "one", "7", "?admin 8").contains("8 is an admin now"));
    let refused = say(&home, "two", "9", "?setperm ping admin");
    assert!(refused.contains("for admins only"), "{refused}");
    assert!(say(&home, "two", "8", "?setperm ping admin").contains("ping is for admins only now"));
    assert!(say(&home, "one", "9", "?ping").contains("for admins only"));
    assert!(say(&home, "one", "8", "?setperm admin user").contains("stays so"));
    assert!(say(&home, "one", "8", "?removeperm ping").contains("has its default again"));
    assert!(say(&home, "one", "8", "?refresh").contains("2 admins, 0 permissions, 2 bots told"));
    assert!(say(&home, "one", "8", "?admin 7 remove").contains("7 is no admin any more"));
    assert!(say(&home, "one", "7", "?refresh").contains("for admins only"));
    let audit = home.ok(&["audit"]).out;
    assert!(audit.contains("in chat loopback of two"), "{audit}");
    let by_seven = home.ok(&["audit", "--actor", "7", "--since", "1h", "--json"]).records();
    assert!(
        !by_seven.is_empty() && by_seven.iter().all(|it| it["actor"] == "7"),
        "{by_seven:?}"
    );
    assert!(home.ok(&["audit", "verify"]).out.contains("the audit is whole"));
    // A supervisor that was killed in between tells nothing else, and a new run knows.
    home.kill_supervisor();
    home.ok(&["admin", "add", "10"]);
    home.ok(&["start"]);
    wait_until("the adopted bot knows the new admin", &home, || {
        say(&home, "one", "10", "?listperms").contains("2 admins")
    });
    home.ok(&["bot", "restart", "two"]);
    assert!(say(&home, "two", "10", "?listperms").contains("2 admins"));
}

#[test]
fn in_twenty_groups_admins_change_while_the_bots_run_and_names_are_found() {
    let telegram = Telegram::start();
    let home = telegram.home();
    const BOTS: i64 = 20;
    let token = |number: i64| format!("{number}:AAsecretsecretsecretsecretsecret");
    for number in 1..=BOTS {
        let bot = format!("group{number}");
        home.ok(&[
            "bot",
            "create",
            &bot,
            "--platform",
            "telegram",
            "--token",
            &token(number),
        ]);
    }
    home.ok(&["admin", "add", "7"]);
    home.ok(&["start"]);
    telegram.say(&token(1), -1, 8, "?ping");
    telegram.wait_sent(&home, &token(1), 1);
    home.wait_event("group1", "user_seen");
    for number in 1..=BOTS {
        telegram.say(&token(number), -number, 8, "?listperms");
    }
    telegram.say(&token(1), -1, 7, "?admin @User8");
    telegram.wait_sent(&home, &token(1), 2);
    assert_eq!(telegram.texts(&token(1), -1)[1], "8 (@user8) is an admin now");
    for number in 2..=BOTS {
        // Refused in a group means silence; what came before the change was heard before it.
        telegram.say(&token(number), -number, 8, "?listperms");
        let sent = telegram.wait_sent(&home, &token(number), 1);
        assert!(sent[0].text().starts_with("2 admins"), "{}", sent[0].text());
    }
    let list = home.ok(&["admin", "list", "--json"]).records();
    assert_eq!((&list[1]["user"], &list[1]["name"]), (&json!("8"), &json!("user8")));
}

#[test]
fn who_is_blocked_by_an_operator_gets_nothing_from_a_running_bot() {
    let telegram = Telegram::start();
    let home = telegram.home();
    home.ok(&["bot", "create", "shop", "--platform", "telegram", "--token", TOKEN]);
    home.ok(&["start"]);
    home.wait_event("shop", "connected");
    home.ok(&["blocklist", "add", "shop", "5"]);
    // A program that moves its files into the inbox itself asks nobody.
    let envelope =
        json!({"id": "aside-1", "kind": "command", "name": "send_message", "payload": {"chat": "5", "text": "hello"}});
    let made = home.write("aside.json", &envelope.to_string());
    std::fs::rename(made, home.path("ipc/shop/inbox/new/aside.json")).unwrap();
    home.wait_log("shop", "5 is blocked for shop");
    telegram.say(TOKEN, 5, 5, "?ping");
    telegram.say(TOKEN, 6, 6, "?ping");
    telegram.wait_sent(&home, TOKEN, 1);
    wait_until("all is confirmed", &home, || telegram.pending(TOKEN) == 0);
    assert_eq!(telegram.texts(TOKEN, 5), [""; 0]);
    home.ok(&["blocklist", "remove", "shop", "5"]);
    telegram.say(TOKEN, 5, 5, "?ping");
    telegram.wait_sent(&home, TOKEN, 2);
}
