//! What becomes of a claimed file whose run has ended. Pure: the file, how far it had come and how the run ended
//! go in, files and dead letters come out.
//!
//! Invariants: every envelope that was not acked is in exactly one place of the plan; the same input gives the same
//! names, so that a plan that was carried out by half can be carried out again.

use super::name::FileName;
use super::progress::Progress;
use super::retry::{clipped, next_attempt, remember};
use crate::model::message::Envelope;
use crate::model::queue::QueuePolicy;
use crate::model::units::Stamp;

/// How the run ended that had claimed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Nobody had asked for it; says how.
    Failed(String),
    Stopped,
    /// Nobody saw it.
    Unseen,
}

/// What a claimed file becomes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Envelopes that had been handed out, each a file of its own.
    pub(super) again: Vec<(FileName, Envelope)>,
    /// What had not been handed out, as one file.
    pub(super) rest: Option<(FileName, Vec<Envelope>)>,
    pub(super) graves: Vec<Grave>,
}

/// A message that is not delivered again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grave {
    pub(super) name: FileName,
    pub(super) envelope: Envelope,
    pub(super) reason: String,
}

/// How a failed run is told in the history of what it had in hand; these lines are counted.
const FAILED: &str = "its run ended: ";

/// Plans for a file of this name. Its envelopes carry the attempts of their own fields.
pub(super) fn plan(
    name: &FileName,
    envelopes: Vec<Envelope>,
    progress: &Progress,
    (run, end): (&str, &RunEnd),
    rules: &QueuePolicy,
    now: Stamp,
) -> Plan {
    let handed_out = handed_out(&envelopes, progress);
    let mut plan = Plan::default();
    for (place, mut envelope) in envelopes.into_iter().enumerate() {
        if progress.is_acked(&envelope.id) || envelope.is_for_one_run() {
            continue;
        }
        if place >= handed_out {
            let (_, rest) = plan
                .rest
                .get_or_insert_with(|| (name.piece(place, name.attempt), Vec::new()));
            rest.push(envelope);
            continue;
        }
        envelope.attempt = envelope.attempt.max(name.attempt);
        remember(&mut envelope, told(end), Some(run), now);
        match fate(&mut envelope, end, rules, now) {
            Ok(()) => plan.again.push((name.piece(place, envelope.attempt), envelope)),
            Err(reason) => plan.graves.push(Grave {
                name: name.piece(place, envelope.attempt),
                envelope,
                reason,
            }),
        }
    }
    plan
}

/// The place behind the last envelope that was handed out: the first one without an ack after everything that is
/// marked. A reader that takes one after the other was at that one.
fn handed_out(envelopes: &[Envelope], progress: &Progress) -> usize {
    let marked = envelopes.iter().rposition(|envelope| progress.names(&envelope.id));
    let from = marked.map_or(0, |place| place + 1);
    let is_open = |envelope: &Envelope| !progress.is_acked(&envelope.id);
    envelopes[from..]
        .iter()
        .position(is_open)
        .map_or(envelopes.len(), |place| from + place + 1)
}

/// Counts the attempt, or says why there is none.
fn fate(envelope: &mut Envelope, end: &RunEnd, rules: &QueuePolicy, now: Stamp) -> Result<(), String> {
    if let Some(reason) = expired(envelope, now) {
        return Err(reason);
    }
    let crashes = envelope
        .history
        .iter()
        .filter(|setback| setback.why.starts_with(FAILED))
        .count();
    if matches!(end, RunEnd::Failed(_)) && crashes >= rules.max_crashes as usize {
        return Err(format!("{crashes} runs failed over it; the last: {}", told(end)));
    }
    next_attempt(envelope).map_err(|spent| format!("{spent}; {}", told(end)))
}

/// Why a message is not worth delivering any more.
pub(super) fn expired(envelope: &Envelope, now: Stamp) -> Option<String> {
    let expires_at = envelope.expires_at.filter(|expires_at| *expires_at < now)?;
    Some(format!("expired at {expires_at}"))
}

fn told(end: &RunEnd) -> String {
    match end {
        RunEnd::Failed(why) => clipped(&format!("{FAILED}{why}")),
        RunEnd::Stopped => "its run was stopped".to_owned(),
        RunEnd::Unseen => "its run ended unseen".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::retry::tests::RULES;
    use super::*;
    use crate::model::message::Kind;
    use crate::spool::envelope::tests::NOW;
    use proptest::prelude::*;

    fn name() -> FileName {
        FileName::parse("5-01700000000000001-01ARZ3NDEKTSV4RRFFQ69G5FAV.1.ndjson").unwrap()
    }

    fn command(id: &str) -> Envelope {
        Envelope::new(id.to_owned(), Kind::Command, "dance", "cli", "shop", NOW)
    }

    fn planned(ids: &str, lines: &str, end: &RunEnd) -> Plan {
        let envelopes = ids.chars().map(|id| command(&id.to_string())).collect();
        plan(&name(), envelopes, &Progress::parse(lines), ("RUN", end), &RULES, NOW)
    }

    fn shown(plan: &Plan) -> String {
        let again = plan.again.iter().map(|(_, envelope)| envelope.id.as_str());
        let rest = plan
            .rest
            .iter()
            .flat_map(|(_, rest)| rest.iter().map(|envelope| envelope.id.as_str()));
        let again: Vec<&str> = again.collect();
        format!("{} {}", again.concat(), rest.collect::<Vec<&str>>().concat())
    }

    fn crash() -> RunEnd {
        RunEnd::Failed("killed by SIGKILL".to_owned())
    }

    #[test]
    fn what_was_handed_out_and_not_acked_comes_back_one_by_one() {
        for (ids, lines, expected) in [
            ("a", "", "a "),
            ("abc", "", "a bc"),
            ("abc", "a\n", "b c"),
            ("abc", "a\nb\n", "c "),
            ("abc", "a\nb\nc\n", " "),
            ("abcd", "a\nb", "b cd"),
            ("abcd", "b\n", "ac d"),
            ("abcd", "-a\n", "ab cd"),
            ("abcd", "a\n-b\n", "bc d"),
            ("abcd", "-a\nb\na\n", "c d"),
            ("abcd", "c\na\n", "bd "),
            ("abc", "ghost\n", "a bc"),
        ] {
            assert_eq!(shown(&planned(ids, lines, &crash())), expected, "{ids} {lines:?}");
        }
    }

    #[test]
    fn pieces_keep_their_place_and_count_their_attempt() {
        let plan = planned("abcd", "a\n", &crash());
        let (again, envelope) = &plan.again[0];
        assert_eq!((again, envelope.attempt), (&name().piece(1, 2), 2));
        assert_eq!(envelope.history[0].why, "its run ended: killed by SIGKILL");
        assert_eq!(envelope.history[0].run.as_deref(), Some("RUN"));
        let (rest, envelopes) = plan.rest.unwrap();
        assert_eq!((rest, envelopes[0].attempt), (name().piece(2, 1), 1));
        assert!(envelopes.iter().all(|envelope| envelope.history.is_empty()));
    }

    #[test]
    fn a_message_over_which_runs_fail_is_buried_and_one_whose_runs_are_stopped_is_not() {
        for (end, deaths) in [(crash(), 3), (RunEnd::Stopped, 5), (RunEnd::Unseen, 5)] {
            let mut envelope = command("a");
            let mut died = 0;
            let grave = loop {
                died += 1;
                let mut plan = plan(&name(), vec![envelope], &Progress::default(), ("R", &end), &RULES, NOW);
                match plan.again.pop() {
                    Some((_, again)) => envelope = again,
                    None => break plan.graves.remove(0),
                }
            };
            assert_eq!(
                (died, grave.envelope.history.len()),
                (deaths, deaths),
                "{end:?}: {}",
                grave.reason
            );
        }
    }

    #[test]
    fn what_was_for_that_run_is_dropped_and_what_has_expired_is_buried() {
        let mut shutdown = command("s");
        "shutdown".clone_into(&mut shutdown.name);
        "supervisor".clone_into(&mut shutdown.from);
        let mut late = command("l");
        late.expires_at = Some(Stamp(NOW.0 - 1));
        let plan = plan(
            &name(),
            vec![shutdown, late],
            &Progress::parse("s\n"),
            ("R", &RunEnd::Stopped),
            &RULES,
            NOW,
        );
        assert!(plan.again.is_empty() && plan.rest.is_none());
        assert!(
            plan.graves[0].reason.starts_with("expired at "),
            "{}",
            plan.graves[0].reason
        );
    }

    proptest! {
        #[test]
        fn every_envelope_is_acked_or_in_one_place(
            count in 1usize..12,
            marks in proptest::collection::vec((0usize..12, any::<bool>()), 0..20),
        ) {
            let ids: Vec<String> = (0..count).map(|number| format!("e{number}")).collect();
            let lines: String = marks.iter().map(|(id, ack)| format!("{}e{id}\n", if *ack { "" } else { "-" })).collect();
            let progress = Progress::parse(&lines);
            let envelopes = ids.iter().map(|id| command(id)).collect();
            let plan = plan(&name(), envelopes, &progress, ("R", &crash()), &RULES, NOW);
            let mut placed: Vec<&String> = plan.again.iter().map(|(_, envelope)| &envelope.id).collect();
            placed.extend(plan.rest.iter().flat_map(|(_, rest)| rest.iter().map(|envelope| &envelope.id)));
            let mut names: Vec<String> = plan.again.iter().map(|(name, _)| name.to_string()).collect();
            names.extend(plan.rest.iter().map(|(name, _)| name.to_string()));
            let mut sorted = names.clone();
            sorted.sort();
            sorted.dedup();
            prop_assert_eq!(&names, &sorted);
            placed.sort();
            let mut open: Vec<&String> = ids.iter().filter(|id| !progress.is_acked(id)).collect();
            open.sort();
            prop_assert_eq!(placed, open);
        }
    }
}
