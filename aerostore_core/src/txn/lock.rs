//! Owning rows, and waiting for those that others own.
//!
//! A row's owner word names a transaction record and counts only while that is undecided, so no lock outlives its holder.
//! Plain writes wait a moment and give up: the first updater wins. `lock_for_update`, and transactions that have met a hot row,
//! queue.
//!
//! Rules   L1: who waits says so in its own record (the row, and since when), tells the owner's record that somebody waits, and
//!         looks again before it sleeps, on a word of its own record; the owner looks at its record after its decision. All
//!         of that is sequentially consistent: either the waiter sees the decision or the owner sees the waiter.
//!         L2: the queue is the waiters' records, found by way of the slots: there is nothing to repair when one dies. The
//!         oldest waiter is woken at a release, and told of those behind it. L3: a row is handed over in three steps: mark the
//!         waiter's record GRANTED, owner word from the decided record to it, wake it. A waiter that gives up takes its wait
//!         back by an exchange; if that shows GRANTED, it owns the row after all, or takes it from the decided record like
//!         anyone; so a late second step always fails, and no owner word comes to name a record that does not know of it.
//!         L4: every sleep is short, after it liveness and cycles are looked at again: a wake lost by a death costs one sleep.
//! Turns   A session that is back for the row at once after releasing it keeps it for `TURN_NS`, without waking anybody; then
//!         the row is handed over to the oldest waiter. So a hot row moves from process to process about once in a turn
//!         rather than at each commit, and everybody has its turn. A session that is not back at once wakes the next at each
//!         release; one that leaves in the middle of its turn costs the next one a sleep of that length.
//! Cycles  From the row one waits for to its owner, to the row that one waits for, and so on: a way back to oneself is a
//!         deadlock. The youngest of the cycle gives up; whoever finds it wakes that one, which then sees for itself.
//! Source  turns follow the eventual fairness of `WebKit`'s `ParkingLot` (Pizlo, 2016).

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::mvcc::{RecordState, RowHeader, Stall, StallPolicy, TxnRecord};
use crate::shm::{BlockRef, BlockState, OwnerId};
use crate::sync::{Ordering, fence};
use crate::sys::{coarse_ns, monotonic_ns};
use crate::txn::transaction::running;
use crate::txn::{Session, Store, TableRef, Transaction, TxnError};
use std::time::Duration;

/// How long a writer waits for another writer that has not begun to commit, before it gives up its own transaction.
const OWNER_WAIT_NS: u64 = 1_000_000;
/// How long a session may keep coming back for a row that others wait for.
const TURN_NS: u64 = 1_000_000;
/// A session that releases a row again within this time has come back for it at once.
const RETURN_NS: u64 = 100_000;
/// How long one sleeps who is next.
const NEXT_SLEEP: Duration = Duration::from_millis(1);
/// How long the others sleep.
const SLEEP: Duration = Duration::from_millis(5);
/// Records followed in search of a cycle.
const CHASE_MAX: u32 = 256;
/// How long a row counts as hot after it was last waited for.
const HOT_NS: u64 = 1_000_000_000;
/// Hot rows a session remembers.
const HOT_ROWS: usize = 8;

/// How to wait for a row that another transaction owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// A moment.
    Brief,
    /// In the queue.
    Queue,
}

/// What came of an attempt to own a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owned {
    Yes,
    /// Another transaction has it, which has not begun to commit.
    Busy,
}

/// What a session remembers of rows that many want.
#[derive(Default)]
pub(super) struct HotRows {
    /// Row, and until when it counts as hot.
    rows: Vec<(u64, u64)>,
    turn: Option<Turn>,
}

/// A row that this session has released while others waited.
struct Turn {
    row: u64,
    released_ns: u64,
    /// The end of the turn, if the session has come back for the row.
    ends_ns: Option<u64>,
}

impl HotRows {
    #[inline]
    pub(super) fn contains(&self, row: u64) -> bool {
        !self.rows.is_empty() && {
            let now = coarse_ns();
            self.rows.iter().any(|(hot, until)| *hot == row && *until > now)
        }
    }

    pub(super) fn add(&mut self, row: u64) {
        if row == 0 {
            return;
        }
        let now = coarse_ns();
        self.rows.retain(|(hot, until)| *hot != row && *until > now);
        if self.rows.len() == HOT_ROWS {
            self.rows.remove(0);
        }
        self.rows.push((row, now + HOT_NS));
    }

    /// The row has cost a transaction `error`.
    #[cold]
    pub(super) fn blame(&mut self, row: u64, error: TxnError) -> TxnError {
        self.add(row);
        error
    }

    #[inline]
    pub(super) fn in_turn(&self) -> bool {
        self.turn.is_some()
    }
}

/// Makes `record` the owner of a row; `Busy`, or an error, when another live transaction is (first updater wins).
#[inline]
pub(super) fn own(
    guard: &Guard<'_>,
    store: &Store,
    table: &TableRef,
    row: &RowHeader,
    row_offset: u64,
    record: u64,
    patience: impl FnOnce() -> Patience,
) -> Result<Owned, TxnError> {
    let owner = guard.protect(&row.owner);
    // AcqRel: the owner sees everything the one before it has linked.
    let quick = owner == record
        || owner == 0 && row.owner.compare_exchange(0, record, Ordering::AcqRel, Ordering::Acquire).is_ok();
    if !quick && contend(guard, store, table, row, record, patience())? == Owned::Busy {
        return Ok(Owned::Busy);
    }
    // A row whose maker was stopped before it could say LIVE: scans pass over it until then.
    if guard.arena().block_word(row_offset)?.state() == BlockState::Reserved {
        guard.arena().publish(guard.arena().block_ref(row_offset)?);
    }
    Ok(Owned::Yes)
}

/// As [`own`], of a row that somebody else has, or has had.
#[cold]
fn contend(
    guard: &Guard<'_>,
    store: &Store,
    table: &TableRef,
    row: &RowHeader,
    record: u64,
    patience: Patience,
) -> Result<Owned, TxnError> {
    let mut stall = Stall::new(StallPolicy { abort_after_ns: u64::MAX, ..store.stall });
    loop {
        let owner = guard.protect(&row.owner);
        if owner == record {
            break;
        }
        if owner != 0 {
            let other: &TxnRecord = guard.resolve(owner)?;
            match other.state() {
                RecordState::Committed(_) | RecordState::Aborted => {}
                RecordState::Active => {
                    stall.wait(guard, other)?;
                    if patience == Patience::Queue && stall.has_spun() {
                        return Ok(Owned::Busy);
                    }
                    if stall.waited_ns() <= OWNER_WAIT_NS {
                        continue;
                    }
                    // Stopped, or forgotten: a row must not stay locked for ever.
                    if other.idle_ns(monotonic_ns()) > store.stall.idle_after_ns {
                        other.abort();
                    }
                    if !other.state().is_decided() {
                        return Err(TxnError::Serialization {
                            reason: "another transaction is changing the row",
                            table: table.schema().name().to_owned(),
                        });
                    }
                    continue;
                }
                RecordState::Pending | RecordState::Prepared(_) => {
                    // About to be decided; one that is stopped there is aborted like for a reader.
                    stall.wait(guard, other)?;
                    if other.idle_ns(monotonic_ns()) > store.stall.abort_after_ns {
                        other.abort();
                    }
                    continue;
                }
            }
        }
        // AcqRel: the owner sees everything the one before it has linked.
        if row.owner.compare_exchange(owner, record, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            break;
        }
    }
    Ok(Owned::Yes)
}

/// One wait for a row, over several sleeps.
#[derive(Default)]
pub(super) struct RowWait {
    /// Monotonic nanoseconds when it began; 0 while it has not.
    since_ns: u64,
    /// Whether somebody has woken us: we are next.
    next: bool,
}

/// Why a look at the owner ended.
enum Look {
    /// The row may be had: try again.
    Free,
    /// Sleep while the record's word is this.
    Sleep(u32),
}

impl Transaction {
    /// Sleeps until the row may have become free. The intent entry for it is on the list already (N1). Between two
    /// operations: nothing is held back meanwhile.
    ///
    /// # Errors
    /// `Deadlock`; `LockTimeout`; `ForcedAbort`.
    pub(super) fn wait_for_row(
        &mut self,
        table: &TableRef,
        row: u64,
        wait: &mut RowWait,
    ) -> Result<(), TxnError> {
        let Some(record) = self.record else { return Ok(()) };
        let session = running(&mut self.session)?;
        let seniority = match self.seniority {
            Some(seniority) => seniority,
            None => session.own_record(record)?.seniority(),
        };
        if self.adaptive {
            session.hot.add(row);
        }
        let now = monotonic_ns();
        if wait.since_ns == 0 {
            wait.since_ns = now;
        }
        let limit_ns = session.store.lock_timeout_ns();
        let waited_ns = now - wait.since_ns;
        let outcome = if waited_ns >= limit_ns {
            Err(TxnError::LockTimeout { table: table.schema().name().to_owned() })
        } else {
            session.look(record, row, seniority, wait.since_ns, waited_ns > 0, table)
        };
        match outcome {
            Ok(Look::Free) => Ok(()),
            Ok(Look::Sleep(seen)) => {
                let limit = Duration::from_nanos(limit_ns - waited_ns);
                let sleep = if wait.next { NEXT_SLEEP } else { SLEEP };
                session.sleep(record, seen, sleep.min(limit), wait)
            }
            Err(error) => {
                // L3: what was granted meanwhile is taken.
                if session.end_wait(record)? { Ok(()) } else { Err(error) }
            }
        }
    }

    /// The wait for `row` is over, one way or the other.
    pub(super) fn end_wait(&mut self, row: u64) -> Result<(), TxnError> {
        let (Some(record), Some(session)) = (self.record, self.session.as_deref()) else { return Ok(()) };
        if session.end_wait(record)? {
            // L3: if we leave without the row, whoever granted it must not make it ours later.
            let guard = session.participant.pin();
            let row: &RowHeader = guard.resolve(row)?;
            let owner = guard.protect(&row.owner);
            if owner != 0 && guard.resolve::<TxnRecord>(owner)?.state().is_decided() {
                let _ = row.owner.compare_exchange(owner, 0, Ordering::AcqRel, Ordering::Acquire);
            }
        }
        Ok(())
    }
}

impl RowWait {
    pub(super) fn has_begun(&self) -> bool {
        self.since_ns != 0
    }
}

impl Session {
    fn own_record(&self, record: BlockRef) -> Result<&TxnRecord, TxnError> {
        Ok(self.arena().resolve(record.pointer())?)
    }

    /// Takes the wait back; true when the row was granted before that.
    fn end_wait(&self, record: BlockRef) -> Result<bool, TxnError> {
        Ok(self.own_record(record)?.end_wait())
    }

    /// Says what we wait for, and looks at the owner (L1).
    fn look(
        &self,
        record: BlockRef,
        row_offset: u64,
        seniority: u64,
        since_ns: u64,
        again: bool,
        table: &TableRef,
    ) -> Result<Look, TxnError> {
        let own = self.own_record(record)?;
        let guard = self.participant.pin();
        let row: &RowHeader = guard.resolve(row_offset)?;
        let seen = own.turn();
        own.begin_wait(row_offset, seniority, since_ns);
        let owner = guard.protect(&row.owner);
        if owner == 0 || owner == record.offset {
            return Ok(Look::Free);
        }
        let other: &TxnRecord = guard.resolve(owner)?;
        other.announce_waiter();
        fence(Ordering::SeqCst);
        if other.state() != RecordState::Active || row.owner.load(Ordering::SeqCst) != owner {
            return Ok(Look::Free);
        }
        if own.state() != RecordState::Active {
            return Err(TxnError::ForcedAbort);
        }
        if again {
            let ((slot, incarnation), now_ns) = (other.owner(), monotonic_ns());
            let owner = OwnerId { slot, incarnation };
            if other.idle_ns(now_ns) > self.store.stall.idle_after_ns
                || guard.participant().registry().is_unresponsive_owner(owner, now_ns)?
            {
                other.abort();
                return Ok(Look::Free);
            }
        }
        if closes_cycle(&guard, record.offset, seniority, owner) {
            return Err(TxnError::Deadlock { table: table.schema().name().to_owned() });
        }
        Ok(Look::Sleep(seen))
    }

    /// Sleeps between two operations, then goes on with the one that was running.
    fn sleep(
        &mut self,
        record: BlockRef,
        seen: u32,
        sleep: Duration,
        wait: &mut RowWait,
    ) -> Result<(), TxnError> {
        self.participant.leave();
        self.participant.rest();
        let own = self.own_record(record)?;
        own.sleep(seen, sleep);
        wait.next |= own.turn() != seen;
        own.touch(coarse_ns());
        self.participant.enter();
        Ok(())
    }

    /// The record is decided: rows that others wait for are passed on, or their next one is woken (L2).
    #[cold]
    pub(super) fn hand_over(&mut self, record: BlockRef) -> Result<(), TxnError> {
        let now = monotonic_ns();
        let mut turn = self.hot.turn.take();
        let guard = self.participant.pin();
        if let Some(Turn { row, ends_ns: Some(ends_ns), .. }) = turn
            && now < ends_ns
            && self.buffers.owned.get(row).is_some()
            && !guard.resolve::<TxnRecord>(record.offset)?.has_waiters()
        {
            self.hot.turn = turn;
            return Ok(());
        }
        let waiters = waiters(&guard, record.offset)?;
        let mut served: Vec<u64> = Vec::new();
        let mut kept = None;
        for waiter in &waiters {
            let is_ours = self.buffers.owned.get(waiter.row).is_some();
            let was_ours = turn.as_ref().is_some_and(|turn| turn.row == waiter.row);
            if !(is_ours || was_ours) || served.contains(&waiter.row) {
                continue;
            }
            served.push(waiter.row);
            // What others wait for, this session does not rush at either.
            self.hot.add(waiter.row);
            if waiters.iter().any(|other| other.row == waiter.row && other.record != waiter.record) {
                guard.resolve::<TxnRecord>(waiter.record)?.announce_waiter();
            }
            let before = if was_ours && is_ours { turn.take() } else { None };
            match before {
                Some(Turn { ends_ns: Some(ends_ns), row, released_ns }) if now < ends_ns => {
                    kept = Some(Turn { row, released_ns, ends_ns: Some(ends_ns) });
                }
                Some(Turn { ends_ns: Some(_), .. }) => grant(&guard, record.offset, waiter)?,
                Some(Turn { released_ns, row, .. }) if now - released_ns < RETURN_NS => {
                    kept = Some(Turn { row, released_ns: now, ends_ns: Some(now + TURN_NS) });
                }
                _ => {
                    guard.resolve::<TxnRecord>(waiter.record)?.wake();
                    if is_ours {
                        kept = Some(Turn { row: waiter.row, released_ns: now, ends_ns: None });
                    }
                }
            }
        }
        self.hot.turn = kept;
        Ok(())
    }

    /// A row was let go of in the middle of a transaction.
    pub(super) fn wake_next(&self, record: u64, rows: &[u64]) -> Result<(), TxnError> {
        let guard = self.participant.pin();
        fence(Ordering::SeqCst);
        if !guard.resolve::<TxnRecord>(record)?.has_waiters() {
            return Ok(());
        }
        let waiters = waiters(&guard, record)?;
        for row in rows {
            if let Some(first) = waiters.iter().find(|waiter| waiter.row == *row) {
                let first: &TxnRecord = guard.resolve(first.record)?;
                first.announce_waiter();
                first.wake();
            }
        }
        Ok(())
    }
}

struct Waiter {
    row: u64,
    record: u64,
    since_ns: u64,
}

/// Everybody who waits for some row, the oldest first.
fn waiters(guard: &Guard<'_>, own: u64) -> Result<Vec<Waiter>, TxnError> {
    let mut waiters = Vec::new();
    let registry = guard.participant().registry();
    registry.for_each_slot(|_, slot| {
        let offset = guard.protect(&slot.record);
        if offset == 0 || offset == own {
            return;
        }
        let Ok(record) = guard.resolve::<TxnRecord>(offset) else { return };
        if let Some(row) = record.waits_for() {
            waiters.push(Waiter { row, record: offset, since_ns: record.waits_since_ns() });
        }
    })?;
    waiters.sort_by_key(|waiter| waiter.since_ns);
    Ok(waiters)
}

/// Hands a row over from the decided record `from` (L3).
fn grant(guard: &Guard<'_>, from: u64, waiter: &Waiter) -> Result<(), TxnError> {
    let to: &TxnRecord = guard.resolve(waiter.record)?;
    if to.grant(waiter.row) {
        let row: &RowHeader = guard.resolve(waiter.row)?;
        // Fails when somebody has taken it from the decided record: then the waiter goes on waiting.
        let _ = row.owner.compare_exchange(from, waiter.record, Ordering::AcqRel, Ordering::Acquire);
    }
    to.wake();
    Ok(())
}

/// Does waiting for `owner` close a cycle of which this transaction is the youngest? If another one is, it is woken.
fn closes_cycle(guard: &Guard<'_>, own: u64, seniority: u64, owner: u64) -> bool {
    let mut youngest = (seniority, own);
    let mut at = owner;
    for _ in 0..CHASE_MAX {
        let Ok(record) = guard.resolve::<TxnRecord>(at) else { return false };
        if record.state() != RecordState::Active {
            return false;
        }
        let Some(row) = record.waits_for() else { return false };
        youngest = youngest.max((record.seniority(), at));
        let Ok(row) = guard.resolve::<RowHeader>(row) else { return false };
        at = guard.protect(&row.owner);
        if at == own {
            if youngest.1 == own {
                return true;
            }
            if let Ok(record) = guard.resolve::<TxnRecord>(youngest.1) {
                record.wake();
            }
            return false;
        }
        if at == 0 {
            return false;
        }
    }
    false
}
