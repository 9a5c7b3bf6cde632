//! How much more do two processes do on one ordered index than one?
//!
//! Entries       1 000 000 random keys of 8 bytes (`AEROSTORE_BENCH_ROWS` for another number)
//! Operations    one half seeks of the first entry from a random place on, the other half moves: a process takes one of the entries away
//!               that it has added, and adds another
//! Unit          operations in turns of half a second: one process, then two, which begin together when both are ready; the median of the
//!               ratios of eight such pairs is to be 1.5 at least
#![allow(
    missing_docs,
    clippy::disallowed_types,
    reason = "a program, not a library; the index is given a plain atomic"
)]

mod common;
#[path = "../tests/index_common/mod.rs"]
mod index_common;

use aerostore_core::epoch::{Participant, Registry};
use aerostore_core::index::{Direction, OrderedIndex};
use aerostore_core::shm::{Arena, ArenaExpect, ArenaOptions, RelPtr};
use aerostore_core::sys::{LockFile, Probe};
use aerostore_core::txn::SystemArea;
use common::flights::Random;
use index_common::{Memory, create_ordered};
use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROLE: &str = "AEROSTORE_BENCH_PROCESS";
const TURNS: u64 = 8;
const TURN: Duration = Duration::from_millis(500);
/// Entries that a process adds before its time begins.
const OWN: usize = 1000;

fn open(arena: &Arena, path: &Path) -> Result<Participant, Box<dyn Error>> {
    let lock = path.with_extension("lock");
    let (lock, probe) = (LockFile::open_or_create(&lock)?, Probe::open(&lock)?);
    let system = SystemArea::at(arena.system_area().0);
    let registry = Registry::attach(arena.clone(), system.registry(), lock, probe)?;
    Ok(Participant::new(arena.clone(), Arc::new(registry))?)
}

struct Worker<'p> {
    index: OrderedIndex<'p>,
    memory: Memory<'p>,
    random: Random,
}

impl Worker<'_> {
    fn add(&mut self) -> Result<u64, Box<dyn Error>> {
        let key = self.random.word();
        let guard = self.memory.participant.pin();
        self.index.insert(&guard, &mut self.memory, &key.to_be_bytes(), 16)?;
        Ok(key)
    }

    fn remove(&mut self, key: u64) -> Result<(), Box<dyn Error>> {
        let guard = self.memory.participant.pin();
        self.index.remove(&guard, &mut self.memory, &key.to_be_bytes(), 16)?;
        Ok(())
    }

    fn seek(&mut self) {
        let from = self.random.word().to_be_bytes();
        let guard = self.memory.participant.pin();
        let mut cursor =
            self.index.seek(&guard, Bound::Included(&from), Bound::Unbounded, Direction::Forward);
        black_box(cursor.next_batch().is_ok());
    }

    /// Operations in a turn, which begins at a word from the one who measures.
    fn turn(&mut self) -> Result<u64, Box<dyn Error>> {
        let mut own = (0..OWN).map(|_| self.add()).collect::<Result<Vec<u64>, _>>()?;
        println!("ready");
        std::io::stdin().read_line(&mut String::new())?;
        let (begin, mut count) = (Instant::now(), 0);
        while begin.elapsed() < TURN {
            for place in &mut own {
                let old = std::mem::replace(place, self.add()?);
                self.remove(old)?;
                self.seek();
                count += 2;
            }
        }
        for key in own {
            self.remove(key)?;
        }
        Ok(count)
    }
}

/// A process, which says when it is ready, and how much it has done.
fn start(path: &Path, seed: u64) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .env(ROLE, format!("{seed}|{}", path.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}

/// Lets `processes` run one turn at the same time; what they have done together.
fn turn(path: &Path, processes: u64, seed: u64) -> Result<u64, Box<dyn Error>> {
    let mut running: Vec<Child> =
        (0..processes).map(|number| start(path, seed + number)).collect::<Result<_, _>>()?;
    let mut said = Vec::new();
    for child in &mut running {
        let mut lines = BufReader::new(child.stdout.take().ok_or("what it says")?).lines();
        lines.next().ok_or("it is to be ready")??;
        said.push(lines);
    }
    for child in &mut running {
        writeln!(child.stdin.as_mut().ok_or("what it hears")?)?;
    }
    let mut count = 0;
    for (mut lines, mut child) in said.into_iter().zip(running) {
        count += lines.next().ok_or("it is to say how much")??.trim().parse::<u64>()?;
        child.wait()?;
    }
    Ok(count)
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Ok(role) = std::env::var(ROLE) {
        let (seed, path) = role.split_once('|').ok_or("a seed and a path")?;
        let path = PathBuf::from(path);
        let arena = Arena::attach(&path, &ArenaExpect::default())?;
        let participant = open(&arena, &path)?;
        let index = OrderedIndex::new(arena.resolve(RelPtr::new(root_word(&arena)))?, 0);
        let memory = Memory::new(&participant);
        let mut worker = Worker { index, memory, random: Random(seed.parse()?) };
        println!("{}", worker.turn()?);
        return Ok(());
    }
    let path = PathBuf::from(format!("/dev/shm/aerostore-bench-processes-{}", std::process::id()));
    let outcome = measure(&path);
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_file(path.with_extension("lock"));
    outcome
}

/// The index's root is in the last word of the area for fixed tables.
fn root_word(arena: &Arena) -> u64 {
    let (start, bytes) = arena.system_area();
    start + bytes - 8
}

fn measure(path: &Path) -> Result<(), Box<dyn Error>> {
    let rows = common::number("AEROSTORE_BENCH_ROWS", 1_000_000);
    let options =
        ArenaOptions { max_bytes: 1 << 30, system_bytes: SystemArea::bytes() + 8, ..ArenaOptions::default() };
    let arena = Arena::create(path, &options)?;
    let participant = open(&arena, path)?;
    let root: &AtomicU64 = arena.resolve(RelPtr::new(root_word(&arena)))?;
    let made = AtomicU64::new(0);
    create_ordered(&participant, &made);
    root.store(made.load(Ordering::Relaxed), Ordering::Release);
    arena.header().set_ready();
    let index = OrderedIndex::new(root, 0);
    let mut worker = Worker { index, memory: Memory::new(&participant), random: Random(1) };
    for _ in 0..rows {
        worker.add()?;
    }
    let mut ratios = Vec::new();
    for number in 1..=TURNS {
        let [one, two] = [turn(path, 1, number * 100)?, turn(path, 2, number * 100 + 10)?];
        println!("one process {one:>8}, two {two:>8} operations in {TURN:?}");
        ratios.push(two * 1000 / one.max(1));
    }
    ratios.sort_unstable();
    let [low, median, high] =
        [ratios[2], ratios[4], ratios[6]].map(|ratio| format!("{}.{:03}", ratio / 1000, ratio % 1000));
    println!("two processes do {median} times what one does (middle half {low} to {high}); goal 1.5");
    Ok(())
}
