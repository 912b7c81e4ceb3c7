//! How commands reach what they need: the home, its store, and the supervisor that may run for it.
//! Commands go to the supervisor through its inbox only; what it does is read from its snapshot.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::failure::Failure;
use crate::clock;
use crate::config::{Settings, SupervisorSettings, bot_spec, read_supervisor};
use crate::daemon;
use crate::home::Home;
use crate::model::bot::{BotId, State};
use crate::model::message::{Envelope, Kind, PRIORITY_CONTROL};
use crate::model::queue::QueuePolicy;
use crate::model::units::Stamp;
use crate::output::Progress;
use crate::run::identity::{Identity, Stat};
use crate::run::record::{RunRecord, read_run};
use crate::run::strays;
use crate::spool::replies::{read_reply, reply_path};
use crate::spool::{self, Durability, Mailbox, Poster, wait_for_file};
use crate::store::{Access, AuditEntry, Store};
use crate::supervisor::environment::Account;
use crate::supervisor::snapshot::{BotStatus, Snapshot, Stage};

/// How long the supervisor may take for an answer. It answers within milliseconds; only a host in deep
/// trouble, or a supervisor that hangs, comes near.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How often a waiting command looks at the snapshot, which changes at most ten times a second.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// What became of something that was stored for the supervisor. Whichever it is, it will hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takeover {
    Done,
    NoSupervisor,
    /// A signal keeps it from doing anything.
    Halted {
        pid: u32,
    },
    /// It has not answered in time.
    Silent {
        pid: u32,
    },
}

impl Takeover {
    /// Why it does not hold yet although a supervisor runs.
    pub(super) fn delay(self) -> Option<String> {
        match self {
            Takeover::Done | Takeover::NoSupervisor => None,
            Takeover::Halted { pid } => Some(format!(
                "the supervisor (pid {pid}) is halted by a signal and takes it over when it goes on: kill -CONT {pid}"
            )),
            Takeover::Silent { pid } => Some(format!(
                "the supervisor (pid {pid}) does not answer and takes it over when it does; look at logs/supervisor.log"
            )),
        }
    }
}

/// Whether a signal has halted this supervisor.
pub(super) fn is_halted(supervisor: &Identity) -> bool {
    Stat::of(supervisor.pid).is_some_and(|stat| stat.state == 'T')
}

/// One command's way to a home.
pub(super) struct Client {
    pub home: Home,
}

impl Client {
    pub(super) fn new(home: Home) -> Result<Client, Failure> {
        home.check()?;
        Ok(Client { home })
    }

    /// Refuses a home whose supervisor runs in another pid namespace: from here nobody sees what it does.
    pub(super) fn not_elsewhere(&self) -> Result<(), Failure> {
        if daemon::is_held_elsewhere(&self.home) {
            return Err(Failure::Refused(format!(
                "the supervisor of {} runs in another container: use multibot there",
                self.home.dir().display()
            )));
        }
        Ok(())
    }

    /// The supervisor that runs for this home now.
    pub(super) fn supervisor(&self) -> Option<Identity> {
        daemon::holder(&self.home)
    }

    pub(super) fn need_supervisor(&self) -> Result<Identity, Failure> {
        self.supervisor().ok_or_else(|| Failure::NoSupervisor {
            home: self.home.dir().display().to_string(),
        })
    }

    pub(super) fn settings(&self) -> Result<SupervisorSettings, Failure> {
        Ok(read_supervisor(&self.home.settings())?)
    }

    /// The store for changes; the home is made if it is missing.
    pub(super) fn store(&self) -> Result<Store, Failure> {
        self.home.create()?;
        Ok(Store::open(&self.home.database(), Access::Write)?)
    }

    /// The store for looking; None where nothing was ever stored.
    pub(super) fn read_store(&self) -> Result<Option<Store>, Failure> {
        match Store::open(&self.home.database(), Access::Read) {
            Ok(store) => Ok(Some(store)),
            Err(crate::store::Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The last snapshot, whoever published it.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        serde_json::from_slice(&fs::read(self.home.snapshot()).ok()?).ok()
    }

    /// The snapshot of exactly this supervisor.
    pub(super) fn snapshot_of(&self, supervisor: &Identity) -> Option<Snapshot> {
        self.snapshot()
            .filter(|snapshot| snapshot.supervisor.identity == *supervisor)
    }

    /// The last run of a bot, alive or not. One whose record is torn is known by the lock that its shim
    /// holds, as long as it lives.
    pub(super) fn last_run(&self, bot: &BotId) -> Option<RunRecord> {
        match read_run(&self.home.run_of(bot)) {
            Ok(run) => run,
            Err(_) => strays::trace(&self.home.lock_of(bot), bot.as_str()),
        }
    }

    /// How the inbox of a bot treats its messages; where its settings make no sense, as by default.
    pub(super) fn queue_policy(&self, bot: &BotId) -> Result<QueuePolicy, Failure> {
        let Some(store) = self.read_store()? else {
            return Ok(QueuePolicy::default());
        };
        let record = store.bots().get(bot)?;
        let defaults = self.settings().map(|settings| settings.defaults).unwrap_or_default();
        let settings = Settings::from_json(&record.settings_json).unwrap_or_default();
        Ok(bot_spec(bot, &[&settings, &defaults]).map_or_else(|_| QueuePolicy::default(), |spec| spec.queue))
    }

    /// Checks that all these bots exist.
    pub(super) fn known(&self, bots: &[BotId]) -> Result<(), Failure> {
        let Some(store) = self.read_store()? else {
            return match bots.first() {
                Some(id) => Err(Failure::NoSuchBot {
                    id: id.clone(),
                    nearest: None,
                }),
                None => Ok(()),
            };
        };
        for bot in bots {
            store.bots().get(bot)?;
        }
        Ok(())
    }

    /// Gives the supervisor a command and returns what it has done. When this returns, the snapshot
    /// shows the effect.
    pub(super) fn call(&self, supervisor: &Identity, name: &str, payload: Value) -> Result<Value, Failure> {
        self.call_within(supervisor, name, payload, ANSWER_TIME_MAX)
    }

    /// The same, waiting no longer than `most`.
    fn call_within(&self, supervisor: &Identity, name: &str, payload: Value, most: Duration) -> Result<Value, Failure> {
        let now = clock::stamp();
        let id = spool::new_id(now);
        let mut command =
            Envelope::new(id.clone(), Kind::Command, name, "cli", "supervisor", now).with_payload(payload);
        command.priority = PRIORITY_CONTROL;
        // A command that nobody waits for any more must not be obeyed by the next supervisor.
        command.expires_at = Some(Stamp(now.0 + i64::try_from(most.as_micros()).unwrap_or(0)));
        let inbox = Mailbox::new(self.home.supervisor_inbox());
        if supervisor.is_alive() && self.snapshot_of(supervisor).is_some() {
            // It has opened its home: what is missing was removed since, and it will look there again.
            inbox.create()?;
        }
        let posted = inbox.post(&mut Poster::new(), &[command], Durability::None, now)?;
        let answer = reply_path(&self.home.replies(), &id)?;
        let begun = clock::now();
        while !wait_for_file(&answer, most.min(Duration::from_secs(1))) {
            if !supervisor.is_alive() {
                inbox.retract(&posted)?;
                return Err(Failure::NoSupervisor {
                    home: self.home.dir().display().to_string(),
                });
            }
            if clock::now().since(begun) >= most {
                inbox.retract(&posted)?;
                self.leave_reload(&inbox)?;
                return Err(Failure::NoAnswer { pid: supervisor.pid });
            }
        }
        let reply = read_reply(&self.home.replies(), &id)?.unwrap_or_default();
        let content = &reply["payload"];
        match content["ok"].as_bool() {
            Some(true) => Ok(content["done"].clone()),
            Some(false) | None => Err(Failure::Supervisor(
                content["error"].as_str().unwrap_or("it does not say why").to_owned(),
            )),
        }
    }

    /// What a command has stored must hold as soon as the supervisor comes to itself, although nobody waits
    /// for that any more.
    fn leave_reload(&self, inbox: &Mailbox) -> Result<(), Failure> {
        let now = clock::stamp();
        let reload = Envelope::new(spool::new_id(now), Kind::Command, "reload", "cli", "supervisor", now);
        inbox.post(&mut Poster::new(), &[reload], Durability::None, now)?;
        Ok(())
    }

    /// Has a running supervisor read the store anew; None where none runs.
    pub(super) fn reload(&self) -> Result<Option<Value>, Failure> {
        match self.supervisor() {
            None => Ok(None),
            Some(supervisor) => self.call(&supervisor, "reload", Value::Null).map(Some),
        }
    }

    /// Has the supervisor take over what was stored, waiting no longer than `most`.
    pub(super) fn hand_over(&self, most: Duration) -> Result<Takeover, Failure> {
        let Some(supervisor) = self.supervisor() else {
            return Ok(Takeover::NoSupervisor);
        };
        if is_halted(&supervisor) {
            self.leave_reload(&Mailbox::new(self.home.supervisor_inbox()))?;
            return Ok(Takeover::Halted { pid: supervisor.pid });
        }
        let most = most.min(ANSWER_TIME_MAX);
        match self.call_within(&supervisor, "reload", Value::Null, most) {
            Ok(_) => Ok(Takeover::Done),
            Err(Failure::NoAnswer { pid }) => Ok(Takeover::Silent { pid }),
            Err(failure) => Err(failure),
        }
    }

    /// Waits until every one of these bots has come to rest in a state that lasts, showing how far
    /// they are. Returns them as they are then.
    pub(super) fn settle(
        &self,
        supervisor: &Identity,
        label: &str,
        concerns: impl Fn(&BotStatus) -> bool,
        timeout: Option<Duration>,
    ) -> Result<Vec<BotStatus>, Failure> {
        let begun = clock::now();
        let mut progress = None;
        let mut slow = None;
        loop {
            if let Some(snapshot) = self
                .snapshot_of(supervisor)
                .filter(|it| it.supervisor.stage != Stage::Adopting)
            {
                let bots: Vec<BotStatus> = snapshot.bots.into_iter().filter(&concerns).collect();
                let open: Vec<&BotStatus> = bots.iter().filter(|bot| !is_settled(bot)).collect();
                if open.is_empty() {
                    return Ok(bots);
                }
                let progress = progress.get_or_insert_with(|| Progress::start(label, bots.len()));
                progress.set(bots.len() - open.len(), &open[0].id);
                slow = Some(format!("{} is still {}", open[0].id, open[0].state));
            }
            if !supervisor.is_alive() {
                return Err(Failure::NoSupervisor {
                    home: self.home.dir().display().to_string(),
                });
            }
            if let Some(timeout) = timeout.filter(|timeout| clock::now().since(begun) >= *timeout) {
                return Err(Failure::TimedOut {
                    what: slow.unwrap_or_else(|| format!("{label}: the supervisor is not there yet")),
                    after: timeout,
                });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Notes who did what.
    pub(super) fn audit(&self, store: &Store, action: &str, bot: Option<&BotId>, detail: &str) -> Result<(), Failure> {
        let entry = AuditEntry {
            at: clock::stamp(),
            actor: actor(),
            action: action.to_owned(),
            bot: bot.cloned(),
            detail: detail.to_owned(),
        };
        Ok(store.audit().append(&entry)?)
    }
}

/// Whether a bot's state will last without anything happening. A bot in backoff has failed at least
/// twice; how long it goes on trying is its policy's business.
fn is_settled(bot: &BotStatus) -> bool {
    match State::from_word(&bot.state) {
        Some(State::Starting | State::Stopping | State::Unhealthy | State::Adopting) => {
            // A process that cannot be killed will not come to rest.
            bot.reason
                .as_deref()
                .is_some_and(|reason| reason.ends_with("cannot be killed"))
        }
        Some(State::Running | State::Stopped | State::Backoff | State::Failed | State::Held) | None => true,
    }
}

/// Whether a bot is as it is wanted: running, or down on purpose.
pub(super) fn is_well(bot: &BotStatus) -> bool {
    bot.wanted == "down" || !bot.enabled || bot.state == State::Running.word()
}

/// Who runs this command: `cli:alice`, or the uid where it has no name.
pub(super) fn actor() -> String {
    match account() {
        Some(account) => format!("cli:{}", account.name),
        None => format!("cli:{}", rustix::process::getuid().as_raw()),
    }
}

/// The account of who runs this command; None where its uid has no name.
pub(super) fn account() -> Option<Account> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    Account::find(&passwd, rustix::process::getuid().as_raw())
}

/// How long ago a moment of the wall clock was.
pub(super) fn age(since_ms: i64, now: Stamp) -> Duration {
    now.since(Stamp::from_unix_ms(since_ms))
}
