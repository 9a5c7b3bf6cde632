//! One table of the key hash: its header, its slots in segments, and the walk along a probe path.

use crate::epoch::Guard;
use crate::index::Blocks;
use crate::shm::{BlockKind, Shared, ShmError};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::mem::{offset_of, size_of};

/// A slot that was never used.
pub(super) const EMPTY: u64 = 0;
/// Flag: the slot takes no more changes but the one to MOVED.
pub(super) const FROZEN: u64 = 1;
/// A slot that was empty when the table stopped taking entries.
pub(super) const FROZEN_EMPTY: u64 = FROZEN;
/// A slot whose entry is in the next table.
pub(super) const MOVED: u64 = FROZEN | 2;
/// Flag: the entry was removed. The slot keeps its row for movers that come late, and takes no more changes.
pub(super) const DELETED: u64 = 4;

/// The next table has at least one slot for so many of a table's.
const INSERTS_WHILE_MOVING: u64 = 32;

const TAG_SHIFT: u32 = 48;
const ROW_MASK: u64 = ((1 << TAG_SHIFT) - 1) & !0xF;
/// Bytes of a slot: its word, then the hint.
const SLOT_BYTES: u64 = 16;
/// Slots of a full segment: with its block header it takes one slab to the byte, so that a table finds room also where no two
/// slabs in a row are free.
const SEGMENT_SLOTS: u64 = (1 << 12) - 1;
/// The same for tables whose directory would get long: eight slabs.
const LARGE_SEGMENT_SLOTS: u64 = (1 << 15) - 1;
/// The largest table with segments of one slab.
const SMALL_LOG2_MAX: u32 = 22;

/// Slots of a full segment of a table of `1 << log2` slots.
#[inline]
fn segment_slots(log2: u32) -> u64 {
    if log2 > SMALL_LOG2_MAX { LARGE_SEGMENT_SLOTS } else { SEGMENT_SLOTS }
}

/// A slot's word for `row`.
pub(super) fn entry_word(hash: u64, row: u64) -> u64 {
    debug_assert_eq!(row & !ROW_MASK, 0);
    hash >> TAG_SHIFT << TAG_SHIFT | row
}

/// The row of a slot's word; 0 when it has none, or no longer.
#[inline]
pub(super) fn row_of(word: u64) -> u64 {
    if word & DELETED == 0 { word & ROW_MASK } else { 0 }
}

/// The row of a slot's word, removed or not.
pub(super) fn row_ever_of(word: u64) -> u64 {
    word & ROW_MASK
}

/// A slot: the word that decides, and where the row's newest version was last known to be.
#[repr(C)]
pub(in crate::index) struct Slot {
    pub(in crate::index) word: AtomicU64,
    /// Offset to fetch ahead, or 0. It may be stale: nothing depends on it but speed.
    pub(in crate::index) hint: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() as u64 == SLOT_BYTES);

// SAFETY: repr(C), atomics only; all-zero is an EMPTY slot.
unsafe impl Shared for Slot {}

/// Header of a table; the offsets of its segments follow.
#[repr(C)]
pub struct HashTable {
    next: AtomicU64,
    log2: AtomicU32,
    _pad: u32,
    /// Slots taken, roughly: a death between taking and counting loses one.
    used: AtomicU64,
    /// Slots below this have been moved to `next`.
    moved: AtomicU64,
    /// Slots whose entry was removed, of those in `used`; as roughly.
    deleted: AtomicU64,
    _reserved: u64,
}

const _: () = assert!(size_of::<HashTable>() == 48 && offset_of!(HashTable, next) == 0);

// SAFETY: repr(C), atomics and padding only; all-zero is valid and unused.
unsafe impl Shared for HashTable {}

/// How full a table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Load {
    Light,
    /// It should grow.
    Full,
    /// Probes get long: it has to grow.
    Overfull,
}

impl HashTable {
    /// Bytes of a header with room for the segment offsets of `1 << log2` slots.
    pub(in crate::index) fn bytes(log2: u32) -> usize {
        let segments = usize::try_from((1_u64 << log2).div_ceil(segment_slots(log2))).unwrap_or(usize::MAX);
        size_of::<Self>() + segments * size_of::<u64>()
    }

    /// Bytes of a table of `1 << log2` slots, with all its segments.
    pub(super) fn bytes_in_all(log2: u32) -> u64 {
        Self::bytes(log2) as u64 + (SLOT_BYTES << log2)
    }

    pub(in crate::index) fn init(&self, log2: u32) {
        self.log2.store(log2, Ordering::Release);
    }

    #[inline]
    pub(in crate::index) fn log2(&self) -> u32 {
        // Relaxed: written before the table was linked, and never again.
        self.log2.load(Ordering::Relaxed)
    }

    #[inline]
    pub(in crate::index) fn slots(&self) -> u64 {
        1 << self.log2()
    }

    #[inline]
    pub(in crate::index) fn next(&self) -> &AtomicU64 {
        &self.next
    }

    pub(in crate::index) fn next_offset(table: u64) -> u64 {
        table + offset_of!(Self, next) as u64
    }

    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Acquire)
    }

    pub(super) fn advance_moved(&self, from: u64, to: u64) {
        let _ = self.moved.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Slots of a table that is to have so many entries, and some more before it grows.
    pub(super) fn log2_for(entries: u64) -> u32 {
        (entries.saturating_mul(3) / 2).max(1).next_power_of_two().trailing_zeros()
    }

    /// The segment of slot `index`, and its place there.
    #[inline]
    fn place_of(&self, index: u64) -> (u64, u64) {
        // Both divisors are constants, which makes the divisions multiplications.
        if self.log2() > SMALL_LOG2_MAX {
            (index / LARGE_SEGMENT_SLOTS, index % LARGE_SEGMENT_SLOTS)
        } else {
            (index / SEGMENT_SLOTS, index % SEGMENT_SLOTS)
        }
    }

    /// Counts so many more entries; tells how full that makes the table.
    pub(super) fn count_inserts(&self, count: u64) -> Load {
        let used = self.used.fetch_add(count, Ordering::Relaxed) + count;
        match used * 10 / self.slots() {
            0..7 => Load::Light,
            7 | 8 => Load::Full,
            _ => Load::Overfull,
        }
    }

    /// Counts one more entry as removed.
    pub(super) fn count_delete(&self) {
        self.deleted.fetch_add(1, Ordering::Relaxed);
    }

    /// Slots of the table that is to follow: what is live fills at most two fifths of it. A removed entry costs a slot until
    /// then, so keys that come and go make a new table now and then, not ever larger ones.
    pub(super) fn next_log2(&self, least: u32) -> u32 {
        let live = self.used.load(Ordering::Relaxed).saturating_sub(self.deleted.load(Ordering::Relaxed));
        // While this table's slots are moved, a batch with each insert, the next one takes the inserts.
        let wanted = (live * 5 / 2).max(self.slots() / INSERTS_WHILE_MOVING);
        wanted.max(1).next_power_of_two().trailing_zeros().max(least)
    }

    /// The directory word of a segment of the table at `table`, and its offset.
    #[inline]
    fn segment_word<'g>(
        guard: &Guard<'g>,
        table: u64,
        segment: u64,
    ) -> Result<(&'g AtomicU64, u64), ShmError> {
        let offset = table + size_of::<Self>() as u64 + segment * size_of::<u64>() as u64;
        Ok((guard.resolve(offset)?, offset))
    }

    /// Offsets of the segments there are.
    pub(crate) fn segments(&self, guard: &Guard<'_>, table: u64) -> Result<Vec<u64>, ShmError> {
        let count = self.slots().div_ceil(segment_slots(self.log2()));
        let mut segments = Vec::new();
        for segment in 0..count {
            match Self::segment_word(guard, table, segment)?.0.load(Ordering::Acquire) {
                0 => {}
                offset => segments.push(offset),
            }
        }
        Ok(segments)
    }

    /// Replaces the table at `word`, whose offset is `word_offset`, by the one that follows it, and gives its memory back.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub(in crate::index) fn replace(
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        word: &AtomicU64,
        word_offset: u64,
        [table, next]: [u64; 2],
    ) -> Result<(), ShmError> {
        let segments = guard.resolve::<Self>(table)?.segments(guard, table)?;
        blocks.replace(word, word_offset, table, next, &mut segments.into_iter())?;
        Ok(())
    }

    /// Gives back the table that `word` leads to, and those that follow it, while nobody else is at them.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub(in crate::index) fn dismantle(
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        word: &AtomicU64,
        word_offset: u64,
    ) -> Result<(), ShmError> {
        loop {
            let table = guard.protect(word);
            if table == 0 {
                return Ok(());
            }
            let next = guard.protect(guard.resolve::<Self>(table)?.next());
            Self::replace(guard, blocks, word, word_offset, [table, next])?;
        }
    }

    /// Calls `f` with the offsets of the table that `word` leads to, of those that follow it, and of their segments.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub(in crate::index) fn for_each_block(
        guard: &Guard<'_>,
        word: &AtomicU64,
        mut f: impl FnMut(u64),
    ) -> Result<(), ShmError> {
        let mut offset = guard.protect(word);
        while offset != 0 {
            let table: &Self = guard.resolve(offset)?;
            f(offset);
            table.segments(guard, offset)?.into_iter().for_each(&mut f);
            offset = guard.protect(table.next());
        }
        Ok(())
    }
}

impl HashTable {
    /// Makes the segments that were never touched.
    pub(in crate::index) fn make_segments(
        &self,
        guard: &Guard<'_>,
        table: u64,
        blocks: &mut dyn Blocks,
    ) -> Result<(), ShmError> {
        for segment in 0..self.slots().div_ceil(segment_slots(self.log2())) {
            let first = segment * segment_slots(self.log2());
            Probe::at(self, first).slot_or_make(guard, table, blocks)?;
        }
        Ok(())
    }
}

/// A walk along the probe path of a hash.
pub(in crate::index) struct Probe<'t> {
    table: &'t HashTable,
    tag: u64,
    index: u64,
    left: u64,
}

impl<'t> Probe<'t> {
    #[inline]
    pub(super) fn new(table: &'t HashTable, hash: u64) -> Self {
        let mask = table.slots() - 1;
        Self { table, tag: hash >> TAG_SHIFT, index: hash & mask, left: mask }
    }

    pub(in crate::index) fn at(table: &'t HashTable, index: u64) -> Self {
        Self { table, tag: 0, index, left: 0 }
    }

    #[inline]
    pub(super) fn tag_matches(&self, word: u64) -> bool {
        word >> TAG_SHIFT == self.tag && row_of(word) != 0
    }

    /// Goes to the next slot; false when the whole table has been seen.
    #[inline]
    pub(super) fn advance(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.index = (self.index + 1) & (self.table.slots() - 1);
        true
    }

    /// Offset of the slot, or none while its segment was never touched (then it is EMPTY).
    #[inline]
    pub(super) fn slot_offset(&self, guard: &Guard<'_>, table: u64) -> Result<Option<u64>, ShmError> {
        let (segment, place) = self.table.place_of(self.index);
        let (word, _) = HashTable::segment_word(guard, table, segment)?;
        let segment = word.load(Ordering::Acquire);
        if segment == 0 {
            return Ok(None);
        }
        Ok(Some(segment + place * SLOT_BYTES))
    }

    /// The slot, or none while its segment was never touched.
    #[inline]
    pub(in crate::index) fn slot<'g>(
        &self,
        guard: &Guard<'g>,
        table: u64,
    ) -> Result<Option<&'g Slot>, ShmError> {
        self.slot_offset(guard, table)?.map(|offset| guard.resolve(offset)).transpose()
    }

    /// The slot, its segment made if need be.
    pub(in crate::index) fn slot_or_make<'g>(
        &mut self,
        guard: &Guard<'g>,
        table: u64,
        blocks: &mut dyn Blocks,
    ) -> Result<&'g Slot, ShmError> {
        loop {
            if let Some(slot) = self.slot(guard, table)? {
                return Ok(slot);
            }
            let (segment, _) = self.table.place_of(self.index);
            let (word, offset) = HashTable::segment_word(guard, table, segment)?;
            let bytes = self.table.slots().min(segment_slots(self.table.log2())) * SLOT_BYTES;
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let block = blocks.alloc_zeroed(bytes, BlockKind::HASH_SEGMENT)?;
            blocks.link(word, offset, block)?;
        }
    }
}
