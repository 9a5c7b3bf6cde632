//! Blocks: a sorted run of entries, never changed but replaced as a whole.
//!
//! Layout      32-byte header; the entries' prefixes, then their ranks, each in a row, so that a search reads few cache lines; then,
//!             in a block of the bottom level that has long keys, where each entry's tail ends, and the tails; in others the
//!             offsets of the anchors that the entries lead to, whose low keys hold the tails.

use super::anchor::Anchor;
use super::position::{Cut, Position, Rank};
use crate::epoch::Guard;
use crate::shm::{Shared, ShmError};
use crate::sys::{u64_of, usize_of};
use std::mem::size_of;
use std::ops::Range;

const WORD_BYTES: usize = size_of::<u64>();
const END_BYTES: usize = size_of::<u32>();
/// Flag of a child: its anchor is about to go, and what it covers is found from the left (M1).
const CLOSING: u64 = 1;

#[repr(C)]
struct Header {
    /// Offset of the next anchor of the level, or 0.
    right: u64,
    /// Its low key; the tail of a long one is in the anchor.
    high_prefix: u64,
    high_rank: u64,
    /// Bytes of all tails.
    tail_bytes: u32,
    count: u16,
    level: u8,
    _pad: u8,
}

const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(HEADER_BYTES == 32);

// SAFETY: repr(C), integers only; all-zero is an empty block; written before the block is linked, and never again.
unsafe impl Shared for Header {}

/// The block of an index in which nothing has been put yet.
static EMPTY: Header =
    Header { right: 0, high_prefix: 0, high_rank: 0, tail_bytes: 0, count: 0, level: 0, _pad: 0 };

/// A block that was found under a guard.
#[derive(Clone, Copy)]
pub(super) struct Block<'g> {
    /// 0 for the block that there is before the first.
    pub(super) offset: u64,
    header: &'g Header,
}

/// What an entry leads to in a block above the bottom level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Child(u64);

impl Child {
    /// Of an entry of the bottom level.
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn new(anchor: u64) -> Self {
        Self(anchor)
    }

    #[inline]
    pub(super) const fn anchor(self) -> u64 {
        self.0 & !CLOSING
    }

    #[inline]
    pub(super) const fn is_closing(self) -> bool {
        self.0 & CLOSING != 0
    }

    pub(super) const fn closing(self) -> Self {
        Self(self.0 | CLOSING)
    }
}

/// A part of what is to be in a block.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// Entries of another block.
    Run(Block<'a>, usize, usize),
    /// One entry.
    One(Item<'a>),
}

impl<'a> Part<'a> {
    /// How many entries it has.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Run(_, from, to) => to - from,
            Self::One(_) => 1,
        }
    }

    /// Its entries.
    pub(super) fn items(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let part = *self;
        (0..self.len()).map(move |index| match part {
            Self::Run(block, from, _) => block.item(from + index),
            Self::One(item) => item,
        })
    }
}

/// One entry, with all that belongs to it.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) prefix: u64,
    pub(super) rank: Rank,
    /// In a block of the bottom level.
    pub(super) tail: &'a [u8],
    pub(super) child: Child,
}

impl<'a> Item<'a> {
    /// The place of an entry of the bottom level.
    pub(super) fn position(&self) -> Position<'a> {
        Position { prefix: self.prefix, rank: self.rank, tail: self.tail }
    }
}

/// What follows a block: the next anchor of the level, and its low key.
#[derive(Clone, Copy)]
pub(super) struct Right {
    pub(super) anchor: u64,
    pub(super) prefix: u64,
    pub(super) rank: Rank,
}

/// How much there is in some parts.
#[derive(Clone, Copy, Default)]
pub(super) struct Measure {
    pub(super) count: usize,
    pub(super) tail_bytes: usize,
}

impl Measure {
    /// Bytes of a block of `level` with that in it.
    pub(super) fn bytes(self, level: u8) -> usize {
        let ends = if self.tail_bytes == 0 { 0 } else { self.count * END_BYTES };
        HEADER_BYTES + self.count * entry_bytes(level) + ends + self.tail_bytes
    }

    #[inline]
    fn add(&mut self, part: &Part<'_>) {
        match part {
            Part::Run(block, from, to) => {
                self.count += to - from;
                if block.has_tails() {
                    self.tail_bytes += block.tail_range(*from, *to).len();
                }
            }
            Part::One(item) => {
                self.count += 1;
                self.tail_bytes += item.tail.len();
            }
        }
    }

    #[inline]
    pub(super) fn of(parts: &[Part<'_>]) -> Self {
        let mut measure = Self::default();
        for part in parts {
            measure.add(part);
        }
        measure
    }
}

/// Bytes of an entry without its tail.
pub(super) fn entry_bytes(level: u8) -> usize {
    if level == 0 { 2 * WORD_BYTES } else { 3 * WORD_BYTES }
}

impl<'g> Block<'g> {
    /// The block at an offset that came out of [`Anchor::load`].
    ///
    /// # Errors
    /// When it reaches out of the arena: the mapping is damaged.
    #[inline]
    pub(super) fn at(guard: &'g Guard<'_>, offset: u64) -> Result<Self, ShmError> {
        if offset == 0 {
            return Ok(Self { offset, header: &EMPTY });
        }
        let block = Self { offset, header: guard.resolve(offset)? };
        guard.arena().bytes(offset, u64_of(block.measure().bytes(block.level())))?;
        Ok(block)
    }

    #[inline]
    fn measure(&self) -> Measure {
        Measure { count: self.len(), tail_bytes: self.tail_bytes() }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.measure().bytes(self.level())
    }

    /// Number of entries.
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.header.count)
    }

    #[inline]
    pub(super) fn level(&self) -> u8 {
        self.header.level
    }

    #[inline]
    fn has_tails(&self) -> bool {
        self.header.tail_bytes != 0
    }

    #[inline]
    fn tail_bytes(&self) -> usize {
        usize_of(u64::from(self.header.tail_bytes))
    }

    /// What follows, if anything does.
    #[inline]
    pub(super) fn right(&self) -> Option<Right> {
        let Header { right, high_prefix, high_rank, .. } = *self.header;
        (right != 0).then_some(Right { anchor: right, prefix: high_prefix, rank: Rank::from_bits(high_rank) })
    }

    /// The words of one of the rows of words behind the header.
    #[inline]
    fn row(&self, number: usize) -> &'g [u64] {
        let begin = std::ptr::from_ref(self.header).wrapping_add(1).cast::<u64>();
        // SAFETY: `at` checked that the block, with all rows of its level, lies inside the mapping, and `EMPTY` has rows of length
        // 0; the header is a multiple of the word's size. A linked block never changes, one that is RESERVED is its maker's
        // alone, and the guard keeps it from being used again for as long as 'g.
        unsafe { std::slice::from_raw_parts(begin.wrapping_add(number * self.len()), self.len()) }
    }

    /// The first bytes of the keys.
    #[inline]
    pub(super) fn prefixes(&self) -> &'g [u64] {
        self.row(0)
    }

    /// What decides between entries with the same first bytes.
    #[inline]
    pub(super) fn rank(&self, index: usize) -> Rank {
        Rank::from_bits(self.row(1)[index])
    }

    /// What the entry of a block above the bottom level leads to.
    #[inline]
    pub(super) fn child(&self, index: usize) -> Child {
        if self.level() == 0 { Child::NONE } else { Child(self.row(2)[index]) }
    }

    /// The same of all entries.
    pub(super) fn children(self) -> impl Iterator<Item = Child> + use<'g> {
        (0..self.len()).map(move |index| self.child(index))
    }

    /// Where the tails end, in a block of the bottom level that has some.
    fn ends(&self) -> &'g [u32] {
        if !self.has_tails() {
            return &[];
        }
        let begin = std::ptr::from_ref(self.header).wrapping_add(1).cast::<u64>();
        // SAFETY: as in `row`; a block with tails is of the bottom level, so two rows lie before.
        unsafe { std::slice::from_raw_parts(begin.wrapping_add(2 * self.len()).cast(), self.len()) }
    }

    /// Where the tails of the entries from `from` to `to` lie among all.
    fn tail_range(&self, from: usize, to: usize) -> Range<usize> {
        let ends = self.ends();
        let end = |index: usize| match index.checked_sub(1).and_then(|index| ends.get(index)) {
            Some(end) => usize_of(u64::from(*end)).min(self.tail_bytes()),
            None => 0,
        };
        let begin = end(from);
        begin..end(to).max(begin)
    }

    fn tails(&self) -> &'g [u8] {
        if !self.has_tails() {
            return &[];
        }
        let begin = std::ptr::from_ref(self.header).cast::<u8>();
        let skipped = self.bytes() - self.tail_bytes();
        // SAFETY: as in `row`.
        unsafe { std::slice::from_raw_parts(begin.wrapping_add(skipped), self.tail_bytes()) }
    }

    /// What the key of an entry of the bottom level has behind its prefix.
    pub(super) fn tail(&self, index: usize) -> &'g [u8] {
        &self.tails()[self.tail_range(index, index + 1)]
    }

    /// An entry with all that belongs to it.
    pub(super) fn item(&self, index: usize) -> Item<'g> {
        Item {
            prefix: self.prefixes()[index],
            rank: self.rank(index),
            tail: self.tail(index),
            child: self.child(index),
        }
    }

    /// How many entries are on the left of the cut.
    #[inline]
    pub(super) fn count_left_of(&self, guard: &'g Guard<'_>, cut: &Cut<'_>) -> Result<usize, ShmError> {
        let prefixes = self.prefixes();
        let first = prefixes.partition_point(|prefix| *prefix < cut.at.prefix);
        if prefixes.get(first) != Some(&cut.at.prefix) || !self.is_left_of(guard, cut, first)? {
            return Ok(first);
        }
        self.count_ties(guard, cut, first)
    }

    /// The same, when those before `begin` are known to be, and perhaps few others.
    #[inline]
    pub(super) fn count_left_of_behind(
        &self,
        guard: &'g Guard<'_>,
        cut: &Cut<'_>,
        begin: usize,
    ) -> Result<usize, ShmError> {
        let is_within = |index| self.prefixes().get(index).is_some_and(|prefix| *prefix <= cut.at.prefix);
        if is_within(begin + 1) {
            return self.count_left_of(guard, cut);
        }
        Ok(begin + usize::from(is_within(begin) && self.is_left_of(guard, cut, begin)?))
    }

    /// Is the entry on the left of the cut?
    #[inline]
    fn is_left_of(&self, guard: &'g Guard<'_>, cut: &Cut<'_>, index: usize) -> Result<bool, ShmError> {
        cut.is_right_of(self.prefixes()[index], self.rank(index), || {
            if self.level() == 0 {
                Ok(self.tail(index))
            } else {
                Anchor::at(guard, self.child(index).anchor())?.tail(guard)
            }
        })
    }

    /// The same, when the entry `first` is the first with the cut's prefix.
    fn count_ties(&self, guard: &'g Guard<'_>, cut: &Cut<'_>, first: usize) -> Result<usize, ShmError> {
        let ties = self.prefixes()[first..].partition_point(|prefix| *prefix == cut.at.prefix);
        let (mut low, mut high) = (first, first + ties);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.is_left_of(guard, cut, middle)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The next anchor of the level, if its low key is on the left of the cut too.
    #[inline]
    pub(super) fn right_before(
        &self,
        guard: &'g Guard<'_>,
        cut: &Cut<'_>,
    ) -> Result<Option<Anchor<'g>>, ShmError> {
        let Some(right) = self.right() else { return Ok(None) };
        if right.prefix > cut.at.prefix {
            return Ok(None);
        }
        let anchor = Anchor::at(guard, right.anchor)?;
        let is_left = cut.is_right_of(right.prefix, right.rank, || anchor.tail(guard))?;
        Ok(is_left.then_some(anchor))
    }

    /// Asks the processor for what is looked at of a block of `level` that is about to be searched, so that its lines come at once.
    #[inline]
    pub(super) fn prefetch(guard: &Guard<'_>, offset: u64, level: u8) {
        let lines = if level == 0 { LEAF_LINES } else { INNER_LINES };
        guard.arena().prefetch_block_word(offset);
        for line in 0..lines {
            guard.arena().prefetch(offset + line * LINE_BYTES);
        }
    }
}

const LINE_BYTES: u64 = 64;
/// Lines of a block of the bottom level of the usual size, all of which are copied when it is changed.
const LEAF_LINES: u64 = 10;
/// Lines of the prefixes of a block above.
const INNER_LINES: u64 = 6;

/// Fills a RESERVED block, which nobody else can see.
///
/// # Errors
/// When it does not lie inside the arena.
#[expect(clippy::cast_ptr_alignment, reason = "a block begins at a multiple of 16")]
pub(super) fn write(
    guard: &Guard<'_>,
    offset: u64,
    level: u8,
    parts: &[Part<'_>],
    right: Option<Right>,
) -> Result<(), ShmError> {
    let measure = Measure::of(parts);
    let Measure { count, tail_bytes } = measure;
    let base = guard.arena().bytes(offset, u64_of(measure.bytes(level)))?;
    let right = right.unwrap_or(Right { anchor: 0, prefix: 0, rank: Rank::FIRST });
    let header = Header {
        right: right.anchor,
        high_prefix: right.prefix,
        high_rank: right.rank.bits(),
        tail_bytes: u32::try_from(tail_bytes).unwrap_or(u32::MAX),
        count: u16::try_from(count).unwrap_or(u16::MAX),
        level,
        _pad: 0,
    };
    let rows = base.wrapping_add(HEADER_BYTES).cast::<u64>();
    let ends = rows.wrapping_add(2 * count).cast::<u32>();
    let tails = base.wrapping_add(measure.bytes(level) - tail_bytes);
    let mut index = 0;
    let mut tail_end = 0;
    // SAFETY: `bytes` checked that all that is written lies inside the mapping: `index` counts up to `count`,
    // `tail_end` to `tail_bytes`, as `measure` did. The block is RESERVED, so this session alone has its address; what is copied lies
    // in other blocks, which the guard holds.
    unsafe {
        base.cast::<Header>().write(header);
        for part in parts {
            match part {
                Part::Run(block, from, to) => {
                    let length = to - from;
                    let row_count = if level == 0 { 2 } else { 3 };
                    for row in 0..row_count {
                        let source = &block.row(row)[*from..*to];
                        rows.wrapping_add(row * count + index)
                            .copy_from_nonoverlapping(source.as_ptr(), length);
                    }
                    if tail_bytes != 0 {
                        let range = block.tail_range(*from, *to);
                        for entry in *from..*to {
                            let end = tail_end + block.tail_range(*from, entry + 1).len();
                            let end = u32::try_from(end).unwrap_or(u32::MAX);
                            ends.wrapping_add(index + entry - from).write(end);
                        }
                        let source = &block.tails()[range];
                        tails.wrapping_add(tail_end).copy_from_nonoverlapping(source.as_ptr(), source.len());
                        tail_end += source.len();
                    }
                    index += length;
                }
                Part::One(item) => {
                    rows.wrapping_add(index).write(item.prefix);
                    rows.wrapping_add(count + index).write(item.rank.bits());
                    if level != 0 {
                        rows.wrapping_add(2 * count + index).write(item.child.0);
                    }
                    if tail_bytes != 0 {
                        tails
                            .wrapping_add(tail_end)
                            .copy_from_nonoverlapping(item.tail.as_ptr(), item.tail.len());
                        tail_end += item.tail.len();
                        ends.wrapping_add(index).write(u32::try_from(tail_end).unwrap_or(u32::MAX));
                    }
                    index += 1;
                }
            }
        }
    }
    Ok(())
}
