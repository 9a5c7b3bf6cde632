//! What does a process cost those beside it: when both work, when it is killed, when it is stopped?
//!
//! Disjoint      two processes on different rows of one database, against two on a database each
//! Killed        a process that owns a row is killed; from the kill to the commit of the one who waits for the row
//! Stopped       two processes update random rows, a third one idle or stopped in the middle of its updates
//! Log writer    the process that writes the log is stopped; from then to the end of another's synchronous commit
//! Rows          100 000 flights of six columns; `--rows` for another number
//! Arguments     `--rows N --rounds N`

#![forbid(unsafe_code)]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use aerostore_bench::arguments::Arguments;
use aerostore_bench::contender::{Contender, Operation};
use aerostore_bench::engine::{self, Aerostore};
use aerostore_bench::flight::{FlightKey, FlightState};
use aerostore_bench::leftovers::{Dependent, send};
use aerostore_bench::place::Place;
use aerostore_bench::report::{print_machine, print_pair};
use aerostore_bench::turns::{median, quantile, take_turns};
use aerostore_bench::worker::{ProcessWorker, WORKER, Worker, serve};
use aerostore_core::db::TxnOptions;
use aerostore_core::row::{Row, Value};
use nix::sys::signal::Signal;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// First argument of a process that takes row 0 and keeps it, or writes the log, until it is killed.
const HOLDER: &str = "--holder";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::of_program();
    if let Some(rest) = arguments.of_role(WORKER) {
        return serve(rest);
    }
    if let Some(rest) = arguments.of_role(HOLDER) {
        return hold(rest);
    }
    let (rows, rounds) = (arguments.number("--rows", 100_000)?, arguments.number("--rounds", 21_usize)?);
    print_machine();
    disjoint(rows, rounds)?;
    killed(rounds)?;
    stopped(rows, rounds.div_ceil(3))?;
    log_writer(rounds)
}

fn database(name: &str, rows: u32) -> Result<Place, Box<dyn Error>> {
    let place = Place::fresh(name);
    engine::load(&place.open()?, rows)?;
    Ok(place)
}

fn disjoint(rows: u32, rounds: usize) -> Result<(), Box<dyn Error>> {
    let shared = database("shared", rows)?;
    let own = [database("own-1", rows)?, database("own-2", rows)?];
    let half = [0..rows / 2, rows / 2..rows];
    let worker = |place: &Place, side: usize| ProcessWorker::spawn_on(place, half[side].clone(), side as u64);
    let mut together = [worker(&shared, 0)?, worker(&shared, 1)?];
    let mut apart = [worker(&own[0], 0)?, worker(&own[1], 1)?];
    let mut sides: [Vec<&mut dyn Worker>; 2] = [
        together.iter_mut().map(|worker| worker as &mut dyn Worker).collect(),
        apart.iter_mut().map(|worker| worker as &mut dyn Worker).collect(),
    ];
    let turn = Duration::from_millis(200);
    take_turns(&mut sides, Operation::Update, 2, turn * 2)?;
    let results = take_turns(&mut sides, Operation::Update, rounds, turn)?;
    print_pair("update, two processes", ["one database", "a database each"], &results);
    Ok(())
}

/// A process of this program that has taken row 0, or has become the log writer.
struct Holder(Dependent);

impl Holder {
    fn spawn(place: &Place, what: &str) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(HOLDER).arg(&place.dir).arg(&place.shm).arg(what).stdout(Stdio::piped());
        let mut child = Dependent::spawn(&mut command, Signal::SIGKILL)?;
        let output = child.stdout.take();
        let holder = Self(child);
        let mut line = String::new();
        BufReader::new(output.ok_or("no pipe from the holder")?).read_line(&mut line)?;
        if line.trim() == "ready" { Ok(holder) } else { Err("the holder is gone".into()) }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Gone already, or gone now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn altitude(feet: i32) -> (usize, Value<'static>) {
    (FlightState::ALTITUDE.index(), Value::I32(feet))
}

fn hold(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [dir, shm, what] = arguments else { return Err("a holder needs three arguments".into()) };
    let db = Place::existing(dir, shm).open()?;
    let table = db.table(FlightState::NAME)?.ok_or("the table of flights is missing")?;
    let mut txn = db.begin(TxnOptions::default())?;
    txn.set(&table, Value::Str(FlightKey::new(0).as_str()), &[altitude(1)])?;
    let kept = if what == "row" {
        Some(txn)
    } else {
        txn.commit()?;
        while db.status()?.log_writer_pid != Some(std::process::id()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    };
    println!("ready");
    std::io::stdout().flush()?;
    loop {
        std::thread::sleep(Duration::from_hours(1));
        std::hint::black_box(&kept);
    }
}

fn killed(rounds: usize) -> Result<(), Box<dyn Error>> {
    let place = database("killed", 10)?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let holder = Holder::spawn(&place, "row")?;
        let mut engine = Aerostore::new(place.open()?)?;
        let (begun, waits) = channel();
        let waiter = std::thread::spawn(move || -> Option<Instant> {
            begun.send(()).ok()?;
            engine.update(0, 1).ok()?;
            Some(Instant::now())
        });
        waits.recv()?;
        std::thread::sleep(Duration::from_millis(20));
        let kill = Instant::now();
        drop(holder);
        let done = waiter.join().ok().flatten().ok_or("the waiter failed")?;
        times.push(done.saturating_duration_since(kill).as_secs_f64() * 1e3);
    }
    print_times("killed owner of a row, until the waiter has committed", &times);
    Ok(())
}

fn stopped(rows: u32, rounds: usize) -> Result<(), Box<dyn Error>> {
    let place = database("stopped", rows)?;
    let mut workers = [ProcessWorker::spawn(&place, rows, 1)?, ProcessWorker::spawn(&place, rows, 2)?];
    let mut third = ProcessWorker::spawn(&place, rows, 3)?;
    let turn = Duration::from_secs(2);
    let mut results = vec![aerostore_bench::turns::Side::default(); 2];
    for _ in 0..rounds {
        for (stops, result) in [false, true].into_iter().zip(&mut results) {
            if stops {
                third.start(Operation::Update, turn)?;
                std::thread::sleep(Duration::from_millis(50));
                send(third.pid(), Signal::SIGSTOP)?;
            }
            let mut sides = [workers.iter_mut().map(|worker| worker as &mut dyn Worker).collect()];
            let one = take_turns(&mut sides, Operation::Update, 1, turn)?.remove(0);
            result.rates.extend(one.rates);
            result.cpu_nanos.extend(one.cpu_nanos);
            result.sampled.merge(&one.sampled);
            if stops {
                send(third.pid(), Signal::SIGCONT)?;
                third.finish()?;
            }
        }
    }
    results.swap(0, 1);
    print_pair("update, two processes beside a third", ["it is stopped", "it is idle"], &results);
    Ok(())
}

fn log_writer(rounds: usize) -> Result<(), Box<dyn Error>> {
    let place = database("log-writer", 10)?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let holder = Holder::spawn(&place, "log")?;
        let db = place.open()?;
        let table = db.table(FlightState::NAME)?.ok_or("the table of flights is missing")?;
        let synchronous = TxnOptions { synchronous_commit: Some(true), ..TxnOptions::default() };
        let commit = |step: i32| -> Result<(), Box<dyn Error>> {
            let mut txn = db.begin(synchronous)?;
            txn.set(&table, Value::Str(FlightKey::new(1).as_str()), &[altitude(step)])?;
            txn.commit()?;
            Ok(())
        };
        commit(1)?;
        send(holder.0.id(), Signal::SIGSTOP)?;
        let begin = Instant::now();
        commit(2)?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    print_times("stopped log writer, until another's synchronous commit has ended", &times);
    Ok(())
}

fn print_times(title: &str, millis: &[f64]) {
    println!("{title}");
    println!(
        "  p50 {:.1} ms   p90 {:.1} ms   most {:.1} ms   of {}",
        median(millis),
        quantile(millis, 0.9),
        quantile(millis, 1.0),
        millis.len()
    );
}
