//! Every interleaving of what is done to the ordered index. A build without optimization leaves out the largest scenario.

use crate::blocks::{Blocks, Mutation};
use crate::progress::{every_mutation_is_caught, every_promise_holds};

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
    every_promise_holds(
        "the ordered index",
        SCENARIOS.into_iter().chain((!cfg!(debug_assertions)).then_some(LARGEST)),
    );
}

#[test]
fn every_mutation_is_caught_in_the_ordered_index() {
    let with = |scenario: &Blocks, mutation| Blocks { mutation: Some(mutation), ..*scenario };
    every_mutation_is_caught("the ordered index", &SCENARIOS, &MUTATIONS, with);
}
