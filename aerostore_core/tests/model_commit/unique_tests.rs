//! Every interleaving of transactions that give one key to several rows, and of one that makes the index.

use crate::progress::{every_mutation_is_caught, every_promise_holds};
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
    every_promise_holds("unique indexes", SCENARIOS);
}

#[test]
fn every_mutation_is_caught_in_unique_indexes() {
    let with = |scenario: &Unique, mutation| Unique { mutation: Some(mutation), ..*scenario };
    every_mutation_is_caught("unique indexes", &SCENARIOS, &MUTATIONS, with);
}
