//! Processes that work on one database until they are killed, and what they say on their pipes.
//!
//! A worker is the test binary itself, started with a role in its environment. The fleet kills one at random every 20 to 50 ms and
//! starts another in its place; in the form with stops it stops them instead as often, from 1 ms to 5 s, and then lets them go on
//! or kills them.
#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "each test uses its part")]

use super::Place;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// xorshift64: Marsaglia, 2003.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Nanoseconds of the clock that all processes of the machine share.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(aerostore_core::sys::monotonic_ns()).unwrap()
}

/// How long a test of this kind goes on: short, unless a soak says otherwise.
pub(crate) fn seconds(short: u64) -> u64 {
    std::env::var("AEROSTORE_TORTURE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

/// What a worker is to be.
pub(crate) struct Role {
    /// Which of the fleet's places it takes; its predecessors there are dead.
    pub(crate) seat: u64,
    /// Different for every process of the fleet.
    pub(crate) serial: u64,
    /// What the test has to say besides.
    pub(crate) extra: String,
    pub(crate) place: Place,
}

impl Role {
    /// The role of this process, if it is a worker of `name`.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let role = std::env::var(variable(name)).ok()?;
        let parts: Vec<&str> = role.split('|').collect();
        // The test runner's own words stand on the first line.
        println!();
        Some(Self {
            seat: parts[0].parse().unwrap(),
            serial: parts[1].parse().unwrap(),
            place: Place::existing(PathBuf::from(parts[2]), PathBuf::from(parts[3])),
            extra: parts[4].to_owned(),
        })
    }
}

/// Says one line in one piece, so that a death seldom cuts it; see [`whole_lines`].
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The lines of a process that may be killed. What has no end was cut: a kernel may end a write in the middle for a signal that kills, though
/// it is short enough for a pipe to take it whole.
pub(crate) fn whole_lines(mut from: impl BufRead) -> impl Iterator<Item = String> {
    std::iter::from_fn(move || {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        line.ends_with('\n').then(|| line.trim_end_matches('\n').to_owned())
    })
}

fn variable(name: &str) -> String {
    format!("AEROSTORE_{}", name.to_uppercase())
}

/// Less would hardly be a test.
const KILLS_MIN: u64 = 12;

struct Worker {
    serial: u64,
    child: Child,
    listener: Option<std::thread::JoinHandle<()>>,
    /// When its stop ends.
    stopped_until: Option<Instant>,
}

impl Worker {
    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: the child was started by this test and has not been waited for, so the pid is its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }
}

/// Called with seat, serial number and line.
pub(crate) type Listener = dyn Fn(u64, u64, &str) + Send + Sync;

pub(crate) struct Fleet {
    name: &'static str,
    extra: String,
    dir: PathBuf,
    shm: PathBuf,
    workers: Vec<Worker>,
    listener: Arc<Listener>,
    random: Random,
    started: u64,
    pub(crate) kills: u64,
    pub(crate) stops: u64,
}

impl Fleet {
    /// Starts `count` processes; each runs the test called `name`, which asks for its role by that name.
    pub(crate) fn start(
        name: &'static str,
        extra: &str,
        place: &Place,
        count: u64,
        listener: Arc<Listener>,
    ) -> Self {
        let mut fleet = Self {
            name,
            extra: extra.to_owned(),
            dir: place.dir.clone(),
            shm: place.shm.clone(),
            workers: Vec::new(),
            listener,
            random: Random(0x9E37_79B9_7F4A_7C15 ^ u64::from(std::process::id())),
            started: 0,
            kills: 0,
            stops: 0,
        };
        for seat in 0..count {
            let worker = fleet.spawn(seat);
            fleet.workers.push(worker);
        }
        fleet
    }

    fn spawn(&mut self, seat: u64) -> Worker {
        self.started += 1;
        let serial = self.started;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", self.name, "--nocapture", "--test-threads=1"])
            .env(
                variable(self.name),
                format!("{seat}|{serial}|{}|{}|{}", self.dir.display(), self.shm.display(), self.extra),
            )
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = BufReader::new(child.stdout.take().unwrap());
        let listener = Arc::clone(&self.listener);
        let thread = std::thread::spawn(move || {
            for line in whole_lines(pipe) {
                listener(seat, serial, &line);
            }
        });
        Worker { serial, child, listener: Some(thread), stopped_until: None }
    }

    fn kill(&mut self, seat: usize) {
        let name = self.name;
        let worker = &mut self.workers[seat];
        if let Some(status) = worker.child.try_wait().unwrap() {
            panic!("{name}: worker {} ended by itself: {status}", worker.serial);
        }
        worker.child.kill().unwrap();
        worker.child.wait().unwrap();
        // Everything it has said is heard.
        worker.listener.take().unwrap().join().unwrap();
        self.kills += 1;
    }

    /// Kills the worker with that process id, and starts another in its place; false when there is none.
    pub(crate) fn replace_process(&mut self, pid: u32) -> bool {
        let seat = self.workers.iter().position(|worker| worker.child.id() == pid);
        seat.map(|seat| self.replace(seat)).is_some()
    }

    fn replace(&mut self, seat: usize) {
        self.kill(seat);
        self.workers[seat] = self.spawn(seat as u64);
    }

    /// Kills (and stops) at random for as long, and until there have been some kills and the workers have done `enough`, however
    /// long a busy machine takes for that; the watchdog of the place says when it is too long. Calls `between` in between.
    pub(crate) fn torment(
        &mut self,
        time: Duration,
        stops: bool,
        mut enough: impl FnMut() -> bool,
        mut between: impl FnMut(),
    ) {
        let end = Instant::now() + time;
        let mut next = Instant::now();
        while Instant::now() < end || self.kills < KILLS_MIN || !enough() {
            let due = self.workers.iter().filter_map(|worker| worker.stopped_until).min();
            let until = due.map_or(next, |due| due.min(next));
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            self.end_stops();
            if Instant::now() < next {
                continue;
            }
            next = Instant::now() + Duration::from_millis(20 + self.random.below(30));
            between();
            let seat = usize::try_from(self.random.below(self.workers.len() as u64)).unwrap();
            let running = self.workers.iter().filter(|worker| worker.stopped_until.is_none()).count();
            if self.workers[seat].stopped_until.is_some() {
                continue;
            }
            if stops && running > 2 && self.random.below(3) != 0 {
                self.stop(seat);
            } else {
                self.replace(seat);
            }
        }
    }

    fn stop(&mut self, seat: usize) {
        // 1 ms to 5 s, as often between 1 and 10 ms as between 100 ms and 1 s.
        let scale = 1_u64 << self.random.below(13);
        let pause = Duration::from_millis((scale + self.random.below(scale)).min(5000));
        let worker = &mut self.workers[seat];
        worker.signal(libc::SIGSTOP);
        worker.stopped_until = Some(Instant::now() + pause);
        self.stops += 1;
    }

    fn end_stops(&mut self) {
        for seat in 0..self.workers.len() {
            if self.workers[seat].stopped_until.is_some_and(|until| until <= Instant::now()) {
                if self.random.below(2) == 0 {
                    self.workers[seat].stopped_until = None;
                    self.workers[seat].signal(libc::SIGCONT);
                } else {
                    self.replace(seat);
                }
            }
        }
    }

    /// Kills everybody.
    pub(crate) fn end(&mut self) {
        for seat in 0..self.workers.len() {
            self.kill(seat);
        }
        self.workers.clear();
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
    }
}
