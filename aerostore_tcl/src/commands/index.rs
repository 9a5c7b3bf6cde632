//! `index create`, `drop`, `list`, `count` and `span`: a table's ordered indexes.
#![forbid(unsafe_code)]

use std::ops::ControlFlow;

use aerostore_core::query::{Compare, Expr, Operator, Query, SortKey};

use super::table::Opened;
use crate::convert;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Interp, Obj};
use crate::words::word_enum;

word_enum! {
    /// What is to be done with an index.
    Action, c"action", {
        Count = c"count",
        Create = c"create",
        Drop = c"drop",
        List = c"list",
        Span = c"span",
    }
}

/// Runs one call.
pub(super) fn run(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let Some(action) = words.get(2) else {
        return Err(Error::usage(interp, words, 2, c"action ?column?"));
    };
    let action = Action::find(interp, action)?;
    let bound = &*table.bound;
    if action == Action::List {
        let [_, _, _] = words else { return Err(Error::usage(interp, words, 3, c"")) };
        let indexes = table.read()?.index_statistics(&bound.table)?;
        let names: Vec<_> = indexes.iter().map(|index| bound.names[index.column].clone()).collect();
        return reply(interp, &Obj::list(&names));
    }
    let [_, _, _, name] = words else { return Err(Error::usage(interp, words, 3, c"column")) };
    let column = bound.column(name)?;
    match action {
        Action::Create => table.open.database.create_index(&bound.table, column)?,
        Action::Drop => table.open.database.drop_index(&bound.table, column)?,
        Action::List => {}
        Action::Count => {
            let count = table.read()?.count_index_keys(&bound.table, column)?;
            let count = count.ok_or_else(|| no_index(table, column))?;
            return reply(interp, &Obj::count(count));
        }
        Action::Span => {
            let mut read = table.read()?;
            if read.index_statistics(&bound.table)?.iter().all(|index| index.column != column) {
                return Err(no_index(table, column));
            }
            drop(read);
            let name = bound.schema.column(column).name();
            let ends = [SortKey::ascending(name), SortKey::descending(name)];
            let mut span = Vec::new();
            for end in ends {
                let filter = Expr::Compare(Compare::new(name, Operator::NotNull, Vec::new()));
                super::search::visit(table, Query::filtered(filter).sort_by(end).limit(1), &mut |row| {
                    span.push(convert::write(row.get(column)));
                    ControlFlow::Continue(())
                })?;
            }
            return reply(interp, &Obj::list(&span));
        }
    }
    reply(interp, &Obj::empty())
}

fn no_index(table: &Opened, column: usize) -> Error {
    let schema = &table.bound.schema;
    let name = schema.column(column).name();
    Error::new("NOT_FOUND", format!("column {name} of {} has no index", schema.name())).with(name)
}
