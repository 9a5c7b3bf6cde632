//! A process with an engine: it takes orders line by line, and answers each with a line.
//!
//! `open DURABLE NUMBER`     opens the database and reads a row: nanoseconds
//! `load FILE`               fills it: nanoseconds
//! `turn TASK THREADS US`    lets so many workers do a task for a while: an [`Outcome`]
//! `fixed TASK COUNT SEED`   does a task so many times: rows, and a sum that all engines agree on
//! `digest COUNT SEED`       reads so many random rows: a checksum of all their columns
//! `walk`                    reads all rows by the index of altitudes: rows and sum
//! `sum`                     of what came of all turns
//! `squawks`                 of all rows, added up
//! `bytes`                   of rows and indexes
//! `settle`                  takes a checkpoint, or what comes nearest

use crate::engines::{Engine, Kind, Session};
use crate::task::Task;
use aerostore_bench::contender::{Outcome, run_for};
use aerostore_bench::flight::Random;
use aerostore_bench::indexed::{Failure, Found};
use aerostore_bench::place::Place;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::hash::BuildHasher;
use std::io::Write;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// First argument of a program that is to be a host.
pub const HOST: &str = "--host";

struct Host {
    kind: Kind,
    place: Place,
    rows: u32,
    max_bytes: u64,
    /// Of what came of the turns so far.
    sum: i64,
    /// Which of the engine's processes this is.
    index: usize,
    seed: u64,
    engine: Option<Box<dyn Engine>>,
    sessions: Vec<Session>,
}

/// Serves orders until there are none.
pub fn serve(arguments: &[String]) -> Result<(), Failure> {
    let [name, dir, shm, rows, max_bytes, index] = arguments else {
        return Err("a host needs six arguments".into());
    };
    let index: usize = index.parse()?;
    let mut host = Host {
        kind: Kind::from_name(name).ok_or("no such engine")?,
        place: Place::existing(dir, shm),
        rows: rows.parse()?,
        max_bytes: max_bytes.parse()?,
        sum: 0,
        index,
        seed: (index as u64 + 1) << 40,
        engine: None,
        sessions: Vec::new(),
    };
    for line in std::io::stdin().lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        match host.obey(&line) {
            Ok(answer) => println!("{answer}"),
            Err(error) => println!("error {name}: {line}: {error}"),
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}

impl Host {
    fn obey(&mut self, line: &str) -> Result<String, Failure> {
        let mut words = line.split_whitespace();
        let order = words.next().unwrap_or_default();
        let mut word = || words.next().ok_or("an order without its words");
        match order {
            "open" => {
                let (is_durable, number) = (word()? == "true", word()?.parse()?);
                let begin = Instant::now();
                let engine = self.kind.open(&self.place, is_durable, self.max_bytes)?;
                self.sessions.clear();
                if number != u32::MAX {
                    let mut session = engine.session()?;
                    session.read(number)?;
                    self.sessions.push(session);
                }
                self.engine = Some(engine);
                Ok(begin.elapsed().as_nanos().to_string())
            }
            "load" => {
                let text = std::fs::read(word()?)?;
                let begin = Instant::now();
                self.engine()?.load(&text)?;
                Ok(begin.elapsed().as_nanos().to_string())
            }
            "turn" => {
                let task = Task::from_name(word()?).ok_or("no such task")?;
                let threads = word()?.parse()?;
                let outcome = self.turn(task, threads, Duration::from_micros(word()?.parse()?))?;
                Ok(outcome.to_line())
            }
            "fixed" => {
                let task = Task::from_name(word()?).ok_or("no such task")?;
                let (count, seed): (u32, u64) = (word()?.parse()?, word()?.parse()?);
                self.need_sessions(1)?;
                let mut random = Random::new(seed);
                let mut sum = Found::default();
                for _ in 0..count {
                    let found = task.run(&mut *self.sessions[0], &mut random, self.rows)?;
                    sum.rows += found.rows;
                    sum.sum = sum.sum.wrapping_add(found.sum);
                }
                Ok(format!("{} {}", sum.rows, sum.sum))
            }
            "digest" => {
                let (count, seed): (u32, u64) = (word()?.parse()?, word()?.parse()?);
                self.need_sessions(1)?;
                let mut random = Random::new(seed);
                let hash = foldhash::fast::FixedState::with_seed(1);
                let mut sum = 0_u64;
                for _ in 0..count {
                    let row = self.sessions[0].row(random.below(self.rows))?;
                    sum = sum.wrapping_add(hash.hash_one(row.to_bytes()));
                }
                Ok(sum.to_string())
            }
            "walk" => {
                self.need_sessions(1)?;
                let found = self.sessions[0].above(0, self.rows as usize + 1)?;
                Ok(format!("{} {}", found.rows, found.sum))
            }
            "sum" => Ok(self.sum.to_string()),
            "squawks" => {
                self.need_sessions(1)?;
                let mut sum = 0;
                for number in 0..self.rows {
                    sum += i64::from(self.sessions[0].row(number)?.squawk());
                }
                Ok(sum.to_string())
            }
            "bytes" => Ok(self.engine()?.bytes()?.to_string()),
            "settle" => self.engine()?.settle().map(|()| "settled".to_owned()),
            _ => Err("no such order".into()),
        }
    }

    fn engine(&self) -> Result<&dyn Engine, Failure> {
        Ok(self.engine.as_deref().ok_or("nothing is open")?)
    }

    fn need_sessions(&mut self, count: usize) -> Result<(), Failure> {
        while self.sessions.len() < count {
            let session = self.engine()?.session()?;
            self.sessions.push(session);
        }
        Ok(())
    }

    /// Each worker is a thread of its own, pinned: what the engine keeps running besides is not.
    fn turn(&mut self, task: Task, threads: usize, turn: Duration) -> Result<Outcome, Failure> {
        self.need_sessions(threads)?;
        let Self { sessions, seed, index, rows, .. } = self;
        let rows = *rows;
        let outcomes: Vec<Result<(Outcome, i64), Failure>> = std::thread::scope(|scope| {
            let workers: Vec<_> = sessions[..threads]
                .iter_mut()
                .enumerate()
                .map(|(thread, session)| {
                    *seed += 1;
                    let (place, mut random) = (*index + thread, Random::new(*seed));
                    scope.spawn(move || {
                        pin(place)?;
                        let mut sum = 0_i64;
                        let outcome = run_for(turn, task.sample_every(), || -> Result<u32, Failure> {
                            sum = sum.wrapping_add(task.run(&mut **session, &mut random, rows)?.sum);
                            Ok(1)
                        })?;
                        Ok((outcome, sum))
                    })
                })
                .collect();
            let join = |worker: ScopedJoinHandle<'_, Result<(Outcome, i64), Failure>>| {
                worker.join().unwrap_or_else(|_| Err("a worker failed".into()))
            };
            workers.into_iter().map(join).collect()
        });
        let mut sum = Outcome::default();
        for outcome in outcomes {
            let (outcome, found) = outcome?;
            self.sum = self.sum.wrapping_add(found);
            sum.operations += outcome.operations;
            sum.nanos = sum.nanos.max(outcome.nanos);
            sum.cpu_nanos += outcome.cpu_nanos;
            sum.sampled.merge(&outcome.sampled);
        }
        Ok(sum)
    }
}

fn pin(place: usize) -> Result<(), Failure> {
    let cpus = std::thread::available_parallelism()?.get();
    let mut set = CpuSet::new();
    set.set(place % cpus)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}
