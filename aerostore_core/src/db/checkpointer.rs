//! Taking checkpoints: when a user asks, at full speed, and by a thread of each process that writes, when one is due, at the pace of P6 of
//! `checkpoint`.
//!
//! Due         when something was committed since the last, and the interval is over or the log has grown by so much; after a failure not
//!             before `RETRY_NS`, and after each further one twice as long, up to `RETRY_NS_MAX`. Every process goes by its own settings.
//! Rules       A1: one process at a time has the role (`epoch::Role`), and one thread of it takes the lock. One that is stopped for longer
//!             than `PATIENCE_NS` loses the role, and gives up what it was at when it learns that; should it be past that, there are two
//!             checkpoints. A2: whoever closes the database waits for no checkpoint, but for the chunk or the sync that it is at: it is
//!             given up then. A3: a panic in the middle, of whoever is told how far it is, gives up role and lock.

#![forbid(unsafe_code)]

use crate::checkpoint::{CheckpointError, CheckpointOptions, CheckpointProgress, Places, Taken, take};
use crate::db::config::Config;
use crate::db::identity::DataDir;
use crate::db::pool::SessionPool;
use crate::db::workers::{holder_process, holder_word};
use crate::db::{Database, Error};
use crate::mvcc::{CheckpointControl, CheckpointStats};
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{FileSystem, monotonic_ns};
use crate::txn::{Session, Store, TxnError};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// How often the thread looks whether one is due.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often one who waits for the role asks for it.
const ROLE_PAUSE: Duration = Duration::from_millis(10);
/// How long after a failure the next attempt begins.
const RETRY_NS: u64 = 10_000_000_000;
const RETRY_NS_MAX: u64 = 640_000_000_000;
/// How long whoever closes the database waits for one that is to be given up.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// Whoever has the role and gives no sign of life for this long has lost it: longer than a disk takes to sync.
const PATIENCE_NS: u64 = 120_000_000_000;

/// What a process takes checkpoints with.
pub(super) struct Checkpointer {
    store: Arc<Store>,
    config: Arc<Config>,
    pool: Arc<SessionPool>,
    files: Arc<dyn FileSystem>,
    checkpoint_dir: PathBuf,
    wal_dir: PathBuf,
    uuid: [u8; 16],
    segment_bytes: u64,
    /// Held by the thread that takes one (A1).
    one: Mutex<()>,
}

impl Checkpointer {
    pub(super) fn new(
        store: &Arc<Store>,
        config: &Arc<Config>,
        pool: &Arc<SessionPool>,
        files: &Arc<dyn FileSystem>,
        dir: &DataDir,
        segment_bytes: u64,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            config: Arc::clone(config),
            pool: Arc::clone(pool),
            files: Arc::clone(files),
            checkpoint_dir: dir.checkpoint_dir(),
            wal_dir: dir.wal_dir(),
            uuid: dir.uuid(),
            segment_bytes,
            one: Mutex::new(()),
        }
    }

    /// Takes one whenever it is due, until `stop`.
    pub(super) fn run(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            std::thread::park_timeout(LOOK_INTERVAL);
            if !self.is_due(monotonic_ns()) {
                continue;
            }
            let Some(_one) = self.try_begin() else { continue };
            if !self.stand() {
                continue;
            }
            // An error is counted, and told by `Database::status`; the next attempt comes by itself.
            let _ = self.take(true, &mut |_| {
                if stop.load(Ordering::Acquire) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        }
    }

    /// Keeps others of this process from taking one; none while another does.
    fn try_begin(&self) -> Option<MutexGuard<'_, ()>> {
        match self.one.try_lock() {
            Ok(one) => Some(one),
            Err(TryLockError::Poisoned(one)) => Some(one.into_inner()), // A3
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Keeps others of this process from taking one, for whoever wants nothing to change; waits for the one that is being taken.
    pub(super) fn begin(&self) -> MutexGuard<'_, ()> {
        self.one.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the one that is being taken was given up, or is taken (A2).
    pub(super) fn wait_for_end(&self) {
        let begun = Instant::now();
        while self.try_begin().is_none() && begun.elapsed() < END_TIMEOUT {
            std::thread::sleep(ROLE_PAUSE);
        }
    }

    fn is_due(&self, now_ns: u64) -> bool {
        let (control, log) = (self.store.checkpoints(), self.store.log().stats());
        if log.written_ts <= control.stats().commit_ts || log.read_only {
            return false;
        }
        let (since_last, since_failure) = control.since_ns(now_ns);
        let doublings = control.failed_in_row().saturating_sub(1).min(10);
        let retry_ns = (RETRY_NS << doublings).min(RETRY_NS_MAX);
        if since_failure.is_some_and(|since| since < retry_ns) {
            return false;
        }
        self.config.checkpoint_interval_ns().is_some_and(|interval| since_last >= interval)
            || self
                .config
                .checkpoint_log_bytes()
                .is_some_and(|bytes| control.log_since(log.written_bytes) >= bytes)
    }

    /// Takes the role, if it is free; true for who has it then.
    fn stand(&self) -> bool {
        let registry = self.store.registry();
        let is_dead = |holder| registry.is_dead(holder_process(holder)).unwrap_or(false);
        let me = holder_word(registry.process());
        self.store.checkpoints().role().stand(me, monotonic_ns(), PATIENCE_NS, is_dead)
    }

    /// Takes a checkpoint, in the role, and gives that up. One that nobody waits for `rests`. `watch` may break it off.
    fn take(
        &self,
        rests: bool,
        watch: &mut dyn FnMut(CheckpointProgress) -> ControlFlow<()>,
    ) -> Result<Taken, CheckpointError> {
        let control = self.store.checkpoints();
        let me = holder_word(self.store.registry().process());
        let _ends = InRole { control, me };
        let log_bytes = self.store.log().stats().written_bytes;
        let taken = self.take_as(me, rests, watch);
        let now_ns = monotonic_ns();
        match &taken {
            Ok(taken) => {
                let stats = CheckpointStats {
                    number: taken.number,
                    commit_ts: taken.commit_ts,
                    rows: taken.rows,
                    bytes: taken.bytes,
                    elapsed_us: taken.elapsed_us,
                    ..CheckpointStats::default()
                };
                control.note_taken(&stats, log_bytes, now_ns);
            }
            Err(CheckpointError::Cancelled | CheckpointError::Replaced) => {}
            Err(_) => control.note_failed(now_ns),
        }
        taken
    }

    fn take_as(
        &self,
        me: u32,
        rests: bool,
        watch: &mut dyn FnMut(CheckpointProgress) -> ControlFlow<()>,
    ) -> Result<Taken, CheckpointError> {
        let control = self.store.checkpoints();
        let places = Places {
            files: self.files.as_ref(),
            checkpoints: &self.checkpoint_dir,
            log: &self.wal_dir,
            uuid: self.uuid,
        };
        let options = CheckpointOptions {
            compression: self.config.checkpoint_compression(),
            rests,
            segment_bytes: self.segment_bytes,
        };
        let session = match self.pool.take() {
            Some(session) => session,
            None => Box::new(Session::new(Arc::clone(&self.store))?),
        };
        let (session, taken) = take(session, &places, options, &mut |progress| {
            if !control.role().beat(me, monotonic_ns()) {
                return Err(CheckpointError::Replaced);
            }
            control.set_rows_done(progress.rows);
            if watch(progress).is_break() { Err(CheckpointError::Cancelled) } else { Ok(()) }
        });
        if let Some(session) = session {
            self.pool.put(session);
        }
        taken
    }
}

/// Gives the role up when it goes (A3).
struct InRole<'c> {
    control: &'c CheckpointControl,
    me: u32,
}

impl Drop for InRole<'_> {
    fn drop(&mut self) {
        self.control.set_snapshot(None);
        self.control.set_rows_done(0);
        self.control.role().resign(self.me);
    }
}

impl Database {
    /// Takes a checkpoint now: all rows as of one moment go to a file, and what the log holds from before the last one but one is
    /// removed. Others read and write meanwhile. Everything is in it that was committed before the call: so one that is being taken does not
    /// count, but is waited for, and rests no more if nobody had asked for it.
    ///
    /// # Errors
    /// `ReadOnly`; `Closed`; `Space` and `Io` of the disk; `Revoked` when memory ran short; `Busy` when another
    /// process has taken the role over: the checkpoint before it counts then. What could not be removed
    /// afterwards is no error, but said in [`Taken::left_behind`].
    pub fn checkpoint(&self) -> Result<Taken, Error> {
        self.checkpoint_with(&mut |_| ControlFlow::Continue(()))
    }

    /// The same; `progress` is called for every chunk of rows, some ten thousand, and while something is waited for, and may break it
    /// off. It must not take a checkpoint itself.
    ///
    /// # Errors
    /// As [`Database::checkpoint`]; `Closed` when it was broken off.
    pub fn checkpoint_with(
        &self,
        progress: &mut dyn FnMut(CheckpointProgress) -> ControlFlow<()>,
    ) -> Result<Taken, Error> {
        let inner = &self.0;
        inner.check_open()?;
        if inner.read_only {
            return Err(Error::Txn(TxnError::ReadOnly));
        }
        inner.start_worker()?;
        let checkpointer = &inner.checkpointer;
        let mut one = None;
        loop {
            one = one.or_else(|| checkpointer.try_begin());
            if one.is_some() && checkpointer.stand() {
                break;
            }
            inner.check_open()?;
            inner.store.checkpoints().note_awaited(monotonic_ns());
            if progress(CheckpointProgress::default()).is_break() {
                return Err(CheckpointError::Cancelled.into());
            }
            std::thread::sleep(ROLE_PAUSE);
        }
        Ok(checkpointer.take(false, &mut |done| {
            if inner.check_open().is_err() { ControlFlow::Break(()) } else { progress(done) }
        })?)
    }
}
