//! What do sixteen workers make of one row that all of them increment, and does each of them have its share?
//!
//! Row           one counter: a name of 3 characters and an i64; in LMDB 64 bytes under a key of 3 characters
//! Operation     one transaction: read the counter, write it incremented, commit
//! Sides         hybrid: the default retry policy; modify: the same with the engine's call that reads and writes at once;
//!               optimistic: a conflict ends the transaction, which is run again at once: no locks, no queue, no pause;
//!               LMDB (`heed`), no sync
//! Workers       processes, then threads of one process; after each turn of them all, one of a worker alone
//! Durability    commit mode off (the log is written behind); LMDB in /dev/shm, never synced
//! Unit          increments per second, all workers together; their processor time per increment; from one increment's end to the
//!               next one's in the same worker; worst worker against best over all turns; all together against one alone, which is
//!               the limit where one transaction of a row ends before the next begins
//! Arguments     `--workers N --rounds N --millis N`; `--only processes` or `threads`; `--sides hybrid,lmdb`

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use aerostore_bench::arguments::Arguments;
use aerostore_bench::contender::cpu_nanos;
use aerostore_bench::histogram::Histogram;
use aerostore_bench::place::Place;
use aerostore_bench::report::print_machine;
use aerostore_bench::turns::{median, median_ratio};
use aerostore_bench::worker::{Servant, WORKER};
use aerostore_core::db::{Change, Database, RetryPolicy, Table, TxnOptions};
use aerostore_core::row::{Column, ColumnType, Schema, Value};
use heed::types::{Bytes, Str};
use heed::{Env, EnvFlags, EnvOpenOptions};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

const ROW: &str = "row";
const SIDES: [&str; 4] = ["hybrid", "modify", "optimistic", "lmdb"];

type Failure = Box<dyn Error + Send + Sync>;

/// Something with a counter.
#[derive(Clone)]
enum Side {
    Aerostore { db: Database, table: Table, policy: RetryPolicy, at_once: bool },
    Lmdb { env: Env, rows: heed::Database<Str, Bytes> },
}

impl Side {
    fn open(name: &str, place: &Place) -> Result<Self, Failure> {
        if name == "lmdb" {
            let path = &place.shm;
            std::fs::create_dir_all(path)?;
            let mut options = EnvOpenOptions::new();
            options.map_size(64 << 20).max_readers(64);
            // SAFETY: nobody but this program's workers has the file, and none of them opens it twice or truncates it; what
            // a crash of the machine would do to a file that is never synced does not matter to a measurement.
            let env = unsafe { options.flags(EnvFlags::NO_SYNC).open(path)? };
            let mut txn = env.write_txn()?;
            let rows = env.create_database(&mut txn, None)?;
            txn.commit()?;
            return Ok(Self::Lmdb { env, rows });
        }
        let db = place.open()?;
        let schema = Schema::builder("Counter")
            .column(Column::new("name", ColumnType::String(8)))
            .column(Column::new("value", ColumnType::I64))
            .key("name")
            .build()?;
        let table = db.create_table(&schema)?;
        let tries = u32::MAX;
        let policy = match name {
            "optimistic" => RetryPolicy { tries, ..RetryPolicy::at_once() },
            _ => RetryPolicy { tries, ..RetryPolicy::default() },
        };
        let side = Self::Aerostore { db, table, policy, at_once: name == "modify" };
        side.add_at_once(0)?;
        Ok(side)
    }

    /// Adds `by` to the counter and returns what it is then.
    fn add(&self, by: i64) -> Result<i64, Failure> {
        match self {
            Self::Aerostore { at_once: true, .. } => self.add_at_once(by),
            Self::Aerostore { db, table, policy, .. } => {
                let mut now = 0;
                db.transaction_with(*policy, TxnOptions::default(), |txn| {
                    let read = txn.get(table, Value::Str(ROW), |row| row.get(1).as_i64())?;
                    now = by + read.flatten().unwrap_or_default();
                    txn.set(table, Value::Str(ROW), &[(1, Value::I64(now))])
                })?;
                Ok(now)
            }
            Self::Lmdb { env, rows } => {
                let mut txn = env.write_txn()?;
                let mut image = [0; 64];
                if let Some(row) = rows.get(&txn, ROW)? {
                    image.copy_from_slice(row);
                }
                let mut count = [0; 8];
                count.copy_from_slice(&image[..8]);
                let now = i64::from_le_bytes(count) + by;
                image[..8].copy_from_slice(&now.to_le_bytes());
                rows.put(&mut txn, ROW, &image)?;
                txn.commit()?;
                Ok(now)
            }
        }
    }

    fn add_at_once(&self, by: i64) -> Result<i64, Failure> {
        let Self::Aerostore { db, table, policy, .. } = self else { return self.add(by) };
        let mut now = 0;
        db.transaction_with(*policy, TxnOptions::default(), |txn| {
            txn.modify(table, Value::Str(ROW), |row, image| {
                now = by + row.and_then(|row| row.get(1).as_i64()).unwrap_or_default();
                match row {
                    Some(row) => image.copy_from(row),
                    None => image.set(table.schema(), 0, Value::Str(ROW))?,
                }
                image.set(table.schema(), 1, Value::I64(now))?;
                Ok(Change::Put)
            })
        })?;
        Ok(now)
    }

    fn run(&self, turn: Duration) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        let cpu_before = cpu_nanos();
        let mut before = Instant::now();
        let end = before + turn;
        while before < end {
            self.add(1)?;
            let now = Instant::now();
            outcome.count += 1;
            outcome.times.add(u64::try_from((now - before).as_nanos())?);
            before = now;
        }
        outcome.cpu_nanos = cpu_nanos() - cpu_before;
        Ok(outcome)
    }
}

/// What a worker did in its turn.
#[derive(Default)]
struct Outcome {
    count: u64,
    /// Processor time, the kernel's for it included.
    cpu_nanos: u64,
    times: Histogram,
}

struct Process(Servant);

impl Process {
    fn spawn(side: &str, place: &Place) -> Result<Self, Failure> {
        let arguments = [Path::new(WORKER), Path::new(side), &place.dir, &place.shm];
        Ok(Self(Servant::spawn(&arguments).map_err(|error| error.to_string())?))
    }

    fn start(&mut self, turn: Duration) -> Result<(), Failure> {
        Ok(self.0.tell(&turn.as_millis().to_string()).map_err(|error| error.to_string())?)
    }

    fn finish(&mut self) -> Result<Outcome, Failure> {
        let line = self.0.hear().map_err(|error| error.to_string())?;
        let mut words = line.split_whitespace();
        let mut number = || words.next().and_then(|word| word.parse().ok()).ok_or("the worker is gone");
        let (count, cpu_nanos) = (number()?, number()?);
        let times = words.next().and_then(Histogram::from_line).ok_or("the worker is gone")?;
        Ok(Outcome { count, cpu_nanos, times })
    }
}

fn serve(arguments: &[String]) -> Result<(), Failure> {
    let [side, dir, shm] = arguments else { return Err("a worker needs three arguments".into()) };
    let side = Side::open(side, &Place::existing(dir, shm))?;
    for line in std::io::stdin().lines() {
        let Ok(millis) = line?.parse() else { break };
        let Outcome { count, cpu_nanos, times } = side.run(Duration::from_millis(millis))?;
        println!("{count} {cpu_nanos} {}", times.to_line());
    }
    Ok(())
}

/// The workers of a side.
enum Workers {
    Processes(Vec<Process>),
    Threads(Side),
}

impl Workers {
    fn spawn(side: &str, place: &Place, count: usize, threads: bool) -> Result<Self, Failure> {
        if threads {
            return Ok(Self::Threads(Side::open(side, place)?));
        }
        let processes: Result<_, Failure> = (0..count).map(|_| Process::spawn(side, place)).collect();
        Ok(Self::Processes(processes?))
    }

    /// Lets so many of them work at the same time.
    fn run(&mut self, count: usize, turn: Duration) -> Result<Vec<Outcome>, Failure> {
        match self {
            Self::Processes(processes) => {
                let processes = &mut processes[..count];
                processes.iter_mut().try_for_each(|worker| worker.start(turn))?;
                processes.iter_mut().map(Process::finish).collect()
            }
            Self::Threads(side) => {
                let side = &*side;
                std::thread::scope(|scope| {
                    let running: Vec<_> = (0..count).map(|_| scope.spawn(|| side.run(turn))).collect();
                    running.into_iter().map(|thread| thread.join().map_err(|_| "a worker failed")?).collect()
                })
            }
        }
    }
}

/// What a side did: rates by turn, and each worker's increments.
#[derive(Default)]
struct Tally {
    rates: Vec<f64>,
    /// One worker alone, after each.
    alone: Vec<f64>,
    /// Increments of all turns.
    done: u64,
    workers: Vec<u64>,
    /// Processor time per increment, by turn.
    cpu_nanos: Vec<f64>,
    times: Histogram,
}

impl Tally {
    fn add(&mut self, outcomes: &[Outcome], turn: Duration) {
        self.workers.resize(outcomes.len(), 0);
        for (sum, outcome) in self.workers.iter_mut().zip(outcomes) {
            *sum += outcome.count;
            self.done += outcome.count;
            self.times.merge(&outcome.times);
        }
        let count = outcomes.iter().map(|outcome| outcome.count).sum::<u64>() as f64;
        let cpu_nanos = outcomes.iter().map(|outcome| outcome.cpu_nanos).sum::<u64>() as f64;
        self.rates.push(count / turn.as_secs_f64());
        self.cpu_nanos.push(cpu_nanos / count.max(1.0));
    }

    fn add_alone(&mut self, outcomes: &[Outcome], turn: Duration) {
        let count = outcomes.iter().map(|outcome| outcome.count).sum::<u64>();
        self.done += count;
        self.alone.push(count as f64 / turn.as_secs_f64());
    }
}

fn print(title: &str, names: &[String], tallies: &[Tally]) {
    println!("{title}");
    for (name, tally) in names.iter().zip(tallies) {
        let best = tally.workers.iter().max().copied().unwrap_or_default();
        let worst = tally.workers.iter().min().copied().unwrap_or_default();
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| tally.times.quantile(share));
        println!(
            "  {name:<11} {:>9.0} /s  cpu {:>5.0} ns   p50 {p50} p99 {p99} most {most} ns   worst worker {worst}, best {best}: \
             1 to {:.2}   {} to it {:.2}   one alone {:>9.0} /s, all to it {:.2}",
            median(&tally.rates),
            median(&tally.cpu_nanos),
            best as f64 / worst.max(1) as f64,
            names[0],
            median_ratio(&tallies[0].rates, &tally.rates),
            median(&tally.alone),
            median_ratio(&tally.rates, &tally.alone)
        );
    }
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::of_program();
    if let Some(rest) = arguments.of_role(WORKER) {
        return serve(rest);
    }
    let only = arguments.text("--only")?;
    let names: Vec<String> = match arguments.text("--sides")? {
        Some(sides) => sides.split(',').map(str::to_owned).collect(),
        None => SIDES.map(str::to_owned).to_vec(),
    };
    let workers = arguments.number("--workers", 16)?;
    let rounds = arguments.number("--rounds", 5)?;
    let turn = Duration::from_millis(arguments.number("--millis", 2000)?);
    print_machine();
    for threads in [false, true] {
        if only.is_some_and(|only| (only == "threads") != threads) {
            continue;
        }
        // A place each: hybrid and optimistic workers do not share a log.
        let places: Vec<Place> = names.iter().map(|side| Place::fresh(&format!("hot-{side}"))).collect();
        let mut tallies: Vec<Tally> = names.iter().map(|_| Tally::default()).collect();
        let sides: Result<Vec<Workers>, Failure> = names
            .iter()
            .zip(&places)
            .map(|(side, place)| Workers::spawn(side, place, workers, threads))
            .collect();
        let mut sides = sides?;
        for _ in 0..rounds {
            for (side, tally) in sides.iter_mut().zip(&mut tallies) {
                tally.add(&side.run(workers, turn)?, turn);
                tally.add_alone(&side.run(1, turn)?, turn);
            }
        }
        for ((name, place), (side, tally)) in names.iter().zip(&places).zip(sides.iter().zip(&tallies)) {
            check(name, side, place, tally)?;
        }
        let kind = if threads { "threads" } else { "processes" };
        print(&format!("{workers} {kind}"), &names, &tallies);
    }
    Ok(())
}

/// No increment was lost.
fn check(name: &str, workers: &Workers, place: &Place, tally: &Tally) -> Result<(), Failure> {
    let counter = match workers {
        Workers::Processes(_) => Side::open(name, place)?.add(0)?,
        // One process opens a file of LMDB's once.
        Workers::Threads(side) => side.add(0)?,
    };
    if counter.unsigned_abs() != tally.done {
        return Err(format!("{name}: {} increments, but the counter is {counter}", tally.done).into());
    }
    Ok(())
}
