//! Making tables.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::index::{Blocks, HashIndex};
use crate::mvcc::{Definition, DropStage, DropWord, IndexRoot, NewDefinition, TableRoot, TableState};
use crate::row::{ColumnPlace, DirtyMask, Schema};
use crate::shm::{BlockKind, BlockRef, Reserve, ShmError};
use crate::sync::Ordering;
use crate::txn::link::Linker;
use crate::txn::log::wait_durable;
use crate::txn::secondary::create_tree;
use crate::txn::transaction::running;
use crate::txn::{Session, Store, TableRef, Transaction, TxnError, TxnOptions, redo};
use std::mem::size_of;
use std::sync::Arc;
use std::time::Duration;

/// How often, and after what pauses, one that is about to make a table looks whether the one of its name is still about to be dropped:
/// that is one record for the log, unless its process is stopped.
const LEAVING_TRIES: u32 = 1000;
const LEAVING_PAUSE: Duration = Duration::from_millis(1);

/// Every table that is in use.
///
/// # Errors
/// When the mapping is damaged.
pub fn tables(session: &Session) -> Result<Vec<TableRef>, TxnError> {
    tables_if(session, |state| state == TableState::Live)
}

/// Every table that the catalog names, in whatever state: what has memory.
///
/// # Errors
/// When the mapping is damaged.
pub fn tables_ever(session: &Session) -> Result<Vec<TableRef>, TxnError> {
    Ok(tables_if(session, |_| true)?.into_iter().map(TableRef::even_dropped).collect())
}

/// A table as the log defines it.
#[derive(Clone, Debug)]
pub struct LoggedTable {
    /// The table.
    pub table: TableRef,
    /// Its indexes: column, and what is promised (`IndexSpec::word`).
    pub indexes: Vec<(u8, u8)>,
    /// Columns of which somebody is about to log that they have an index, or none any more.
    pub unsure: Vec<u8>,
    /// Is somebody about to log that it is there, or that it is dropped?
    pub is_unsure: bool,
    /// Is somebody about to log that it has got columns, or to make a definition the newest that is logged?
    pub is_altering: bool,
    /// Its rows, about.
    pub rows: u64,
}

impl LoggedTable {
    /// Is it known what the log says of it?
    pub fn is_sure(&self) -> bool {
        self.unsure.is_empty() && !self.is_unsure && !self.is_altering
    }
}

fn tables_if(session: &Session, is_wanted: impl Fn(TableState) -> bool) -> Result<Vec<TableRef>, TxnError> {
    let guard = session.participant.pin();
    let mut tables = Vec::new();
    for (offset, root) in session.store.catalog().tables(&guard)? {
        if is_wanted(root.state()) {
            tables.push(table_ref(&guard, offset, root)?);
        }
    }
    Ok(tables)
}

/// The table of that name, if there is one. The definitions of others are not read.
///
/// # Errors
/// When the mapping is damaged.
pub fn table(session: &Session, name: &str) -> Result<Option<TableRef>, TxnError> {
    Ok(named(session, name)?.filter(|(_, state)| *state == TableState::Live).map(|(table, _)| table))
}

/// The table of that name, and whether it is in use.
fn named(session: &Session, name: &str) -> Result<Option<(TableRef, TableState)>, TxnError> {
    let guard = session.participant.pin();
    for (offset, root) in session.store.catalog().tables(&guard)? {
        let state = root.state();
        let is_one = matches!(state, TableState::Live | TableState::Making | TableState::Leaving); // T4
        if is_one && Schema::name_in(definition(&guard, root)?)? == name {
            return Ok(Some((table_ref(&guard, offset, root)?, state)));
        }
    }
    Ok(None)
}

pub(super) fn table_ref(guard: &Guard<'_>, offset: u64, root: &TableRoot) -> Result<TableRef, TxnError> {
    let schema = Arc::new(Schema::from_bytes(definition(guard, root)?)?);
    Ok(TableRef::new(offset, root.id.load(Ordering::Relaxed), schema))
}

/// The table by its newest definition.
#[cold]
pub(super) fn newest_of(guard: &Guard<'_>, table: &TableRef) -> Result<TableRef, TxnError> {
    table_ref(guard, table.root_offset(), table.root(guard)?)
}

/// The newest definition of a table, as bytes.
pub(super) fn definition<'g>(guard: &Guard<'g>, root: &TableRoot) -> Result<&'g [u8], TxnError> {
    Ok(Definition::newest(guard, root)?.schema())
}

/// Makes a table, durably; one of the same name and definition is found instead, also if it has got columns since, of which the handle does not
/// know then (J4 of `alter`).
///
/// # Errors
/// `TableExists` when there is one of that name with another definition; `TableBusy` while somebody is about to drop that; `OutOfSpace`.
pub fn create_table(
    mut session: Box<Session>,
    schema: &Schema,
    synchronous: bool,
) -> (Option<Box<Session>>, Result<TableRef, TxnError>) {
    loop {
        match define_table(session, schema, synchronous) {
            // Made by another meanwhile, and dropped again: once more.
            (Some(again), Err(TxnError::NoTable { .. })) => session = again,
            (session, made) => return (session, made.map(|(table, _)| table)),
        }
    }
}

/// A table, and the timestamp at which its definition was logged by the call that gives it, if that has.
type Defined = (TableRef, Option<u64>);

/// The same, once.
pub(crate) fn define_table(
    mut session: Box<Session>,
    schema: &Schema,
    synchronous: bool,
) -> (Option<Box<Session>>, Result<Defined, TxnError>) {
    let table = match session.begin_table(schema) {
        Ok((table, TableState::Live)) => {
            return (Some(session), table.as_defined(schema).map(|table| (table, None)));
        }
        Ok((table, _)) => table,
        Err(error) => return (Some(session), Err(error)),
    };
    // By whoever meets it, whether or not its maker goes on: a definition that is logged twice is the same table to recovery. Nobody
    // has a row of it before this is committed, so none is in the log before its definition.
    let mut txn = Transaction::begin(session, TxnOptions::default());
    // Waited for later: whether it took effect decides what becomes of the table.
    let logged = txn.log_definition(&table).and_then(|()| txn.take_effect(synchronous));
    let Some(session) = txn.into_session() else { return (None, Err(TxnError::Ended)) };
    let made = session.end_table(&table, logged).and_then(|(commit_ts, waits)| {
        if waits {
            wait_durable(session.store.log(), commit_ts)?;
        }
        Ok((table.as_defined(schema)?, Some(commit_ts)))
    });
    (Some(session), made)
}

impl Transaction {
    /// The store that it works on.
    ///
    /// # Errors
    /// `Ended`.
    pub fn store(&self) -> Result<&Store, TxnError> {
        Ok(&self.session()?.store)
    }

    /// The tables and indexes that the log defines up to this transaction's snapshot, and perhaps some that it defines later; and a
    /// timestamp up to which it defines all of them.
    ///
    /// An index that is complete was logged, and one that is being dropped was logged to be: before this looks, or it was never there
    /// for the log. What is about to be logged may be or not.
    ///
    /// A table that is dropped is none of them, or was dropped after the snapshot: so the snapshot moves on past the drops there are, if
    /// need be (T5). What is dropped later than that can be read to the end. What is about to be dropped may be, for the log, and so may what is about
    /// to get columns have them (J8).
    ///
    /// # Errors
    /// `SnapshotRevoked`; when the mapping is damaged.
    pub fn logged_tables(&mut self) -> Result<(Vec<LoggedTable>, u64), TxnError> {
        let mut snapshot = self.read_ts()?;
        let found = loop {
            let session = running(&mut self.session)?;
            let (found, dropped_ts) = session.tables_to_log()?;
            if dropped_ts <= snapshot {
                break found;
            }
            self.extend_snapshot()?;
            snapshot = self.read_ts()?;
        };
        let session = running(&mut self.session)?;
        let mut tables = Vec::new();
        for FoundTable { table, is_unsure, is_altering } in found {
            let (indexes, unsure) = session.logged_indexes(&table)?;
            let guard = session.participant.pin();
            // Below nothing for a moment, or as somebody has died between a commit and its count.
            let rows = table.root(&guard)?.row_count.load(Ordering::Relaxed);
            let rows = rows.cast_signed().max(0).cast_unsigned();
            tables.push(LoggedTable { table, indexes, unsure, is_unsure, is_altering, rows });
        }
        Ok((tables, session.store.clock().now()))
    }

    fn log_definition(&mut self, table: &TableRef) -> Result<(), TxnError> {
        self.concerns = Some(table.clone());
        let session = running(&mut self.session)?;
        self.record = Some(session.begin_record(Reserve::No)?);
        redo::create(&mut session.redo, table.id(), &table.schema().to_bytes())
    }
}

/// A table that the log defines, or may define.
struct FoundTable {
    table: TableRef,
    /// As in [`LoggedTable`].
    is_unsure: bool,
    /// As in [`LoggedTable`].
    is_altering: bool,
}

impl Session {
    /// Every table that is in use, or about to be (C4), or that somebody is about to drop; of the latter it is said, and of those to which somebody
    /// adds columns. And when the last one was dropped. For the dead that is done first.
    fn tables_to_log(&self) -> Result<(Vec<FoundTable>, u64), TxnError> {
        for table in self.tables_in_turn()? {
            // What cannot be done now is as if whoever is about to stood still.
            let _ = self.drop_for_dead(table);
            let _ = self.alter_for_dead(table);
        }
        let (mut tables, mut dropped_ts) = (Vec::new(), 0);
        let guard = self.participant.pin();
        for (offset, root) in self.store.catalog().tables(&guard)? {
            let state = root.state();
            match state {
                TableState::Live | TableState::Making | TableState::Leaving => {
                    // J8. Before its definition is read.
                    let is_altering = root.drop_word().stage == DropStage::Altering;
                    let table = table_ref(&guard, offset, root)?.even_dropped();
                    tables.push(FoundTable { table, is_unsure: state != TableState::Live, is_altering });
                }
                TableState::Dropped | TableState::Gone => dropped_ts = dropped_ts.max(root.dropped_ts()),
                TableState::Failed => {}
            }
        }
        Ok((tables, dropped_ts))
    }

    /// Roots of tables that somebody is about to drop, or adds columns to.
    fn tables_in_turn(&self) -> Result<Vec<u64>, TxnError> {
        let guard = self.participant.pin();
        let is_in_turn =
            |root: &TableRoot| matches!(root.drop_word().stage, DropStage::Leaving | DropStage::Altering);
        let tables = self.store.catalog().tables(&guard)?;
        Ok(tables.into_iter().filter(|(_, root)| is_in_turn(root)).map(|(offset, _)| offset).collect())
    }

    /// For recovery, while nobody else has the database open: the table was dropped as of `commit_ts`.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn load_drop(&self, table: &TableRef, commit_ts: u64) -> Result<(), TxnError> {
        let guard = self.participant.pin();
        let root = table.root(&guard)?;
        root.note_dropped(commit_ts);
        root.change_drop(DropWord::of(DropStage::None), DropWord::of(DropStage::Dropped));
        self.store.garbage().want();
        Ok(())
    }

    /// For recovery, while nobody else has the database open: the table of that number, made if there is none of its name.
    ///
    /// # Errors
    /// `TableExists` when there is one of that name with another definition; `OutOfSpace`.
    pub fn load_table(&mut self, id: u32, schema: &Schema) -> Result<TableRef, TxnError> {
        let store = Arc::clone(&self.store);
        store.catalog().reserve_id(id);
        // C6: after a cold start the number of a table that was dropped may have been given again, and the log replayed has both.
        let is_taken = |session: &Self, tag| -> Result<bool, TxnError> {
            let guard = session.participant.pin();
            Ok(store.catalog().tables(&guard)?.iter().any(|(_, root)| root.tag() == tag))
        };
        let mut tag = id;
        while is_taken(self, tag)? {
            tag = store.catalog().take_id();
        }
        let (table, _) = self.link_table_as(id, tag, schema, TableState::Live)?;
        // It may have got columns since.
        if table.schema().extends(schema) { Ok(table) } else { table.as_defined(schema) }
    }

    /// The table of that name: LIVE, with whatever definition, or MAKING, and this session among those who are about to log it.
    fn begin_table(&mut self, schema: &Schema) -> Result<(TableRef, TableState), TxnError> {
        loop {
            let (table, state) = match named(self, schema.name())? {
                Some(found) => found,
                None if self.make_again(schema)? => continue,
                None => {
                    let id = self.store.catalog().take_id();
                    self.link_table_as(id, id, schema, TableState::Making)?
                }
            };
            if state == TableState::Leaving {
                self.wait_for_drop(&table)?;
                continue;
            }
            let guard = self.participant.pin();
            if state == TableState::Live || table.root(&guard)?.begin_making() {
                return Ok((table, state));
            }
        }
    }

    /// Waits until a table is dropped, or stays, that somebody is about to drop: for one that is dead it is dropped.
    fn wait_for_drop(&self, table: &TableRef) -> Result<(), TxnError> {
        for _ in 0..LEAVING_TRIES {
            self.drop_for_dead(table.root_offset())?;
            if table.root(&self.participant.pin())?.state() != TableState::Leaving {
                return Ok(());
            }
            std::thread::sleep(LEAVING_PAUSE);
        }
        Err(TxnError::TableBusy { table: table.schema().name().to_owned() })
    }

    /// Is there a table of that definition that was never made, and is MAKING now?
    fn make_again(&self, schema: &Schema) -> Result<bool, TxnError> {
        let failed = tables_if(self, |state| state == TableState::Failed)?;
        let guard = self.participant.pin();
        for table in failed.iter().filter(|table| **table.schema() == *schema) {
            if table.root(&guard)?.make_again() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A table's definition is logged, or could not be.
    fn end_table<T>(&self, table: &TableRef, logged: Result<T, TxnError>) -> Result<T, TxnError> {
        let guard = self.participant.pin();
        let root = table.root(&guard)?;
        if logged.is_ok() {
            root.set_live();
        } else {
            root.give_up_making();
        }
        logged
    }

    /// Links a table into the catalog, in `state`, unless there is one of that name, with whatever definition. The one that is there
    /// then, and its state. The slabs of its rows get `tag`, which no others have, unless it has them from another table.
    fn link_table_as(
        &mut self,
        id: u32,
        tag: u32,
        schema: &Schema,
        state: TableState,
    ) -> Result<(TableRef, TableState), TxnError> {
        let definition = NewDefinition::new(schema)?;
        loop {
            // T8
            let heir_of = self.claim_slabs()?;
            let linked = self.try_link_table([id, tag], schema, &definition, state, heir_of);
            if let Some(heir_of) = heir_of {
                self.end_handing(heir_of)?;
            }
            if let Some(found) = linked? {
                return Ok(found);
            }
        }
    }

    /// The same, once, with the slabs of `heir_of`; `None` when the list has grown meanwhile.
    pub(crate) fn try_link_table(
        &mut self,
        [id, tag]: [u32; 2],
        schema: &Schema,
        definition: &NewDefinition,
        state: TableState,
        heir_of: Option<u64>,
    ) -> Result<Option<(TableRef, TableState)>, TxnError> {
        let store = Arc::clone(&self.store);
        let seen = store.catalog().head().load(Ordering::Acquire);
        if let Some(found) = named(self, schema.name())? {
            return Ok(Some(found));
        }
        let (guard, mut linker) = self.parts();
        let root = build_root(&guard, &mut linker, id, schema, definition)?;
        let table: &TableRoot = guard.resolve(root.block.offset)?;
        table.set_tag(tag);
        if let Some(heir_of) = heir_of {
            table.take_slabs(guard.resolve(heir_of)?);
        }
        if state == TableState::Making {
            table.set_making();
        }
        for column in schema.indexed_columns().filter(|column| schema.index_spec(*column).is_unique) {
            store.catalog().note_unique(table, column);
        }
        let cas = || store.catalog().link(seen, table, root.block.offset);
        if linker.link_with(store.catalog_offset(), root.block, &root.parts, cas) {
            return Ok(Some((table_ref(&guard, root.block.offset, table)?, state)));
        }
        Ok(None)
    }
}

struct NewRoot {
    block: BlockRef,
    parts: Vec<BlockRef>,
}

fn build_root(
    guard: &Guard<'_>,
    linker: &mut Linker<'_>,
    id: u32,
    schema: &Schema,
    definition: &NewDefinition,
) -> Result<NewRoot, ShmError> {
    let mut parts = Vec::new();
    let built = fill_root(guard, linker, id, schema, definition, &mut parts);
    match built {
        Ok(block) => Ok(NewRoot { block, parts }),
        Err(error) => {
            for part in parts {
                linker.heap.free(part);
            }
            Err(error)
        }
    }
}

fn fill_root(
    guard: &Guard<'_>,
    linker: &mut Linker<'_>,
    id: u32,
    schema: &Schema,
    definition: &NewDefinition,
    parts: &mut Vec<BlockRef>,
) -> Result<BlockRef, ShmError> {
    let defined = linker.alloc_zeroed(definition.block_bytes(), BlockKind::SCHEMA)?;
    parts.push(defined);
    definition.write(guard, defined.offset, 0)?;
    let primary = HashIndex::create(guard, linker)?;
    parts.push(primary);
    let mut first = 0;
    let mut indexed = DirtyMask::EMPTY;
    for column in schema.indexed_columns().rev() {
        let spec = schema.index_spec(column);
        let root = linker.alloc_zeroed(size_of::<IndexRoot>(), BlockKind::INDEX_ROOT)?;
        parts.push(root);
        let tree = create_tree(guard, linker, root.offset, spec)?;
        parts.push(tree);
        let place = ColumnPlace::of(schema, column);
        guard.resolve::<IndexRoot>(root.offset)?.init(place, spec, tree.offset, first);
        first = root.offset;
        indexed.set(column, true);
    }
    let block = linker.alloc_zeroed(size_of::<TableRoot>(), BlockKind::TABLE)?;
    let table: &TableRoot = guard.resolve(block.offset)?;
    table.init(id, defined.offset, definition.columns(), primary.offset);
    table.indexed.store(indexed.0, Ordering::Relaxed);
    table.indexes.store(first, Ordering::Release);
    Ok(block)
}
