//! Many processes report flights and search among them, all at once.
//!
//! Rows        50 000 flights of 108 bytes, six columns indexed
//! Workers     16 processes (threads for nobody: both engines have processes)
//! Operations  80 % reports: the whole row of a key, 5 % of them on 256 hot keys; 20 % searches of 64 rows, which are copied; a
//!             transaction each, on disk some time later
//! Sides       Aerostore in mappings of several sizes; PostgreSQL with `synchronous_commit = off`
//! Checked     reports are counted in a column of their rows: none is lost; an index gives every row once

use crate::engines::Kind;
use crate::figures::{Figure, Question};
use crate::side::{Side, Work};
use crate::task::Task;
use crate::workloads::{Text, plain, tell, told};
use aerostore_bench::indexed::Failure;
use aerostore_bench::turns::{median_ratio, take_turns};
use aerostore_bench::wide::Wide;
use std::time::Duration;

/// Rows, unless others are asked for.
pub const ROWS: u32 = 50_000;
/// Processes.
pub const WORKERS: usize = 16;
/// Mebibytes of Aerostore's mappings, unless others are asked for.
pub const MAPPINGS: [u64; 3] = [512, 1024, 2048];
/// Seconds of a turn.
const TURN: Duration = Duration::from_secs(5);

/// Turns of each side.
pub fn rounds(seconds: u64) -> usize {
    (seconds / TURN.as_secs()).max(1) as usize
}

/// What to run.
pub struct Options {
    pub rows: u32,
    pub seconds: u64,
    /// Mebibytes of Aerostore's mappings.
    pub mappings: Vec<u64>,
}

/// Runs it.
pub fn run(options: &Options) -> Result<Question, Failure> {
    let &Options { rows, seconds, .. } = options;
    let text = Text::write(rows)?;
    let mut sides = Vec::new();
    for mib in &options.mappings {
        let side = Side::fresh_up_to(Kind::Aerostore, rows, mib << 20)?;
        sides.push((format!("aerostore, {mib} MiB"), side));
    }
    sides.push(("postgres".to_owned(), Side::fresh(Kind::Postgres, rows)?));
    for (name, side) in &mut sides {
        tell(&format!("loading {name}"));
        side.load(text.path())?;
    }
    tell(&format!("{WORKERS} processes, {seconds} s for each of {} sides", sides.len()));
    let turn = TURN.min(Duration::from_secs(seconds));
    let mut workers_of = Vec::new();
    for (_, side) in &mut sides {
        workers_of.push(side.workers(WORKERS)?);
    }
    let turns =
        take_turns(&mut workers_of, Work { task: Task::Crucible, workers: WORKERS }, rounds(seconds), turn)
            .map_err(plain)?;
    drop(workers_of);
    for (name, side) in &mut sides {
        tell(&format!("checking {name}"));
        let mut reports: i64 = 0;
        for host in side.hosts() {
            reports += host.ask("sum")?.parse::<i64>()?;
        }
        check(side, rows, reports).map_err(|error| format!("{name}: {error}"))?;
    }
    told();
    let figures = sides.iter().zip(&turns).map(|((name, _), turns_of)| {
        Figure::of_turns(name, turns_of, Some(median_ratio(&turns[0].rates, &turns_of.rates)), false)
    });
    let title =
        format!("{WORKERS} processes, 80 % reports (5 % of them of 256 hot rows), 20 % searches of 64 rows");
    Ok(Question {
        id: "crucible",
        title,
        unit: "operations/s",
        more_is_better: true,
        figures: figures.collect(),
    })
}

/// No report of so many is lost, and an index gives each row once.
pub fn check(side: &mut Side, rows: u32, reports: i64) -> Result<(), Failure> {
    let before: i64 = (0..rows).map(|number| i64::from(Wide::new(number).squawk())).sum();
    let after: i64 = side.first()?.ask("squawks")?.parse()?;
    if after - before != reports {
        return Err(format!("{reports} reports were made, {} are there", after - before).into());
    }
    let walked = side.first()?.ask("walk")?;
    if walked.split_whitespace().next() != Some(rows.to_string().as_str()) {
        return Err(format!("{walked} of {rows} rows found by altitude").into());
    }
    Ok(())
}
