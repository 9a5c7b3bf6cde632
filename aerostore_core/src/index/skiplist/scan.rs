//! Scans of a range, block by block, in either direction.
//!
//! What is in the index all the while that a scan runs is found, once; what comes or goes meanwhile may be found or not. Each block
//! is seen as it was at one moment.
#![forbid(unsafe_code)]

use super::anchor::{Anchor, AnchorWord};
use super::block::Block;
use super::ordered::OrderedIndex;
use super::position::{Cut, Position};
use crate::epoch::Guard;
use crate::index::key;
use crate::row::Value;
use crate::shm::{BlockRef, ShmError};
use std::ops::Bound;

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From small keys to large ones.
    Forward,
    /// From large keys to small ones.
    Backward,
}

/// A running scan; it ends with its guard.
pub struct Cursor<'g> {
    index: OrderedIndex<'g>,
    guard: &'g Guard<'g>,
    direction: Direction,
    /// What is left lies between these.
    lower: Cut<'g>,
    upper: Cut<'g>,
    /// The next anchor, of a forward scan, as the block before it says.
    next: Option<Anchor<'g>>,
    is_done: bool,
}

impl<'a> OrderedIndex<'a> {
    /// A scan of the entries with keys from `from` to `to`.
    pub fn seek<'g>(
        &self,
        guard: &'g Guard<'_>,
        from: Bound<&'g [u8]>,
        to: Bound<&'g [u8]>,
        direction: Direction,
    ) -> Cursor<'g>
    where
        'a: 'g,
    {
        self.cursor(guard, Cut::lower(from), Cut::upper(to), direction)
    }

    /// A scan that goes on where an earlier one ended: behind the entry of `key` and `row`, in its direction, whether it is still
    /// there or not, up to `end`.
    pub fn resume<'g>(
        &self,
        guard: &'g Guard<'_>,
        (key, row): (&'g [u8], u64),
        end: Bound<&'g [u8]>,
        direction: Direction,
    ) -> Cursor<'g>
    where
        'a: 'g,
    {
        let at = Position::new(key, row);
        match direction {
            Direction::Forward => self.cursor(guard, Cut::behind(at), Cut::upper(end), direction),
            Direction::Backward => self.cursor(guard, Cut::lower(end), Cut::before(at), direction),
        }
    }

    /// A scan of the entries whose key is a hash, from behind that of the row `behind` on, if it is to go on there.
    pub fn seek_hash<'g>(&self, guard: &'g Guard<'_>, hash: u64, behind: Option<u64>) -> Cursor<'g>
    where
        'a: 'g,
    {
        let lower = match behind {
            None => Cut::before(Position::of_hash(hash, 0)),
            Some(row) => Cut::behind(Position::of_hash(hash, row)),
        };
        let upper = Cut::behind(Position::of_hash(hash, u64::MAX));
        self.cursor(guard, lower, upper, Direction::Forward)
    }

    fn cursor<'g>(
        &self,
        guard: &'g Guard<'_>,
        lower: Cut<'g>,
        upper: Cut<'g>,
        direction: Direction,
    ) -> Cursor<'g>
    where
        'a: 'g,
    {
        Cursor { index: *self, guard, direction, lower, upper, next: None, is_done: false }
    }
}

impl<'g> Cursor<'g> {
    /// The entries of the next block that covers a part of the range, which may be none; no batch when the whole range was covered.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[inline]
    pub fn next_batch(&mut self) -> Result<Option<Batch<'g>>, ShmError> {
        if self.is_done {
            return Ok(None);
        }
        match self.direction {
            Direction::Forward => self.next_forward(),
            Direction::Backward => self.next_backward(),
        }
        .map(Some)
    }

    #[inline]
    fn next_forward(&mut self) -> Result<Batch<'g>, ShmError> {
        // One that wants no more than a few entries ends in its first block.
        let is_under_way = self.next.is_some();
        let (anchor, word, block, begin) = if let Some((anchor, word, block)) = self.take_next()? {
            (anchor, word, block, 0)
        } else {
            let place = self.index.descend(self.guard, &Cut::behind(self.lower.at), 0)?;
            let begin = place.block.count_left_of(self.guard, &self.lower)?;
            (place.anchor, place.word, place.block, begin)
        };
        self.next = block.right_before(self.guard, &self.upper)?;
        if let (Some(next), true) = (self.next, is_under_way) {
            Block::prefetch(self.guard, next.load(self.guard).offset(), 0);
        }
        let end = if let Some(next) = self.next {
            self.lower = Cut::before(next.low(self.guard)?);
            block.len()
        } else {
            self.is_done = true;
            block.count_left_of_behind(self.guard, &self.upper, begin)?
        };
        Ok(Batch { guard: self.guard, anchor, word, block, begin, end: end.max(begin), is_backward: false })
    }

    /// The next block by way of the last one, if its anchor is still in the list.
    #[inline]
    fn take_next(&mut self) -> Result<Option<(Anchor<'g>, AnchorWord, Block<'g>)>, ShmError> {
        let Some(anchor) = self.next.take() else { return Ok(None) };
        let word = anchor.load(self.guard);
        if word.is_frozen() || word.is_dead() {
            return Ok(None);
        }
        Ok(Some((anchor, word, Block::at(self.guard, word.offset())?)))
    }

    fn next_backward(&mut self) -> Result<Batch<'g>, ShmError> {
        let place = self.index.descend(self.guard, &self.upper, 0)?;
        let end = place.block.count_left_of(self.guard, &self.upper)?;
        let low = place.anchor.low(self.guard)?;
        // Nothing of the range is further to the left.
        self.is_done = place.anchor.is_left_of(self.guard, &Cut::behind(self.lower.at))?;
        let begin = if self.is_done { place.block.count_left_of(self.guard, &self.lower)? } else { 0 };
        self.upper = Cut::before(low);
        let Self { guard, .. } = *self;
        Ok(Batch {
            guard,
            anchor: place.anchor,
            word: place.word,
            block: place.block,
            begin: begin.min(end),
            end,
            is_backward: true,
        })
    }
}

/// Entries of one block, in the order of the scan.
#[derive(Clone, Copy)]
pub struct Batch<'g> {
    guard: &'g Guard<'g>,
    anchor: Anchor<'g>,
    word: AnchorWord,
    block: Block<'g>,
    begin: usize,
    end: usize,
    is_backward: bool,
}

impl<'g> Batch<'g> {
    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.begin
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entry number `index`.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline]
    pub fn entry(&self, index: usize) -> IndexEntry<'g> {
        assert!(index < self.len(), "a batch of {} has no entry {index}", self.len());
        let place = if self.is_backward { self.end - 1 - index } else { self.begin + index };
        IndexEntry { block: self.block, place }
    }

    /// The row of entry number `index`.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline]
    pub fn row(&self, index: usize) -> u64 {
        self.entry(index).row()
    }

    /// The entries.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = IndexEntry<'g>> + use<'g> {
        let batch = *self;
        (0..self.len()).map(move |index| batch.entry(index))
    }

    /// What tells later whether anything has changed in the block.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn stamp(&self) -> Result<BlockStamp, ShmError> {
        let arena = self.guard.arena();
        let block = match self.word.offset() {
            0 => BlockRef { offset: 0, generation: 0 },
            offset => arena.block_ref(offset)?,
        };
        Ok(BlockStamp { anchor: arena.block_ref(self.anchor.offset)?, word: self.word, block })
    }
}

/// An entry of an index: a key, and the row that had it when the entry was added.
#[derive(Clone, Copy)]
pub struct IndexEntry<'g> {
    block: Block<'g>,
    place: usize,
}

impl IndexEntry<'_> {
    /// Offset of the row.
    #[inline]
    pub fn row(&self) -> u64 {
        self.block.rank(self.place).row()
    }

    /// Is that its key?
    #[inline]
    pub fn key_is(&self, key: &[u8]) -> bool {
        let rank = self.block.rank(self.place);
        Position::new(key, self.row())
            .is(self.block.prefixes()[self.place], rank, || self.block.tail(self.place))
    }

    /// Is that the key of `value`?
    #[inline]
    pub fn has_key_of(&self, value: Value<'_>) -> bool {
        match key::short_key(value) {
            Some((prefix, length)) => {
                self.block.prefixes()[self.place] == prefix
                    && self.block.rank(self.place).is_of_length(length)
            }
            None => key::with_key(value, |key| self.key_is(key)),
        }
    }

    /// Appends its key to `out`.
    pub fn key_into(&self, out: &mut Vec<u8>) {
        let prefix = self.block.prefixes()[self.place].to_be_bytes();
        out.extend_from_slice(&prefix[..self.block.rank(self.place).short_length()]);
        out.extend_from_slice(self.block.tail(self.place));
    }
}

/// A block as it was when it was scanned; may be kept from one operation to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockStamp {
    anchor: BlockRef,
    word: AnchorWord,
    block: BlockRef,
}

impl BlockStamp {
    /// Has nothing been added where the block was, not even an entry that was there already (O5), and nothing removed?
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn is_unchanged(&self, guard: &Guard<'_>) -> Result<bool, ShmError> {
        if guard.word_of(self.anchor)?.is_none() {
            return Ok(false);
        }
        if Anchor::at(guard, self.anchor.offset)?.load(guard) != self.word {
            return Ok(false);
        }
        Ok(self.block.offset == 0 || guard.arena().block_ref(self.block.offset)? == self.block)
    }
}
