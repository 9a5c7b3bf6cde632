//! What do sixteen workers make of one row that all of them increment, and does each of them have its share?
//!
//! Row           one counter: a name of 3 characters and an i64; in LMDB 64 bytes under a key of 3 characters
//! Operation     one transaction: read the counter, write it incremented
//! Sides         hybrid: the default retry policy; optimistic: the same without ever queueing; LMDB (`heed`), no sync
//! Workers       processes, then threads of one process
//! Durability    commit mode off (the log is written behind); LMDB in /dev/shm, never synced
//! Unit          increments per second, all workers together; worst worker against best over all turns
//! Arguments     `--workers N --rounds N --millis N`

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use aerostore_bench::place::Place;
use aerostore_bench::report::print_machine;
use aerostore_bench::turns::{median, median_ratio};
use aerostore_core::db::{Change, Database, RetryPolicy, Table, TxnOptions};
use aerostore_core::row::{Column, ColumnType, Schema, Value};
use heed::types::{Bytes, Str};
use heed::{Env, EnvFlags, EnvOpenOptions};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WORKER: &str = "--worker";
const ROW: &str = "row";
const SIDES: [&str; 3] = ["hybrid", "optimistic", "lmdb"];

type Failure = Box<dyn Error + Send + Sync>;

/// Something with a counter.
#[derive(Clone)]
enum Side {
    Aerostore { db: Database, table: Table, policy: RetryPolicy },
    Lmdb { env: Env, rows: heed::Database<Str, Bytes> },
}

impl Side {
    fn open(name: &str, place: &Place) -> Result<Self, Failure> {
        if name == "lmdb" {
            let path = lmdb_path(place);
            std::fs::create_dir_all(&path)?;
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
            "hybrid" => RetryPolicy { tries, ..RetryPolicy::default() },
            _ => RetryPolicy { tries, ..RetryPolicy::optimistic() },
        };
        Ok(Self::Aerostore { db, table, policy })
    }

    /// Adds `by` to the counter and returns what it is then.
    fn add(&self, by: i64) -> Result<i64, Failure> {
        let mut now = 0;
        match self {
            Self::Aerostore { db, table, policy } => {
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
            }
            Self::Lmdb { env, rows } => {
                let mut txn = env.write_txn()?;
                let mut image = [0; 64];
                if let Some(row) = rows.get(&txn, ROW)? {
                    image.copy_from_slice(row);
                }
                let mut count = [0; 8];
                count.copy_from_slice(&image[..8]);
                now = i64::from_le_bytes(count) + by;
                image[..8].copy_from_slice(&now.to_le_bytes());
                rows.put(&mut txn, ROW, &image)?;
                txn.commit()?;
            }
        }
        Ok(now)
    }

    fn run(&self, turn: Duration) -> Result<u64, Failure> {
        let end = Instant::now() + turn;
        let mut count = 0;
        while Instant::now() < end {
            self.add(1)?;
            count += 1;
        }
        Ok(count)
    }
}

fn lmdb_path(place: &Place) -> PathBuf {
    place.shm.with_extension("lmdb")
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn spawn(side: &str, place: &Place) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([Path::new(WORKER), Path::new(side), &place.dir, &place.shm])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no pipe to the worker")?;
        let output = BufReader::new(child.stdout.take().ok_or("no pipe from the worker")?);
        Ok(Self { child, input, output })
    }

    fn start(&mut self, turn: Duration) -> Result<(), Failure> {
        writeln!(self.input, "{}", turn.as_millis())?;
        Ok(self.input.flush()?)
    }

    fn finish(&mut self) -> Result<u64, Failure> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An empty line ends it; if it is gone already there is nothing to end.
        let _ = writeln!(self.input);
        let _ = self.child.wait();
    }
}

fn serve(arguments: &[String]) -> Result<(), Failure> {
    let [side, dir, shm] = arguments else { return Err("a worker needs three arguments".into()) };
    let side = Side::open(side, &Place::existing(dir, shm))?;
    for line in std::io::stdin().lines() {
        let Ok(millis) = line?.parse() else { break };
        println!("{}", side.run(Duration::from_millis(millis))?);
    }
    Ok(())
}

/// What a side did: rates by turn, and each worker's increments.
#[derive(Default)]
struct Tally {
    rates: Vec<f64>,
    workers: Vec<u64>,
}

impl Tally {
    fn add(&mut self, counts: &[u64], turn: Duration) {
        self.workers.resize(counts.len(), 0);
        for (sum, count) in self.workers.iter_mut().zip(counts) {
            *sum += count;
        }
        self.rates.push(counts.iter().sum::<u64>() as f64 / turn.as_secs_f64());
    }
}

fn print(title: &str, tallies: &[Tally]) {
    println!("{title}");
    for (name, tally) in SIDES.iter().zip(tallies) {
        let best = tally.workers.iter().max().copied().unwrap_or_default();
        let worst = tally.workers.iter().min().copied().unwrap_or_default();
        println!(
            "  {name:<11} {:>9.0} /s   worst worker {worst}, best {best}: 1 to {:.2}   hybrid to it {:.2}",
            median(&tally.rates),
            best as f64 / worst.max(1) as f64,
            median_ratio(&tallies[0].rates, &tally.rates)
        );
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == WORKER) {
        return serve(&arguments[1..]);
    }
    let option = |name: &str, default: u64| -> Result<u64, Failure> {
        match arguments.iter().position(|argument| argument == name) {
            Some(at) => Ok(arguments.get(at + 1).ok_or("an option without a value")?.parse()?),
            None => Ok(default),
        }
    };
    let workers = usize::try_from(option("--workers", 16)?)?;
    let rounds = option("--rounds", 5)?;
    let turn = Duration::from_millis(option("--millis", 2000)?);
    print_machine();
    for threads in [false, true] {
        // A place each: hybrid and optimistic workers do not share a log.
        let places: Vec<Place> = SIDES.iter().map(|side| Place::fresh(&format!("hot-{side}"))).collect();
        let mut tallies: Vec<Tally> = SIDES.iter().map(|_| Tally::default()).collect();
        if threads {
            let sides: Result<Vec<Side>, Failure> =
                SIDES.iter().zip(&places).map(|(side, place)| Side::open(side, place)).collect();
            let sides = sides?;
            for _ in 0..rounds {
                for (side, tally) in sides.iter().zip(&mut tallies) {
                    let side = Arc::new(side.clone());
                    let running: Vec<_> = (0..workers)
                        .map(|_| {
                            let side = Arc::clone(&side);
                            std::thread::spawn(move || side.run(turn))
                        })
                        .collect();
                    let counts: Result<Vec<u64>, Failure> = running
                        .into_iter()
                        .map(|thread| thread.join().map_err(|_| "a worker failed")?)
                        .collect();
                    tally.add(&counts?, turn);
                }
            }
            check(&sides, &tallies)?;
            print(&format!("{workers} threads"), &tallies);
        } else {
            let mut processes = Vec::new();
            for (side, place) in SIDES.iter().zip(&places) {
                let side: Result<Vec<Process>, Failure> =
                    (0..workers).map(|_| Process::spawn(side, place)).collect();
                processes.push(side?);
            }
            for _ in 0..rounds {
                for (side, tally) in processes.iter_mut().zip(&mut tallies) {
                    side.iter_mut().try_for_each(|worker| worker.start(turn))?;
                    let counts: Result<Vec<u64>, Failure> = side.iter_mut().map(Process::finish).collect();
                    tally.add(&counts?, turn);
                }
            }
            let sides: Result<Vec<Side>, Failure> =
                SIDES.iter().zip(&places).map(|(side, place)| Side::open(side, place)).collect();
            check(&sides?, &tallies)?;
            drop(processes);
            print(&format!("{workers} processes"), &tallies);
        }
        for place in &places {
            // Nothing there is as good as removed.
            let _ = std::fs::remove_dir_all(lmdb_path(place));
        }
    }
    Ok(())
}

/// No increment was lost.
fn check(sides: &[Side], tallies: &[Tally]) -> Result<(), Failure> {
    for ((name, side), tally) in SIDES.iter().zip(sides).zip(tallies) {
        let (counted, done) = (side.add(0)?.unsigned_abs(), tally.workers.iter().sum::<u64>());
        if counted != done {
            return Err(format!("{name}: {done} increments, but the counter is {counted}").into());
        }
    }
    Ok(())
}
