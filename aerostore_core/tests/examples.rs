//! The programs in `examples/`, run as a user runs them.
#![allow(missing_docs, reason = "tests")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// After this an example counts as stuck; it may have to be built.
const PATIENCE: Duration = Duration::from_mins(15);

fn output(example: &str) -> String {
    let mut child = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "aerostore_core", "--example", example])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo is there");
    let started = Instant::now();
    // What an example prints fits a pipe.
    while child.try_wait().expect("a child can be waited for").is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().expect("a child can be killed");
            panic!("example {example} did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("a child can be waited for");
    assert!(output.status.success(), "example {example}: {}", output.status);
    String::from_utf8(output.stdout).expect("an example prints text")
}

#[test]
fn seats_are_sold_once() {
    assert_eq!(output("seats"), "5 of 9 buyers have a seat\nDLH4 is there: true\nSWR8K: 5 sold, 0 free\n");
}

#[test]
fn queries_find_what_they_ask_for() {
    let output = output("queries");
    let (rows, plan) = output.split_at(output.find("filter").expect("a plan"));
    assert_eq!(
        rows,
        "F999 at Some(39960) to Some(\"LSZH\")\nF996 at Some(39840) to Some(\"LSZH\")\n\
         F993 at Some(39720) to Some(\"LSZH\")\n106 without altitude, or fast\n6 of that name\n75 high up\n"
    );
    assert!(plan.contains("index"), "{plan}");
}

#[test]
fn a_copy_that_follows_the_table_is_the_table() {
    assert_eq!(
        output("follow"),
        "commit 1: Insert B8\ncommit 2: Update B7\ncommit 3: Delete B8\n{\"B7\": Some(12)}\n"
    );
}

#[test]
fn processes_count_together_and_outlive_a_killed_one() {
    assert_eq!(output("processes"), "two processes: 1000 commits\nthe killed one: some\n");
}
