//! What is left to do on indexes: for sessions that died while they made or dropped one, and of those that were dropped.
//!
//! Dropped     when every operation is over that may have seen it before it became DROPPING, its blocks are given back, the column's
//!             mark is taken back (CLEARING, O3), and the root is FREE; then the catalog's mark of unique indexes (O5).
//! Deaths      of roots whose turn was a dead session's, what was PREPARING or BUILDING is undone, and nothing
//!             of it was logged; what was LEAVING stays, and is logged again, as the log may have it, or its end, or neither. Nobody
//!             is refused for the sake of the dead until then: the reaper, who makes or drops an index on the column, and who is refused a
//!             key make DROPPING of what was PREPARING, BUILDING or CLEARING (that is taken down once more, and finds nothing); who
//!             makes or drops one logs what was LEAVING again.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::mvcc::{IndexRef, IndexRoot, IndexRoots, IndexState, IndexWord, TableRoot, TableState};
use crate::shm::{OwnerId, Reserve};
use crate::sync::{Ordering, fence};
use crate::txn::ddl::table_ref;
use crate::txn::index_ddl::{IndexChange, indexes_on, log_index};
use crate::txn::index_stats::is_to_be_counted;
use crate::txn::link::Linker;
use crate::txn::secondary::tree;
use crate::txn::{Session, TableRef, TxnError};
use std::sync::Arc;

/// A column with an index, and what is promised of that (`IndexSpec::word`).
type Promised = (u8, u8);

/// Calls after which what is left is not this session's to finish.
const FINISH_CALLS: u32 = 1000;

impl Session {
    /// Does for dead sessions that had a turn at an index on the column what others would be refused for.
    pub(super) fn relieve_dead(&self, table: &TableRef, column: usize) -> Result<(), TxnError> {
        let mut to_log = Vec::new();
        {
            let guard = self.participant.pin();
            for index in IndexRoots::of(&guard, table.root(&guard)?) {
                let index = index?;
                let word = index.root.word();
                if index.root.place().is_none_or(|place| place.column() != column) {
                    continue;
                }
                if word.state == IndexState::Leaving && self.is_dead_turn(word.owner)? {
                    to_log.push((index.offset, word));
                } else {
                    self.give_up_for_dead(index.root)?;
                }
            }
        }
        // Not within that operation, which would hold what the session that logs leaves behind.
        to_log.into_iter().try_for_each(|(index, word)| self.log_again(table.root_offset(), index, word))
    }

    /// The indexes of a table that the log defines: column, and what is promised; and the columns of those of which somebody is about
    /// to log that they are there, or not any more. For the dead that is logged.
    pub(super) fn logged_indexes(&self, table: &TableRef) -> Result<(Vec<Promised>, Vec<u8>), TxnError> {
        let (mut found, mut unsure) = (Vec::new(), Vec::new());
        {
            let guard = self.participant.pin();
            for index in IndexRoots::of(&guard, table.root(&guard)?) {
                let root = index?.root;
                // Its column stays for as long as this operation runs, whatever becomes of it (O2).
                let (word, Some(place)) = (root.word(), root.place()) else { continue };
                if place.column() >= table.columns() {
                    continue; // J8 of `alter`: the log tells of both, the column and then the index, after this definition was looked up
                }
                let column = u8::try_from(place.column()).unwrap_or(u8::MAX);
                match word.state {
                    IndexState::Ready => found.push((column, root.spec().word())),
                    IndexState::Leaving => unsure.push(column),
                    _ => {}
                }
            }
        }
        unsure.iter().try_for_each(|&column| self.relieve_dead(table, usize::from(column)))?;
        Ok((found, unsure))
    }

    /// Was it a session's turn that is dead?
    pub(super) fn is_dead_turn(&self, owner: Option<OwnerId>) -> Result<bool, TxnError> {
        match owner {
            Some(owner) => Ok(self.store.registry().is_dead_owner(owner)?),
            None => Ok(false),
        }
    }

    /// Makes DROPPING of a root that a dead session had PREPARING, BUILDING or CLEARING; true if this call did so.
    pub(super) fn give_up_for_dead(&self, root: &IndexRoot) -> Result<bool, TxnError> {
        let word = root.word();
        let is_in_the_way =
            matches!(word.state, IndexState::Preparing | IndexState::Building | IndexState::Clearing);
        let given_up = is_in_the_way
            && self.is_dead_turn(word.owner)?
            && root.change(word, IndexWord::of(IndexState::Dropping));
        if given_up {
            self.store.garbage().want();
        }
        Ok(given_up)
    }

    /// The same for all roots; for the reaper, before it frees a dead session's slot.
    pub(super) fn give_up_all_for_dead(&self) -> Result<(), TxnError> {
        let guard = self.participant.pin();
        for (_, root) in self.store.catalog().tables(&guard)? {
            for index in IndexRoots::of(&guard, root) {
                self.give_up_for_dead(index?.root)?;
            }
        }
        Ok(())
    }

    /// Makes DROPPING of an index whose table is dropped, unless somebody is at it, who will learn that.
    fn drop_with_table(&self, root: &IndexRoot) -> Result<(), TxnError> {
        let word = root.word();
        if word.state == IndexState::Ready
            || word.state == IndexState::Leaving && self.is_dead_turn(word.owner)?
        {
            root.change(word, IndexWord::of(IndexState::Dropping));
        }
        Ok(())
    }

    /// Does what is left to do on indexes: for the dead, and on those that were dropped. True when something is left for a later
    /// call.
    pub(crate) fn mend_indexes(&mut self) -> Result<bool, TxnError> {
        let mut is_left = false;
        let mut to_drop = Vec::new();
        let mut to_count = Vec::new();
        let mut to_log = Vec::new();
        {
            let guard = self.participant.pin();
            for (table, root) in self.store.catalog().tables(&guard)? {
                let is_dropped = root.state() == TableState::Dropped;
                if !is_dropped && root.state() != TableState::Live {
                    continue;
                }
                for index in IndexRoots::of(&guard, root) {
                    let index = index?;
                    if is_dropped {
                        self.drop_with_table(index.root)?;
                    } else if is_to_be_counted(root, index.root) {
                        to_count.push((table, index.offset));
                    }
                    self.give_up_for_dead(index.root)?;
                    let word = index.root.word();
                    match word.state {
                        IndexState::Leaving if self.is_dead_turn(word.owner)? => {
                            to_log.push((table, index.offset, word));
                        }
                        IndexState::Dropping if word.owner.is_none() || self.is_dead_turn(word.owner)? => {
                            let mine = IndexWord::owned(IndexState::Dropping, self.owner());
                            if index.root.change(word, mine) {
                                to_drop.push((table, index.offset));
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        for (table, index, word) in to_log {
            is_left |= self.log_again(table, index, word).is_err();
        }
        for (table, index) in to_count {
            self.count_index(table, index)?;
        }
        for (table, index) in to_drop {
            is_left |= !self.take_down(table, index)?;
        }
        Ok(is_left | !self.forget_unique()?)
    }

    /// Takes the catalog's mark of unique indexes back when there are none any more (O5); false when that has to wait.
    fn forget_unique(&mut self) -> Result<bool, TxnError> {
        let store = Arc::clone(&self.store);
        let mark = store.catalog().unique_mark();
        let closed = self.unique_closed.take().filter(|(seen, _)| *seen == mark).map(|(_, closed)| closed);
        let is_over = match closed {
            Some(closed) => self.participant.is_over(closed)?,
            None => false,
        };
        let has_unique = {
            let guard = self.participant.pin();
            let tables = store.catalog().tables(&guard)?;
            tables.iter().any(|(_, root)| !root.unique().is_empty())
        };
        if mark & 1 == 0 || has_unique {
            return Ok(true);
        }
        if is_over {
            store.catalog().forget_unique(mark);
        } else {
            self.unique_closed = Some((mark, closed.unwrap_or_else(|| self.participant.close_epoch())));
        }
        Ok(is_over)
    }

    /// Keeps an index that is LEAVING, whose maker or dropper has died: the log may have it or not, so it is logged again, by a session
    /// made for that. Whatever fails, it stays as it is, for whoever mends next.
    fn log_again(&self, table: u64, index: u64, dead: IndexWord) -> Result<(), TxnError> {
        let session = Box::new(Session::new(Arc::clone(&self.store))?);
        let guard = self.participant.pin();
        let root: &IndexRoot = guard.resolve(index)?;
        let mine = IndexWord::owned(IndexState::Leaving, session.owner());
        let table = table_ref(&guard, table, guard.resolve(table)?)?;
        let (session, logged) = if let Some(place) = root.place()
            && root.change(dead, mine)
        {
            let column = place.column();
            let change = IndexChange { table: &table, column, spec: root.spec(), is_there: true };
            let (session, logged) = log_index(session, &change);
            if logged.is_ok() {
                root.change(mine, IndexWord::of(IndexState::Ready));
            }
            (session, logged.map(drop))
        } else {
            (Some(session), Ok(()))
        };
        drop(guard);
        session.map_or(Ok(()), |session| session.close()).and(logged)
    }

    /// Does all that [`Session::mend_indexes`] finds, while nobody else is at work.
    pub(crate) fn finish_indexes(&mut self) -> Result<(), TxnError> {
        let mut calls = 0;
        while self.mend_indexes()? {
            calls += 1;
            if calls == FINISH_CALLS {
                break; // somebody is at one of them
            }
        }
        Ok(())
    }

    /// Gives the blocks of an index back that is DROPPING, which is this session's turn, if nobody can be at it; false when that
    /// has to wait.
    fn take_down(&mut self, table: u64, index: u64) -> Result<bool, TxnError> {
        let mine = IndexWord::owned(IndexState::Dropping, self.owner());
        let closed = {
            let root: &IndexRoot = self.participant.pin().resolve(index)?;
            root.closed_epoch.load(Ordering::Acquire)
        };
        let closed = if closed == 0 { self.participant.close_epoch() } else { closed };
        let is_over = self.participant.is_over(closed)?;
        let Self { participant, heap, limbo, .. } = self;
        let is_gone = {
            let guard = participant.pin();
            let root: &IndexRoot = guard.resolve(index)?;
            root.closed_epoch.store(closed, Ordering::Release);
            let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
            let is_gone = is_over
                && (root.tree.load(Ordering::Acquire) == 0
                    || match tree(IndexRef { offset: index, root }).dismantle(
                        &guard,
                        &mut linker,
                        &root.below,
                    ) {
                        Err(error) if error.is_out_of_space() => false,
                        dismantled => dismantled?,
                    });
            if is_gone {
                let clearing = IndexWord::owned(IndexState::Clearing, participant.owner());
                root.change(mine, clearing);
                unmark_column(&guard, guard.resolve(table)?, root)?;
                root.set_place(None);
                root.closed_epoch.store(0, Ordering::Relaxed);
                // Whoever took the last block may have died before he came to it.
                root.below.store(0, Ordering::Relaxed);
                root.change(clearing, IndexWord::of(IndexState::Free));
            } else {
                root.change(mine, IndexWord::of(IndexState::Dropping));
            }
            is_gone
        };
        limbo.collect(participant, heap)?;
        Ok(is_gone)
    }
}

/// Lets writers know that the column of `index`, which the caller has CLEARING, has none any more, or no unique one; unless it has
/// another (O3, O5).
fn unmark_column(guard: &Guard<'_>, table: &TableRoot, index: &IndexRoot) -> Result<(), TxnError> {
    fence(Ordering::SeqCst);
    let Some(place) = index.place() else { return Ok(()) };
    let others = indexes_on(guard, table, place.column())?;
    if others.is_empty() {
        table.indexed.fetch_and(!(1 << place.column()), Ordering::SeqCst);
    }
    if others.iter().all(|(other, _)| !other.root.spec().is_unique) {
        table.forget_unique(place.column());
    }
    Ok(())
}
