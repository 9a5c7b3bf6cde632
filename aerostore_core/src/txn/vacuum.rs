//! The vacuum: walks over all rows and finds the garbage that no session remembers, because its process is dead, or it
//! remembered too much.
//!
//! Rules       every step is one that a session takes with its own garbage (`txn::prune`, `txn::remove`), and harmless when several
//!             take it at once, or one that was stopped takes it late. So the role needs no lock: it only saves work.
//! Cost        a walk is cut into slices of some slabs, each an operation of its own: readers' and writers' garbage is never held
//!             back for longer than that, and the thread does other work in between.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, LiveSnapshots};
use crate::mvcc::{BeginWord, NEVER, RowHeader, TableRoot, TableState, VersionRef};
use crate::shm::{Reserve, SlabRef, tagged_slabs};
use crate::sync::Ordering;
use crate::txn::link::Linker;
use crate::txn::prune::prune_between;
use crate::txn::remove::{End, Removal, finish_removal, remove_row};
use crate::txn::revoke::revoke_for_room;
use crate::txn::secondary::RowKeys;
use crate::txn::settle::take_off;
use crate::txn::{Session, Store, TxnError};
use std::sync::Arc;

/// One walk over the rows of all tables.
pub struct Vacuum {
    /// Slabs of rows, with the offset of their table's root.
    slabs: Vec<(u64, SlabRef)>,
    requests: u64,
    is_all_done: bool,
    held_bytes: u64,
    /// Whether a write waited for it when it began.
    is_pressed: bool,
}

/// The table that a slab's rows are taken for.
#[derive(Clone, Copy)]
struct Owner<'g> {
    offset: u64,
    root: &'g TableRoot,
    /// Whether it is dropped, and its rows may go (T6); it is in use otherwise.
    is_dropped: bool,
}

/// What a slice of a walk has done.
#[derive(Default)]
struct Slice {
    rows_removed: u64,
    versions_pruned: u64,
    /// Bytes of versions that only old snapshots see.
    held_bytes: u64,
    /// Whether garbage has to stay for the sake of somebody's snapshot or transaction.
    leaves_some: bool,
}

impl Vacuum {
    /// Begins a walk if one is asked for.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn begin(session: &Session) -> Result<Option<Self>, TxnError> {
        let store = session.store();
        let Some(requests) = store.garbage().open_requests() else { return Ok(None) };
        let is_pressed = store.garbage().is_pressed();
        let guard = session.participant().pin();
        let mut slabs = Vec::new();
        for (table, root) in store.catalog().tables(&guard)? {
            let is_dropped = root.state() == TableState::Dropped;
            if root.state() == TableState::Live || is_dropped && session.may_clear(&guard, root)? {
                slabs.extend(tagged_slabs(store.arena(), &root.rows)?.into_iter().map(|slab| (table, slab)));
            }
        }
        Ok(Some(Self { slabs, requests, is_all_done: true, held_bytes: 0, is_pressed }))
    }

    /// Goes on with up to `slabs` slabs of rows; true when the walk is over.
    ///
    /// # Errors
    /// `OutOfSpace`; when the mapping is damaged.
    pub fn go_on(&mut self, session: &mut Session, slabs: usize) -> Result<bool, TxnError> {
        for _ in 0..slabs {
            let Some((table, slab)) = self.slabs.pop() else { break };
            let slice = session.vacuum_slab(table, slab)?;
            self.is_all_done &= !slice.leaves_some;
            self.held_bytes += slice.held_bytes;
            session.store.garbage().count(slice.rows_removed, slice.versions_pruned);
        }
        if !self.slabs.is_empty() {
            return Ok(false);
        }
        self.is_all_done &= !(session.mend_indexes()? | session.mend_tables()?);
        let store = Arc::clone(&session.store);
        store.garbage().set_held_bytes(self.held_bytes);
        store.garbage().count_pass(self.requests, self.is_all_done);
        if self.is_pressed {
            let Session { participant, heap, limbo, .. } = session;
            limbo.collect_now(participant, heap)?;
            heap.trim();
        }
        if !revoke_for_room(&store)? && self.is_pressed {
            store.garbage().relieve(self.requests);
        }
        Ok(true)
    }
}

impl Session {
    fn vacuum_slab(&mut self, table: u64, slab: SlabRef) -> Result<Slice, TxnError> {
        let mut live = LiveSnapshots::default();
        live.look(self.store.registry(), self.store.clock().word())?;
        let may_clear = {
            let guard = self.participant.pin();
            self.may_clear(&guard, guard.resolve(table)?)?
        };
        let mut slice = Slice::default();
        let Self { store, participant, heap, limbo, .. } = self;
        loop {
            let done = slice.rows_removed + slice.versions_pruned;
            (slice.held_bytes, slice.leaves_some) = (0, false);
            let is_short = {
                let guard = participant.pin();
                let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
                let root: &TableRoot = guard.resolve(table)?;
                // T9
                let is_dropped = root.state() != TableState::Live;
                if is_dropped && !may_clear {
                    break;
                }
                let owner = Owner { offset: table, root, is_dropped };
                slice.slab(&guard, store, &mut linker, owner, slab, &live)?
            };
            if !is_short {
                break;
            }
            // What removing entries has replaced can be used again once the operation is over.
            limbo.collect_now(participant, heap)?;
            if done == slice.rows_removed + slice.versions_pruned {
                slice.leaves_some = true;
                break;
            }
        }
        limbo.collect(participant, heap)?;
        Ok(slice)
    }
}

impl Slice {
    /// Looks at the rows of a slab; true when it has stopped for want of room.
    fn slab(
        &mut self,
        guard: &Guard<'_>,
        store: &Store,
        linker: &mut Linker<'_>,
        owner: Owner<'_>,
        slab: SlabRef,
        live: &LiveSnapshots,
    ) -> Result<bool, TxnError> {
        let slot = linker.participant.slot();
        // D5
        if !finish_removal(guard, store, linker, slot)? {
            return Ok(true);
        }
        for row in guard.live_blocks(slab)? {
            match self.row(guard, store, linker, owner, row, live) {
                // K2
                Err(error) if error.is_out_of_space() => return Ok(true),
                looked => looked?,
            }
            // Relaxed: this session alone writes it. D5
            if slot.removed_row.load(Ordering::Relaxed) != 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn row(
        &mut self,
        guard: &Guard<'_>,
        store: &Store,
        linker: &mut Linker<'_>,
        owner: Owner<'_>,
        row: u64,
        live: &LiveSnapshots,
    ) -> Result<(), TxnError> {
        let header: &RowHeader = guard.resolve(row)?;
        let head = guard.protect(&header.head);
        if head == 0 {
            return Ok(()); // its remover is at it, or will be reaped
        }
        let newest = VersionRef::resolve(guard, head)?;
        let begin = newest.begin(guard);
        let table = owner.offset;
        if owner.is_dropped {
            // T9
            if owner.root.state() != TableState::Dropped {
                return Ok(());
            }
            let last = guard.arena().block_ref(head)?;
            let is_gone = remove_row(guard, store, linker, table, last, End::Dropped)? == Removal::Done;
            self.rows_removed += u64::from(is_gone);
            self.leaves_some |= !is_gone;
            return Ok(());
        }
        if begin == BeginWord::Stamped(NEVER) && newest.next(guard) != 0 {
            let is_off = take_off(RowKeys::at(guard, table, row)?, linker, &newest)?;
            self.versions_pruned += u64::from(is_off);
            self.leaves_some = true; // what lay below it
            return Ok(());
        }
        if newest.is_tombstone() || begin == BeginWord::Stamped(NEVER) {
            let last = guard.arena().block_ref(head)?;
            match remove_row(guard, store, linker, table, last, End::Seen(live.horizon()))? {
                Removal::Done => {
                    self.rows_removed += 1;
                    return Ok(());
                }
                Removal::NotNow | Removal::No => {
                    let arena = guard.arena();
                    self.held_bytes += arena.block_capacity(row)? + arena.block_capacity(head)?;
                    self.leaves_some = true;
                }
            }
        }
        // The newest that has committed.
        let mut at = newest;
        while !matches!(at.begin(guard), BeginWord::Stamped(begin) if begin != NEVER) {
            self.leaves_some = true;
            let next = at.next(guard);
            if next == 0 {
                return Ok(());
            }
            at = VersionRef::resolve(guard, next)?;
        }
        let pruned = prune_between(guard, linker, table, guard.arena().block_ref(at.offset)?, live)?;
        self.versions_pruned += pruned.taken_out;
        self.held_bytes += pruned.needed_bytes;
        self.leaves_some |= pruned.needed > 0;
        Ok(())
    }
}
