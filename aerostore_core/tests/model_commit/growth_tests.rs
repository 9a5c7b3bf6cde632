//! Every interleaving of the key index's growth with a removal and inserts.

use crate::growth::{Growth, Mutation};
use crate::progress::{every_mutation_is_caught, every_promise_holds};

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
    every_promise_holds("the key index that grows", SCENARIOS);
}

#[test]
fn every_mutation_is_caught_in_growth() {
    let with = |scenario: &Growth, mutation| Growth { mutation: Some(mutation), ..*scenario };
    every_mutation_is_caught("growth", &SCENARIOS, &MUTATIONS, with);
}
