//! Blocks that one session uses again and again, without giving them back.

use super::held::Held;
use super::interval::Waiting;
use super::{Limbo, Participant};
use crate::shm::{BlockRef, ShmError};
use crate::sync::Ordering;

/// Blocks that are put back before the recycler looks which of them can be used again.
const RECYCLE_BATCH: usize = 64;

/// Blocks that stay LIVE and serve one session again and again: cheaper than giving them back and taking others, by four
/// moves of their states. Private to the process; the reaper finds them by kind in the dead session's slabs.
#[derive(Default)]
pub struct Recycler {
    ready: Vec<BlockRef>,
    waiting: Waiting,
    next_look: usize,
    /// The epoch after the last look.
    epoch: u64,
    held: Held,
}

impl Recycler {
    /// A block that no running operation can reach, if there is one.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[inline]
    pub fn take(&mut self, participant: &Participant) -> Result<Option<BlockRef>, ShmError> {
        if self.ready.is_empty() && self.waiting.blocks.len() >= self.next_look.max(RECYCLE_BATCH) {
            self.look(participant)?;
        }
        Ok(self.ready.pop())
    }

    /// Gives a block back that began to serve in the epoch `birth`, and that nothing refers to any more.
    #[inline]
    pub fn put(&mut self, participant: &Participant, block: BlockRef, birth: u64) {
        self.waiting.push(participant, block, birth);
    }

    /// Offsets of its blocks.
    pub fn offsets(&self) -> impl Iterator<Item = u64> {
        let waiting = self.waiting.blocks.iter().map(|retired| retired.block.offset);
        self.ready.iter().map(|block| block.offset).chain(waiting)
    }

    fn look(&mut self, participant: &Participant) -> Result<(), ShmError> {
        let Self { ready, waiting, held, .. } = self;
        waiting.release(participant, held, |block| ready.push(block))?;
        // As in `Limbo::collect_now`.
        let count = self.waiting.blocks.len();
        self.next_look = count + count / 2 + RECYCLE_BATCH;
        if self.epoch == participant.epoch() {
            // Nobody retires anything, and the transaction that looks has its own reservation at the one epoch there is.
            participant.epoch_word().fetch_add(1, Ordering::AcqRel);
        }
        self.epoch = participant.epoch();
        Ok(())
    }

    /// Retires every block: the session ends.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn close(&mut self, participant: &Participant, limbo: &mut Limbo) -> Result<(), ShmError> {
        for block in self.ready.drain(..).chain(self.waiting.drain()) {
            limbo.retire(participant, block)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(loom))] // needs an arena
mod tests;
