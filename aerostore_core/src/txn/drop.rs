//! Dropping tables while others use them, and giving their memory back.
//!
//! Rules       T1: the drop word moves NONE -> LEAVING -> DROPPED -> CLEARING -> GONE, from LEAVING also back, by CAS; while it is LEAVING or
//!             CLEARING it names whose turn it is, who alone writes the table's state. T2: the state is LEAVING, and then the catalog's count of
//!             drops moves, before the drop draws its commit timestamp; every operation on a table begins with a look at its state, and
//!             a transaction that finds the count moved since it began looks, after its own timestamp is drawn, or the snapshot that it goes
//!             on to, at the tables of all it has read and written. So nothing that was read or written in a table commits after
//!             its drop: a timestamp above the drop's is drawn after the state was LEAVING. T3: the state is DROPPED, with the
//!             drop's timestamp, after that is logged. T4: its name is taken until then, so a table that is made anew is logged behind the drop.
//!             T5: a checkpoint takes another snapshot for one that was dropped after its own; what is dropped while it is written it writes
//!             to its end. It waits a moment for one that is LEAVING, and then goes by the log (P8 of `checkpoint`): if that says up to the snapshot
//!             that it is dropped, it is; else it is there, with its rows, which stay as long as the snapshot does (T6). T6: rows go by removals (D1-D6), whatever they end with, once every operation is
//!             over that may have seen the table in use, the horizon has reached the drop, so that nobody's reads are looked at
//!             again, and its indexes are FREE; and when nobody who is undecided owns them. When there are none left, the key hash goes.
//!             T7: what is LEAVING or CLEARING, and the turn of a dead session, anybody takes over: one whose state is LIVE yet stays, as
//!             nothing is logged before it is LEAVING; else it is logged again, as the log may have it or not, and dropped; if that fails it stays
//!             LEAVING, for the next; the log may say twice that a table is dropped, and a
//!             checkpoint may lie in between. T8: slabs of rows stay on the list of a
//!             table's root for good (S3 of `shm::slab`), so a table that is made gets those of one that is GONE: that is HANDING, and its maker's turn;
//!             the new root names the list and the tag of its slabs, and is linked; then the old one is EMPTY. Whether it was is read off
//!             the catalog, once the maker is past that or known to be dead: it is EMPTY if a root that was linked later has the tag, and GONE if
//!             none has. Those of one tag are linked one after the other, whatever their numbers.
//!             T9: so what lies in slabs that were found by a root may be another table's by the time somebody looks at it. Whoever walks
//!             over them asks for the state in each operation, before he looks: what is LIVE then stays the owner until that is over (T6). Who
//!             clears one that is DROPPED asks after he has loaded a row's head: if it is DROPPED yet, that was the head of
//!             a row of its own, as an heir's rows are linked after it was GONE; he holds it, so nothing he does by it concerns another's.
//!             All others leave such slabs alone. T10: the definition of a table may be logged by several (C4), but by none of them behind its drop,
//!             nor is that of an index: T2 of what they log, but they look whatever the count says, as they have chosen the table before they began.
//! Memory      the root, the definition and the roots of indexes stay.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::mvcc::{DropStage, DropWord, IndexRoots, IndexState, TableRoot, TableState};
use crate::row::Schema;
use crate::shm::{Reserve, tagged_slabs};
use crate::sync::Ordering;
use crate::txn::ddl::{definition, table_ref};
use crate::txn::link::Linker;
use crate::txn::log::wait_durable;
use crate::txn::table::primary_at;
use crate::txn::transaction::running;
use crate::txn::{Session, TableRef, Transaction, TxnError, TxnOptions, redo};
use std::time::Duration;

/// How often, and after what pauses, one whose turn it is not looks again while somebody adds columns: that is one record for the log, unless its
/// process is stopped.
const TURN_TRIES: u32 = 1000;
const TURN_PAUSE: Duration = Duration::from_millis(1);

/// Drops a table, durably. Transactions that have used it and have not committed fail; its memory is given back when nobody can be at it.
///
/// # Errors
/// `NoTable` when it is dropped already; `TableBusy` while somebody else is at that, or has stood still adding columns. With synchronous commit an error of the log
/// means that it is dropped, but may be there again after a power failure.
pub fn drop_table(
    session: Box<Session>,
    table: &TableRef,
    synchronous: bool,
) -> (Option<Box<Session>>, Result<(), TxnError>) {
    match session.claim_turn(table, DropStage::Leaving) {
        Ok(()) => {}
        Err(error) => return (Some(session), Err(error)),
    }
    let (session, dropped) = finish_drop(session, table, true);
    let durable = match (&session, dropped) {
        (Some(session), Ok(commit_ts)) if synchronous => wait_durable(session.store.log(), commit_ts),
        (_, dropped) => dropped.map(drop),
    };
    (session, durable)
}

/// Goes on from LEAVING, which is this session's turn; the drop's timestamp. The table `may_stay` if that is not logged, unless it may have
/// been before (T7).
fn finish_drop(
    session: Box<Session>,
    table: &TableRef,
    may_stay: bool,
) -> (Option<Box<Session>>, Result<u64, TxnError>) {
    let mine = DropWord::owned(DropStage::Leaving, session.owner());
    let left = {
        let guard = session.participant.pin();
        // T2
        table.root(&guard).map(TableRoot::set_leaving)
    };
    if let Err(error) = left {
        return (Some(session), Err(error.into()));
    }
    session.store.catalog().note_drop();
    let mut txn = Transaction::begin(session, TxnOptions::default());
    // Waited for later: whether it took effect decides what becomes of the table.
    let logged = txn.log_drop(table).and_then(|()| txn.commit(false));
    let Some(session) = txn.into_session() else { return (None, logged) };
    let settled = {
        let guard = session.participant.pin();
        table.root(&guard).map(|root| {
            let to = match &logged {
                Ok(commit_ts) => {
                    root.note_dropped(*commit_ts); // T3
                    Some(DropStage::Dropped)
                }
                Err(_) if may_stay => {
                    root.set_staying();
                    Some(DropStage::None)
                }
                Err(_) => None, // T7
            };
            if let Some(to) = to {
                root.change_drop(mine, DropWord::of(to));
            }
        })
    };
    session.store.garbage().want();
    let outcome = settled.map_err(TxnError::from).and(logged);
    (Some(session), outcome)
}

/// Logs that a table is dropped, and does no more.
#[cfg(test)]
pub(crate) fn log_drop_only(session: Box<Session>, table: &TableRef) -> Box<Session> {
    let mut txn = Transaction::begin(session, TxnOptions::default());
    txn.log_drop(table).and_then(|()| txn.commit(false)).unwrap();
    txn.into_session().unwrap()
}

/// The rest of a drop that stood still at LEAVING.
#[cfg(test)]
pub(crate) fn go_on_dropping(session: Box<Session>, table: &TableRef) -> Box<Session> {
    let (session, dropped) = finish_drop(session, table, false);
    dropped.unwrap();
    session.unwrap()
}

impl Transaction {
    fn log_drop(&mut self, table: &TableRef) -> Result<(), TxnError> {
        let session = running(&mut self.session)?;
        self.record = Some(session.begin_record(Reserve::Yes)?);
        redo::drop_table(&mut session.redo, table.id())
    }

    /// T2: is every table in use that this transaction has read or written?
    #[inline]
    pub(super) fn check_tables(&self) -> Result<(), TxnError> {
        let session = self.session()?;
        // What it concerns was chosen before it began.
        if session.store.catalog().drops() == self.drops_seen && self.concerns.is_none() {
            return Ok(());
        }
        session.check_tables_of_all(self.concerns.as_ref())
    }
}

impl Session {
    #[cold]
    fn check_tables_of_all(&self, concerned: Option<&TableRef>) -> Result<(), TxnError> {
        let guard = self.participant.pin();
        let reads = &self.buffers.reads;
        let tables = (reads.missing.iter().map(|read| &read.table))
            .chain(reads.scans.iter().map(|read| &read.table))
            .chain(reads.ranges.iter().map(|read| &read.table));
        for table in tables {
            table.in_use(&guard)?;
        }
        if let Some(table) = concerned {
            // T10
            let root = table.root(&guard)?;
            if root.state() != TableState::Making {
                check_live(&guard, root)?;
            }
        }
        for index in 0..self.intents.len() {
            let entry = self.intents.entry(&guard, index)?;
            if entry.row() != 0 {
                check_live(&guard, guard.resolve(entry.table())?)?;
            }
        }
        let mut last = None;
        for read in &reads.rows {
            let tag = guard.arena().block_tag(read.row)?;
            if last.replace(tag) == Some(tag) {
                continue;
            }
            // It is kept for whoever has read it, unless that one's snapshot is revoked.
            let Some((_, root)) = self.store.catalog().find(&guard, tag)? else {
                return Err(TxnError::SnapshotRevoked);
            };
            check_live(&guard, root)?;
        }
        Ok(())
    }

    /// Makes it this session's turn to drop a table, or to add columns to it: `stage` says which. Whoever adds columns is waited for.
    pub(super) fn claim_turn(&self, table: &TableRef, stage: DropStage) -> Result<(), TxnError> {
        let mine = DropWord::owned(stage, self.owner());
        for _ in 0..TURN_TRIES {
            self.drop_for_dead(table.root_offset())?;
            self.alter_for_dead(table.root_offset())?;
            {
                let guard = self.participant.pin();
                let root = table.root(&guard)?;
                if root.state() == TableState::Leaving {
                    break;
                }
                table.in_use(&guard)?;
                if root.change_drop(DropWord::of(DropStage::None), mine) {
                    return Ok(());
                }
                if root.drop_word().stage != DropStage::Altering {
                    break;
                }
            }
            std::thread::sleep(TURN_PAUSE);
        }
        Err(TxnError::TableBusy { table: table.schema().name().to_owned() })
    }

    /// As [`drop_table`], up to where it would be logged.
    #[cfg(test)]
    pub(crate) fn leave_unlogged_table(&self, table: &TableRef) {
        self.claim_turn(table, DropStage::Leaving).unwrap();
        table.root(&self.participant.pin()).unwrap().set_leaving();
        self.store.catalog().note_drop();
    }

    /// T7: drops a table for a dead session that was about to, by a session made for that.
    pub(super) fn drop_for_dead(&self, table: u64) -> Result<(), TxnError> {
        let (dead, table) = {
            let guard = self.participant.pin();
            let root: &TableRoot = guard.resolve(table)?;
            let word = root.drop_word();
            if word.stage != DropStage::Leaving || !self.is_dead_turn(word.owner)? {
                return Ok(());
            }
            // It had come that far; or not far enough to log anything, or was to stay: whoever uses it since then keeps it.
            let as_it_is = match root.state() {
                TableState::Dropped => Some(DropStage::Dropped),
                TableState::Live => Some(DropStage::None),
                _ => None,
            };
            if let Some(stage) = as_it_is {
                root.change_drop(word, DropWord::of(stage));
                return Ok(());
            }
            (word, table_ref(&guard, table, root)?)
        };
        // Not within that operation, which would hold what the session that logs leaves behind.
        let session = self.for_dead()?;
        let mine = DropWord::owned(DropStage::Leaving, session.owner());
        let is_mine = table.root(&session.participant.pin())?.change_drop(dead, mine);
        let (session, dropped) =
            if is_mine { finish_drop(session, &table, false) } else { (Some(session), Ok(0)) };
        session.map_or(Ok(()), |session| session.close()).and(dropped.map(drop))
    }

    /// May the rows of a dropped table go (T6)?
    pub(super) fn may_clear(&self, guard: &Guard<'_>, root: &TableRoot) -> Result<bool, TxnError> {
        let closed = root.closed_epoch().load(Ordering::Acquire);
        if root.drop_word().stage != DropStage::Dropped || closed == 0 || !self.participant.is_over(closed)? {
            return Ok(false);
        }
        for index in IndexRoots::of(guard, root) {
            if index?.root.word().state != IndexState::Free {
                return Ok(false);
            }
        }
        Ok(self.store.registry().horizon(self.store.clock().word())? >= root.dropped_ts())
    }

    /// Does what is left to do on tables that are dropped, but for their rows. True when something is left for a later call.
    pub(crate) fn mend_tables(&mut self) -> Result<bool, TxnError> {
        self.hand_for_dead()?;
        let mut is_left = false;
        let mut found = Vec::new();
        {
            let guard = self.participant.pin();
            for (offset, root) in self.store.catalog().tables(&guard)? {
                if matches!(root.state(), TableState::Leaving | TableState::Dropped)
                    || root.drop_word().stage == DropStage::Leaving
                {
                    found.push(offset);
                }
            }
        }
        for table in found {
            is_left |= self.drop_for_dead(table).is_err();
            is_left |= !self.clear_table(table)?;
        }
        Ok(is_left)
    }

    /// T8: the root of a table that is GONE, from which a new one can have its slabs: HANDING, and this session's turn.
    pub(crate) fn claim_slabs(&self) -> Result<Option<u64>, TxnError> {
        let (gone, mine) = (DropWord::of(DropStage::Gone), DropWord::owned(DropStage::Handing, self.owner()));
        let guard = self.participant.pin();
        let tables = self.store.catalog().tables(&guard)?;
        let claimed =
            tables.iter().find(|(_, root)| root.drop_word() == gone && root.change_drop(gone, mine));
        Ok(claimed.map(|(offset, _)| *offset))
    }

    /// T8: this session, whose turn it is, links no more tables with the slabs of that one.
    pub(super) fn end_handing(&self, table: u64) -> Result<(), TxnError> {
        let guard = self.participant.pin();
        self.settle_handing(&guard, table, DropWord::owned(DropStage::Handing, self.owner()))
    }

    /// T8, for dead sessions.
    pub(crate) fn hand_for_dead(&self) -> Result<(), TxnError> {
        let guard = self.participant.pin();
        for (table, root) in self.store.catalog().tables(&guard)? {
            let turn = root.drop_word();
            if turn.stage == DropStage::Handing && self.is_dead_turn(turn.owner)? {
                self.settle_handing(&guard, table, turn)?;
            }
        }
        Ok(())
    }

    /// EMPTY or GONE, of one that is HANDING, where it is known that the one whose turn it is, or was, links no more.
    fn settle_handing(&self, guard: &Guard<'_>, table: u64, turn: DropWord) -> Result<(), TxnError> {
        let root: &TableRoot = guard.resolve(table)?;
        // Read here: before that was known there may have been one more to come.
        let tables = self.store.catalog().tables(guard)?;
        let mut later = tables.iter().take_while(|(other, _)| *other != table);
        let has_heir = later.any(|(_, other)| other.tag() == root.tag());
        root.change_drop(turn, DropWord::of(if has_heir { DropStage::Empty } else { DropStage::Gone }));
        Ok(())
    }

    /// Takes a table apart that is dropped and has no rows; false when that has to wait.
    fn clear_table(&mut self, table: u64) -> Result<bool, TxnError> {
        let mine = DropWord::owned(DropStage::Clearing, self.owner());
        {
            let guard = self.participant.pin();
            let root: &TableRoot = guard.resolve(table)?;
            let word = root.drop_word();
            let is_abandoned = word.stage == DropStage::Clearing && self.is_dead_turn(word.owner)?;
            if word.stage == DropStage::Dropped && root.closed_epoch().load(Ordering::Acquire) == 0 {
                root.closed_epoch().store(self.participant.close_epoch(), Ordering::Release);
                return Ok(false);
            }
            let is_empty = is_abandoned || (self.may_clear(&guard, root)? && has_no_rows(&guard, root)?);
            if !is_empty || !root.change_drop(word, mine) {
                return Ok(root.drop_word().stage == DropStage::Gone);
            }
        }
        let Self { participant, heap, limbo, .. } = self;
        {
            let guard = participant.pin();
            let root: &TableRoot = guard.resolve(table)?;
            let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
            primary_at(&guard, table)?.dismantle(&guard, &mut linker)?;
            root.set_gone();
            root.change_drop(mine, DropWord::of(DropStage::Gone));
        }
        limbo.collect(participant, heap)?;
        Ok(true)
    }
}

fn has_no_rows(guard: &Guard<'_>, root: &TableRoot) -> Result<bool, TxnError> {
    for slab in tagged_slabs(guard.arena(), &root.rows)? {
        if guard.live_blocks(slab)?.next().is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn check_live(guard: &Guard<'_>, root: &TableRoot) -> Result<(), TxnError> {
    if root.is_live() {
        return Ok(());
    }
    Err(TxnError::NoTable { table: Schema::name_in(definition(guard, root)?)?.to_owned() })
}
