//! What the programs make is gone after them, however they end.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod ended;

use ended::leaves_nothing;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hot_row");

/// Longer than the test, in processes on two engines.
const LONG: [&str; 8] =
    ["--workers", "2", "--sides", "hybrid,lmdb", "--millis", "600000", "--only", "processes"];

#[test]
fn an_interrupt_leaves_nothing() {
    leaves_nothing("interrupt", PROGRAM, &LONG, "shmem", Duration::from_millis(300), ("INT", 2));
}

#[test]
fn a_termination_leaves_nothing() {
    leaves_nothing("termination", PROGRAM, &LONG, "shmem", Duration::from_millis(300), ("TERM", 15));
}
