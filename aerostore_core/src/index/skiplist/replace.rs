//! Replacing a block by another, or by several when there is too much for one: the only way in which contents change.
#![forbid(unsafe_code)]

use super::anchor::{Anchor, AnchorWord};
use super::block::{self, Block, Item, Measure, Part, Right, entry_bytes};
use super::ordered::OrderedIndex;
use super::seek::Place;
use super::settle::ensure_live;
use crate::epoch::Guard;
use crate::index::{Blocks, Exchange};
use crate::shm::{BlockKind, BlockRef, ShmError};

/// The largest block of the bottom level, unless a single entry is larger.
const LEAF_BYTES_MAX: usize = 736;
/// The same above.
const INNER_BYTES_MAX: usize = 1072;

/// The largest block of `level`.
pub(super) fn bytes_max(level: u8) -> usize {
    if level == 0 { LEAF_BYTES_MAX } else { INNER_BYTES_MAX }
}

impl OrderedIndex<'_> {
    /// Replaces what is at `place` by `parts`, unless it has been replaced since it was found; O1, O2.
    ///
    /// # Errors
    /// `OutOfSpace`; when the mapping is damaged.
    pub(super) fn put(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        place: &Place<'_>,
        parts: &[Part<'_>],
    ) -> Result<bool, ShmError> {
        if place.word.is_frozen() {
            self.merge(guard, blocks, &place.anchor)?;
            return Ok(false);
        }
        self.put_before(guard, blocks, place, parts, place.block.right())
    }

    /// The same, of a place that is not frozen, where what follows changes too.
    pub(super) fn put_before(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        place: &Place<'_>,
        parts: &[Part<'_>],
        right: Option<Right>,
    ) -> Result<bool, ShmError> {
        let level = place.block.level();
        let measure = Measure::of(parts);
        if measure.count > 1 && measure.bytes(level) > bytes_max(level) {
            return self.split(guard, blocks, place, parts, right);
        }
        let made = make_block(guard, blocks, level, parts, right)?;
        exchange(guard, blocks, place, &[made], None)
    }

    #[cold]
    fn split(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        place: &Place<'_>,
        parts: &[Part<'_>],
        right: Option<Right>,
    ) -> Result<bool, ShmError> {
        let mut made = Vec::new();
        let shape = (place.block.level(), self.named_root(place.block.level()));
        let anchors = match make_pieces(guard, blocks, shape, parts, right, &mut made) {
            Ok(anchors) => anchors,
            Err(error) => {
                for block in made {
                    blocks.give_back(block);
                }
                return Err(error);
            }
        };
        // I2: new anchors are looked at below when others may have let them go already. They were born by now.
        guard.protect_all(|| ());
        if !exchange(guard, blocks, place, &made, None)? {
            return Ok(false);
        }
        if place.block.level() == 0
            && let Some(directory) = &self.directory
        {
            // As below: nothing depends on it but speed.
            let _ = blocks.sparing(&mut |blocks| directory.note_made(guard, blocks, &anchors));
        }
        // From left to right, so that what is above is filled in that order.
        for anchor in anchors.into_iter().rev() {
            // The entry is in, whatever becomes of the hint: it is added by somebody who misses it.
            let _ = self.add_hint(guard, blocks, &Anchor::at(guard, anchor)?);
        }
        Ok(true)
    }
}

/// Lets the anchor at `place` name the last block of `made`, unless it names another by now. What it names now is retired, and so is
/// `dropped`.
pub(super) fn exchange(
    guard: &Guard<'_>,
    blocks: &mut dyn Blocks,
    place: &Place<'_>,
    made: &[BlockRef],
    dropped: Option<BlockRef>,
) -> Result<bool, ShmError> {
    let replaced = match place.word.offset() {
        0 => None,
        offset => Some(ensure_live(guard, offset)?), // O3
    };
    let to = made.last().map_or(AnchorWord::DEAD, |block| AnchorWord::block(block.offset));
    let change = Exchange { from: place.word.bits(), to: to.bits(), made, replaced, dropped };
    blocks.exchange(place.anchor.word(), place.anchor.word_offset(), &change)
}

/// A RESERVED block with `parts`.
pub(super) fn make_block(
    guard: &Guard<'_>,
    blocks: &mut dyn Blocks,
    level: u8,
    parts: &[Part<'_>],
    right: Option<Right>,
) -> Result<BlockRef, ShmError> {
    let made = blocks.alloc(Measure::of(parts).bytes(level), BlockKind::INDEX_BLOCK)?;
    block::write(guard, made.offset, level, parts, right)?;
    Ok(made)
}

/// Makes blocks of the pieces, from the last to the first, and an anchor for each but the first. Returns the anchors' offsets.
fn make_pieces(
    guard: &Guard<'_>,
    blocks: &mut dyn Blocks,
    (level, root): (u8, Option<u64>),
    parts: &[Part<'_>],
    mut right: Option<Right>,
    made: &mut Vec<BlockRef>,
) -> Result<Vec<u64>, ShmError> {
    let appends = right.is_none() && matches!(parts.iter().rfind(|part| part.len() > 0), Some(Part::One(_)));
    let pieces = divide(parts, &cut_up(level, parts, appends));
    let mut anchors = Vec::new();
    for (number, piece) in pieces.iter().enumerate().rev() {
        let block = make_block(guard, blocks, level, piece, right)?;
        made.push(block);
        let before = number.checked_sub(1).and_then(|number| pieces[number].last()?.items().last());
        let (Some(last), Some(first)) = (before, piece.first().and_then(|part| part.items().next())) else {
            break;
        };
        let low = if level == 0 {
            first.position().separator(&last.position())
        } else {
            Anchor::at(guard, first.child.anchor())?.low(guard)?
        };
        let anchor = Anchor::make(guard, blocks, (level, root), &low, block.offset)?;
        made.push(anchor);
        anchors.push(anchor.offset);
        right = Some(Right { anchor: anchor.offset, prefix: low.prefix, rank: low.rank });
    }
    Ok(anchors)
}

/// Divides what is too much for one block into pieces of about the same size, and returns where they begin; each holds one entry at
/// least, and more than a block may have only if that one entry is larger. What is added behind everything else begins a block of its
/// own, so that keys that come in order fill their blocks.
fn cut_up(level: u8, parts: &[Part<'_>], appends: bool) -> Vec<usize> {
    let limit = bytes_max(level);
    let base = Measure::default().bytes(level);
    let total = Measure::of(parts);
    let bytes = total.bytes(level) - base;
    let count = bytes.div_ceil(limit - base).max(2);
    if level == 0 && total.tail_bytes == 0 && count == 2 {
        return vec![0, if appends { (limit - base) / entry_bytes(level) } else { total.count / 2 }];
    }
    let wanted = if appends { limit } else { bytes / count };
    let mut starts = vec![0];
    let mut measure = Measure::default();
    for (index, item) in parts.iter().flat_map(Part::items).enumerate() {
        let with = Measure { count: measure.count + 1, tail_bytes: measure.tail_bytes + item.tail.len() };
        let bytes = measure.bytes(level) - base;
        let is_nearer = 2 * bytes + entry_bytes(level) + item.tail.len() > 2 * wanted;
        // M1: no block begins with an anchor that is about to go.
        let may_begin = measure.count > 0 && !item.child.is_closing();
        if may_begin && (with.bytes(level) > limit || is_nearer) {
            starts.push(index);
            measure = Measure { count: 1, tail_bytes: item.tail.len() };
        } else {
            measure = with;
        }
    }
    starts
}

/// What is in the parts, in pieces that begin where `starts` says, the first of which is 0.
fn divide<'a>(parts: &[Part<'a>], starts: &[usize]) -> Vec<Vec<Part<'a>>> {
    let mut pieces = vec![Vec::new()];
    let mut ends = starts.iter().skip(1).copied();
    let mut end = ends.next();
    let mut skipped = 0;
    for part in parts {
        let mut from = 0;
        while let Some(to) = end
            && to < skipped + part.len()
        {
            push_some(&mut pieces, part, from, to - skipped);
            pieces.push(Vec::new());
            from = to - skipped;
            end = ends.next();
        }
        push_some(&mut pieces, part, from, part.len());
        skipped += part.len();
    }
    pieces
}

/// Adds entries `from` to `to` of a part to the last piece, if that are any.
fn push_some<'a>(pieces: &mut [Vec<Part<'a>>], part: &Part<'a>, from: usize, to: usize) {
    if let Some(piece) = pieces.last_mut()
        && from < to
    {
        piece.push(match *part {
            Part::Run(block, first, _) => Part::Run(block, first + from, first + to),
            one @ Part::One(_) => one,
        });
    }
}

/// All entries of a block but those from `from` to `to`, and `item` in their place.
pub(super) fn with_item<'a>(block: Block<'a>, from: usize, to: usize, item: Item<'a>) -> [Part<'a>; 3] {
    [Part::Run(block, 0, from), Part::One(item), Part::Run(block, to, block.len())]
}
