//! Several processes: each maps the same memory and writes the same rows; one is killed, and nobody waits for it.
//!
//!     cargo run -p aerostore_core --example processes

mod place;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use aerostore_core::db::{Database, TxnOptions, TypedTable};
use aerostore_core::row::speedtable;
use place::Place;

/// A counter.
#[speedtable]
pub struct Counter {
    #[column(key, max = 8)]
    name: String,
    #[column(default = 0)]
    count: i64,
}

/// Commits each process makes; the one that is killed makes as many as it can.
const COMMITS: usize = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, dir, shm] = &arguments[..] {
        return work(role, &Database::builder(dir).shm_path(shm).open()?);
    }
    let place = Place::new();
    let database = place.open()?;
    let counters = database.typed_table::<Counter>()?;
    database.transaction(TxnOptions::default(), |txn| {
        counters.insert(txn, &Counter::new("honest".to_owned()))?;
        counters.insert(txn, &Counter::new("killed".to_owned()))
    })?;

    let start = |role: &str| {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(role).arg(&place.dir).arg(&place.shm).stdout(Stdio::piped()).spawn()
    };
    let mut workers = [start("honest")?, start("honest")?];
    let mut victim = start("killed")?;
    wait_for_word(&mut victim)?;
    victim.kill()?;
    victim.wait()?;
    for worker in &mut workers {
        wait_for_word(worker)?;
        worker.wait()?;
    }

    let mut txn = database.begin(TxnOptions { read_only: true, ..TxnOptions::default() })?;
    let count = |counter: Option<Counter>| counter.map_or(0, |counter| counter.count());
    println!("two processes: {} commits", count(counters.get(&mut txn, "honest")?));
    println!(
        "the killed one: {}",
        if count(counters.get(&mut txn, "killed")?) > 0 { "some" } else { "none" }
    );
    drop(txn);
    database.close()?;
    Ok(())
}

/// Waits until a process says something.
fn wait_for_word(child: &mut Child) -> std::io::Result<()> {
    let output = child.stdout.as_mut().expect("it is piped");
    BufReader::new(output).read_line(&mut String::new()).map(drop)
}

/// What the processes do.
fn work(role: &str, database: &Database) -> Result<(), Box<dyn std::error::Error>> {
    let counters: TypedTable<Counter> = database.typed_table()?;
    let options = TxnOptions { synchronous_commit: Some(false), ..TxnOptions::default() };
    let mut done = 0;
    while role == "killed" || done < COMMITS {
        database.transaction(options, |txn| {
            let mut counter = counters.get(txn, role)?.unwrap_or_else(|| Counter::new(role.to_owned()));
            counter.set_count(counter.count() + 1);
            counters.update(txn, &mut counter)
        })?;
        done += 1;
        if role == "killed" && done == 10 {
            println!("busy");
        }
    }
    println!("done");
    Ok(())
}
