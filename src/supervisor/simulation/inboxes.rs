//! Messages that bots give back, and those that their runs leave behind.

use super::*;
use crate::spool::{Buried, RunEnd, Settled};

/// A bot that refuses the command of this id; what becomes of the command is said before.
fn refuse(simulation: &mut Simulation, id: &str, settled: Settled) {
    simulation.world().settled.insert(id.to_owned(), settled);
    let mut answer = Envelope::new("r".into(), Kind::Error, "dance", "shop", "cli", Stamp(0));
    answer.payload = json!({"message": "no"});
    answer.correlation_id = Some(id.to_owned());
    let outbox = simulation.world().mail.entry(Some(id_of("shop"))).or_default();
    outbox.push_back(answer);
    simulation.hear(News::Outbox(id_of("shop")));
    simulation.pass(millis(100));
}

fn id(number: u64) -> String {
    format!("{number:026}")
}

#[test]
fn whoever_waits_gets_the_final_word_only() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    let due = Stamp(simulation.world().stamp().0 + 1);
    let reason = "5 of 5 attempts spent: no".to_owned();
    for (number, settled, said) in [
        (1, Settled::Absent, Some("no")),
        (2, Settled::Later { due }, None),
        (3, Settled::Back, None),
        (4, Settled::Dropped, None),
        (5, Settled::Buried { reason: reason.clone() }, Some(reason.as_str())),
        (6, Settled::Undecided, None),
    ] {
        refuse(&mut simulation, &id(number), settled);
        let replies = simulation.replies_to(&id(number));
        let messages: Vec<&str> = replies
            .iter()
            .map(|it| it.payload["message"].as_str().unwrap())
            .collect();
        assert_eq!(messages, Vec::from_iter(said), "{number}");
    }
    assert_eq!(simulation.facts_of("shop", "dead_letter").len(), 1);
}

#[test]
fn an_answer_to_what_a_bot_still_holds_is_decided_when_it_lets_go_or_ends() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    refuse(&mut simulation, &id(1), Settled::Undecided);
    refuse(&mut simulation, &id(2), Settled::Undecided);
    simulation.world().settled.insert(id(1), Settled::Absent);
    simulation.hear(News::Counts(id_of("shop")));
    simulation.pass(millis(100));
    assert_eq!(
        (simulation.replies_to(&id(1)).len(), simulation.replies_to(&id(2)).len()),
        (1, 0)
    );
    simulation.crash("shop", code(1));
    simulation.pass(seconds(1));
    assert_eq!(simulation.replies_to(&id(2))[0].payload["message"], "over");
}

#[test]
fn what_a_run_had_claimed_is_back_before_the_next_one_starts() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1), bot("desk", 2)]);
    let run = simulation.run("shop");
    let doomed = |number, from: &str| Buried {
        id: id(number),
        from: Some(from.to_owned()),
        reason: "3 runs failed over it".to_owned(),
    };
    simulation.world().doomed = vec![doomed(7, "cli"), doomed(8, "desk")];
    simulation.world().recoveries.clear();
    simulation.crash("shop", End::Signal { number: 9, core: false });
    assert!(simulation.is_alive("shop"));
    let end = RunEnd::Failed("killed by SIGKILL".to_owned());
    let next = simulation.run("shop");
    let expected = [
        (id_of("shop"), None, Some((run, end))),
        (id_of("shop"), Some(next), None),
    ];
    assert_eq!(simulation.world().recoveries, expected);
    simulation.pass(seconds(1));
    assert_eq!(simulation.replies_to(&id(7))[0].kind, Kind::Error);
    // A bot that asked is told as well.
    let (to, told) = simulation.world().delivered.remove(0);
    assert_eq!((to, told.correlation_id), (id_of("desk"), Some(id(8))));
}

#[test]
fn a_run_that_was_asked_to_end_has_not_failed_over_its_messages() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    simulation.ask("stop", &["shop"], "graceful");
    simulation.pass(seconds(1));
    let recoveries = &simulation.world().recoveries;
    let ended: Vec<&RunEnd> = recoveries
        .iter()
        .filter_map(|(_, _, ended)| ended.as_ref().map(|it| &it.1))
        .collect();
    assert_eq!(ended, [&RunEnd::Stopped]);
}

#[test]
fn claims_of_a_run_that_an_earlier_supervisor_left_are_spared() {
    let mut world = World::new(vec![bot("shop", 1)]);
    world.earlier("shop", 7);
    let mut simulation = Simulation::of(world);
    assert_eq!(simulation.world().recoveries, [(id_of("shop"), Some(run_of(7)), None)]);
}

#[test]
fn what_waits_in_an_inbox_wakes_the_loop_when_it_is_due_and_never_before() {
    let mut world = World::new(vec![bot("shop", 1)]);
    let begun = world.now;
    let at = |s: i64| Stamp(world.stamp().0 + s * 1_000_000);
    let due = BTreeSet::from([at(20), at(30)]);
    world.due.insert(id_of("shop"), due);
    let mut simulation = Simulation::of(world);
    simulation.pass(seconds(60));
    let released = [20, 30].map(|s| (begun + seconds(s), id_of("shop")));
    assert_eq!(simulation.world().released, released);
}

/// What becomes of a message of this kind from `shop` to this address: who gets it, or why nobody does.
fn sent_to(to: &str, kind: Kind, is_answer: bool) -> Result<Vec<String>, String> {
    let mut open = bot("open", 2);
    open.spec.as_mut().unwrap().accept_from = vec!["*".to_owned()];
    let mut choosy = bot("choosy", 3);
    choosy.spec.as_mut().unwrap().accept_from = vec!["shop".to_owned()];
    let mut simulation = Simulation::steady(vec![bot("shop", 1), open, choosy, bot("closed", 4)]);
    let mut envelope = Envelope::new("m".into(), kind, "dance", "somebody-else", to, Stamp(0));
    envelope.correlation_id = is_answer.then(|| id(1));
    let outbox = simulation.world().mail.entry(Some(id_of("shop"))).or_default();
    outbox.push_back(envelope);
    simulation.hear(News::Outbox(id_of("shop")));
    let world = simulation.world();
    assert!(world.claimed.get() == 0);
    assert!(
        world
            .delivered
            .iter()
            .all(|(bot, it)| it.from == "shop" && it.to == bot.as_str() && it.id == "m")
    );
    match world.refused.first() {
        Some((_, why)) => Err(why.clone()),
        None => Ok(world.delivered.iter().map(|(bot, _)| bot.to_string()).collect()),
    }
}

#[test]
fn a_message_goes_to_the_bots_that_accept_it_and_an_answer_to_who_asked() {
    let to = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>());
    assert_eq!(sent_to("open", Kind::Command, false), to(&["open"]));
    assert_eq!(sent_to("choosy", Kind::Event, false), to(&["choosy"]));
    let why = "closed accepts no messages from shop: set its accept_from";
    assert_eq!(sent_to("closed", Kind::Command, false), Err(why.to_owned()));
    assert_eq!(sent_to("*", Kind::Command, false), to(&["choosy", "open"]));
    assert_eq!(sent_to("ghost", Kind::Command, false), Err("no bot ghost".to_owned()));
    assert_eq!(sent_to("closed", Kind::Response, true), to(&["closed"]));
    assert_eq!(sent_to("closed", Kind::Error, true), to(&["closed"]));
    for own in ["supervisor", "shop", "cli"] {
        assert_eq!(sent_to(own, Kind::Event, false), to(&[]), "{own}");
    }
}
