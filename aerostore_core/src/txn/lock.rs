//! Owning rows, and waiting for those that others own.
//!
//! A row's owner word names a transaction record and counts only while that is undecided, so no lock outlives its holder.
//! Plain writes wait a moment and give up: the first updater wins. `lock_for_update`, and transactions that have met a hot row,
//! queue. How a row gets from one to the next is in `turn`.
//!
//! Rules   L1: who waits says so in its own record (the row, and since when), tells the owner's record that somebody waits, and
//!         looks again before it sleeps, on a word of its own record; the owner looks at its record after its decision. All
//!         of that is sequentially consistent: either the waiter sees the decision or the owner sees the waiter. The owner tells
//!         the one it offers the row of those after it, and looks then whether that one still waits; if it does, it will see that
//!         after its own decision, else the next one is offered the row.
//!         L2: the queue is the waiters' records, found by way of the slots: there is nothing to repair when one dies.
//!         L3: a row is handed over in three steps: mark the waiter's record GRANTED, owner word from the decided record to it,
//!         wake it if it sleeps. A waiter that gives up takes its wait back by an exchange; if that shows GRANTED, it owns the
//!         row after all, or takes it from the decided record like anyone, or, if it fails before, makes it nobody's; so a late
//!         second step always fails, and no owner word comes to name a record that does not know of it. One that had been granted
//!         the row, and then finds that an undecided record owns it, was too late, as the second step is then, and waits on; what
//!         is granted after that look stays.
//!         L4: every sleep is short, after it liveness and cycles are looked at again: a wake lost by a death costs one sleep.
//! Cycles  From the row one waits for to its owner, to the row that one waits for, and so on: a way back to oneself is a
//!         deadlock. The youngest of the cycle gives up; whoever finds it wakes that one, which then sees for itself.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::mvcc::{RecordState, RowHeader, Stall, StallPolicy, TxnRecord};
use crate::shm::{BlockRef, BlockState, OwnerId};
use crate::sync::{Ordering, fence, spin_loop};
use crate::sys::{coarse_ns, monotonic_ns};
use crate::txn::transaction::running;
use crate::txn::{Isolation, Session, Store, TableRef, Transaction, TxnError};
use std::time::Duration;

/// How long a writer waits for another writer that has not begun to commit, before it gives up its own transaction.
const OWNER_WAIT_NS: u64 = 1_000_000;
/// How long one sleeps that has been next before.
const NEXT_SLEEP: Duration = Duration::from_millis(1);
/// How long the others sleep.
const SLEEP: Duration = Duration::from_millis(5);
/// How long one that has been called waits for the row on its processor.
const READY_SPIN_NS: u64 = 10_000;
/// How long it waits in all before it looks at the row itself.
const READY_NS: u64 = 300_000;
/// Records followed in search of a cycle.
const CHASE_MAX: u32 = 256;

/// How to wait for a row that another transaction owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Not at all.
    No,
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

/// Makes `record` the owner of a row; `Busy`, or an error, when another live transaction is (first updater wins).
#[inline]
pub(super) fn own(
    guard: &Guard<'_>,
    store: &Store,
    table: &TableRef,
    row: &RowHeader,
    record: u64,
    is_polite: bool,
    patience: impl Fn() -> Patience,
) -> Result<Owned, TxnError> {
    let owner = guard.protect(&row.owner);
    if is_polite && owner != record && patience() == Patience::Queue && row.is_kept(monotonic_ns()) {
        return Ok(Owned::Busy); // L5
    }
    // AcqRel: the owner sees everything the one before it has linked.
    let quick = owner == record
        || owner == 0 && row.owner.compare_exchange(0, record, Ordering::AcqRel, Ordering::Acquire).is_ok();
    if !quick && contend(guard, store, table, row, record, patience())? == Owned::Busy {
        return Ok(Owned::Busy);
    }
    Ok(Owned::Yes)
}

/// Says LIVE of a row that is owned and whose maker was stopped before it could: scans pass over it until then.
#[inline]
pub(super) fn say_live(guard: &Guard<'_>, row_offset: u64) -> Result<(), TxnError> {
    if guard.arena().block_word(row_offset)?.state() == BlockState::Reserved {
        guard.arena().publish(guard.arena().block_ref(row_offset)?);
    }
    Ok(())
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
                _ if patience == Patience::Queue && !stall.has_begun() && row.is_kept(monotonic_ns()) => {
                    return Ok(Owned::Busy); // L5
                }
                _ if patience == Patience::No => return Err(taken(table)),
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
                        return Err(taken(table));
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

fn taken(table: &TableRef) -> TxnError {
    TxnError::Serialization {
        reason: "another transaction is changing the row",
        table: table.schema().name().to_owned(),
    }
}

/// One wait for a row, over several sleeps.
#[derive(Default)]
pub(super) struct RowWait {
    /// The row; 0 while there is none.
    row: u64,
    /// Monotonic nanoseconds when it began.
    since_ns: u64,
    /// Whether somebody has woken us: we are next.
    next: bool,
    /// Whether the row was granted when we gave up: it is ours to take or to free, whatever fails until then.
    is_granted: bool,
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
        if wait.row != row {
            // The key has another row now.
            self.end_wait(wait)?;
        }
        let session = running(&mut self.session)?;
        let seniority = match self.seniority {
            Some(seniority) => seniority,
            None => session.own_record(record)?.seniority(),
        };
        session.hot.wants(row);
        let now = monotonic_ns();
        let is_first = wait.row == 0;
        if is_first {
            *wait = RowWait { row, since_ns: now, ..RowWait::default() };
        }
        let limit_ns = session.store.lock_timeout_ns();
        let waited_ns = now - wait.since_ns;
        let outcome = if waited_ns >= limit_ns {
            Err(TxnError::LockTimeout { table: table.schema().name().to_owned() })
        } else {
            session.look(record, row, seniority, wait.since_ns, !is_first, table)
        };
        match outcome {
            Ok(Look::Free) => Ok(()),
            Ok(Look::Sleep(seen)) => {
                let limit = Duration::from_nanos(limit_ns - waited_ns);
                let sleep = if wait.next { NEXT_SLEEP } else { SLEEP };
                self.rest(record, seen, sleep.min(limit), wait)
            }
            Err(error) => {
                // L3: what was granted meanwhile is taken.
                if session.own_record(record)?.end_wait() {
                    wait.is_granted = true;
                    return Ok(());
                }
                Err(error)
            }
        }
    }

    /// Sleeps between two operations, then goes on with the one that was running. A snapshot at which nothing has been read yet
    /// is given back meanwhile: it would hold back what those in front write.
    fn rest(
        &mut self,
        record: BlockRef,
        seen: u32,
        sleep: Duration,
        wait: &mut RowWait,
    ) -> Result<(), TxnError> {
        let has_read = self.has_read;
        let session = running(&mut self.session)?;
        if self.snapshot.is_some() && !has_read && session.buffers.reads.is_empty() {
            session.participant.slot().clear_snapshot();
            self.snapshot = None;
        }
        session.sleep(record, seen, sleep, wait)?;
        if self.options.isolation == Isolation::Snapshot {
            self.read_ts()?; // A1
        }
        Ok(())
    }

    #[cfg(test)]
    fn test_record(&self, offset: u64) -> &TxnRecord {
        self.session.as_ref().unwrap().arena().resolve(crate::shm::RelPtr::new(offset)).unwrap()
    }

    /// The record of a transaction that has written.
    #[cfg(test)]
    pub(crate) fn record_offset(&self) -> u64 {
        self.own_record()
    }

    /// Queues for the row that `holder` has written, before everybody else, and never looks again.
    #[cfg(test)]
    pub(crate) fn wait_in_vain(&self, holder: &Self) {
        let row = holder.session.as_ref().unwrap().buffers.owned.first().unwrap();
        self.session.as_ref().unwrap().participant.rest();
        self.test_record(self.own_record()).begin_wait(row, 0, 1);
        holder.test_record(holder.own_record()).announce_waiter();
    }

    /// Does the transaction of that record queue for the row that this one has written?
    #[cfg(test)]
    pub(crate) fn is_waiting(&self, record: u64) -> bool {
        let row = self.session.as_ref().unwrap().buffers.owned.first();
        self.has_waiters() && self.test_record(record).waits_for() == row
    }

    /// Marks the row that this transaction has written as granted to that record, without handing it over.
    #[cfg(test)]
    pub(crate) fn grant_in_vain(&self, record: u64) -> bool {
        let row = self.session.as_ref().unwrap().buffers.owned.first().unwrap();
        self.test_record(record).grant(row)
    }

    /// The wait is over, one way or the other.
    pub(super) fn end_wait(&mut self, wait: &mut RowWait) -> Result<(), TxnError> {
        let (Some(record), Some(session)) = (self.record, self.session.as_deref_mut()) else { return Ok(()) };
        let RowWait { row, is_granted, .. } = std::mem::take(wait);
        if row == 0 {
            return Ok(());
        }
        session.hot.polite = 0;
        if session.own_record(record)?.end_wait() || is_granted {
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

impl Session {
    fn own_record(&self, record: BlockRef) -> Result<&TxnRecord, TxnError> {
        Ok(self.arena().resolve(record.pointer())?)
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
        let was_granted = own.begin_wait(row_offset, seniority, since_ns);
        let owner = guard.protect(&row.owner);
        if owner == record.offset {
            return Ok(Look::Free);
        }
        let is_free = owner == 0 || {
            let other: &TxnRecord = guard.resolve(owner)?;
            other.announce_waiter();
            fence(Ordering::SeqCst);
            other.state().is_decided() || row.owner.load(Ordering::SeqCst) != owner
        };
        if is_free {
            let is_kept = self.hot.is_polite(row_offset) && row.is_kept(monotonic_ns());
            return Ok(if is_kept { Look::Sleep(seen) } else { Look::Free }); // L5
        }
        if own.state() != RecordState::Active {
            return Err(TxnError::ForcedAbort);
        }
        // L3: whoever had granted us the row before has found that `other` was quicker, or will.
        own.wait_on(was_granted);
        if again && self.abort_idle(&guard, guard.resolve(owner)?)? {
            return Ok(Look::Free);
        }
        if closes_cycle(&guard, record.offset, seniority, owner) {
            return Err(TxnError::Deadlock { table: table.schema().name().to_owned() });
        }
        Ok(Look::Sleep(seen))
    }

    /// Aborts a transaction that is not going on; says whether it is decided now.
    fn abort_idle(&self, guard: &Guard<'_>, other: &TxnRecord) -> Result<bool, TxnError> {
        let now_ns = monotonic_ns();
        let idle_after_ns = match other.state() {
            RecordState::Active => self.store.stall.idle_after_ns,
            _ => self.store.stall.abort_after_ns,
        };
        let (slot, incarnation) = other.owner();
        if other.idle_ns(now_ns) > idle_after_ns
            || guard.participant().registry().is_unresponsive_owner(OwnerId { slot, incarnation }, now_ns)?
        {
            other.abort();
        }
        Ok(other.state().is_decided())
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
        let own: &TxnRecord = self.participant.arena().resolve(record.pointer())?;
        // Called after `seen` was read: the word has changed, or is about to.
        if !own.is_called() {
            own.sleep(seen, sleep);
        }
        let was_called = own.answer();
        if was_called {
            await_grant(own);
        }
        let is_next = was_called || own.turn() != seen;
        wait.next |= is_next;
        // L5: if nobody has asked us to come.
        self.hot.polite = if is_next { 0 } else { wait.row };
        own.touch(coarse_ns());
        self.participant.enter();
        Ok(())
    }
}

/// Stays on the processor until the row is granted, for a while: whoever has called us is about to look.
fn await_grant(own: &TxnRecord) {
    let begin = monotonic_ns();
    loop {
        if !own.is_ready() {
            return;
        }
        let waited_ns = monotonic_ns() - begin;
        if waited_ns > READY_NS {
            own.retract();
            return;
        }
        if waited_ns > READY_SPIN_NS {
            // The holder may be waiting for this very processor.
            std::thread::yield_now();
        } else {
            (0..8).for_each(|_| spin_loop());
        }
    }
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
