//! Every interleaving of transactions that give one key to several rows, and of one that makes the index.

use crate::progress::search;
use crate::unique::{Mutation, Program, Unique};

use Program::{Gives, Nothing, Takes};

const fn scenario(name: &'static str, programs: [Program; 3], has_key: bool, is_made: bool) -> Unique {
    Unique { name, programs, has_key, is_made, aborts: 1, mutation: None }
}

const SCENARIOS: [Unique; 6] = [
    scenario("three give", [Gives, Gives, Gives], false, false),
    scenario("one takes, two give", [Takes, Gives, Gives], true, false),
    scenario("two give while it is made", [Nothing, Gives, Gives], false, true),
    scenario("one gives what is there while it is made", [Nothing, Gives, Nothing], true, true),
    scenario("one takes, one gives while it is made", [Takes, Gives, Nothing], true, true),
    Unique {
        aborts: 0,
        ..scenario("one takes, two give while it is made", [Takes, Gives, Gives], true, true)
    },
];

const MUTATIONS: [Mutation; 6] = [
    Mutation::LooksBeforeItDraws,
    Mutation::AddsWhilePrepared,
    Mutation::WaitsForNobody,
    Mutation::AsksBeforeItDraws,
    Mutation::AnnouncesLast,
    Mutation::BuilderLooksBack,
];

#[test]
fn every_schedule_keeps_a_unique_index_unique() {
    let mut states = 0;
    println!();
    for scenario in SCENARIOS {
        let outcome = search(&scenario);
        println!("{:40} {:10} states {:11} steps", scenario.name, outcome.states, outcome.steps);
        assert_eq!(outcome.violation, None, "{}", scenario.name);
        states += outcome.states;
    }
    println!("model_commit: {states} states of unique indexes, 0 violations");
}

#[test]
fn every_mutation_is_caught_in_unique_indexes() {
    println!();
    for mutation in MUTATIONS {
        let broken = |scenario: Unique| search(&Unique { mutation: Some(mutation), ..scenario }).violation;
        let (promise, way) = SCENARIOS.into_iter().find_map(broken).expect("to be caught");
        let (name, steps) = (format!("{mutation:?}"), way.len());
        println!("{name:24} {steps:3} steps: {promise}");
    }
    println!("model_commit: {0} of {0} mutations of unique indexes caught", MUTATIONS.len());
}
