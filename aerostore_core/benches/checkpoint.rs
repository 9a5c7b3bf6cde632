//! What checkpoints and cold starts cost.
//!
//! Operation     a checkpoint of all rows; commits of one update while one is taken that comes by itself, and while they are taken on demand, one
//!               after the other; a cold start from a checkpoint, and from a log of as many updates
//!               as there are rows
//! Peer          of the checkpoint: to read the same bytes from memory, checksum them and write them to another file, a mebibyte at a time,
//!               and sync it, on one thread; of the commits: the same without checkpoints; of the cold start: the rate at which the same rows
//!               and updates were committed, by transactions of one each and by such of a thousand
//! Rows          1 000 000 of 64 bytes; `AEROSTORE_BENCH_ROWS` for another number
//! Durability    commit mode off; the data directory is where temporary files are
//! Parts         `checkpoints`, `cold` and `indexes` (ordered ones on five columns, made while the database is open, and filled by a cold start); all, unless the command line names some
//! Unit          seconds of the calling thread's processor, rows and commits per second; medians of the rounds, in turn
#![allow(missing_docs, reason = "a program, not a library")]

mod common;

use aerostore_core::db::{Database, OpenMode, Table, TxnOptions};
use aerostore_core::row::{IndexSpec, Row, RowImage, Value};
use common::flights::{self, FlightState, Random};
use common::place::Place;
use crossbeam_utils::atomic::AtomicCell;
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: u64 = 5;
const BLOCK: usize = 1 << 20;
/// How long commits are counted.
const TURN: Duration = Duration::from_secs(3);

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Processor time of the calling thread, in seconds.
fn cpu() -> f64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid place for the result; the clock exists on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)).as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn rate(count: u64, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

/// Reads, checksums and writes the bytes of a file that is in memory.
fn copy(bytes: &[u8], path: &Path) -> Outcome<f64> {
    let begun = cpu();
    let file = File::create(path)?;
    let mut block = vec![0; BLOCK];
    let (mut at, mut sum) = (0, 0);
    for part in bytes.chunks(BLOCK) {
        let block = &mut block[..part.len()];
        block.copy_from_slice(part);
        sum ^= crc32c::crc32c(block);
        file.write_all_at(block, at)?;
        at += part.len() as u64;
    }
    file.sync_data()?;
    std::hint::black_box(sum);
    let took = cpu() - begun;
    std::fs::remove_file(path)?;
    Ok(took)
}

fn update(db: &Database, table: &Table, number: u32, step: u64) -> Outcome<()> {
    let mut txn = db.begin(TxnOptions::default())?;
    txn.set(table, Value::Str(&flights::key(number)), &flights::position(number, step))?;
    txn.commit()?;
    Ok(())
}

/// Commits of one update each, per second.
fn commits(db: &Database, table: &Table, rows: u32, step: &mut u64) -> Outcome<f64> {
    let mut random = Random(*step);
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < TURN {
        for _ in 0..100 {
            *step += 1;
            update(db, table, random.below(rows), *step)?;
        }
        count += 100;
    }
    Ok(rate(count, begun.elapsed()))
}

/// Commits between two looks whether a checkpoint is being taken.
const STRIDE: u32 = 500;

/// Commits of one update each, per second: while no checkpoint is taken, and while one is, as they come by themselves every
/// half a second or so.
fn beside_automatic(db: &Database, table: &Table, rows: u32, step: &mut u64) -> Outcome<[f64; 2]> {
    db.set_config("checkpoint_log_mib", "1")?;
    let mut random = Random(*step);
    let mut counted = [(0, Duration::ZERO); 2];
    let begun = Instant::now();
    let is_taken = || Ok::<bool, Box<dyn Error>>(db.status()?.checkpoint_pid.is_some());
    while begun.elapsed() < 2 * TURN {
        let (before, at) = (is_taken()?, Instant::now());
        for _ in 0..STRIDE {
            *step += 1;
            update(db, table, random.below(rows), *step)?;
        }
        let took = at.elapsed();
        if before == is_taken()? {
            let (count, time) = &mut counted[usize::from(before)];
            *count += u64::from(STRIDE);
            *time += took;
        }
    }
    db.set_config("checkpoint_log_mib", "0")?;
    while is_taken()? {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!(
        "  taken by themselves: {:.0} % of the time",
        100.0 * counted[1].1.as_secs_f64() / begun.elapsed().as_secs_f64()
    );
    Ok(counted.map(|(count, time)| rate(count, time)))
}

/// Checkpoints beside the peer, and commits with and without them.
fn checkpoints(db: &Database, table: &Table, place: &Place, rows: u32) -> Outcome<()> {
    let (mut ratios, mut walls, mut kept, mut kept_automatic) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let copy_path = place.dir.join("copy");
    let mut step = 0;
    for _ in 0..ROUNDS {
        let begun = cpu();
        let taken = db.checkpoint()?;
        let took = cpu() - begun;
        let path = place.dir.join(format!("checkpoints/{:016x}.rows", taken.number));
        let bytes = std::fs::read(path)?;
        let peer = copy(&bytes, &copy_path)?;
        ratios.push(took / peer);
        walls.push(Duration::from_micros(taken.elapsed_us).as_secs_f64() * 1000.0);
        let alone = commits(db, table, rows, &mut step)?;
        let is_over = AtomicCell::new(false);
        let beside = std::thread::scope(|scope| -> Outcome<f64> {
            let thread = scope.spawn(|| {
                let mut count = 0;
                while !is_over.load() {
                    db.checkpoint().map_err(|error| error.to_string())?;
                    count += 1;
                }
                Ok::<u32, String>(count)
            });
            let beside = commits(db, table, rows, &mut step);
            is_over.store(true);
            let count = thread.join().map_err(|_| "the thread failed")??;
            println!("  {count} checkpoints in {} s of commits", TURN.as_secs());
            beside
        })?;
        kept.push(beside / alone);
        let [without, with] = beside_automatic(db, table, rows, &mut step)?;
        kept_automatic.push(with / without);
        println!(
            "  checkpoints that come by themselves: commits {without:.0}/s, while one is taken {with:.0}/s"
        );
        println!(
            "  checkpoint: {:.1} ms of processor for {} bytes, peer {:.1} ms; commits {alone:.0}/s, with checkpoints all the time {beside:.0}/s",
            took * 1e3,
            taken.bytes,
            peer * 1e3,
        );
    }
    println!(
        "checkpoint of {rows} rows: {:.1} ms, processor {:.2} x the peer",
        median(walls),
        median(ratios)
    );
    println!(
        "commits while a checkpoint is taken that comes by itself: {:.2} x without",
        median(kept_automatic)
    );
    println!(
        "commits while checkpoints are taken on demand, one after the other: {:.2} x without",
        median(kept)
    );
    Ok(())
}

/// Fills an empty database by transactions of one row each; rows per second.
fn fill(db: &Database, rows: u32) -> Outcome<f64> {
    let table = db.create_table(FlightState::schema())?;
    let mut image = RowImage::new(FlightState::schema());
    let begun = Instant::now();
    for number in 0..rows {
        image.reset(FlightState::schema());
        image.set(FlightState::schema(), 0, Value::Str(&flights::key(number)))?;
        for (column, value) in flights::position(number, 0) {
            image.set(FlightState::schema(), column, value)?;
        }
        let mut txn = db.begin(TxnOptions::default())?;
        txn.upsert(&table, &image)?;
        txn.commit()?;
    }
    Ok(rate(u64::from(rows), begun.elapsed()))
}

fn reopen(place: &Place, db: Database) -> Outcome<Database> {
    db.close()?;
    std::fs::remove_file(&place.shm)?;
    let db = place.open()?;
    if db.boot().mode != OpenMode::Cold {
        return Err("not a cold start".into());
    }
    Ok(db)
}

fn cold_starts(rows: u32) -> Outcome<()> {
    let (mut loads, mut replays) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let place = Place::fresh("cold");
        let db = place.open()?;
        let batches = Instant::now();
        flights::load(&db, rows)?;
        let by_thousands = rate(u64::from(rows), batches.elapsed());
        db.close()?;
        drop(place);
        let place = Place::fresh("cold-one");
        let db = place.open()?;
        let by_one = fill(&db, rows)?;
        db.checkpoint()?;
        let db = reopen(&place, db)?;
        let [load_us, ..] = db.boot().recovery_us;
        let load = rate(db.boot().loaded, Duration::from_micros(load_us));
        loads.push(load / by_one);
        let table = db.table(FlightState::NAME)?.ok_or("the table is missing")?;
        let mut random = Random(9);
        let begun = Instant::now();
        for step in 0..u64::from(rows) {
            update(&db, &table, random.below(rows), step + 1)?;
        }
        let committed = rate(u64::from(rows), begun.elapsed());
        let db = reopen(&place, db)?;
        let [_, replay_us, index_us] = db.boot().recovery_us;
        let replay = rate(db.boot().replayed, Duration::from_micros(replay_us));
        replays.push(replay / committed);
        println!(
            "  rows committed one by one {by_one:.0}/s, by thousands {by_thousands:.0}/s, loaded {load:.0}/s; updates committed {committed:.0}/s, replayed {replay:.0}/s; indexes {index_us} us"
        );
        db.close()?;
    }
    println!("load: {:.2} x the rate at which rows were committed one by one", median(loads));
    println!("replay: {:.2} x the rate at which updates were committed one by one", median(replays));
    Ok(())
}

fn main() -> Outcome<()> {
    let rows = u32::try_from(common::number("AEROSTORE_BENCH_ROWS", 1_000_000))?;
    let parts: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|word| word == part);
    if is_wanted("checkpoints") {
        checkpoints_of(rows)?;
    }
    if is_wanted("cold") {
        cold_starts(rows)?;
    }
    if is_wanted("indexes") {
        indexes_of(rows)?;
    }
    Ok(())
}

fn indexes_of(rows: u32) -> Outcome<()> {
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let place = Place::fresh("indexes");
        let db = place.open()?;
        let table = flights::load(&db, rows)?;
        let columns = FlightState::schema().columns().len();
        let entries = u64::from(rows) * (columns as u64 - 1);
        let begun = Instant::now();
        for column in 1..columns {
            db.create_index(&table, column, IndexSpec::default())?;
        }
        let made = rate(entries, begun.elapsed());
        db.checkpoint()?;
        let db = reopen(&place, db)?;
        let [.., index_us] = db.boot().recovery_us;
        let filled = rate(entries, Duration::from_micros(index_us));
        println!("  entries of indexes made {made:.0}/s, filled by a cold start {filled:.0}/s");
        ratios.push(filled / made);
        db.close()?;
    }
    println!("indexes: filled at {:.2} x the rate at which they were made", median(ratios));
    Ok(())
}

fn checkpoints_of(rows: u32) -> Outcome<()> {
    let place = Place::fresh("checkpoint");
    let db = place.open()?;
    db.set_config("checkpoint_log_mib", "0")?;
    let table = flights::load(&db, rows)?;
    checkpoints(&db, &table, &place, rows)?;
    Ok(db.close()?)
}
