//! The thread that asks platforms about bots that run: who they are there, whether their token still holds, and how many
//! updates wait. It never takes an update, so it disturbs no bot.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::platform_schedule::Schedule;
use crate::clock;
use crate::model::asking::{AskingPolicy, Word};
use crate::model::bot::{BotId, RunId, Secret};
use crate::platform::telegram::{Client, Fault};

const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// A run about which its platform is asked.
pub struct Target {
    pub run: RunId,
    pub api_root: String,
    pub token: Secret,
}

/// What a platform said of a run.
#[derive(Debug)]
pub struct Finding {
    pub bot: BotId,
    pub run: RunId,
    pub word: Word,
}

/// What is to be asked from now on.
pub enum Order {
    Policy(AskingPolicy),
    Target(BotId, Option<Target>),
}

/// Starts the thread, which ends with its sender.
pub fn start(tell: impl Fn(Finding) + Send + 'static) -> io::Result<Sender<Order>> {
    let (sender, queue) = channel();
    std::thread::Builder::new()
        .name("platforms".to_owned())
        .spawn(move || ask_all(&queue, &tell))?;
    Ok(sender)
}

/// One bot, and what is known of it.
struct Account {
    run: RunId,
    root: String,
    client: Client,
    token: Secret,
    naming: Naming,
    standing: Standing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    Unknown,
    Known,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Good,
    /// Its token was refused once.
    Doubtful,
}

fn ask_all(queue: &Receiver<Order>, tell: &impl Fn(Finding)) {
    let mut schedule = Schedule::default();
    let mut accounts: BTreeMap<BotId, Account> = BTreeMap::new();
    loop {
        let order = match schedule.next_at() {
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => queue.recv_timeout(at.since(clock::now())),
        };
        match order {
            Ok(Order::Policy(policy)) => schedule.keep(policy),
            Ok(Order::Target(bot, target)) => take(&mut accounts, &mut schedule, bot, target),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let Some(bot) = schedule.take(clock::now()) else {
                    continue;
                };
                let Some(account) = accounts.get_mut(&bot) else {
                    schedule.remove(&bot);
                    continue;
                };
                if let Some(word) = account.ask(&bot, &mut schedule) {
                    let run = account.run.clone();
                    tell(Finding { bot, run, word });
                }
            }
        }
    }
}

/// A run that is asked about already, with the same token, keeps its turn.
fn take(accounts: &mut BTreeMap<BotId, Account>, schedule: &mut Schedule, bot: BotId, target: Option<Target>) {
    let Some(target) = target else {
        accounts.remove(&bot);
        schedule.remove(&bot);
        return;
    };
    let is_same = |it: &&mut Account| it.token == target.token && it.root == target.api_root;
    if let Some(account) = accounts.get_mut(&bot).filter(is_same) {
        account.run = target.run;
        return;
    }
    schedule.add(&bot, &target.api_root, clock::now());
    let account = Account {
        run: target.run,
        client: Client::new(&target.api_root, &target.token),
        root: target.api_root,
        token: target.token,
        naming: Naming::Unknown,
        standing: Standing::Good,
    };
    accounts.insert(bot, account);
}

impl Account {
    /// One question. What it means for the schedule is noted there.
    fn ask(&mut self, bot: &BotId, schedule: &mut Schedule) -> Option<Word> {
        let method = match self.naming {
            Naming::Unknown => "getMe",
            Naming::Known => "getWebhookInfo",
        };
        let answer = self.client.call(method, &json!({}), ANSWER_TIME_MAX);
        let now = clock::now();
        match answer {
            Ok(result) => {
                schedule.heard(&self.root);
                self.standing = Standing::Good;
                if self.naming == Naming::Unknown {
                    self.naming = Naming::Known;
                    schedule.ask_at_once(bot, now);
                    return name_of(&result).map(Word::Name);
                }
                result["pending_update_count"].as_u64().map(Word::Pending)
            }
            Err(Fault::Unauthorized(text)) => {
                schedule.heard(&self.root);
                if self.standing == Standing::Good {
                    self.standing = Standing::Doubtful;
                    schedule.ask_again_soon(bot, now);
                    return None;
                }
                Some(Word::Unauthorized(format!("{method}: {text}")))
            }
            Err(Fault::Wait { after, .. }) => {
                schedule.wait(&self.root, after, now);
                None
            }
            Err(Fault::Unreachable(text)) => {
                schedule.silent(&self.root, now);
                Some(Word::Unreachable(text))
            }
            // It has answered, and said nothing of the bot.
            Err(Fault::Conflict(_) | Fault::Refused { .. }) => None,
        }
    }
}

fn name_of(me: &Value) -> Option<String> {
    let name = me["username"].as_str().map(|name| format!("@{name}"));
    name.or_else(|| me["first_name"].as_str().map(str::to_owned))
}
