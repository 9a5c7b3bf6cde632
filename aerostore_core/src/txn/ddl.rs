//! Making tables.

use crate::epoch::Guard;
use crate::index::{Blocks, HashIndex};
use crate::mvcc::{IndexRoot, TableRoot, TableState};
use crate::row::{ColumnPlace, DirtyMask, Schema};
use crate::shm::{BlockKind, BlockRef, Reserve, ShmError};
use crate::sync::Ordering;
use crate::txn::link::Linker;
use crate::txn::secondary::create_tree;
use crate::txn::transaction::running;
use crate::txn::{Session, TableRef, Transaction, TxnError, TxnOptions, redo};
use std::mem::size_of;
use std::sync::Arc;

/// Every table of the catalog.
///
/// # Errors
/// When the mapping is damaged.
pub fn tables(session: &Session) -> Result<Vec<TableRef>, TxnError> {
    let guard = session.participant.pin();
    let mut tables = Vec::new();
    for (offset, root) in session.store.catalog().tables(&guard)? {
        if root.state() == TableState::Live {
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
    let guard = session.participant.pin();
    for (offset, root) in session.store.catalog().tables(&guard)? {
        if root.state() == TableState::Live && Schema::name_in(definition(&guard, root)?)? == name {
            return table_ref(&guard, offset, root).map(Some);
        }
    }
    Ok(None)
}

pub(super) fn table_ref(guard: &Guard<'_>, offset: u64, root: &TableRoot) -> Result<TableRef, TxnError> {
    let schema = Arc::new(Schema::from_bytes(definition(guard, root)?)?);
    Ok(TableRef::new(offset, root.id.load(Ordering::Relaxed), schema))
}

/// The definition of a table, as bytes.
fn definition<'g>(guard: &'g Guard<'_>, root: &TableRoot) -> Result<&'g [u8], TxnError> {
    let length = root.schema_bytes.load(Ordering::Relaxed);
    let bytes = guard.arena().bytes(root.schema.load(Ordering::Relaxed), length)?;
    // SAFETY: `bytes` checked the range; C2: a linked definition never changes.
    Ok(unsafe { std::slice::from_raw_parts(bytes, usize::try_from(length).unwrap_or(0)) })
}

/// Makes a table, durably; one of the same name and definition is found instead.
///
/// # Errors
/// `TableExists` when there is one of that name with another definition; `OutOfSpace`.
pub fn create_table(
    session: Box<Session>,
    schema: &Schema,
    synchronous: bool,
) -> (Option<Box<Session>>, Result<TableRef, TxnError>) {
    match existing(&session, schema) {
        Ok(None) => {}
        Ok(Some(table)) => return (Some(session), Ok(table)),
        Err(error) => return (Some(session), Err(error)),
    }
    let id = session.store.catalog().take_id();
    // Logged before it is linked: no row of the table can be in the log before it. A definition that is logged twice,
    // by two who race or by one who dies here, is the same table to recovery.
    let mut txn = Transaction::begin(session, TxnOptions::default());
    let logged = txn.log_definition(id, &schema.to_bytes()).and_then(|()| txn.commit(synchronous));
    let Some(mut session) = txn.into_session() else { return (None, Err(TxnError::Ended)) };
    let table = logged.and_then(|_| session.link_table(id, schema));
    (Some(session), table)
}

fn existing(session: &Session, schema: &Schema) -> Result<Option<TableRef>, TxnError> {
    match table(session, schema.name())? {
        None => Ok(None),
        Some(table) if **table.schema() == *schema => Ok(Some(table)),
        Some(_) => Err(TxnError::TableExists { table: schema.name().to_owned() }),
    }
}

impl Transaction {
    fn log_definition(&mut self, id: u32, schema: &[u8]) -> Result<(), TxnError> {
        let session = running(&mut self.session)?;
        self.record = Some(session.begin_record(Reserve::No)?);
        redo::create(&mut session.redo, id, schema)
    }
}

impl Session {
    /// Links a table into the catalog, unless someone else has linked one of that name.
    ///
    /// # Errors
    /// `TableExists`, `OutOfSpace`.
    pub fn link_table(&mut self, id: u32, schema: &Schema) -> Result<TableRef, TxnError> {
        let store = Arc::clone(&self.store);
        let bytes = schema.to_bytes();
        loop {
            let seen = store.catalog().head().load(Ordering::Acquire);
            if let Some(table) = existing(self, schema)? {
                return Ok(table);
            }
            let (guard, mut linker) = self.parts();
            let root = build_root(&guard, &mut linker, id, schema, &bytes)?;
            let table: &TableRoot = guard.resolve(root.block.offset)?;
            for column in schema.indexed_columns().filter(|column| schema.index_spec(*column).is_unique) {
                store.catalog().note_unique(table, column);
            }
            let cas = || store.catalog().link(seen, table, root.block.offset);
            if linker.link_with(store.catalog_offset(), root.block, &root.parts, cas) {
                return table_ref(&guard, root.block.offset, table);
            }
        }
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
    bytes: &[u8],
) -> Result<NewRoot, ShmError> {
    let mut parts = Vec::new();
    let built = fill_root(guard, linker, id, schema, bytes, &mut parts);
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
    bytes: &[u8],
    parts: &mut Vec<BlockRef>,
) -> Result<BlockRef, ShmError> {
    let definition = linker.alloc_zeroed(bytes.len(), BlockKind::SCHEMA)?;
    parts.push(definition);
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
    let copy = guard.arena().bytes(definition.offset, bytes.len() as u64)?;
    // SAFETY: `bytes` checked the range; the block is RESERVED, so nobody else knows it.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len()) };
    let table: &TableRoot = guard.resolve(block.offset)?;
    table.init(id, definition.offset, bytes.len() as u64, primary.offset);
    table.indexed.store(indexed.0, Ordering::Relaxed);
    table.indexes.store(first, Ordering::Release);
    Ok(block)
}
