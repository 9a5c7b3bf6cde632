//! A session's slot: its undecided transaction, its log ring, and what it may still see.
//!
//! Invariants  G3: a published snapshot is never larger than what the clock showed after it became visible, so a
//!             horizon computed as the minimum of (clock, then all snapshots) is never above a live snapshot.
//!             What is published when the snapshot is taken is the snapshot itself, not a bound of it. G5: a snapshot is
//!             revoked by one CAS, before anything that it alone needs is pruned. Its session looks at its own slot after
//!             it has looked for a version, and before it relies on what it found: whoever has seen a trace of the pruning
//!             sees the CAS, which happened before.
//!             G6: before a committer's timestamp is drawn it publishes that it will check its reads at one above its
//!             snapshot, and then at which. Whoever has loaded a clock at or above that timestamp sees what is published, for
//!             the clock came there after it. Until the check is over the snapshot is published too.
//! Ordering    publish: Release store, `SeqCst` fence, then read the clock; once more if it shows something else. Horizon: read
//!             the clock, `SeqCst` fence, then the slots. One of the two fences comes first: either the horizon sees the
//!             snapshot or the snapshot is at least the clock that bounds the horizon.

use crate::shm::Shared;
use crate::sync::{AtomicU64, Ordering, fence};
use std::mem::{offset_of, size_of};

/// Value of `Slot::snapshot` while the session has none.
pub const NO_SNAPSHOT: u64 = u64::MAX;
/// Stands in the place of a snapshot that was revoked, until its session ends it.
const REVOKED: u64 = u64::MAX - 1;

/// One session: its undecided transaction, its log ring, what it may read.
#[repr(C)]
pub struct Slot {
    /// Whose it is; see `registry`.
    pub(super) word: AtomicU64,
    /// Transaction record in use, or 0.
    pub record: AtomicU64,
    /// Log ring of this slot, kept over incarnations, or 0.
    pub ring: AtomicU64,
    /// First block of the intent list, kept over incarnations, or 0.
    pub intents: AtomicU64,
    /// Number of valid entries of the intent list.
    pub intent_count: AtomicU64,
    /// Place (offset of a word) where a structure block is being linked, or 0.
    pub link_word: AtomicU64,
    /// The block being linked there, or, with `link_shape`'s flag, being unlinked.
    pub link_block: AtomicU64,
    /// Generation of that block; above it flags that say what is done, see `txn::link`.
    pub link_shape: AtomicU64,
    /// Row that this session is removing, or 0; see `txn::remove`.
    pub removed_row: AtomicU64,
    /// Its last version.
    pub removed_version: AtomicU64,
    /// Generation of the row in the low half, of the version in the high half.
    pub removed_generations: AtomicU64,
    /// Blocks this session has retired and not yet freed; a hint for the reaper.
    pub retired_count: AtomicU64,
    /// Oldest timestamp this session reads at, or `NO_SNAPSHOT`.
    snapshot: AtomicU64,
    /// Lowest epoch of the running operation, `u64::MAX` between operations.
    interval_low: AtomicU64,
    /// Highest epoch of the running operation, 0 between operations.
    interval_high: AtomicU64,
    /// The snapshot that a transaction is about to move on to, or `NO_SNAPSHOT`.
    next_snapshot: AtomicU64,
    /// What a transaction that commits checks its reads at (G6): `CheckWord`, or 0.
    check: AtomicU64,
    /// The block that another takes the place of, or 0.
    pub replaced_block: AtomicU64,
    /// A block that becomes unreachable because of that, or 0.
    pub dropped_block: AtomicU64,
    /// Generation of the first in the low half, of the second in the high half.
    pub exchange_generations: AtomicU64,
    /// The version whose entries this session is adding to indexes, or 0; see [`Adding`].
    adding_version: AtomicU64,
    /// Its row, or 0.
    adding_row: AtomicU64,
    /// The root of its table.
    adding_table: AtomicU64,
    /// Classes of tables that this session follows (F1 of `txn::watched`).
    watched: AtomicU64,
    _pad: [u64; 8],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Slot>() == 256 && offset_of!(Slot, snapshot) == 96);

// SAFETY: repr(C), atomics and padding only; an all-zero slot is FREE and is initialised when claimed.
unsafe impl Shared for Slot {}

impl Slot {
    /// A slot on the heap, for tests that drive reclamation without an arena.
    #[cfg(all(test, loom))]
    pub(super) fn idle() -> Self {
        let word = || AtomicU64::new(0);
        let slot = Self {
            word: word(),
            record: word(),
            ring: word(),
            intents: word(),
            intent_count: word(),
            link_word: word(),
            link_block: word(),
            link_shape: word(),
            removed_row: word(),
            removed_version: word(),
            removed_generations: word(),
            retired_count: word(),
            snapshot: word(),
            interval_low: word(),
            interval_high: word(),
            next_snapshot: word(),
            check: word(),
            replaced_block: word(),
            dropped_block: word(),
            exchange_generations: word(),
            adding_version: word(),
            adding_row: word(),
            adding_table: word(),
            watched: word(),
            _pad: [0; 8],
        };
        slot.reset();
        slot
    }

    /// Publishes the intervals of a running operation; `Reservation` is the only caller.
    #[inline]
    pub(super) fn publish_interval(&self, low: u64, high: u64) {
        // Release: when it replaces a lower one, every read of the operations before comes first, as in `clear_interval`.
        self.interval_low.store(low, Ordering::Release);
        self.interval_high.store(high, Ordering::Release);
    }

    /// Raises the upper end of the interval.
    pub(super) fn raise_interval(&self, high: u64) {
        self.interval_high.store(high, Ordering::Release);
    }

    /// The interval of the running operation, if there is one.
    pub(super) fn interval(&self) -> Option<(u64, u64)> {
        let low = self.interval_low.load(Ordering::Acquire);
        // A reservation being raised or just published may show its old upper end; the fence in `Reservation` makes its owner
        // read again after that, so `max` with the lower end is enough.
        (low != u64::MAX).then(|| (low, self.interval_high.load(Ordering::Acquire).max(low)))
    }

    /// The operation is over.
    #[inline]
    pub(super) fn clear_interval(&self) {
        // Release: every read of the operation comes before the reservation is gone.
        self.interval_low.store(u64::MAX, Ordering::Release);
        self.interval_high.store(0, Ordering::Release);
    }

    /// Takes a snapshot at what `clock` shows now, and publishes it; rule G3.
    #[inline]
    pub fn take_snapshot(&self, clock: &AtomicU64) -> u64 {
        publish_now(&self.snapshot, clock)
    }

    /// Takes another snapshot at what `clock` shows now, beside the one that was taken before, which stays.
    pub fn take_next_snapshot(&self, clock: &AtomicU64) -> u64 {
        publish_now(&self.next_snapshot, clock)
    }

    /// The snapshot `next`, which was taken last, takes the place of the one before, `old`. False if either was revoked.
    #[must_use]
    pub fn adopt_next_snapshot(&self, old: u64, next: u64) -> bool {
        let adopted = self.snapshot.compare_exchange(old, next, Ordering::AcqRel, Ordering::Acquire).is_ok();
        // Release: who does not find it here finds it there, see `snapshots`.
        self.next_snapshot.swap(NO_SNAPSHOT, Ordering::AcqRel) == next && adopted
    }

    /// Gives the snapshot back that was taken last.
    pub fn drop_next_snapshot(&self) {
        self.next_snapshot.store(NO_SNAPSHOT, Ordering::Release);
    }

    /// Gives the snapshot back.
    #[inline]
    pub fn clear_snapshot(&self) {
        self.snapshot.store(NO_SNAPSHOT, Ordering::Release);
    }

    /// The published snapshot, or `NO_SNAPSHOT`.
    pub fn snapshot(&self) -> u64 {
        match self.snapshot.load(Ordering::Acquire) {
            REVOKED => NO_SNAPSHOT,
            snapshot => snapshot,
        }
    }

    /// Is the snapshot that the session took still its own (G5)?
    #[inline]
    pub fn still_has(&self, snapshot: u64) -> bool {
        // Acquire is not needed: what was read before came with an Acquire, and the CAS before it (G5).
        self.snapshot.load(Ordering::Acquire) == snapshot
    }

    /// Revokes a snapshot that was found here, whoever's it is (G5); true for the one who did.
    pub fn revoke(&self, snapshot: u64) -> bool {
        let revoke = |word: &AtomicU64| {
            word.compare_exchange(snapshot, REVOKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
        };
        // Both words: the session may be moving it from one to the other.
        let next = revoke(&self.next_snapshot);
        revoke(&self.snapshot) || next
    }

    /// A transaction that reads at `snapshot` is about to draw its commit timestamp, to check its reads at (G6).
    #[inline]
    pub fn begin_check(&self, snapshot: u64) {
        // Release: comes before the tick of the clock, whoever makes it; pairs with `LiveSnapshots::look`, which loads the clock.
        self.check.store(CheckWord::Above(snapshot).word(), Ordering::Release);
    }

    /// That is its timestamp.
    #[inline]
    pub fn check_at(&self, commit_ts: u64) {
        self.check.store(CheckWord::At(commit_ts).word(), Ordering::Release);
    }

    /// The check is over.
    #[inline]
    pub fn end_check(&self) {
        // Release: every read of the check comes before.
        self.check.store(0, Ordering::Release);
    }

    /// What is being checked, while there is a snapshot to go with it: without one, or with one that was revoked, the check fails (G5).
    pub(super) fn check(&self) -> Option<CheckWord> {
        // In this order: the snapshot was there before the check, and goes after it.
        let word = self.check.load(Ordering::Acquire);
        if word == 0 || self.snapshot() == NO_SNAPSHOT { None } else { Some(CheckWord::from_word(word)) }
    }

    /// Both snapshots that may be published.
    pub fn snapshots(&self) -> [u64; 2] {
        // In this order: the next one is given up here only after it stands there.
        let next = self.next_snapshot.load(Ordering::Acquire);
        [next, self.snapshot()]
    }

    /// Names a version whose entries are about to be added (K4 of `txn::secondary`), while the session's operation holds it. Until
    /// [`Slot::end_adding`] its memory is not used again, and its row not removed.
    #[inline]
    pub fn begin_adding(&self, adding: Adding) {
        self.adding_table.store(adding.table, Ordering::Relaxed);
        self.adding_row.store(adding.row, Ordering::Relaxed);
        // Release: who sees it sees the rest; and an operation that ends later is seen to have ended later.
        self.adding_version.store(adding.version, Ordering::Release);
    }

    /// No entry of it is to be removed any more.
    #[inline]
    pub fn end_adding(&self) {
        // Release: what was done for it comes before. In this order: the row alone holds up its removal and nothing else.
        self.adding_version.store(0, Ordering::Release);
        self.adding_row.store(0, Ordering::Release);
    }

    /// What the session is adding entries for, or has left there.
    #[inline]
    pub fn adding(&self) -> Option<Adding> {
        match self.adding_version.load(Ordering::Acquire) {
            0 => None,
            version => Some(Adding {
                version,
                row: self.adding_row.load(Ordering::Relaxed),
                table: self.adding_table.load(Ordering::Relaxed),
            }),
        }
    }

    /// May an entry be added yet that leads to `row`?
    pub(super) fn is_adding_to(&self, row: u64) -> bool {
        self.adding_row.load(Ordering::Acquire) == row
    }

    /// The version that is named here, or 0.
    pub(super) fn kept_version(&self) -> u64 {
        self.adding_version.load(Ordering::Acquire)
    }

    /// This session follows those tables, and no others.
    pub fn watch(&self, tables: u64) {
        // Release: comes before the change of the common word that says so.
        self.watched.store(tables, Ordering::Release);
    }

    /// What it follows.
    pub fn watched(&self) -> u64 {
        self.watched.load(Ordering::Acquire)
    }

    /// Holds nothing back any more of what may be seen or touched: its session is dead, and what it had begun is settled.
    pub fn let_go(&self) {
        self.clear_interval();
        self.clear_snapshot();
        self.drop_next_snapshot();
        self.end_check();
        self.watch(0);
    }

    /// As it is when it is claimed.
    pub(super) fn reset(&self) {
        self.let_go();
        self.end_adding();
        self.link_word.store(0, Ordering::Relaxed);
        self.link_block.store(0, Ordering::Relaxed);
        self.removed_row.store(0, Ordering::Relaxed);
        self.intent_count.store(0, Ordering::Relaxed);
        self.record.store(0, Ordering::Relaxed);
        self.retired_count.store(0, Ordering::Release);
    }
}

/// A version whose entries are being added to indexes: offsets of its block, its row and its table's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adding {
    /// The version.
    pub version: u64,
    /// Its row.
    pub row: u64,
    /// The root of its table.
    pub table: u64,
}

/// When the reads of a transaction that commits have to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckWord {
    /// At some timestamp above this one.
    Above(u64),
    /// At this one.
    At(u64),
}

impl CheckWord {
    fn word(self) -> u64 {
        match self {
            Self::Above(timestamp) => timestamp << 1 | 1,
            Self::At(timestamp) => timestamp << 1,
        }
    }

    fn from_word(word: u64) -> Self {
        if word & 1 == 0 { Self::At(word >> 1) } else { Self::Above(word >> 1) }
    }
}

/// Publishes what `clock` shows, until it is what `clock` still shows afterwards (G3).
#[inline]
fn publish_now(word: &AtomicU64, clock: &AtomicU64) -> u64 {
    // Acquire: pairs with the AcqRel tick of a committer, so that its PENDING is seen by whoever sees its timestamp.
    let mut snapshot = clock.load(Ordering::Acquire);
    loop {
        word.store(snapshot, Ordering::Release);
        fence(Ordering::SeqCst);
        let now = clock.load(Ordering::Acquire);
        if now == snapshot {
            return snapshot;
        }
        // Whoever looked meanwhile saw a snapshot that nobody reads at, from after the look on another.
        snapshot = now;
    }
}
