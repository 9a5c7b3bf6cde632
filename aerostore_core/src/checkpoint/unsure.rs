//! What the log says of tables, their columns and indexes about which shared memory does not: somebody is about to log that they are there, or not, or
//! has just done so, and is stopped (P8).

#![forbid(unsafe_code)]

use super::error::CheckpointError;
use super::files::{Listed, Places, read_manifest};
use super::manifest::Manifest;
use crate::row::{IndexSpec, Schema};
use crate::txn::{LoggedTable, RedoOp, RedoReader, TxnError, index_definition};
use crate::wal::{Directory, LogControl, Walk};
use std::collections::{BTreeMap, BTreeSet};

/// Table and column.
type Place = (u32, u8);

/// Adds to the indexes of `tables` those on unsure columns that the log defines up to `commit_ts`, which is durable, takes away the
/// unsure tables that it does not define, and gives those to which somebody adds columns the columns that it says.
///
/// # Errors
/// `Io`; `Corrupt` or `Missing` when the log is damaged, or another process has taken a checkpoint meanwhile.
pub(super) fn settle(
    places: &Places<'_>,
    tables: &mut Vec<LoggedTable>,
    commit_ts: u64,
    log: &LogControl,
) -> Result<(), CheckpointError> {
    let mut defined: BTreeMap<Place, Option<u8>> = BTreeMap::new();
    for table in &*tables {
        defined.extend(table.unsure.iter().map(|&column| ((table.table.id(), column), None)));
    }
    let base = newest(places, commit_ts)?;
    let (mut tables_there, mut columns) = (BTreeSet::new(), BTreeMap::new());
    for entry in base.iter().flat_map(|manifest| &manifest.tables) {
        tables_there.insert(entry.id);
        columns.insert(entry.id, Schema::from_bytes(&entry.schema)?);
        for (column, spec) in &entry.indexes {
            defined.entry((entry.id, *column)).and_modify(|known| *known = Some(*spec));
        }
    }
    let from_ts = base.map_or(0, |manifest| manifest.commit_ts);
    let mut known = Known { tables: tables_there, columns, defined };
    // In this order: the batch is there, and all that is durable.
    let logged_ts = log.logged_ts();
    let durable_ts = log.durable_ts();
    let (mut read_ts, mut last) = (from_ts, None);
    let directory = Directory::read(places.files, places.log, places.uuid)?;
    for link in directory.chain(from_ts)? {
        let mut walk = Walk::open(places.files, places.log, &link)?;
        while walk.follow(durable_ts)? {
            for (c, redo) in walk.records().filter(|record| record.0 > from_ts && record.0 <= commit_ts) {
                known.record(c, redo)?;
            }
        }
        read_ts = read_ts.max(walk.last_ts());
        last = Some(walk);
    }
    if let Some(walk) = last.filter(|_| read_ts < logged_ts) {
        return Err(walk.corrupt("a batch that was logged cannot be read").into());
    }
    // Behind what it says last of a table there is nothing of that.
    tables.retain(|table| !table.is_unsure || known.tables.contains(&table.table.id()));
    for table in tables {
        if table.is_altering
            && let Some(schema) = known.columns.remove(&table.table.id())
            && schema.extends(table.table.schema())
        {
            table.table = table.table.with_schema(schema);
        }
        let found = table.unsure.iter().filter_map(|&column| {
            let spec = *known.defined.get(&(table.table.id(), column))?;
            spec.map(|spec| (column, spec))
        });
        table.indexes.extend(found);
    }
    Ok(())
}

/// The newest checkpoint up to `commit_ts` whose manifest can be read: the log is there from it on.
fn newest(places: &Places<'_>, commit_ts: u64) -> Result<Option<Manifest>, CheckpointError> {
    let numbers = Listed::read(places)?.manifests();
    let mut manifests = numbers.into_iter().filter_map(|number| read_manifest(places, number).ok());
    Ok(manifests.find(|manifest| manifest.commit_ts <= commit_ts))
}

/// What was found out so far.
struct Known {
    /// The tables that are there: another record of one changes nothing.
    tables: BTreeSet<u32>,
    /// Their definitions, as they are or with fewer columns.
    columns: BTreeMap<u32, Schema>,
    /// What is promised of the index on a column that is asked for, if there is one.
    defined: BTreeMap<Place, Option<u8>>,
}

impl Known {
    fn record(&mut self, commit_ts: u64, redo: &[u8]) -> Result<(), CheckpointError> {
        for operation in RedoReader::new(redo) {
            let (table, operation) = operation.map_err(|reason| TxnError::BadRedo { commit_ts, reason })?;
            match operation {
                RedoOp::Create(definition) if self.tables.insert(table) => {
                    let schema = Schema::from_bytes(definition)?;
                    // What was added later is no column of it.
                    let columns = u8::try_from(schema.columns().len()).unwrap_or(u8::MAX);
                    for (&(_, column), spec) in self.defined.range_mut((table, 0)..(table, columns)) {
                        *spec = schema.declared_index(usize::from(column)).map(IndexSpec::word);
                    }
                    self.columns.insert(table, schema);
                }
                RedoOp::Drop(_) => drop(self.tables.remove(&table)),
                // More than before, or once more what there is (J7 of `txn::alter`).
                RedoOp::Alter(definition) => {
                    drop(self.columns.insert(table, Schema::from_bytes(definition)?));
                }
                RedoOp::Index(definition) | RedoOp::NoIndex(definition) => {
                    let is_there = matches!(operation, RedoOp::Index(_));
                    if let Some((column, promised)) = index_definition(definition)
                        && let Some(spec) = self.defined.get_mut(&(table, column))
                    {
                        *spec = is_there.then(|| promised.word());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
