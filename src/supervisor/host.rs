//! Everything that the supervisor's loop does to the world, as one trait: the loop decides, a host
//! acts. `process.rs` is the real one.

use std::time::Duration;

use crate::model::blocking::{BlockingPolicy, Heard, TargetEntry};
use crate::model::bot::{BotId, BotSpec, End, Limits, RunId, Secret, Wanted};
use crate::model::credential::Fields;
use crate::model::fact::Fact;
use crate::model::judging::Judgement;
use crate::model::message::Envelope;
use crate::model::metric::MetricRow;
use crate::model::people::{Change, People};
use crate::model::queue::QueuePolicy;
use crate::model::units::{Moment, Stamp};
use crate::model::usage::Standing;
use crate::spool::{Buried, RunEnd, Settled};
use crate::store::{BlockedTarget, By};

use super::capacity::Budget;
use super::environment::Secrets;
use super::ledger::Ledger;
use super::login::Given;
use super::machine::{Hold, SpawnFailure};
use super::news::{News, Pace};
use super::routes::Outgoing;
use super::shims::Token;
use super::snapshot::{BotStatus, Snapshot};
use super::traffic::Passed;

/// A bot as the store holds it.
#[derive(Clone, Debug)]
pub struct Configured {
    pub id: BotId,
    pub index: u32,
    pub wanted: Wanted,
    /// The stored settings over the defaults.
    pub spec: Result<BotSpec, Unusable>,
    pub token: Option<Secret>,
    /// What it has beside its token, the shared ones included.
    pub fields: Fields,
    /// A name for what its runs are started with.
    pub recipe: String,
    /// Why its platform has refused it, until an operator lets it go.
    pub judged: Option<Judgement>,
}

/// Settings by which nothing can be started.
#[derive(Clone, Debug)]
pub struct Unusable {
    /// One line.
    pub why: String,
    /// What can be read of them, so that the bot can be shown.
    pub legible: Box<BotSpec>,
}

/// What multibot.yaml and the store say of the whole home.
#[derive(Clone, Debug)]
pub struct Configuration {
    pub pace: Pace,
    pub budget: Budget,
    pub bots: Vec<Configured>,
    pub blocked: u64,
    pub blocked_permanent: u64,
    pub blocklist: Vec<BlockedTarget>,
    pub people: People,
}

/// What lies in a bot's mailboxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoxCounts {
    pub inbox_new: u64,
    pub inbox_cur: u64,
    pub inbox_later: u64,
    pub inbox_held: u64,
    /// When the oldest message was posted that is neither done nor held.
    pub inbox_oldest: Option<Stamp>,
    /// When the first one that waits for its retry is due.
    pub next_due: Option<Stamp>,
    pub dead: u64,
}

/// A run to be started.
pub struct Launch<'a> {
    pub run: &'a RunId,
    pub index: u32,
    pub spec: &'a BotSpec,
    pub token: Option<&'a Secret>,
    pub fields: &'a Fields,
    pub recipe: &'a str,
}

/// One claimed file of a mailbox: its envelopes, and the means to finish it.
pub struct Mail<C> {
    pub envelopes: Vec<Envelope>,
    pub claim: C,
}

/// What a supervisor that starts finds of one bot.
#[derive(Clone, Debug)]
pub struct Found {
    pub bot: BotId,
    /// What earlier supervisors of this boot left to know; empty after one that has stopped its bots.
    pub ledger: Ledger,
    pub remnant: Remnant,
    /// What the last snapshot said of the run that still lives.
    pub shown: Option<BotStatus>,
    /// When that snapshot was made: until then the last supervisor has read the run's log.
    pub shown_at: Option<Stamp>,
    /// The end of its last run is in the history.
    pub is_told: bool,
    /// How its newest run that is over has ended, and when.
    pub last_end: Option<(End, Stamp)>,
}

/// What is left of a bot's last run.
#[derive(Clone, Debug)]
pub enum Remnant {
    /// Nothing of this boot, or nothing that the last supervisor did not end itself.
    Nothing,
    /// Its shim lives, and this host hears of its end.
    Alive {
        run: RunId,
        pid: u32,
        started_at: Stamp,
        /// What it was started with, where that was recorded.
        recipe: Option<String>,
        /// What the kernel enforces of it.
        kernel: Vec<String>,
        /// The bot's process has ended already, so, and whether the shim had been asked for that.
        ending: Option<(End, bool)>,
    },
    /// It ended while nobody looked, or nobody had noted it yet.
    Ended {
        run: RunId,
        end: End,
        at: Stamp,
        asked: bool,
    },
    /// Something that may be alive, and nobody can prove what.
    Unclear(Hold),
}

/// The world, as the supervisor's loop may touch it.
pub trait Host {
    /// A claimed mailbox file, finished when every copy of it is gone.
    type Claim: Clone;
    /// A posted message that may still be taken back.
    type Posted;

    fn now(&self) -> Moment;
    fn stamp(&self) -> Stamp;
    fn new_run(&mut self) -> RunId;
    fn new_id(&mut self) -> String;

    /// Reads multibot.yaml and the store. The error is one line.
    fn load(&mut self) -> Result<Configuration, String>;
    /// Takes stock of what earlier supervisors have left of these bots, and of others that are not
    /// configured any more. What lives without a shim is ended here.
    fn survey(&mut self, bots: &[BotId]) -> Vec<Found>;
    /// Notes what the next supervisor must know of a bot; holds when this returns.
    fn note(&mut self, bot: &BotId, ledger: &Ledger);
    /// Understands what the file descriptors of a shim told of.
    fn look(&mut self, token: Token) -> Vec<News>;
    /// Makes a bot's folders and watches its mailboxes; safe to repeat.
    fn prepare(&mut self, bot: &BotId) -> Result<(), String>;
    /// How often everything must be looked at because something is not watched; None while all is.
    fn rescan_every(&self) -> Option<Duration>;
    /// What an operator should know about the host's own state.
    fn notes(&self) -> Vec<String>;
    /// Free bytes of the disk of the home.
    fn disk_free(&self) -> Option<u64>;
    /// Whether the supervisor before this one had left its bots on purpose; asked after the survey.
    fn was_left(&self) -> bool;
    /// Stops watching a bot that is no longer configured.
    fn forget(&mut self, bot: &BotId);

    /// Orders a run. An `Ok` is answered by news of that run; an error is the whole answer.
    fn spawn(&mut self, launch: &Launch<'_>) -> Result<(), SpawnFailure>;
    /// Asks the shim of a run to stop its bot, with grace.
    fn terminate(&mut self, run: &RunId);
    /// Asks the shim to kill its bot now.
    fn kill(&mut self, run: &RunId);
    /// Ends a shim that does not answer.
    fn abandon(&mut self, run: &RunId);
    /// A process of this run that is still there.
    fn survivor(&mut self, bot: &BotId, run: &RunId) -> Option<u32>;

    /// The next file of a bot's outbox, or of the supervisor's inbox for None.
    fn next_mail(&mut self, bot: Option<&BotId>) -> Option<Mail<Self::Claim>>;
    /// Posts a command to a bot; durable commands survive a crash of the host.
    fn post(&mut self, bot: &BotId, envelope: Envelope, durable: bool) -> Result<Self::Posted, String>;
    /// Takes a message back if nobody has claimed it.
    fn retract(&mut self, bot: &BotId, posted: Self::Posted);
    fn counts(&mut self, bot: &BotId) -> BoxCounts;

    /// Waits until the last snapshot can be read.
    fn flush(&mut self);

    /// Moves on the message to which this is a negative answer. `is_over`: its run has ended.
    fn settle(&mut self, bot: &BotId, rules: &QueuePolicy, answer: &Envelope, is_over: bool)
    -> Result<Settled, String>;
    /// Brings back what all but the live run have claimed in a bot's inbox; says how many messages, and which were
    /// buried.
    fn recover(
        &mut self,
        bot: &BotId,
        rules: &QueuePolicy,
        live: Option<&RunId>,
        ended: Option<(&RunId, RunEnd)>,
    ) -> (usize, Vec<Buried>);
    /// Puts what is due back into a bot's inbox; says what has expired, and when more is due.
    fn release_due(&mut self, bot: &BotId) -> Result<(Vec<Buried>, Option<Stamp>), String>;
    /// Delivers what a bot has for others, and lets go of the file that it came in, if it came in one.
    fn deliver(&mut self, sender: &BotId, claim: Option<Self::Claim>, outgoing: Outgoing);
    /// Makes anew and watches what was removed of a bot's folders; whether something was.
    fn mend(&mut self, bot: &BotId) -> Result<bool, String>;
    /// Removes what senders that died have left in a bot's mailboxes.
    fn sweep(&mut self, bot: &BotId);
    /// Looks whether the supervisor's own mailbox is there and watched, and mends it; whether it had to.
    fn look_after(&mut self) -> Result<bool, String>;
    /// Hints were lost and everything is looked at: an operator may want to know.
    fn hints_lost(&mut self);

    /// Publishes a snapshot, and after it the answers that had to wait for it.
    /// Both let go of the files in which the answers and facts came when these are written.
    fn publish(&mut self, snapshot: Snapshot, replies: Vec<Envelope>, claims: Vec<Self::Claim>);
    /// Writes answers of bots for whoever waits for them. What could not be written keeps its file.
    fn pass_on(&mut self, answers: Vec<(Envelope, Option<Self::Claim>)>);
    fn record(&mut self, facts: Vec<Fact>, claims: Vec<Self::Claim>);
    /// Keeps what one pass has measured.
    fn record_metrics(&mut self, rows: Vec<MetricRow>);
    /// What has passed through a bot's inbox since this was last asked.
    fn passed(&self, bot: &BotId) -> Passed;
    /// Notes what the supervisor did to a bot unasked, beside what operators did.
    fn audit(&mut self, action: &str, bot: &BotId, detail: &str);
    /// Tells the sampler whom to look at.
    fn watch_usage(&mut self, targets: Vec<UsageTarget>);
    /// Has the probes of a run asked that need somebody outside of the loop; None: not any more.
    fn watch_probes(&mut self, bot: &BotId, target: Option<ProbeTarget<'_>>);
    /// Has the platform of a run asked about it; None: not any more.
    fn watch_platform(&mut self, bot: &BotId, target: Option<PlatformTarget<'_>>);
    /// Keeps what was said of a target; the entry of the blocklist that comes of it, if one does.
    fn hear_of_target(
        &mut self,
        bot: &BotId,
        target: &str,
        heard: Heard,
        policy: &BlockingPolicy,
    ) -> Result<Option<TargetEntry>, String>;
    /// Forgets what has expired on the blocklist, and says what that was.
    fn sweep_blocklist(&mut self) -> Vec<(BotId, String)>;
    /// Runs the login program of a bot, for nobody to ask; `News::LoggedIn` says what came of it. An error is the whole
    /// answer.
    fn log_in(&mut self, target: &LoginTarget<'_>) -> Result<(), String>;
    /// Stores what a login has given a bot.
    fn keep_login(&mut self, bot: &BotId, given: &Given, by: &By) -> Result<(), String>;
    /// Changes who may do what, and says in one line what is so now.
    fn change_people(&mut self, change: &Change, by: &By) -> Result<String, String>;
    /// Whether the store has this user among the admins.
    fn is_admin(&mut self, user: &str) -> Result<bool, String>;
    /// Remembers under which name a user was seen.
    fn see_user(&mut self, bot: &BotId, user: &str, username: &str) -> Result<(), String>;
    /// Keeps why a bot was refused by its platform: from now on `load` says so, until an operator lets it go.
    fn hold(&mut self, bot: &BotId, judgement: &Judgement);
    /// The newest lines of a bot's log that were written since then.
    fn last_words(&mut self, bot: &BotId, since: Stamp) -> Vec<(Stamp, String)>;
    /// Another program of this host that has this token, in words.
    fn rival(&mut self, bot: &BotId, token: &Secret) -> Option<String>;
    /// Has a bot's log read for errors, by its probes and for what its platform says; None: not any more.
    fn watch_log(&mut self, bot: &BotId, target: Option<LogTarget<'_>>);
    fn log(&mut self, line: &str);
    /// Something that an operator should look at.
    fn warn(&mut self, line: &str);
}

/// A run that is to be asked, and since when it is there.
pub struct ProbeTarget<'a> {
    pub run: &'a RunId,
    pub index: u32,
    pub spec: &'a BotSpec,
    pub began_at: Moment,
}

/// A bot whose login program is to be run.
pub struct LoginTarget<'a> {
    pub spec: &'a BotSpec,
    pub index: u32,
    pub secrets: Secrets<'a>,
}

/// A run about which its platform is to be asked.
pub struct PlatformTarget<'a> {
    pub run: &'a RunId,
    pub api_root: &'a str,
    pub token: &'a Secret,
}

/// A run whose log is to be read, from lines of this moment on.
pub struct LogTarget<'a> {
    pub run: &'a RunId,
    pub spec: &'a BotSpec,
    pub since: Stamp,
}

/// A bot whose use of the host is to be sampled: its process tree hangs below the shim.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageTarget {
    pub bot: BotId,
    pub run: RunId,
    pub pid: u32,
    pub limits: Limits,
    /// How it stands to them as far as is known: what an adopted run goes on with.
    pub standings: Vec<Standing>,
}
