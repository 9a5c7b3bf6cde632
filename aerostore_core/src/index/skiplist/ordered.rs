//! The index as its users hold it.
#![forbid(unsafe_code)]

use super::anchor::Anchor;
use super::directory::Directory;
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
    /// Of one whose keys are hashes.
    pub(super) directory: Option<Directory<'a>>,
}

impl<'a> OrderedIndex<'a> {
    /// The index whose first anchor stands at `root`, itself at `root_offset`.
    pub fn new(root: &'a AtomicU64, root_offset: u64) -> Self {
        Self { root, root_offset, directory: None }
    }

    /// The same of an index whose keys are hashes, and null.
    pub fn of_hashes(root: &'a AtomicU64, root_offset: u64, directory: Directory<'a>) -> Self {
        Self { root, root_offset, directory: Some(directory) }
    }

    /// Makes the first anchor of an index; its offset goes into the root word, which of an index whose keys are hashes lies at
    /// `hash_root`.
    ///
    /// # Errors
    /// `OutOfSpace`.
    pub fn create(
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        hash_root: Option<u64>,
    ) -> Result<BlockRef, ShmError> {
        Anchor::make(guard, blocks, (0, hash_root), &Position::FIRST, 0)
    }

    /// What anchors of `level` say of where the root word is.
    pub(super) fn named_root(&self, level: u8) -> Option<u64> {
        (level == 0 && self.directory.is_some()).then_some(self.root_offset)
    }
}
