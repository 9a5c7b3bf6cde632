//! Giving extents back: an empty one returns its memory to the file system, and gets memory again before it is used.
//!
//! Layout      the page of slab headers stays, so that owners can be read at any time; what goes is the rest. The extent's first
//!             slab header says PRESENT, PARTLY (something is on its way, in either direction) or ABSENT.
//! Invariants  X1: that word changes only while one session owns all slabs of the extent, forming. X2: a slab says ABSENT only
//!             where the extent is not PRESENT; FREE, or in use, only where it is. X3: the extent leaves PRESENT before its
//!             first byte goes, and is PRESENT after its last byte has come. X4: who lets go of a forming slab, for itself or
//!             for the dead, makes it FREE or ABSENT as the extent says: so a death at any point is settled by the reaper as
//!             it settles every other, and an extent that stays PARTLY is emptied or filled by the next who needs that. X5:
//!             memory goes only when no operation runs that was running while the extent was in use. An operation that
//!             remembers an offset from an earlier one asks [`Arena::is_in_use`] before it looks there.
//! Ordering    the slabs' words order everything: each claim is an `AcqRel` CAS, each letting go another.
#![forbid(unsafe_code)]

use super::heap::Heap;
use super::slab::{
    EXTENT_BYTES, PAGE_BYTES, SLAB_BYTES, SLABS_PER_EXTENT, SlabHeader, SlabUse, SlabWord, slab_of,
};
use super::trim::release;
use super::{Arena, ShmError};
use crate::sync::Ordering;
use crate::sys::monotonic_ns;
use std::ops::RangeInclusive;

const PRESENT: u32 = 0;
const PARTLY: u32 = 1;
const ABSENT: u32 = 2;

/// What an extent gives back: all but the page of slab headers.
const GIVEN_BACK_BYTES: u64 = EXTENT_BYTES - PAGE_BYTES;
/// How long a session that needs memory waits for another one that is giving back, or filling, the only extent there is.
const OTHERS_WAIT_NS: u64 = 5_000_000;

/// An extent that nobody uses, as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyExtent {
    index: u64,
    /// Sum of the slabs' generations, which grow with every use (S4), before it ends.
    uses: u64,
}

#[cfg(test)]
impl EmptyExtent {
    /// Which extent of the file it is.
    pub(super) fn index(self) -> u64 {
        self.index
    }
}

/// The slabs of extent `index`.
fn slabs_of(index: u64) -> RangeInclusive<u32> {
    let first = slab_of(index * EXTENT_BYTES);
    first..=slab_of(index * EXTENT_BYTES + EXTENT_BYTES - 1)
}

impl Arena {
    /// The header that speaks for the extent of `slab`; none for extents that hold fixed tables, which always stay.
    pub(super) fn extent_header(&self, slab: u32) -> Option<&SlabHeader> {
        self.slab_header(slab - slab % slab_of(EXTENT_BYTES))
    }

    /// Whether the extent of `slab` has all its memory.
    pub(super) fn has_memory(&self, slab: u32) -> bool {
        // Acquire: pairs with the Release of whoever changed it.
        self.extent_header(slab).is_none_or(|header| header.extent_memory.load(Ordering::Acquire) == PRESENT)
    }

    /// Whether `offset` lies in memory that somebody uses: in a fixed table, or in a slab that holds blocks. While the operation
    /// lasts in which this was asked, its memory stays (X5).
    #[inline]
    pub fn is_in_use(&self, offset: u64) -> bool {
        let slab = slab_of(offset);
        u64::from(slab) < self.first_slab()
            || self.slab_header(slab).is_some_and(|header| header.load().is_in_use())
    }

    /// The extents that may ever be given back: neither those with fixed tables nor those of the reserve.
    fn extents(&self) -> std::ops::Range<u64> {
        let end = self.refresh_end() / EXTENT_BYTES;
        self.first_slab().div_ceil(SLABS_PER_EXTENT)..end.saturating_sub(self.reserve_extents())
    }

    fn extent_memory(&self, index: u64) -> u32 {
        let header = self.extent_header(*slabs_of(index).start());
        header.map_or(PRESENT, |header| header.extent_memory.load(Ordering::Acquire))
    }

    fn uses_of(&self, index: u64) -> u64 {
        let headers = slabs_of(index).filter_map(|slab| self.slab_header(slab));
        // Relaxed: ordered by the loads and CASes of the slabs' words.
        headers.map(|header| u64::from(header.generation.load(Ordering::Relaxed))).sum()
    }

    /// The extents that have memory nobody uses, in address order.
    pub fn empty_extents(&self) -> Vec<EmptyExtent> {
        let is_free = |slab| self.slab_header(slab).is_some_and(|header| header.load() == SlabWord::FREE);
        // Counted first: a slab counts a use that ends before it says FREE, so one whose end was counted is over when it is found
        // free, and a later one is not counted.
        self.extents()
            .map(|index| EmptyExtent { index, uses: self.uses_of(index) })
            .filter(|extent| slabs_of(extent.index).all(is_free))
            .collect()
    }

    /// A number that changes when slabs have become free, or may be empty without an owner.
    pub fn release_events(&self) -> u64 {
        let header = self.header();
        // Acquire: pairs with the Releases of those who count; what they let go of is seen.
        let released = header.release_events.load(Ordering::Acquire);
        released.wrapping_add(header.orphan_events.load(Ordering::Acquire))
    }

    /// Bytes of the file that have no memory at present.
    pub fn given_back_bytes(&self) -> u64 {
        let absent = self.extents().filter(|&index| self.extent_memory(index) == ABSENT);
        absent.map(|_| GIVEN_BACK_BYTES).sum()
    }

    /// From now on the kernel takes nothing back.
    #[cfg(test)]
    pub(crate) fn keep_pages(&self) {
        self.mapping().keep_pages();
    }

    /// Whether untagged slabs, or tagged ones, should come from the extent of `slab`: kept apart, because tagged slabs stay
    /// with their list, and one of them would keep a whole extent. Only a wish.
    pub(super) fn extent_serves(&self, slab: u32, is_tagged: bool) -> bool {
        // Relaxed: a hint.
        let header = self.extent_header(slab);
        header.is_some_and(|header| header.extent_is_tagged.load(Ordering::Relaxed) != 0) == is_tagged
    }
}

impl Heap {
    /// Gives an extent back that has not been used since it was seen empty, which the caller makes sure was before every
    /// operation that runs now (X5). Tells how many bytes went.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn give_back(&self, empty: EmptyExtent) -> Result<u64, ShmError> {
        if !self.claim(slabs_of(empty.index), SlabWord::FREE) {
            return Ok(0);
        }
        if self.arena.uses_of(empty.index) != empty.uses {
            self.let_go(empty.index);
            return Ok(0);
        }
        self.empty_claimed(empty.index)
    }

    /// Gives back what is left of extents that somebody died over, or that the kernel would not take. Tells how many bytes went.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn give_back_leftovers(&self) -> Result<u64, ShmError> {
        let mut bytes = 0;
        for index in self.arena.extents() {
            if self.arena.extent_memory(index) == PARTLY && self.claim(slabs_of(index), SlabWord::ABSENT) {
                bytes += self.empty_claimed(index)?;
            }
        }
        Ok(bytes)
    }

    /// Empties an extent whose slabs this session owns.
    fn empty_claimed(&self, index: u64) -> Result<u64, ShmError> {
        let Some(header) = self.arena.extent_header(*slabs_of(index).start()) else { return Ok(0) };
        header.extent_memory.store(PARTLY, Ordering::Release); // X3
        header.extent_is_tagged.store(0, Ordering::Relaxed);
        let emptied = self.arena.mapping().punch(index * EXTENT_BYTES + PAGE_BYTES, GIVEN_BACK_BYTES);
        let is_gone = matches!(emptied, Ok(true));
        if is_gone {
            header.extent_memory.store(ABSENT, Ordering::Release);
        }
        self.let_go(index);
        emptied?;
        Ok(if is_gone { GIVEN_BACK_BYTES } else { 0 })
    }

    /// Gives memory to the lowest extent that was given back; false when there is none.
    ///
    /// # Errors
    /// `OutOfSpace` when the file system is full.
    pub(super) fn make_one_present(&self) -> Result<bool, ShmError> {
        let hint = &self.arena.header().absent_hint;
        let mut since_ns = 0;
        loop {
            // Acquire: pairs with the Release in `release`; what is absent is seen.
            let seen = hint.load(Ordering::Acquire);
            if seen == 0 {
                return Ok(false);
            }
            let mut any = false;
            for index in self.arena.extents().filter(|&index| self.arena.extent_memory(index) != PRESENT) {
                any = true;
                if self.claim(slabs_of(index), SlabWord::ABSENT) {
                    return self.fill_claimed(index).map(|()| true);
                }
            }
            if !any {
                // Relaxed: a hint; it stays if somebody has raised it meanwhile.
                let _ = hint.compare_exchange(seen, 0, Ordering::Relaxed, Ordering::Relaxed);
                return Ok(since_ns != 0);
            }
            // Another session has it, and soon is done, unless it is stopped or dead.
            let now_ns = monotonic_ns();
            if since_ns == 0 {
                since_ns = now_ns;
            } else if now_ns - since_ns > OTHERS_WAIT_NS {
                return Ok(false);
            }
            std::thread::yield_now();
        }
    }

    /// Fills an extent whose slabs this session owns.
    fn fill_claimed(&self, index: u64) -> Result<(), ShmError> {
        let Some(header) = self.arena.extent_header(*slabs_of(index).start()) else { return Ok(()) };
        header.extent_memory.store(PARTLY, Ordering::Release);
        let filled = self.arena.mapping().make_present(index * EXTENT_BYTES, EXTENT_BYTES);
        if filled.is_ok() {
            header.extent_memory.store(PRESENT, Ordering::Release); // X3
        }
        self.let_go(index);
        filled.map_err(|error| if error.is_out_of_space() { self.arena.out_of_space() } else { error.into() })
    }

    /// Claims all of `slabs`, which are `from`, or none.
    pub(super) fn claim(&self, slabs: RangeInclusive<u32>, from: SlabWord) -> bool {
        let forming = SlabWord::owned(self.owner, SlabUse::Forming);
        let head = *slabs.start();
        for slab in slabs {
            let claimed = self
                .arena
                .slab_header(slab)
                .is_some_and(|header| header.load() == from && header.replace(from, forming));
            if !claimed {
                (head..slab).for_each(|slab| release(&self.arena, slab, forming));
                return false;
            }
        }
        true
    }

    /// Lets go of all slabs of an extent (X4).
    fn let_go(&self, index: u64) {
        let forming = SlabWord::owned(self.owner, SlabUse::Forming);
        slabs_of(index).for_each(|slab| release(&self.arena, slab, forming));
    }
}

const _: () = assert!(SLABS_PER_EXTENT * SLAB_BYTES == EXTENT_BYTES);
