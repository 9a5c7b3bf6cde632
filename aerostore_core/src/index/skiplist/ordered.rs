//! The index as its users hold it.
#![forbid(unsafe_code)]

use super::anchor::Anchor;
use super::position::Position;
use crate::epoch::Guard;
use crate::index::Blocks;
use crate::shm::{BlockRef, ShmError};
use crate::sync::AtomicU64;

/// An ordered index, seen through the word that names its topmost level.
#[derive(Clone, Copy)]
pub struct OrderedIndex<'a> {
    pub(super) root: &'a AtomicU64,
    pub(super) root_offset: u64,
}

impl<'a> OrderedIndex<'a> {
    /// The index whose first anchor stands at `root`, itself at `root_offset`.
    pub fn new(root: &'a AtomicU64, root_offset: u64) -> Self {
        Self { root, root_offset }
    }

    /// Makes the first anchor of an index; its offset goes into the root word.
    ///
    /// # Errors
    /// `OutOfSpace`.
    pub fn create(guard: &Guard<'_>, blocks: &mut dyn Blocks) -> Result<BlockRef, ShmError> {
        Anchor::make(guard, blocks, 0, &Position::FIRST, 0)
    }
}
