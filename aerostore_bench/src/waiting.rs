//! Sessions that wait for the disk with each commit, by threads of one process, beside the disk alone.

use crate::contender::{Contender, Outcome, run_for};
use crate::engine::Aerostore;
use crate::flight::Random;
use crate::histogram::Histogram;
use crate::place::Place;
use crate::turns::{median, median_ratio};
use aerostore_core::sys::{FileSystem, OsFileSystem};
use std::error::Error;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// Bytes of the files that only the disk is asked about.
const WRITTEN_BYTES: u64 = 64 << 20;
const RESERVED_BYTES: u64 = 1 << 30;
const PAGE: u64 = 4096;

/// What a session says.
pub type Failure = Box<dyn Error + Send + Sync>;
/// One session: what it does again and again.
pub type Session<'a> = Box<dyn FnMut() -> Result<(), Failure> + Send + 'a>;

/// What a side did in all its turns.
#[derive(Default)]
struct Tally {
    rates: Vec<f64>,
    times: Histogram,
}

impl Tally {
    fn add(&mut self, outcomes: &[Outcome], turn: Duration) {
        let count: u64 = outcomes.iter().map(|outcome| outcome.operations).sum();
        self.rates.push(count as f64 / turn.as_secs_f64());
        for outcome in outcomes {
            self.times.merge(&outcome.sampled);
        }
    }

    fn print(&self, name: &str) {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| self.times.quantile(share) / 1000);
        println!("  {name:<28} {:>9.0} /s   p50 {p50} p99 {p99} p99.9 {p999} us", median(&self.rates));
    }
}

fn run(session: &mut Session<'_>, turn: Duration) -> Result<Outcome, Failure> {
    run_for(turn, 1, || session().map(|()| 1))
}

/// Sessions of one side, by threads of this process.
pub struct Side<'a> {
    name: &'static str,
    sessions: Vec<Session<'a>>,
    tally: Tally,
}

impl<'a> Side<'a> {
    /// No turns yet.
    pub fn new(name: &'static str, sessions: Vec<Session<'a>>) -> Self {
        Self { name, sessions, tally: Tally::default() }
    }

    fn take_turn(&mut self, turn: Duration) -> Result<(), Failure> {
        let outcomes: Result<Vec<Outcome>, Failure> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                self.sessions.iter_mut().map(|session| scope.spawn(move || run(session, turn))).collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a session failed")?).collect()
        });
        self.tally.add(&outcomes?, turn);
        Ok(())
    }
}

/// The disk alone, by the calls that the log makes.
///
/// # Errors
/// The operating system's.
pub fn disk(path: &Path, is_written: bool) -> Result<Vec<Session<'static>>, Failure> {
    let mut file = OsFileSystem.create_new(path)?;
    let bytes = if is_written { WRITTEN_BYTES } else { RESERVED_BYTES };
    file.preallocate(bytes)?;
    if is_written {
        for page in 0..bytes / PAGE {
            file.write_at(page * PAGE, &[1; PAGE as usize])?;
        }
    }
    file.sync_data()?;
    let mut at = 0;
    Ok(vec![Box::new(move || {
        file.write_at(at, &[2; PAGE as usize])?;
        file.sync_data()?;
        at += PAGE;
        if at < bytes {
            return Ok(());
        }
        at = 0;
        // Begun again, a reserved file is one that was written before.
        if is_written { Ok(()) } else { Err("more turns than the reserved file has pages".into()) }
    })])
}

/// Sessions of one database that wait for the disk, one for each seed. No two of a database have one: what another has made of a row
/// already is no change, and nothing to wait for. So many commits are synced together, if they come soon enough.
///
/// # Errors
/// What the database says.
pub fn sessions(
    place: &Place,
    rows: u32,
    seeds: Range<u64>,
    every_commits: u32,
) -> Result<Vec<Session<'static>>, Failure> {
    let db = place.open()?;
    db.set_config("synchronous_commit", "on")?;
    db.set_config("wal_sync_every_commits", &every_commits.to_string())?;
    let one = |seed| -> Result<Session<'static>, Failure> {
        let mut engine = Aerostore::new(db.clone()).map_err(|error| error.to_string())?;
        let mut random = Random::new(seed);
        Ok(Box::new(move || {
            let (number, step) = (random.below(rows), random.word() >> 40);
            engine.update(number, step).map_err(|error| error.to_string().into())
        }))
    };
    seeds.map(one).collect()
}

/// Lets every side have its turns, and prints what each did and the ratios of the pairs that are there.
///
/// # Errors
/// What a session says.
pub fn compare(
    sides: &mut [Side<'_>],
    rounds: u32,
    turn: Duration,
    pairs: &[(&str, &str)],
) -> Result<(), Failure> {
    for _ in 0..rounds {
        sides.iter_mut().try_for_each(|side| side.take_turn(turn))?;
    }
    println!("waiting for the disk ({rounds} turns of {turn:?})");
    for side in &*sides {
        side.tally.print(side.name);
    }
    let rates = |name: &str| sides.iter().find(|side| side.name == name).map(|side| &side.tally.rates);
    for (a, b) in pairs {
        if let (Some(a_rates), Some(b_rates)) = (rates(a), rates(b)) {
            println!("  {a} / {b}: {:.2}", median_ratio(a_rates, b_rates));
        }
    }
    Ok(())
}
