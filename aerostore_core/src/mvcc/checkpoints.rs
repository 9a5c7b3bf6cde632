//! The checkpoints' shared state: who takes one, which was the last, how far the running one is.

use crate::epoch::Role;
use crate::shm::Shared;
use crate::sync::{AtomicU64, Ordering};
use std::mem::size_of;

/// What every process knows of checkpoints.
#[repr(C)]
pub struct CheckpointControl {
    role: Role,
    /// Number of the newest; 0 while there is none.
    number: AtomicU64,
    /// The commit timestamp of its contents.
    commit_ts: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
    elapsed_us: AtomicU64,
    /// Monotonic nanoseconds of its end, or of the moment when the database was opened.
    ended_ns: AtomicU64,
    /// Monotonic nanoseconds of the end of the last that failed; 0 when the last did not.
    failed_ns: AtomicU64,
    /// What the log had had written when it began, in bytes since the mapping was made; wraps.
    log_bytes: AtomicU64,
    taken: AtomicU64,
    failures: AtomicU64,
    /// Rows of the running one so far.
    rows_done: AtomicU64,
    /// Failures since the last that was taken.
    failed_in_row: AtomicU64,
    /// The snapshot of the running one, plus one; 0 while it needs none.
    snapshot: AtomicU64,
    /// Numbers up to this, and above the one that a cold start has loaded, are of checkpoints that are damaged.
    damaged_to: AtomicU64,
    /// The number of the one that a cold start has loaded, or 0.
    loaded: AtomicU64,
    /// Monotonic nanoseconds at which somebody last waited for the running one to end, as he wants one himself.
    awaited_ns: AtomicU64,
    _reserved: [u64; 6],
}

const _: () = assert!(size_of::<CheckpointControl>() == 192);

// SAFETY: repr(C), atomics and padding only; all-zero is a database without checkpoints.
unsafe impl Shared for CheckpointControl {}

/// Whoever waits says so more often than this.
const AWAITED_NS: u64 = 1_000_000_000;

/// Figures of checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointStats {
    /// Number of the newest; 0 while there is none.
    pub number: u64,
    /// It holds every commit up to this timestamp.
    pub commit_ts: u64,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Microseconds it took.
    pub elapsed_us: u64,
    /// Checkpoints taken since the mapping was made.
    pub taken: u64,
    /// Attempts that failed since then.
    pub failures: u64,
    /// Rows that the running one has written so far.
    pub rows_done: u64,
}

impl CheckpointControl {
    /// Who takes checkpoints: one process at a time; two at once would only do work twice.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// After a cold start, before anybody else uses the database: what was loaded, the greatest number that was found, and bytes of log
    /// that were replayed on top of it.
    pub fn start_at(&self, number: u64, found: u64, commit_ts: u64, replayed_bytes: u64, now_ns: u64) {
        self.number.store(number, Ordering::Relaxed);
        self.loaded.store(number, Ordering::Relaxed);
        self.damaged_to.store(found, Ordering::Relaxed);
        self.commit_ts.store(commit_ts, Ordering::Relaxed);
        self.log_bytes.store(0_u64.wrapping_sub(replayed_bytes), Ordering::Relaxed);
        self.ended_ns.store(now_ns, Ordering::Relaxed);
    }

    /// One was taken. Figures for people, and for whoever decides when the next one is due: nothing else rests on them.
    pub fn note_taken(&self, taken: &CheckpointStats, log_bytes: u64, now_ns: u64) {
        self.number.store(taken.number, Ordering::Relaxed);
        self.commit_ts.store(taken.commit_ts, Ordering::Relaxed);
        self.rows.store(taken.rows, Ordering::Relaxed);
        self.bytes.store(taken.bytes, Ordering::Relaxed);
        self.elapsed_us.store(taken.elapsed_us, Ordering::Relaxed);
        self.log_bytes.store(log_bytes, Ordering::Relaxed);
        self.ended_ns.store(now_ns, Ordering::Relaxed);
        self.failed_ns.store(0, Ordering::Relaxed);
        self.failed_in_row.store(0, Ordering::Relaxed);
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// One failed.
    pub fn note_failed(&self, now_ns: u64) {
        self.failed_ns.store(now_ns, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.failed_in_row.fetch_add(1, Ordering::Relaxed);
    }

    /// Failures since the last that was taken.
    pub fn failed_in_row(&self) -> u64 {
        self.failed_in_row.load(Ordering::Relaxed)
    }

    /// Was the checkpoint of that number found to be damaged when the database was recovered?
    pub fn is_damaged(&self, number: u64) -> bool {
        number > self.loaded.load(Ordering::Relaxed) && number <= self.damaged_to.load(Ordering::Relaxed)
    }

    /// The running one reads at this snapshot, or needs none any more.
    pub fn set_snapshot(&self, snapshot: Option<u64>) {
        self.snapshot.store(snapshot.map_or(0, |snapshot| snapshot + 1), Ordering::Relaxed);
    }

    /// Is it the snapshot of a checkpoint that is being taken, by one who has given a sign of life within `patience_ns`?
    pub fn reads_at(&self, snapshot: u64, now_ns: u64, patience_ns: u64) -> bool {
        self.snapshot.load(Ordering::Relaxed) == snapshot + 1 && self.role.silence_ns(now_ns) < patience_ns
    }

    /// Somebody waits for the running one to end.
    pub fn note_awaited(&self, now_ns: u64) {
        self.awaited_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Does somebody wait for the running one to end?
    pub fn is_awaited(&self, now_ns: u64) -> bool {
        let awaited_ns = self.awaited_ns.load(Ordering::Relaxed);
        awaited_ns != 0 && now_ns.saturating_sub(awaited_ns) < AWAITED_NS
    }

    /// How far the running one is.
    pub fn set_rows_done(&self, rows: u64) {
        self.rows_done.store(rows, Ordering::Relaxed);
    }

    /// Nanoseconds since the last one ended, or since the database was opened; and since the last failure, if that came after.
    pub fn since_ns(&self, now_ns: u64) -> (u64, Option<u64>) {
        let failed = self.failed_ns.load(Ordering::Relaxed);
        let since = |then: &AtomicU64| now_ns.saturating_sub(then.load(Ordering::Relaxed));
        (since(&self.ended_ns), (failed != 0).then(|| now_ns.saturating_sub(failed)))
    }

    /// Bytes that the log has had written since the newest began; `log_bytes` is what it has had written in all.
    pub fn log_since(&self, log_bytes: u64) -> u64 {
        log_bytes.wrapping_sub(self.log_bytes.load(Ordering::Relaxed))
    }

    /// Figures.
    pub fn stats(&self) -> CheckpointStats {
        CheckpointStats {
            number: self.number.load(Ordering::Relaxed),
            commit_ts: self.commit_ts.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            elapsed_us: self.elapsed_us.load(Ordering::Relaxed),
            taken: self.taken.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            rows_done: self.rows_done.load(Ordering::Relaxed),
        }
    }
}
