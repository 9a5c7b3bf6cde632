//! Putting rows in place without transactions: for recovery, while nobody else has the database open. A death in the middle
//! is answered by beginning again with an empty arena.

#![forbid(unsafe_code)]

use crate::index::Entry;
use crate::mvcc::{BeginWord, RowHeader, Version, VersionRef};
use crate::row::{RowImage, RowView, Value};
use crate::shm::{BlockKind, BlockRef, Reserve};
use crate::sync::Ordering;
use crate::txn::link::Linker;
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
        let hash = hash_key(key, &mut Vec::new());
        let Self { participant, heap, limbo, .. } = self;
        let participant = &*participant;
        // Tables that the index has outgrown.
        limbo.collect(participant, heap)?;
        let guard = participant.pin();
        let found = find_row(&guard, table, key, hash)?;
        let old = match found {
            Some(found) => {
                let row: &RowHeader = guard.resolve(found.row)?;
                Some(VersionRef::resolve(&guard, guard.protect(&row.head))?)
            }
            None => None,
        };
        let before = old.filter(|version| !version.is_tombstone());
        let view = before.map(|version| table.view(version.payload())).transpose()?;
        let change = build(view, image)?;
        let was = i64::from(before.is_some());
        match change {
            Change::Keep => return Ok(0),
            Change::Put => {
                image.finish(table.schema())?;
            }
            Change::Delete => {
                let (Some(found), Some(old)) = (found, old) else { return Ok(0) };
                guard.resolve::<RowHeader>(found.row)?.head.store(0, Ordering::Relaxed);
                let arena = participant.arena();
                let blocks = [arena.block_ref(old.offset)?, arena.block_ref(found.row)?];
                let mut linker = Linker { participant, heap, limbo, reserve: Reserve::No };
                let hash_of = |offset| Store::row_hash(&guard, offset);
                table.primary(&guard)?.remove(&guard, &mut linker, hash, found.row, &hash_of)?;
                for block in blocks {
                    if arena.retire(block, participant.owner().slot) {
                        linker.heap.free(block);
                    }
                }
                return Ok(-was);
            }
        }
        let payload = image.view(table.schema())?.bytes();
        let birth = participant.epoch();
        let version =
            heap.alloc(size_of::<Version>() + payload.len(), BlockKind::VERSION, birth, Reserve::No)?;
        let begin = BeginWord::Stamped(commit_ts);
        if let (Some(found), Some(old)) = (found, old) {
            VersionRef::write(&guard, version.offset, begin, found.row, 0, payload)?;
            participant.arena().publish(version);
            guard.resolve::<RowHeader>(found.row)?.head.store(version.offset, Ordering::Release);
            found.hint(&guard, version.offset)?;
            let old = participant.arena().block_ref(old.offset)?;
            if participant.arena().retire(old, participant.owner().slot) {
                heap.free(old);
            }
        } else {
            let rows = &table.root(&guard)?.rows;
            let row: BlockRef = heap.alloc_tagged(
                size_of::<RowHeader>(),
                BlockKind::ROW,
                birth,
                Reserve::No,
                table.id(),
                rows,
            )?;
            VersionRef::write(&guard, version.offset, begin, row.offset, 0, payload)?;
            participant.arena().publish(version);
            let header: &RowHeader = guard.resolve(row.offset)?;
            header.owner.store(0, Ordering::Relaxed);
            header.reset_kept();
            header.hash.store(hash, Ordering::Relaxed);
            header.head.store(version.offset, Ordering::Release);
            let added = Entry { row: row.offset, version: version.offset };
            let mut linker = Linker { participant, heap, limbo, reserve: Reserve::No };
            let same = |offset| row_has_key(&guard, table, offset, key, hash);
            let hash_of = |offset| Store::row_hash(&guard, offset);
            table.primary(&guard)?.insert(&guard, &mut linker, hash, added, same, &hash_of)?;
            participant.arena().publish(row);
        }
        Ok(1 - was)
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
}
