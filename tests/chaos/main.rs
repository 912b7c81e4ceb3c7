//! Kills everything at any moment, under a stream of numbered messages, and then looks: every message
//! that was accepted was answered or lies among the dead letters with its reason, none was invented or
//! doubled under another id, at no moment had a bot two live runs, nothing is left, and the database is
//! sound.
//!
//! `MULTIBOT_CHAOS_ROUNDS` sets how many rounds are played (few by default), `MULTIBOT_CHAOS_SEED` where
//! the dice begin; a failure prints the seed of its round, which alone repeats its blows.

#[cfg(test)]
#[path = "../suite"]
mod suite {
    #[expect(dead_code, reason = "another suite uses the rest")]
    #[expect(unused_imports, reason = "another suite uses the rest")]
    pub(crate) mod harness;
}
#[cfg(test)]
mod dice;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod rounds;
#[cfg(test)]
mod strike;
#[cfg(test)]
mod watch;
