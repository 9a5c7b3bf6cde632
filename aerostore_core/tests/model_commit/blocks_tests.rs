//! Every interleaving of what is done to the ordered index. A build without optimization leaves out the largest scenario.

use crate::blocks::{Blocks, Mutation};
use crate::progress::search;

const fn scenario(name: &'static str, actors: [bool; 6], goes: u8, deaths: bool) -> Blocks {
    Blocks { name, actors, goes, deaths, mutation: None }
}

/// The second anchor is there at the beginning, the fourth comes by a split.
const SCENARIOS: [Blocks; 5] = [
    scenario("a row comes back", [true, true, false, false, false, false], 1, true),
    scenario("a row comes back, a split", [true, true, true, false, false, false], 1, true),
    scenario("a row comes back, a merge", [true, true, false, false, true, false], 1, true),
    scenario("two splits, a merge", [false, false, true, true, true, true], 1, true),
    scenario("a merge of what was split", [false, true, true, false, true, true], 3, true),
];

/// Takes a while.
const LARGEST: Blocks = scenario("a row comes back, both", [true, true, true, false, true, false], 1, true);

const MUTATIONS: [Mutation; 7] = [
    Mutation::SplitsInTwoSteps,
    Mutation::AddsAgainInSilence,
    Mutation::LooksBeforeItLoads,
    Mutation::HintsAtWhatGoes,
    Mutation::MergesTheUnfrozen,
    Mutation::DiesBeforeItIsMerged,
    Mutation::IsForgottenAlive,
];

#[test]
fn every_schedule_keeps_the_promises_of_the_ordered_index() {
    let mut states = 0;
    println!();
    for scenario in SCENARIOS.into_iter().chain((!cfg!(debug_assertions)).then_some(LARGEST)) {
        let outcome = search(&scenario);
        println!("{:36} {:10} states {:11} steps", scenario.name, outcome.states, outcome.steps);
        assert_eq!(outcome.violation, None, "{}", scenario.name);
        states += outcome.states;
    }
    println!("model_commit: {states} states of the ordered index, 0 violations");
}

#[test]
fn every_mutation_is_caught_in_the_ordered_index() {
    println!();
    for mutation in MUTATIONS {
        let broken = |scenario: Blocks| search(&Blocks { mutation: Some(mutation), ..scenario }).violation;
        let (promise, way) = SCENARIOS.into_iter().find_map(broken).expect("to be caught");
        let (name, steps) = (format!("{mutation:?}"), way.len());
        println!("{name:24} {steps:3} steps: {promise}");
    }
    println!("model_commit: {0} of {0} mutations of the ordered index caught", MUTATIONS.len());
}
