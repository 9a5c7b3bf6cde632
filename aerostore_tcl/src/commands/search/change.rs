//! `-update` and `-delete`: what becomes of the rows that a search finds.
//!
//! The search and the changes are one transaction, or one statement of the interpreter's: all of them happen or none. The rows are given
//! as they were found.
#![forbid(unsafe_code)]

use std::ops::ControlFlow;

use aerostore_core::row::{OwnedValue, RowView, Value};

use super::kept::Asked;
use super::run::Rows;
use crate::commands::table::Opened;
use crate::error::Error;
use crate::ffi::{Interp, Obj};

/// What becomes of a row.
pub(super) enum Change {
    /// It is deleted.
    Delete,
    /// Columns get these values.
    Update(Vec<(usize, OwnedValue)>),
}

impl Change {
    /// Reads the value of `-update`: pairs of column and value.
    pub(super) fn update(table: &Opened, interp: &Interp, pairs: &Obj) -> Result<Self, Error> {
        let bound = &*table.bound;
        let items = pairs.items(interp).map_err(Error::syntax)?;
        if items.is_empty() || !items.len().is_multiple_of(2) {
            let message = format!("bad -update \"{}\": must be columns and values", pairs.quoted());
            return Err(Error::syntax(message));
        }
        let mut values = Vec::with_capacity(items.len() / 2);
        for (index, input) in bound.inputs(&items)? {
            if index == bound.schema.key_index() {
                let name = bound.schema.column(index).name();
                return Err(
                    Error::value(format!("column \"{name}\": the key of a row stays what it is")).with(name)
                );
            }
            values.push((index, bound.schema.coerce(index, input.value())?.to_owned()));
        }
        Ok(Self::Update(values))
    }

    /// Finds the rows and changes them; the rows as they were.
    pub(super) fn run(&self, table: &Opened, asked: Asked) -> Result<Rows, Error> {
        let bound = &*table.bound;
        let plan = asked.plan(table)?;
        let values: Vec<(usize, Value<'_>)> = match self {
            Self::Delete => Vec::new(),
            Self::Update(values) => values.iter().map(|(index, value)| (*index, value.as_value())).collect(),
        };
        let rows = table.write_all(&mut |txn| {
            let mut rows = Rows::default();
            txn.search(&bound.table, &plan, &mut |row| {
                rows.push(row);
                ControlFlow::Continue(())
            })?;
            for place in 0..rows.count() {
                let row = RowView::new(&bound.schema, rows.image(place))?;
                match self {
                    Self::Delete => drop(txn.delete(&bound.table, row.key())?),
                    Self::Update(_) => drop(txn.set(&bound.table, row.key(), &values)?),
                }
            }
            Ok(rows)
        })?;
        Ok(rows)
    }
}
