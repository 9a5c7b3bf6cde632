//! Workers: processes (this program again, told what to do on its standard input) and threads, driven the same way.

use crate::contender::{Contender, Operation, Outcome, run};
use crate::engine::Aerostore;
use crate::flight::Random;
use crate::histogram::Histogram;
use crate::peer::{FlightMap, Papaya};
use crate::place::Place;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// First argument of a program that is to be a worker.
pub const WORKER: &str = "--worker";

/// A worker that takes turns.
pub trait Worker {
    /// Lets it begin a turn.
    ///
    /// # Errors
    /// When it is gone.
    fn start(&mut self, operation: Operation, turn: Duration) -> Result<(), Box<dyn Error>>;

    /// Waits for the turn's end.
    ///
    /// # Errors
    /// When it is gone, or its engine failed.
    fn finish(&mut self) -> Result<Outcome, Box<dyn Error>>;
}

/// A process on an Aerostore database.
pub struct ProcessWorker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl ProcessWorker {
    /// Starts this program again as a worker on the first `rows` rows.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn spawn(place: &Place, rows: u32, seed: u64) -> Result<Self, Box<dyn Error>> {
        Self::spawn_on(place, 0..rows, seed)
    }

    /// Starts this program again as a worker on some rows.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn spawn_on(place: &Place, rows: Range<u32>, seed: u64) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(WORKER)
            .arg(&place.dir)
            .arg(&place.shm)
            .args([rows.start.to_string(), rows.len().to_string(), seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no pipe to the worker")?;
        let output = BufReader::new(child.stdout.take().ok_or("no pipe from the worker")?);
        Ok(Self { child, input, output })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Worker for ProcessWorker {
    fn start(&mut self, operation: Operation, turn: Duration) -> Result<(), Box<dyn Error>> {
        writeln!(self.input, "{} {}", operation.as_str(), turn.as_micros())?;
        Ok(self.input.flush()?)
    }

    fn finish(&mut self) -> Result<Outcome, Box<dyn Error>> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let mut number = || words.next().and_then(|word| word.parse().ok()).ok_or("the worker is gone");
        let (operations, nanos, cpu_nanos) = (number()?, number()?, number()?);
        let sampled = words.next().and_then(Histogram::from_line).ok_or("the worker is gone")?;
        Ok(Outcome { operations, nanos, cpu_nanos, sampled })
    }
}

impl Drop for ProcessWorker {
    fn drop(&mut self) {
        // An empty line ends it; if it is gone already there is nothing to end.
        let _ = writeln!(self.input);
        let _ = self.child.wait();
    }
}

/// A worker process: takes orders until there are none, or an empty one.
///
/// # Errors
/// What the database says.
pub fn serve(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [dir, shm, first, rows, seed] = arguments else { return Err("a worker needs five arguments".into()) };
    let place = Place::existing(dir, shm);
    let rows: u32 = rows.parse()?;
    let mut random = Random::new(seed.parse()?);
    let mut engine = Aerostore::new(place.open()?)?.starting_at(first.parse()?);
    for line in std::io::stdin().lines() {
        let line = line?;
        let Some((word, micros)) = line.split_once(' ') else { break };
        let operation = Operation::from_word(word).ok_or("no such operation")?;
        let outcome = run(&mut engine, operation, rows, &mut random, Duration::from_micros(micros.parse()?))?;
        let Outcome { operations, nanos, cpu_nanos, sampled } = outcome;
        println!("{operations} {nanos} {cpu_nanos} {}", sampled.to_line());
    }
    Ok(())
}

/// A thread of this process on a papaya map.
pub struct ThreadWorker {
    orders: Option<Sender<(Operation, Duration)>>,
    outcomes: Receiver<Outcome>,
    thread: Option<JoinHandle<()>>,
}

impl ThreadWorker {
    /// Starts the thread.
    pub fn spawn(map: &Arc<FlightMap>, rows: u32, seed: u64) -> Self {
        let (orders, to_do) = channel::<(Operation, Duration)>();
        let (done, outcomes) = channel();
        let map = Arc::clone(map);
        let thread = std::thread::spawn(move || {
            let mut random = Random::new(seed);
            let mut papaya = Papaya(map);
            let contender: &mut dyn Contender = &mut papaya;
            for (operation, turn) in to_do {
                let Ok(outcome) = run(contender, operation, rows, &mut random, turn) else { return };
                if done.send(outcome).is_err() {
                    return;
                }
            }
        });
        Self { orders: Some(orders), outcomes, thread: Some(thread) }
    }
}

impl Worker for ThreadWorker {
    fn start(&mut self, operation: Operation, turn: Duration) -> Result<(), Box<dyn Error>> {
        let orders = self.orders.as_ref().ok_or("the thread is gone")?;
        Ok(orders.send((operation, turn))?)
    }

    fn finish(&mut self) -> Result<Outcome, Box<dyn Error>> {
        Ok(self.outcomes.recv()?)
    }
}

impl Drop for ThreadWorker {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported on its own.
            let _ = thread.join();
        }
    }
}
