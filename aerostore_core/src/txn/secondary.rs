//! Secondary indexes in step with versions: entries are added with them, and go when no version needs them.
//!
//! An entry (key, row) is a hint that some version of the row has, or had, that key. A reader looks at the version it sees.
//!
//! Counting    a version *counts* while it is in its chain, is no tombstone, is not marked (V4), and has not come to nothing: its
//!             record is not aborted and it is not stamped `NEVER`.
//! Rules       K1: a version's entries are added after it is linked, in the same operation, and before its transaction leaves
//!             ACTIVE. So who sees a version finds its entries. K2: who takes a version out of its chain first sees to it
//!             that it no longer counts, then passes a fence, then removes the entries whose keys no version that
//!             counts has, and takes it out last. So each entry has a version in the chain that names it: after
//!             a death, and when there is no room to remove entries, the version stays, and whoever takes it out removes
//!             them. K3: where an entry lies is found first, then the chain is walked, and the entry goes only if
//!             nothing was added there since. A writer links its version first and then adds the entry: the walk sees the version, or
//!             the removal fails (O5 of the index). It adds in every column in which the version differs from what counts below it: what it
//!             has pushed out of its own does not count any more. A walk that finds nothing begins anew if the head has changed. K4: who adds
//!             entries for a version that others may take out meanwhile, passes a fence then and looks whether it still counts; if not, they go
//!             by K3. A writer names the version and its row in its slot before, passes a fence, and adds only if its transaction is
//!             undecided then. The name stays until nothing is left to remove, over a want of room and a death: so long the row is not removed
//!             (D6), and the memory of the version is not used again, whatever operation runs. A session that finds no room goes on without
//!             it, and tries again before it adds others and when it prunes; a reaper gives all else back. A builder adds too
//!             many at a time to name them. So who follows entries of an index that is not complete asks the row's block whether it is one. K5: entries go before their row's memory (D3), so
//!             whoever finds one in an operation can look at the row until its end. K6: that holds of an index that is kept. Entries of one
//!             that was dropped meanwhile may lead to rows that were removed without a look at them, whose memory is in
//!             another use: so who follows entries sees, after they were loaded and before their rows are, that the index is kept yet. Whoever
//!             takes a row's memory without a look for its entry has seen it dropped; he retires the row after that, and so after
//!             whoever still saw it kept has published what he may touch.
//! Builders    who prunes decides what is garbage by a look at the clock before it looks for indexes. A builder whose index is not
//!             found then takes its timestamp later (O4), and passes over what is garbage at that one: so it adds no
//!             entry for a version that is taken out without looking for its entry.
//! Source      deciding by what others compare against follows Harris (DISC 2001).

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::index::{Ahead, Batch, Cursor, Directory, OrderedIndex, fetch_ahead, key};
use crate::mvcc::{
    BeginWord, Definition, IndexRef, IndexRoot, IndexRoots, NEVER, RecordState, RowHeader, TableRoot,
};
use crate::mvcc::{TxnRecord, VersionRef, change_flags};
use crate::row::{ColumnPlace, DirtyMask, IndexSpec, StoredImage, Value};
use crate::shm::{BlockRef, ShmError};
use crate::sync::{Ordering, fence};
use crate::txn::TxnError;
use crate::txn::link::Linker;
use smallvec::SmallVec;

/// The entries of an index.
#[inline]
pub(crate) fn tree(index: IndexRef<'_>) -> OrderedIndex<'_> {
    let IndexRef { offset, root } = index;
    let tree_offset = IndexRoot::tree_offset(offset);
    if !root.spec().is_hash {
        return OrderedIndex::new(&root.tree, tree_offset);
    }
    let directory = Directory::new(&root.directory, IndexRoot::directory_offset(offset), &root.anchors);
    OrderedIndex::of_hashes(&root.tree, tree_offset, directory)
}

/// Makes an empty index for the root at `offset`, which is to be what `spec` says.
pub(crate) fn create_tree(
    guard: &Guard<'_>,
    linker: &mut Linker<'_>,
    offset: u64,
    spec: IndexSpec,
) -> Result<BlockRef, ShmError> {
    let hash_root = spec.is_hash.then(|| IndexRoot::tree_offset(offset));
    OrderedIndex::create(guard, linker, hash_root)
}

/// A walk over entries whose rows are to be looked at (K6).
pub(super) struct KeptCursor<'g> {
    root: &'g IndexRoot,
    cursor: Cursor<'g>,
}

impl<'g> KeptCursor<'g> {
    pub(super) fn new(index: IndexRef<'g>, cursor: Cursor<'g>) -> Self {
        Self { root: index.root, cursor }
    }

    /// The next entries.
    ///
    /// # Errors
    /// `Serialization` when the index was dropped meanwhile.
    #[inline]
    pub(super) fn next_batch(&mut self) -> Result<Option<Batch<'g>>, TxnError> {
        let batch = self.cursor.next_batch()?;
        // K6
        if batch.is_some() && !self.root.word().is_kept() {
            return Err(TxnError::Serialization {
                reason: "an index was dropped while it was read",
                table: "a table with indexes".to_owned(),
            });
        }
        Ok(batch)
    }
}

/// So many indexes of one table need no allocation.
const FEW: usize = 8;

/// Entries of one row: in which index, and by which value of its column.
type Entries<'g, 'v> = SmallVec<[(IndexRef<'g>, ColumnPlace, Value<'v>); FEW]>;

/// One row, as its table's secondary indexes know it.
#[derive(Clone, Copy)]
pub(crate) struct RowKeys<'a, 'g> {
    pub(super) guard: &'a Guard<'g>,
    pub(super) table: &'g TableRoot,
    pub(super) row: u64,
}

impl<'a, 'g> RowKeys<'a, 'g> {
    /// Of the row at `row` in the table whose root lies at `table`.
    pub(crate) fn at(guard: &'a Guard<'g>, table: u64, row: u64) -> Result<Self, TxnError> {
        Ok(Self { guard, table: guard.resolve(table)?, row })
    }

    /// The columns that have, or have had, an index.
    #[inline]
    pub(super) fn indexed(&self) -> DirtyMask {
        // SeqCst: O4.
        DirtyMask(self.table.indexed.load(Ordering::SeqCst))
    }

    /// What an image of the row has in a column.
    #[inline]
    fn value<'v>(&self, place: ColumnPlace, image: StoredImage<'v>) -> Result<Value<'v>, TxnError>
    where
        'g: 'v,
    {
        stored_value(self.guard, self.table, place, image)
    }

    /// The indexes that writers keep, with their columns.
    fn kept(&self) -> impl Iterator<Item = Result<(IndexRef<'g>, ColumnPlace), TxnError>> {
        IndexRoots::of(self.guard, self.table).filter_map(|index| match index {
            Ok(index) if index.root.word().is_kept() => index.root.place().map(|place| Ok((index, place))),
            Ok(_) => None,
            Err(error) => Some(Err(error.into())),
        })
    }

    /// Adds the entries of a version with this image in those of its columns that are indexed (K1). Whoever calls it has passed a
    /// fence since the version was linked (O4, K3).
    pub(super) fn add(
        &self,
        linker: &mut Linker<'_>,
        image: StoredImage<'_>,
        columns: DirtyMask,
    ) -> Result<(), TxnError> {
        let mut entries = Entries::new();
        for index in self.kept() {
            let (index, place) = index?;
            if columns.contains(place.column()) {
                entries.push((index, place, self.value(place, image)?));
            }
        }
        self.fetch(&entries)?;
        let mut bytes = Vec::new();
        for (index, _, value) in entries {
            bytes.clear();
            key::entry_key(index.root.spec(), value, &mut bytes);
            tree(index).insert(self.guard, linker, &bytes, self.row)?;
        }
        Ok(())
    }

    /// Fetches what it takes to change several entries.
    fn fetch(&self, entries: &[(IndexRef<'g>, ColumnPlace, Value<'_>)]) -> Result<(), TxnError> {
        if entries.len() < 2 {
            return Ok(());
        }
        let ahead = |(index, _, value): &_| key::with_key(*value, |key| tree(*index).ahead(key, self.row));
        let mut places: SmallVec<[Ahead<'_>; FEW]> = entries.iter().filter_map(ahead).collect();
        Ok(fetch_ahead(self.guard, &mut places)?)
    }

    /// Removes the entries of a version with this image that does not count, as far as no version that does has their keys (K2).
    /// `stays` has the image of one that does, most likely the same in most columns.
    ///
    /// # Errors
    /// `OutOfSpace`: the version has to stay where it is.
    pub(super) fn remove(
        &self,
        linker: &mut Linker<'_>,
        image: StoredImage<'_>,
        stays: Option<StoredImage<'_>>,
    ) -> Result<(), TxnError> {
        if self.indexed().is_empty() {
            return Ok(());
        }
        // K2: what made it not count came before.
        fence(Ordering::SeqCst);
        let mut entries = Entries::new();
        for index in self.kept() {
            let (index, place) = index?;
            let value = self.value(place, image)?;
            let stays = stays.map(|stays| self.value(place, stays)).transpose()?;
            if stays != Some(value) {
                entries.push((index, place, value));
            }
        }
        self.fetch(&entries)?;
        let mut bytes = Vec::new();
        for (index, place, value) in entries {
            self.remove_unless_held(linker, index, place, value, &mut bytes)?;
        }
        Ok(())
    }

    /// K3. `bytes` is memory to use again.
    pub(super) fn remove_unless_held(
        &self,
        linker: &mut Linker<'_>,
        index: IndexRef<'g>,
        place: ColumnPlace,
        value: Value<'_>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), TxnError> {
        let spec = index.root.spec();
        bytes.clear();
        key::entry_key(spec, value, bytes);
        let is_held = || self.is_held(place, spec, value);
        tree(index).remove_unless(self.guard, linker, bytes, self.row, is_held).map(drop)
    }

    /// Does any version that counts have this value, or another with the same key in such an index?
    pub(crate) fn is_held(
        &self,
        place: ColumnPlace,
        spec: IndexSpec,
        value: Value<'_>,
    ) -> Result<bool, TxnError> {
        let header: &RowHeader = self.guard.resolve(self.row)?;
        let mut head = self.guard.protect(&header.head);
        loop {
            if self.is_held_from(head, place, spec, value)? {
                return Ok(true);
            }
            // What was linked meanwhile may be why others do not count any more, and may have the value from them.
            let seen = std::mem::replace(&mut head, self.guard.protect(&header.head));
            if head == seen {
                return Ok(false);
            }
        }
    }

    fn is_held_from(
        &self,
        head: u64,
        place: ColumnPlace,
        spec: IndexSpec,
        value: Value<'_>,
    ) -> Result<bool, TxnError> {
        let mut at = head;
        while at != 0 {
            let version = VersionRef::resolve(self.guard, at)?;
            let next = version.next_word(self.guard);
            if !version.is_tombstone()
                && !next.is_marked()
                && key::is_one_entry(spec, self.value(place, version.image())?, value)
                && has_not_failed(self.guard, &version)?
            {
                return Ok(true);
            }
            at = next.older();
        }
        Ok(false)
    }

    /// Before the versions from `first` on are cut off below `newer`, all of them garbage: removes the entries that only they hold.
    pub(super) fn remove_below(
        &self,
        linker: &mut Linker<'_>,
        newer: &VersionRef<'_>,
        first: u64,
    ) -> Result<(), TxnError> {
        let indexed = change_flags(self.indexed());
        if indexed == 0 {
            return Ok(());
        }
        let stays = (!newer.is_tombstone()).then(|| newer.image());
        let mut changes = newer.changes();
        let mut lost = Vec::new();
        let mut at = first;
        while at != 0 {
            let version = VersionRef::resolve(self.guard, at)?;
            // V5: else it has what `newer` has.
            if changes & indexed != 0 && !version.is_tombstone() {
                version.mark(self.guard);
                lost.push(version);
            }
            // In this order: who has taken out what lay below has said first in what that differed (V5).
            at = version.next(self.guard);
            changes |= version.changes();
        }
        lost.iter().try_for_each(|version| self.remove(linker, version.image(), stays))
    }

    /// The same before `older`, which is marked, is taken out alone from below `newer`.
    pub(super) fn remove_between(
        &self,
        linker: &mut Linker<'_>,
        newer: &VersionRef<'_>,
        older: &VersionRef<'_>,
    ) -> Result<(), TxnError> {
        if newer.changes() & change_flags(self.indexed()) == 0 || older.is_tombstone() {
            return Ok(());
        }
        self.remove(linker, older.image(), (!newer.is_tombstone()).then(|| newer.image()))
    }
}

/// What an image of a row of that table has in a column, be it one that the image lacks (J2 of `row::stored`).
#[inline]
pub(crate) fn stored_value<'v, 'g: 'v>(
    guard: &Guard<'g>,
    table: &TableRoot,
    place: ColumnPlace,
    image: StoredImage<'v>,
) -> Result<Value<'v>, TxnError> {
    if place.column() < image.columns() {
        return Ok(image.value(place)?);
    }
    absent_value(guard, table, place)
}

#[cold]
fn absent_value<'g>(guard: &Guard<'g>, table: &TableRoot, place: ColumnPlace) -> Result<Value<'g>, TxnError> {
    // The index has its column from a definition that is not newer than this.
    Ok(Definition::newest(guard, table)?.absent(place)?)
}

/// Is a version's transaction still to be decided, or has it committed?
pub(super) fn has_not_failed(guard: &Guard<'_>, version: &VersionRef<'_>) -> Result<bool, TxnError> {
    Ok(match version.begin(guard) {
        BeginWord::Stamped(begin) => begin != NEVER,
        // K2: not used again before its versions are out of their chains and this operation is over.
        BeginWord::Intent(record) => guard.resolve::<TxnRecord>(record)?.state() != RecordState::Aborted,
    })
}
