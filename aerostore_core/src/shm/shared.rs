//! What may live in the arena.

use crate::sync::{AtomicU32, AtomicU64};

/// Types that may be read and written in memory shared with other processes.
///
/// # Safety
/// The type is `repr(C)` or a primitive, every bit pattern is a valid value (so all-zero is one), it holds no reference,
/// no address of one process and needs no drop. Other processes may change it at any time, so its fields are atomics, or
/// plain data written only while the block is reserved for its writer and nobody else was told about it.
pub unsafe trait Shared: Sized + 'static {}

// SAFETY: an integer, any bits are valid.
unsafe impl Shared for u8 {}
// SAFETY: an integer, any bits are valid.
unsafe impl Shared for u32 {}
// SAFETY: an integer, any bits are valid.
unsafe impl Shared for u64 {}
// SAFETY: an atomic integer, any bits are valid.
unsafe impl Shared for AtomicU32 {}
// SAFETY: an atomic integer, any bits are valid.
unsafe impl Shared for AtomicU64 {}
// SAFETY: an atomic integer in a transparent wrapper, any bits are valid.
unsafe impl<T: 'static> Shared for super::AtomicRelPtr<T> {}
