//! The commit protocol, exhaustively: every interleaving of three transactions on two rows, with forced aborts at any
//! step and the log writer, by explicit states.
//!
//! The rules under test:
//!
//! - R1 a record only moves ACTIVE, PENDING, PREPARED(C), COMMITTED(C), or from an undecided state to ABORTED, by CAS;
//! - R2 every version is linked before its record leaves ACTIVE;
//! - R3 the timestamp is taken after PENDING is visible, and whoever meets PENDING takes one and CASes it in;
//! - R4 the log record lies in the ring before the commit point;
//! - a reader waits for a PREPARED writer of its past, validation at C does the same, and the log writer keeps its
//!   watermark below what is undecided;
//! - Z1 who reads without a snapshot reads a head that is stamped, as of what the clock showed when it was loaded, or of the stamp; Z4 and
//!   that still is the head after that: a transaction pushes out what it has written to a row before;
//! - R5, G5 a record is used again only when its log entry bears the decision, and a log writer that has asked a record
//!   looks at the entry again.
//!
//! Promised in every state: committed transactions are serializable in timestamp order; no transaction, committed or
//! not yet, has a torn snapshot; chains lose nothing and stay sorted; the log is a prefix of the committed; nobody waits
//! for ever. A model in which nothing can fail proves nothing, so each rule is also broken on purpose, and each break must be
//! found.
//!
//! Smaller models stand beside it: `queue`, of locks and turns, `growth`, of the key index, and `blocks`, of the ordered index.
//!
//! Left to other tests: reclamation before a record is used again (R5) and killing between a note in the slot's list and its
//! CAS (R6), which concern memory rather than order; ranges; weak memory (here steps are sequentially consistent; loom tests the shipped
//! atomics).
#![forbid(unsafe_code)]

mod blocks;
mod blocks_tests;
mod check;
mod explore;
mod growth;
mod growth_tests;
mod log;
mod progress;
mod protocol;
mod queue;
mod queue_tests;
mod state;
mod unique;
mod unique_tests;

use explore::{Outcome, explore};
use protocol::{Actor, Label, MUTATIONS, Model};
use state::Operation::{self, Lock, Look, Read, Write};
use std::thread;
use std::time::Instant;

const X: u8 = 0;
const Y: u8 = 1;

struct Scenario {
    name: &'static str,
    programs: [&'static [Operation]; 3],
}

const SCENARIOS: [Scenario; 9] = [
    Scenario {
        name: "two-row writer with readers",
        programs: [&[Read(X), Write(X), Write(Y)], &[Read(X), Read(Y)], &[Read(Y), Read(X)]],
    },
    Scenario {
        name: "a look without a snapshot",
        programs: [&[Read(X), Write(X), Write(Y)], &[Read(Y), Write(X)], &[Look(X)]],
    },
    Scenario {
        name: "a row that is written twice",
        programs: [&[Write(X), Write(X)], &[Read(X), Write(X)], &[Look(X)]],
    },
    Scenario {
        name: "blind writers with a reader",
        programs: [&[Write(X), Write(Y)], &[Write(Y), Write(X)], &[Read(X), Read(Y)]],
    },
    Scenario {
        name: "write skew with a reader",
        programs: [&[Read(X), Read(Y), Write(X)], &[Read(X), Read(Y), Write(Y)], &[Read(X), Read(Y)]],
    },
    Scenario {
        name: "three on one hot row",
        programs: [&[Read(X), Write(X)], &[Read(X), Write(X)], &[Read(X), Write(X)]],
    },
    Scenario {
        name: "read-write cycle",
        programs: [&[Read(X), Write(Y)], &[Read(Y), Write(X)], &[Read(Y), Read(X)]],
    },
    Scenario {
        name: "read-write cycle with locks",
        programs: [&[Lock(X), Read(X), Write(Y)], &[Lock(Y), Read(Y), Write(X)], &[Read(Y), Read(X)]],
    },
    Scenario {
        name: "lock plus extension",
        programs: [&[Read(Y), Lock(X), Read(X), Write(X)], &[Read(X), Write(X)], &[Read(X), Write(Y)]],
    },
];

fn describe(trace: &[Label]) -> String {
    let lines = trace.iter().map(|(actor, what)| match actor {
        Actor::Transaction(t) => format!("  T{} {what}\n", t + 1),
        Actor::Forcer(t) => format!("  T{} is {what}\n", t + 1),
        Actor::LogWriter => format!("  log writer {what}\n"),
    });
    lines.collect()
}

/// Forced aborts and rounds of the log writer: everything, unless the build is not optimized and so ten times slower.
const LIMITS: (u8, u8) = if cfg!(debug_assertions) { (1, 0) } else { (2, 1) };

#[test]
fn every_schedule_keeps_the_promises() {
    let (forced_aborts, log_rounds) = LIMITS;
    let outcomes: Vec<(Outcome, f64)> = thread::scope(|scope| {
        let search = |scenario: &Scenario| {
            let started = Instant::now();
            let model = Model { programs: scenario.programs, mutation: None };
            (explore(&model, forced_aborts, log_rounds), started.elapsed().as_secs_f64())
        };
        let running: Vec<_> =
            SCENARIOS.iter().map(|scenario| scope.spawn(move || search(scenario))).collect();
        running.into_iter().map(|thread| thread.join().expect("a search does not panic")).collect()
    });
    println!("\n{:32} {:>12} {:>12} {:>6} {:>9}", "scenario", "states", "steps", "depth", "seconds");
    for (Scenario { name, .. }, (outcome, seconds)) in SCENARIOS.iter().zip(&outcomes) {
        println!("{name:32} {:12} {:12} {:6} {seconds:9.2}", outcome.states, outcome.steps, outcome.depth);
        if let Some((promise, trace)) = &outcome.violation {
            panic!("{name}: {promise}\n{}", describe(trace));
        }
    }
    let states: usize = outcomes.iter().map(|(outcome, _)| outcome.states).sum();
    println!(
        "model_commit: {states} states explored, up to {forced_aborts} forced aborts, {log_rounds} log rounds, 0 violations"
    );
}

#[test]
fn every_mutation_is_caught() {
    println!("\n{:24} {:30} {:>10}  broken promise", "mutation", "scenario", "states");
    let mut caught = 0;
    for mutation in MUTATIONS {
        let found = SCENARIOS.iter().find_map(|scenario| {
            let model = Model { programs: scenario.programs, mutation: Some(mutation) };
            let outcome = explore(&model, 1, 1);
            outcome.violation.map(|(promise, _)| (scenario.name, outcome.states, promise))
        });
        let name = format!("{mutation:?}");
        match found {
            Some((scenario, states, promise)) => {
                println!("{name:24} {scenario:30} {states:10}  {promise}");
                caught += 1;
            }
            None => println!("{name:24} NOT CAUGHT"),
        }
    }
    println!("model_commit: {caught} of {} mutations caught", MUTATIONS.len());
    assert_eq!(caught, MUTATIONS.len());
}
