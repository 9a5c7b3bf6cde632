//! What a session does about its own garbage: it remembers the versions it has committed, and once every snapshot sees one,
//! cuts off what lies below, or removes the row that ends with it. While an old snapshot holds that up, it takes the versions
//! out that lie between those that somebody still sees, so that a snapshot costs one version of each row, not a chain.
//!
//! Rules       P1: what is taken out is needed by nobody, for good (G4). P2: a version is marked before it is taken out (V4), so
//!             what lies below it stays there until it is gone: of two neighbours only one can be taken out at a time. P3:
//!             whoever comes to a marked version takes it out, whoever marked it: a death after the mark leaves no more to do.
//!             P4: who takes it out retires it; the slot names it before, so a reaper can. P5: a horizon that was found holds for
//!             good, though the next look may find a lower one: a snapshot that is published late, and at which nobody will
//!             read (G3). What was found to be ready is never judged by that one.
//! Who may     anyone. It takes no lock on the row: writers change the row's head, and what lies above the newest committed
//!             version; this changes what lies below it.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, Limbo, LiveSnapshots, Participant};
use crate::mvcc::{BeginWord, NEVER, VersionRef};
use crate::shm::{BlockRef, BlockState, Reserve};
use crate::txn::adding::finish_adding;
use crate::txn::link::Linker;
use crate::txn::remove::{End, Removal, finish_removal, remove_row};
use crate::txn::secondary::RowKeys;
use crate::txn::settle::retire_cut_off;
use crate::txn::{Session, Store, TxnError};
use std::collections::VecDeque;

/// Versions a session remembers while they have to wait.
const PRUNE_QUEUE: usize = 4096;
/// New versions between two looks at the horizon.
const PRUNE_BATCH: usize = 32;
/// Versions that wait before the session looks at what lies between the snapshots: something old holds them up. Until then most
/// are let go by the horizon soon, which costs less.
const HELD_UP: usize = 2 * PRUNE_BATCH;
/// Versions left for the next writes at most: what lies below them is no use to anybody meanwhile, and no vacuum is asked for.
const READY_MAX: usize = 8 * PRUNE_BATCH;
/// Versions of one row that somebody still sees, after which the rest of its chain is left to the vacuum.
const NEEDED_MAX: u32 = 8;

/// A version with something older below it, or one with which its row ends.
#[derive(Clone, Copy)]
struct Superseding {
    version: BlockRef,
    commit_ts: u64,
    /// Offset of the root of the row's table.
    table: u64,
    /// Whether the row may end with it.
    may_end: bool,
}

/// When to do what may be done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    /// With the next writes, or the next look.
    Later,
}

/// Versions below which there is, or will be, garbage.
#[derive(Default)]
pub(super) struct PruneQueue {
    /// Remembered since the last look.
    fresh: Vec<Superseding>,
    /// Every snapshot sees these: what lies below may go. Left for the next writes, which have to wait for memory anyway.
    ready: Vec<Superseding>,
    /// The highest horizon found so far (P5).
    horizon: u64,
    /// Looked at, and waiting for the horizon: oldest first, but for those that wait for something else too.
    waiting: VecDeque<Superseding>,
    /// Whether something fell out of the queue that the vacuum has not been told of.
    has_forgotten: bool,
    /// What has to wait for the next look, while one is taken.
    not_now: Vec<Superseding>,
    live: LiveSnapshots,
}

impl PruneQueue {
    /// Remembers a version below which something lies.
    #[inline]
    pub(super) fn push(&mut self, version: BlockRef, commit_ts: u64, table: u64) {
        self.fresh.push(Superseding { version, commit_ts, table, may_end: false });
    }

    /// Remembers a version with which its row may end; 0 stands for the timestamp of one that never took effect.
    pub(super) fn push_end(&mut self, version: BlockRef, commit_ts: u64, table: u64) {
        self.fresh.push(Superseding { version, commit_ts, table, may_end: true });
    }

    fn wait(&mut self, superseding: Superseding) {
        if self.waiting.len() == PRUNE_QUEUE {
            self.waiting.pop_front();
            self.has_forgotten = true;
        }
        self.waiting.push_back(superseding);
    }

    /// Is nothing remembered?
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.ready.is_empty() && self.waiting.is_empty()
    }

    fn pop_below(&mut self, horizon: u64) -> Option<Superseding> {
        self.waiting.pop_front_if(|first| first.commit_ts <= horizon)
    }
}

impl Session {
    /// Prunes when enough has come together.
    #[inline]
    pub(super) fn prune_some(&mut self) -> Result<(), TxnError> {
        if self.superseding.fresh.len() >= PRUNE_BATCH { self.prune_at(HELD_UP, When::Later) } else { Ok(()) }
    }

    /// Does what [`Session::prune_some`] has left to do, one version's worth: while the memory that a write needs is fetched.
    #[inline]
    pub(super) fn prune_one(&mut self) -> Result<(), TxnError> {
        let Self { store, participant, heap, limbo, superseding: queue, .. } = self;
        let Some(item) = queue.ready.pop() else { return Ok(()) };
        let guard = participant.pin();
        let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
        let is_done = item.release(&guard, store, &mut linker, queue.horizon);
        if !matches!(is_done, Ok(true)) {
            queue.wait(item);
        }
        is_done.map(drop)
    }

    /// Cuts off versions that are older than what every snapshot sees, and removes rows that end there; when `held_up` or more
    /// have to wait for that, takes out what nobody sees of the others.
    pub(crate) fn prune(&mut self, held_up: usize) -> Result<(), TxnError> {
        self.prune_at(held_up, When::Now)
    }

    /// Takes out what nobody needs below one version of a row of the table whose root is at `table`, as of an earlier look.
    #[cfg(test)]
    pub(crate) fn prune_as_of(
        &mut self,
        table: u64,
        version: BlockRef,
        live: &LiveSnapshots,
    ) -> Result<u64, TxnError> {
        let Self { participant, heap, limbo, .. } = self;
        let guard = participant.pin();
        let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
        Ok(prune_between(&guard, &mut linker, table, version, live)?.taken_out)
    }

    /// Looks for what may go, and leaves it for the next writes.
    #[cfg(test)]
    pub(crate) fn tidy_later(&mut self) -> Result<(), TxnError> {
        self.prune_at(0, When::Later)?;
        self.limbo.collect_much(&self.participant, &mut self.heap)?;
        Ok(())
    }

    fn prune_at(&mut self, held_up: usize, when: When) -> Result<(), TxnError> {
        let found = self.store.registry().horizon(self.store.clock().word())?;
        let Self { store, participant, heap, limbo, superseding: queue, .. } = self;
        let guard = participant.pin();
        let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
        finish_adding(&guard, &mut linker, participant.slot())?;
        finish_removal(&guard, store, &mut linker, participant.slot())?;
        // P5
        let horizon = queue.horizon.max(found);
        queue.horizon = horizon;
        while let Some(item) = queue.ready.pop().or_else(|| queue.pop_below(horizon)) {
            if !item.release(&guard, store, &mut linker, horizon)? {
                queue.not_now.push(item);
            }
        }
        let is_held_up = queue.waiting.len() >= held_up;
        if is_held_up {
            queue.live.look(store.registry(), store.clock().word())?;
        }
        for index in 0..queue.fresh.len() {
            let item = queue.fresh[index];
            let is_seen = item.commit_ts <= horizon;
            let is_settled = if is_seen && when == When::Later && queue.ready.len() < READY_MAX {
                queue.ready.push(item);
                true
            } else if is_seen {
                item.release(&guard, store, &mut linker, horizon)?
            } else {
                is_held_up
                    && prune_between(&guard, &mut linker, item.table, item.version, &queue.live)?.needed == 0
                    && !item.may_end
            };
            if !is_settled {
                queue.wait(item);
            }
        }
        queue.fresh.clear();
        queue.fresh.shrink_to(PRUNE_QUEUE); // after a large transaction
        for item in std::mem::take(&mut queue.not_now) {
            queue.wait(item);
        }
        let is_much_left = queue.waiting.len() >= PRUNE_BATCH;
        if std::mem::take(&mut queue.has_forgotten) || is_much_left {
            // This session may be idle from now on, or forget more.
            store.garbage().want();
        }
        Ok(())
    }
}

impl Superseding {
    /// Does what is to be done when every snapshot sees it; false when that has to wait for something else.
    fn release(
        &self,
        guard: &Guard<'_>,
        store: &Store,
        linker: &mut Linker<'_>,
        horizon: u64,
    ) -> Result<bool, TxnError> {
        if self.may_end {
            match remove_row(guard, store, linker, self.table, self.version, End::Seen(horizon))? {
                Removal::Done => return Ok(true),
                Removal::NotNow => return Ok(false),
                Removal::No => {}
            }
        }
        match prune_below(guard, linker, self.table, self.version, self.may_end) {
            // K2: it stays for the vacuum.
            Err(error) if error.is_out_of_space() => store.garbage().want(),
            pruned => drop(pruned?),
        }
        Ok(true)
    }
}

/// What [`prune_between`] found below a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pruned {
    /// Versions that were taken out, or chains that were cut off.
    pub(super) taken_out: u64,
    /// Versions that somebody may still see.
    pub(super) needed: u32,
    /// Bytes of these.
    pub(super) needed_bytes: u64,
}

/// Takes out what lies below `version` and nobody needs (P1). Does nothing if the version has not committed, or is garbage.
pub(crate) fn prune_between(
    guard: &Guard<'_>,
    linker: &mut Linker<'_>,
    table: u64,
    version: BlockRef,
    live: &LiveSnapshots,
) -> Result<Pruned, TxnError> {
    let mut pruned = Pruned::default();
    let arena = guard.arena();
    if guard.word_of(version)?.is_none_or(|word| word.state() != BlockState::Live) {
        return Ok(pruned);
    }
    // As in `prune_below`.
    let mut newer = VersionRef::resolve(guard, version.offset)?;
    let keys = RowKeys::at(guard, table, newer.row())?;
    while let BeginWord::Stamped(end) = newer.begin(guard)
        && end != NEVER
        && pruned.needed < NEEDED_MAX
    {
        if end <= live.horizon() {
            let newer = arena.block_ref(newer.offset)?;
            pruned.taken_out += u64::from(prune_below(guard, linker, table, newer, false)?);
            break;
        }
        let seen = newer.next_word(guard);
        if seen.older() == 0 || seen.is_marked() {
            break; // whoever takes this one out has the rest before him
        }
        let older = VersionRef::resolve(guard, seen.older())?;
        let is_garbage = older.next_word(guard).is_marked() // P3
            || matches!(older.begin(guard), BeginWord::Stamped(begin) if begin != NEVER && !live.need(begin, end));
        if !is_garbage {
            pruned.needed += 1;
            pruned.needed_bytes += arena.block_capacity(older.offset)?;
            newer = older;
            continue;
        }
        let below = older.mark(guard);
        // K2
        keys.remove_between(linker, &newer, &older)?;
        newer.add_changes(older.changes()); // V5
        // Loaded under the guard, so it is in the use that was seen.
        let block = arena.block_ref(older.offset)?;
        let pass = || newer.pass_over(seen, below);
        // If not, somebody else has changed the word above: look again.
        pruned.taken_out +=
            u64::from(linker.unlink_alone(VersionRef::next_offset(newer.offset), block, pass)?);
    }
    Ok(pruned)
}

/// Cuts off what is older than `version`, which every snapshot sees, unless it `may_not` have taken effect. True if this call
/// did so.
pub(super) fn prune_below(
    guard: &Guard<'_>,
    linker: &mut Linker<'_>,
    table: u64,
    version: BlockRef,
    may_not: bool,
) -> Result<bool, TxnError> {
    let arena = guard.arena();
    if guard.word_of(version)?.is_none_or(|word| word.state() != BlockState::Live) {
        return Ok(false);
    }
    // The guard was taken before the state was read: the version cannot be used again until it is dropped.
    let newer = VersionRef::resolve(guard, version.offset)?;
    if may_not && matches!(newer.begin(guard), BeginWord::Stamped(NEVER) | BeginWord::Intent(_)) {
        return Ok(false);
    }
    let seen = newer.next_word(guard);
    if seen.older() == 0 || seen.is_marked() {
        return Ok(false);
    }
    // K2
    RowKeys::at(guard, table, newer.row())?.remove_below(linker, &newer, seen.older())?;
    let tail = arena.block_ref(seen.older())?;
    let retire = |_: &Participant, limbo: &mut Limbo| retire_cut_off(guard, limbo, tail);
    Ok(linker.unlink(VersionRef::next_offset(version.offset), tail, || newer.cut(seen), retire)?)
}
