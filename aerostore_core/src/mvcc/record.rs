//! Transaction records: one word that decides a transaction, and the moves it may make.
//!
//! Rules   R1: the word only moves ACTIVE -> PENDING -> PREPARED(C) -> COMMITTED(C), or from any undecided state to
//!         ABORTED, always by CAS; decided is final. R2: all write intents are linked before the record leaves ACTIVE.
//!         R3: C is taken from the clock after PENDING is visible; whoever meets PENDING takes one itself and CASes it in.
//!         R4: a complete log record lies in the ring before PREPARED -> COMMITTED, which is the commit point.
//!         R5: a record is used again only when no version and no owner word refers to it, its log entry bears the
//!         decision, and reclamation allows. R6: every intent is on the slot's list before the CAS that makes it visible.
//! Layout  state in the low 3 bits, commit timestamp above.
//! Source  the state word with helping follows Hekaton (Larson et al., PVLDB 5(4), 2011) and Cicada's pending
//!         timestamps (Lim et al., SIGMOD 2017); PENDING before the timestamp is ours, found necessary by model checking.

use crate::mvcc::Clock;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys;
#[cfg(not(loom))]
use std::mem::size_of;
use std::time::Duration;

const ACTIVE: u64 = 0;
const PENDING: u64 = 1;
const PREPARED: u64 = 2;
const COMMITTED: u64 = 3;
const ABORTED: u64 = 4;
const STATE_BITS: u32 = 3;
/// State of a wait, in the low bits of `TxnRecord::waits_for`: in the queue.
const WAITING: u64 = 0;
/// The row's holder asks whether the waiter is running.
const CALLED: u64 = 1;
/// It is.
const READY: u64 = 2;
/// The row has been handed over.
const GRANTED: u64 = 3;
const WAIT_MASK: u64 = 3;

/// What a record's word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// Still writing.
    Active,
    /// All intents are linked; a timestamp is about to be taken.
    Pending,
    /// Has its place in the serial order, and is being validated.
    Prepared(u64),
    /// Took effect at this timestamp.
    Committed(u64),
    /// Never took effect.
    Aborted,
}

impl RecordState {
    fn from_word(word: u64) -> Self {
        let timestamp = word >> STATE_BITS;
        match word & ((1 << STATE_BITS) - 1) {
            ACTIVE => Self::Active,
            PENDING => Self::Pending,
            PREPARED => Self::Prepared(timestamp),
            COMMITTED => Self::Committed(timestamp),
            _ => Self::Aborted,
        }
    }

    fn word(self) -> u64 {
        match self {
            Self::Active => ACTIVE,
            Self::Pending => PENDING,
            Self::Prepared(timestamp) => timestamp << STATE_BITS | PREPARED,
            Self::Committed(timestamp) => timestamp << STATE_BITS | COMMITTED,
            Self::Aborted => ABORTED,
        }
    }

    /// The commit timestamp, 0 if there is none.
    pub fn committed_at(self) -> u64 {
        match self {
            Self::Committed(timestamp) => timestamp,
            _ => 0,
        }
    }

    /// Committed or aborted, for good.
    pub fn is_decided(self) -> bool {
        matches!(self, Self::Committed(_) | Self::Aborted)
    }
}

/// A transaction's shared state.
#[derive(Debug)]
#[repr(C)]
pub struct TxnRecord {
    word: AtomicU64,
    /// Slot of the owner in bits 0..16, its incarnation above: whose death leaves this record behind.
    owner: AtomicU64,
    /// The row this transaction waits for, and how far that has come in the low bits; or 0.
    waits_for: AtomicU64,
    /// Monotonic nanoseconds of the owner's last step, to a few milliseconds.
    touched_ns: AtomicU64,
    /// Changes when the owner of the row waited for has something to say; the waiter sleeps on it.
    turn: AtomicU32,
    /// 1 when somebody waits for a row of this transaction.
    waiters: AtomicU32,
    /// When it began to write, or the first that it repeats began, in monotonic nanoseconds: the larger, the younger.
    seniority: AtomicU64,
    /// Monotonic nanoseconds when the wait began.
    waits_since_ns: AtomicU64,
    _reserved: u64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<TxnRecord>() == 64);

// SAFETY: repr(C), atomics and padding only; all-zero is an ACTIVE record of slot 0, and is initialised before use.
#[cfg(not(loom))]
unsafe impl crate::shm::Shared for TxnRecord {}

impl TxnRecord {
    /// A record on the heap, for tests that drive the protocol without an arena.
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            owner: AtomicU64::new(0),
            waits_for: AtomicU64::new(0),
            touched_ns: AtomicU64::new(0),
            turn: AtomicU32::new(0),
            waiters: AtomicU32::new(0),
            seniority: AtomicU64::new(0),
            waits_since_ns: AtomicU64::new(0),
            _reserved: 0,
        }
    }

    /// Makes a block that nobody else can reach an ACTIVE record of `slot`, begun at `now_ns`.
    pub fn init(&self, slot: u16, incarnation: u32, now_ns: u64) {
        self.owner.store(u64::from(slot) | u64::from(incarnation) << 16, Ordering::Relaxed);
        self.waits_for.store(0, Ordering::Relaxed);
        self.waiters.store(0, Ordering::Relaxed);
        self.seniority.store(now_ns, Ordering::Relaxed);
        self.touch(now_ns);
        self.word.store(ACTIVE, Ordering::Release);
    }

    /// The owner has made a step at `now_ns`.
    #[inline]
    pub fn touch(&self, now_ns: u64) {
        // Relaxed: only how long it stands still matters.
        self.touched_ns.store(now_ns, Ordering::Relaxed);
    }

    /// The transaction waits for `row`, since `since_ns`, unless it does already: then tells whether that has been granted. L1
    /// orders this before its look at the row's owner.
    pub fn begin_wait(&self, row: u64, seniority: u64, since_ns: u64) -> bool {
        let seen = self.waits_for.load(Ordering::SeqCst);
        if seen & !WAIT_MASK == row {
            return seen & WAIT_MASK == GRANTED; // L3: nobody else may take back what has become of it.
        }
        self.seniority.store(seniority, Ordering::Relaxed);
        self.waits_since_ns.store(since_ns, Ordering::Relaxed);
        self.waits_for.store(row | WAITING, Ordering::SeqCst);
        false
    }

    /// It does not wait any more; true when the row was granted before.
    pub fn end_wait(&self) -> bool {
        self.waits_for.swap(0, Ordering::SeqCst) & WAIT_MASK == GRANTED
    }

    fn move_wait(&self, row: u64, from: u64, to: u64) -> bool {
        self.waits_for.compare_exchange(row | from, row | to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Asks a waiter for `row` to say when it is running; false when it has been asked already, or does not wait.
    pub fn call(&self, row: u64) -> bool {
        let is_called = self.move_wait(row, WAITING, CALLED);
        if is_called {
            self.wake();
        }
        is_called
    }

    /// Has it been called, or more?
    pub fn is_called(&self) -> bool {
        self.waits_for.load(Ordering::SeqCst) & WAIT_MASK != WAITING
    }

    /// The waiter says that it is running; false when it has not been called.
    pub fn answer(&self) -> bool {
        let seen = self.waits_for.load(Ordering::SeqCst);
        seen & WAIT_MASK == CALLED && self.move_wait(seen & !WAIT_MASK, CALLED, READY)
    }

    /// Is the wait of one that has answered not over yet?
    pub fn is_ready(&self) -> bool {
        self.waits_for.load(Ordering::SeqCst) & WAIT_MASK == READY
    }

    /// The waiter has answered, and goes back to sleep; does nothing when the row is granted.
    pub fn retract(&self) {
        let row = self.waits_for.load(Ordering::SeqCst) & !WAIT_MASK;
        let _ = self.move_wait(row, READY, WAITING);
    }

    /// Marks the row as granted to a waiter that has answered.
    pub fn grant_if_ready(&self, row: u64) -> bool {
        self.move_wait(row, READY, GRANTED)
    }

    /// Marks the row it waits for as granted; false when it does not wait for that row any more, or it is granted already.
    pub fn grant(&self, row: u64) -> bool {
        loop {
            let seen = self.waits_for.load(Ordering::SeqCst);
            if seen & !WAIT_MASK != row || seen & WAIT_MASK == GRANTED {
                return false;
            }
            if self.move_wait(row, seen & WAIT_MASK, GRANTED) {
                return true;
            }
        }
    }

    /// An undecided transaction owns the row: if it `was_granted` when the wait began, or went on, before the look at the owner,
    /// that was in vain. One that is granted after the look may be the owner's, which has been decided since: it stands.
    pub fn wait_on(&self, was_granted: bool) {
        let seen = self.waits_for.load(Ordering::SeqCst);
        if was_granted && seen & WAIT_MASK == GRANTED {
            // Nobody else moves it from there.
            self.waits_for.store(seen & !WAIT_MASK, Ordering::SeqCst);
        }
    }

    /// The row it waits for, unless that is granted.
    pub fn waits_for(&self) -> Option<u64> {
        match self.waits_for.load(Ordering::SeqCst) {
            0 => None,
            word if word & WAIT_MASK == GRANTED => None,
            word => Some(word & !WAIT_MASK),
        }
    }

    /// Does its wait for that row go on, granted or not?
    pub fn still_waits_for(&self, row: u64) -> bool {
        self.waits_for.load(Ordering::SeqCst) & !WAIT_MASK == row
    }

    /// When it began to wait.
    pub fn waits_since_ns(&self) -> u64 {
        self.waits_since_ns.load(Ordering::Relaxed)
    }

    /// When it began.
    pub fn seniority(&self) -> u64 {
        self.seniority.load(Ordering::Relaxed)
    }

    /// Somebody waits for a row of this transaction.
    pub fn announce_waiter(&self) {
        self.waiters.store(1, Ordering::SeqCst);
    }

    /// Does somebody wait for a row of this transaction? To be asked after the decision (L1).
    #[inline]
    pub fn has_waiters(&self) -> bool {
        self.waiters.load(Ordering::SeqCst) != 0
    }

    /// The word to sleep on.
    pub fn turn(&self) -> u32 {
        self.turn.load(Ordering::SeqCst)
    }

    /// Sleeps while the word is `seen`.
    pub fn sleep(&self, seen: u32, limit: Duration) {
        sys::wait(&self.turn, seen, Some(limit));
    }

    /// Wakes the transaction from its sleep.
    pub fn wake(&self) {
        self.turn.fetch_add(1, Ordering::SeqCst);
        sys::wake(&self.turn, 1);
    }

    /// Nanoseconds since the owner's last step.
    pub fn idle_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.touched_ns.load(Ordering::Relaxed))
    }

    /// Slot and incarnation of the owner.
    pub fn owner(&self) -> (u16, u32) {
        let owner = self.owner.load(Ordering::Relaxed);
        (u16::try_from(owner & 0xFFFF).unwrap_or(0), u32::try_from(owner >> 16).unwrap_or(0))
    }

    /// The current state.
    #[inline]
    pub fn state(&self) -> RecordState {
        // SeqCst: R3 orders this load against the clock on both sides; see `assign`.
        RecordState::from_word(self.word.load(Ordering::SeqCst))
    }

    fn advance(&self, from: RecordState, to: RecordState) -> bool {
        self.word.compare_exchange(from.word(), to.word(), Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// ACTIVE -> PENDING; false when the record was aborted by someone else.
    pub fn begin_commit(&self) -> bool {
        self.advance(RecordState::Active, RecordState::Pending)
    }

    /// PENDING -> PREPARED(C), by the owner or by anyone who cannot wait (R3). Returns the state found or made.
    pub fn assign(&self, clock: &Clock) -> RecordState {
        let seen = self.state();
        if seen != RecordState::Pending {
            return seen;
        }
        // R3: PENDING was seen before the timestamp is taken, so every snapshot at or above C was taken after PENDING.
        let prepared = RecordState::Prepared(clock.tick());
        if self.advance(RecordState::Pending, prepared) { prepared } else { self.state() }
    }

    /// PREPARED(C) -> COMMITTED(C): the commit point (R4). False when the record was aborted by someone else.
    pub fn commit(&self, timestamp: u64) -> bool {
        self.advance(RecordState::Prepared(timestamp), RecordState::Committed(timestamp))
    }

    /// Any undecided state -> ABORTED. Returns the decided state.
    pub fn abort(&self) -> RecordState {
        loop {
            let seen = self.state();
            if seen.is_decided() {
                return seen;
            }
            if self.advance(seen, RecordState::Aborted) {
                return RecordState::Aborted;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn decided_is_final() {
        let clock = Clock::new(7);
        let record = TxnRecord::new();
        assert!(record.begin_commit());
        assert_eq!(record.assign(&clock), RecordState::Prepared(8));
        assert!(record.commit(8));
        assert_eq!(record.abort(), RecordState::Committed(8));
        assert!(!record.begin_commit());
        assert_eq!(record.assign(&clock), RecordState::Committed(8));
    }

    #[test]
    fn an_aborted_record_cannot_commit() {
        let clock = Clock::new(0);
        for steps in 0..3 {
            let record = TxnRecord::new();
            if steps > 0 {
                assert!(record.begin_commit());
            }
            if steps > 1 {
                assert_eq!(record.assign(&clock), RecordState::Prepared(clock.now()));
            }
            assert_eq!(record.abort(), RecordState::Aborted);
            assert!(!record.begin_commit());
            assert!(!record.commit(clock.now()));
            assert_eq!(record.state(), RecordState::Aborted);
        }
    }

    #[test]
    fn a_wait_goes_from_called_to_ready_to_granted() {
        const ROW: u64 = 64;
        let record = TxnRecord::new();
        record.begin_wait(ROW, 0, 1);
        assert!(!record.answer() && !record.grant_if_ready(ROW), "nobody has called");
        assert!(record.call(ROW) && !record.call(ROW) && !record.call(2 * ROW));
        assert!(record.is_called() && !record.grant_if_ready(ROW));
        assert!(record.answer() && record.is_ready());
        record.retract();
        assert!(!record.is_called() && record.waits_for() == Some(ROW));
        assert!(record.call(ROW) && record.answer());
        assert!(!record.grant_if_ready(2 * ROW) && record.grant_if_ready(ROW));
        assert!(!record.is_ready() && record.waits_for().is_none() && !record.grant(ROW));
        // Waiting again for the same row takes nothing back.
        record.begin_wait(ROW, 0, 1);
        assert!(record.end_wait() && !record.end_wait());
        record.begin_wait(ROW, 0, 1);
        assert!(record.grant(ROW));
        let was_granted = record.begin_wait(ROW, 0, 1);
        assert!(was_granted);
        record.wait_on(was_granted);
        assert_eq!(record.waits_for(), Some(ROW));
        assert!(!record.end_wait());
    }

    #[test]
    fn a_row_that_is_granted_after_the_look_at_its_owner_stays_granted() {
        const ROW: u64 = 64;
        let record = TxnRecord::new();
        let was_granted = record.begin_wait(ROW, 0, 1);
        // Here the waiter sees that the owner is undecided; then that commits, and hands the row over.
        assert!(record.grant(ROW));
        record.wait_on(was_granted);
        assert!(record.end_wait(), "it would leave, and be made the owner afterwards");
    }

    #[test]
    fn a_second_timestamp_is_thrown_away() {
        let clock = Clock::new(0);
        let record = TxnRecord::new();
        assert!(record.begin_commit());
        assert_eq!(record.assign(&clock), RecordState::Prepared(1));
        assert_eq!(record.assign(&clock), RecordState::Prepared(1));
        assert_eq!(clock.now(), 1);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// A committer and a helper race for the timestamp: one of them wins, both agree.
    #[test]
    fn loom_owner_and_helper_agree_on_the_timestamp() {
        loom::model(|| {
            let shared = Arc::new((TxnRecord::new(), Clock::new(0)));
            let helper = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.0.assign(&shared.1))
            };
            assert!(shared.0.begin_commit());
            let RecordState::Prepared(timestamp) = shared.0.assign(&shared.1) else {
                panic!("nobody aborts")
            };
            assert!(shared.0.commit(timestamp));
            match helper.join().unwrap() {
                RecordState::Active => {}
                RecordState::Prepared(seen) | RecordState::Committed(seen) => assert_eq!(seen, timestamp),
                other => panic!("{other:?}"),
            }
        });
    }

    /// R3: a snapshot that does not see PENDING can never be at or above the commit's timestamp.
    #[test]
    fn loom_a_snapshot_that_misses_pending_is_older_than_the_commit() {
        loom::model(|| {
            let shared = Arc::new((TxnRecord::new(), Clock::new(0)));
            let reader = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let snapshot = shared.1.now();
                    (snapshot, shared.0.state())
                })
            };
            assert!(shared.0.begin_commit());
            let RecordState::Prepared(timestamp) = shared.0.assign(&shared.1) else {
                panic!("nobody aborts")
            };
            let (snapshot, seen) = reader.join().unwrap();
            if seen == RecordState::Active {
                assert!(snapshot < timestamp);
            }
        });
    }

    /// L3: a waiter that has given up without knowing of a grant is not made the owner by it.
    #[test]
    fn loom_a_grant_and_a_waiter_that_gives_up_agree_on_the_owner() {
        const ROW: u64 = 64;
        const FROM: u64 = 8;
        const WAITER: u64 = 16;
        loom::model(|| {
            let shared = Arc::new((TxnRecord::new(), AtomicU64::new(FROM)));
            shared.0.begin_wait(ROW, 0, 1);
            assert!(shared.0.move_wait(ROW, WAITING, CALLED));
            let holder = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (record, owner) = &*shared;
                    if record.grant_if_ready(ROW) || record.grant(ROW) {
                        let _ = owner.compare_exchange(FROM, WAITER, Ordering::AcqRel, Ordering::Acquire);
                    }
                })
            };
            let (record, owner) = &*shared;
            if record.answer() {
                record.retract();
            }
            let was_granted = record.end_wait();
            if was_granted {
                let _ = owner.compare_exchange(FROM, 0, Ordering::AcqRel, Ordering::Acquire);
            }
            holder.join().unwrap();
            let left = owner.load(Ordering::Acquire);
            assert!(
                if was_granted { left == 0 || left == WAITER } else { left == FROM },
                "{was_granted} {left}"
            );
        });
    }

    /// L3: what is granted after the look at the owner is not taken back, so no owner word comes to name one that has given up.
    #[test]
    fn loom_a_waiter_that_saw_its_owner_undecided_keeps_what_is_granted_then() {
        const ROW: u64 = 64;
        const FROM: u64 = 8;
        const WAITER: u64 = 16;
        loom::model(|| {
            let shared = Arc::new((TxnRecord::new(), TxnRecord::new(), AtomicU64::new(FROM)));
            let holder = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (waiter, holder, owner) = &*shared;
                    holder.abort();
                    if waiter.grant(ROW) {
                        let _ = owner.compare_exchange(FROM, WAITER, Ordering::AcqRel, Ordering::Acquire);
                    }
                })
            };
            let (waiter, holder_record, owner) = &*shared;
            for _ in 0..2 {
                let was_granted = waiter.begin_wait(ROW, 0, 1);
                if owner.load(Ordering::SeqCst) == FROM && !holder_record.state().is_decided() {
                    waiter.wait_on(was_granted);
                }
            }
            // It gives up; what it knows to own it lets go of.
            if waiter.end_wait() {
                let _ = owner.compare_exchange(FROM, 0, Ordering::AcqRel, Ordering::Acquire);
            }
            let _ = owner.compare_exchange(WAITER, 0, Ordering::AcqRel, Ordering::Acquire);
            holder.join().unwrap();
            assert_ne!(owner.load(Ordering::Acquire), WAITER);
        });
    }

    /// A waiter that does not see that it has been called finds its word changed when it is about to sleep.
    #[test]
    fn loom_a_call_is_not_slept_through() {
        const ROW: u64 = 64;
        loom::model(|| {
            let record = Arc::new(TxnRecord::new());
            record.begin_wait(ROW, 0, 1);
            let holder = {
                let record = Arc::clone(&record);
                thread::spawn(move || assert!(record.call(ROW)))
            };
            let seen = record.turn();
            let is_called = record.is_called();
            holder.join().unwrap();
            assert!(is_called || record.turn() != seen);
        });
    }

    /// A forced abort and the commit point race: exactly one decides.
    #[test]
    fn loom_commit_and_forced_abort_decide_once() {
        loom::model(|| {
            let shared = Arc::new((TxnRecord::new(), Clock::new(0)));
            let killer = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.0.abort())
            };
            let committed = shared.0.begin_commit()
                && match shared.0.assign(&shared.1) {
                    RecordState::Prepared(timestamp) => shared.0.commit(timestamp),
                    _ => false,
                };
            let decided = killer.join().unwrap();
            assert!(decided.is_decided());
            assert_eq!(committed, matches!(decided, RecordState::Committed(_)));
            assert_eq!(shared.0.state(), decided);
        });
    }
}
