//! Fetching what the ways to several places need all at once, before they are taken one after the other.
//!
//! Why         a way down is a chain of loads, each of which waits for the one before: a word, its block, the next anchor. Those of
//!             several ways wait side by side here, and whoever takes the ways then finds all of it in the processor's cache.
//! Rules       nothing is decided by it, so it may be inexact: of a long key it knows the first bytes only, it does not ask whether an
//!             anchor is about to go, and it gives up where it would take long.
//! Source      group prefetching: Chen, Ailamaki, Gibbons, Mowry, "Improving Hash Join Performance through Prefetching", TODS 32(3),
//!             2007.
#![forbid(unsafe_code)]

use super::anchor::Anchor;
use super::block::Block;
use super::ordered::OrderedIndex;
use super::position::{Cut, Position};
use crate::epoch::Guard;
use crate::shm::ShmError;
use crate::sync::AtomicU64;

/// Blocks that are looked at on one way: a few levels, and a few steps to the right.
const STEPS_MAX: usize = 12;

/// A place in an index that will be looked for.
pub struct Ahead<'a> {
    root: &'a AtomicU64,
    cut: Cut<'static>,
    /// The anchor that comes next; 0 at the end.
    anchor: u64,
    /// Its block.
    block: u64,
    /// The level of that, once one above it was seen.
    level: u8,
}

impl<'a> OrderedIndex<'a> {
    /// The place of the entry of `key` and `row`, for [`fetch_ahead`]; none in an index of hashes, where the way is short.
    #[inline]
    pub fn ahead(&self, key: &[u8], row: u64) -> Option<Ahead<'a>> {
        let Position { prefix, rank, .. } = Position::new(key, row);
        let at =
            if rank.is_long() { Position::of_prefix(prefix) } else { Position { prefix, rank, tail: &[] } };
        let is_ordered = self.directory.is_none();
        is_ordered.then_some(Ahead {
            root: self.root,
            cut: Cut::behind(at),
            anchor: 0,
            block: 0,
            level: u8::MAX,
        })
    }
}

/// Fetches what the ways to these places need.
///
/// # Errors
/// When the mapping is damaged.
pub fn fetch_ahead(guard: &Guard<'_>, places: &mut [Ahead<'_>]) -> Result<(), ShmError> {
    for place in &mut *places {
        place.anchor = guard.protect(place.root);
        guard.arena().prefetch(place.anchor);
    }
    for _ in 0..STEPS_MAX {
        for place in places.iter_mut().filter(|place| place.anchor != 0) {
            place.block = Anchor::at(guard, place.anchor)?.load(guard).offset();
            Block::prefetch(guard, place.block, place.level);
        }
        let mut are_there = true;
        for place in places.iter_mut().filter(|place| place.anchor != 0) {
            (place.anchor, place.level) = next(guard, &Block::at(guard, place.block)?, &place.cut)?;
            guard.arena().prefetch(place.anchor);
            are_there &= place.anchor == 0;
        }
        if are_there {
            break;
        }
    }
    Ok(())
}

/// The anchor that most likely comes after a block, and its level; 0 on the bottom level.
#[inline]
fn next(guard: &Guard<'_>, block: &Block<'_>, cut: &Cut<'_>) -> Result<(u64, u8), ShmError> {
    if let Some(right) = block.right_before(guard, cut)? {
        return Ok((right.offset, block.level()));
    }
    if block.level() == 0 || block.len() == 0 {
        return Ok((0, 0));
    }
    let index = block.count_left_of(guard, cut)?.saturating_sub(1);
    Ok((block.child(index).anchor(), block.level() - 1))
}

#[cfg(test)]
impl OrderedIndex<'_> {
    /// Did the way ahead end at the block of this entry?
    pub(crate) fn was_fetched(
        &self,
        guard: &Guard<'_>,
        ahead: &Ahead<'_>,
        key: &[u8],
        row: u64,
    ) -> Result<bool, ShmError> {
        let place = self.descend(guard, &Cut::behind(Position::new(key, row)), 0)?;
        Ok((ahead.anchor, ahead.block) == (0, place.word.offset()))
    }
}
