//! The disk: alone, with turns like any engine, and what it is given to write while an engine has its turn.

use crate::side::Work;
use aerostore_bench::contender::{Outcome, run_for};
use aerostore_bench::indexed::Failure;
use aerostore_bench::waiting::{Session, disk};
use aerostore_bench::worker::Worker;
use std::cell::Cell;
use std::error::Error;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Writes and syncs 4 KiB in a file that is there.
pub struct Disk {
    session: Session<'static>,
    turn: Duration,
}

impl Disk {
    /// With a file of that name.
    pub fn new(path: &Path) -> Result<Self, Failure> {
        Ok(Self { session: disk(path, true)?.remove(0), turn: Duration::ZERO })
    }
}

impl Worker<Work> for Disk {
    fn start(&mut self, _work: Work, turn: Duration) -> Result<(), Box<dyn Error>> {
        self.turn = turn;
        Ok(())
    }

    fn finish(&mut self) -> Result<Outcome, Box<dyn Error>> {
        run_for(self.turn, 1, || (self.session)().map(|()| 1)).map_err(|error| error.to_string().into())
    }
}

/// The device that a directory lies on, by its number.
#[derive(Clone, Copy)]
pub struct Device(u64);

impl Device {
    pub fn of(dir: &Path) -> Result<Self, Failure> {
        Ok(Self(std::fs::metadata(dir)?.dev()))
    }

    /// Bytes that it has been given to write, whoever wrote them; 0 if the system does not tell. What the kernel counts for a process is
    /// no use: pages are counted by the largest unit that the cache keeps them in.
    fn written_bytes(self) -> u64 {
        let stats = std::fs::read_to_string("/proc/diskstats").unwrap_or_default();
        let (major, minor) = (nix::sys::stat::major(self.0), nix::sys::stat::minor(self.0));
        let sectors = stats.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let mut number = || words.next()?.parse::<u64>().ok();
            let is_it = number()? == major && number()? == minor;
            is_it.then(|| words.nth(7)?.parse::<u64>().ok()).flatten()
        });
        sectors.unwrap_or_default() * 512
    }
}

/// A worker, and what the disk is given to write in its turns.
pub struct Counted<'a> {
    pub worker: &'a mut dyn Worker<Work>,
    pub device: Device,
    pub before: u64,
    pub written: &'a Cell<u64>,
}

impl Worker<Work> for Counted<'_> {
    fn start(&mut self, work: Work, turn: Duration) -> Result<(), Box<dyn Error>> {
        self.before = self.device.written_bytes();
        self.worker.start(work, turn)
    }

    fn finish(&mut self) -> Result<Outcome, Box<dyn Error>> {
        let outcome = self.worker.finish()?;
        self.written.set(self.written.get() + self.device.written_bytes() - self.before);
        Ok(outcome)
    }
}
