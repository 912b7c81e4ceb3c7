//! A double of the Bot API, after https://core.telegram.org/bots/api: offsets, long polls of which the newer one ends
//! the older, webhooks, refusals, floods, lost answers, outages, files.

mod parameters;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{Reply, Request, serve};
use crate::harness::{Home, wait_until};
use parameters::{Fields, Upload, parameters};

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
    /// The same for getUpdates.
    flooded_polls: Option<(usize, u64)>,
    /// So many calls are obeyed without an answer.
    lost: usize,
    is_out: bool,
    files: BTreeMap<String, Vec<u8>>,
}

#[derive(Default)]
struct Bot {
    is_revoked: bool,
    updates: VecDeque<Value>,
    /// The kinds of updates that it asked for last; none: all.
    allowed: Vec<String>,
    webhook: String,
    last_update: i64,
    last_message: i64,
    polls: usize,
    sent: Vec<Sent>,
    calls: BTreeMap<String, usize>,
    /// Chats that were told to wait, and until when; who comes earlier is counted.
    waiting: BTreeMap<i64, Instant>,
    hurried: usize,
    /// Requests that no bot may send: too long, without a chat, of a method that is none.
    violations: usize,
}

/// What a bot has sent, as it was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) method: String,
    pub(crate) chat: i64,
    /// The number that it was given.
    pub(crate) message: i64,
    pub(crate) fields: Fields,
    pub(crate) file: Upload,
}

impl Sent {
    pub(crate) fn text(&self) -> &str {
        self.fields
            .get("text")
            .or(self.fields.get("caption"))
            .map_or("", String::as_str)
    }
}

const TEXT_UNITS_MAX: usize = 4096;
const CAPTION_UNITS_MAX: usize = 1024;
const UPDATES_MAX: usize = 100;

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

    pub(crate) fn send_photo(&self, token: &str, chat: i64, bytes: &[u8]) {
        let id = format!("photo-{}", bytes.len());
        self.change(|state| state.files.insert(id.clone(), bytes.to_vec()));
        let photo = json!([{"file_id": id, "file_size": bytes.len()}]);
        let message = json!({"from": {"id": chat}, "photo": photo, "chat": {"id": chat, "type": "private"}, "date": 0});
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
        self.member(token, chat, "kicked");
    }

    pub(crate) fn join(&self, token: &str, chat: i64) {
        self.member(token, chat, "member");
    }

    fn member(&self, token: &str, chat: i64, status: &str) {
        let change = json!({"chat": {"id": chat, "type": "group"}, "new_chat_member": {"status": status}});
        self.update(token, "my_chat_member", change);
    }

    /// Tells this address from now on, so that nobody may poll.
    pub(crate) fn webhook(&self, token: &str, url: &str) {
        self.change(|state| state.bots.entry(token.to_owned()).or_default().webhook = url.to_owned());
    }

    fn update(&self, token: &str, kind: &str, mut body: Value) {
        self.change(|state| {
            let bot = state.bots.entry(token.to_owned()).or_default();
            if !bot.allowed.is_empty() && !bot.allowed.iter().any(|allowed| allowed == kind) {
                return;
            }
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

    pub(crate) fn flood_polls(&self, polls: usize, retry_after: u64) {
        self.change(|state| state.flooded_polls = Some((polls, retry_after)));
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

    pub(crate) fn violations(&self, token: &str) -> usize {
        self.state().bots.get(token).map_or(0, |bot| bot.violations)
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
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let path = path.trim_start_matches('/');
        if let Some((_, file)) = path.strip_prefix("file/bot").and_then(|rest| rest.split_once('/')) {
            let state = self.state.lock().unwrap();
            let found = state.files.get(file).cloned();
            return found.map_or_else(|| refusal(404, "Not Found"), Reply::Bytes);
        }
        let Some((token, method)) = path.strip_prefix("bot").and_then(|rest| rest.split_once('/')) else {
            return refusal(404, "Not Found");
        };
        let (fields, file) = parameters(request, query);
        if method == "getUpdates" {
            return self.updates(token, &fields);
        }
        let mut state = self.state.lock().unwrap();
        let reply = state.call(token, method, fields, file);
        if method.starts_with("send") && state.lost > 0 {
            state.lost -= 1;
            return Reply::Nothing;
        }
        reply
    }

    fn updates(&self, token: &str, fields: &Fields) -> Reply {
        let number = |name: &str| fields.get(name).and_then(|text| text.parse::<i64>().ok());
        let until = Instant::now() + Duration::from_secs(u64::try_from(number("timeout").unwrap_or(0)).unwrap_or(0));
        let limit = number("limit").and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.unwrap_or(UPDATES_MAX).clamp(1, UPDATES_MAX);
        let mut state = self.state.lock().unwrap();
        let own = match state.begin_poll(token, number("offset").unwrap_or(0), fields) {
            Ok(own) => own,
            Err(refused) => return refused,
        };
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
            if !bot.updates.is_empty() || Instant::now() >= until {
                let found: Vec<&Value> = bot.updates.iter().take(limit).collect();
                return accepted(json!(found));
            }
            let left = until.saturating_duration_since(Instant::now());
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl State {
    /// Takes the place of an older poll and confirms what is below the offset; the number of this poll.
    fn begin_poll(&mut self, token: &str, offset: i64, fields: &Fields) -> Result<usize, Reply> {
        let bot = self.bots.entry(token.to_owned()).or_default();
        *bot.calls.entry("getUpdates".to_owned()).or_default() += 1;
        if !bot.webhook.is_empty() {
            let text = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";
            return Err(refusal(409, text));
        }
        if let Some((polls @ 1.., seconds)) = self.flooded_polls {
            self.flooded_polls = Some((polls - 1, seconds));
            return Err(flooded(seconds));
        }
        bot.polls += 1;
        if let Some(allowed) = fields.get("allowed_updates") {
            bot.allowed = serde_json::from_str(allowed).unwrap_or_default();
        }
        // From the end where it is negative: all before is forgotten.
        let kept = match usize::try_from(offset) {
            Ok(_) => bot
                .updates
                .iter()
                .filter(|it| it["update_id"].as_i64() >= Some(offset))
                .count(),
            Err(_) => usize::try_from(-offset).unwrap(),
        };
        let confirmed = bot.updates.len().saturating_sub(kept);
        bot.updates.drain(..confirmed);
        Ok(bot.polls)
    }

    fn call(&mut self, token: &str, method: &str, fields: Fields, file: Upload) -> Reply {
        let bot = self.bots.entry(token.to_owned()).or_default();
        *bot.calls.entry(method.to_owned()).or_default() += 1;
        if bot.is_revoked {
            return refusal(401, "Unauthorized");
        }
        match method {
            "getMe" => {
                let id: i64 = token.split(':').next().unwrap_or_default().parse().unwrap_or(1);
                accepted(json!({"id": id, "is_bot": true, "username": format!("bot{id}_bot")}))
            }
            "getWebhookInfo" => accepted(json!({"url": bot.webhook, "pending_update_count": bot.updates.len()})),
            "deleteWebhook" => {
                bot.webhook.clear();
                accepted(json!(true))
            }
            "getFile" => {
                let id = fields.get("file_id").cloned().unwrap_or_default();
                match self.files.get(&id) {
                    Some(bytes) => accepted(json!({"file_id": id, "file_path": id, "file_size": bytes.len()})),
                    None => refusal(400, "Bad Request: invalid file_id"),
                }
            }
            "leaveChat" => accepted(json!(true)),
            "sendMessage" | "sendPhoto" | "sendDocument" | "sendChatAction" | "editMessageText" => {
                self.send(token, method, fields, file)
            }
            _ => {
                bot.violations += 1;
                refusal(404, "Not Found")
            }
        }
    }

    fn send(&mut self, token: &str, method: &str, fields: Fields, file: Upload) -> Reply {
        let bot = self.bots.entry(token.to_owned()).or_default();
        if let Some(text) = violation(method, &fields) {
            bot.violations += 1;
            return refusal(400, text);
        }
        let chat = fields["chat_id"].parse::<i64>().unwrap_or(0);
        if bot.waiting.get(&chat).is_some_and(|until| Instant::now() < *until) {
            bot.hurried += 1;
        }
        if let Some((sends @ 1.., seconds)) = self.flood {
            self.flood = Some((sends - 1, seconds));
            bot.waiting.insert(chat, Instant::now() + Duration::from_secs(seconds));
            return flooded(seconds);
        }
        if let Some((code, text)) = self.refusing.get(&chat) {
            return refusal(*code, text);
        }
        if let Some(to) = self.moved.get(&chat) {
            let text = "Bad Request: group chat was upgraded to a supergroup chat";
            return refusal_with(400, text, json!({"migrate_to_chat_id": to}));
        }
        let (message, result) = match method {
            "sendChatAction" => (0, json!(true)),
            "editMessageText" => {
                let message = fields.get("message_id").and_then(|id| id.parse().ok()).unwrap_or(0);
                (message, json!({"message_id": message, "chat": {"id": chat}}))
            }
            _ => {
                bot.last_message += 1;
                (
                    bot.last_message,
                    json!({"message_id": bot.last_message, "chat": {"id": chat}}),
                )
            }
        };
        bot.sent.push(Sent {
            method: method.to_owned(),
            chat,
            message,
            fields,
            file,
        });
        accepted(result)
    }
}

/// What no bot may ask for, in the words of the API.
fn violation(method: &str, fields: &Fields) -> Option<&'static str> {
    let units = |name: &str| fields.get(name).map_or(0, |text| text.encode_utf16().count());
    if units("chat_id") == 0 {
        Some("Bad Request: chat_id is empty")
    } else if method.ends_with("Message") && units("text") == 0 {
        Some("Bad Request: message text is empty")
    } else if units("text") > TEXT_UNITS_MAX {
        Some("Bad Request: message is too long")
    } else if units("caption") > CAPTION_UNITS_MAX {
        Some("Bad Request: message caption is too long")
    } else {
        None
    }
}

fn accepted(result: Value) -> Reply {
    Reply::Json(200, json!({"ok": true, "result": result}).to_string())
}

fn refusal(code: u16, text: &str) -> Reply {
    let body = json!({"ok": false, "error_code": code, "description": text});
    Reply::Json(code, body.to_string())
}

fn refusal_with(code: u16, text: &str, parameters: Value) -> Reply {
    let body = json!({"ok": false, "error_code": code, "description": text, "parameters": parameters});
    Reply::Json(code, body.to_string())
}

fn flooded(seconds: u64) -> Reply {
    let text = format!("Too Many Requests: retry after {seconds}");
    refusal_with(429, &text, json!({"retry_after": seconds}))
}
