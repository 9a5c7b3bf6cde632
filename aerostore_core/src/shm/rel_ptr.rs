//! Relative pointers: byte offsets from the arena's base, the same in every process.
#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;

use crate::sync::{AtomicU64, Ordering};

/// The offset of a `T` in the arena; 0 is null. Nothing is promised about the place until [`super::Arena::resolve`] checks it.
#[repr(transparent)]
pub struct RelPtr<T> {
    offset: u64,
    target: PhantomData<fn() -> T>,
}

impl<T> RelPtr<T> {
    /// Points at nothing.
    pub const NULL: Self = Self::new(0);

    /// A pointer to the byte at `offset`.
    #[inline]
    pub const fn new(offset: u64) -> Self {
        Self { offset, target: PhantomData }
    }

    /// Bytes from the arena's base; 0 when null.
    #[inline]
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// Whether it points at nothing.
    #[inline]
    pub const fn is_null(self) -> bool {
        self.offset == 0
    }

    /// The same place, seen as another type.
    #[inline]
    pub const fn cast<U>(self) -> RelPtr<U> {
        RelPtr::new(self.offset)
    }
}

// By hand: derived impls would ask the same of `T`.
impl<T> Clone for RelPtr<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for RelPtr<T> {}

impl<T> PartialEq for RelPtr<T> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.offset == other.offset
    }
}

impl<T> Eq for RelPtr<T> {}

impl<T> fmt::Debug for RelPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{:#x}", self.offset)
    }
}

/// A [`RelPtr`] that processes exchange; lives in the arena.
#[repr(transparent)]
pub struct AtomicRelPtr<T> {
    offset: AtomicU64,
    target: PhantomData<fn() -> T>,
}

impl<T> AtomicRelPtr<T> {
    /// A pointer that starts as `pointer`.
    pub fn new(pointer: RelPtr<T>) -> Self {
        Self { offset: AtomicU64::new(pointer.offset()), target: PhantomData }
    }

    /// Reads the pointer.
    #[inline]
    pub fn load(&self, order: Ordering) -> RelPtr<T> {
        RelPtr::new(self.offset.load(order))
    }

    /// Replaces the pointer.
    #[inline]
    pub fn store(&self, pointer: RelPtr<T>, order: Ordering) {
        self.offset.store(pointer.offset(), order);
    }

    /// Replaces the pointer if it is still `current`.
    ///
    /// # Errors
    /// What it holds instead of `current`.
    #[inline]
    pub fn compare_exchange(
        &self,
        current: RelPtr<T>,
        new: RelPtr<T>,
        success: Ordering,
        failure: Ordering,
    ) -> Result<RelPtr<T>, RelPtr<T>> {
        self.offset
            .compare_exchange(current.offset(), new.offset(), success, failure)
            .map(RelPtr::new)
            .map_err(RelPtr::new)
    }
}

impl<T> fmt::Debug for AtomicRelPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Relaxed: a picture for people.
        self.load(Ordering::Relaxed).fmt(f)
    }
}
