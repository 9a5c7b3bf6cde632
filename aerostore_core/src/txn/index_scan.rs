//! Reading rows by a range of an index, in the order of its keys.
//!
//! Rules       an entry is a hint (K1 to K5 of `secondary`): of each row it is the version that the transaction sees that is looked
//!             at, and it comes at the entry that has this version's key, which is one. An index is used by snapshots from
//!             its `valid_from` on. What a serializable transaction has walked over joins its read set, no more: a walk that
//!             was broken off ends with the key at which that happened.
//! Cost        entries come by the block; the rows of some, then their newest versions, are fetched before the first is looked
//!             at. Every so many entries the operation ends, and the next one goes on behind the last.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::index::{Batch, Cursor, Direction, key};
use crate::mvcc::{IndexRef, IndexRoots, RowHeader, visible_at};
use crate::row::RowView;
use crate::sync::Ordering;
use crate::txn::read_set::{RangeRead, RowPredicate};
use crate::txn::secondary::tree;
use crate::txn::transaction::{running, still_has};
use crate::txn::{Session, TableRef, Transaction, TxnError};
use std::ops::{Bound, ControlFlow};

/// Entries whose rows are fetched ahead.
const AHEAD: usize = 16;
/// Entries of one operation.
const OPERATION_ENTRIES: usize = 2048;

/// The keys of an index from `low` to below `high`.
#[derive(Clone, Copy, Debug)]
pub struct KeySpan<'a> {
    /// The least.
    pub low: &'a [u8],
    /// The least above them.
    pub high: &'a [u8],
}

impl<'a> KeySpan<'a> {
    fn from(self) -> Bound<&'a [u8]> {
        Bound::Included(self.low)
    }

    fn to(self) -> Bound<&'a [u8]> {
        Bound::Excluded(self.high)
    }
}

/// A walk over a range of an index.
pub struct RangeScan<'a> {
    /// The column whose index it is.
    pub column: usize,
    /// The keys.
    pub span: KeySpan<'a>,
    /// From the last key to the first.
    pub is_descending: bool,
    /// Of which rows note is taken; all, without one.
    pub predicate: Option<RowPredicate>,
    /// Which rows to look at, by their offset; all, without one.
    pub among: Option<&'a dyn Fn(u64) -> bool>,
    /// How many rows will be looked at, as far as can be told.
    pub expected: u64,
}

impl Transaction {
    /// Calls `f` with every row that this transaction sees with a key in a range of an index, in the order of the keys, rows of
    /// one key in the order of their offsets, or all of it backwards, until it breaks.
    ///
    /// A serializable transaction that writes afterwards commits only if the rows that satisfy the predicate, as far as the
    /// walk came, are still the same.
    ///
    /// # Errors
    /// `Serialization` when there is no such index for this snapshot; `Ended`.
    pub fn scan_range(
        &mut self,
        table: &TableRef,
        scan: &RangeScan<'_>,
        f: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), TxnError> {
        let (snapshot, own, remembers) = self.begin_walk()?;
        let session = running(&mut self.session)?;
        if remembers {
            // Before the first row is shown: the walk, or `f`, may fail after that.
            let read = RangeRead::new(table, scan.column, scan.span, scan.predicate.clone());
            session.buffers.reads.ranges.push(read);
        }
        let mut walk = RangeWalk { session, table, scan, snapshot, own, key: Vec::new(), seen: 0 };
        let end = walk.run(f)?;
        if let (Some(end), Some(read), true) = (end, session.buffers.reads.ranges.last_mut(), remembers) {
            read.end_at(&end, scan.is_descending);
        }
        Ok(())
    }

    /// Calls `f` with the row of every entry in a range of an index, whatever is seen of it.
    ///
    /// # Errors
    /// As for [`Transaction::scan_range`].
    pub fn range_rows(
        &mut self,
        table: &TableRef,
        column: usize,
        span: KeySpan<'_>,
        f: &mut dyn FnMut(u64),
    ) -> Result<(), TxnError> {
        self.check_running()?;
        let snapshot = self.read_ts()?;
        let participant = &running(&mut self.session)?.participant;
        let mut place = Place { column, snapshot, span, direction: Direction::Forward, last: None };
        loop {
            let guard = participant.pin();
            let mut cursor = place.cursor(&guard, table)?;
            let mut count = 0;
            let last = loop {
                let Some(batch) = cursor.next_batch()? else { return still_has(participant, snapshot) };
                (0..batch.len()).for_each(|at| f(batch.row(at)));
                count += batch.len();
                if count >= OPERATION_ENTRIES {
                    break last_of(&batch);
                }
            };
            place.last = last;
        }
    }
}

/// The index on a column that a reader at `snapshot` can use.
pub(super) fn readable_index<'g>(
    guard: &Guard<'g>,
    table: &TableRef,
    column: usize,
    snapshot: u64,
) -> Result<Option<IndexRef<'g>>, TxnError> {
    for index in IndexRoots::of(guard, table.root(guard)?) {
        let index = index?;
        if index.root.word().is_complete()
            && index.root.place().is_some_and(|place| place.column() == column)
            && index.root.valid_from.load(Ordering::Acquire) <= snapshot
        {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Where a walk is, between operations.
pub(super) struct Place<'a> {
    pub(super) column: usize,
    pub(super) snapshot: u64,
    pub(super) span: KeySpan<'a>,
    pub(super) direction: Direction,
    /// The last entry passed.
    pub(super) last: Option<(Vec<u8>, u64)>,
}

impl Place<'_> {
    /// The rest of the walk.
    pub(super) fn cursor<'g>(
        &'g self,
        guard: &'g Guard<'_>,
        table: &TableRef,
    ) -> Result<Cursor<'g>, TxnError> {
        let gone = || TxnError::Serialization {
            reason: "an index that was to be read is gone",
            table: table.schema().name().to_owned(),
        };
        let index = readable_index(guard, table, self.column, self.snapshot)?.ok_or_else(gone)?;
        let end = if self.direction == Direction::Forward { self.span.to() } else { self.span.from() };
        Ok(match &self.last {
            None => tree(index).seek(guard, self.span.from(), self.span.to(), self.direction),
            Some((key, row)) => tree(index).resume(guard, (key, *row), end, self.direction),
        })
    }
}

/// The last entry of a batch, to go on behind.
pub(super) fn last_of(batch: &Batch<'_>) -> Option<(Vec<u8>, u64)> {
    let entry = batch.entry(batch.len().checked_sub(1)?);
    let mut key = Vec::new();
    entry.key_into(&mut key);
    Some((key, entry.row()))
}

struct RangeWalk<'a> {
    session: &'a Session,
    table: &'a TableRef,
    scan: &'a RangeScan<'a>,
    snapshot: u64,
    own: u64,
    /// Bytes of the key that was looked at last.
    key: Vec<u8>,
    /// Rows given so far.
    seen: u64,
}

impl RangeWalk<'_> {
    /// Walks until the end, or until `f` breaks; then the key where that was.
    fn run(
        &mut self,
        f: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Vec<u8>>, TxnError> {
        let (session, scan) = (self.session, self.scan);
        let direction = if scan.is_descending { Direction::Backward } else { Direction::Forward };
        let mut place =
            Place { column: scan.column, snapshot: self.snapshot, span: scan.span, direction, last: None };
        loop {
            let guard = session.participant.pin();
            let mut cursor = place.cursor(&guard, self.table)?;
            let mut count = 0;
            let last = loop {
                let Some(batch) = cursor.next_batch()? else {
                    // Rows that were removed after a revocation have been passed over.
                    still_has(&session.participant, self.snapshot)?;
                    return Ok(None);
                };
                if self.batch(&guard, &batch, f)?.is_break() {
                    return Ok(Some(std::mem::take(&mut self.key)));
                }
                count += batch.len();
                if count >= OPERATION_ENTRIES {
                    break last_of(&batch);
                }
            };
            place.last = last;
        }
    }

    fn batch(
        &mut self,
        guard: &Guard<'_>,
        batch: &Batch<'_>,
        f: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, TxnError> {
        let arena = guard.arena();
        let mut at = 0;
        while at < batch.len() {
            // As many as the caller is likely to look at.
            let wanted = usize::try_from(self.scan.expected.saturating_sub(self.seen)).unwrap_or(AHEAD);
            let end = batch.len().min(at + wanted.clamp(1, AHEAD));
            let rows = (at..end).filter(|entry| self.scan.among.is_none_or(|among| among(batch.row(*entry))));
            let mut ahead = [0; AHEAD];
            let mut count = 0;
            for entry in rows {
                arena.prefetch(batch.row(entry));
                ahead[count] = entry;
                count += 1;
            }
            for &entry in &ahead[..count] {
                let row: &RowHeader = guard.resolve(batch.row(entry))?;
                arena.prefetch(row.head.load(Ordering::Relaxed));
            }
            for &entry in &ahead[..count] {
                if self.entry(guard, batch, entry, f)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            at = end;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn entry(
        &mut self,
        guard: &Guard<'_>,
        batch: &Batch<'_>,
        at: usize,
        f: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, TxnError> {
        let store = &self.session.store;
        let row: &RowHeader = guard.resolve(batch.row(at))?;
        let seen = visible_at(guard, store.clock(), row, self.snapshot, self.own, store.stall)?;
        still_has(&self.session.participant, self.snapshot)?;
        let Some((version, _)) = seen.filter(|(version, _)| !version.is_tombstone()) else {
            return Ok(ControlFlow::Continue(()));
        };
        let view = self.table.view(version.payload())?;
        self.key.clear();
        key::key_bytes(view.get(self.scan.column), &mut self.key);
        if !batch.entry(at).key_is(&self.key) {
            return Ok(ControlFlow::Continue(()));
        }
        self.seen += 1;
        Ok(f(view))
    }
}
