//! Removing an entry, in two steps with a look at the row between them (O5), or at once.
#![forbid(unsafe_code)]

use super::block::{Item, Part};
use super::ordered::OrderedIndex;
use super::position::{Cut, EntryWord, Position};
use super::replace::with_item;
use crate::epoch::Guard;
use crate::index::Blocks;
use crate::shm::ShmError;
use crate::sync::{Ordering, fence};

/// An entry that the guard's session has marked. It is for that session alone, until it marks the same entry again.
#[derive(Clone, Copy, Debug)]
pub struct Dying<'k> {
    key: &'k [u8],
    row: u64,
}

/// What is to become of an entry.
enum Change {
    Keep,
    To(EntryWord),
    Remove,
}

impl OrderedIndex<'_> {
    /// Marks the entry of `key` and `row`, in the name of the guard's session; none when there is no such entry. What the session
    /// looks at afterwards is no older than the mark.
    ///
    /// # Errors
    /// `OutOfSpace`; when the mapping is damaged.
    pub fn mark_dying<'k>(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        key: &'k [u8],
        row: u64,
    ) -> Result<Option<Dying<'k>>, ShmError> {
        let slot = guard.participant().owner().slot;
        let is_there = self.change(guard, blocks, key, row, |word| {
            if word.dying() == Some(slot) { Change::Keep } else { Change::To(word.marked_by(slot)) }
        })?;
        // O5
        fence(Ordering::SeqCst);
        Ok(is_there.map(|_| Dying { key, row }))
    }

    /// Removes an entry that still has the session's mark; false when somebody has taken the mark off, or put another on it, or
    /// removed the entry.
    ///
    /// # Errors
    /// `OutOfSpace`; when the mapping is damaged.
    pub fn remove_if_unchanged(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        dying: &Dying<'_>,
    ) -> Result<bool, ShmError> {
        let slot = guard.participant().owner().slot;
        let was = self.change(guard, blocks, dying.key, dying.row, |word| {
            if word.dying() == Some(slot) { Change::Remove } else { Change::Keep }
        })?;
        Ok(was.is_some_and(|word| word.dying() == Some(slot)))
    }

    /// Takes any mark off the entry of `key` and `row`; true when there was one.
    ///
    /// # Errors
    /// `OutOfSpace`; when the mapping is damaged.
    pub fn revive(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        key: &[u8],
        row: u64,
    ) -> Result<bool, ShmError> {
        let was = self.change(guard, blocks, key, row, |word| match word.dying() {
            Some(_) => Change::To(word.unmarked()),
            None => Change::Keep,
        })?;
        Ok(was.is_some_and(|word| word.dying().is_some()))
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
        Ok(self.change(guard, blocks, key, row, |_| Change::Remove)?.is_some())
    }

    /// Changes one entry as `decide` says, and returns what it was; none when it is not there.
    fn change(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        key: &[u8],
        row: u64,
        decide: impl Fn(EntryWord) -> Change,
    ) -> Result<Option<EntryWord>, ShmError> {
        let at = Position::new(key, row);
        loop {
            let place = self.descend(guard, &Cut::behind(at), 0)?;
            let Ok(index) = place.find(guard, &at)? else { return Ok(None) };
            let block = place.block;
            let was = block.word(index);
            let change = decide(was);
            let done = match change {
                Change::Keep => true,
                Change::To(word) => {
                    let item = Item { word, ..block.item(index) };
                    self.put(guard, blocks, &place, &with_item(block, index, index + 1, item))?
                }
                Change::Remove => {
                    let parts = [Part::Run(block, 0, index), Part::Run(block, index + 1, block.len())];
                    self.put(guard, blocks, &place, &parts)?
                }
            };
            if done {
                // As in `insert`.
                let _ = self.mend(guard, blocks, &place);
                if matches!(change, Change::Remove) {
                    let _ = self.merge_if_sparse(guard, blocks, &place.anchor);
                }
                return Ok(Some(was));
            }
        }
    }
}
