//! Every interleaving of the key index's growth with a removal and inserts.

use crate::growth::{Growth, Mutation};
use crate::progress::search;

const SCENARIOS: [Growth; 3] = [
    Growth { name: "a removal", actors: [true, true, true, false, false, true], mutation: None },
    Growth { name: "two inserts", actors: [true, true, false, true, true, true], mutation: None },
    Growth {
        name: "a removal and two inserts",
        actors: [true, false, true, true, true, false],
        mutation: None,
    },
];

const MUTATIONS: [Mutation; 4] = [
    Mutation::RemovalEmpties,
    Mutation::LeavesTheEndOpen,
    Mutation::MovesBeforeItCopies,
    Mutation::PutsBackWhatWasRemoved,
];

#[test]
fn every_schedule_keeps_the_promises_of_growth() {
    let mut states = 0;
    println!();
    for scenario in SCENARIOS {
        let outcome = search(&scenario);
        println!("{:36} {:10} states {:11} steps", scenario.name, outcome.states, outcome.steps);
        assert_eq!(outcome.violation, None, "{}", scenario.name);
        states += outcome.states;
    }
    println!("model_commit: {states} states of the key index that grows, 0 violations");
}

#[test]
fn every_mutation_is_caught_in_growth() {
    println!();
    for mutation in MUTATIONS {
        let broken = |scenario: Growth| search(&Growth { mutation: Some(mutation), ..scenario }).violation;
        let (promise, way) = SCENARIOS.into_iter().find_map(broken).expect("to be caught");
        let (name, steps) = (format!("{mutation:?}"), way.len());
        println!("{name:24} {steps:3} steps: {promise}");
    }
    println!("model_commit: {0} of {0} mutations of growth caught", MUTATIONS.len());
}
