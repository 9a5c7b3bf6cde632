//! Where structure blocks come from, and how they are linked so that a death at any store loses nothing.
#![forbid(unsafe_code)]

use crate::shm::{BlockKind, BlockRef, ShmError};
use crate::sync::AtomicU64;

/// Birth epoch of the blocks of the key hash. They are reached through blocks that may themselves be unlinked by then (a table's
/// successor, its segments), so the epoch in which they were loaded says nothing: any operation that began before they were
/// retired has to hold them.
pub const STRUCTURE_BIRTH: u64 = 0;

/// One change of a word that names a block, by compare-and-swap: some blocks become reachable, others unreachable.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// What the word says.
    pub from: u64,
    /// What it is to say.
    pub to: u64,
    /// RESERVED blocks that become reachable: those that others of them lead to first, the one that `to` names last.
    pub made: &'a [BlockRef],
    /// The block that `from` names, if it becomes unreachable.
    pub replaced: Option<BlockRef>,
    /// Another block that becomes unreachable, because of what the new block says no more.
    pub dropped: Option<BlockRef>,
}

impl Exchange<'_> {
    /// May the new block be LIVE before it is reachable? Then it is known to have been unreachable always, or to be so again,
    /// when the word does not name it.
    pub fn is_copy(&self) -> bool {
        self.made.len() == 1 && self.dropped.is_none()
    }
}

/// Where structure blocks come from: a session's heap, with the descriptor that makes linking survive a death.
pub trait Blocks {
    /// A zeroed, RESERVED block, born at [`STRUCTURE_BIRTH`].
    ///
    /// # Errors
    /// `OutOfSpace`.
    fn alloc_zeroed(&mut self, bytes: usize, kind: BlockKind) -> Result<BlockRef, ShmError>;

    /// A RESERVED block with unspecified contents, born now.
    ///
    /// # Errors
    /// `OutOfSpace`.
    fn alloc(&mut self, bytes: usize, kind: BlockKind) -> Result<BlockRef, ShmError>;

    /// Is there room for so many more bytes, in blocks of any size? An estimate.
    fn has_room(&mut self, bytes: u64) -> bool;

    /// Gives a RESERVED block back that nobody else knows.
    fn give_back(&mut self, block: BlockRef);

    /// Does something that nothing depends on but speed, for which nothing is taken of what is kept back.
    ///
    /// # Errors
    /// What `deed` says.
    fn sparing(
        &mut self,
        deed: &mut dyn FnMut(&mut dyn Blocks) -> Result<(), ShmError>,
    ) -> Result<(), ShmError>;

    /// Stores the block's offset at `word` (whose offset is `word_offset`) if that is still 0, and makes the block LIVE;
    /// else gives the block back. True for the one who linked.
    ///
    /// # Errors
    /// When the mapping is damaged.
    fn link(&mut self, word: &AtomicU64, word_offset: u64, block: BlockRef) -> Result<bool, ShmError>;

    /// Replaces `old` at `word` by `new`; the one who did retires `old` and `parts`.
    ///
    /// # Errors
    /// When the mapping is damaged.
    fn replace(
        &mut self,
        word: &AtomicU64,
        word_offset: u64,
        old: u64,
        new: u64,
        parts: &mut dyn Iterator<Item = u64>,
    ) -> Result<bool, ShmError>;

    /// Changes `word` (whose offset is `word_offset`) as `change` says. If that succeeds, what was made is LIVE and the rest is
    /// retired; if the word says something else, what was made is given back.
    ///
    /// # Errors
    /// When the mapping is damaged.
    fn exchange(
        &mut self,
        word: &AtomicU64,
        word_offset: u64,
        change: &Exchange<'_>,
    ) -> Result<bool, ShmError>;
}
