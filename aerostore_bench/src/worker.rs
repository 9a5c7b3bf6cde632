//! Workers: processes (this program again, told what to do on its standard input) and threads, driven the same way.

use crate::contender::{Contender, Operation, Outcome, run};
use crate::engine::Aerostore;
use crate::flight::Random;
use crate::leftovers::Dependent;
use crate::peer::{FlightMap, Papaya};
use crate::place::Place;
use nix::sys::signal::Signal;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// First argument of a program that is to be a worker.
pub const WORKER: &str = "--worker";

/// A worker that takes turns at operations of some kind.
pub trait Worker<O = Operation> {
    /// Lets it begin a turn.
    ///
    /// # Errors
    /// When it is gone.
    fn start(&mut self, operation: O, turn: Duration) -> Result<(), Box<dyn Error>>;

    /// Waits for the turn's end.
    ///
    /// # Errors
    /// When it is gone, or its engine failed.
    fn finish(&mut self) -> Result<Outcome, Box<dyn Error>>;
}

/// This program once more, which takes orders line by line and answers each with a line. It ends when this is dropped.
pub struct Servant {
    child: Dependent,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Servant {
    /// Starts it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn spawn<A: AsRef<OsStr>>(arguments: &[A]) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Dependent::spawn(&mut command, Signal::SIGKILL)?;
        let input = child.stdin.take().ok_or("no pipe to the worker")?;
        let output = BufReader::new(child.stdout.take().ok_or("no pipe from the worker")?);
        Ok(Self { child, input, output })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives it an order.
    ///
    /// # Errors
    /// When it is gone.
    pub fn tell(&mut self, order: &str) -> Result<(), Box<dyn Error>> {
        writeln!(self.input, "{order}")?;
        Ok(self.input.flush()?)
    }

    /// Waits for its answer.
    ///
    /// # Errors
    /// When it is gone.
    pub fn hear(&mut self) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 { Err("the worker is gone".into()) } else { Ok(line) }
    }

    /// Kills it, and waits until it is gone.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn kill(&mut self) -> Result<(), Box<dyn Error>> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Servant {
    fn drop(&mut self) {
        // An empty line ends it; if it is gone already there is nothing to end.
        let _ = writeln!(self.input);
        let _ = self.child.wait();
    }
}

/// A process on an Aerostore database.
pub struct ProcessWorker(Servant);

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
        let numbers = [rows.start.to_string(), rows.len().to_string(), seed.to_string()].map(OsString::from);
        let mut arguments = vec![WORKER.into(), place.dir.clone().into(), place.shm.clone().into()];
        arguments.extend(numbers);
        Ok(Self(Servant::spawn(&arguments)?))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }
}

impl Worker for ProcessWorker {
    fn start(&mut self, operation: Operation, turn: Duration) -> Result<(), Box<dyn Error>> {
        self.0.tell(&format!("{} {}", operation.as_str(), turn.as_micros()))
    }

    fn finish(&mut self) -> Result<Outcome, Box<dyn Error>> {
        Ok(Outcome::from_line(&self.0.hear()?).ok_or("the worker failed")?)
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
        println!("{}", outcome.to_line());
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
