//! A signal in the middle of a run: files, mappings, processes and servers are gone with it.

#[path = "../../tests/ended/mod.rs"]
mod ended;

use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_aerostore_bench_workloads");

#[test]
fn a_signal_ends_a_comparison_and_leaves_nothing() {
    // When all are loaded; while they update; while they are brought to the disk.
    for (at, only, signal) in
        [("W1", "W1,W3", ("INT", 2)), ("W3", "W3", ("TERM", 15)), ("W11", "W11,W4", ("TERM", 15))]
    {
        let name = format!("workloads-{at}");
        let arguments = ["--short", "--only", only];
        ended::leaves_nothing(&name, PROGRAM, &arguments, at, Duration::from_millis(300), signal);
    }
}

#[test]
fn a_signal_ends_the_crucible_and_leaves_nothing() {
    let arguments = ["--crucible", "600", "--mappings", "64", "--rows", "2000"];
    // The engines are loaded, or at work.
    ended::leaves_nothing("crucible", PROGRAM, &arguments, "rows", Duration::from_secs(3), ("TERM", 15));
}

#[test]
fn a_signal_ends_scaling_and_leaves_nothing() {
    let arguments = ["--scaling", "1000", "--rows", "1000", "--rounds", "1", "--millis", "20"];
    ended::leaves_nothing("scaling", PROGRAM, &arguments, "rows", Duration::from_secs(1), ("INT", 2));
}
