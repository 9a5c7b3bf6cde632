//! What is reachable against what is allocated: finds leaks and dangling references.
//!
//! Invariants  the arena is quiescent: nobody allocates, frees or links meanwhile. Nothing is changed.
#![forbid(unsafe_code)]

use super::slab::{EXTENT_BYTES, slab_of};
use super::{Arena, BlockKind, BlockState, ShmError};
use crate::sys::usize_of;

/// Blocks begin at multiples of this.
const GRAIN_BYTES: u64 = 16;
const WORDS_PER_EXTENT: usize = usize_of(EXTENT_BYTES / GRAIN_BYTES / 64);

/// What [`mark_sweep`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Blocks whose state is live.
    pub live: u64,
    /// Blocks that were reached.
    pub marked: u64,
    /// Payload offset and kind of live blocks that nothing leads to.
    pub leaked: Vec<(u64, BlockKind)>,
    /// Offsets that something leads to, though no block in use is there.
    pub dangling: Vec<u64>,
    /// Blocks that wait for their last readers.
    pub retired: u64,
    /// Blocks that a session has reserved.
    pub reserved: u64,
    /// Blocks that can be handed out, in slabs that have been divided.
    pub free: u64,
}

impl SweepReport {
    /// Whether nothing is leaked and nothing dangles.
    pub fn is_clean(&self) -> bool {
        self.leaked.is_empty() && self.dangling.is_empty()
    }
}

/// Takes note of the blocks that are reachable.
#[derive(Debug)]
pub struct Marker<'a> {
    arena: &'a Arena,
    /// By extent, made when first needed: one bit per place a block can begin.
    bits: Vec<Option<Box<[u64]>>>,
    marked: u64,
    dangling: Vec<u64>,
}

impl Marker<'_> {
    /// Notes that something leads to the block whose payload begins at `offset`. True the first time, so that the caller goes on
    /// from there once; false also when no block in use is there, which is noted as dangling.
    pub fn mark(&mut self, offset: u64) -> bool {
        let in_use = self.arena.block_capacity(offset).is_ok()
            && self
                .arena
                .block_word(offset)
                .is_ok_and(|word| matches!(word.state(), BlockState::Live | BlockState::Reserved));
        if !in_use {
            self.dangling.push(offset);
            return false;
        }
        let (extent, word, bit) = place_of(offset);
        let bits = self.bits[extent].get_or_insert_with(|| vec![0; WORDS_PER_EXTENT].into_boxed_slice());
        let first_time = bits[word] & bit == 0;
        bits[word] |= bit;
        self.marked += u64::from(first_time);
        first_time
    }

    fn is_marked(&self, offset: u64) -> bool {
        let (extent, word, bit) = place_of(offset);
        self.bits.get(extent).and_then(Option::as_ref).is_some_and(|bits| bits[word] & bit != 0)
    }
}

fn place_of(offset: u64) -> (usize, usize, u64) {
    let grain = offset % EXTENT_BYTES / GRAIN_BYTES;
    (usize_of(offset / EXTENT_BYTES), usize_of(grain / 64), 1 << (grain % 64))
}

/// Compares what `mark` reaches with the state of every block. The arena has to be quiescent.
///
/// # Errors
/// What `mark` answers; `ShmError` when the arena is damaged.
pub fn mark_sweep<E: From<ShmError>>(
    arena: &Arena,
    mark: impl FnOnce(&mut Marker<'_>) -> Result<(), E>,
) -> Result<SweepReport, E> {
    let extents = usize_of(arena.file_bytes() / EXTENT_BYTES);
    let bits = (0..extents).map(|_| None).collect();
    let mut marker = Marker { arena, bits, marked: 0, dangling: Vec::new() };
    mark(&mut marker)?;
    let mut report = SweepReport::default();
    for slab in arena.slabs() {
        for (offset, word) in slab.blocks(arena) {
            debug_assert_eq!(slab_of(offset), slab.index());
            match word.state() {
                BlockState::Free => report.free += 1,
                BlockState::Reserved => report.reserved += 1,
                BlockState::Retired => report.retired += 1,
                BlockState::Live => {
                    report.live += 1;
                    if !marker.is_marked(offset) {
                        report.leaked.push((offset, word.kind()));
                    }
                }
            }
        }
    }
    report.marked = marker.marked;
    report.dangling = marker.dangling;
    Ok(report)
}
