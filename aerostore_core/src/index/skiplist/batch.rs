//! Adding many entries at once: each block that covers some of them is replaced once.
//!
//! Cost        the entries are sorted; those that one block covers come into it, or into as many as are needed in its place, by one
//!             CAS (O1, O2), up to some blocks' worth. Into an empty index, or behind what is there, full blocks are put one behind the other, and the
//!             levels above grow in their order: the index is built from the bottom up. Whoever dies has added some of the entries.
#![forbid(unsafe_code)]

use super::anchor::Anchor;
use super::block::{Child, Item, Part};
use super::ordered::OrderedIndex;
use super::position::{Cut, Position, Rank};
use super::seek::Place;
use crate::epoch::Guard;
use crate::index::Blocks;
use crate::shm::ShmError;
use std::cmp::Ordering;
use std::ops::Range;

/// Entries that are put in the place of one block at most, with what it has.
const RUN: usize = 256;

/// Entries that are to be added, in private memory.
#[derive(Debug, Default)]
pub struct EntryBatch {
    entries: Vec<New>,
    /// What long keys have behind their prefixes.
    tails: Vec<u8>,
}

#[derive(Debug)]
struct New {
    prefix: u64,
    rank: Rank,
    /// Where the tail ends; it is as long as the next number says.
    tail_end: usize,
    tail_bytes: usize,
}

impl EntryBatch {
    /// Notes the entry of `key` and `row`.
    pub fn push(&mut self, key: &[u8], row: u64) {
        let Position { prefix, rank, tail } = Position::new(key, row);
        self.tails.extend_from_slice(tail);
        self.entries.push(New { prefix, rank, tail_end: self.tails.len(), tail_bytes: tail.len() });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.entries.len() * size_of::<New>() + self.tails.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets them, but not the memory for the next ones.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.tails.clear();
    }

    fn at(&self, index: usize) -> Position<'_> {
        let New { prefix, rank, tail_end, tail_bytes } = self.entries[index];
        Position { prefix, rank, tail: &self.tails[tail_end - tail_bytes..tail_end] }
    }

    /// Sorts them, as [`OrderedIndex::insert_sorted`] wants them.
    pub fn sort(&mut self) {
        let Self { entries, tails } = self;
        if tails.is_empty() {
            // No key is long. One number: compared without a branch.
            let place = |new: &New| u128::from(new.prefix) << u64::BITS | u128::from(new.rank.bits());
            entries.sort_unstable_by_key(place);
            entries.dedup_by_key(|new| place(new));
            return;
        }
        let tail = |new: &New| &tails[new.tail_end - new.tail_bytes..new.tail_end];
        // Of long keys with the same first bytes the tails decide before the rows do.
        let order = |a: &New, b: &New| match a.prefix.cmp(&b.prefix) {
            Ordering::Equal if a.rank.is_long() && b.rank.is_long() => {
                tail(a).cmp(tail(b)).then(a.rank.cmp(&b.rank))
            }
            Ordering::Equal => a.rank.cmp(&b.rank),
            order => order,
        };
        entries.sort_unstable_by(order);
        entries.dedup_by(|a, b| order(a, b) == Ordering::Equal);
    }
}

impl OrderedIndex<'_> {
    /// Adds all entries of the batch, which is sorted by that. Whoever adds them because of versions has linked those before (O5).
    ///
    /// # Errors
    /// `OutOfSpace`: some of them are added then. When the mapping is damaged.
    pub fn insert_all(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        batch: &mut EntryBatch,
    ) -> Result<(), ShmError> {
        batch.sort();
        self.insert_sorted(guard, blocks, batch, 0..batch.len()).map(drop)
    }

    /// Adds those in `range`, and a few behind it, of a batch that was sorted; says how far it has come.
    ///
    /// # Errors
    /// As [`OrderedIndex::insert_all`].
    pub fn insert_sorted(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        batch: &EntryBatch,
        range: Range<usize>,
    ) -> Result<usize, ShmError> {
        let mut next = range.start;
        while next < range.end {
            next += self.insert_run(guard, blocks, batch, next)?;
        }
        Ok(next)
    }

    /// Adds those from `next` on that one block covers, as many as a run may have; says how many.
    fn insert_run(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        batch: &EntryBatch,
        next: usize,
    ) -> Result<usize, ShmError> {
        loop {
            let place = self.descend(guard, &Cut::behind(batch.at(next)), 0)?;
            let run = next..next + run_length(guard, batch, next, &place)?;
            let count = run.len();
            let parts = with_run(guard, batch, run, &place)?;
            let is_done = if parts.is_empty() {
                self.add_again(guard, blocks, &place)?
            } else {
                self.put(guard, blocks, &place, &parts)?
            };
            if is_done {
                // As in `insert`.
                let _ = self.mend(guard, blocks, &place);
                return Ok(count);
            }
        }
    }
}

/// How many entries from `next` on belong to the block at `place`, up to `RUN`.
fn run_length(
    guard: &Guard<'_>,
    batch: &EntryBatch,
    next: usize,
    place: &Place<'_>,
) -> Result<usize, ShmError> {
    let longest = RUN.min(batch.len() - next);
    let Some(right) = place.block.right() else { return Ok(longest) };
    let end = Cut::before(Anchor::at(guard, right.anchor)?.low(guard)?);
    let mut length = 0;
    while length < longest {
        let at = batch.at(next + length);
        if !end.is_right_of(at.prefix, at.rank, || Ok(at.tail))? {
            break;
        }
        length += 1;
    }
    Ok(length)
}

/// What the block at `place` has with those entries of the run that it lacks; nothing if it lacks none.
fn with_run<'a>(
    guard: &'a Guard<'_>,
    batch: &'a EntryBatch,
    run: Range<usize>,
    place: &Place<'a>,
) -> Result<Vec<Part<'a>>, ShmError> {
    let block = place.block;
    let mut parts = Vec::with_capacity(2 * run.len() + 1);
    let mut from = 0;
    for index in run {
        let at = batch.at(index);
        let Err(to) = place.find(guard, &at)? else { continue };
        if from < to {
            parts.push(Part::Run(block, from, to));
        }
        parts.push(Part::One(Item { prefix: at.prefix, rank: at.rank, tail: at.tail, child: Child::NONE }));
        from = to;
    }
    if !parts.is_empty() && from < block.len() {
        parts.push(Part::Run(block, from, block.len()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_long_keys_take_counts() {
        let (mut short, mut long) = (EntryBatch::default(), EntryBatch::default());
        for row in 0..10 {
            short.push(&[1; 8], row << 4);
            long.push(&[1; 208], row << 4);
        }
        assert_eq!(short.bytes(), 10 * size_of::<New>());
        assert_eq!(long.bytes() - short.bytes(), 10 * 200);
    }
}
