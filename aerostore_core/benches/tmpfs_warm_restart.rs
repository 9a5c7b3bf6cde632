//! How long until a database whose mapping is there answers its first read, and does that depend on its size?
//!
//! Operation     open (the process's background thread is started too), find the table, read one random row; close, timed apart
//! Peer          open the same file, map it, read one word of a random page; unmap and close, timed apart. A thread started and
//!               joined is timed beside them
//! Rows          10 000 and 1 000 000 of 64 bytes, uniform keys; `AEROSTORE_BENCH_ROWS` for another larger number
//! Durability    commit mode off; nothing is written while measuring
//! Unit          nanoseconds; one operation each, in turn
//!
//! The last process to close marked the mapping as clean, and nobody else is attached. Reading a page for the first time after
//! mapping costs a page fault on both sides; the engine reads several.
#![allow(missing_docs, reason = "a program, not a library")]

mod common;

use aerostore_core::db::{Database, OpenMode};
use aerostore_core::row::{Row, Value};
use common::flights::{self, FlightState, READ, Random};
use common::place::Place;
use common::turns::Turns;
use std::error::Error;
use std::fs::OpenOptions;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 201;

fn open_and_read(place: &Place, number: u32) -> Result<Database, Box<dyn Error>> {
    let db = place.open()?;
    let table = db.table(FlightState::NAME)?.ok_or("the table is missing")?;
    let altitude = db.begin(READ)?.get(&table, Value::Str(&flights::key(number)), |row| {
        FlightState::decode(row).map(|flight| flight.altitude())
    })?;
    black_box(altitude.ok_or("a row is missing")??);
    Ok(db)
}

/// One restart: until the first read, and the close.
fn restart(place: &Place, number: u32) -> Result<[Duration; 2], Box<dyn Error>> {
    let begin = Instant::now();
    let db = open_and_read(place, number)?;
    let open = begin.elapsed();
    if db.boot().mode != OpenMode::Warm {
        return Err("not a warm start".into());
    }
    let begin = Instant::now();
    db.close()?;
    Ok([open, begin.elapsed()])
}

/// The same with the operating system alone.
fn map_and_read(path: &Path, random: &mut Random) -> Result<[Duration; 2], Box<dyn Error>> {
    let begin = Instant::now();
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let map = memmap2::MmapRaw::map_raw(&file)?;
    let page = usize::try_from(random.word())? % (map.len() / 4096);
    // SAFETY: the page is within the mapping; nobody else has the file open, and any byte is a valid u8.
    black_box(unsafe { map.as_ptr().add(page * 4096).read_volatile() });
    let open = begin.elapsed();
    let begin = Instant::now();
    drop(map);
    drop(file);
    Ok([open, begin.elapsed()])
}

fn prepare(name: &str, rows: u32) -> Result<Place, Box<dyn Error>> {
    let place = Place::fresh(name);
    let db = place.open()?;
    flights::load(&db, rows)?;
    db.close()?;
    println!("{name}: {rows} rows, file of {} bytes", std::fs::metadata(&place.shm)?.len());
    Ok(place)
}

fn main() -> Result<(), Box<dyn Error>> {
    let sizes = [10_000, u32::try_from(common::number("AEROSTORE_BENCH_ROWS", 1_000_000))?];
    let places = [prepare("restart-small", sizes[0])?, prepare("restart-large", sizes[1])?];
    let names = ["mmap, 10 k rows", "warm, 10 k rows", "mmap, 1 M rows", "warm, 1 M rows", "thread"];
    let mut opening = Turns::new("tmpfs_warm_restart: open and first read", &names);
    let mut closing = Turns::new("tmpfs_warm_restart: close", &names[..4]);
    let mut random = Random(1);
    for round in 0..ROUNDS + 20 {
        for (size, (place, rows)) in places.iter().zip(sizes).enumerate() {
            let plain = map_and_read(&place.shm, &mut random)?;
            let warm = restart(place, random.below(rows))?;
            // The first rounds warm up.
            if round >= 20 {
                for (side, [open, close]) in [plain, warm].into_iter().enumerate() {
                    opening.add(2 * size + side, open);
                    closing.add(2 * size + side, close);
                }
            }
        }
        let begin = Instant::now();
        std::thread::spawn(|| ()).join().map_err(|_| "the thread failed")?;
        if round >= 20 {
            opening.add(4, begin.elapsed());
        }
    }
    opening.print("mmap, 10 k rows");
    opening.print("mmap, 1 M rows");
    opening.print("warm, 10 k rows");
    closing.print("warm, 10 k rows");

    let mut criterion = common::criterion();
    let mut group = criterion.benchmark_group("tmpfs_warm_restart");
    // Criterion sees the time to open only, and would go on for many times as long as it means to.
    group.sample_size(20).warm_up_time(Duration::from_millis(5)).measurement_time(Duration::from_millis(50));
    for (size, (place, rows)) in places.iter().zip(sizes).enumerate() {
        group.bench_function(names[2 * size], |bencher| {
            bencher.iter_custom(|count| {
                (0..count)
                    .map(|_| map_and_read(&place.shm, &mut random).map_or(Duration::MAX, |[open, _]| open))
                    .sum()
            });
        });
        group.bench_function(names[2 * size + 1], |bencher| {
            bencher.iter_custom(|count| {
                (0..count)
                    .map(|_| restart(place, random.below(rows)).map_or(Duration::MAX, |[open, _]| open))
                    .sum()
            });
        });
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
