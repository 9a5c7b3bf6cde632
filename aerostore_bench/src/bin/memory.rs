//! Where are the bytes of a row with indexes, and what do updates add?
//!
//! Rows          1 000 000 flights of fourteen columns, 108 bytes; ordered indexes on lat, lon, altitude, gs, dest, `updated_at`
//! Updates       five indexed columns of a random row, a transaction each; in turns, each by a thread of its own, one after the other; and what
//!               is left after some seconds without any
//! Unit          bytes a row, in slabs of 64 KiB that are in use; in blocks in use, free, retired (waiting for readers) and reserved
//! Arguments     `--rows N --turns N --updates N` (of a turn) `--threads 0` (all by one session)

#![forbid(unsafe_code)]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use aerostore_bench::arguments::Arguments;
use aerostore_bench::flight::Random;
use aerostore_bench::indexed::{Aerostore, Failure, Indexed, Move};
use aerostore_bench::place::Place;
use aerostore_bench::report::print_machine;
use aerostore_bench::wide::Wide;
use aerostore_core::db::Database;
use aerostore_core::shm::BlockKind;
use std::time::Duration;

fn name(kind: Option<BlockKind>) -> String {
    match kind {
        None => "all free".to_owned(),
        Some(BlockKind::ROW) => "rows".to_owned(),
        Some(BlockKind::VERSION) => "versions".to_owned(),
        Some(BlockKind::HASH_SEGMENT) => "hash of keys".to_owned(),
        Some(BlockKind::INDEX_ANCHOR) => "anchors of index blocks".to_owned(),
        Some(BlockKind::INDEX_BLOCK) => "index blocks".to_owned(),
        Some(BlockKind::RING) => "log rings".to_owned(),
        Some(other) => format!("{other:?}"),
    }
}

fn print(db: &Database, rows: u32, when: &str) -> Result<(), Failure> {
    let a_row = |bytes: u64| bytes as f64 / f64::from(rows);
    let (status, memory) = (db.status()?, db.memory()?);
    let given_back = a_row(status.given_back_bytes);
    println!(
        "{when}: {:.1} used, {:.1} in the file, {given_back:.1} given back",
        a_row(status.used_bytes),
        a_row(status.file_bytes)
    );
    println!("  {:<36} {:>8} {:>8} {:>8} {:>8} {:>8}", "", "slabs", "live", "free", "retired", "reserved");
    for (kind, bytes) in memory {
        let [slabs, live, free, retired, reserved] =
            [bytes.slabs, bytes.live, bytes.free, bytes.retired, bytes.reserved].map(a_row);
        println!("  {:<36} {slabs:>8.1} {live:>8.1} {free:>8.1} {retired:>8.1} {reserved:>8.1}", name(kind));
    }
    Ok(())
}

fn update(side: &mut Aerostore, random: &mut Random, rows: u32, count: u32) -> Result<(), Failure> {
    for _ in 0..count {
        side.update(random.below(rows), Move::Far, random.word())?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::of_program();
    let (rows, turns) = (arguments.number("--rows", 1_000_000)?, arguments.number("--turns", 10)?);
    let (updates, threads) = (arguments.number("--updates", 100_000)?, arguments.number("--threads", 1)?);
    print_machine();
    let place = Place::fresh("memory");
    let db = place.open_up_to(16 << 30)?;
    let mut text = Vec::new();
    (0..rows).try_for_each(|number| Wide::new(number).write_tsv(&mut text))?;
    Aerostore::ingest(&db, &text)?;
    drop(text);
    print(&db, rows, "after the load")?;
    let (mut side, mut random) = (Aerostore::new(db.clone())?, Random::new(7));
    for _ in 0..turns {
        if threads == 0 {
            update(&mut side, &mut random, rows, updates)?;
        } else {
            let turn = || update(&mut side, &mut random, rows, updates);
            std::thread::scope(|scope| scope.spawn(turn).join()).map_err(|_| "a worker failed")??;
        }
    }
    print(&db, rows, "after the updates")?;
    std::thread::sleep(Duration::from_secs(5));
    print(&db, rows, "five seconds later")
}
