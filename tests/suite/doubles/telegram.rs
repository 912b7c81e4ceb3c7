//! A double of the Bot API, after https://core.telegram.org/bots/api: offsets, long polls of which the newer one ends
//! the older, refusals, floods, lost answers, outages, files.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{Reply, Request, serve};
use crate::harness::{Home, wait_until};

#[derive(Clone)]
pub(crate) struct Telegram {
    world: Arc<World>,
    address: SocketAddr,
}

#[derive(Default)]
struct World {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bots: BTreeMap<String, Bot>,
    /// Chats that refuse, each with the code and the text.
    refusing: BTreeMap<i64, (u16, &'static str)>,
    moved: BTreeMap<i64, i64>,
    /// So many sends are answered with 429 and this many seconds.
    flood: Option<(usize, u64)>,
    /// So many calls are obeyed without an answer.
    lost: usize,
    is_out: bool,
    files: BTreeMap<String, Vec<u8>>,
}

#[derive(Default)]
struct Bot {
    is_revoked: bool,
    updates: VecDeque<Value>,
    last_update: i64,
    last_message: i64,
    polls: usize,
    sent: Vec<Sent>,
    calls: BTreeMap<String, usize>,
    /// Chats that were told to wait, and until when; who comes earlier is counted.
    waiting: BTreeMap<i64, Instant>,
    hurried: usize,
}

/// What a bot has sent, as it was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) method: String,
    pub(crate) chat: i64,
    pub(crate) fields: BTreeMap<String, String>,
    /// The name and the bytes of an uploaded file.
    pub(crate) file: Option<(String, Vec<u8>)>,
}

impl Sent {
    pub(crate) fn text(&self) -> &str {
        self.fields
            .get("text")
            .or(self.fields.get("caption"))
            .map_or("", String::as_str)
    }
}

const UNITS_MAX: usize = 4096;

impl Telegram {
    pub(crate) fn start() -> Telegram {
        let world = Arc::new(World::default());
        let served = Arc::clone(&world);
        let address = serve(move |request| served.answer(request));
        Telegram { world, address }
    }

    /// What `telegram.api_root` is to be.
    pub(crate) fn root(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A home whose bots know no other Telegram.
    pub(crate) fn home(&self) -> Home {
        let home = Home::new();
        let root = self.root();
        let settings = home.path("multibot.yaml");
        let text = std::fs::read_to_string(&settings)
            .unwrap()
            .replace("http://127.0.0.1:1", &root);
        std::fs::write(&settings, text).unwrap();
        home
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.world.state.lock().unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.world.changed.notify_all();
        changed
    }

    /// Somebody writes: in a chat of two when chat and user are the same, else in a group.
    pub(crate) fn say(&self, token: &str, chat: i64, user: i64, text: &str) {
        let kind = if chat < 0 { "supergroup" } else { "private" };
        let message = json!({"text": text, "from": {"id": user, "is_bot": false, "username": format!("user{user}")},
            "chat": {"id": chat, "type": kind}, "date": 0});
        self.update(token, "message", message);
    }

    pub(crate) fn send_document(&self, token: &str, chat: i64, name: &str, bytes: &[u8]) {
        let id = format!("file-{name}");
        self.change(|state| state.files.insert(id.clone(), bytes.to_vec()));
        let document = json!({"file_id": id, "file_name": name, "file_size": bytes.len()});
        let message = json!({"caption": "a file", "from": {"id": chat}, "document": document,
            "chat": {"id": chat, "type": "private"}, "date": 0});
        self.update(token, "message", message);
    }

    pub(crate) fn kick(&self, token: &str, chat: i64) {
        let change = json!({"chat": {"id": chat, "type": "group"}, "new_chat_member": {"status": "kicked"}});
        self.update(token, "my_chat_member", change);
    }

    fn update(&self, token: &str, kind: &str, mut body: Value) {
        self.change(|state| {
            let bot = state.bots.entry(token.to_owned()).or_default();
            bot.last_update += 1;
            bot.last_message += 1;
            body["message_id"] = bot.last_message.into();
            bot.updates.push_back(json!({"update_id": bot.last_update, kind: body}));
        });
    }

    pub(crate) fn revoke(&self, token: &str, is_revoked: bool) {
        self.change(|state| state.bots.entry(token.to_owned()).or_default().is_revoked = is_revoked);
    }

    pub(crate) fn refuse(&self, chat: i64, code: u16, text: &'static str) {
        self.change(|state| state.refusing.insert(chat, (code, text)));
    }

    pub(crate) fn migrate(&self, from: i64, to: i64) {
        self.change(|state| state.moved.insert(from, to));
    }

    pub(crate) fn flood(&self, sends: usize, retry_after: u64) {
        self.change(|state| state.flood = Some((sends, retry_after)));
    }

    pub(crate) fn lose_answers(&self, count: usize) {
        self.change(|state| state.lost = count);
    }

    pub(crate) fn outage(&self, is_out: bool) {
        self.change(|state| state.is_out = is_out);
    }

    pub(crate) fn sent(&self, token: &str) -> Vec<Sent> {
        self.state()
            .bots
            .get(token)
            .map(|bot| bot.sent.clone())
            .unwrap_or_default()
    }

    pub(crate) fn texts(&self, token: &str, chat: i64) -> Vec<String> {
        let sent = self.sent(token);
        sent.iter()
            .filter(|sent| sent.chat == chat)
            .map(|sent| sent.text().to_owned())
            .collect()
    }

    pub(crate) fn wait_sent(&self, home: &Home, token: &str, count: usize) -> Vec<Sent> {
        wait_until(&format!("{count} messages to be sent"), home, || {
            self.sent(token).len() >= count
        });
        self.sent(token)
    }

    pub(crate) fn calls(&self, token: &str, method: &str) -> usize {
        let state = self.state();
        state
            .bots
            .get(token)
            .and_then(|bot| bot.calls.get(method).copied())
            .unwrap_or(0)
    }

    /// Updates that nobody has confirmed.
    pub(crate) fn pending(&self, token: &str) -> usize {
        self.state().bots.get(token).map_or(0, |bot| bot.updates.len())
    }

    /// Sends that came before a told wait was over.
    pub(crate) fn hurried(&self, token: &str) -> usize {
        self.state().bots.get(token).map_or(0, |bot| bot.hurried)
    }
}

impl World {
    fn answer(&self, request: &Request) -> Reply {
        if self.state.lock().unwrap().is_out {
            return Reply::Nothing;
        }
        if request.method != "GET" && request.method != "POST" {
            return refusal(405, "Method Not Allowed");
        }
        let path = request.path.trim_start_matches('/');
        if let Some((_, file)) = path.strip_prefix("file/bot").and_then(|rest| rest.split_once('/')) {
            let state = self.state.lock().unwrap();
            let found = state.files.get(file).cloned();
            return found.map_or_else(|| refusal(404, "Not Found"), Reply::Bytes);
        }
        let Some((token, method)) = path.strip_prefix("bot").and_then(|rest| rest.split_once('/')) else {
            return refusal(404, "Not Found");
        };
        let (fields, file) = parameters(request);
        let reply = if method == "getUpdates" {
            self.updates(token, &fields)
        } else {
            self.call(token, method, fields, file)
        };
        let mut state = self.state.lock().unwrap();
        if method.starts_with("send") && state.lost > 0 {
            state.lost -= 1;
            return Reply::Nothing;
        }
        reply
    }

    fn updates(&self, token: &str, fields: &BTreeMap<String, String>) -> Reply {
        let number = |name: &str| fields.get(name).and_then(|text| text.parse::<i64>().ok());
        let until = Instant::now() + Duration::from_secs(u64::try_from(number("timeout").unwrap_or(0)).unwrap_or(0));
        let mut state = self.state.lock().unwrap();
        let bot = state.bots.entry(token.to_owned()).or_default();
        *bot.calls.entry("getUpdates".to_owned()).or_default() += 1;
        bot.polls += 1;
        let own = bot.polls;
        self.changed.notify_all();
        loop {
            if state.is_out {
                return Reply::Nothing;
            }
            let bot = state.bots.entry(token.to_owned()).or_default();
            if bot.is_revoked {
                return refusal(401, "Unauthorized");
            }
            if bot.polls != own {
                let text =
                    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
                return refusal(409, text);
            }
            if let Some(offset) = number("offset").filter(|offset| *offset > 0) {
                bot.updates
                    .retain(|update| update["update_id"].as_i64() >= Some(offset));
            }
            if !bot.updates.is_empty() || Instant::now() >= until {
                let limit = number("limit")
                    .and_then(|limit| usize::try_from(limit).ok())
                    .unwrap_or(100);
                let found: Vec<&Value> = bot.updates.iter().take(limit).collect();
                return accepted(json!(found));
            }
            let left = until.saturating_duration_since(Instant::now());
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    fn call(
        &self,
        token: &str,
        method: &str,
        fields: BTreeMap<String, String>,
        file: Option<(String, Vec<u8>)>,
    ) -> Reply {
        let mut state = self.state.lock().unwrap();
        let state = &mut *state;
        let bot = state.bots.entry(token.to_owned()).or_default();
        *bot.calls.entry(method.to_owned()).or_default() += 1;
        if bot.is_revoked {
            return refusal(401, "Unauthorized");
        }
        match method {
            "getMe" => {
                let id: i64 = token.split(':').next().unwrap_or_default().parse().unwrap_or(1);
                return accepted(json!({"id": id, "is_bot": true, "username": format!("bot{id}_bot")}));
            }
            "getWebhookInfo" => {
                return accepted(json!({"url": "", "pending_update_count": bot.updates.len()}));
            }
            "getFile" => {
                let id = fields.get("file_id").cloned().unwrap_or_default();
                return accepted(json!({"file_id": id, "file_path": id}));
            }
            _ => {}
        }
        let chat = fields
            .get("chat_id")
            .and_then(|chat| chat.parse::<i64>().ok())
            .unwrap_or(0);
        if bot.waiting.get(&chat).is_some_and(|until| Instant::now() < *until) {
            bot.hurried += 1;
        }
        if let Some((sends @ 1.., seconds)) = state.flood {
            state.flood = Some((sends - 1, seconds));
            bot.waiting.insert(chat, Instant::now() + Duration::from_secs(seconds));
            let body = json!({"ok": false, "error_code": 429, "description": "Too Many Requests: retry after",
                "parameters": {"retry_after": seconds}});
            return Reply::Json(429, body.to_string());
        }
        if let Some((code, text)) = state.refusing.get(&chat) {
            return refusal(*code, text);
        }
        if let Some(to) = state.moved.get(&chat) {
            let body = json!({"ok": false, "error_code": 400, "description": "Bad Request: group chat was upgraded",
                "parameters": {"migrate_to_chat_id": to}});
            return Reply::Json(400, body.to_string());
        }
        let sent = Sent {
            method: method.to_owned(),
            chat,
            fields,
            file,
        };
        if sent
            .fields
            .get("text")
            .is_some_and(|text| text.encode_utf16().count() > UNITS_MAX)
        {
            return refusal(400, "Bad Request: message is too long");
        }
        bot.last_message += 1;
        bot.sent.push(sent);
        accepted(json!({"message_id": bot.last_message, "chat": {"id": chat}}))
    }
}

fn accepted(result: Value) -> Reply {
    Reply::Json(200, json!({"ok": true, "result": result}).to_string())
}

fn refusal(code: u16, text: &str) -> Reply {
    Reply::Json(
        code,
        json!({"ok": false, "error_code": code, "description": text}).to_string(),
    )
}

type Upload = Option<(String, Vec<u8>)>;

/// The parameters as texts, and an uploaded file.
fn parameters(request: &Request) -> (BTreeMap<String, String>, Upload) {
    let kind = request.headers.get("content-type").map_or("", String::as_str);
    if let Some((_, boundary)) = kind.split_once("boundary=") {
        return form(&request.body, boundary);
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fields = body.as_object().into_iter().flatten();
    (fields.map(|(name, value)| (name.clone(), shown(value))).collect(), None)
}

fn form(body: &[u8], boundary: &str) -> (BTreeMap<String, String>, Upload) {
    let (mut fields, mut file) = (BTreeMap::new(), None);
    let mark = format!("--{boundary}").into_bytes();
    let starts: Vec<usize> = (0..body.len()).filter(|at| body[*at..].starts_with(&mark)).collect();
    for pair in starts.windows(2) {
        let part = &body[pair[0] + mark.len() + 2..pair[1] - 2];
        let end = (0..part.len()).find(|at| part[*at..].starts_with(b"\r\n\r\n")).unwrap();
        let head = String::from_utf8_lossy(&part[..end]).into_owned();
        let content = part[end + 4..].to_vec();
        let attribute = |name: &str| {
            let (_, rest) = head.split_once(&format!(" {name}=\""))?;
            Some(rest.split('"').next().unwrap_or_default().to_owned())
        };
        match attribute("filename") {
            Some(name) => file = Some((name, content)),
            None => {
                let name = attribute("name").unwrap_or_default();
                fields.insert(name, String::from_utf8_lossy(&content).into_owned());
            }
        }
    }
    (fields, file)
}
