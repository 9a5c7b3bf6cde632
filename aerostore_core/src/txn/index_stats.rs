//! What is known of an index without reading its rows: for those who choose between indexes, and for people.
//!
//! Different keys and nulls are counted by a walk over the entries, when the index is made and again when the table has come to
//! have twice or half as many rows; in between the figures are taken to grow with the table. The ends are looked up.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::index::{Direction, key};
use crate::mvcc::{IndexRef, IndexRoot, IndexRoots, TableRoot};
use crate::row::{ColumnPlace, IndexSpec};
use crate::sync::Ordering;
use crate::txn::index_scan::readable_index;
use crate::txn::secondary::tree;
use crate::txn::transaction::running;
use crate::txn::{Session, TableRef, Transaction, TxnError};
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Bound;

/// Rows up to which whoever asks counts himself.
const FEW_ROWS: u64 = 4096;
/// Rows that a table may gain or lose before it is counted again, however few they are.
const SLACK_ROWS: u64 = 64;
/// Entries that are counted in one operation.
const BATCH: u64 = 16_384;

/// What is known of one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexStats {
    /// Its column.
    pub column: usize,
    /// What is promised of it.
    pub spec: IndexSpec,
    /// Rows of the table; each has an entry.
    pub rows: u64,
    /// About how many of them have no value.
    pub nulls: u64,
    /// About how many different values there are; 0 while they have not been counted.
    pub distinct: u64,
    /// The least key that is not null, where it was looked up; none of a hash.
    pub min: Option<Box<[u8]>>,
    /// The greatest.
    pub max: Option<Box<[u8]>>,
}

fn rows_of(table: &TableRoot) -> u64 {
    table.row_count.load(Ordering::Relaxed).cast_signed().max(0).cast_unsigned()
}

fn is_stale(counted: u64, rows: u64) -> bool {
    counted == 0 && rows > 0
        || rows > counted.saturating_mul(2) + SLACK_ROWS
        || counted > rows.saturating_mul(2) + SLACK_ROWS
}

/// Is it time to count an index again?
pub(super) fn is_to_be_counted(table: &TableRoot, index: &IndexRoot) -> bool {
    index.word().is_complete() && is_stale(index.counted_rows.load(Ordering::Relaxed), rows_of(table))
}

impl Transaction {
    /// What is known of the indexes that this transaction can use, on columns that the handle knows of; the ends of the keys of those on a column that `has_ends`.
    ///
    /// # Errors
    /// `Ended`.
    pub fn index_statistics(
        &mut self,
        table: &TableRef,
        has_ends: impl Fn(usize) -> bool,
    ) -> Result<Vec<IndexStats>, TxnError> {
        self.check_running()?;
        let snapshot = self.read_ts()?;
        let session = running(&mut self.session)?;
        for index in session.indexes_to_count(table)? {
            session.count_index(table.root_offset(), index)?;
        }
        // Looked for under the guard under which they are read: counting takes several, and indexes may go meanwhile.
        let guard = session.participant.pin();
        let root = table.in_use(&guard)?;
        let mut found = Vec::new();
        for index in IndexRoots::of(&guard, root) {
            let index = index?;
            if let Some(place) = usable_at(index, table, snapshot) {
                found.push(stats(&guard, root, index, place.column(), &has_ends)?);
            }
        }
        Ok(found)
    }

    /// How many rows a table has, and a number for its indexes that this transaction can use: another one with other indexes, in another
    /// table, or once one of them was counted again.
    ///
    /// # Errors
    /// `Ended`.
    pub fn index_standing(&mut self, table: &TableRef) -> Result<(u64, u64), TxnError> {
        self.check_running()?;
        let snapshot = self.read_ts()?;
        let guard = running(&mut self.session)?.participant.pin();
        let root = table.in_use(&guard)?;
        let mut indexes = FixedState::default().build_hasher();
        indexes.write_u64(table.root_offset());
        for index in IndexRoots::of(&guard, root) {
            let index = index?;
            if let Some(place) = usable_at(index, table, snapshot) {
                let counted = index.root.counted_rows.load(Ordering::Relaxed);
                (index.offset, place.column(), index.root.spec().word(), counted).hash(&mut indexes);
            }
        }
        Ok((rows_of(root), indexes.finish()))
    }
}

/// The column of an index that readers at `snapshot` can use who know of it.
fn usable_at(index: IndexRef<'_>, table: &TableRef, snapshot: u64) -> Option<ColumnPlace> {
    let usable = index.root.word().is_complete() && index.root.valid_from.load(Ordering::Acquire) <= snapshot;
    index.root.place().filter(|place| usable && place.column() < table.columns())
}

impl Session {
    /// The complete indexes of a small table that are to be counted before they are told about; those of a large one are left to the
    /// vacuum.
    fn indexes_to_count(&self, table: &TableRef) -> Result<Vec<u64>, TxnError> {
        let guard = self.participant.pin();
        let root = table.in_use(&guard)?;
        let mut to_count = Vec::new();
        for index in IndexRoots::of(&guard, root) {
            let index = index?;
            if is_to_be_counted(root, index.root) {
                to_count.push(index.offset);
            }
        }
        if rows_of(root) > FEW_ROWS && !to_count.is_empty() {
            self.store.garbage().want();
            to_count.clear();
        }
        Ok(to_count)
    }
}

impl Transaction {
    /// Counts the different values in the index on a column, null not among them, now; `None` when this transaction can use none.
    /// Values that no row has any more count until their versions are gone.
    ///
    /// # Errors
    /// `Ended`.
    pub fn count_index_keys(&mut self, table: &TableRef, column: usize) -> Result<Option<u64>, TxnError> {
        self.check_running()?;
        let snapshot = self.read_ts()?;
        let session = running(&mut self.session)?;
        let found = {
            let guard = session.participant.pin();
            readable_index(&guard, table, column, snapshot)?.map(|index| index.offset)
        };
        let Some(index) = found else { return Ok(None) };
        session.count_index(table.root_offset(), index)?;
        let guard = session.participant.pin();
        Ok(Some(guard.resolve::<IndexRoot>(index)?.distinct.load(Ordering::Relaxed)))
    }
}

fn stats(
    guard: &Guard<'_>,
    table: &TableRoot,
    index: IndexRef<'_>,
    column: usize,
    has_ends: &impl Fn(usize) -> bool,
) -> Result<IndexStats, TxnError> {
    let root = index.root;
    let rows = rows_of(table);
    let counted = root.counted_rows.load(Ordering::Relaxed);
    // Read one by one while somebody may count: a moment's mixture of two counts does no harm.
    let scaled = |count: u64| {
        if counted == 0 {
            return count.min(rows);
        }
        u64::try_from(u128::from(count) * u128::from(rows) / u128::from(counted)).unwrap_or(u64::MAX)
    };
    let nulls = scaled(root.nulls.load(Ordering::Relaxed)).min(rows);
    let distinct = root.distinct.load(Ordering::Relaxed);
    // A column of few values keeps them when the table grows.
    let distinct = if distinct.saturating_mul(2) < counted { distinct } else { scaled(distinct) };
    let end = |direction| -> Result<Option<Box<[u8]>>, TxnError> {
        if root.spec().is_hash || !has_ends(column) {
            return Ok(None);
        }
        let mut cursor = tree(index).seek(guard, Bound::Unbounded, Bound::Excluded(&key::NULL), direction);
        while let Some(batch) = cursor.next_batch()? {
            if !batch.is_empty() {
                let mut bytes = Vec::new();
                batch.entry(0).key_into(&mut bytes);
                return Ok(Some(bytes.into()));
            }
        }
        Ok(None)
    };
    Ok(IndexStats {
        column,
        spec: root.spec(),
        rows,
        nulls,
        distinct: distinct.min(rows.saturating_sub(nulls)),
        min: end(Direction::Forward)?,
        max: end(Direction::Backward)?,
    })
}

impl Session {
    /// Counts the different keys of an index, and the nulls in it.
    pub(super) fn count_index(&mut self, table: u64, index: u64) -> Result<(), TxnError> {
        let null = key::NULL;
        let (mut distinct, mut nulls) = (0, 0);
        let mut last: Option<(Vec<u8>, u64)> = None;
        let mut last_key = Vec::new();
        loop {
            let guard = self.participant.pin();
            let root: &IndexRoot = guard.resolve(index)?;
            if !root.word().is_complete() {
                return Ok(());
            }
            let tree = tree(IndexRef { offset: index, root });
            let mut cursor = match &last {
                None => tree.seek(&guard, Bound::Unbounded, Bound::Unbounded, Direction::Forward),
                Some((key, row)) => tree.resume(&guard, (key, *row), Bound::Unbounded, Direction::Forward),
            };
            let mut count = 0;
            let place = loop {
                let Some(batch) = cursor.next_batch()? else {
                    let rows = rows_of(guard.resolve(table)?);
                    root.nulls.store(nulls, Ordering::Relaxed);
                    root.distinct.store(distinct, Ordering::Relaxed);
                    root.counted_rows.store(rows, Ordering::Relaxed);
                    return Ok(());
                };
                for entry in batch.iter() {
                    if entry.key_is(&null) {
                        nulls += 1;
                    } else if distinct == 0 || !entry.key_is(&last_key) {
                        distinct += 1;
                        last_key.clear();
                        entry.key_into(&mut last_key);
                    }
                }
                count += batch.len() as u64;
                if count >= BATCH {
                    break super::index_scan::last_of(&batch);
                }
            };
            last = place;
        }
    }
}
