//! What programs that ask leave behind. One that starts a session of its own leaves its process group, and is found
//! by the mark of its question alone. That takes a look at every process of the host, so it is not done after every
//! question.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::model::units::Moment;
use crate::run::{remains, strays};

/// Between two looks at every process, while programs ask.
const SWEEP_PERIOD: Duration = Duration::from_secs(10);
/// A killed process is gone at once, unless the kernel holds it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The questions of programs, under way and over.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Over since the last look.
    over: HashSet<String>,
    swept_at: Option<Moment>,
}

impl Questions {
    /// A question is over; sweeps where the last time is long ago.
    pub(super) fn ended(&self, question: String) {
        let now = clock::now();
        {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.over.insert(question);
            let first = *known.swept_at.get_or_insert(now);
            if now.since(first) < SWEEP_PERIOD {
                return;
            }
        }
        self.sweep();
    }

    /// Ends everything that questions which are over have left.
    pub(super) fn sweep(&self) {
        let over = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.swept_at = Some(clock::now());
            std::mem::take(&mut known.over)
        };
        if over.is_empty() {
            return;
        }
        let left = || {
            let asking = strays::of_questions().into_iter();
            asking
                .filter(|(question, _)| over.contains(question))
                .map(|(_, pid)| pid)
                .collect()
        };
        if let Err(pid) = remains::clear_all(left, PATIENCE) {
            tracing::warn!("a program of a probe (pid {pid}) cannot be ended");
        }
    }
}
