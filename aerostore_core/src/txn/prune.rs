//! What a session does about its own garbage: it remembers the versions it has committed, and once every snapshot sees one,
//! cuts off what lies below, or removes the row that ends with it.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, Participant};
use crate::mvcc::{BeginWord, NEVER, VersionRef};
use crate::shm::{BlockRef, BlockState, Reserve, ShmError};
use crate::txn::link::Linker;
use crate::txn::remove::{Removal, finish_removal, remove_row};
use crate::txn::{Session, TxnError};
use std::collections::VecDeque;

/// Versions a session remembers.
const PRUNE_QUEUE: usize = 4096;
/// New versions between two looks at the horizon.
const PRUNE_BATCH: usize = 32;

/// A version with something older below it, or one with which its row ends.
#[derive(Clone, Copy)]
struct Superseding {
    version: BlockRef,
    commit_ts: u64,
    /// Whether the row may end with it.
    may_end: bool,
}

/// Versions that wait for the horizon, oldest first but for those that wait for something else too.
#[derive(Default)]
pub(super) struct PruneQueue {
    waiting: VecDeque<Superseding>,
    /// Versions remembered since the last look.
    since_look: usize,
    /// Whether something fell out of the queue that the vacuum has not been told of.
    has_forgotten: bool,
    /// What has to wait for the next look, while one is taken.
    not_now: Vec<Superseding>,
}

impl PruneQueue {
    /// Remembers a version below which something lies.
    #[inline]
    pub(super) fn push(&mut self, version: BlockRef, commit_ts: u64) {
        self.remember(Superseding { version, commit_ts, may_end: false });
    }

    /// Remembers a version with which its row may end; 0 stands for the timestamp of one that never took effect.
    pub(super) fn push_end(&mut self, version: BlockRef, commit_ts: u64) {
        self.remember(Superseding { version, commit_ts, may_end: true });
    }

    #[inline]
    fn remember(&mut self, superseding: Superseding) {
        if self.waiting.len() == PRUNE_QUEUE {
            self.waiting.pop_front();
            self.has_forgotten = true;
        }
        self.waiting.push_back(superseding);
        self.since_look += 1;
    }

    /// Is nothing remembered?
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn pop_below(&mut self, horizon: u64) -> Option<Superseding> {
        self.waiting.pop_front_if(|first| first.commit_ts <= horizon)
    }
}

impl Session {
    /// Prunes when enough has come together.
    #[inline]
    pub(super) fn prune_some(&mut self) -> Result<(), TxnError> {
        if self.superseding.since_look >= PRUNE_BATCH { self.prune() } else { Ok(()) }
    }

    /// Cuts off versions that are older than what every snapshot sees, and removes rows that end there.
    pub(crate) fn prune(&mut self) -> Result<(), TxnError> {
        self.superseding.since_look = 0;
        let horizon = self.store.registry().horizon(self.store.clock().word())?;
        let Self { store, participant, heap, limbo, superseding, .. } = self;
        let guard = participant.pin();
        let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
        finish_removal(&guard, store, &mut linker, participant.slot())?;
        while let Some(item) = superseding.pop_below(horizon) {
            let removal = if item.may_end {
                remove_row(&guard, store, &mut linker, item.version, horizon)?
            } else {
                Removal::No
            };
            match removal {
                Removal::Done => {}
                Removal::NotNow => superseding.not_now.push(item),
                Removal::No => prune_below(&guard, &mut linker, item.version, item.may_end)?,
            }
        }
        let PruneQueue { waiting, not_now, .. } = superseding;
        waiting.extend(not_now.drain(..));
        let is_much_left = superseding.waiting.len() >= PRUNE_BATCH;
        if std::mem::take(&mut superseding.has_forgotten) || is_much_left {
            // This session may be idle from now on, or forget more.
            store.garbage().want();
        }
        Ok(())
    }
}

/// Cuts off what is older than `version`, which every snapshot sees, unless it `may_not` have taken effect.
pub(super) fn prune_below(
    guard: &Guard<'_>,
    linker: &mut Linker<'_>,
    version: BlockRef,
    may_not: bool,
) -> Result<(), ShmError> {
    let arena = guard.arena();
    let word = arena.block_word(version.offset)?;
    if word.generation() != version.generation || word.state() != BlockState::Live {
        return Ok(());
    }
    // The guard was taken before the state was read: the version cannot be used again until it is dropped.
    let newer = VersionRef::resolve(guard, version.offset)?;
    if may_not && matches!(newer.begin(guard), BeginWord::Stamped(NEVER) | BeginWord::Intent(_)) {
        return Ok(());
    }
    let next = newer.next(guard);
    if next == 0 {
        return Ok(());
    }
    let tail = arena.block_ref(next)?;
    let retire = |_: &Participant, limbo: &mut crate::epoch::Limbo| {
        crate::txn::settle::retire_chain(guard, limbo, tail)
    };
    linker.unlink(VersionRef::next_offset(version.offset), tail, || newer.cut(next), retire)?;
    Ok(())
}
