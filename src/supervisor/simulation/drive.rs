//! A loop over the world, and the clock that a test moves.

use super::*;

/// A loop and its world.
pub(super) struct Simulation {
    pub(super) supervisor: Supervisor<World>,
    pub(super) wake_at: Option<Moment>,
    pub(super) is_over: bool,
}

impl Simulation {
    /// A supervisor that was just started over these bots, and has done what it can do at once.
    pub(super) fn start(bots: Vec<Configured>) -> Simulation {
        Simulation::of(World::new(bots))
    }

    /// The supervisor is killed and the next one started: in the same world, by the same bots.
    pub(super) fn kill_supervisor(self) -> Simulation {
        let mut world = self.supervisor.host;
        world.lose_supervisor();
        Simulation::of(world)
    }

    pub(super) fn of(world: World) -> Simulation {
        let identity = Identity {
            pid: 1,
            start_ticks: 1,
            boot_id: "boot".to_owned(),
            pid_ns: 1,
        };
        let about = snapshot::Supervisor::new(identity, "0", 0);
        let mut simulation = Simulation {
            supervisor: Supervisor::new(world, about),
            wake_at: None,
            is_over: false,
        };
        simulation.supervisor.open().unwrap();
        simulation.settle();
        simulation
    }

    /// The same, until nothing happens by itself: every bot that can has become ready.
    pub(super) fn steady(bots: Vec<Configured>) -> Simulation {
        let mut simulation = Simulation::start(bots);
        simulation.pass(seconds(3));
        simulation
    }

    pub(super) fn world(&mut self) -> &mut World {
        &mut self.supervisor.host
    }

    pub(super) fn settle(&mut self) {
        self.supervisor.settle();
        if self.supervisor.is_done() {
            self.supervisor.close();
            self.is_over = true;
        }
        self.wake_at = self.supervisor.wake_at();
    }

    /// One turn at this moment, with all that the world has to tell.
    pub(super) fn turn(&mut self) {
        let news: Vec<News> = self.world().news.drain(..).collect();
        self.supervisor.turn(self.wake_at, news);
        self.settle();
    }

    /// Lets everything happen that happens without time passing.
    pub(super) fn calm(&mut self) {
        for _ in 0..10_000 {
            let now = self.world().now;
            let is_due = self.wake_at.is_some_and(|at| at <= now);
            if self.is_over || (self.world().news.is_empty() && !is_due) {
                return;
            }
            self.turn();
        }
        panic!("the loop does not come to rest");
    }

    /// Lets time pass, waking the loop whenever it wants to be woken.
    pub(super) fn pass(&mut self, length: Duration) {
        let until = self.world().now + length;
        loop {
            self.calm();
            match self.wake_at {
                Some(at) if at <= until && !self.is_over => self.world().now = at,
                Some(_) | None => break,
            }
        }
        self.world().now = until;
    }

    pub(super) fn sample(&mut self, bot: &str, run: RunId, memory_bytes: u64, changes: Vec<LevelChange>) {
        self.hear(sampled(bot, run, memory_bytes, changes));
    }

    pub(super) fn hear(&mut self, news: News) {
        self.world().news.push_back(news);
        self.calm();
    }

    /// A command of an operator, and the loop's answer to it.
    pub(super) fn command(&mut self, name: &str, payload: Value) -> Value {
        let id = self.post_command(name, payload);
        self.hear(News::Inbox);
        self.pass(millis(100));
        let replies = self.replies_to(&id);
        assert_eq!(replies.len(), 1, "answers to {name}");
        replies[0].payload.clone()
    }

    pub(super) fn post_command(&mut self, name: &str, payload: Value) -> String {
        self.world().put(None, Kind::Command, name, payload)
    }

    pub(super) fn replies_to(&self, id: &str) -> Vec<&Envelope> {
        let world = &self.supervisor.host;
        let replies = world.issues.iter().flat_map(|issue| &issue.replies);
        replies
            .chain(&world.passed_on)
            .filter(|reply| reply.correlation_id.as_deref() == Some(id))
            .collect()
    }

    /// What a bot writes into its outbox.
    pub(super) fn say(&mut self, bot: &str, kind: Kind, name: &str, payload: Value) {
        self.world().put(Some(id_of(bot)), kind, name, payload);
        self.hear(News::Outbox(id_of(bot)));
    }

    pub(super) fn say_ready(&mut self, bot: &str) {
        self.say(bot, Kind::Event, "ready", json!({}));
    }

    /// Changes what the store says of one bot.
    pub(super) fn store(&mut self, bot: &str, change: impl FnOnce(&mut Configured)) {
        let bots = self.world().configured.as_mut().unwrap();
        change(bots.iter_mut().find(|configured| configured.id == id_of(bot)).unwrap());
    }

    /// As `bot stop` and `bot start` do it: the store first, then the supervisor.
    pub(super) fn ask(&mut self, name: &str, bots: &[&str], mode: &str) -> Value {
        for bot in bots {
            self.store(bot, |configured| match name {
                "start" => configured.wanted = Wanted::Up,
                "stop" => configured.wanted = Wanted::Down,
                _ => {}
            });
        }
        self.command(name, json!({"bots": bots, "mode": mode}))
    }

    /// The one live run of a bot.
    pub(super) fn run(&self, bot: &str) -> RunId {
        match self.supervisor.host.live(&id_of(bot)).as_slice() {
            [run] => (*run).clone(),
            runs => panic!("{bot} has {} runs", runs.len()),
        }
    }

    pub(super) fn is_alive(&self, bot: &str) -> bool {
        !self.supervisor.host.live(&id_of(bot)).is_empty()
    }

    /// The bot's process ends by itself.
    pub(super) fn crash(&mut self, bot: &str, end: End) {
        let run = self.run(bot);
        self.world().end(&run, end);
        self.calm();
    }

    /// The line of the last snapshot, which must be all that there is to say.
    pub(super) fn status(&self, bot: &str) -> BotStatus {
        let last = self.supervisor.host.issues.last().unwrap();
        let line = last.snapshot.bots.iter().find(|line| line.id == bot);
        line.unwrap_or_else(|| panic!("{bot} is not in the snapshot")).clone()
    }

    pub(super) fn state(&self, bot: &str) -> String {
        self.status(bot).state
    }

    pub(super) fn launches_of(&self, bot: &str) -> usize {
        let launched = self.supervisor.host.launched.iter();
        launched.filter(|(_, launched)| *launched == id_of(bot)).count()
    }

    pub(super) fn facts_of(&self, bot: &str, name: &str) -> Vec<&Fact> {
        let facts = self.supervisor.host.facts.iter();
        facts.filter(|it| it.bot == id_of(bot) && it.name == name).collect()
    }

    pub(super) fn letters_to(&self, bot: &str, name: &str) -> Vec<&Letter> {
        let letters = self.supervisor.host.letters.iter();
        letters
            .filter(|it| it.to == id_of(bot) && it.envelope.name == name)
            .collect()
    }
}
