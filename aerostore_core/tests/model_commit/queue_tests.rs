//! Every interleaving of three sessions that lock rows, wait for them and hand them over; with deaths, aborts and lack of patience.

use crate::progress::{Outcome, search, searched};
use crate::queue::Operation::{self, LetGo, Lock};
use crate::queue::{Mutation, Queue};
use std::thread;

const ONE: &[&[Operation]] = &[&[Lock(0)]];
const TWICE: &[&[Operation]] = &[&[Lock(0)], &[Lock(0)]];
const NEVER: &[&[Operation]] = &[];

const CALM: Queue = Queue {
    name: "",
    programs: [ONE, ONE, ONE],
    turns: false,
    naps: false,
    deaths: 0,
    forced_aborts: 0,
    give_ups: 0,
    mutation: None,
};

const SCENARIOS: [Queue; 5] = [
    // Nothing but wakes ends a sleep: every one has to come.
    Queue { name: "three want one row", ..CALM },
    Queue {
        name: "let go of in the middle",
        programs: [&[&[Lock(0), LetGo(0), Lock(1)]], ONE, &[&[Lock(1)]]],
        ..CALM
    },
    Queue { name: "an owner or a waiter is killed", naps: true, deaths: 1, ..CALM },
    Queue {
        name: "a cycle",
        programs: [&[&[Lock(0), Lock(1)]], &[&[Lock(1), Lock(0)]], NEVER],
        naps: true,
        ..CALM
    },
    Queue {
        name: "turns of two, with all that happens",
        programs: [TWICE, ONE, NEVER],
        turns: true,
        naps: true,
        deaths: 1,
        forced_aborts: 1,
        give_ups: 1,
        ..CALM
    },
];

/// These take longer than all the others: in the soak.
const MORE: [Queue; 2] = [
    Queue { name: "turns of three", turns: true, naps: true, give_ups: 1, ..CALM },
    Queue {
        name: "a cycle and one more",
        programs: [SCENARIOS[3].programs[0], SCENARIOS[3].programs[1], ONE],
        naps: true,
        ..CALM
    },
];

const CALMLY: &str = SCENARIOS[0].name;
const IN_THE_MIDDLE: &str = SCENARIOS[1].name;
const KILLED: &str = SCENARIOS[2].name;
const CYCLE: &str = SCENARIOS[3].name;
const TURNS: &str = SCENARIOS[4].name;

/// Where each is found.
const MUTATIONS: [(Mutation, &str); 14] = [
    (Mutation::LooksBeforeItTells, CALMLY),
    (Mutation::AsksBeforeItDecides, CALMLY),
    (Mutation::LooksAtTheRecordOnly, IN_THE_MIDDLE),
    (Mutation::OffersToTheGone, CALMLY),
    (Mutation::KeepsAQueue, KILLED),
    (Mutation::PassesBeforeItGrants, TURNS),
    (Mutation::GivesUpByStore, TURNS),
    (Mutation::ForgetsGrants, TURNS),
    (Mutation::TakesBackLateGrants, TURNS),
    (Mutation::SleepsForEver, KILLED),
    (Mutation::HearsLast, CALMLY),
    (Mutation::AsksNotWhoLives, KILLED),
    (Mutation::SeesNoCycle, CYCLE),
    (Mutation::KeepsForEver, TURNS),
];

#[test]
fn every_schedule_keeps_the_promises_of_locks_and_turns() {
    println!();
    let more = std::env::var("AEROSTORE_MODEL_MORE").is_ok().then_some(MORE);
    let scenarios: Vec<Queue> = SCENARIOS.into_iter().chain(more.into_iter().flatten()).collect();
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let running: Vec<_> = scenarios.iter().map(|scenario| scope.spawn(|| searched(scenario))).collect();
        running.into_iter().map(|thread| thread.join().expect("a search does not panic")).collect()
    });
    for (scenario, outcome) in scenarios.iter().zip(&outcomes) {
        if let Some((promise, way)) = &outcome.violation {
            let way: Vec<String> =
                way.iter().map(|(who, number, what)| format!("  {who} {number} {what}")).collect();
            panic!("{}: {promise}\n{}", scenario.name, way.join("\n"));
        }
    }
    let states: usize = outcomes.iter().map(|outcome| outcome.states).sum();
    println!("model_commit: {states} states of locks and turns, 0 violations");
}

#[test]
fn every_mutation_is_caught_in_locks_and_turns() {
    println!();
    let mut missed = Vec::new();
    for (mutation, scenario) in MUTATIONS {
        let scenario = SCENARIOS.iter().find(|known| known.name == scenario).expect("one of those above");
        let outcome = search(&Queue { mutation: Some(mutation), ..*scenario });
        match outcome.violation {
            Some((promise, way)) => {
                let (name, steps) = (format!("{mutation:?}"), way.len());
                println!("{name:22} {:36} {steps:3} steps: {promise}", scenario.name);
            }
            None => missed.push(mutation),
        }
    }
    println!(
        "model_commit: {} of {} mutations of locks and turns caught",
        MUTATIONS.len() - missed.len(),
        MUTATIONS.len()
    );
    assert_eq!(missed, []);
}
