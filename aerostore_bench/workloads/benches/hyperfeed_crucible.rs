//! What does an operation cost when sixteen processes report flights and search among them?
//!
//! Rows          50 000 flights of 108 bytes, fourteen columns, six of them indexed
//! Workers       16 processes, each of which does a sixteenth of as many operations as criterion asks for
//! Operations    80 % reports: the whole row of a key, 5 % of them of 256 hot keys; 20 % searches of 64 rows, which are copied; a transaction each
//! Mappings      512 MiB, 1 GiB and 2 GiB
//! Durability    commit mode off; the log is written behind
//! Unit          nanoseconds an operation, all processes together: from the order to the first until the last has answered
//! Checked       no report is lost, and an index gives every row once
//!
//! Beside PostgreSQL, with the times of single operations: `scripts/bench hyperfeed_crucible`.

#![forbid(unsafe_code)]

use aerostore_bench::arguments::Arguments;
use aerostore_bench::indexed::Failure;
use aerostore_bench_workloads::crucible::{MAPPINGS, ROWS, WORKERS, check};
use aerostore_bench_workloads::engines::Kind;
use aerostore_bench_workloads::host;
use aerostore_bench_workloads::side::Side;
use aerostore_bench_workloads::task::Task;
use aerostore_bench_workloads::workloads::Text;
use criterion::{Criterion, SamplingMode, Throughput};
use std::time::{Duration, Instant};

fn main() -> Result<(), Failure> {
    if let Some(rest) = Arguments::of_program().of_role(host::HOST) {
        return host::serve(rest);
    }
    let mut criterion = Criterion::default().configure_from_args();
    measure(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

fn measure(criterion: &mut Criterion) -> Result<(), Failure> {
    let text = Text::write(ROWS)?;
    let mut group = criterion.benchmark_group("hyperfeed_crucible");
    // Each sample as long as any: what one leaves to clean up is in the next.
    group.sampling_mode(SamplingMode::Flat).sample_size(20).throughput(Throughput::Elements(1));
    group.warm_up_time(Duration::from_secs(5)).measurement_time(Duration::from_secs(20));
    for mib in MAPPINGS {
        let mut side = Side::fresh_up_to(Kind::Aerostore, ROWS, mib << 20)?;
        side.load(text.path())?;
        side.workers(WORKERS)?;
        let (mut reports, mut seed) = (0, 0);
        group.bench_function(format!("{mib} MiB"), |bencher| {
            bencher.iter_custom(|count| {
                let begin = Instant::now();
                let reported = share(&mut side, count, &mut seed);
                let took = begin.elapsed();
                reports += reported.unwrap_or_else(|error| panic!("{error}"));
                took
            });
        });
        check(&mut side, ROWS, reports)?;
    }
    group.finish();
    Ok(())
}

/// Lets the processes do so many operations, all at once: how many of them were reports.
fn share(side: &mut Side, count: u64, seed: &mut u64) -> Result<i64, Failure> {
    let workers = WORKERS as u64;
    let shares = (0..workers).map(|worker| (count + worker) / workers);
    let mut busy = Vec::new();
    for (host, share) in side.hosts().iter_mut().zip(shares) {
        *seed += 1;
        if share > 0 {
            host.tell(&format!("fixed {} {share} {seed}", Task::Crucible.name()))?;
            busy.push(host);
        }
    }
    let mut reports = 0;
    for host in busy {
        let answer = host.hear()?;
        reports += answer.split_whitespace().nth(1).ok_or("no sum")?.parse::<i64>()?;
    }
    Ok(reports)
}
