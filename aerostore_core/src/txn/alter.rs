//! Adding columns to a table while others use it. No row is written for that, and nobody waits.
//!
//! Rules       J1 to J3 of `row::stored`. J4: a table's root names its newest definition. A handle has one of them for as long as it lives, and goes on with that:
//!             it reads what it knows of (J2), and leaves alone what it does not (J3). So whoever defines the table as it was before gets a handle that knows of so much.
//!             J5: while the drop word is ALTERING it names whose turn it is, who
//!             alone makes the next definition, links it to the root, has it logged in a transaction of its own, makes it the newest, takes the
//!             link back and gives the turn back. So nobody writes an image by a definition before that is in the log: his timestamp is drawn
//!             later. What is written by an older one may come after it in the log, and lacks the added columns. J6: when the log
//!             refuses, the link is taken back, and the block that was linked is retired; it was never the newest. J7: the turn of a dead session anybody
//!             takes over who wants one, or wants to know what the log says: with no definition linked there is nothing to do; one
//!             that is linked is logged again, as the log may have it or not, and becomes the newest, or stays as it is, for the next, if that fails; the log may say twice that a
//!             table has columns. What that takes comes from what is kept back. J8: a checkpoint reads rows of any definition with one of them, and so are
//!             the rows in it. It waits a moment for a table that is ALTERING, and then goes by the log (P8 of `checkpoint`): what that adds up to the snapshot is in it, as no record
//!             behind the snapshot says so. The definition that it has found before is at least that of every row that the snapshot sees (J5). An alteration after its snapshot may be in it: replayed, it has happened. J9: an index on an added column, made when the
//!             column is there, finds in a row without it what the template of the newest definition has (J2), which all
//!             later ones have too. A version that is inserted or deleted counts as different in every column there may be (V5), since its writer does not know them all.
//! Memory      definitions stay, since each is small and there are no more of a table than it can have columns.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::index::Blocks;
use crate::mvcc::{Definition, DropStage, DropWord, NewDefinition, TableRoot};
use crate::row::{Column, Schema};
use crate::shm::{BlockKind, Reserve};
use crate::sync::Ordering;
use crate::txn::ddl::newest_of;
use crate::txn::link::Linker;
use crate::txn::log::wait_durable;
use crate::txn::reap::reap_dead_processes;
use crate::txn::transaction::running;
use crate::txn::{Session, TableRef, Transaction, TxnError, TxnOptions, redo};
use std::mem::offset_of;

/// Adds columns to a table, durably, while others use it; a handle that knows of them.
///
/// # Errors
/// `Row` for columns that cannot be added; `NoTable`; `TableBusy` while somebody else drops it, or has stood still adding columns; `OutOfSpace`. With synchronous
/// commit an error of the log means that they are there, but may not be after a power failure.
pub fn add_columns(
    mut session: Box<Session>,
    table: &TableRef,
    columns: &[Column],
    synchronous: bool,
) -> (Option<Box<Session>>, Result<TableRef, TxnError>) {
    if let Err(error) = session.begin_alteration(table, columns) {
        return (Some(session), Err(error));
    }
    let (session, commit_ts) = finish_alteration(session, table.root_offset(), false);
    let Some(session) = session else { return (None, Err(TxnError::Ended)) };
    let altered = commit_ts.and_then(|commit_ts| {
        if synchronous {
            wait_durable(session.store().log(), commit_ts)?;
        }
        session.newest(table)
    });
    (Some(session), altered)
}

/// Goes on from a definition that is linked to the root, by the session whose turn it is; the alteration's timestamp. It is taken back if that is
/// not logged, unless it may have been before; then what is kept back serves for that, as the turn holds others up.
fn finish_alteration(
    session: Box<Session>,
    table: u64,
    may_be_logged: bool,
) -> (Option<Box<Session>>, Result<u64, TxnError>) {
    let mut txn = Transaction::begin(session, TxnOptions::default());
    // Waited for later: whether it took effect decides what becomes of the definition.
    let reserve = if may_be_logged { Reserve::Yes } else { Reserve::No };
    let logged = txn.log_alteration(table, reserve).and_then(|()| txn.commit(false));
    let Some(mut session) = txn.into_session() else { return (None, logged) };
    if logged.is_err() && may_be_logged {
        return (Some(session), logged); // J7
    }
    let ended = session.end_alteration(table, logged.is_ok());
    (Some(session), ended.and(logged))
}

/// As [`add_columns`], up to where it would be logged; or up to where the definition would become the newest.
#[cfg(test)]
pub(crate) fn stand_still_altering(
    mut session: Box<Session>,
    table: &TableRef,
    columns: &[Column],
    is_logged: bool,
) -> Box<Session> {
    session.begin_alteration(table, columns).unwrap();
    if !is_logged {
        return session;
    }
    let mut txn = Transaction::begin(session, TxnOptions::default());
    txn.log_alteration(table.root_offset(), Reserve::No).and_then(|()| txn.commit(false)).unwrap();
    txn.into_session().unwrap()
}

/// The rest of it.
#[cfg(test)]
pub(crate) fn go_on_altering(session: Box<Session>, table: &TableRef, is_logged: bool) -> Box<Session> {
    if is_logged {
        let mut session = session;
        session.end_alteration(table.root_offset(), true).unwrap();
        return session;
    }
    let (session, altered) = finish_alteration(session, table.root_offset(), false);
    altered.unwrap();
    session.unwrap()
}

impl Transaction {
    fn log_alteration(&mut self, table: u64, reserve: Reserve) -> Result<(), TxnError> {
        let session = running(&mut self.session)?;
        self.record = Some(session.begin_record(reserve)?);
        let guard = session.participant.pin();
        let root: &TableRoot = guard.resolve(table)?;
        let next = Definition::at(&guard, root.next_definition.load(Ordering::Acquire))?;
        redo::alter(&mut session.redo, root.id.load(Ordering::Relaxed), next.schema())
    }
}

impl Session {
    /// The table by its newest definition (J4).
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn newest(&self, table: &TableRef) -> Result<TableRef, TxnError> {
        newest_of(&self.participant.pin(), table)
    }

    /// Makes it this session's turn, and links the next definition.
    fn begin_alteration(&mut self, table: &TableRef, columns: &[Column]) -> Result<(), TxnError> {
        self.claim_turn(table, DropStage::Altering)?;
        let linked = self.link_with_columns(table, columns);
        if linked.is_err() {
            self.end_turn(table.root_offset())?;
        }
        linked
    }

    fn link_with_columns(&mut self, table: &TableRef, columns: &[Column]) -> Result<(), TxnError> {
        let schema = self.newest(table)?.schema().with_columns(columns)?;
        self.link_next(table.root_offset(), &schema)
    }

    fn link_next(&mut self, table: u64, schema: &Schema) -> Result<(), TxnError> {
        let definition = NewDefinition::new(schema)?;
        let (guard, mut linker) = self.parts();
        let root: &TableRoot = guard.resolve(table)?;
        let block = linker.alloc_zeroed(definition.block_bytes(), BlockKind::SCHEMA)?;
        let previous = root.definition.load(Ordering::Acquire);
        if let Err(error) = definition.write(&guard, block.offset, previous) {
            linker.give_back(block);
            return Err(error.into());
        }
        let word_offset = table + offset_of!(TableRoot, next_definition) as u64;
        linker.link(&root.next_definition, word_offset, block)?;
        Ok(())
    }

    /// Makes the next definition the newest, if it is logged, or takes it back; and gives this session's turn back.
    fn end_alteration(&mut self, table: u64, is_logged: bool) -> Result<(), TxnError> {
        {
            let (guard, mut linker) = self.parts();
            let root: &TableRoot = guard.resolve(table)?;
            if is_logged {
                put_in_place(&guard, root)?;
            } else {
                take_back(&guard, &mut linker, table, root)?;
            }
        }
        self.end_turn(table)
    }

    fn end_turn(&self, table: u64) -> Result<(), TxnError> {
        let guard = self.participant.pin();
        let root: &TableRoot = guard.resolve(table)?;
        root.change_drop(DropWord::owned(DropStage::Altering, self.owner()), DropWord::of(DropStage::None));
        Ok(())
    }

    /// J7, by a session made for that.
    pub(super) fn alter_for_dead(&self, table: u64) -> Result<(), TxnError> {
        let dead = {
            let guard = self.participant.pin();
            let word = guard.resolve::<TableRoot>(table)?.drop_word();
            if word.stage != DropStage::Altering || !self.is_dead_turn(word.owner)? {
                return Ok(());
            }
            word
        };
        // Not within that operation, which would hold what the session that logs leaves behind.
        let mut session = self.for_dead()?;
        // The dead one may hold back what this session is going to leave. What of it cannot be done now is a later reaper's.
        let _ = reap_dead_processes(&mut session);
        let mine = DropWord::owned(DropStage::Altering, session.owner());
        let next = {
            let guard = session.participant.pin();
            let root: &TableRoot = guard.resolve(table)?;
            root.change_drop(dead, mine).then(|| root.next_definition.load(Ordering::Acquire))
        };
        let (session, outcome) = match next {
            None => (Some(session), Ok(0)),
            Some(0) => {
                let ended = session.end_turn(table);
                (Some(session), ended.map(|()| 0))
            }
            Some(_) => finish_alteration(session, table, true),
        };
        session.map_or(Ok(()), |session| session.close()).and(outcome.map(drop))
    }

    /// For recovery, while nobody else has the database open: the table has become one of that definition; a handle that knows it.
    ///
    /// # Errors
    /// `TableExists` when neither definition has what the other one has; `OutOfSpace`.
    pub fn load_alteration(&mut self, table: &TableRef, schema: &Schema) -> Result<TableRef, TxnError> {
        if table.schema().extends(schema) {
            return Ok(table.clone()); // J7, J8
        }
        if !schema.extends(table.schema()) {
            let difference = table.schema().difference(schema).unwrap_or_default();
            return Err(TxnError::TableExists { table: schema.name().to_owned(), difference });
        }
        self.link_next(table.root_offset(), schema)?;
        {
            let guard = self.participant.pin();
            put_in_place(&guard, table.root(&guard)?)?;
        }
        self.newest(table)
    }
}

/// Makes the definition that is linked to the root the newest, by whose turn it is (J5).
fn put_in_place(guard: &Guard<'_>, root: &TableRoot) -> Result<(), TxnError> {
    let next = root.next_definition.load(Ordering::Acquire);
    // Whoever has linked it may be dead, and not have come to publish it.
    guard.arena().publish(guard.arena().block_ref(next)?);
    // Release: whoever finds it finds what it says. Done again by who takes over it changes nothing.
    root.definition.store(next, Ordering::Release);
    let schema = Schema::from_bytes(Definition::newest(guard, root)?.schema())?;
    root.set_columns(schema.columns().len());
    // Last: until then a death leaves all of it to be done again (J7).
    root.next_definition.store(0, Ordering::Release);
    Ok(())
}

/// J6
fn take_back(
    guard: &Guard<'_>,
    linker: &mut Linker<'_>,
    table: u64,
    root: &TableRoot,
) -> Result<(), TxnError> {
    let next = root.next_definition.load(Ordering::Acquire);
    let block = guard.arena().block_ref(next)?;
    guard.arena().publish(block); // as above
    let word = &root.next_definition;
    let word_offset = table + offset_of!(TableRoot, next_definition) as u64;
    let cut = || word.compare_exchange(next, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
    linker
        .unlink(word_offset, block, cut, |participant, limbo| limbo.retire(participant, block).map(drop))?;
    Ok(())
}
