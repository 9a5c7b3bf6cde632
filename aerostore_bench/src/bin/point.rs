//! What do reading and updating one row by key cost, against a concurrent map of one process, and do two processes do
//! twice the work of one?
//!
//! Rows          1 000 000 flights of six columns, image 64 bytes; key of 8 characters; `--rows` for another number
//! Keys          uniform random
//! Operations    one row each: read copies the row, update sets the five other columns
//! Durability    commit mode off (the log is written behind); papaya has none
//! Unit          rows per second; ratios turn by turn
//! Arguments     `--rows N --rounds N --millis N --only OPERATION`

#![forbid(unsafe_code)]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use aerostore_bench::arguments::Arguments;
use aerostore_bench::contender::Operation;
use aerostore_bench::place::Place;
use aerostore_bench::report::{print_machine, print_pair};
use aerostore_bench::turns::take_turns;
use aerostore_bench::worker::{ProcessWorker, ThreadWorker, WORKER, Worker, serve};
use aerostore_bench::{engine, peer};
use std::error::Error;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::of_program();
    if let Some(rest) = arguments.of_role(WORKER) {
        return serve(rest);
    }
    let (rows, rounds) = (arguments.number("--rows", 1_000_000)?, arguments.number("--rounds", 21)?);
    let turn = Duration::from_millis(arguments.number("--millis", 200)?);
    let only = arguments.text("--only")?.and_then(Operation::from_word);
    let operations: Vec<Operation> = only.map_or(Operation::COMMON.to_vec(), |only| vec![only]);
    compare(&operations, rows, rounds, turn)
}

fn compare(operations: &[Operation], rows: u32, rounds: usize, turn: Duration) -> Result<(), Box<dyn Error>> {
    print_machine();
    let place = Place::fresh("point");
    let db = place.open()?;
    let empty = db.status()?.used_bytes;
    let begin = Instant::now();
    engine::load(&db, rows)?;
    let loaded = db.status()?.used_bytes;
    println!("loaded       {rows} rows in {:.2} s", begin.elapsed().as_secs_f64());
    println!("memory       {:.1} bytes a row (arena in use)", (loaded - empty) as f64 / f64::from(rows));
    let map = peer::load(rows);
    let mut processes = [ProcessWorker::spawn(&place, rows, 1)?, ProcessWorker::spawn(&place, rows, 2)?];
    let mut threads = [ThreadWorker::spawn(&map, rows, 1), ThreadWorker::spawn(&map, rows, 2)];
    for &operation in operations {
        let mut single = 0.0;
        let mut single_peer = 0.0;
        for workers in [1, 2] {
            let ours = processes[..workers].iter_mut().map(|worker| worker as &mut dyn Worker).collect();
            let theirs = threads[..workers].iter_mut().map(|worker| worker as &mut dyn Worker).collect();
            let mut sides = [ours, theirs];
            // Two turns to touch every page and fill the caches.
            take_turns(&mut sides, operation, 2, turn * 4)?;
            let results = take_turns(&mut sides, operation, rounds, turn)?;
            let title = format!("{}, {workers} worker(s)", operation.as_str());
            print_pair(&title, ["aerostore (processes)", "papaya (threads)"], &results);
            if workers == 1 {
                (single, single_peer) = (results[0].rate(), results[1].rate());
            } else {
                println!(
                    "  two against one: aerostore {:.2}, papaya {:.2}",
                    results[0].rate() / single,
                    results[1].rate() / single_peer
                );
            }
        }
    }
    Ok(())
}
