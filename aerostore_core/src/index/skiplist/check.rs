//! Whether an index is as it should be, while nobody changes it.
#![forbid(unsafe_code)]

use super::anchor::Anchor;
use super::block::Block;
use super::ordered::OrderedIndex;
use super::position::{Cut, Position};
use super::replace::bytes_max;
use crate::epoch::Guard;
use crate::shm::ShmError;
use std::collections::BTreeSet;

impl OrderedIndex<'_> {
    /// Says of every block that is not as it should be why, as sentences: order and range of its entries, neighbours, and the
    /// anchors it leads to.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn check(&self, guard: &Guard<'_>) -> Result<Vec<String>, ShmError> {
        let mut problems = self.check_directory(guard)?;
        let mut hinted = BTreeSet::new();
        let mut first = Some(Anchor::at(guard, guard.protect(self.root))?);
        while let Some(top) = first {
            let mut level =
                Level { guard, problems: &mut problems, listed: BTreeSet::new(), leads_to: BTreeSet::new() };
            first = level.check(top)?;
            let Level { listed, leads_to, .. } = level;
            for stray in hinted.difference(&listed) {
                problems.push(format!("a hint leads to {stray}, which is not in the list"));
            }
            hinted = leads_to;
        }
        Ok(problems)
    }

    /// What the slots of the directory name, if there is one.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[cfg(test)]
    pub(crate) fn directory_names(&self, guard: &Guard<'_>) -> Result<Vec<u64>, ShmError> {
        let Some(directory) = &self.directory else { return Ok(Vec::new()) };
        Ok(directory.entries(guard)?.into_iter().map(|entry| entry.load().0).collect())
    }

    /// Lets the slots of the directory name these.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[cfg(test)]
    pub(crate) fn name_in_directory(&self, guard: &Guard<'_>, names: &[u64]) -> Result<(), ShmError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        directory.entries(guard)?.iter().zip(names).for_each(|(entry, name)| entry.store(*name, false));
        Ok(())
    }

    /// Says of every slot of the directory, if there is one, from which a search comes to another place than from the top.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn check_directory(&self, guard: &Guard<'_>) -> Result<Vec<String>, ShmError> {
        let mut problems = Vec::new();
        let Some(directory) = &self.directory else { return Ok(problems) };
        for entry in directory.entries(guard)? {
            let cut = Cut::behind(Position::of_hash(entry.first, 0));
            let top = self.descend_from_top(guard, &cut, 0)?;
            // The second time by what the first has noted.
            for _ in 0..2 {
                let found = self.descend(guard, &cut, 0)?;
                if found.anchor.offset != top.anchor.offset {
                    let (first, anchor) = (entry.first, found.anchor.offset);
                    problems.push(format!("the directory leads to anchor {anchor} for the hash {first:x}"));
                }
            }
        }
        Ok(problems)
    }
}

struct Level<'g, 'p> {
    guard: &'g Guard<'g>,
    problems: &'p mut Vec<String>,
    /// Anchors in the list.
    listed: BTreeSet<u64>,
    /// Anchors of the level below that are not about to go.
    leads_to: BTreeSet<u64>,
}

impl<'g> Level<'g, '_> {
    /// Checks a level from its first anchor on; returns the first one of the level below.
    fn check(&mut self, top: Anchor<'g>) -> Result<Option<Anchor<'g>>, ShmError> {
        let mut below = None;
        let mut next = Some(top);
        while let Some(anchor) = next {
            self.listed.insert(anchor.offset);
            let word = anchor.load(self.guard);
            if word.is_dead() {
                self.problem(&anchor, "is in the list, but dead");
            }
            let block = Block::at(self.guard, word.offset())?;
            if block.level() != top.level() || anchor.level() != top.level() {
                self.problem(&anchor, "is on another level than its neighbours");
            }
            if block.len() > 1 && block.bytes() > bytes_max(block.level()) {
                self.problem(&anchor, "has a block that is too large");
            }
            self.entries(&anchor, &block)?;
            if block.level() > 0 && below.is_none() && block.len() > 0 {
                below = Some(Anchor::at(self.guard, block.child(0).anchor())?);
            }
            next = block.right().map(|right| Anchor::at(self.guard, right.anchor)).transpose()?;
            if let (Some(right), Some(said)) = (next, block.right()) {
                if (right.prefix(), right.rank()) != (said.prefix, said.rank) {
                    self.problem(&anchor, "says another low key of its neighbour than the neighbour");
                }
                if !anchor.is_left_of(self.guard, &Cut::before(right.low(self.guard)?))? {
                    self.problem(&anchor, "is not before its neighbour");
                }
            }
        }
        Ok(below)
    }

    fn entries(&mut self, anchor: &Anchor<'g>, block: &Block<'g>) -> Result<(), ShmError> {
        let mut before = Cut::before(anchor.low(self.guard)?);
        for index in 0..block.len() {
            let mut at = block.item(index).position();
            if block.level() > 0 {
                let child = block.child(index);
                let low = Anchor::at(self.guard, child.anchor())?.low(self.guard)?;
                if (low.prefix, low.rank) != (at.prefix, at.rank) {
                    self.problem(anchor, "says another low key of an anchor than the anchor");
                }
                at = low;
                if !child.is_closing() {
                    self.leads_to.insert(child.anchor());
                } else if index == 0 {
                    self.problem(anchor, "begins with an anchor that is about to go");
                }
            }
            if is_left(&at, &before)? {
                self.problem(anchor, "has an entry that is out of order");
            }
            before = Cut::behind(at);
        }
        if let Some(right) = block.right()
            && let Some(last) = block.len().checked_sub(1)
            && block.level() == 0
        {
            let high = Anchor::at(self.guard, right.anchor)?.low(self.guard)?;
            if !is_left(&block.item(last).position(), &Cut::before(high))? {
                self.problem(anchor, "has an entry that belongs to its neighbour");
            }
        }
        Ok(())
    }

    fn problem(&mut self, anchor: &Anchor<'_>, what: &str) {
        self.problems.push(format!("anchor {} on level {} {what}", anchor.offset, anchor.level()));
    }
}

fn is_left(at: &Position<'_>, cut: &Cut<'_>) -> Result<bool, ShmError> {
    cut.is_right_of(at.prefix, at.rank, || Ok(at.tail))
}
