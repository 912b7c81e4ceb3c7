//! A double of WhatsApp's Cloud API: messages, uploads, files of users, refusals by receiver, and signed webhooks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

pub(crate) use super::http::exchange;
use super::http::{Reply, Request, serve};
use crate::harness::{Home, wait_until};

pub(crate) const PHONE: &str = "10001";

#[derive(Clone)]
pub(crate) struct Graph {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

#[derive(Default)]
struct State {
    token: String,
    sent: Vec<Value>,
    uploads: Vec<Vec<u8>>,
    files: BTreeMap<String, Vec<u8>>,
    refusing: BTreeMap<String, u64>,
    /// So many messages are refused with this code, each with this Retry-After.
    flood: (usize, u64),
    lost: usize,
    is_out: bool,
    calls: usize,
}

impl Graph {
    /// An API that knows this token.
    pub(crate) fn start(token: &str) -> Graph {
        let state = Arc::new(Mutex::new(State {
            token: token.to_owned(),
            ..State::default()
        }));
        let served = Arc::clone(&state);
        let address = serve(move |request| answer(&mut served.lock().unwrap(), request));
        Graph { state, address }
    }

    /// What `whatsapp.api_root` is to be.
    pub(crate) fn root(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn expire(&self, token: &str) {
        self.state().token = token.to_owned();
    }

    pub(crate) fn refuse(&self, to: &str, code: u64) {
        self.state().refusing.insert(to.to_owned(), code);
    }

    pub(crate) fn flood(&self, count: usize, code: u64) {
        self.state().flood = (count, code);
    }

    pub(crate) fn outage(&self, is_out: bool) {
        self.state().is_out = is_out;
    }

    pub(crate) fn lose_answers(&self, count: usize) {
        self.state().lost = count;
    }

    /// A file of a user, by its number.
    pub(crate) fn keep(&self, id: &str, bytes: &[u8]) {
        self.state().files.insert(id.to_owned(), bytes.to_vec());
    }

    pub(crate) fn sent(&self) -> Vec<Value> {
        self.state().sent.clone()
    }

    pub(crate) fn texts(&self, to: &str) -> Vec<String> {
        let sent = self.sent();
        let own = sent.iter().filter(|message| message["to"] == to);
        own.map(|message| message["text"]["body"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    pub(crate) fn wait_sent(&self, home: &Home, count: usize) -> Vec<Value> {
        wait_until(&format!("{count} messages to be sent"), home, || {
            self.sent().len() >= count
        });
        self.sent()
    }

    pub(crate) fn uploads(&self) -> Vec<Vec<u8>> {
        self.state().uploads.clone()
    }
}

fn answer(state: &mut State, request: &Request) -> Reply {
    if state.is_out {
        return Reply::Nothing;
    }
    state.calls += 1;
    let bearer = format!("Bearer {}", state.token);
    if request.headers.get("authorization") != Some(&bearer) {
        return refusal(401, 190, "Error validating access token: the session has expired");
    }
    let path = request
        .path
        .split('?')
        .next()
        .unwrap_or_default()
        .trim_start_matches("/v23.0/");
    if request.method == "GET" {
        let host = request.headers.get("host").cloned().unwrap_or_default();
        return match path.strip_prefix("/content/") {
            Some(id) => Reply::Bytes(state.files.get(id).cloned().unwrap_or_default()),
            None if path == PHONE => Reply::Json(200, json!({"display_phone_number": "+1 555"}).to_string()),
            None => match state.files.get(path) {
                Some(bytes) => {
                    let url = format!("http://{host}/content/{path}");
                    Reply::Json(200, json!({"url": url, "file_size": bytes.len()}).to_string())
                }
                None => refusal(400, 100, "Unsupported get request"),
            },
        };
    }
    if path == format!("{PHONE}/media") {
        state.uploads.push(request.body.clone());
        return Reply::Json(200, json!({"id": format!("U{}", state.uploads.len())}).to_string());
    }
    if path != format!("{PHONE}/messages") {
        return refusal(400, 100, "Unsupported post request");
    }
    let message: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let to = message["to"].as_str().unwrap_or_default();
    if let (count @ 1.., code) = state.flood {
        state.flood = (count - 1, code);
        return refusal(400, code, "Rate limit hit");
    }
    if let Some(code) = state.refusing.get(to) {
        return refusal(400, *code, "Message undeliverable");
    }
    state.sent.push(message);
    if state.lost > 0 {
        state.lost -= 1;
        return Reply::Nothing;
    }
    let id = format!("wamid.S{}", state.sent.len());
    Reply::Json(200, json!({"messages": [{"id": id}]}).to_string())
}

fn refusal(status: u16, code: u64, message: &str) -> Reply {
    Reply::Json(status, json!({"error": {"code": code, "message": message}}).to_string())
}

/// The body of a webhook with these messages.
pub(crate) fn told(messages: &[Value]) -> Value {
    let value = json!({"metadata": {"phone_number_id": PHONE}, "messages": messages});
    json!({"object": "whatsapp_business_account", "entry": [{"changes": [{"field": "messages", "value": value}]}]})
}

pub(crate) fn text(id: &str, from: &str, body: &str) -> Value {
    json!({"id": id, "from": from, "timestamp": "0", "type": "text", "text": {"body": body}})
}

/// Tells a bot's listener, signed with this secret; the status that it answers with, 0 for none.
pub(crate) fn deliver(address: &str, secret: &str, body: &Value) -> u16 {
    let body = body.to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let digest: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let head = format!(
        "POST /hook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256={digest}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    exchange(address, &(head + &body)).0
}
