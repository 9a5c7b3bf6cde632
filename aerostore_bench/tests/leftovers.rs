//! What the programs make is gone after them, however they end.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod ended;

use ended::{Folders, leaves_nothing};
use std::process::Command;
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

#[test]
fn what_the_dead_left_goes_and_the_living_keep_theirs() {
    let folders = Folders::new("dead");
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    for dir in folders.both() {
        std::fs::write(dir.join(format!("aerostore-bench-file-{}.mmap", dead.id())), "").unwrap();
        std::fs::create_dir_all(dir.join(format!("aerostore-bench-dir-{}", dead.id())).join("below"))
            .unwrap();
    }
    let kept = format!("aerostore-bench-kept-{}", std::process::id());
    std::fs::write(folders.both()[0].join(&kept), "").unwrap();
    let short =
        ["--workers", "1", "--sides", "hybrid", "--millis", "5", "--rounds", "1", "--only", "processes"];
    assert_eq!(folders.start(PROGRAM, &short).wait(), Some(0));
    assert_eq!(folders.names(), [kept]);
}
