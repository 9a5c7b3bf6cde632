//! Rows that others wait for: who has them next.
//!
//! Turns   A session that is back for the row at once after releasing it keeps it for `TURN_NS`, without waking anybody. Then it
//!         calls the oldest waiter, goes on, and hands the row over when that one is seen to run: the row does not stand still
//!         while a process wakes up, and one that has been stopped holds nobody up; the next ones are called after it. When
//!         none answers for `OVERTIME_NS`, the row is handed over to the oldest that has shown signs of life. So a hot row
//!         moves from process to process about once in a turn rather than at each commit, and everybody has its turn. A session
//!         that is not back at once wakes the next at each release, and hands the row over to one that has waited for long.
//! Rules   L5: a turn is a hint in the row, until when it is kept, and ends by itself. Who queues, and has not been called or
//!         woken, leaves a row alone that is kept, and does not wait for it on its processor; if the session that keeps it does
//!         not come back, that costs one sleep. L1 to L4: see `lock`.
//! Source  turns follow the eventual fairness of `WebKit`'s `ParkingLot` (Pizlo, 2016).

#![forbid(unsafe_code)]

use crate::epoch::{Guard, SlotId};
use crate::mvcc::{RowHeader, TxnRecord};
use crate::shm::BlockRef;
use crate::sync::{Ordering, fence};
use crate::sys::{coarse_ns, monotonic_ns};
use crate::txn::{Session, TxnError};

/// How long a session may keep coming back for a row that others wait for.
const TURN_NS: u64 = 1_000_000;
/// A session that wants a row again within this time has come back for it at once.
const RETURN_NS: u64 = 50_000;
/// Releases of a row between two looks at the clock, when they come quickly.
const SKIP: u32 = 3;
/// How quickly: as long as a turn is not exceeded by much.
const SKIP_NS: u64 = 40_000;
/// How long one that has been called may take before another is called too.
const CALL_NS: u64 = 500_000;
/// How long a turn may be exceeded while nobody answers.
const OVERTIME_NS: u64 = 4_000_000;
/// How long one may wait for a row whose holders are not back at once, before the row is handed over to it.
const BARGED_NS: u64 = 2_000_000;
/// How long one may wait for its turn before the row is handed over to it without an answer: others have been quicker.
const OVERDUE_NS: u64 = 100_000_000;
/// A waiter that has shown no sign of life for so long is not handed a row without an answer.
const SILENCE_NS: u64 = 50_000_000;
/// Waiters called at a time that are looked at for an answer.
const CALLED_MAX: usize = 4;
/// How long a row counts as hot after it was last waited for.
const HOT_NS: u64 = 1_000_000_000;
/// Hot rows a session remembers.
const HOT_ROWS: usize = 8;

/// What a session remembers of rows that many want.
#[derive(Default)]
pub(super) struct HotRows {
    rows: Vec<HotRow>,
    turn: Option<Turn>,
    /// The row that this session leaves alone while it is kept (L5), or 0.
    pub(super) polite: u64,
}

struct HotRow {
    row: u64,
    /// Its table and the hash of its key, once it has been looked for.
    key: Option<(u32, u64)>,
    /// Until when it counts as hot.
    until_ns: u64,
    /// When this session handed it over, or 0.
    left_ns: u64,
    /// Whether this session is usually back for it at once.
    returns: bool,
}

/// A row that this session has released while others waited.
struct Turn {
    row: u64,
    phase: Phase,
}

enum Phase {
    /// The next one has been woken.
    Offered { since_ns: u64 },
    /// It is kept for a while.
    Kept(Kept),
    /// The turn is over, and the next one has been called.
    Over(Overtime),
}

struct Kept {
    until_ns: u64,
    /// When the clock was looked at last.
    looked_ns: u64,
    /// Releases before it is looked at again.
    skip: u32,
}

struct Overtime {
    since_ns: u64,
    /// When to call another.
    call_ns: u64,
    called: [Option<SlotId>; CALLED_MAX],
    /// Whether there are others besides the next one.
    has_more: bool,
}

impl HotRows {
    #[inline]
    pub(super) fn contains(&self, row: u64) -> bool {
        !self.rows.is_empty() && {
            let now = coarse_ns();
            self.rows.iter().any(|hot| hot.row == row && hot.until_ns > now)
        }
    }

    /// Is there a hot row of this table whose key has this hash?
    #[inline]
    pub(super) fn contains_hash(&self, table: u32, hash: u64) -> bool {
        !self.rows.is_empty() && {
            let now = coarse_ns();
            self.rows.iter().any(|hot| hot.key == Some((table, hash)) && hot.until_ns > now)
        }
    }

    /// The row has been found by the hash of its key.
    pub(super) fn note_hash(&mut self, row: u64, table: u32, hash: u64) {
        if let Some(hot) = self.rows.iter_mut().find(|hot| hot.row == row) {
            hot.key = Some((table, hash));
        }
    }

    pub(super) fn add(&mut self, row: u64) {
        if row != 0 {
            self.entry(row);
        }
    }

    fn entry(&mut self, row: u64) -> &mut HotRow {
        let now = coarse_ns();
        self.rows.retain(|hot| hot.row == row || hot.until_ns > now);
        let at = self.rows.iter().position(|hot| hot.row == row).unwrap_or_else(|| {
            if self.rows.len() == HOT_ROWS {
                self.rows.remove(0);
            }
            self.rows.push(HotRow { row, key: None, until_ns: 0, left_ns: 0, returns: false });
            self.rows.len() - 1
        });
        let hot = &mut self.rows[at];
        hot.until_ns = now + HOT_NS;
        hot
    }

    /// The row has cost a transaction `error`.
    #[cold]
    pub(super) fn blame(&mut self, row: u64, error: TxnError) -> TxnError {
        self.add(row);
        error
    }

    /// A transaction of this session waits for the row.
    pub(super) fn wants(&mut self, row: u64) {
        let hot = self.entry(row);
        if hot.left_ns != 0 {
            hot.returns = monotonic_ns() - hot.left_ns < RETURN_NS;
            hot.left_ns = 0;
        }
    }

    /// Has the session to leave the row alone while it is kept?
    #[inline]
    pub(super) fn is_polite(&self, row: u64) -> bool {
        self.polite == row
    }

    #[inline]
    pub(super) fn in_turn(&self) -> bool {
        self.turn.is_some()
    }
}

#[cfg(test)]
impl crate::txn::Transaction {
    /// Aborts this one, which has written a row, and grants that to the record that waits for it, but stops before it makes that
    /// the owner. The row is kept. Says which it is.
    pub(crate) fn hand_over_by_half(&self, record: u64) -> u64 {
        let session = self.session.as_ref().unwrap();
        let row = session.buffers.owned.first().unwrap();
        let own: &TxnRecord = session.arena().resolve(crate::shm::RelPtr::new(self.record_offset())).unwrap();
        self.keep(row);
        own.abort();
        assert!(self.grant_in_vain(record));
        row
    }

    /// Keeps the row for its turn.
    pub(crate) fn keep(&self, row: u64) {
        let session = self.session.as_ref().unwrap();
        let row: &RowHeader = session.arena().resolve(crate::shm::RelPtr::new(row)).unwrap();
        row.keep_until(monotonic_ns() + 4 * OVERTIME_NS);
    }

    /// Makes the waiter the owner that was granted the row: the second step.
    pub(crate) fn hand_over_the_rest(&self, row: u64, record: u64) -> u64 {
        let session = self.session.as_ref().unwrap();
        let guard = session.participant.pin();
        pass(&guard, self.record_offset(), row, record).unwrap();
        guard.resolve::<RowHeader>(row).unwrap().owner.load(Ordering::SeqCst)
    }

    /// Lets the turn of this one, which has written a row, be over, and `waiter` wait for the row, called and running.
    pub(crate) fn owe_row_to(&mut self, waiter: &Self) {
        let slot = SlotId(waiter.owner().unwrap().slot);
        waiter.wait_in_vain(self);
        let session = self.session.as_mut().unwrap();
        let row = session.buffers.owned.first().unwrap();
        let own: &TxnRecord =
            session.arena().resolve(crate::shm::RelPtr::new(waiter.record_offset())).unwrap();
        assert!(own.call(row) && own.answer());
        let mut called = [None; CALLED_MAX];
        called[0] = Some(slot);
        let overtime = Overtime { since_ns: monotonic_ns(), call_ns: u64::MAX, called, has_more: false };
        session.hot.turn = Some(Turn { row, phase: Phase::Over(overtime) });
    }
}

struct Waiter {
    slot: SlotId,
    row: u64,
    record: u64,
    since_ns: u64,
}

/// A row to be let go of by the decided record `from`, and those who wait for it, the oldest first.
struct Queue<'a, 'g> {
    guard: &'a Guard<'g>,
    from: u64,
    row: u64,
    waiters: &'a [&'a Waiter],
    now_ns: u64,
}

impl Session {
    /// The record is decided: rows that others wait for are kept, or passed on, or their next one is called.
    #[cold]
    pub(super) fn hand_over(&mut self, record: BlockRef) -> Result<(), TxnError> {
        let Self { participant, buffers, hot, .. } = self;
        let guard = participant.pin();
        let from = record.offset;
        let is_alone = match &hot.turn {
            Some(turn) if buffers.owned.get(turn.row).is_some() => {
                buffers.owned.is_one() || !guard.resolve::<TxnRecord>(from)?.has_waiters()
            }
            _ => false,
        };
        if is_alone
            && let Some(Turn { phase: Phase::Kept(kept), .. }) = &mut hot.turn
            && kept.skip > 0
        {
            kept.skip -= 1;
            return Ok(());
        }
        let now_ns = monotonic_ns();
        let mut turn = hot.turn.take();
        if is_alone && let Some(kept) = &mut turn {
            let goes_on = match &mut kept.phase {
                Phase::Offered { .. } => false,
                Phase::Kept(kept) => kept.goes_on(now_ns),
                Phase::Over(overtime) => {
                    if overtime.grant_to_ready(&guard, from, kept.row)? {
                        hot.leave(kept.row, now_ns);
                        return Ok(());
                    }
                    now_ns < overtime.call_ns
                }
            };
            if goes_on {
                hot.turn = turn;
                return Ok(());
            }
        }
        let mut waiters = waiters(&guard, from)?;
        waiters.sort_by_key(|waiter| (waiter.row, waiter.since_ns));
        for waiters in waiters.chunk_by(|a, b| a.row == b.row) {
            let row = waiters[0].row;
            let is_ours = buffers.owned.get(row).is_some();
            let before = turn.take_if(|turn| turn.row == row).map(|turn| turn.phase);
            if !is_ours && before.is_none() {
                continue;
            }
            let waiters: Vec<&Waiter> = waiters.iter().collect();
            let queue = Queue { guard: &guard, from, row, waiters: &waiters, now_ns };
            // What others wait for, this session does not rush at either.
            let known = hot.entry(row);
            let after = if is_ours { queue.release(known, before)? } else { None };
            match after {
                Some(phase) => hot.turn = Some(Turn { row, phase }),
                None if is_ours => hot.leave(row, now_ns),
                None => {
                    known.returns = false;
                    queue.offer()?;
                }
            }
        }
        Ok(())
    }

    /// A row was let go of in the middle of a transaction.
    pub(super) fn wake_next(&self, record: u64, rows: &[u64]) -> Result<(), TxnError> {
        let guard = self.participant.pin();
        fence(Ordering::SeqCst);
        if !guard.resolve::<TxnRecord>(record)?.has_waiters() {
            return Ok(());
        }
        let mut waiters = waiters(&guard, record)?;
        waiters.sort_by_key(|waiter| waiter.since_ns);
        for row in rows {
            offer(&guard, *row, waiters.iter().filter(|waiter| waiter.row == *row))?;
        }
        Ok(())
    }
}

impl HotRows {
    /// The row has been handed over.
    fn leave(&mut self, row: u64, now_ns: u64) {
        self.entry(row).left_ns = now_ns;
        self.polite = row;
    }
}

impl Kept {
    fn goes_on(&mut self, now_ns: u64) -> bool {
        self.skip = if now_ns - self.looked_ns < SKIP_NS { SKIP } else { 0 };
        self.looked_ns = now_ns;
        now_ns < self.until_ns
    }
}

impl Overtime {
    /// Hands the row over to one that has been called and has answered.
    fn grant_to_ready(&self, guard: &Guard<'_>, from: u64, row: u64) -> Result<bool, TxnError> {
        for slot in self.called.iter().flatten() {
            let offset = guard.protect(&guard.participant().registry().slot(*slot)?.record);
            if offset == 0 || offset == from {
                continue;
            }
            let record: &TxnRecord = guard.resolve(offset)?;
            if self.has_more && record.is_ready() {
                record.announce_waiter(); // L1
            }
            if record.grant_if_ready(row) {
                pass(guard, from, row, offset)?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Queue<'_, '_> {
    fn keep_until(&self, until_ns: u64) -> Result<(), TxnError> {
        self.guard.resolve::<RowHeader>(self.row)?.keep_until(until_ns);
        Ok(())
    }

    /// Lets go of the row, or keeps it: what this session's turn is from then on; `None` when it has been handed over.
    fn release(&self, known: &mut HotRow, before: Option<Phase>) -> Result<Option<Phase>, TxnError> {
        match before {
            Some(Phase::Kept(kept)) if self.now_ns < kept.until_ns => Ok(Some(Phase::Kept(kept))),
            Some(Phase::Kept(kept)) if self.now_ns - kept.until_ns > TURN_NS => {
                // It has been away.
                known.returns = false;
                self.begin(known)
            }
            Some(Phase::Kept(_)) => {
                let (since_ns, call_ns) = (self.now_ns, self.now_ns);
                self.keep_until(since_ns + OVERTIME_NS)?;
                self.go_on(Overtime { since_ns, call_ns, called: [None; CALLED_MAX], has_more: false })
            }
            Some(Phase::Over(overtime)) => self.go_on(overtime),
            Some(Phase::Offered { since_ns }) => {
                known.returns = self.now_ns - since_ns < RETURN_NS;
                self.begin(known)
            }
            None => self.begin(known),
        }
    }

    /// The first release of the row.
    fn begin(&self, known: &HotRow) -> Result<Option<Phase>, TxnError> {
        if known.returns {
            let until_ns = self.now_ns + TURN_NS;
            self.keep_until(until_ns)?;
            return Ok(Some(Phase::Kept(Kept { until_ns, looked_ns: self.now_ns, skip: 0 })));
        }
        if self.now_ns.saturating_sub(self.waiters[0].since_ns) > BARGED_NS && self.grant_to_living()? {
            return Ok(None);
        }
        self.offer()?;
        Ok(Some(Phase::Offered { since_ns: self.now_ns }))
    }

    /// The turn is over: calls, and hands over when that takes too long.
    fn go_on(&self, mut overtime: Overtime) -> Result<Option<Phase>, TxnError> {
        if overtime.grant_to_ready(self.guard, self.from, self.row)? {
            return Ok(None);
        }
        let is_late = self.now_ns - overtime.since_ns > OVERTIME_NS
            || self.now_ns.saturating_sub(self.waiters[0].since_ns) > OVERDUE_NS;
        if is_late && self.grant_to_living()? {
            return Ok(None);
        }
        if self.now_ns < overtime.call_ns {
            return Ok(Some(Phase::Over(overtime)));
        }
        overtime.call_ns = self.now_ns + CALL_NS;
        overtime.has_more = self.waiters.len() > 1;
        for waiter in self.waiters {
            if self.guard.resolve::<TxnRecord>(waiter.record)?.call(self.row) {
                if !overtime.called.contains(&Some(waiter.slot)) {
                    overtime.called.rotate_right(1);
                    overtime.called[0] = Some(waiter.slot);
                }
                break;
            }
        }
        Ok(Some(Phase::Over(overtime)))
    }

    /// Wakes the oldest, who may have the row if it is quick.
    fn offer(&self) -> Result<(), TxnError> {
        offer(self.guard, self.row, self.waiters.iter().copied())
    }

    /// Hands the row over to the oldest that has shown signs of life.
    fn grant_to_living(&self) -> Result<bool, TxnError> {
        for waiter in self.waiters {
            let record: &TxnRecord = self.guard.resolve(waiter.record)?;
            if record.idle_ns(self.now_ns) >= SILENCE_NS {
                continue;
            }
            if self.waiters.len() > 1 {
                record.announce_waiter(); // L1
            }
            if record.grant(self.row) {
                pass(self.guard, self.from, self.row, waiter.record)?;
                record.wake();
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Wakes the first that still waits for the row, and has told it before of those after it (L1).
fn offer<'a>(guard: &Guard<'_>, row: u64, waiters: impl Iterator<Item = &'a Waiter>) -> Result<(), TxnError> {
    let mut waiters = waiters.peekable();
    while let Some(waiter) = waiters.next() {
        let record: &TxnRecord = guard.resolve(waiter.record)?;
        if waiters.peek().is_some() {
            record.announce_waiter();
        }
        if record.still_waits_for(row) {
            record.wake();
            break;
        }
    }
    Ok(())
}

/// Hands the row over from the decided record `from` to `to`, to which it has been granted (L3).
fn pass(guard: &Guard<'_>, from: u64, row: u64, to: u64) -> Result<(), TxnError> {
    let row: &RowHeader = guard.resolve(row)?;
    row.keep_until(monotonic_ns() + TURN_NS);
    // Fails when somebody has taken it from the decided record: then the waiter goes on waiting.
    let _ = row.owner.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    Ok(())
}

/// Everybody who waits for some row.
fn waiters(guard: &Guard<'_>, own: u64) -> Result<Vec<Waiter>, TxnError> {
    let mut waiters = Vec::new();
    let registry = guard.participant().registry();
    registry.for_each_slot(|slot, words| {
        let offset = guard.protect(&words.record);
        if offset == 0 || offset == own {
            return;
        }
        let Ok(record) = guard.resolve::<TxnRecord>(offset) else { return };
        if let Some(row) = record.waits_for() {
            waiters.push(Waiter { slot, row, record: offset, since_ns: record.waits_since_ns() });
        }
    })?;
    Ok(waiters)
}
