//! `statistics`: what the planner goes by, of a table and of each of its indexes.
#![forbid(unsafe_code)]

use aerostore_core::db::IndexStats;
use aerostore_core::index::key::key_value;

use super::table::Opened;
use crate::convert;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Interp, Obj};

/// `statistics`
pub(super) fn run(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, _] = words else { return Err(Error::usage(interp, words, 2, c"")) };
    let (rows, indexes) = table.read(|txn| {
        Ok((txn.estimated_rows(&table.bound.table)?, txn.index_statistics(&table.bound.table)?))
    })?;
    let indexes = indexes.iter().map(|index| (table.bound.names[index.column].clone(), told(table, index)));
    reply(interp, &named([("rows", Obj::count(rows)), ("indexes", Obj::dict(indexes))]))
}

fn told(table: &Opened, index: &IndexStats) -> Obj {
    let kind = table.bound.schema.column(index.column).column_type();
    let end = |key: &Option<Box<[u8]>>| {
        let value = key.as_ref().and_then(|key| key_value(kind, key).ok());
        value.map_or_else(Obj::empty, |value| convert::write(value.as_value()))
    };
    named([
        ("unique", Obj::count(u64::from(index.spec.is_unique))),
        ("rows", Obj::count(index.rows)),
        ("nulls", Obj::count(index.nulls)),
        ("distinct", Obj::count(index.distinct)),
        ("min", end(&index.min)),
        ("max", end(&index.max)),
    ])
}

/// A dict with these names.
pub(super) fn named<const N: usize>(pairs: [(&str, Obj); N]) -> Obj {
    Obj::dict(pairs.map(|(name, value)| (Obj::string(name), value)))
}
