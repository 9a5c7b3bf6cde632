//! What do commits cost that wait for the disk, and what does the log leave of the rate of those that do not?
//!
//! Rows          100 000 flights of six columns, image 64 bytes, keys of 8 characters; `--rows N`
//! Operations    update: five columns of a row, each process in rows of its own; upsert: the whole of a row, all processes in the same rows;
//!               savepoints: an update, another one after a savepoint that is rolled back, a third after one that is released; one transaction each
//! Waiting       one session and sixteen (threads), these also with `wal_sync_every_commits` 16, against the disk alone: 4 KiB written and synced again and again, in a file that was reserved as a
//!               log segment is, and in one whose bytes were written before; `aerostore_bench/peers` has the striped log of crate `aletheiadb` besides
//! Not waiting   one process and two, commit mode off, by the log writer that one of them is
//! Unit          operations per second, all sessions together; from one operation's end to the next one's in the same session; ratios turn by turn
//! Disk          the one of `TMPDIR`
//! Arguments     `--rows N --rounds N --millis N`; `--only waiting` or `not-waiting`

use aerostore_bench::arguments::Arguments;
use aerostore_bench::contender::Operation;
use aerostore_bench::engine::load;
use aerostore_bench::place::Place;
use aerostore_bench::report::{print_machine, print_pair};
use aerostore_bench::turns::take_turns;
use aerostore_bench::waiting::{Failure, Side, compare, disk, sessions};
use aerostore_bench::worker::{ProcessWorker, WORKER, Worker, serve};
use std::error::Error;
use std::time::Duration;

fn waiting(rows: u32, rounds: u32, turn: Duration) -> Result<(), Failure> {
    let (place, together) = (Place::fresh("wal-ring"), Place::fresh("wal-ring-together"));
    for place in [&place, &together] {
        drop(load(&place.open()?, rows).map_err(|error| error.to_string())?);
    }
    let mut sides = [
        Side::new("disk, reserved", disk(&place.dir.join("reserved"), false)?),
        Side::new("disk, written before", disk(&place.dir.join("written"), true)?),
        Side::new("one session", sessions(&place, rows, 0..1, 1)?),
        Side::new("sixteen sessions", sessions(&place, rows, 1..17, 1)?),
        Side::new("sixteen synced together", sessions(&together, rows, 0..16, 16)?),
    ];
    let pairs = [
        ("one session", "disk, reserved"),
        ("one session", "disk, written before"),
        ("sixteen sessions", "one session"),
        ("sixteen synced together", "sixteen sessions"),
    ];
    let log = place.open()?.status()?.log;
    compare(&mut sides, rounds, turn, &pairs)?;
    let after = place.open()?.status()?.log;
    println!(
        "  the log: {} commits in {} syncs, of these took less than so many microseconds: {:?}",
        after.record_count - log.record_count,
        after.sync_count - log.sync_count,
        after.sync_times.classes().collect::<Vec<_>>()
    );
    Ok(())
}

fn not_waiting(rows: u32, rounds: usize, turn: Duration) -> Result<(), Box<dyn Error>> {
    for operation in [Operation::Update, Operation::Upsert, Operation::Savepoints] {
        let place = Place::fresh("wal-ring");
        let db = place.open()?;
        load(&db, rows)?;
        let half = rows / 2;
        let of = |process: u32| match operation {
            Operation::Update => half * process..half * (process + 1),
            _ => 0..rows,
        };
        let mut alone = ProcessWorker::spawn_on(&place, of(0), 1)?;
        let mut pair =
            [ProcessWorker::spawn_on(&place, of(0), 2)?, ProcessWorker::spawn_on(&place, of(1), 3)?];
        let [first, second] = &mut pair;
        let mut sides: [Vec<&mut dyn Worker>; 2] = [vec![first, second], vec![&mut alone]];
        // Memory that nobody has touched yet.
        take_turns(&mut sides, operation, 1, turn)?;
        let results = take_turns(&mut sides, operation, rounds, turn)?;
        let title = format!("not waiting, {} ({rounds} turns of {turn:?})", operation.as_str());
        print_pair(&title, ["two processes", "one process"], &results);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::of_program();
    if let Some(rest) = arguments.of_role(WORKER) {
        return serve(rest);
    }
    let (rows, rounds) = (arguments.number("--rows", 100_000)?, arguments.number("--rounds", 15)?);
    let turn = Duration::from_millis(arguments.number("--millis", 400)?);
    let only = arguments.text("--only")?;
    print_machine();
    if only.is_none_or(|only| only == "waiting") {
        waiting(rows, rounds, turn).map_err(|error| error as Box<dyn Error>)?;
    }
    if only.is_none_or(|only| only == "not-waiting") {
        not_waiting(rows, usize::try_from(rounds)?, turn)?;
    }
    Ok(())
}
