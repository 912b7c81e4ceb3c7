//! The double keeps the rules that bots rely on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use serde_json::{Value, json};

use super::Telegram;
use crate::doubles::http::exchange;
use crate::harness::{Home, wait_until};

const TOKEN: &str = "7:AAdouble";

/// The code and the answer to a call.
fn call(telegram: &Telegram, method: &str, parameters: &Value) -> (u16, Value) {
    post(telegram, method, "application/json", &parameters.to_string())
}

fn post(telegram: &Telegram, method: &str, kind: &str, body: &str) -> (u16, Value) {
    let head = format!("POST /bot{TOKEN}/{method} HTTP/1.1\r\ncontent-type: {kind}\r\n");
    let request = format!(
        "{head}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let (status, body) = exchange(&telegram.address.to_string(), &request);
    (status, serde_json::from_str(&body).unwrap_or_default())
}

/// The numbers of the updates that come.
fn poll(telegram: &Telegram, parameters: &Value) -> Vec<i64> {
    let (_, answer) = call(telegram, "getUpdates", parameters);
    let updates = answer["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
    updates.iter().map(|it| it["update_id"].as_i64().unwrap()).collect()
}

#[test]
fn an_offset_confirms_all_below_it_and_a_negative_one_counts_from_the_end() {
    let telegram = Telegram::start();
    for text in ["a", "b", "c", "d", "e"] {
        telegram.say(TOKEN, 5, 5, text);
    }
    assert_eq!(poll(&telegram, &json!({"limit": 2})), [1, 2]);
    assert_eq!(poll(&telegram, &json!({"offset": 3})), [3, 4, 5]);
    assert_eq!(telegram.pending(TOKEN), 3);
    assert_eq!(poll(&telegram, &json!({"offset": -1})), [5]);
    assert_eq!(poll(&telegram, &json!({"offset": 6})), [0; 0]);
    assert_eq!(poll(&telegram, &json!({"allowed_updates": ["message"]})), [0; 0]);
    telegram.join(TOKEN, -9);
    telegram.say(TOKEN, 5, 5, "f");
    assert_eq!(poll(&telegram, &json!({})), [6]);
}

#[test]
fn a_poll_waits_for_what_comes_and_gives_way_to_a_newer_one_and_to_a_webhook() {
    let telegram = Telegram::start();
    let home = Home::new();
    let poll_on = || {
        let (own, before) = (telegram.clone(), telegram.calls(TOKEN, "getUpdates"));
        let hanging = thread::spawn(move || call(&own, "getUpdates", &json!({"timeout": 600})));
        wait_until("it polls", &home, || telegram.calls(TOKEN, "getUpdates") > before);
        hanging
    };
    let (older, newer) = (poll_on(), poll_on());
    let (code, answer) = older.join().unwrap();
    assert!(
        code == 409 && answer["description"].as_str().unwrap().contains("other getUpdates"),
        "{answer}"
    );
    telegram.say(TOKEN, 5, 5, "now");
    assert_eq!(newer.join().unwrap().1["result"][0]["message"]["text"], "now");
    telegram.webhook(TOKEN, "https://example.org");
    assert_eq!(call(&telegram, "getUpdates", &json!({})).0, 409);
    let info = call(&telegram, "getWebhookInfo", &json!({})).1;
    assert_eq!(
        info["result"],
        json!({"url": "https://example.org", "pending_update_count": 1})
    );
    assert_eq!(call(&telegram, "deleteWebhook", &json!({})).0, 200);
    telegram.flood_polls(1, 7);
    assert_eq!(
        call(&telegram, "getUpdates", &json!({})).1["parameters"]["retry_after"],
        7
    );
    assert_eq!(poll(&telegram, &json!({})), [1]);
}

#[test]
fn parameters_come_in_any_form_and_what_no_bot_may_send_is_counted() {
    let telegram = Telegram::start();
    let encoded = "application/x-www-form-urlencoded";
    assert_eq!(
        call(&telegram, "sendMessage", &json!({"chat_id": 5, "text": "a b"})).0,
        200
    );
    assert_eq!(post(&telegram, "sendMessage", encoded, "chat_id=5&text=a+%62").0, 200);
    assert_eq!(post(&telegram, "sendMessage?chat_id=5&text=a%20b", encoded, "").0, 200);
    let form = "--x\r\ncontent-disposition: form-data; name=\"chat_id\"\r\n\r\n5\r\n--x\r\n\
        content-disposition: form-data; name=\"photo\"; filename=\"a.jpg\"\r\n\r\njpeg\r\n--x--\r\n";
    assert_eq!(
        post(&telegram, "sendPhoto", "multipart/form-data; boundary=x", form).0,
        200
    );
    let sent = telegram.sent(TOKEN);
    assert!(
        sent[..3].iter().all(|it| it.text() == "a b" && it.chat == 5),
        "{sent:?}"
    );
    assert_eq!(sent[3].file, Some(("a.jpg".to_owned(), b"jpeg".to_vec())));
    assert_eq!(sent.iter().map(|it| it.message).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(telegram.violations(TOKEN), 0);
    for (method, parameters, code) in [
        ("sendMessage", json!({"chat_id": "5", "text": "😀".repeat(2049)}), 400),
        ("sendMessage", json!({"chat_id": "5", "text": ""}), 400),
        ("sendMessage", json!({"text": "to nobody"}), 400),
        ("sendPhoto", json!({"chat_id": 5, "caption": "x".repeat(1025)}), 400),
        ("sendNothing", json!({}), 404),
    ] {
        assert_eq!(call(&telegram, method, &parameters).0, code, "{method}");
    }
    assert_eq!((telegram.violations(TOKEN), telegram.sent(TOKEN).len()), (5, 4));
}

#[test]
fn files_of_users_are_served_and_a_connection_takes_chunks_and_stays() {
    let telegram = Telegram::start();
    telegram.send_photo(TOKEN, 5, b"jpeg");
    let update = call(&telegram, "getUpdates", &json!({})).1;
    let id = &update["result"][0]["message"]["photo"][0]["file_id"];
    let file = call(&telegram, "getFile", &json!({"file_id": id})).1;
    let path = file["result"]["file_path"].as_str().unwrap();
    let request = format!("GET /file/bot{TOKEN}/{path} HTTP/1.1\r\nconnection: close\r\n\r\n");
    assert_eq!(
        exchange(&telegram.address.to_string(), &request),
        (200, "jpeg".to_owned())
    );
    assert_eq!(call(&telegram, "getFile", &json!({"file_id": "none"})).0, 400);

    let mut stream = TcpStream::connect(telegram.address).unwrap();
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let head = format!("POST /bot{TOKEN}/sendMessage HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
    let parts = [chunk(r#"{"chat_id": 5, "#), chunk(r#""text": "chunk"}"#), chunk("")];
    let last = format!("GET /bot{TOKEN}/getMe HTTP/1.1\r\nconnection: close\r\n\r\n");
    stream.write_all((head + &parts.concat() + &last).as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert!(
        answers.contains("message_id") && answers.contains("bot7_bot"),
        "{answers}"
    );
    assert_eq!(telegram.texts(TOKEN, 5), ["chunk"]);
}
