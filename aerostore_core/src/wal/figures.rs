//! What the log has done, in figures: how long syncs took, and what each of the last log writers did.
//!
//! Layout      `SyncTimes`, and `Office`, one cache line; all-zero says that nothing has happened.
//! Rules       F1: an office's line is the one of its term modulo their number; the writer in office alone stores there. It
//!             takes the term away, clears the figures, then puts its own term in. One that is killed meanwhile leaves a
//!             line without a term, which nobody shows.
//!             F2: a writer that finds another term in its line was deposed long ago, and keeps its figures to itself. One that
//!             is stopped between that look and its store may leave a wrong figure; nothing hangs on any of them.

#![forbid(unsafe_code)]

use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use std::array;
use std::time::Duration;

/// Offices that are remembered.
pub(super) const OFFICES: usize = 4;

/// Classes of times: the first is below a microsecond, each other twice the one before, the last is all above 4 seconds.
pub const SYNC_TIME_CLASSES: usize = 24;

/// How many syncs took how long; shared.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct SyncTimes {
    counts: [AtomicU64; SYNC_TIME_CLASSES],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<SyncTimes>() == SYNC_TIME_CLASSES * 8);

impl SyncTimes {
    pub(super) fn note(&self, took: Duration) {
        self.counts[class(took)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> SyncTimeStats {
        SyncTimeStats { counts: array::from_fn(|class| self.counts[class].load(Ordering::Relaxed)) }
    }
}

fn class(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let bits = u64::BITS - micros.leading_zeros();
    (bits as usize).min(SYNC_TIME_CLASSES - 1)
}

/// How many syncs took how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncTimeStats {
    counts: [u64; SYNC_TIME_CLASSES],
}

impl SyncTimeStats {
    /// Classes in which there are syncs: what they are below, in microseconds, and how many there are. The slowest have no
    /// bound.
    pub fn classes(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bound = |class: usize| (class < SYNC_TIME_CLASSES - 1).then(|| 1 << class);
        let classes = self.counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
        classes.map(move |(class, count)| (bound(class), count))
    }
}

/// What a log writer has done, as its process stores it.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Office {
    /// Of the log writer; 0 for none.
    term: AtomicU64,
    /// `CLOCK_MONOTONIC` nanoseconds of when it took office.
    begun_ns: AtomicU64,
    batch_count: AtomicU64,
    record_count: AtomicU64,
    written_bytes: AtomicU64,
    sync_count: AtomicU64,
    /// Nanoseconds of all its syncs.
    sync_ns: AtomicU64,
    /// Process id, as that process knows itself.
    pid: AtomicU32,
    spare: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Office>() == 64);

/// What a log writer has done since it took office.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OfficeStats {
    /// Its term.
    pub term: u64,
    /// Its process id, as that process knows itself.
    pub pid: u32,
    /// `CLOCK_MONOTONIC` nanoseconds of when it took office.
    pub begun_ns: u64,
    /// Batches written.
    pub batch_count: u64,
    /// Records written.
    pub record_count: u64,
    /// Bytes written, headers included.
    pub written_bytes: u64,
    /// Syncs of batches.
    pub sync_count: u64,
    /// Nanoseconds of all these syncs.
    pub sync_ns: u64,
}

impl Office {
    /// The line of a term.
    fn of(offices: &[Self; OFFICES], term: u64) -> &Self {
        &offices[usize::try_from(term % OFFICES as u64).unwrap_or_default()]
    }

    /// F1. The figures of a writer that takes office.
    pub(super) fn open(offices: &[Self; OFFICES], term: u64, now_ns: u64) -> OfficeStats {
        let line = Self::of(offices, term);
        let stats = OfficeStats { term, pid: std::process::id(), begun_ns: now_ns, ..OfficeStats::default() };
        line.term.store(0, Ordering::Relaxed);
        // Release fence: who sees one of the figures below does not see the term that stood there with them.
        fence(Ordering::Release);
        line.store(&stats);
        // Release: pairs with the Acquire in Office::stats.
        line.term.store(term, Ordering::Release);
        stats
    }

    /// Shows what the writer in office has done (F2).
    pub(super) fn show(offices: &[Self; OFFICES], stats: &OfficeStats) {
        let line = Self::of(offices, stats.term);
        if line.term.load(Ordering::Relaxed) == stats.term {
            line.store(stats);
        }
    }

    fn store(&self, stats: &OfficeStats) {
        self.pid.store(stats.pid, Ordering::Relaxed);
        self.begun_ns.store(stats.begun_ns, Ordering::Relaxed);
        self.batch_count.store(stats.batch_count, Ordering::Relaxed);
        self.record_count.store(stats.record_count, Ordering::Relaxed);
        self.written_bytes.store(stats.written_bytes, Ordering::Relaxed);
        self.sync_count.store(stats.sync_count, Ordering::Relaxed);
        self.sync_ns.store(stats.sync_ns, Ordering::Relaxed);
    }

    /// What the last writers have done, the newest first.
    pub(super) fn stats_of(offices: &[Self; OFFICES]) -> Vec<OfficeStats> {
        let mut all: Vec<OfficeStats> = offices.iter().filter_map(Self::stats).collect();
        all.sort_by_key(|stats| std::cmp::Reverse(stats.term));
        all
    }

    fn stats(&self) -> Option<OfficeStats> {
        // Acquire: pairs with the Release in Office::open.
        let term = self.term.load(Ordering::Acquire);
        let stats = OfficeStats {
            term,
            pid: self.pid.load(Ordering::Relaxed),
            begun_ns: self.begun_ns.load(Ordering::Relaxed),
            batch_count: self.batch_count.load(Ordering::Relaxed),
            record_count: self.record_count.load(Ordering::Relaxed),
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
            sync_count: self.sync_count.load(Ordering::Relaxed),
            sync_ns: self.sync_ns.load(Ordering::Relaxed),
        };
        // Acquire fence: pairs with the Release fence in Office::open; figures of the next term come with the loss of this one.
        fence(Ordering::Acquire);
        (term != 0 && self.term.load(Ordering::Relaxed) == term).then_some(stats)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_classes_of_powers_of_two_microseconds() {
        let times = SyncTimes::default();
        for (nanos, count) in
            [(0, 1), (999, 1), (1000, 3), (150_000, 2), (255_999, 1), (256_000, 1), (u64::MAX, 4)]
        {
            (0..count).for_each(|_| times.note(Duration::from_nanos(nanos)));
        }
        let classes: Vec<_> = times.stats().classes().collect();
        assert_eq!(classes, [(Some(1), 2), (Some(2), 3), (Some(256), 3), (Some(512), 1), (None, 4)]);
        // The last bound, and just above it.
        let times = SyncTimes::default();
        times.note(Duration::from_micros((1 << 22) - 1));
        times.note(Duration::from_micros(1 << 22));
        assert_eq!(times.stats().classes().collect::<Vec<_>>(), [(Some(1 << 22), 1), (None, 1)]);
    }

    #[test]
    fn the_last_writers_are_remembered_and_one_of_long_ago_keeps_to_itself() {
        let offices: [Office; OFFICES] = Default::default();
        let mut first = Office::open(&offices, 1, 10);
        first.batch_count = 7;
        Office::show(&offices, &first);
        assert_eq!(Office::stats_of(&offices), [first]);
        for term in 2..=5 {
            let opened = Office::open(&offices, term, term * 10);
            assert_eq!((opened.batch_count, opened.pid), (0, std::process::id()));
        }
        first.batch_count = 8;
        Office::show(&offices, &first);
        let stats = Office::stats_of(&offices);
        assert_eq!(stats.iter().map(|stats| stats.term).collect::<Vec<_>>(), [5, 4, 3, 2]);
        assert!(stats.iter().all(|stats| stats.batch_count == 0 && stats.begun_ns == stats.term * 10));
    }
}
