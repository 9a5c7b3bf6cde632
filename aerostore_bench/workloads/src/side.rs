//! One engine with its files, its server if it has one, and its processes.

use crate::engines::Kind;
use crate::host::HOST;
use crate::servers::Server;
use crate::task::Task;
use aerostore_bench::contender::Outcome;
use aerostore_bench::indexed::Failure;
use aerostore_bench::leftovers::Dependent;
use aerostore_bench::place::Place;
use aerostore_bench::worker::{Servant, Worker};
use nix::sys::signal::Signal;
use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a turn is about.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// What each worker does.
    pub task: Task,
    /// How many there are of them, all processes together.
    pub workers: usize,
}

/// A process with the engine.
pub struct Host {
    servant: Servant,
    kind: Kind,
}

impl Host {
    fn spawn(kind: Kind, place: &Place, rows: u32, max_bytes: u64, index: usize) -> Result<Self, Failure> {
        let mut arguments: Vec<OsString> = vec![HOST.into(), kind.name().into()];
        arguments.extend([place.dir.clone().into(), place.shm.clone().into()]);
        arguments.extend([rows.to_string(), max_bytes.to_string(), index.to_string()].map(OsString::from));
        Ok(Self { servant: Servant::spawn(&arguments).map_err(|error| error.to_string())?, kind })
    }

    /// Gives it an order and waits for the answer.
    pub fn ask(&mut self, order: &str) -> Result<String, Failure> {
        self.tell(order)?;
        self.hear()
    }

    /// Gives it an order.
    pub fn tell(&mut self, order: &str) -> Result<(), Failure> {
        Ok(self.servant.tell(order).map_err(|error| error.to_string())?)
    }

    /// Waits for the answer.
    pub fn hear(&mut self) -> Result<String, Failure> {
        let line = self.servant.hear().map_err(|error| error.to_string())?;
        let line = line.trim();
        match line.strip_prefix("error ") {
            Some(error) => Err(error.into()),
            None => Ok(line.to_owned()),
        }
    }

    /// The same for an answer in nanoseconds.
    pub fn time(&mut self, order: &str) -> Result<Duration, Failure> {
        Ok(Duration::from_nanos(self.ask(order)?.parse()?))
    }
}

impl Worker<Work> for Host {
    fn start(&mut self, work: Work, turn: Duration) -> Result<(), Box<dyn Error>> {
        let threads = if self.kind.has_processes() { 1 } else { work.workers };
        self.servant.tell(&format!("turn {} {threads} {}", work.task.name(), turn.as_micros()))
    }

    fn finish(&mut self) -> Result<Outcome, Box<dyn Error>> {
        let line = self.servant.hear()?;
        Ok(Outcome::from_line(&line).ok_or_else(|| line.trim().to_owned())?)
    }
}

/// An engine that takes part.
pub struct Side {
    /// Which.
    pub kind: Kind,
    place: Place,
    rows: u32,
    max_bytes: u64,
    is_durable: bool,
    hosts: Vec<Host>,
    server: Option<Server>,
}

impl Side {
    /// Starts it on nothing.
    pub fn fresh(kind: Kind, rows: u32) -> Result<Self, Failure> {
        Self::fresh_up_to(kind, rows, (u64::from(rows) << 11).max(4 << 30))
    }

    /// The same with a mapping, if it has one, of at most so many bytes.
    pub fn fresh_up_to(kind: Kind, rows: u32, max_bytes: u64) -> Result<Self, Failure> {
        let place = Place::fresh(&format!("{}-{rows}-{max_bytes}", kind.name()));
        if kind.is_in_memory() {
            std::fs::create_dir_all(&place.shm)?;
        }
        let mut side =
            Self { kind, place, rows, max_bytes, is_durable: false, hosts: Vec::new(), server: None };
        side.start_server()?;
        let host = side.spawn()?;
        side.hosts.push(host);
        let open = side.open(u32::MAX);
        side.first()?.ask(&open)?;
        Ok(side)
    }

    fn start_server(&mut self) -> Result<(), Failure> {
        self.server = Server::start(self.kind, &self.place)?;
        self.server.as_mut().map_or(Ok(()), Server::wait)
    }

    fn spawn(&self) -> Result<Host, Failure> {
        Host::spawn(self.kind, &self.place, self.rows, self.max_bytes, self.hosts.len())
    }

    fn open(&self, number: u32) -> String {
        format!("open {} {number}", self.is_durable)
    }

    /// Fills it: how long that took.
    pub fn load(&mut self, tsv: &Path) -> Result<Duration, Failure> {
        self.first()?.time(&format!("load {}", tsv.display()))
    }

    /// Its first process.
    pub fn first(&mut self) -> Result<&mut Host, Failure> {
        Ok(self.hosts.first_mut().ok_or("the engine has no process")?)
    }

    /// All of its processes.
    pub fn hosts(&mut self) -> &mut [Host] {
        &mut self.hosts
    }

    /// As many processes as so many workers need.
    pub fn workers(&mut self, workers: usize) -> Result<Vec<&mut dyn Worker<Work>>, Failure> {
        let count = if self.kind.has_processes() { workers } else { 1 };
        while self.hosts.len() < count {
            let mut host = self.spawn()?;
            host.ask(&self.open(0))?;
            self.hosts.push(host);
        }
        Ok(self.hosts[..count].iter_mut().map(|host| host as &mut dyn Worker<Work>).collect())
    }

    /// Attaches one more process, reads a row, and ends it: how long the attaching and reading took.
    pub fn attach(&mut self, number: u32) -> Result<Duration, Failure> {
        let mut host = self.spawn()?;
        host.time(&self.open(number))
    }

    /// Kills all of its processes at once, and opens it again: how long until a row was read.
    pub fn restart(&mut self, number: u32, loses_mapping: bool) -> Result<Duration, Failure> {
        for host in &mut self.hosts {
            host.servant.kill().map_err(|error| error.to_string())?;
        }
        self.hosts.clear();
        if let Some(server) = self.server.take() {
            server.kill()?;
        }
        if loses_mapping {
            std::fs::remove_file(&self.place.shm)?;
        }
        // The process itself is none of the engine's business.
        let mut host = self.spawn()?;
        let begin = Instant::now();
        self.start_server()?;
        let starting = if self.server.is_some() { begin.elapsed() } else { Duration::ZERO };
        let opening = host.time(&self.open(number))?;
        self.hosts.push(host);
        Ok(starting + opening)
    }

    /// Ends its processes and opens it again on disk, where every commit waits for it.
    pub fn make_durable(&mut self) -> Result<(), Failure> {
        self.first()?.ask("settle")?;
        self.hosts.clear();
        self.is_durable = true;
        if self.kind.is_in_memory() {
            let (mut copy, mut sync) = (Command::new("cp"), Command::new("sync"));
            copy.args(["-r", "--sparse=always", "-T"]).arg(&self.place.shm).arg(&self.place.dir);
            sync.arg("-f").arg(&self.place.dir);
            for command in [&mut copy, &mut sync] {
                if !Dependent::spawn(command, Signal::SIGKILL)?.wait()?.success() {
                    return Err("the files could not be copied to the disk".into());
                }
            }
            std::fs::remove_dir_all(&self.place.shm)?;
        }
        let mut host = self.spawn()?;
        host.ask(&self.open(0))?;
        self.hosts.push(host);
        Ok(())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Its processes before its server, and that before its files.
        self.hosts.clear();
        self.server = None;
    }
}
