//! Size classes: which block holds a payload of a given size.
//!
//! Layout      steps of 16 bytes up to 512, then steps of about 12 %, each widened to the largest block of which a slab holds
//!             as many; the last class is one block per slab.
#![forbid(unsafe_code)]

use super::block::BLOCK_HEADER_BYTES;
use super::slab::SLAB_BYTES;
use crate::sys::usize_of;

/// The largest payload of a block inside a slab.
pub const SLAB_PAYLOAD_BYTES_MAX: u64 = SLAB_BYTES - BLOCK_HEADER_BYTES;
/// The largest payload of all: a run of all slabs of an extent but its first.
pub const LARGE_PAYLOAD_BYTES_MAX: u64 = LARGE_SLABS_MAX * SLAB_BYTES - BLOCK_HEADER_BYTES;

/// The longest run of slabs that makes one block.
pub(super) const LARGE_SLABS_MAX: u64 = 31;

const STEP_BYTES: u64 = 16;
const STEPS_END_BYTES: u64 = 512 + BLOCK_HEADER_BYTES;

/// The class after one of `block` bytes, header included.
const fn next_block_bytes(block: u64) -> u64 {
    if block < STEPS_END_BYTES {
        return block + STEP_BYTES;
    }
    let wanted = (block * 112 / 100).next_multiple_of(STEP_BYTES);
    let count = SLAB_BYTES / wanted;
    (SLAB_BYTES / count) & !(STEP_BYTES - 1)
}

const fn count_classes() -> usize {
    let mut block = BLOCK_HEADER_BYTES + STEP_BYTES;
    let mut count = 1;
    while block < SLAB_BYTES {
        block = next_block_bytes(block);
        count += 1;
    }
    count
}

/// How many classes there are.
pub(super) const CLASS_COUNT: usize = count_classes();
const _: () = assert!(CLASS_COUNT < 128);

const BLOCK_BYTES: [u32; CLASS_COUNT] = {
    let mut table = [0; CLASS_COUNT];
    let mut block = BLOCK_HEADER_BYTES + STEP_BYTES;
    let mut class = 0;
    while class < CLASS_COUNT {
        table[class] = narrow(block);
        if block < SLAB_BYTES {
            block = next_block_bytes(block);
        }
        class += 1;
    }
    table
};

/// By block size in steps: the smallest class that fits.
const CLASS_OF_STEPS: [u8; 4097] = {
    let mut table = [0; 4097];
    let mut class: u8 = 0;
    let mut steps = 0;
    while steps < table.len() {
        if BLOCK_BYTES[class as usize] < narrow(STEP_BYTES) * narrow(steps as u64) {
            class += 1;
        }
        table[steps] = class;
        steps += 1;
    }
    table
};

#[expect(clippy::cast_possible_truncation, reason = "at most 64 Ki")]
const fn narrow(bytes: u64) -> u32 {
    bytes as u32
}

/// The class for a payload of `bytes`; none when it needs a run of slabs.
#[inline]
pub(super) fn class_for(bytes: usize) -> Option<u8> {
    // At most 4096 + 1 steps for every payload that passes the comparison.
    if bytes > usize_of(SLAB_PAYLOAD_BYTES_MAX) {
        return None;
    }
    Some(CLASS_OF_STEPS[(bytes + 2 * usize_of(STEP_BYTES) - 1) / usize_of(STEP_BYTES)])
}

/// Bytes of one block of `class`, header included.
#[inline]
pub(super) fn block_bytes(class: u8) -> u64 {
    u64::from(BLOCK_BYTES[usize::from(class)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::u64_of;

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        for bytes in 0..=usize_of(SLAB_PAYLOAD_BYTES_MAX) {
            let class = class_for(bytes).unwrap();
            assert!(block_bytes(class) >= u64_of(bytes) + BLOCK_HEADER_BYTES, "{bytes}");
            if class > 0 {
                assert!(block_bytes(class - 1) < u64_of(bytes) + BLOCK_HEADER_BYTES, "{bytes}");
            }
        }
        assert_eq!(class_for(usize_of(SLAB_PAYLOAD_BYTES_MAX) + 1), None);
    }

    #[test]
    fn classes_grow_by_modest_aligned_steps() {
        for class in 1..u8::try_from(CLASS_COUNT).unwrap() {
            let (smaller, larger) = (block_bytes(class - 1), block_bytes(class));
            assert!(larger > smaller && larger.is_multiple_of(16));
            if larger > STEPS_END_BYTES && larger <= SLAB_BYTES / 8 {
                assert!(larger * 100 <= smaller * 126, "{smaller} to {larger}");
            }
        }
        assert_eq!(block_bytes(u8::try_from(CLASS_COUNT).unwrap() - 1), SLAB_BYTES);
        const { assert!(CLASS_COUNT < 90) };
    }
}
