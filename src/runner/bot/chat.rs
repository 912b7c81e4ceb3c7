//! What the bot does with the messages of its chats: decides, answers, runs the programs of own commands, asks its
//! supervisor, forwards.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::link::Link;
use super::{Bot, Mark, TASKS_MAX};
use crate::clock;
use crate::model::chat::{Action, PROGRAMS_MAX, Receiver};
use crate::model::message::{Envelope, Kind};
use crate::model::units::{Moment, show_duration};
use crate::run::brief::BRIEF;
use crate::run::program::{Ended, Program};
use crate::runner::arrival::{Message, What};
use crate::runner::arrivals::Stored;
use crate::runner::chats::{Origin, Task};
use crate::runner::commands::{Decision, Question, Scene, Standing, decide};
use crate::runner::media;
use crate::runner::outbox::SUPERVISOR;
use crate::runner::outgoing::Found;
use crate::runner::platform::{Outgoing, Ticket};
use crate::spool;

/// How long the supervisor may take to answer; a login runs a program of its own.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const LOGIN_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Forwarded messages whose answers still find their chat.
const FORWARDS_MAX: usize = 1024;

/// What a ticket was drawn for.
pub(super) enum Purpose {
    Command(Envelope),
    /// The answer to an arrival, by the id that it is stored under.
    Reply {
        arrival: String,
        chat: String,
    },
    /// The answer of another bot, which lies in the inbox under this id.
    Relay(String),
    /// A file of a message that is decided on when it is there.
    File(Task),
    /// A file that somebody has put into `outgoing`.
    Media(Found),
}

impl Purpose {
    pub(super) fn into_command(self) -> Option<Envelope> {
        match self {
            Purpose::Command(envelope) => Some(envelope),
            Purpose::Reply { .. } | Purpose::Relay(_) | Purpose::File(_) | Purpose::Media(_) => None,
        }
    }

    /// The chat that something was sent to.
    pub(super) fn chat(&self) -> Option<String> {
        match self {
            Purpose::Command(envelope) => match &envelope.payload["chat"] {
                Value::String(chat) => Some(chat.clone()),
                Value::Number(chat) => Some(chat.to_string()),
                _ => None,
            },
            Purpose::Reply { chat, .. } | Purpose::Media(Found { chat, .. }) => Some(chat.clone()),
            Purpose::Relay(_) | Purpose::File(_) => None,
        }
    }
}

/// A question that the supervisor has not answered yet.
pub(super) struct Asked {
    pub(super) task: Task,
    pub(super) until: Moment,
}

/// The chats of forwarded messages, by the ids under which they were forwarded; the oldest are forgotten.
#[derive(Default)]
pub(super) struct Forwards {
    chats: VecDeque<(String, String)>,
}

impl Forwards {
    fn put(&mut self, id: String, chat: String) {
        if self.chats.len() >= FORWARDS_MAX {
            self.chats.pop_front();
        }
        self.chats.push_back((id, chat));
    }

    pub(super) fn take(&mut self, id: &str) -> Option<String> {
        let place = self.chats.iter().position(|(known, _)| known == id)?;
        self.chats.remove(place).map(|(_, chat)| chat)
    }
}

/// Programs that run, and those that wait for their turn.
#[derive(Default)]
pub(super) struct Programs {
    running: usize,
    waiting: VecDeque<(Task, Start)>,
}

/// A program that is to be run for a message.
struct Start {
    argv: Vec<String>,
    timeout: Duration,
    output_max: u64,
    input: Vec<u8>,
    /// The bot's credentials as they are now, each with its variable: those of its own environment may be older.
    credentials: Vec<(OsString, OsString)>,
}

/// What came of a program.
pub(super) struct Finished {
    task: Task,
    program: String,
    timeout: Duration,
    ended: std::io::Result<Ended>,
}

impl Bot {
    /// Takes one arrival; whether there was one. Before the first connection nobody knows the bot's own name, which its
    /// commands may carry.
    pub(super) fn take_arrival(&mut self) -> spool::Result<bool> {
        let in_work = self.tickets.len() + self.chats.waiting() + self.chats.busy();
        if self.link == Link::Opening || in_work >= TASKS_MAX {
            return Ok(false);
        }
        match self.arrivals.next(clock::stamp())? {
            None => return Ok(false),
            Some(Stored::SetAside { name, why }) => self.warn(&format!("set aside {name}: {why}")),
            Some(Stored::Arrival(id, arrival)) => {
                let target = json!({"target": arrival.chat});
                let chat = arrival.chat;
                match arrival.what {
                    What::Message(message) => {
                        let origin = Origin::Arrival(id);
                        self.begin_task(Task { origin, chat, message });
                    }
                    What::Kicked => {
                        self.tell_event("kicked", target);
                        self.marks.push(Mark::Done(id));
                    }
                    What::Joined => {
                        self.tell_event("joined", target);
                        self.marks.push(Mark::Done(id));
                    }
                    What::Undelivered { class, text } => {
                        let told = json!({"target": chat, "class": class, "message": text});
                        self.tell_event("delivery_failed", told);
                        self.marks.push(Mark::Done(id));
                    }
                }
            }
        }
        self.hear_platform()?;
        self.settle()?;
        Ok(true)
    }

    /// What was sent has come back, as if somebody had written it.
    pub(super) fn came_back(&mut self, command: Envelope, message: Message) {
        let chat = self.platform.word().to_owned();
        let origin = Origin::Command(Box::new(command));
        self.begin_task(Task { origin, chat, message });
    }

    pub(super) fn send(&mut self, purpose: Purpose, outgoing: Outgoing) {
        let ticket = self.draw(purpose);
        self.platform.send(ticket, outgoing);
    }

    fn draw(&mut self, purpose: Purpose) -> Ticket {
        self.last_ticket += 1;
        self.tickets.insert(self.last_ticket, purpose);
        self.last_ticket
    }

    fn begin_task(&mut self, task: Task) {
        if let Some(task) = self.chats.admit(task) {
            self.receive(task);
        }
    }

    /// A message from a chat whose turn it is: counted, told to the history without its text, and looked at.
    fn receive(&mut self, task: Task) {
        self.messages_in += 1;
        let message = &task.message;
        let mut told = json!({"chat": task.chat, "length": message.text.chars().count()});
        if let Some(user) = message.user.as_deref().filter(|user| *user != task.chat) {
            told["user"] = user.into();
        }
        self.tell_event("message_received", told);
        self.tell_user(&task);
        match task.message.file.clone() {
            None => self.decide(task, None),
            Some(file) => {
                let Origin::Arrival(id) = &task.origin else {
                    return self.decide(task, None);
                };
                let into = media::received(&self.brief.media, &task.chat, id, &file.name);
                self.chats.occupy(&task.chat);
                let ticket = self.draw(Purpose::File(task));
                self.platform.fetch(ticket, &file, into);
            }
        }
    }

    /// Tells once under which name a user is known, so that others can be called by it.
    fn tell_user(&mut self, task: &Task) {
        let (Origin::Arrival(_), Some(user)) = (&task.origin, &task.message.user) else {
            return;
        };
        let username = &task.message.username;
        if username.is_some() && self.seen.get(user) != Some(username) {
            self.seen.insert(user.clone(), username.clone());
            self.tell_event("user_seen", json!({"user": user, "username": username}));
        }
    }

    /// Does what a message asks for; `file` is where its file lies.
    pub(super) fn decide(&mut self, task: Task, file: Option<PathBuf>) {
        let scene = Scene {
            policy: &self.brief.chat,
            people: &self.people,
            plain_texts: self.platform.plain_texts(),
            name: match &self.link {
                Link::Up(name) => name.as_deref(),
                Link::Opening | Link::Down(_) | Link::Refused(_) => None,
            },
            standing: Standing {
                uptime: clock::now().since(self.started),
                run: &self.identity.run,
                messages_in: self.messages_in,
                messages_out: self.messages_out,
            },
        };
        match decide(&scene, &task.chat, &task.message) {
            Decision::Silence => self.finish(task, None),
            Decision::Reply(text) => self.finish(task, Some(text)),
            Decision::Stranger => {
                let user = task.message.user.clone().unwrap_or_default();
                let others = self.brief.chat.others.clone();
                let is_new = self.turned_away.insert(user);
                self.finish(task, others.filter(|_| is_new));
            }
            Decision::Act { action, args } => self.act(task, action, &args, file),
            Decision::Ask(question) => self.ask(task, question),
        }
    }

    fn act(&mut self, task: Task, action: Action, args: &str, file: Option<PathBuf>) {
        let message = &task.message;
        let told = json!({
            "chat": task.chat, "user": message.user, "username": message.username, "message": message.message,
            "text": message.text, "args": args, "file": file, "bot": self.identity.bot.as_str(),
        });
        match action {
            Action::Reply(text) => self.finish(task, Some(text)),
            Action::Exec {
                argv,
                timeout,
                max_output: output_max,
            } => {
                let input = format!("{told}\n").into_bytes();
                self.chats.occupy(&task.chat);
                let variable = |name: &String| OsString::from(format!("BOT_{}", name.to_ascii_uppercase()));
                let credentials = self.credentials.iter();
                let start = Start {
                    argv,
                    timeout,
                    output_max,
                    input,
                    credentials: credentials
                        .map(|(name, value)| (variable(name), value.reveal().into()))
                        .collect(),
                };
                self.programs.waiting.push_back((task, start));
                self.start_programs();
            }
            Action::Forward(receiver) => {
                let (kind, to) = match &receiver {
                    Receiver::Events => (Kind::Event, SUPERVISOR),
                    Receiver::Bot(bot) => (Kind::Command, bot.as_str()),
                };
                let id = self.outbox.forward(kind, "message_received", to, told, clock::stamp());
                if matches!(receiver, Receiver::Bot(_)) {
                    self.forwards.put(id, task.chat.clone());
                }
                self.finish(task, None);
            }
        }
    }

    fn ask(&mut self, task: Task, question: Question) {
        let by = json!({"user": task.message.user, "name": task.message.username, "chat": task.chat});
        let (name, payload, timeout) = match question {
            Question::SetAdmin { user, remove } => {
                let payload = json!({"by": by, "user": user, "remove": remove});
                ("set_admin", payload, ANSWER_TIMEOUT)
            }
            Question::SetPermission { command, level } => {
                let payload = json!({"by": by, "command": command, "level": level.word()});
                ("set_permission", payload, ANSWER_TIMEOUT)
            }
            Question::RemovePermission { command } => (
                "remove_permission",
                json!({"by": by, "command": command}),
                ANSWER_TIMEOUT,
            ),
            Question::Refresh => ("refresh", json!({"by": by}), ANSWER_TIMEOUT),
            Question::Login => ("login", json!({"by": by}), LOGIN_TIMEOUT),
        };
        let id = self
            .outbox
            .forward(Kind::Command, name, SUPERVISOR, payload, clock::stamp());
        self.chats.occupy(&task.chat);
        let until = clock::now() + timeout;
        self.asked.insert(id, Asked { task, until });
    }

    /// Tells the chats whose questions nobody has answered in time.
    pub(super) fn give_up_questions(&mut self) {
        let now = clock::now();
        let over: Vec<String> = self
            .asked
            .iter()
            .filter(|(_, asked)| asked.until <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            if let Some(asked) = self.asked.remove(&id) {
                let text = "the supervisor has not answered; try again later".to_owned();
                self.finish(asked.task, Some(text));
            }
        }
    }

    fn start_programs(&mut self) {
        while self.programs.running < PROGRAMS_MAX {
            let Some((task, start)) = self.programs.waiting.pop_front() else {
                return;
            };
            self.programs.running += 1;
            let (sender, waker) = (self.finished.0.clone(), self.waker.clone());
            let kept = task.clone();
            let run = move || {
                let (program, timeout) = (start.argv.first().cloned().unwrap_or_default(), start.timeout);
                let ended = start.run();
                // The bot may have ended in the meantime.
                let _ = sender.send(Finished {
                    task,
                    program,
                    timeout,
                    ended,
                });
                waker.wake();
            };
            if let Err(error) = thread::Builder::new().name("program".to_owned()).spawn(run) {
                self.programs.running -= 1;
                self.warn(&format!("cannot start a thread: {error}"));
                self.finish(kept, Some("it does not work at this moment".to_owned()));
            }
        }
    }

    /// Answers with what programs have said; whether one has ended.
    pub(super) fn hear_programs(&mut self) -> spool::Result<bool> {
        let mut is_any = false;
        while let Ok(finished) = self.finished.1.try_recv() {
            is_any = true;
            self.programs.running -= 1;
            let reply = self.reply_of(&finished);
            self.finish(finished.task, reply);
            self.start_programs();
            self.hear_platform()?;
            self.settle()?;
        }
        Ok(is_any)
    }

    /// What a program has to say to the chat. Why it failed is the operator's business alone.
    fn reply_of(&self, finished: &Finished) -> Option<String> {
        let Finished { program, ended, .. } = finished;
        let said = match ended {
            Ok(Ended {
                status: Some(status),
                output,
                is_cut,
            }) if status.success() => {
                let text = String::from_utf8_lossy(output).trim_end().to_owned();
                if *is_cut {
                    self.warn(&format!(
                        "{program}: its output is cut: raise max_output of its command"
                    ));
                }
                return (!text.is_empty()).then_some(text);
            }
            Ok(Ended {
                status: Some(status), ..
            }) => format!("{program}: {status}"),
            Ok(Ended { status: None, .. }) => {
                format!("{program} took longer than {}", show_duration(finished.timeout))
            }
            Err(error) => format!("cannot start {program}: {error}"),
        };
        self.warn(&said);
        Some("that did not work".to_owned())
    }

    /// A message needs nothing more but this reply; its chat goes on with the next one.
    pub(super) fn finish(&mut self, task: Task, reply: Option<String>) {
        let chat = task.chat.clone();
        self.answer(task, reply);
        if let Some(next) = self.chats.next(&chat) {
            // It waits for nobody: the chat stays busy while there is a next one.
            self.chats.occupy(&chat);
            self.receive(next);
        }
    }

    fn answer(&mut self, task: Task, reply: Option<String>) {
        let is_wanted = |text: &String| !text.trim().is_empty() && !self.blocked.contains(&task.chat);
        let reply = reply.filter(|text| is_wanted(text) || matches!(task.origin, Origin::Command(_)));
        match (task.origin, reply) {
            (Origin::Command(command), reply) => {
                let payload = reply.map_or_else(|| json!({}), |text| json!({"text": text}));
                self.messages_out += u64::from(payload["text"].is_string());
                self.outbox.answer(&command, payload, clock::stamp());
                self.marks.push(Mark::Acked(command.id));
            }
            (Origin::Arrival(id), None) => self.marks.push(Mark::Done(id)),
            (Origin::Arrival(arrival), Some(text)) => {
                self.messages_out += 1;
                let mut outgoing = Outgoing::text(Some(&task.chat), &text);
                outgoing.reply_to = task.message.message.filter(|_| task.message.is_group);
                let chat = task.chat;
                self.send(Purpose::Reply { arrival, chat }, outgoing);
            }
        }
    }
}

impl Start {
    fn run(self) -> std::io::Result<Ended> {
        // What speaks of the runner itself would make a child speak for it.
        let is_own = |name: &str| name == BRIEF || name == "NOTIFY_SOCKET" || name.starts_with("WATCHDOG_");
        let env = std::env::vars_os().filter(|(name, _)| !is_own(&name.to_string_lossy()));
        let program = Program {
            argv: &self.argv,
            env: env.chain(self.credentials).collect(),
            input: self.input,
            timeout: self.timeout,
            output_max: self.output_max,
        };
        program.run()
    }
}
