//! Widths: shared and stored numbers are `u64`, the process counts in `usize`; both are 64 bits here.
#![forbid(unsafe_code)]

const _: () = assert!(size_of::<usize>() == 8, "offsets into the arena need a 64-bit address space");

/// `value` as an in-process index or length; lossless on the 64-bit targets this crate builds for.
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits, asserted above")]
#[inline]
pub const fn usize_of(value: u64) -> usize {
    value as usize
}

/// `value` as a shared or stored number.
#[inline]
pub const fn u64_of(value: usize) -> u64 {
    value as u64
}
