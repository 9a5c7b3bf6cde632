//! Blocks that are reachable but not LIVE yet, because their maker has not come so far (O3).
#![forbid(unsafe_code)]

use super::anchor::{Anchor, AnchorWord};
use super::block::Block;
use crate::epoch::Guard;
use crate::shm::{BlockKind, BlockRef, BlockState, ShmError};

/// The block that a word of an index, its root or an anchor's, names; 0 for none.
pub(crate) fn named_by(word: u64) -> u64 {
    AnchorWord::from_bits(word).offset()
}

/// Makes a block LIVE that is linked, and before it what it alone may lead to. Returns it at its present use.
///
/// # Errors
/// When the mapping is damaged.
#[inline]
pub(crate) fn ensure_live(guard: &Guard<'_>, offset: u64) -> Result<BlockRef, ShmError> {
    let word = guard.arena().block_word(offset)?;
    let block = BlockRef { offset, generation: word.generation() };
    if word.state() == BlockState::Reserved {
        publish(guard, block, word.kind())?;
    }
    Ok(block)
}

#[cold]
fn publish(guard: &Guard<'_>, block: BlockRef, kind: BlockKind) -> Result<(), ShmError> {
    let leads_to = if kind == BlockKind::INDEX_ANCHOR {
        Anchor::at(guard, block.offset)?.load(guard).offset()
    } else {
        Block::at(guard, block.offset)?.right().map_or(0, |right| right.anchor)
    };
    if leads_to != 0 {
        ensure_live(guard, leads_to)?;
    }
    guard.arena().publish(block);
    Ok(())
}
