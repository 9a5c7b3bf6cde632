//! `reset`: empties the table.
#![forbid(unsafe_code)]

use std::ops::ControlFlow;

use aerostore_core::query::Query;
use aerostore_core::row::OwnedValue;

use super::search;
use super::table::Opened;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Interp, Obj};

/// Rows that one transaction deletes.
const BATCH: usize = 1000;

/// `reset`: deletes the rows that are there when it begins, in batches, each of them a transaction or all of them part of the one that
/// is open; how many. Rows that others add meanwhile stay.
pub(super) fn run(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, _] = words else { return Err(Error::usage(interp, words, 2, c"")) };
    let mut keys: Vec<OwnedValue> = Vec::new();
    search::visit(table, Query::all(), &mut |row| {
        keys.push(row.key().to_owned());
        ControlFlow::Continue(())
    })?;
    let mut gone = 0;
    for batch in keys.chunks(BATCH) {
        gone += table.write_all(&mut |txn| {
            let mut deleted = 0;
            for key in batch {
                deleted += u64::from(txn.delete(&table.bound.table, key.as_value())?);
            }
            Ok(deleted)
        })?;
    }
    reply(interp, &Obj::count(gone))
}
