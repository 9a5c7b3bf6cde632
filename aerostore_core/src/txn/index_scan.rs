//! Reading rows by a range of an index, in the order of its keys.
//!
//! Rules       an entry is a hint (K1 to K5 of `secondary`): of each row it is the version that the transaction sees that is looked
//!             at, and it comes at the entry that has this version's key, which is one. An index is used by snapshots from
//!             its `valid_from` on. An entry of a hash may be that of another value, so the value that is seen is compared,
//!             too. What a serializable transaction has walked over joins its read set, no more: a walk that
//!             was broken off ends with the key at which that happened.
//!             What is shown was found, and everything before it, while the snapshot was the session's (G5): asked once for each
//!             group of entries, after their heads have been loaded and before the first row is shown.
//! Cost        entries come by the block. While the rows of one group are shown, the newest versions of the next one are on their
//!             way from memory, and the rows of the one after that. Every so many entries the operation ends, and the next one
//!             goes on behind the last.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::index::{Batch, Direction, IndexEntry, key};
use crate::mvcc::{Heads, IndexRef, IndexRoots, RowHeader, VersionRef};
use crate::row::{Copies, RowView, StoredImage, VisitRows};
use crate::sync::Ordering;
use crate::txn::read_set::{RangeRead, RowPredicate};
use crate::txn::scan::look_below;
use crate::txn::secondary::{KeptCursor, tree};
use crate::txn::transaction::{running, still_has};
use crate::txn::{Session, TableRef, Transaction, TxnError};
use std::cell::Cell;
use std::ops::{Bound, ControlFlow};

/// Entries whose rows are fetched together.
const GROUP: usize = 8;
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
    /// The only key in it, if there is one.
    fn single(self) -> Option<&'a [u8]> {
        self.high.split_last().is_some_and(|(last, key)| *last == 0 && key == self.low).then_some(self.low)
    }

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
        f: &mut VisitRows<'_>,
    ) -> Result<(), TxnError> {
        let (snapshot, own, remembers) = self.begin_walk()?;
        let session = running(&mut self.session)?;
        if remembers {
            // Before the first row is shown: the walk, or `f`, may fail after that.
            let read = RangeRead::new(table, scan.column, scan.span, scan.predicate.clone());
            session.buffers.reads.ranges.push(read);
        }
        let end = RangeWalk { session, table, scan, snapshot, own }.run(f)?;
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
        let mut place = Place::new(column, snapshot, span, Direction::Forward);
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
    for index in IndexRoots::of(guard, table.in_use(guard)?) {
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
    /// Whether the index that the walk began in is a hash.
    is_hash: Cell<Option<bool>>,
}

impl<'a> Place<'a> {
    /// At the beginning of a walk.
    pub(super) fn new(column: usize, snapshot: u64, span: KeySpan<'a>, direction: Direction) -> Self {
        Self { column, snapshot, span, direction, last: None, is_hash: Cell::default() }
    }

    /// The rest of the walk.
    pub(super) fn cursor<'g>(
        &'g self,
        guard: &'g Guard<'_>,
        table: &TableRef,
    ) -> Result<KeptCursor<'g>, TxnError> {
        let gone = || TxnError::Serialization {
            reason: "an index that was to be read is gone",
            table: table.schema().name().to_owned(),
        };
        let index = readable_index(guard, table, self.column, self.snapshot)?.ok_or_else(gone)?;
        let is_hash = index.root.spec().is_hash;
        if is_hash && self.span.single().is_none() {
            // What was to be read was ordered.
            return Err(gone());
        }
        if self.is_hash.replace(Some(is_hash)).is_some_and(|began| began != is_hash) {
            // Another has taken its place, in which the last entry is none.
            return Err(gone());
        }
        if let Some(hash) = key::hashed(index.root.spec(), self.span.low) {
            let behind = self.last.as_ref().map(|(_, row)| *row);
            return Ok(KeptCursor::new(index, tree(index).seek_hash(guard, hash, behind)));
        }
        let end = if self.direction == Direction::Forward { self.span.to() } else { self.span.from() };
        let cursor = match &self.last {
            None => tree(index).seek(guard, self.span.from(), self.span.to(), self.direction),
            Some((key, row)) => tree(index).resume(guard, (key, *row), end, self.direction),
        };
        Ok(KeptCursor::new(index, cursor))
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
}

/// Entries on their way: first their rows are fetched, then their newest versions.
struct Group<'g> {
    entries: [Option<IndexEntry<'g>>; GROUP],
    heads: [u64; GROUP],
    len: usize,
}

impl<'g> Group<'g> {
    const NONE: Self = Self { entries: [None; GROUP], heads: [0; GROUP], len: 0 };

    #[inline]
    fn push(&mut self, entry: IndexEntry<'g>) {
        self.entries[self.len] = Some(entry);
        self.len += 1;
    }

    #[inline]
    fn iter(&self) -> impl Iterator<Item = (IndexEntry<'g>, u64)> {
        let heads = self.heads.iter().copied();
        self.entries[..self.len].iter().zip(heads).filter_map(|(entry, head)| Some(((*entry)?, head)))
    }

    /// Loads the newest version of each row, which stays as long as the guard, and has it fetched.
    #[inline]
    fn load_heads(&mut self, guard: &Guard<'_>, payload_bytes: u64) -> Result<(), TxnError> {
        let Self { entries, heads, len } = self;
        guard.protect_all(|| -> Result<(), TxnError> {
            for (entry, head) in entries[..*len].iter().flatten().zip(heads.iter_mut()) {
                // Acquire: as in `Guard::protect`.
                *head = guard.resolve::<RowHeader>(entry.row())?.head.load(Ordering::Acquire);
            }
            Ok(())
        })?;
        heads[..*len].iter().for_each(|head| VersionRef::prefetch_payload(guard, *head, payload_bytes));
        Ok(())
    }

    /// The key of entry number `index`, which is there, in a walk over `span`.
    fn key_of(&self, index: usize, span: KeySpan<'_>) -> Vec<u8> {
        let mut key = Vec::new();
        match (span.single(), self.entries[index]) {
            (Some(single), _) => key.extend_from_slice(single),
            (None, Some(entry)) => entry.key_into(&mut key),
            (None, None) => {}
        }
        key
    }
}

/// The entries of an operation, as they come from the blocks.
struct Entries<'g> {
    cursor: KeptCursor<'g>,
    batch: Option<Batch<'g>>,
    at: usize,
    /// Entries of the batches before.
    passed: usize,
}

/// Why there are no more.
#[derive(Clone, Copy)]
enum End {
    /// The range has none.
    OfRange,
    /// The operation has lasted long enough.
    OfOperation,
}

impl<'g> Entries<'g> {
    fn new(cursor: KeptCursor<'g>) -> Self {
        Self { cursor, batch: None, at: 0, passed: 0 }
    }

    /// Puts up to `wanted` entries into a group, and has their rows fetched.
    #[inline]
    fn fill(
        &mut self,
        group: &mut Group<'g>,
        wanted: usize,
        scan: &RangeScan<'_>,
        guard: &Guard<'_>,
    ) -> Result<Option<End>, TxnError> {
        group.len = 0;
        while group.len < wanted {
            let Some(batch) = self.batch.filter(|batch| self.at < batch.len()) else {
                self.passed += self.batch.map_or(0, |batch| batch.len());
                if self.passed >= OPERATION_ENTRIES {
                    return Ok(Some(End::OfOperation));
                }
                let Some(next) = self.cursor.next_batch()? else { return Ok(Some(End::OfRange)) };
                (self.batch, self.at) = (Some(next), 0);
                continue;
            };
            let entry = batch.entry(self.at);
            self.at += 1;
            if scan.among.is_none_or(|among| among(entry.row())) {
                guard.arena().prefetch(entry.row());
                group.push(entry);
            }
        }
        Ok(None)
    }
}

impl RangeWalk<'_> {
    /// Walks until the end, or until `f` breaks; then the key where that was.
    fn run(&self, f: &mut VisitRows<'_>) -> Result<Option<Vec<u8>>, TxnError> {
        let (session, scan) = (self.session, self.scan);
        let direction = if scan.is_descending { Direction::Backward } else { Direction::Forward };
        let mut place = Place::new(scan.column, self.snapshot, scan.span, direction);
        let mut expected = scan.expected;
        loop {
            let guard = session.participant.pin();
            let mut entries = Entries::new(place.cursor(&guard, self.table)?);
            match self.operation(&guard, &mut entries, &mut expected, f)? {
                ControlFlow::Break(key) => return Ok(Some(key)),
                ControlFlow::Continue(End::OfRange) => {
                    // Rows that were removed after a revocation have been passed over.
                    still_has(&session.participant, self.snapshot)?;
                    return Ok(None);
                }
                ControlFlow::Continue(End::OfOperation) => {
                    let last = entries.batch.as_ref().and_then(last_of);
                    place.last = last;
                }
            }
        }
    }

    /// Shows what entries lead to, in groups, up to the key at which `f` breaks. `expected` is how many it should look at yet.
    fn operation<'g>(
        &self,
        guard: &'g Guard<'_>,
        entries: &mut Entries<'g>,
        expected: &mut u64,
        f: &mut VisitRows<'_>,
    ) -> Result<ControlFlow<Vec<u8>, End>, TxnError> {
        let payload_bytes = self.table.schema().fixed_bytes() as u64;
        // In turn: one is filled, one waits for its rows, one for its versions.
        let mut groups = [const { Group::NONE }; 3];
        let mut turn = 0;
        let copies = Copies::default();
        let mut rows = Vec::with_capacity(GROUP);
        let mut shown = [0; GROUP];
        let mut end = None;
        loop {
            let [filled, fetched, loaded] = [turn % 3, (turn + 2) % 3, (turn + 1) % 3];
            let is_idle = groups[fetched].len == 0 && groups[loaded].len == 0;
            // No more than is expected to be looked at; if that was too few, it was wrong.
            let wanted = usize::try_from(*expected).unwrap_or(GROUP).min(GROUP);
            let wanted = if wanted == 0 && is_idle { GROUP } else { wanted };
            match end {
                None => end = entries.fill(&mut groups[filled], wanted, self.scan, guard)?,
                Some(end) if is_idle => return Ok(ControlFlow::Continue(end)),
                Some(_) => groups[filled].len = 0,
            }
            *expected = expected.saturating_sub(groups[filled].len as u64);
            groups[fetched].load_heads(guard, payload_bytes)?;
            if groups[loaded].len > 0 {
                still_has(&self.session.participant, self.snapshot)?;
                self.look(guard, &groups[loaded], &copies, &mut rows, &mut shown)?;
                if !rows.is_empty()
                    && let ControlFlow::Break(place) = f(&rows)
                {
                    return Ok(ControlFlow::Break(groups[loaded].key_of(shown[place], self.scan.span)));
                }
            }
            turn += 1;
        }
    }

    /// What the snapshot sees of the rows of a group, where it has the key of the entry, and which entries those are.
    #[inline]
    fn look<'s, 'g: 's>(
        &'s self,
        guard: &Guard<'g>,
        group: &Group<'_>,
        copies: &'s Copies,
        rows: &mut Vec<RowView<'s>>,
        shown: &mut [usize; GROUP],
    ) -> Result<(), TxnError> {
        rows.clear();
        let heads = Heads::new(guard, self.snapshot, self.table.columns());
        let single = self.scan.span.single();
        for (number, (entry, head)) in group.iter().enumerate() {
            // As in a scan: a head that is old enough is what the snapshot sees.
            let seen = match heads.image(head) {
                Some(image) => Some(StoredImage::new(image, self.table.columns())),
                None => self.look_below(guard, entry.row())?,
            };
            let Some(image) = seen else { continue };
            let view = self.table.view(image, copies)?;
            let value = view.get(self.scan.column);
            let is_found = match single {
                Some(single) => key::with_key(value, |key| key == single),
                None => entry.has_key_of(value),
            };
            if is_found {
                shown[rows.len()] = number;
                rows.push(view);
            }
        }
        Ok(())
    }

    #[cold]
    fn look_below<'g>(&self, guard: &Guard<'g>, row: u64) -> Result<Option<StoredImage<'g>>, TxnError> {
        let reader = self.session.participant.slot();
        look_below(self.session, guard, reader, guard.resolve(row)?, self.snapshot, self.own)
    }
}
