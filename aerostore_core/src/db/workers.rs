//! Background work: writing the log, reaping the dead, and what can wait. Every process runs one thread for each of log and
//! reaping, signs of life, idle sessions, checkpoints, rows past their time to live, and growth; the log has one writer at a time, and another process takes over when that one
//! dies or stalls.

#![forbid(unsafe_code)]

use crate::db::Error;
use crate::db::config::Config;
use crate::db::database::Inner;
use crate::db::growth::GrowAhead;
use crate::db::pool::SessionPool;
use crate::db::sweeper::Sweeper;
use crate::epoch::{BEAT_INTERVAL_NS, ProcessId, SILENCE_NS};
use crate::sync::{AtomicBool, Ordering};
use crate::sys::FileSystem;
use crate::sys::{monotonic_ns, wait, wake};
use crate::txn::{
    GiveBack, Session, SnapshotWatch, Store, StoreCommits, Vacuum, forget_unwatched, reap_dead_processes,
};
use crate::wal::{LogOptions, LogWriter, SyncPolicy, WalError};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const REAP_INTERVAL_NS: u64 = 20_000_000;
/// A holder of the vacuum's role that gives no sign of life for this long is replaced.
const VACUUM_PATIENCE_NS: u64 = 2_000_000_000;
/// The least pause between two walks of the vacuum.
const VACUUM_PAUSE_NS: u64 = 200_000_000;
/// How long a session is idle before others tidy for it; at most twice that, if there is little to do.
const TEND_INTERVAL: Duration = Duration::from_millis(250);
/// The pause after that is so many times as long as it took, so that it takes a small share of a processor.
const TEND_REST: u32 = 20;
/// How long a session is not asked for before it is closed; at most twice that.
const SURPLUS_INTERVAL: Duration = Duration::from_secs(10);
/// Slabs of rows that the vacuum looks at before the thread does other work: about a millisecond.
const VACUUM_SLABS: usize = 16;
/// The same while a write waits for it.
const VACUUM_SLABS_PRESSED: usize = 256;
/// The vacuum pauses for so many times as long as it has worked, so that it takes a small share of a processor.
const VACUUM_REST: u64 = 10;
/// How often a process looks for snapshots that hold garbage back, at least; more often if their limit is short.
const WATCH_INTERVAL_NS: u64 = 1_000_000_000;
/// Looks during the time that a snapshot may hold garbage back.
const WATCHES_PER_AGE: u64 = 8;
/// A log writer whose process gives no sign of life for this long is replaced; doubled by each process that has done so, for
/// machines on which everything takes long.
const STALL_NS: u64 = SILENCE_NS;
/// The most that patience grows to.
const STALL_NS_MAX: u64 = 10_000_000_000;
/// Byte of the lock file for the right to take over as log writer.
const TAKE_OVER_BYTE: u64 = 1 << 42;
/// The least that the log writer sleeps, however much there is to write.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// How long the log writer sleeps after an error, unless somebody commits.
const FAULT_PAUSE: Duration = Duration::from_millis(50);
/// How often a process that does not write the log looks whether it should.
const STANDBY_INTERVAL: Duration = Duration::from_millis(20);

/// A process's background threads.
pub(super) struct Worker {
    stop: Arc<AtomicBool>,
    store: Arc<Store>,
    threads: Vec<JoinHandle<()>>,
}

/// Held for reading while the background changes something, for writing by whoever wants nothing to change.
pub(super) type Gate = RwLock<()>;

struct Work {
    store: Arc<Store>,
    session: Session,
    config: Arc<Config>,
    stop: Arc<AtomicBool>,
    files: Arc<dyn FileSystem>,
    wal_dir: PathBuf,
    uuid: [u8; 16],
    options: LogOptions,
    writes_log: bool,
    /// Whether this process is, or is about to be, the log writer.
    in_office: Arc<AtomicBool>,
    patience_ns: u64,
    /// How long the log writer sleeps when nobody wakes it.
    pause: Duration,
    /// When it last began to look for work.
    drained_ns: u64,
    vacuum: Option<Vacuum>,
    next_vacuum_ns: u64,
    give_back: GiveBack,
    /// How long it has worked at the running walk.
    vacuum_ns: u64,
    watch: SnapshotWatch,
    last_watch_ns: u64,
    gate: Arc<Gate>,
}

/// A process as the log's `holder` word names it; 0 is nobody.
pub(super) fn holder_word(process: ProcessId) -> u32 {
    (process.index & 0x3FF) << 20 | (process.incarnation & 0xF_FFFF)
}

pub(super) fn holder_process(word: u32) -> ProcessId {
    ProcessId { index: word >> 20, incarnation: word & 0xF_FFFF }
}

impl Worker {
    pub(super) fn start(inner: &Inner) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let store = Arc::clone(&inner.store);
        // What a log writer that is gone has met is not known to be so still, nor what kept one from taking office.
        let log = store.log();
        if log.holder() == 0 || store.registry().is_dead(holder_process(log.holder()))? {
            log.forget_faults();
        }
        let mut options = LogOptions::default();
        if let Some(bytes) = inner.segment_bytes {
            options.segment_bytes = bytes;
        }
        let mut work = Work {
            session: Session::new(Arc::clone(&store))?,
            store: Arc::clone(&store),
            config: Arc::clone(&inner.config),
            stop: Arc::clone(&stop),
            files: Arc::clone(&inner.files),
            wal_dir: inner.dir.wal_dir(),
            uuid: inner.dir.uuid(),
            options,
            writes_log: !inner.read_only,
            in_office: Arc::new(AtomicBool::new(false)),
            patience_ns: STALL_NS,
            pause: Duration::from_millis(inner.config.wal_writer_delay_ms()),
            drained_ns: 0,
            vacuum: None,
            next_vacuum_ns: 0,
            give_back: GiveBack::default(),
            vacuum_ns: 0,
            watch: SnapshotWatch::default(),
            last_watch_ns: 0,
            gate: Arc::clone(&inner.gate),
        };
        let beat = Beat {
            store: Arc::clone(&store),
            in_office: Arc::clone(&work.in_office),
            stop: Arc::clone(&stop),
        };
        let tend =
            Tend { pool: Arc::clone(&inner.pool), gate: Arc::clone(&inner.gate), stop: Arc::clone(&stop) };
        let sweeper = Sweeper {
            store: Arc::clone(&store),
            config: Arc::clone(&inner.config),
            pool: Arc::clone(&inner.pool),
            gate: Arc::clone(&inner.gate),
            stop: Arc::clone(&stop),
            rests: HashMap::new(),
        };
        let grow_ahead = GrowAhead { store: Arc::clone(&store), stop: Arc::clone(&stop) };
        let mut worker = Self { stop, store, threads: Vec::new() };
        let started = (|| {
            worker.threads.push(spawn("aerostore-beat", move || beat.run())?);
            worker.threads.push(spawn("aerostore-tend", move || tend.run())?);
            if !inner.read_only {
                let (checkpointer, stop) = (Arc::clone(&inner.checkpointer), Arc::clone(&worker.stop));
                let run = move || checkpointer.run(&stop);
                worker.threads.push(spawn("aerostore-checkpoint", run)?);
                worker.threads.push(spawn("aerostore-sweep", move || sweeper.run())?);
            }
            worker.threads.push(spawn("aerostore-grow", move || grow_ahead.run())?);
            worker.threads.push(spawn("aerostore-work", move || {
                work.run();
                let Work { session, .. } = work;
                // What cannot be given back now is reaped after this process has ended.
                let _ = session.close();
            })?);
            Ok(())
        })();
        match started {
            Ok(()) => Ok(worker),
            Err(error) => {
                worker.stop();
                Err(error)
            }
        }
    }

    /// Stops the threads; the log's role is free for another process then.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.store.log().notify_work(|word| {
            wake(word, 1);
        });
        self.store.arena().end_growth_wait();
        for thread in self.threads {
            thread.thread().unpark();
            // A panic of the thread has nothing left to say here.
            let _ = thread.join();
        }
    }
}

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| Error::File { path: PathBuf::from(format!("thread {name}")), source })
}

/// The process's sign of life, and that of the log writer in it: by a thread of its own, so that a slow disk or a long
/// statement does not look like a stopped process.
struct Beat {
    store: Arc<Store>,
    in_office: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Beat {
    fn run(&self) {
        while !self.stop.load(Ordering::Acquire) {
            let now_ns = monotonic_ns();
            // A damaged registry is reported to whoever works with it.
            let _ = self.store.registry().beat(now_ns);
            if self.in_office.load(Ordering::Acquire) {
                self.store.log().beat(now_ns);
            }
            std::thread::park_timeout(Duration::from_nanos(BEAT_INTERVAL_NS));
        }
    }
}

/// Tidies for the sessions of this process that are idle: by a thread of its own, because one that has made many rows has much
/// to look through while others change them, and neither log nor reaping may wait for that.
struct Tend {
    pool: Arc<SessionPool>,
    gate: Arc<Gate>,
    stop: Arc<AtomicBool>,
}

impl Tend {
    fn run(&self) {
        let mut pause = TEND_INTERVAL;
        let mut shrunk = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            std::thread::park_timeout(pause);
            // Later, if somebody wants nothing to change.
            let Ok(_quiet) = self.gate.try_read() else { continue };
            let begun = Instant::now();
            // Damage is reported to whoever works with the damaged part.
            self.pool.tend(|session| drop(session.tidy_idle()));
            pause = TEND_INTERVAL.max(begun.elapsed() * TEND_REST);
            if begun - shrunk > SURPLUS_INTERVAL {
                shrunk = begun;
                for session in self.pool.surplus() {
                    drop(session.close());
                }
            }
        }
    }
}

impl Work {
    fn run(&mut self) {
        let store = Arc::clone(&self.store);
        let log = store.log();
        let mut writer = None;
        let mut reaped_ns = monotonic_ns();
        loop {
            let seen = log.work_seq();
            let stopping = self.stop.load(Ordering::Acquire);
            let idle_end = stopping && writer.is_none() && log.durable_ts() >= store.clock().now();
            if self.writes_log && !idle_end {
                self.write_log(&store, &mut writer);
            }
            if stopping {
                store.garbage().role().resign(holder_word(store.registry().process()));
                if let Some(office) = writer {
                    // The mark of a clean end; without it the log is complete all the same.
                    let _ = office.close(&StoreCommits::new(&store, self.session.participant()));
                }
                return;
            }
            if monotonic_ns() - reaped_ns > REAP_INTERVAL_NS {
                reaped_ns = monotonic_ns();
                self.reap();
            }
            if self.writes_log {
                self.watch_snapshots();
                self.vacuum();
                self.give_back();
            }
            if writer.is_some() {
                let pause = self.pause;
                log.wait_work(seen, |word, seen| {
                    wait(word, seen, Some(pause));
                });
            } else {
                std::thread::park_timeout(STANDBY_INTERVAL);
            }
        }
    }

    /// Does for dead processes what is to be done, and for what they leave behind.
    fn reap(&mut self) {
        // Later, if somebody wants nothing to change: the log does not wait for that.
        let Ok(_quiet) = self.gate.try_read() else { return };
        // Damage is reported to whoever works with the damaged part; the next pass tries again.
        let _ = reap_dead_processes(&mut self.session);
        let _ = self.session.tidy();
    }

    /// Revokes snapshots that have held garbage back for too long, and forgets what nobody follows any more.
    fn watch_snapshots(&mut self) {
        let now = monotonic_ns();
        let age = self.config.max_snapshot_age_ns();
        let pause = age.map_or(WATCH_INTERVAL_NS, |age| WATCH_INTERVAL_NS.min(age / WATCHES_PER_AGE));
        // From the last look, so that a shorter limit counts at once.
        if now < self.last_watch_ns + pause {
            return;
        }
        self.last_watch_ns = now;
        // Damage is reported to whoever works with the damaged part.
        let _ = self.watch.look(&self.store, now, age);
        let _ = forget_unwatched(&self.store);
    }

    /// A slice of the vacuum's work, if this process has the role and there is any.
    fn vacuum(&mut self) {
        let (store, now) = (Arc::clone(&self.store), monotonic_ns());
        let garbage = store.garbage();
        let is_pressed = garbage.is_pressed();
        let is_wanted = garbage.open_requests().is_some() || self.vacuum.is_some();
        if !is_wanted || (now < self.next_vacuum_ns && !is_pressed) {
            return;
        }
        if !self.has_vacuum_role(now) {
            self.vacuum = None;
            return;
        }
        // Later, if somebody wants nothing to change.
        let Ok(_quiet) = self.gate.try_read() else { return };
        if self.vacuum.is_none() {
            self.vacuum = Vacuum::begin(&self.session).ok().flatten();
            self.vacuum_ns = 0;
        }
        let Some(vacuum) = &mut self.vacuum else { return };
        // After an error the next walk tries again; damage is reported to whoever works with the damaged part.
        let slabs = if is_pressed { VACUUM_SLABS_PRESSED } else { VACUUM_SLABS };
        let is_over = vacuum.go_on(&mut self.session, slabs).unwrap_or(true);
        let end = monotonic_ns();
        self.vacuum_ns += end - now;
        if is_over {
            self.vacuum = None;
            self.next_vacuum_ns = end + VACUUM_PAUSE_NS.max(VACUUM_REST * self.vacuum_ns);
        }
    }

    /// Whether this process has the vacuum's role, or gets it now.
    fn has_vacuum_role(&self, now_ns: u64) -> bool {
        let (garbage, registry) = (self.store.garbage(), self.store.registry());
        let is_dead = |holder| registry.is_dead(holder_process(holder)).unwrap_or(false);
        garbage.role().stand(holder_word(registry.process()), now_ns, VACUUM_PATIENCE_NS, is_dead)
    }

    /// A slice of the work of giving memory back, which goes with the vacuum's role.
    fn give_back(&mut self) {
        let now = monotonic_ns();
        if !self.give_back.is_wanted(self.store.arena(), now) || !self.has_vacuum_role(now) {
            return;
        }
        // Later, if somebody wants nothing to change: the log does not wait for that.
        let Ok(_quiet) = self.gate.try_read() else { return };
        // A file system that cannot do it is no error; damage is reported to whoever works with the damaged part.
        let _ = self.give_back.go_on(&mut self.session, now);
    }

    fn write_log<'s>(&mut self, store: &'s Store, writer: &mut Option<LogWriter<'s>>) {
        if writer.is_none() && self.should_take_over() {
            *writer = self.stand_for_office(store);
        }
        let Some(office) = writer else { return };
        let commits = StoreCommits::new(store, self.session.participant());
        let begun_ns = monotonic_ns();
        let policy = SyncPolicy {
            every_commits: self.config.wal_sync_every_commits(),
            delay: Duration::from_millis(self.config.wal_writer_delay_ms()),
            bytes: self.ring_share(),
        };
        match office.drain_by(&commits, &policy) {
            Ok(drained) => {
                let pause = self.pause_after(drained.bytes, begun_ns.saturating_sub(self.drained_ns));
                self.pause = pause.min(drained.sync_in.unwrap_or(pause));
                self.drained_ns = begun_ns;
            }
            Err(WalError::Deposed { .. }) => {
                self.in_office.store(false, Ordering::Release);
                *writer = None;
            }
            // In the log's shared state, where committers see it; the next pass tries again.
            Err(_) => self.pause = FAULT_PAUSE,
        }
    }

    /// Bytes after which the log writer does not wait for more: so much of a ring that a session does not fill the rest before the
    /// disk is done.
    fn ring_share(&self) -> u64 {
        self.store.ring_bytes / 3
    }

    /// How long to sleep when `bytes` were logged in the last `elapsed_ns`: the delay that is set, but not so long that a session
    /// fills its ring meanwhile and has to wait for the disk.
    fn pause_after(&self, bytes: u64, elapsed_ns: u64) -> Duration {
        let delay = Duration::from_millis(self.config.wal_writer_delay_ms());
        match elapsed_ns.saturating_mul(self.ring_share()).checked_div(bytes) {
            Some(nanos) => delay.min(Duration::from_nanos(nanos).max(PAUSE_MIN)),
            None => delay,
        }
    }

    fn should_take_over(&self) -> bool {
        let log = self.store.log();
        let holder = log.holder();
        let process = holder_process(holder);
        if holder == 0 || process == self.store.registry().process() {
            return true;
        }
        self.store.registry().is_dead(process).unwrap_or(false)
            || (log.durable_ts() < self.store.clock().now() && self.is_silent())
    }

    fn is_silent(&self) -> bool {
        monotonic_ns().saturating_sub(self.store.log().heartbeat_ns()) > self.patience_ns
    }

    /// Becomes the log writer, unless another process is at it.
    fn stand_for_office<'s>(&mut self, store: &'s Store) -> Option<LogWriter<'s>> {
        // One at a time, or they would depose each other; but a candidate that is stopped must not bar the others.
        let alone = store.registry().try_lock(TAKE_OVER_BYTE).unwrap_or(false);
        if !alone && !self.is_silent() {
            return None;
        }
        let log = store.log();
        let replaces_the_living =
            log.holder() != 0 && !store.registry().is_dead(holder_process(log.holder())).unwrap_or(true);
        log.beat(monotonic_ns());
        self.in_office.store(true, Ordering::Release);
        let taken = self.take_over(store);
        if alone {
            // The descriptor's end does the same.
            let _ = store.registry().unlock(TAKE_OVER_BYTE);
        }
        if replaces_the_living {
            self.patience_ns = (self.patience_ns * 2).min(STALL_NS_MAX);
        }
        // An error is in the log's shared state by now, where committers see it.
        if taken.is_err() {
            self.in_office.store(false, Ordering::Release);
        }
        taken.ok()
    }

    fn take_over<'s>(&self, store: &'s Store) -> Result<LogWriter<'s>, WalError> {
        LogWriter::take_over(
            store.log(),
            Arc::clone(&self.files),
            &self.wal_dir,
            self.uuid,
            holder_word(store.registry().process()),
            self.options.clone(),
        )
    }
}
