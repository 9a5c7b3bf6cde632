//! Taking an entry out of the key hash.

use super::HashIndex;
use super::table::{DELETED, EMPTY, FROZEN, FROZEN_EMPTY, HashTable, Probe, row_of};
use crate::epoch::Guard;
use crate::index::Blocks;
use crate::shm::ShmError;
use crate::sync::Ordering;

/// What became of an entry in one table.
enum Removed {
    Done,
    /// It is in the next table, if anywhere.
    NotHere,
}

impl HashIndex<'_> {
    /// Removes the entry of `row`, whose key has the hash `hash`; false when there is none. The row has to stay allocated until
    /// this has returned.
    ///
    /// # Errors
    /// `OutOfSpace` when the entry is being moved and its next table has no room: nothing is removed then. When the mapping
    /// is damaged.
    pub fn remove(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        hash: u64,
        row: u64,
        hash_of: &dyn Fn(u64) -> Result<u64, ShmError>,
    ) -> Result<bool, ShmError> {
        let mut offset = guard.protect(self.root);
        while offset != 0 {
            let table: &HashTable = guard.resolve(offset)?;
            if let Removed::Done = Self::remove_from(guard, blocks, offset, hash, row, hash_of)? {
                table.count_delete();
                return Ok(true);
            }
            offset = guard.protect(table.next());
        }
        Ok(false)
    }

    fn remove_from(
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        offset: u64,
        hash: u64,
        row: u64,
        hash_of: &dyn Fn(u64) -> Result<u64, ShmError>,
    ) -> Result<Removed, ShmError> {
        let table: &HashTable = guard.resolve(offset)?;
        let mut probe = Probe::new(table, hash);
        while let Some(slot) = probe.slot(guard, offset)? {
            let word = guard.protect(&slot.word);
            if word == EMPTY || word == FROZEN_EMPTY {
                break;
            }
            // A DELETED slot of the same row may be from an earlier life of its memory: not it, but the one behind counts.
            if row_of(word) == row {
                if word & FROZEN != 0 {
                    // H3: from here on it is in the next table, and whoever moves it late finds it there (H4).
                    let next = guard.protect(table.next());
                    Self::move_slot(guard, blocks, slot, next, hash_of)?;
                    break;
                }
                let to = word | DELETED;
                if slot.word.compare_exchange(word, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    return Ok(Removed::Done);
                }
                continue; // frozen meanwhile, or removed by someone else
            }
            if !probe.advance() {
                break;
            }
        }
        Ok(Removed::NotHere)
    }
}
