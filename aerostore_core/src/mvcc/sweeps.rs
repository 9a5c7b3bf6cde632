//! The sweeper's shared state: who deletes rows that are past their table's time to live, and what that has done.

use crate::epoch::Role;
use crate::shm::Shared;
use crate::sync::{AtomicU64, Ordering};
use std::mem::size_of;

/// What every process knows of it.
#[repr(C)]
#[derive(Debug, Default)]
pub struct SweepControl {
    role: Role,
    rows_deleted: AtomicU64,
    passes: AtomicU64,
    rows_postponed: AtomicU64,
    elapsed_us: AtomicU64,
    failures: AtomicU64,
    _reserved: [u64; 9],
}

const _: () = assert!(size_of::<SweepControl>() == 128);

// SAFETY: repr(C), atomics and padding only; any bits are valid.
unsafe impl Shared for SweepControl {}

/// Figures of the sweeper, of all processes since the mapping was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepStats {
    /// Rows it has deleted.
    pub rows_deleted: u64,
    /// How often it has gone through a table.
    pub passes: u64,
    /// How often it has left a row to the next pass, because somebody was changing it.
    pub rows_postponed: u64,
    /// Microseconds that all of it has taken.
    pub elapsed_us: u64,
    /// Passes that an error has ended: a full disk, a full mapping.
    pub failures: u64,
}

impl SweepControl {
    /// Who does it: one process at a time; two at once would only do work twice.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// Counts rows that were deleted, and that were not because somebody was changing them.
    pub fn count(&self, deleted: u64, postponed: u64) {
        // Relaxed: figures for people.
        self.rows_deleted.fetch_add(deleted, Ordering::Relaxed);
        self.rows_postponed.fetch_add(postponed, Ordering::Relaxed);
    }

    /// Counts a pass over a table.
    pub fn count_pass(&self, elapsed_us: u64, has_failed: bool) {
        self.passes.fetch_add(1, Ordering::Relaxed);
        self.elapsed_us.fetch_add(elapsed_us, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(has_failed), Ordering::Relaxed);
    }

    /// Figures.
    pub fn stats(&self) -> SweepStats {
        SweepStats {
            rows_deleted: self.rows_deleted.load(Ordering::Relaxed),
            passes: self.passes.load(Ordering::Relaxed),
            rows_postponed: self.rows_postponed.load(Ordering::Relaxed),
            elapsed_us: self.elapsed_us.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}
