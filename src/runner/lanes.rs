//! Who may send when: one lane per chat, in order, none faster than its platform allows. Pure: moments go in, the
//! next job comes out.
//!
//! Invariants: of one lane at most one job is out, and what comes back stands first again; no lane waits for another
//! one, but for the pace of all together and while the platform is out of reach.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::ops::Bound;
use std::time::Duration;

use crate::model::units::Moment;

/// How often something may happen: `burst` at once, then one each `interval`. No stretch of time sees more than
/// `burst` and one for each interval in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    pub(super) burst: u32,
}

/// What a worker is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<J> {
    /// Take this, and say [`Lanes::done`] or [`Lanes::again`] of its lane.
    Job(String, J),
    /// Nothing before this moment.
    At(Moment),
    /// Nothing at all.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Lanes<J> {
    lanes: BTreeMap<String, Lane<J>>,
    all: Meter,
    /// The lane that was served last: the next one has its turn.
    last: String,
    /// Out of reach until then.
    unreachable_until: Moment,
    failures: u32,
}

#[derive(Debug)]
struct Lane<J> {
    waiting: VecDeque<J>,
    meter: Meter,
    /// Told by the platform to wait until then.
    told_until: Moment,
    hold: Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Free,
    JobIsOut,
}

/// How far a pace has been used up: the moment at which it would be as new.
#[derive(Clone, Copy, Debug)]
struct Meter {
    pace: Pace,
    spent_until: Moment,
}

/// First and longest wait while the platform cannot be reached.
const RETRY_DELAY: Duration = Duration::from_millis(500);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(20);
/// So many lanes that were told to wait mean that all are too fast together.
const FLOODED_LANES: usize = 2;

impl<J> Lanes<J> {
    /// No lanes yet; all of them together keep this pace.
    pub(super) fn new(pace: Pace) -> Lanes<J> {
        Lanes {
            lanes: BTreeMap::new(),
            all: Meter::new(pace),
            last: String::new(),
            unreachable_until: Moment(0),
            failures: 0,
        }
    }

    /// Puts a job last in its lane, which keeps this pace.
    pub(super) fn push(&mut self, lane: &str, pace: Pace, job: J) {
        let lane = self.lanes.entry(lane.to_owned()).or_insert_with(|| Lane {
            waiting: VecDeque::new(),
            meter: Meter::new(pace),
            told_until: Moment(0),
            hold: Hold::Free,
        });
        lane.waiting.push_back(job);
    }

    pub(super) fn next(&mut self, now: Moment) -> Next<J> {
        self.forget_idle(now);
        let gate = self
            .unreachable_until
            .max(self.all.free_at())
            .max(self.flooded_until(now));
        let mut soonest: Option<Moment> = None;
        let mut found = None;
        let after = (Bound::Excluded(self.last.clone()), Bound::Unbounded);
        let until = (Bound::Unbounded, Bound::Included(self.last.clone()));
        for (name, lane) in self.lanes.range(after).chain(self.lanes.range(until)) {
            if lane.hold == Hold::JobIsOut || lane.waiting.is_empty() {
                continue;
            }
            let at = lane.told_until.max(lane.meter.free_at()).max(gate);
            if at <= now {
                found = Some(name.clone());
                break;
            }
            soonest = Some(soonest.map_or(at, |earlier| earlier.min(at)));
        }
        let taken = found.and_then(|name| {
            let lane = self.lanes.get_mut(&name)?;
            let job = lane.waiting.pop_front()?;
            lane.hold = Hold::JobIsOut;
            lane.meter.spend(now);
            self.all.spend(now);
            Some((name, job))
        });
        match (taken, soonest) {
            (Some((name, job)), _) => {
                self.last.clone_from(&name);
                Next::Job(name, job)
            }
            (None, Some(at)) => Next::At(at),
            (None, None) => Next::Nothing,
        }
    }

    /// The job of this lane is over, and the platform was heard.
    pub(super) fn done(&mut self, lane: &str) {
        self.failures = 0;
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.hold = Hold::Free;
        }
    }

    /// The job was heard, and is to go on or to be tried again, not before this moment.
    pub(super) fn again(&mut self, lane: &str, job: J, not_before: Moment) {
        self.failures = 0;
        self.put_back(lane, job, not_before);
    }

    /// Nobody heard the job. All wait, longer from failure to failure; whether this was the first one.
    pub(super) fn unreachable(&mut self, lane: &str, job: J, now: Moment) -> bool {
        self.put_back(lane, job, now);
        if now < self.unreachable_until {
            // Several were out when it began: that is one failure.
            return false;
        }
        let delay = RETRY_DELAY * 2u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.unreachable_until = now + delay.min(RETRY_DELAY_MAX);
        self.failures == 1
    }

    /// The platform was heard by somebody else: there is no reason to wait any longer.
    pub(super) fn reachable(&mut self) {
        self.failures = 0;
        self.unreachable_until = Moment(0);
    }

    fn put_back(&mut self, lane: &str, job: J, not_before: Moment) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.waiting.push_front(job);
            lane.hold = Hold::Free;
            lane.told_until = lane.told_until.max(not_before);
        }
    }

    /// Until when all wait because several lanes were told to.
    fn flooded_until(&self, now: Moment) -> Moment {
        let told = self
            .lanes
            .values()
            .map(|lane| lane.told_until)
            .filter(|until| *until > now);
        let (count, latest) = told.fold((0, Moment(0)), |(count, latest), until| (count + 1, latest.max(until)));
        if count >= FLOODED_LANES { latest } else { Moment(0) }
    }

    fn forget_idle(&mut self, now: Moment) {
        self.lanes.retain(|_, lane| {
            let is_idle = lane.waiting.is_empty() && lane.hold == Hold::Free;
            !is_idle || lane.meter.spent_until > now || lane.told_until > now
        });
    }
}

impl Meter {
    fn new(pace: Pace) -> Meter {
        Meter {
            pace,
            spent_until: Moment(0),
        }
    }

    fn free_at(&self) -> Moment {
        let burst = self.pace.interval * self.pace.burst.saturating_sub(1);
        let micros = u64::try_from(burst.as_micros()).unwrap_or(u64::MAX);
        Moment(self.spent_until.0.saturating_sub(micros))
    }

    fn spend(&mut self, now: Moment) {
        self.spent_until = self.spent_until.max(now) + self.pace.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const FREE: Pace = Pace {
        interval: Duration::ZERO,
        burst: 1,
    };
    const SLOW: Pace = Pace {
        interval: Duration::from_secs(1),
        burst: 2,
    };

    fn at(seconds: u64) -> Moment {
        Moment((100 + seconds) * SECOND)
    }

    fn lanes(all: Pace) -> Lanes<u32> {
        Lanes::new(all)
    }

    /// Takes and ends jobs until nothing is due, and says which.
    fn drain(lanes: &mut Lanes<u32>, now: Moment) -> Vec<u32> {
        let mut taken = Vec::new();
        while let Next::Job(lane, job) = lanes.next(now) {
            lanes.done(&lane);
            taken.push(job);
        }
        taken
    }

    #[test]
    fn a_lane_keeps_its_order_and_its_pace_and_the_others_have_their_turn() {
        let mut lanes = lanes(FREE);
        for job in 0..4 {
            lanes.push("a", SLOW, job);
        }
        lanes.push("b", SLOW, 10);
        assert_eq!(drain(&mut lanes, at(0)), [0, 10, 1]);
        assert_eq!(lanes.next(at(0)), Next::At(at(1)));
        assert_eq!(drain(&mut lanes, at(1)), [2]);
        assert_eq!(drain(&mut lanes, at(2)), [3]);
        assert_eq!(lanes.next(at(9)), Next::Nothing);
        assert!(lanes.lanes.is_empty());
    }

    #[test]
    fn of_one_lane_one_job_is_out_at_a_time() {
        let mut lanes = lanes(FREE);
        lanes.push("a", FREE, 1);
        lanes.push("a", FREE, 2);
        assert_eq!(lanes.next(at(0)), Next::Job("a".into(), 1));
        assert_eq!(lanes.next(at(0)), Next::Nothing);
        lanes.again("a", 1, at(5));
        assert_eq!(lanes.next(at(0)), Next::At(at(5)));
        assert_eq!(drain(&mut lanes, at(5)), [1, 2]);
    }

    #[test]
    fn all_together_keep_their_pace() {
        let mut lanes = lanes(SLOW);
        for job in 0..5 {
            lanes.push(&job.to_string(), FREE, job);
        }
        assert_eq!(drain(&mut lanes, at(0)).len(), 2);
        for second in 1..4 {
            assert_eq!(drain(&mut lanes, at(second)).len(), 1);
        }
    }

    #[test]
    fn one_lane_that_is_told_to_wait_holds_no_other_and_two_hold_all() {
        let mut lanes = lanes(FREE);
        for (lane, job) in [("a", 1), ("b", 2), ("c", 3)] {
            lanes.push(lane, FREE, job);
        }
        assert_eq!(lanes.next(at(0)), Next::Job("a".into(), 1));
        lanes.again("a", 1, at(30));
        assert_eq!(lanes.next(at(0)), Next::Job("b".into(), 2));
        lanes.again("b", 2, at(10));
        assert_eq!(lanes.next(at(0)), Next::At(at(30)));
        assert_eq!(
            drain(&mut lanes, at(10)),
            [3, 2],
            "the later of two waits has one lane left"
        );
        assert_eq!(drain(&mut lanes, at(30)), [1]);
    }

    #[test]
    fn an_outage_is_waited_for_longer_and_longer_and_ends_with_the_first_word() {
        let mut lanes = lanes(FREE);
        lanes.push("a", FREE, 1);
        lanes.push("b", FREE, 2);
        let mut now = at(0);
        let mut waits = Vec::new();
        for round in 0..8 {
            let Next::Job(lane, job) = lanes.next(now) else {
                panic!()
            };
            assert_eq!(lanes.unreachable(&lane, job, now), round == 0);
            let Next::At(then) = lanes.next(now) else { panic!() };
            waits.push(then.since(now).as_millis());
            now = then;
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 20000, 20000]);
        let Next::Job(lane, _) = lanes.next(now) else { panic!() };
        lanes.done(&lane);
        let Next::Job(lane, job) = lanes.next(now) else {
            panic!()
        };
        assert!(lanes.unreachable(&lane, job, now));
        lanes.reachable();
        assert!(matches!(lanes.next(now), Next::Job(..)));
    }
}
