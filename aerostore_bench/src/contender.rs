//! What is measured: operations on one row, by a worker of some engine.

use crate::flight::Random;
use crate::histogram::Histogram;
use std::error::Error;
use std::time::{Duration, Instant};

/// Operations from one sample to the next. A prime: engines reclaim memory every 32 or 64 operations, and a sample must not
/// always meet that, or never.
const SAMPLE_EVERY: u32 = 17;

/// An operation on a random row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Copies the row of a key, in a transaction of its own or in none.
    Read,
    /// Sets five columns of the row of a key, one transaction each.
    Update,
    /// Copies the row of a key, a thousand in a transaction.
    ReadMany,
    /// Sets five columns of the row of a key, a hundred in a transaction.
    UpdateMany,
    /// Puts the whole row of a key, one transaction each.
    Upsert,
    /// Updates three rows, one transaction each: one, one that is rolled back to a savepoint, and one whose savepoint is released.
    Savepoints,
}

impl Operation {
    /// Those that every engine has.
    pub const COMMON: [Self; 4] = [Self::Read, Self::Update, Self::ReadMany, Self::UpdateMany];

    /// As a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::ReadMany => "read_many",
            Self::UpdateMany => "update_many",
            Self::Upsert => "upsert",
            Self::Savepoints => "savepoints",
        }
    }

    /// The operation of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = Self::COMMON.into_iter().chain([Self::Upsert, Self::Savepoints]);
        all.into_iter().find(|operation| operation.as_str() == word)
    }
}

/// One worker of some engine; each call is one operation.
pub trait Contender {
    /// Copies the row of flight `number`; its altitude, so that the copy is needed.
    ///
    /// # Errors
    /// What the engine says.
    fn read(&mut self, number: u32) -> Result<i32, Box<dyn Error>>;

    /// Sets five columns of flight `number` to what they are at `step`.
    ///
    /// # Errors
    /// What the engine says.
    fn update(&mut self, number: u32, step: u64) -> Result<(), Box<dyn Error>>;

    /// Reads `count` random rows in one transaction.
    ///
    /// # Errors
    /// What the engine says.
    fn read_many(&mut self, random: &mut Random, rows: u32, count: u32) -> Result<i64, Box<dyn Error>>;

    /// Updates `count` random rows in one transaction.
    ///
    /// # Errors
    /// What the engine says.
    fn update_many(&mut self, random: &mut Random, rows: u32, count: u32) -> Result<(), Box<dyn Error>>;

    /// Makes flight `number` as a whole what it is at `step`.
    ///
    /// # Errors
    /// What the engine says; that it is not compared in this.
    fn upsert(&mut self, _number: u32, _step: u64) -> Result<(), Box<dyn Error>> {
        Err("this engine is not compared in upserts".into())
    }

    /// Updates three flights with savepoints, as [`Operation::Savepoints`] says.
    ///
    /// # Errors
    /// What the engine says; that it is not compared in this.
    fn savepoints(&mut self, _numbers: [u32; 3], _step: u64) -> Result<(), Box<dyn Error>> {
        Err("this engine is not compared in savepoints".into())
    }
}

/// What a worker did in its turn.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Rows read or updated.
    pub operations: u64,
    /// Nanoseconds it took.
    pub nanos: u64,
    /// Nanoseconds of processor time it took, if the system tells.
    pub cpu_nanos: u64,
    /// Those of them that were timed alone, two looks at the clock included.
    pub sampled: Histogram,
}

impl Outcome {
    /// Nanoseconds of processor time per row.
    pub fn cpu_nanos_each(&self) -> f64 {
        self.cpu_nanos as f64 / self.operations.max(1) as f64
    }

    /// As one line.
    pub fn to_line(&self) -> String {
        let Self { operations, nanos, cpu_nanos, sampled } = self;
        format!("{operations} {nanos} {cpu_nanos} {}", sampled.to_line())
    }

    /// What [`Outcome::to_line`] has written; `None` for anything else.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let mut number = || words.next()?.parse().ok();
        let (operations, nanos, cpu_nanos) = (number()?, number()?, number()?);
        Some(Self { operations, nanos, cpu_nanos, sampled: Histogram::from_line(words.next()?)? })
    }

    /// Rows per second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 * 1e9 / self.nanos.max(1) as f64
    }
}

/// Runs one operation over and over for a while.
///
/// # Errors
/// What the engine says.
pub fn run(
    contender: &mut dyn Contender,
    operation: Operation,
    rows: u32,
    random: &mut Random,
    turn: Duration,
) -> Result<Outcome, Box<dyn Error>> {
    let mut needed = 0;
    let outcome = run_for(turn, SAMPLE_EVERY, || -> Result<u32, Box<dyn Error>> {
        match operation {
            Operation::Read => needed += i64::from(contender.read(random.below(rows))?),
            Operation::Update => contender.update(random.below(rows), random.word() >> 40)?,
            Operation::Upsert => contender.upsert(random.below(rows), random.word() >> 40)?,
            Operation::Savepoints => {
                let numbers = [(); 3].map(|()| random.below(rows));
                contender.savepoints(numbers, random.word() >> 40)?;
            }
            Operation::ReadMany => {
                needed += contender.read_many(random, rows, 1000)?;
                return Ok(1000);
            }
            Operation::UpdateMany => {
                contender.update_many(random, rows, 100)?;
                return Ok(100);
            }
        }
        Ok(1)
    })?;
    std::hint::black_box(needed);
    Ok(outcome)
}

/// Runs something over and over for a while; it says how many rows it has worked on. Every `sample_every`th time is timed alone.
///
/// # Errors
/// What it says.
pub fn run_for<E>(
    turn: Duration,
    sample_every: u32,
    mut one: impl FnMut() -> Result<u32, E>,
) -> Result<Outcome, E> {
    let mut outcome = Outcome::default();
    let cpu_begin = cpu_nanos();
    let begin = Instant::now();
    let end = begin + turn;
    loop {
        for _ in 1..sample_every {
            outcome.operations += u64::from(one()?);
        }
        let before = Instant::now();
        let count = one()?;
        let after = Instant::now();
        outcome.operations += u64::from(count);
        outcome.sampled.add((after - before).as_nanos() as u64 / u64::from(count.max(1)));
        if after >= end {
            outcome.nanos = (after - begin).as_nanos() as u64;
            outcome.cpu_nanos = cpu_nanos() - cpu_begin;
            return Ok(outcome);
        }
    }
}

/// Processor time of this thread so far, in nanoseconds; 0 if the system does not tell.
pub fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}
