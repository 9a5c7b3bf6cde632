//! The log's shared words: how far it is durable, who writes it, who waits.
//!
//! Layout      `LogControl`, two cache lines and the figures, one per arena; all-zero is the log of an empty database that nobody has
//!             written yet.
//! Invariants  L1: `durable` holds timestamp and term in one word (timestamp << 12 | term's low 12 bits). It changes by
//!             CAS only: a writer raises the timestamp under its own term, a take-over replaces the term. So a deposed
//!             writer cannot publish, at whatever point it goes on.
//!             L2: everything with C <= durable timestamp has survived a sync, in the chain of segments, below a length
//!             no successor cuts.
//!             L3: terms grow with every take-over that succeeds: a new term is drawn after the old one was seen, and
//!             put in by a CAS over the old one only.
//! Ordering    the CAS of `durable` is Release: a writer's reads of the rings come before it; producers load it with
//!             Acquire before they overwrite. `durable_seq` is bumped after it: a waiter reads `durable_seq`, then
//!             `durable`, then sleeps on `durable_seq`. A writer killed between CAS and wake costs a waiter its time-out.

use super::error::WalError;
use super::figures::{OFFICES, Office, OfficeStats, SyncTimeStats, SyncTimes};
use crate::shm::Shared;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

const TERM_BITS: u32 = 12;

/// The greatest timestamp the log can publish.
pub const LOG_TIMESTAMP_MAX: u64 = u64::MAX >> TERM_BITS;

/// The shared state of the log.
#[repr(C)]
#[derive(Debug, Default)]
pub struct LogControl {
    // The first 64 bytes are stored by the log writer, and read by all.
    /// Durable timestamp << 12 | low bits of the term (L1).
    durable: AtomicU64,
    /// Bumped after `durable` moved or a fault came or went; sync committers sleep on it.
    durable_seq: AtomicU32,
    /// 1 when syncing failed too often: commits are refused.
    read_only: AtomicU32,
    /// The error number of the last drain, where it failed; 0 after a good one.
    fault: AtomicU32,
    /// The log writer's process; 0 before the first.
    holder: AtomicU32,
    /// `CLOCK_MONOTONIC` nanoseconds of the log writer's last sign of life; 0 before the first.
    heartbeat_ns: AtomicU64,
    /// The last term drawn, whether its take-over succeeded or not.
    term: AtomicU64,
    /// Timestamp up to which records are in files, synced or not.
    written_ts: AtomicU64,
    /// The current segment's number.
    segment: AtomicU64,
    /// Published end of the log: low 24 bits of the segment number << 40 | bytes. A hint: a deposed writer may set it
    /// back, never ahead.
    published: AtomicU64,
    // The next 64 bytes are stored by producers, where they want attention, and hold the writer's figures.
    /// Bumped when a producer wants the log writer's attention; the log writer sleeps on it.
    work_seq: AtomicU32,
    /// 1 while the log writer sleeps on `work_seq`.
    writer_sleeps: AtomicU32,
    /// The last number given to a ring.
    ring_count: AtomicU64,
    batch_count: AtomicU64,
    record_count: AtomicU64,
    written_bytes: AtomicU64,
    sync_count: AtomicU64,
    takeover_count: AtomicU64,
    /// 1 when somebody wants a sync without delay (`policy` Y4).
    hurry: AtomicU32,
    spare: AtomicU32,
    /// Where the last batch ends that is published: the durable timestamp may be greater, when nothing was logged since. Late after a
    /// death, never ahead.
    logged_ts: AtomicU64,
    spare_word: AtomicU64,
    // From here on only figures.
    sync_times: SyncTimes,
    offices: [Office; OFFICES],
}

// SAFETY: `repr(C)`, atomics only, any bits are valid.
unsafe impl Shared for LogControl {}

#[cfg(not(loom))]
const _: () = assert!(size_of::<LogControl>() == 592 && align_of::<LogControl>() == 8);
#[cfg(not(loom))]
const _: () = assert!(
    std::mem::offset_of!(LogControl, work_seq) == 64 && std::mem::offset_of!(LogControl, sync_times) == 144
);

/// Figures of the log, since the arena was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Everything up to this commit timestamp survives power loss.
    pub durable_ts: u64,
    /// Everything up to this commit timestamp is in files.
    pub written_ts: u64,
    /// The number of the segment being written.
    pub segment: u64,
    /// Batches written.
    pub batch_count: u64,
    /// Records written.
    pub record_count: u64,
    /// Bytes written, headers included.
    pub written_bytes: u64,
    /// Syncs of batches.
    pub sync_count: u64,
    /// How long they took.
    pub sync_times: SyncTimeStats,
    /// What the last log writers did, the newest first.
    pub offices: Vec<OfficeStats>,
    /// How often a log writer took office.
    pub takeover_count: u64,
    /// The last drain's error number; 0 when it was good.
    pub fault: i32,
    /// Whether commits are refused.
    pub read_only: bool,
}

/// How a wait for durability ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The timestamp is durable.
    Durable,
    /// Not yet; the time is up.
    TimedOut,
    /// The log writer reports this error number; it will try again.
    Fault(i32),
    /// The log refuses commits.
    ReadOnly,
}

/// What the low bits of `durable` say of a term.
fn low(term: u64) -> u64 {
    term & ((1 << TERM_BITS) - 1)
}

impl LogControl {
    /// Sets where the log of a recovered database goes on; before anybody else uses it.
    ///
    /// # Panics
    /// When `durable_ts` exceeds [`LOG_TIMESTAMP_MAX`].
    pub fn start_at(&self, durable_ts: u64) {
        assert!(durable_ts <= LOG_TIMESTAMP_MAX, "a timestamp the log can publish");
        self.durable.store(durable_ts << TERM_BITS, Ordering::Release);
        self.written_ts.store(durable_ts, Ordering::Relaxed);
    }

    /// Everything with C <= this survives power loss.
    #[inline]
    pub fn durable_ts(&self) -> u64 {
        // Acquire: pairs with the Release in LogControl::publish; what the writer read in the rings may be overwritten.
        self.durable.load(Ordering::Acquire) >> TERM_BITS
    }

    /// The files hold a batch that ends here, and no later one is known to survive power loss. At most the durable timestamp; no record
    /// lies in between.
    pub fn logged_ts(&self) -> u64 {
        self.logged_ts.load(Ordering::Acquire)
    }

    /// Notes where the last batch ends that is published; after [`LogControl::publish`], so that no deposed writer notes one that is not.
    pub(super) fn note_logged(&self, ts: u64) {
        self.logged_ts.fetch_max(ts, Ordering::AcqRel);
    }

    /// A number for a new ring.
    pub fn next_ring_id(&self) -> u64 {
        self.ring_count.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Records that the log writer is alive at `now_ns` of the monotonic clock.
    pub fn beat(&self, now_ns: u64) {
        self.heartbeat_ns.store(now_ns, Ordering::Relaxed);
    }

    /// The log writer's last sign of life; 0 before the first.
    pub fn heartbeat_ns(&self) -> u64 {
        self.heartbeat_ns.load(Ordering::Relaxed)
    }

    /// The process that last took over as log writer; 0 before the first.
    pub fn holder(&self) -> u32 {
        self.holder.load(Ordering::Relaxed)
    }

    /// Whether the log refuses commits.
    #[inline]
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed) != 0
    }

    /// Forgets what the last log writer has met, so that the next one finds out for itself.
    pub fn forget_faults(&self) {
        self.read_only.store(0, Ordering::Relaxed);
        self.set_fault(0);
    }

    /// The error number of the last drain; 0 after a good one.
    #[inline]
    pub fn fault(&self) -> i32 {
        self.fault.load(Ordering::Relaxed).cast_signed()
    }

    /// The log's figures.
    pub fn stats(&self) -> LogStats {
        LogStats {
            durable_ts: self.durable_ts(),
            written_ts: self.written_ts.load(Ordering::Relaxed),
            segment: self.segment.load(Ordering::Relaxed),
            batch_count: self.batch_count.load(Ordering::Relaxed),
            record_count: self.record_count.load(Ordering::Relaxed),
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
            sync_count: self.sync_count.load(Ordering::Relaxed),
            sync_times: self.sync_times.stats(),
            offices: Office::stats_of(&self.offices),
            takeover_count: self.takeover_count.load(Ordering::Relaxed),
            fault: self.fault(),
            read_only: self.is_read_only(),
        }
    }

    /// Asks for the log writer's attention, after publishing an entry that someone will wait for. `wake` wakes one
    /// sleeper on the word; it is called only when the log writer sleeps.
    #[inline]
    pub fn notify_work(&self, wake: impl FnOnce(&AtomicU32)) {
        // SeqCst on both sides: either this sees `writer_sleeps`, or the log writer sees the new `work_seq`.
        self.work_seq.fetch_add(1, Ordering::SeqCst);
        if self.writer_sleeps.load(Ordering::SeqCst) != 0 {
            wake(&self.work_seq);
        }
    }

    /// As [`LogControl::notify_work`], and the next pass of the log writer syncs, whatever the policy.
    pub fn hurry(&self, wake: impl FnOnce(&AtomicU32)) {
        // Release: pairs with the Acquire in LogControl::take_hurry. Before the word that the log writer sleeps on: one that
        // does not see this does not sleep either.
        self.hurry.store(1, Ordering::Release);
        self.notify_work(wake);
    }

    /// What to pass to [`LogControl::wait_work`]; read it before looking for work.
    pub fn work_seq(&self) -> u32 {
        self.work_seq.load(Ordering::SeqCst)
    }

    /// Sleeps until [`LogControl::notify_work`] was called since `seen` was read. `wait` sleeps while the word has the
    /// value given, and has its own time-out. A log writer killed here leaves producers one needless call per commit.
    pub fn wait_work(&self, seen: u32, wait: impl FnOnce(&AtomicU32, u32)) {
        self.writer_sleeps.store(1, Ordering::SeqCst);
        if self.work_seq.load(Ordering::SeqCst) == seen {
            wait(&self.work_seq, seen);
        }
        self.writer_sleeps.store(0, Ordering::SeqCst);
    }

    /// Waits once, at most `timeout`, for `c` to become durable. `wait` sleeps on the word while it has the value given.
    ///
    /// The caller loops, and looks between calls whether the log writer still lives: one that was killed between
    /// publishing and waking costs a time-out, nothing else.
    pub fn wait_durable(
        &self,
        c: u64,
        timeout: Duration,
        wait: impl FnOnce(&AtomicU32, u32, Duration),
    ) -> Durability {
        let seen = self.news_seq();
        let first = self.durability(c);
        if first != Durability::TimedOut {
            return first;
        }
        wait(&self.durable_seq, seen, timeout);
        self.durability(c)
    }

    /// What to pass to [`LogControl::wait_news`]; read it before looking how far the log is durable.
    pub fn news_seq(&self) -> u32 {
        // Acquire: pairs with the Release bump after the CAS of `durable`, which comes first.
        self.durable_seq.load(Ordering::Acquire)
    }

    /// Sleeps until the durable timestamp may have moved since `seen` was read. `wait` sleeps while the word has the value given, and
    /// has its own time-out.
    pub fn wait_news(&self, seen: u32, wait: impl FnOnce(&AtomicU32, u32)) {
        wait(&self.durable_seq, seen);
    }

    /// Wakes whoever waits for the durable timestamp to move, whether it has or not. `wake` wakes all sleepers on the word.
    pub fn announce_news(&self, wake: impl FnOnce(&AtomicU32)) {
        // Release: comes after the CAS of `durable` for whoever reads the new value.
        self.durable_seq.fetch_add(1, Ordering::Release);
        wake(&self.durable_seq);
    }

    fn durability(&self, c: u64) -> Durability {
        if self.durable_ts() >= c {
            return Durability::Durable;
        }
        if self.is_read_only() {
            return Durability::ReadOnly;
        }
        match self.fault() {
            0 => Durability::TimedOut,
            fault => Durability::Fault(fault),
        }
    }

    /// Takes office: the durable timestamp, now fixed until this writer moves it, and the new term (L3). `last_term` is
    /// the greatest term the log's files show.
    pub(super) fn depose(&self, last_term: u64) -> Result<(u64, u64), WalError> {
        let mut current = self.durable.load(Ordering::Acquire);
        // An arena made anew does not know the terms of the log it continues.
        self.term.fetch_max(last_term, Ordering::AcqRel);
        let mut term = self.term.fetch_add(1, Ordering::AcqRel) + 1;
        if low(term) == low(current) {
            // 4096 terms were drawn in vain since: the words of the two would not differ.
            term = self.term.fetch_add(1, Ordering::AcqRel) + 1;
        }
        loop {
            let durable_ts = current >> TERM_BITS;
            let new = durable_ts << TERM_BITS | low(term);
            // AcqRel: acquires what the writer before published, releases nothing yet.
            match self.durable.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok((durable_ts, term)),
                // The old writer published once more.
                Err(found) if low(found) == low(current) => current = found,
                Err(_) => return Err(WalError::Deposed { term }),
            }
        }
    }

    /// Whether `term` is in office.
    pub(super) fn check_term(&self, term: u64) -> Result<(), WalError> {
        if low(self.durable.load(Ordering::Acquire)) == low(term) {
            Ok(())
        } else {
            Err(WalError::Deposed { term })
        }
    }

    /// Moves the durable timestamp from `from` to `to`, as the writer of `term` (L1).
    pub(super) fn publish(&self, term: u64, from: u64, to: u64) -> Result<(), WalError> {
        assert!(from <= to && to <= LOG_TIMESTAMP_MAX, "the durable timestamp only grows");
        let current = from << TERM_BITS | low(term);
        let new = to << TERM_BITS | low(term);
        // Release: pairs with the Acquire in LogControl::durable_ts.
        match self.durable.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(_) => Err(WalError::Deposed { term }),
        }
    }

    /// Takes the wish for a sync, if there is one (`policy` Y4).
    pub(super) fn take_hurry(&self) -> bool {
        // Acquire: pairs with the Release in LogControl::hurry, so that the watermark covers what had committed by then.
        self.hurry.load(Ordering::Relaxed) != 0 && self.hurry.swap(0, Ordering::Acquire) != 0
    }

    /// Notes where the published log ends.
    pub(super) fn set_published(&self, segment: u64, bytes: u64) {
        self.published.store((segment & 0xff_ffff) << 40 | (bytes & 0xff_ffff_ffff), Ordering::Relaxed);
    }

    /// Whether `bytes` of `segment` hold all that was published there, as far as is known.
    pub(super) fn holds_published(&self, segment: u64, bytes: u64) -> bool {
        let published = self.published.load(Ordering::Relaxed);
        published >> 40 != segment & 0xff_ffff || bytes >= published & 0xff_ffff_ffff
    }

    /// Notes the segment and the process that write the log from now on, and opens the figures of their office.
    pub(super) fn set_office(&self, term: u64, segment: u64, process: u32, now_ns: u64) -> OfficeStats {
        self.segment.fetch_max(segment, Ordering::Relaxed);
        self.holder.store(process, Ordering::Relaxed);
        self.takeover_count.fetch_add(1, Ordering::Relaxed);
        Office::open(&self.offices, term, now_ns)
    }

    pub(super) fn set_segment(&self, segment: u64) {
        self.segment.fetch_max(segment, Ordering::Relaxed);
    }

    /// The last segment that a log writer has begun. Read after the durable timestamp it is none before that holds what is durable.
    pub(super) fn segment(&self) -> u64 {
        self.segment.load(Ordering::Relaxed)
    }

    pub(super) fn set_fault(&self, fault: i32) {
        self.fault.store(fault.cast_unsigned(), Ordering::Relaxed);
    }

    pub(super) fn set_read_only(&self) {
        self.read_only.store(1, Ordering::Relaxed);
    }

    /// Notes a batch that is written, also in the figures of the writer's office.
    pub(super) fn note_batch(&self, office: &mut OfficeStats, records: u64, bytes: u64, written_ts: u64) {
        self.batch_count.fetch_add(1, Ordering::Relaxed);
        self.record_count.fetch_add(records, Ordering::Relaxed);
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.written_ts.store(written_ts, Ordering::Relaxed);
        office.batch_count += 1;
        office.record_count += records;
        office.written_bytes += bytes;
        Office::show(&self.offices, office);
    }

    /// Notes a sync, also in the figures of the writer's office.
    pub(super) fn note_sync(&self, office: &mut OfficeStats, took_ns: u64) {
        self.sync_count.fetch_add(1, Ordering::Relaxed);
        self.sync_times.note(Duration::from_nanos(took_ns));
        office.sync_count += 1;
        office.sync_ns += took_ns;
        Office::show(&self.offices, office);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::sys;
    use std::sync::Barrier;

    #[test]
    fn terms_grow_and_only_the_last_publishes() {
        let control = LogControl::default();
        control.start_at(40);
        let (durable_ts, first) = control.depose(6).unwrap();
        assert_eq!((durable_ts, first), (40, 7));
        control.publish(first, 40, 45).unwrap();
        let (durable_ts, second) = control.depose(0).unwrap();
        assert_eq!((durable_ts, second), (45, 8));
        assert!(matches!(control.publish(first, 45, 50), Err(WalError::Deposed { term: 7 })));
        assert!(control.check_term(first).is_err());
        control.publish(second, 45, LOG_TIMESTAMP_MAX).unwrap();
        assert_eq!(control.durable_ts(), LOG_TIMESTAMP_MAX);
    }

    #[test]
    fn a_term_never_has_the_low_bits_of_the_one_before() {
        let control = LogControl::default();
        let (_, first) = control.depose(0).unwrap();
        // 4095 take-overs that drew a term and were killed.
        control.term.fetch_add(4095, Ordering::Relaxed);
        let (_, second) = control.depose(0).unwrap();
        assert_eq!(second, first + 4097);
        assert!(control.check_term(first).is_err());
    }

    #[test]
    fn of_racing_take_overs_the_last_to_succeed_has_the_greatest_term() {
        for _ in 0..200 {
            let control = LogControl::default();
            let barrier = Barrier::new(3);
            let terms: Vec<u64> = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..3)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            control.depose(0).map(|office| office.1)
                        })
                    })
                    .collect();
                racers.into_iter().filter_map(|racer| racer.join().unwrap().ok()).collect()
            });
            let in_office: Vec<_> = terms.iter().filter(|&&term| control.check_term(term).is_ok()).collect();
            assert_eq!(in_office, [terms.iter().max().unwrap()]);
        }
    }

    #[test]
    fn a_lagging_hint_of_the_published_end_is_no_damage() {
        let control = LogControl::default();
        control.set_published(3, 9000);
        assert!(control.holds_published(3, 9000) && control.holds_published(4, 0));
        assert!(!control.holds_published(3, 8999));
    }

    #[test]
    fn waiters_are_woken_by_work_and_by_durability() {
        let control = LogControl::default();
        let (_, term) = control.depose(0).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let long = Duration::from_mins(1);
                let wait = |word: &AtomicU32, value| _ = sys::wait(word, value, Some(long));
                for ts in 1..=200 {
                    let mut seen = control.work_seq();
                    while seen < ts {
                        control.wait_work(seen, wait);
                        seen = control.work_seq();
                    }
                    control.publish(term, u64::from(ts) - 1, u64::from(ts)).unwrap();
                    control.announce_news(|word| sys::wake(word, u32::MAX));
                }
            });
            for ts in 1..=200 {
                control.notify_work(|word| sys::wake(word, 1));
                let long = Duration::from_mins(1);
                let wait = |word: &AtomicU32, value, timeout| _ = sys::wait(word, value, Some(timeout));
                while control.wait_durable(ts, long, wait) != Durability::Durable {}
            }
        });
    }
}
