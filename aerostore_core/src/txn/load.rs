//! Putting rows in place without transactions: for recovery, while nobody else has the database open. A death in the middle
//! is answered by beginning again with an empty arena.
//!
//! Rules       several sessions may do so at once, if all that is done to one key is done by one of them, one after the other. Others may
//!             meet its row while they look for keys with equal bits of the hash: they compare all of the hash in the row's header, and go no
//!             further. So a version may be written over, by one of the same length, and one that was superseded is freed at once.
//!             A row that goes is retired like any other: whoever moves its entry to a larger table may be at it.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::index::{Entry, key};
use crate::mvcc::{BeginWord, RowHeader, Version, VersionRef};
use crate::row::{Copies, RowImage, RowView, Value};
use crate::shm::{BlockKind, BlockRef, Heap, Reserve};
use crate::sync::Ordering;
use crate::txn::link::Linker;
use crate::txn::numbered::note_numbered_key;
use crate::txn::transaction::{find_row, hash_key, row_has_key};
use crate::txn::{Change, Session, Store, TableRef, TxnError};
use std::mem::size_of;

impl Session {
    /// Makes the row of `key` what `build` says, as of `commit_ts`. Returns by how much the table's row count changes.
    ///
    /// # Errors
    /// `OutOfSpace`, or what `build` says.
    pub fn load_row(
        &mut self,
        table: &TableRef,
        key: Value<'_>,
        commit_ts: u64,
        image: &mut RowImage,
        build: impl FnOnce(Option<RowView<'_>>, &mut RowImage) -> Result<Change, TxnError>,
    ) -> Result<i64, TxnError> {
        let hash = hash_key(key, &mut self.buffers.key);
        let Self { participant, heap, limbo, .. } = self;
        let participant = &*participant;
        // Tables that the index has outgrown, and rows that went.
        limbo.collect(participant, heap)?;
        let guard = participant.pin();
        let Some(found) = find_row(&guard, table, key, hash)? else {
            let change = build(None, image)?;
            drop(guard);
            return match change {
                Change::Put => {
                    image.finish(table.schema())?;
                    let added = (image.view(table.schema())?, hash);
                    self.load_new_rows(table, commit_ts, &[added]).map(|known| i64::from(known.is_none()))
                }
                Change::Keep | Change::Delete => Ok(0),
            };
        };
        let row: &RowHeader = guard.resolve(found.row)?;
        let old = VersionRef::resolve(&guard, guard.protect(&row.head))?;
        let copies = Copies::default();
        let change = build(Some(table.view(old.image(), &copies)?), image)?;
        let arena = participant.arena();
        let superseded = arena.block_ref(old.offset)?;
        match change {
            Change::Keep => Ok(0),
            Change::Put => {
                image.finish(table.schema())?;
                let row_image = image.view(table.schema())?;
                if row_image.bytes().len() == old.image().bytes().len() {
                    let begin = BeginWord::Stamped(commit_ts);
                    VersionRef::write(&guard, old.offset, begin, found.row, 0, row_image.stored())?;
                    return Ok(0);
                }
                let version = make_version(&guard, heap, found.row, commit_ts, row_image)?;
                arena.publish_own(version);
                row.head.store(version.offset, Ordering::Release);
                found.hint(&guard, version.offset)?;
                if arena.retire(superseded, participant.owner().slot) {
                    heap.free(superseded);
                }
                Ok(0)
            }
            Change::Delete => {
                row.head.store(0, Ordering::Relaxed);
                let mut linker = Linker { participant, heap, limbo, reserve: Reserve::No };
                let hash_of = |offset| Store::row_hash(&guard, offset);
                table.primary(&guard)?.remove(&guard, &mut linker, hash, found.row, &hash_of)?;
                for block in [superseded, arena.block_ref(found.row)?] {
                    limbo.retire(participant, block)?;
                }
                Ok(-1)
            }
        }
    }

    /// Makes room for the keys of so many rows, in a table that has none yet.
    ///
    /// # Errors
    /// `OutOfSpace`.
    pub fn reserve_keys(&mut self, table: &TableRef, rows: u64) -> Result<(), TxnError> {
        let (guard, mut linker) = self.parts();
        Ok(table.primary(&guard)?.reserve(&guard, &mut linker, rows)?)
    }

    /// Fetches ahead what is looked at for keys of these hashes: for all of them at once, so that they are waited for together.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn look_ahead<'t>(
        &self,
        keys: impl Iterator<Item = (&'t TableRef, u64)> + Clone,
    ) -> Result<(), TxnError> {
        let guard = self.participant.pin();
        for (table, hash) in keys.clone() {
            table.primary(&guard)?.prefetch(&guard, hash)?;
        }
        for (table, hash) in keys {
            table.primary(&guard)?.prefetch_row(&guard, hash)?;
        }
        Ok(())
    }

    /// The hash of the key of a row.
    pub fn key_hash(&mut self, row: RowView<'_>) -> u64 {
        match row.string_bytes(row.schema().key_index()) {
            // Without a proof that it is UTF-8.
            Some(text) => key::hash(text),
            None => hash_key(row.key(), &mut self.buffers.key),
        }
    }

    /// Adds some rows, beside the hashes of their keys, as of `commit_ts`. The place of the first that has the key of another row, if one has: that
    /// means damage, so recovery ends, and what was made here with it.
    ///
    /// # Errors
    /// `OutOfSpace`.
    pub fn load_new_rows(
        &mut self,
        table: &TableRef,
        commit_ts: u64,
        rows: &[(RowView<'_>, u64)],
    ) -> Result<Option<usize>, TxnError> {
        let Self { participant, heap, limbo, .. } = self;
        let participant = &*participant;
        limbo.collect(participant, heap)?;
        let guard = participant.pin();
        let primary = table.primary(&guard)?;
        // They arrive while the rows are made.
        for (_, hash) in rows {
            primary.prefetch(&guard, *hash)?;
        }
        let root = table.root(&guard)?;
        let (bytes, birth) = (size_of::<RowHeader>(), participant.epoch());
        let mut added = Vec::with_capacity(rows.len());
        for (view, hash) in rows {
            if table.schema().has_numbered_key() {
                note_numbered_key(root, table.schema(), view.key());
            }
            let row = heap.alloc_tagged(bytes, BlockKind::ROW, birth, Reserve::No, root.tag(), &root.rows)?;
            let version = make_version(&guard, heap, row.offset, commit_ts, *view)?;
            let header: &RowHeader = guard.resolve(row.offset)?;
            header.owner.store(0, Ordering::Relaxed);
            header.reset_kept();
            header.hash.store(*hash, Ordering::Relaxed);
            header.head.store(version.offset, Ordering::Release);
            participant.arena().publish_own(version);
            participant.arena().publish_own(row);
            added.push((*hash, Entry { row: row.offset, version: version.offset }));
        }
        let mut linker = Linker { participant, heap, limbo, reserve: Reserve::No };
        let same = |place: usize, offset| {
            let (view, hash) = rows[place];
            row_has_key(&guard, table, offset, view.key(), hash)
        };
        let hash_of = |offset| Store::row_hash(&guard, offset);
        primary.insert_all(&guard, &mut linker, &added, same, &hash_of)
    }

    /// Corrects a table's row count.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn add_rows(&self, table: &TableRef, delta: i64) -> Result<(), TxnError> {
        let guard = self.participant.pin();
        table.root(&guard)?.row_count.fetch_add(delta.cast_unsigned(), Ordering::Relaxed);
        Ok(())
    }

    /// A table's row count.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn rows_of(&self, table: &TableRef) -> Result<u64, TxnError> {
        let guard = self.participant.pin();
        Ok(table.root(&guard)?.row_count.load(Ordering::Relaxed))
    }
}

/// Makes a version with that image, which nobody else can reach yet.
fn make_version(
    guard: &Guard<'_>,
    heap: &mut Heap,
    row: u64,
    commit_ts: u64,
    image: RowView<'_>,
) -> Result<BlockRef, TxnError> {
    let bytes = size_of::<Version>() + image.bytes().len();
    let version = heap.alloc(bytes, BlockKind::VERSION, guard.participant().epoch(), Reserve::No)?;
    VersionRef::write(guard, version.offset, BeginWord::Stamped(commit_ts), row, 0, image.stored())?;
    Ok(version)
}
