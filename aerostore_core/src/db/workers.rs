//! Background work: writing the log, reaping the dead. Every process runs one thread for it; the log has one writer at a
//! time, and another process takes over when that one dies or stalls.

#![forbid(unsafe_code)]

use crate::db::Error;
use crate::db::config::Config;
use crate::db::database::Inner;
use crate::epoch::ProcessId;
use crate::sync::{AtomicBool, Ordering};
use crate::sys::OsFileSystem;
use crate::sys::{monotonic_ns, wait, wake};
use crate::txn::{Session, Store, StoreCommits, reap_dead_processes};
use crate::wal::{LogOptions, LogWriter, WalError};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const REAP_INTERVAL_NS: u64 = 20_000_000;
/// A log writer that gives no sign of life for this long is replaced.
const STALL_NS: u64 = 200_000_000;
/// How often a process that does not write the log looks whether it should.
const STANDBY_INTERVAL: Duration = Duration::from_millis(20);

/// A process's background thread.
pub(super) struct Worker {
    stop: Arc<AtomicBool>,
    store: Arc<Store>,
    thread: JoinHandle<()>,
}

struct Work {
    store: Arc<Store>,
    session: Session,
    config: Arc<Config>,
    stop: Arc<AtomicBool>,
    wal_dir: PathBuf,
    uuid: [u8; 16],
    options: LogOptions,
    writes_log: bool,
}

/// A process as the log's `holder` word names it; 0 is nobody.
fn holder_word(process: ProcessId) -> u32 {
    (process.index & 0x3FF) << 20 | (process.incarnation & 0xF_FFFF)
}

pub(super) fn holder_process(word: u32) -> ProcessId {
    ProcessId { index: word >> 20, incarnation: word & 0xF_FFFF }
}

impl Worker {
    pub(super) fn start(inner: &Inner, segment_bytes: Option<u64>) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let store = Arc::clone(&inner.store);
        let mut options = LogOptions::default();
        if let Some(bytes) = segment_bytes {
            options.segment_bytes = bytes;
        }
        let mut work = Work {
            session: Session::new(Arc::clone(&store))?,
            store: Arc::clone(&store),
            config: Arc::clone(&inner.config),
            stop: Arc::clone(&stop),
            wal_dir: inner.dir.wal_dir(),
            uuid: inner.dir.uuid(),
            options,
            writes_log: !inner.read_only,
        };
        let thread = std::thread::Builder::new()
            .name("aerostore-worker".to_owned())
            .spawn(move || {
                work.run();
                let Work { session, .. } = work;
                // What cannot be given back now is reaped after this process has ended.
                let _ = session.close();
            })
            .map_err(|source| Error::File { path: PathBuf::from("thread aerostore-worker"), source })?;
        Ok(Self { stop, store, thread })
    }

    /// Stops the thread; the log's role is free for another process then.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.store.log().notify_work(|word| {
            wake(word, 1);
        });
        self.thread.thread().unpark();
        // A panic of the thread has nothing left to say here.
        let _ = self.thread.join();
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
            if self.writes_log {
                self.write_log(&store, &mut writer);
            }
            if stopping {
                return;
            }
            if monotonic_ns() - reaped_ns > REAP_INTERVAL_NS {
                reaped_ns = monotonic_ns();
                // Damage is reported to whoever works with the damaged part; the next pass tries again.
                let _ = reap_dead_processes(&mut self.session);
                let _ = self.session.tidy();
            }
            if writer.is_some() {
                let pause = Duration::from_millis(self.config.wal_writer_delay_ms());
                log.wait_work(seen, |word, seen| {
                    wait(word, seen, Some(pause));
                });
            } else {
                std::thread::park_timeout(STANDBY_INTERVAL);
            }
        }
    }

    fn write_log<'s>(&self, store: &'s Store, writer: &mut Option<LogWriter<'s>>) {
        let log = store.log();
        if writer.is_none() && self.should_take_over() {
            *writer = self.take_over(store).ok();
        }
        let Some(office) = writer else { return };
        log.beat(monotonic_ns());
        let commits = StoreCommits::new(store, self.session.participant());
        let drained = office.drain(&commits, true);
        log.beat(monotonic_ns());
        if let Err(WalError::Deposed { .. }) = drained {
            *writer = None;
        }
        // Other errors are in the log's shared state, where committers see them; the next pass tries again.
    }

    fn should_take_over(&self) -> bool {
        let log = self.store.log();
        let holder = log.holder();
        if holder == 0 {
            return true;
        }
        let process = holder_process(holder);
        if process == self.store.registry().process() {
            return true;
        }
        self.store.registry().is_dead(process).unwrap_or(false)
            || (log.durable_ts() < self.store.clock().now()
                && monotonic_ns().saturating_sub(log.heartbeat_ns()) > STALL_NS)
    }

    fn take_over<'s>(&self, store: &'s Store) -> Result<LogWriter<'s>, WalError> {
        LogWriter::take_over(
            store.log(),
            Arc::new(OsFileSystem),
            &self.wal_dir,
            self.uuid,
            holder_word(store.registry().process()),
            self.options.clone(),
        )
    }
}
