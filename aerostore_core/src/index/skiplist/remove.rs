//! Removing an entry that the row's versions do not need, whoever else may link one meanwhile (O5).
#![forbid(unsafe_code)]

use super::block::Part;
use super::ordered::OrderedIndex;
use super::position::{Cut, Position};
use crate::epoch::Guard;
use crate::index::Blocks;
use crate::shm::ShmError;

impl OrderedIndex<'_> {
    /// Removes the entry of `key` and `row`, unless `is_held` says that a version of the row has the key; false then, and when there
    /// is no such entry. It is asked again whenever something has changed next to the entry, and what it sees is no older than what
    /// those had linked who have added it until then.
    ///
    /// # Errors
    /// What `is_held` says; `OutOfSpace`; when the mapping is damaged.
    pub fn remove_unless<E: From<ShmError>>(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        key: &[u8],
        row: u64,
        mut is_held: impl FnMut() -> Result<bool, E>,
    ) -> Result<bool, E> {
        let at = Position::new(key, row);
        loop {
            // O5: comes before the look.
            let place = self.descend(guard, &Cut::behind(at), 0)?;
            let Ok(index) = place.find(guard, &at)? else { return Ok(false) };
            if is_held()? {
                return Ok(false);
            }
            let block = place.block;
            let parts = [Part::Run(block, 0, index), Part::Run(block, index + 1, block.len())];
            if self.put(guard, blocks, &place, &parts)? {
                // As in `insert`.
                let _ = self.mend(guard, blocks, &place);
                let _ = self.merge_if_sparse(guard, blocks, &place.anchor);
                return Ok(true);
            }
        }
    }

    /// Removes the entry of `key` and `row` when nobody can want it back; false when there is none.
    ///
    /// # Errors
    /// `OutOfSpace`; when the mapping is damaged.
    pub fn remove(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        key: &[u8],
        row: u64,
    ) -> Result<bool, ShmError> {
        self.remove_unless(guard, blocks, key, row, || Ok(false))
    }
}
