//! Making and dropping indexes while others write.
//!
//! Making      a root is claimed (PREPARING), the tree made, the column noted (O3, O5), and the root set to BUILDING: from then on
//!             writers keep the index. Then the builder takes a timestamp and adds what rows have that is seen at it or
//!             later; of a unique index it looks whether it is (U5). Then the index is complete: LEAVING, while it is logged,
//!             and READY. Snapshots older than that timestamp do without. So wherever the log ends, rows that come with the
//!             definition of a unique index are unique.
//! Dropping    READY to LEAVING, the end logged, DROPPING; `index_mend` goes on from there.
//! Deaths      see `index_mend`.
//! One each    who claims a root says for which column, passes a fence, and looks at the others: of two for one column
//!             at least one sees the other, and who sees one gives way. One that is PREPARING may have looked before, so where it
//!             stands on the list says nothing; of two that meet, both may have to try again.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::index::Blocks;
use crate::mvcc::{IndexRef, IndexRoot, IndexRoots, IndexState, IndexWord, TableRoot, end_of_roots};
use crate::row::{ColumnPlace, IndexSpec};
use crate::shm::{BlockKind, OwnerId, Reserve};
use crate::sync::{Ordering, fence};
use crate::txn::index_build::{Alone, IndexBuild};
use crate::txn::link::Linker;
use crate::txn::log::wait_durable;
use crate::txn::secondary::create_tree;
use crate::txn::transaction::running;
use crate::txn::{Session, TableRef, Transaction, TxnError, TxnOptions, redo};
use std::mem::size_of;
use std::sync::Arc;
use std::time::Duration;

/// How often, and after what pauses, one that is about to make an index looks whether an earlier one on the column is still
/// CLEARING: that is a few stores, unless their process is stopped.
const CLEARING_TRIES: u32 = 100;
const CLEARING_PAUSE: Duration = Duration::from_millis(1);

/// Makes an index on a column, durably. Others may write meanwhile. The key column has a hash from the first.
///
/// # Errors
/// `IndexExists`, `IndexBusy`, `UniqueViolation`, `OutOfSpace`: there is none then. With synchronous commit an error of the log means
/// that it is there, but may not survive a power failure.
pub fn create_index(
    mut session: Box<Session>,
    table: &TableRef,
    column: usize,
    spec: IndexSpec,
    synchronous: bool,
) -> (Option<Box<Session>>, Result<(), TxnError>) {
    let is_key = column == table.schema().key_index();
    if is_key && spec.is_hash {
        return (Some(session), Err(exists(table, column)));
    }
    // The primary key sees to that.
    let spec = if is_key { IndexSpec::default() } else { spec };
    let index = match session.claim_root(table, column, spec) {
        Ok(index) => index,
        Err(error) => return (Some(session), Err(error)),
    };
    if let Err(error) = session.make_index(table, index) {
        let given_up = session.give_up_root(index);
        return (Some(session), given_up.and(Err(error)));
    }
    let change = IndexChange { table, column, spec, is_there: true };
    let (mut session, made) = change_logged(session, &change, index, synchronous);
    // After it is logged: counting takes as long as a walk over all of it, and a death meanwhile is nothing to anybody.
    let counted = match &mut session {
        Some(session) if made.is_ok() => session.count_index(table.root_offset(), index),
        _ => Ok(()),
    };
    (session, made.and(counted))
}

/// Drops the index on a column, durably. Its memory is given back when nobody can be at it any more.
///
/// # Errors
/// `NoIndex`, `IndexBusy`.
pub fn drop_index(
    session: Box<Session>,
    table: &TableRef,
    column: usize,
    synchronous: bool,
) -> (Option<Box<Session>>, Result<(), TxnError>) {
    let (index, spec) = match session.claim_drop(table, column) {
        Ok(claimed) => claimed,
        Err(error) => return (Some(session), Err(error)),
    };
    change_logged(session, &IndexChange { table, column, spec, is_there: false }, index, synchronous)
}

/// What is logged of an index.
pub(super) struct IndexChange<'a> {
    pub(super) table: &'a TableRef,
    pub(super) column: usize,
    pub(super) spec: IndexSpec,
    /// Whether the table has it from here on.
    pub(super) is_there: bool,
}

/// Logs a change of the index at `index`, which is LEAVING and this session's turn, and makes it READY or DROPPING by that.
fn change_logged(
    session: Box<Session>,
    change: &IndexChange<'_>,
    index: u64,
    synchronous: bool,
) -> (Option<Box<Session>>, Result<(), TxnError>) {
    let leaving = IndexWord::owned(IndexState::Leaving, session.participant.owner());
    // Waited for later: whether it took effect decides what becomes of the index.
    let (session, logged) = log_index(session, change);
    let Some(session) = session else { return (None, logged.map(drop)) };
    let to = if logged.is_ok() == change.is_there { IndexState::Ready } else { IndexState::Dropping };
    let changed = {
        let guard = session.participant.pin();
        let root = guard.resolve::<IndexRoot>(index).map_err(TxnError::from);
        root.map(|root| {
            root.change(leaving, IndexWord::of(to));
        })
    };
    if to == IndexState::Dropping {
        session.store.garbage().want();
    }
    let durable =
        logged.and_then(
            |commit_ts| {
                if synchronous { wait_durable(session.store.log(), commit_ts) } else { Ok(()) }
            },
        );
    (Some(session), durable.and(changed))
}

/// Logs that there is an index, or none, and does no more.
#[cfg(test)]
pub(crate) fn log_only(
    session: Box<Session>,
    table: &TableRef,
    column: usize,
    is_there: bool,
) -> (Box<Session>, Result<u64, TxnError>) {
    let change = IndexChange { table, column, spec: IndexSpec::default(), is_there };
    let (session, logged) = log_index(session, &change);
    (session.unwrap(), logged)
}

/// Commits the record of a change, in a transaction of its own; the timestamp.
pub(super) fn log_index(
    session: Box<Session>,
    change: &IndexChange<'_>,
) -> (Option<Box<Session>>, Result<u64, TxnError>) {
    let mut txn = Transaction::begin(session, TxnOptions::default());
    let logged = txn.log_index(change).and_then(|()| txn.commit(false));
    (txn.into_session(), logged)
}

impl Transaction {
    fn log_index(&mut self, change: &IndexChange<'_>) -> Result<(), TxnError> {
        self.concerns = Some(change.table.clone());
        let session = running(&mut self.session)?;
        self.record = Some(session.begin_record(Reserve::No)?);
        let column = u8::try_from(change.column).unwrap_or(u8::MAX);
        redo::index(&mut session.redo, change.table.id(), column, change.spec, change.is_there)
    }
}

/// The indexes on a column that are there, or are being made.
pub(super) fn indexes_on<'g>(
    guard: &Guard<'g>,
    root: &TableRoot,
    column: usize,
) -> Result<Vec<(IndexRef<'g>, IndexWord)>, TxnError> {
    let mut found = Vec::new();
    for index in IndexRoots::of(guard, root) {
        let index = index?;
        let word = index.root.word();
        let is_there = word.is_kept() || word.state == IndexState::Preparing;
        if is_there && index.root.place().is_some_and(|place| place.column() == column) {
            found.push((index, word));
        }
    }
    Ok(found)
}

impl Session {
    pub(super) fn owner(&self) -> OwnerId {
        self.participant.owner()
    }

    /// Claims a root for an index on a column; its offset.
    fn claim_root(&mut self, table: &TableRef, column: usize, spec: IndexSpec) -> Result<u64, TxnError> {
        for _ in 0..CLEARING_TRIES {
            self.relieve_dead(table, column)?;
            if let Some(index) = self.try_claim_root(table, column, spec)? {
                return Ok(index);
            }
            std::thread::sleep(CLEARING_PAUSE);
        }
        let (table, column) =
            (table.schema().name().to_owned(), table.schema().column(column).name().to_owned());
        Err(TxnError::IndexBusy { table, column })
    }

    /// The same; `None` while an index that was on that column is CLEARING.
    fn try_claim_root(
        &mut self,
        table: &TableRef,
        column: usize,
        spec: IndexSpec,
    ) -> Result<Option<u64>, TxnError> {
        let preparing = IndexWord::owned(IndexState::Preparing, self.owner());
        let (guard, mut linker) = self.parts();
        let root = table.in_use(&guard)?;
        refuse(table, column, indexes_on(&guard, root, column)?.first().map(|(_, word)| *word))?;
        let mut mine = None;
        for index in IndexRoots::of(&guard, root) {
            let index = index?;
            if index.root.change(IndexWord::of(IndexState::Free), preparing) {
                mine = Some(index);
                break;
            }
        }
        let mine = match mine {
            Some(index) => index,
            None => add_root(&guard, &mut linker, table, root)?,
        };
        mine.root.set_spec(spec);
        mine.root.set_place(Some(ColumnPlace::of(table.schema(), column)));
        fence(Ordering::SeqCst);
        let others = indexes_on(&guard, root, column)?;
        let other = others.iter().find(|(other, _)| other.offset != mine.offset);
        let refused = refuse(table, column, other.map(|(_, word)| *word));
        let gives_way = is_clearing(&guard, root, column)?; // O3
        if refused.is_err() || gives_way {
            mine.root.set_place(None);
            mine.root.change(preparing, IndexWord::of(IndexState::Free));
        }
        refused.map(|()| (!gives_way).then_some(mine.offset))
    }

    /// Claims the index on a column to drop it; its root's offset, and what is promised of it.
    fn claim_drop(&self, table: &TableRef, column: usize) -> Result<(u64, IndexSpec), TxnError> {
        self.relieve_dead(table, column)?;
        let guard = self.participant.pin();
        let found = indexes_on(&guard, table.in_use(&guard)?, column)?;
        let leaving = IndexWord::owned(IndexState::Leaving, self.owner());
        for (index, word) in &found {
            if word.state == IndexState::Ready && index.root.change(*word, leaving) {
                return Ok((index.offset, index.root.spec()));
            }
        }
        let (table, column) =
            (table.schema().name().to_owned(), table.schema().column(column).name().to_owned());
        Err(if found.is_empty() {
            TxnError::NoIndex { table, column }
        } else {
            TxnError::IndexBusy { table, column }
        })
    }

    /// From PREPARING to `to`: the index is there, and empty.
    fn plant(&mut self, table: &TableRef, index: u64, to: IndexWord) -> Result<(), TxnError> {
        let preparing = IndexWord::owned(IndexState::Preparing, self.owner());
        let store = Arc::clone(&self.store);
        let (guard, mut linker) = self.parts();
        let root: &IndexRoot = guard.resolve(index)?;
        let block = create_tree(&guard, &mut linker, index, root.spec())?;
        linker.link(&root.tree, IndexRoot::tree_offset(index), block)?;
        let column = root.place().map_or(0, |place| place.column());
        let table = table.root(&guard)?;
        table.indexed.fetch_or(1 << column, Ordering::SeqCst); // O3
        if root.spec().is_unique {
            store.catalog().note_unique(table, column); // O5
        }
        root.change(preparing, to);
        Ok(())
    }

    /// From PREPARING to LEAVING, complete.
    fn make_index(&mut self, table: &TableRef, index: u64) -> Result<(), TxnError> {
        let owner = self.owner();
        self.plant(table, index, IndexWord::owned(IndexState::Building, owner))?;
        self.fill_index(table, index, IndexWord::owned(IndexState::Leaving, owner), None)
    }

    /// From BUILDING, this session's turn, to `to`, with all that belongs into it; as to `alone`, see [`IndexBuild::run`].
    fn fill_index(
        &mut self,
        table: &TableRef,
        index: u64,
        to: IndexWord,
        alone: Option<Alone<'_>>,
    ) -> Result<(), TxnError> {
        let building = IndexWord::owned(IndexState::Building, self.owner());
        let table = table.root_offset();
        let is_unique = IndexBuild::begin(self, table, index)?.run(self, alone)?;
        if is_unique {
            self.check_unique_index(table, index)?;
        }
        self.participant.pin().resolve::<IndexRoot>(index)?.change(building, to);
        Ok(())
    }

    /// As [`create_index`], up to where it would be logged.
    #[cfg(test)]
    pub(crate) fn make_unlogged(&mut self, table: &TableRef, column: usize, spec: IndexSpec) {
        let index = self.claim_root(table, column, spec).unwrap();
        self.make_index(table, index).unwrap();
    }

    /// As [`drop_index`], up to where it would be logged.
    #[cfg(test)]
    pub(crate) fn leave_unlogged(&mut self, table: &TableRef, column: usize) {
        self.claim_drop(table, column).unwrap();
    }

    /// An index that its maker gives up, in PREPARING or BUILDING, is taken down.
    fn give_up_root(&self, index: u64) -> Result<(), TxnError> {
        let owner = self.owner();
        let guard = self.participant.pin();
        let root: &IndexRoot = guard.resolve(index)?;
        for state in [IndexState::Preparing, IndexState::Building] {
            root.change(IndexWord::owned(state, owner), IndexWord::of(IndexState::Dropping));
        }
        self.store.garbage().want();
        Ok(())
    }

    /// For recovery, while nobody else has the database open: the table has such an index on that column from here on, or none.
    /// What is in it comes with [`Session::load_index`].
    ///
    /// # Errors
    /// `OutOfSpace`.
    pub fn load_index_definition(
        &mut self,
        table: &TableRef,
        column: usize,
        spec: Option<IndexSpec>,
    ) -> Result<(), TxnError> {
        let has_one = {
            let guard = self.participant.pin();
            let found = indexes_on(&guard, table.root(&guard)?, column)?;
            for (index, word) in found.iter().filter(|_| spec.is_none()) {
                index.root.change(*word, IndexWord::of(IndexState::Dropping));
                self.store.garbage().want();
            }
            !found.is_empty()
        };
        if let Some(spec) = spec
            && !has_one
        {
            let index = self.claim_root(table, column, spec)?;
            self.plant(table, index, IndexWord::of(IndexState::Ready))?;
        }
        Ok(())
    }

    /// For recovery: the table's indexes, by where their roots lie.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn indexes_to_load(&self, table: &TableRef) -> Result<Vec<u64>, TxnError> {
        let guard = self.participant.pin();
        let roots: Result<Vec<_>, _> = IndexRoots::of(&guard, table.root(&guard)?).collect();
        let ready = roots?.into_iter().filter(|index| index.root.word().state == IndexState::Ready);
        Ok(ready.map(|index| index.offset).collect())
    }

    /// For recovery, after the last row, with the clock where the log ended: fills an index of the table.
    ///
    /// # Errors
    /// `OutOfSpace`; `LogNotUnique` when the log is not what was committed.
    pub fn load_index(&mut self, table: &TableRef, index: u64, alone: Alone<'_>) -> Result<(), TxnError> {
        let ready = IndexWord::of(IndexState::Ready);
        let building = IndexWord::owned(IndexState::Building, self.owner());
        self.participant.pin().resolve::<IndexRoot>(index)?.change(ready, building);
        self.fill_index(table, index, ready, Some(alone)).map_err(|error| match error {
            TxnError::UniqueViolation { table, column, value } => {
                TxnError::LogNotUnique { table, column, value }
            }
            other => other,
        })?;
        self.count_index(table.root_offset(), index)
    }
}

/// Whether an index that was on the column is about to leave it without a mark (O3).
fn is_clearing(guard: &Guard<'_>, table: &TableRoot, column: usize) -> Result<bool, TxnError> {
    for index in IndexRoots::of(guard, table) {
        let root = index?.root;
        if root.word().state == IndexState::Clearing
            && root.place().is_some_and(|place| place.column() == column)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Why there cannot be another index beside one that is `word`.
fn refuse(table: &TableRef, column: usize, word: Option<IndexWord>) -> Result<(), TxnError> {
    let Some(word) = word else { return Ok(()) };
    if word.state == IndexState::Ready {
        return Err(exists(table, column));
    }
    let (table, column) = (table.schema().name().to_owned(), table.schema().column(column).name().to_owned());
    Err(TxnError::IndexBusy { table, column })
}

fn exists(table: &TableRef, column: usize) -> TxnError {
    let (table, column) = (table.schema().name().to_owned(), table.schema().column(column).name().to_owned());
    TxnError::IndexExists { table, column }
}

/// Adds a root, PREPARING for the guard's session, to the end of a table's list (O1).
fn add_root<'g>(
    guard: &Guard<'g>,
    linker: &mut Linker<'_>,
    table: &TableRef,
    root: &'g TableRoot,
) -> Result<IndexRef<'g>, TxnError> {
    loop {
        let block = linker.alloc_zeroed(size_of::<IndexRoot>(), BlockKind::INDEX_ROOT)?;
        let index: &IndexRoot = guard.resolve(block.offset)?;
        index.init_for(guard.participant().owner());
        let (word, word_offset) = end_of_roots(guard, table.root_offset(), root)?;
        if linker.link(word, word_offset, block)? {
            return Ok(IndexRef { offset: block.offset, root: index });
        }
    }
}
