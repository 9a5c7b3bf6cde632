//! Unique indexes: at its place in the serial order, no row but one has a key that a transaction gives it.
//!
//! Rules       U1: a key is looked at when the transaction commits, after its timestamp C is drawn and published (G6): every row
//!             with an entry of the key, as it is at C. Those with a smaller C have linked their versions and added their entries
//!             (R2, K1) and are waited for; those with a greater one wait for this. So of two that give one key to two rows the
//!             later sees the earlier. U2: what counts at C is kept from before C is drawn (G6) to the end of the look, and so are
//!             its entries (K2); a transaction that has read nothing takes a snapshot for that, as what is published counts only
//!             beside one. U3: what a transaction gives is what its intents say when it commits, whatever was written and taken back
//!             before: two rows may change their values, and a row that goes may leave its value to another. U4: whether a
//!             table has unique indexes is asked after C is drawn, and a fence comes before the entries are looked at. A
//!             builder says that there is one (O5), passes a fence, then looks at the clock: so who draws a later
//!             C looks. U5: a builder looks for keys of two rows at a timestamp taken after its last entry was added,
//!             and the index is complete only if there are none. What commits later meets complete entries. So from then on each
//!             commit leaves one row for each key. A row that is changed in other columns gives no key: it had it.
//!             U6: a unique index that is kept before C is drawn, and not any more when keys have been looked at, fails the
//!             transaction: whoever drops one commits that before it stops being kept, so the drop may have a later C, and the
//!             look was due. The operation lasts from the one to the other, so the root serves no other index meanwhile.
//! Deaths      nothing is written down: a transaction that dies while it looks is aborted like any that is not decided. Who would be refused
//!             for the sake of an index whose maker has died gives that up, and is to be tried again.
//! Cost        a database without unique indexes, any more or yet: one look at the catalog for each commit. Else a look at each intent's table, and a
//!             search of the index for each key given.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::index::{Direction, key};
use crate::mvcc::{
    IndexRef, IndexRoot, IndexRoots, RecordState, RowHeader, TableRoot, TxnRecord, VersionRef, change_flags,
    visible_at,
};
use crate::row::{ColumnPlace, DirtyMask, Value};
use crate::shm::{BlockKind, BlockRef};
use crate::sync::{Ordering, fence};
use crate::sys::coarse_ns;
use crate::txn::ddl::table_ref;
use crate::txn::index_scan::last_of;
use crate::txn::secondary::{KeptCursor, stored_value, tree};
use crate::txn::transaction::still_has;
use crate::txn::{Session, Store, TxnError};
use std::collections::HashSet;
use std::ops::{Bound, ControlFlow};

/// Entries passed in one operation by a builder, and keys looked at between two signs of life by a transaction.
const BATCH: usize = 1024;

/// One version that a transaction is about to commit, in a table with unique indexes.
struct Given<'g> {
    table: u64,
    root: &'g TableRoot,
    row: u64,
    version: VersionRef<'g>,
}

impl<'g> Given<'g> {
    /// Has it, most likely, another value in this column than what lies below?
    fn changes(&self, column: usize) -> bool {
        self.changes_any(DirtyMask(1 << column))
    }

    fn changes_any(&self, columns: DirtyMask) -> bool {
        // V5
        self.version.changes() & change_flags(columns) != 0
    }

    /// The unique indexes in which it gives a key.
    fn indexes<'a>(
        &'a self,
        guard: &'a Guard<'g>,
        is_new: bool,
    ) -> impl Iterator<Item = Result<(IndexRef<'g>, ColumnPlace), TxnError>> {
        IndexRoots::of(guard, self.root).filter_map(move |index| {
            let index = match index {
                Ok(index) => index,
                Err(error) => return Some(Err(error.into())),
            };
            // In this order: while it is kept, its column stays.
            let is_asked = index.root.word().is_kept() && index.root.spec().is_unique;
            let place = index.root.place()?;
            (is_asked && (is_new || self.changes(place.column()))).then_some(Ok((index, place)))
        })
    }
}

/// One key of one index, and how it is looked for.
struct Key<'a, 'g> {
    guard: &'a Guard<'g>,
    store: &'a Store,
    table: &'g TableRoot,
    index: IndexRef<'g>,
    place: ColumnPlace,
    /// As the index has it.
    entry: &'a [u8],
    /// The timestamp, published, and the record of who looks, or 0.
    at: u64,
    own: u64,
}

impl<'g> Key<'_, 'g> {
    /// Calls `f` with what counts of each row with an entry of the key, which need not be what it has now, until it breaks.
    fn walk<B>(
        &self,
        mut f: impl FnMut(u64, VersionRef<'g>) -> Result<ControlFlow<B>, TxnError>,
    ) -> Result<Option<B>, TxnError> {
        let Self { guard, store, table, index, entry, at, own, .. } = *self;
        // K4: its builder may have added an entry of a row that is gone, and not have looked again yet.
        let may_be_late = !index.root.word().is_complete();
        let is_row = |row| {
            let is_live = guard.is_live(row, BlockKind::ROW, size_of::<RowHeader>())?;
            Ok::<bool, TxnError>(is_live && guard.arena().block_tag(row)? == table.tag())
        };
        // The least key above it.
        let high = [entry, &[0]].concat();
        let tree = tree(index);
        let cursor = tree.seek(guard, Bound::Included(entry), Bound::Excluded(&high), Direction::Forward);
        let mut cursor = KeptCursor::new(index, cursor);
        let mut is_first = true;
        while let Some(batch) = cursor.next_batch()? {
            if !std::mem::take(&mut is_first) && own != 0 {
                // Rows that had the key may be many, as long as somebody sees that.
                guard.resolve::<TxnRecord>(own)?.touch(coarse_ns());
            }
            for row in (0..batch.len()).map(|entry| batch.row(entry)) {
                if may_be_late && !is_row(row)? {
                    continue;
                }
                let header: &RowHeader = guard.resolve(row)?;
                let seen = visible_at(guard, store.clock(), header, at, own, store.stall)?;
                let Some((version, _)) = seen.filter(|(version, _)| !version.is_tombstone()) else {
                    continue;
                };
                if let ControlFlow::Break(found) = f(row, version)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    fn value(&self, version: VersionRef<'g>) -> Result<Value<'g>, TxnError> {
        stored_value(self.guard, self.table, self.place, version.image())
    }

    /// Has a row other than `except` the value with these key bytes?
    fn is_held(&self, bytes: &[u8], except: u64) -> Result<bool, TxnError> {
        let mut held = Vec::new();
        let found = self.walk(|row, version| {
            held.clear();
            key::key_bytes(self.value(version)?, &mut held);
            let is_held = row != except && held == bytes;
            Ok(if is_held { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found.is_some())
    }

    /// A version whose value another row has, too.
    fn held_twice(&self) -> Result<Option<VersionRef<'g>>, TxnError> {
        let spec = self.index.root.spec();
        // Of a hash there may be several.
        let mut held = HashSet::new();
        let mut bytes = Vec::new();
        self.walk(|_, version| {
            let value = self.value(version)?;
            bytes.clear();
            key::entry_key(spec, value, &mut bytes);
            if bytes != self.entry {
                return Ok(ControlFlow::Continue(()));
            }
            bytes.clear();
            key::key_bytes(value, &mut bytes);
            let is_new = held.insert(bytes.clone());
            Ok(if is_new { ControlFlow::Continue(()) } else { ControlFlow::Break(version) })
        })
    }
}

fn changed(reason: &'static str) -> TxnError {
    TxnError::Serialization { reason, table: "a table with unique indexes".to_owned() }
}

fn violation(
    guard: &Guard<'_>,
    table: u64,
    place: ColumnPlace,
    value: Value<'_>,
) -> Result<TxnError, TxnError> {
    let table = table_ref(guard, table, guard.resolve(table)?)?;
    let schema = table.schema();
    Ok(TxnError::UniqueViolation {
        table: schema.name().to_owned(),
        column: schema.column(place.column()).name().to_owned(),
        value: value.to_string(),
    })
}

impl Session {
    /// Does what this transaction is about to commit give a row a key in a unique index?
    #[inline]
    pub(super) fn gives_unique_keys(&self, record: BlockRef) -> Result<bool, TxnError> {
        Ok(self.store.catalog().has_unique() && self.gives_some(record)?)
    }

    fn gives_some(&self, record: BlockRef) -> Result<bool, TxnError> {
        let guard = self.participant.pin();
        for entry in 0..self.intents.len() {
            if let Some(given) = self.given(&guard, record, entry)? {
                let is_new = given.version.next(&guard) == 0;
                if is_new || given.changes_any(given.root.unique()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// What one entry of the list of intents gives.
    fn given<'g>(
        &self,
        guard: &Guard<'g>,
        record: BlockRef,
        entry: usize,
    ) -> Result<Option<Given<'g>>, TxnError> {
        let entry = self.intents.entry(guard, entry)?;
        let Some(block) = entry.version() else { return Ok(None) };
        let root: &TableRoot = guard.resolve(entry.table())?;
        if root.unique().is_empty() {
            return Ok(None);
        }
        // S4: as long as it was not aborted before this operation began, its versions are what they were.
        if guard.resolve::<TxnRecord>(record.offset)?.state() == RecordState::Aborted {
            return Err(TxnError::ForcedAbort);
        }
        let version = VersionRef::resolve(guard, block.offset)?;
        let given = Given { table: entry.table(), root, row: entry.row(), version };
        Ok((!version.is_tombstone()).then_some(given))
    }

    /// U1, for a transaction whose timestamp is drawn; it was announced before that beside `snapshot`
    /// (U2), if at all.
    ///
    /// # Errors
    /// `UniqueViolation`; `Serialization` when an index was made since the transaction was last asked what it gives;
    /// `ForcedAbort`; `SnapshotRevoked`.
    #[inline]
    pub(super) fn check_unique_keys(
        &self,
        record: BlockRef,
        commit_ts: u64,
        snapshot: Option<u64>,
    ) -> Result<(), TxnError> {
        // U4
        if self.gives_unique_keys(record)? { self.check_given(record, commit_ts, snapshot) } else { Ok(()) }
    }

    /// Notes the unique indexes in which the transaction gives keys, before C is drawn (U6).
    pub(super) fn note_unique_indexes(&mut self, record: BlockRef) -> Result<(), TxnError> {
        let mut noted = std::mem::take(&mut self.buffers.unique_indexes);
        noted.clear();
        {
            let guard = self.participant.pin();
            for entry in 0..self.intents.len() {
                let Some(given) = self.given(&guard, record, entry)? else { continue };
                let is_new = given.version.next(&guard) == 0;
                for index in given.indexes(&guard, is_new) {
                    let offset = index?.0.offset;
                    if !noted.contains(&offset) {
                        noted.push(offset);
                    }
                }
            }
        }
        self.buffers.unique_indexes = noted;
        Ok(())
    }

    /// U6
    fn check_noted_indexes(&self) -> Result<(), TxnError> {
        let guard = self.participant.pin();
        for offset in &self.buffers.unique_indexes {
            if !guard.resolve::<IndexRoot>(*offset)?.word().is_kept() {
                return Err(changed("a unique index was dropped while the transaction committed"));
            }
        }
        Ok(())
    }

    fn check_given(&self, record: BlockRef, commit_ts: u64, snapshot: Option<u64>) -> Result<(), TxnError> {
        let made = || changed("a unique index was made while the transaction ran");
        let snapshot = snapshot.ok_or_else(made)?;
        fence(Ordering::SeqCst);
        let guard = self.participant.pin();
        let (mut bytes, mut entry_key) = (Vec::new(), Vec::new());
        let mut looked = 0_usize;
        for entry in 0..self.intents.len() {
            let Some(given) = self.given(&guard, record, entry)? else { continue };
            let is_new = given.version.next(&guard) == 0;
            for index in given.indexes(&guard, is_new) {
                let (index, place) = index?;
                let value = stored_value(&guard, given.root, place, given.version.image())?;
                if value.is_null() {
                    continue;
                }
                bytes.clear();
                key::key_bytes(value, &mut bytes);
                entry_key.clear();
                key::entry_key(index.root.spec(), value, &mut entry_key);
                let (guard, store, own) = (&guard, &*self.store, record.offset);
                let (table, at) = (given.root, commit_ts);
                let key = Key { guard, store, table, index, place, entry: &entry_key, at, own };
                if key.is_held(&bytes, given.row)? {
                    // Or somebody else has done so since the index was kept.
                    if self.give_up_for_dead(index.root)? || !index.root.word().is_kept() {
                        return Err(changed("the maker of a unique index died, or it was dropped"));
                    }
                    still_has(&self.participant, snapshot)?;
                    // What was seen is nothing to go by once another owner may have changed the rows.
                    self.given(guard, record, entry)?;
                    return Err(violation(guard, given.table, place, value)?);
                }
                looked += 1;
                if looked.is_multiple_of(BATCH) {
                    guard.resolve::<TxnRecord>(record.offset)?.touch(coarse_ns());
                }
            }
        }
        self.check_noted_indexes()?;
        still_has(&self.participant, snapshot)
    }

    /// U5, for an index to which its last entry has been added.
    ///
    /// # Errors
    /// `UniqueViolation`; `SnapshotRevoked`.
    pub(super) fn check_unique_index(&mut self, table: u64, index: u64) -> Result<(), TxnError> {
        let mut last: Option<(Vec<u8>, u64)> = None;
        loop {
            // One for each operation: what is seen at a later one was checked by whoever committed it.
            let at = self.participant.take_snapshot(self.store.clock().word());
            let passed = self.check_entries(table, index, at, last.as_ref());
            let still = still_has(&self.participant, at);
            self.participant.end();
            // What was seen is nothing to go by without the snapshot.
            match still.and(passed)? {
                Some(passed) => last = Some(passed),
                None => return Ok(()),
            }
        }
    }

    /// Looks for keys of two rows from behind the entry `last` on; the entry where it stopped, unless that was the end.
    fn check_entries(
        &self,
        table: u64,
        index: u64,
        at: u64,
        last: Option<&(Vec<u8>, u64)>,
    ) -> Result<Option<(Vec<u8>, u64)>, TxnError> {
        let guard = self.participant.pin();
        let root: &IndexRoot = guard.resolve(index)?;
        let index = IndexRef { offset: index, root };
        let Some(place) = root.place() else { return Ok(None) };
        let tree = tree(index);
        let mut cursor = match last {
            None => tree.seek(&guard, Bound::Unbounded, Bound::Unbounded, Direction::Forward),
            Some((key, row)) => tree.resume(&guard, (key, *row), Bound::Unbounded, Direction::Forward),
        };
        let mut bytes = last.map_or_else(Vec::new, |(key, _)| key.clone());
        let mut is_first = last.is_none();
        let mut is_looked_at = false;
        let mut count = 0;
        while let Some(batch) = cursor.next_batch()? {
            for entry in batch.iter() {
                if is_first || !entry.key_is(&bytes) {
                    (is_first, is_looked_at) = (false, false);
                    bytes.clear();
                    entry.key_into(&mut bytes);
                } else if !is_looked_at && bytes != key::NULL {
                    is_looked_at = true;
                    let (guard, store) = (&guard, &*self.store);
                    let root: &TableRoot = guard.resolve(table)?;
                    let key = Key { guard, store, table: root, index, place, entry: &bytes, at, own: 0 };
                    if let Some(version) = key.held_twice()? {
                        return Err(violation(guard, table, place, key.value(version)?)?);
                    }
                }
            }
            count += batch.len();
            if count >= BATCH {
                return Ok(last_of(&batch));
            }
        }
        Ok(None)
    }
}
