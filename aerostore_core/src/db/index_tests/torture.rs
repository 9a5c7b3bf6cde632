//! Processes change one ordered index while some of them are killed or stopped; each says beforehand what it is about to do, so that
//! every entry but that one is known.
//!
//! Length      `AEROSTORE_INDEX_TORTURE_MS`: how long they are killed and stopped.

use super::{Kind, Root, variable};
use crate::db::Database;
use crate::index::{Added, Blocks, Direction};
use crate::shm::{Arena, BlockKind, RelPtr};
use crate::sync::{AtomicU64, Ordering};
use crate::txn::{Session, reap_dead_processes};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROLE: &str = "AEROSTORE_INDEX_TORTURE";
const WORKERS: u64 = 5;
/// Keys of a worker; they lie among those of the others.
const KEYS: u64 = 600;
/// A worker's word that says what it is about to do, and words of which each says whether a key is there.
const WORDS: u64 = 1 + KEYS;

/// What the workers say, in a block of shared memory.
#[derive(Clone, Copy)]
struct Notes(u64);

impl Notes {
    fn word(self, arena: &Arena, worker: u64, place: u64) -> &AtomicU64 {
        arena.resolve(RelPtr::new(self.0 + (worker * WORDS + place) * 8)).unwrap()
    }
}

/// As a signed key of its own, so that splits and merges meet entries of several workers.
fn key_of(root: Root, worker: u64, number: u64) -> Vec<u8> {
    root.key(number * WORKERS + worker)
}

fn row_of(worker: u64) -> u64 {
    16 * (worker + 1)
}

fn open(dir: &Path, shm: &Path) -> Database {
    Database::builder(dir).shm_path(shm).max_bytes(64 << 20).open().unwrap()
}

/// Not a test of its own: what the workers run until they are killed.
#[test]
fn torture_worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let parts: Vec<&str> = role.split('|').collect();
    let numbers: Vec<u64> = parts[..5].iter().map(|part| part.parse().unwrap()).collect();
    let root = Root { offset: numbers[0], has_directory: numbers[1] == 1 };
    let (notes, worker, seed) = (Notes(numbers[2]), numbers[3], numbers[4]);
    let db = open(Path::new(parts[5]), Path::new(parts[6]));
    let mut session = db.0.session().unwrap();
    settle(root, notes, worker, &mut session);
    let mut dice = seed;
    let begin = Instant::now();
    // An orphan ends by itself.
    while begin.elapsed() < Duration::from_mins(1) {
        // The tide: for a while more come, then more go.
        let rises = (begin.elapsed().as_millis() / 20).is_multiple_of(2);
        for _ in 0..50 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            step(root, notes, worker, &mut session, (dice >> 33) % KEYS, ((dice >> 20) % 8 == 0) != rises);
        }
        session.tidy_now().unwrap();
        reap_dead_processes(&mut session).unwrap();
    }
}

/// Adds an entry, or takes one away, unless that is done already.
fn step(root: Root, notes: Notes, worker: u64, session: &mut Session, number: u64, adds: bool) {
    let arena = session.participant().arena().clone();
    let (intent, state) = (notes.word(&arena, worker, 0), notes.word(&arena, worker, 1 + number));
    if adds == (state.load(Ordering::Relaxed) == 1) {
        return;
    }
    intent.store(number + 1, Ordering::Release);
    if adds {
        assert_eq!(
            root.insert(session, &key_of(root, worker, number), row_of(worker)),
            Added::New,
            "{number}"
        );
    } else {
        assert!(root.remove(session, &key_of(root, worker, number), row_of(worker)), "{number}");
    }
    state.store(u64::from(adds), Ordering::Release);
    intent.store(0, Ordering::Release);
}

/// What a worker has said is so, but for what it was about to do, which is noted as it is.
fn settle(root: Root, notes: Notes, worker: u64, session: &mut Session) {
    root.with(session, |index, guard, _| {
        let intent = notes.word(guard.arena(), worker, 0);
        for number in 0..KEYS {
            let state = notes.word(guard.arena(), worker, 1 + number);
            let is_there = index.contains(guard, &key_of(root, worker, number), row_of(worker))?;
            if intent.load(Ordering::Acquire) == number + 1 {
                state.store(u64::from(is_there), Ordering::Release);
            } else {
                assert_eq!(state.load(Ordering::Acquire) == 1, is_there, "{number} of worker {worker}");
            }
        }
        intent.store(0, Ordering::Release);
        Ok(())
    });
}

struct Workers {
    dir: PathBuf,
    shm: PathBuf,
    root: Root,
    notes: Notes,
    running: Vec<Child>,
    started: u64,
}

impl Workers {
    fn start(&mut self, worker: u64) -> Child {
        self.started += 1;
        let Root { offset, has_directory } = self.root;
        let root = format!("{offset}|{}", u64::from(has_directory));
        let numbers = format!("{root}|{}|{worker}|{}", self.notes.0, self.started);
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "db::index_tests::torture::torture_worker", "--nocapture", "--test-threads=1"])
            .env(ROLE, format!("{numbers}|{}|{}", self.dir.display(), self.shm.display()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Ends a worker, which has to be alive: one that has found something wrong is not.
    fn kill(&mut self, worker: usize) {
        let child = &mut self.running[worker];
        assert!(child.try_wait().unwrap().is_none(), "worker {worker} has ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn signal(&self, worker: usize, signal: i32) {
        let pid = i32::try_from(self.running[worker].id()).unwrap();
        // SAFETY: no memory is involved; the child has not been waited for, so the number is still its.
        unsafe { libc::kill(pid, signal) };
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(&self.shm);
    }
}

#[test]
fn an_index_stays_sound_while_processes_are_killed_and_stopped() {
    torture("index", Kind::Ordered);
}

#[test]
fn a_directory_stays_sound_while_processes_are_killed_and_stopped() {
    torture("directory", Kind::Hash);
}

fn torture(name: &str, kind: Kind) {
    let unique = format!("aerostore-{name}-torture-{}", std::process::id());
    let (dir, shm) =
        (std::env::temp_dir().join(&unique), Path::new("/dev/shm").join(format!("{unique}.mmap")));
    let db = open(&dir, &shm);
    let mut session = db.0.session().unwrap();
    let root = Root::make(&mut session, kind);
    let notes = {
        let (guard, mut memory) = session.parts();
        let bytes = usize::try_from(WORKERS * WORDS * 8).unwrap();
        let block = memory.alloc_zeroed(bytes, BlockKind::RAW).unwrap();
        guard.arena().publish(block);
        Notes(block.offset)
    };
    let mut workers = Workers { dir, shm, root, notes, running: Vec::new(), started: 0 };
    for worker in 0..WORKERS {
        let child = workers.start(worker);
        workers.running.push(child);
    }
    let length = Duration::from_millis(variable("AEROSTORE_INDEX_TORTURE_MS", 3000));
    let (begin, mut kills, mut stops, mut dice) = (Instant::now(), 0, 0, 1_u64);
    while begin.elapsed() < length || kills < 5 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(20 + (dice >> 40) % 30));
        let worker = (dice >> 33) % WORKERS;
        let at = usize::try_from(worker).unwrap();
        if (dice >> 20) % 3 == 0 {
            workers.signal(at, libc::SIGSTOP);
            std::thread::sleep(Duration::from_millis((dice >> 45) % 40));
            workers.signal(at, libc::SIGCONT);
            stops += 1;
        } else {
            workers.kill(at);
            workers.running[at] = workers.start(worker);
            kills += 1;
        }
    }
    for at in 0..workers.running.len() {
        workers.kill(at);
    }
    while db.0.store.registry().has_peers().unwrap() {
        std::thread::sleep(Duration::from_millis(1));
    }
    reap_dead_processes(&mut session).unwrap();
    for worker in 0..WORKERS {
        settle(root, notes, worker, &mut session);
    }
    root.check_beside(&mut session, &[notes.0], "after the last death");
    let entries = root.entries(&mut session).len();
    let backward = root.with(&mut session, |index, guard, _| {
        let mut cursor = index.seek(guard, Bound::Unbounded, Bound::Unbounded, Direction::Backward);
        let mut count = 0;
        while let Some(batch) = cursor.next_batch()? {
            count += batch.len();
        }
        Ok(count)
    });
    assert_eq!(entries, backward);
    println!(
        "{name} torture: {} processes, {kills} kills, {stops} stops, {entries} entries left",
        workers.started
    );
    db.0.pool().put(session);
    db.close().unwrap();
}
