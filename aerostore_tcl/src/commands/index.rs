//! `index create`, `drop`, `list`, `count` and `span`: a table's indexes beside the key's own.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::ops::ControlFlow;

use aerostore_core::query::{Compare, Expr, Operator, Query, SortKey};
use aerostore_core::row::IndexSpec;

use super::search::flag;
use super::table::Opened;
use crate::convert;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Interp, Obj};
use crate::words::word_enum;

word_enum! {
    /// What is asked of an index.
    Promise, c"option", {
        Kind = c"-kind",
        Unique = c"-unique",
    }
}

word_enum! {
    /// How an index is looked through.
    Kind, c"-kind value", {
        Hash = c"hash",
        Ordered = c"ordered",
    }
}

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
        let wanted = Wanted::read(interp, words, 3, c"?-option value ...?")?;
        let indexes = table.read(|txn| txn.index_statistics(&bound.table))?;
        let listed = indexes.iter().filter(|index| {
            wanted.unique.is_none_or(|is| is == index.spec.is_unique)
                && wanted.kind.is_none_or(|kind| (kind == Kind::Hash) == index.spec.is_hash)
        });
        let names: Vec<_> = listed.map(|index| bound.names[index.column].clone()).collect();
        return reply(interp, &Obj::list(&names));
    }
    if action == Action::Create {
        let usage = c"column ?-option value ...?";
        let wanted = Wanted::read(interp, words, 4, usage)?;
        let Some(name) = words.get(3) else { return Err(Error::usage(interp, words, 3, usage)) };
        table.current.refuse("create an index")?;
        let spec =
            IndexSpec { is_unique: wanted.unique.unwrap_or(false), is_hash: wanted.kind == Some(Kind::Hash) };
        table.open.database.create_index(&bound.table, bound.column(name)?, spec)?;
        return reply(interp, &Obj::empty());
    }
    let [_, _, _, name] = words else { return Err(Error::usage(interp, words, 3, c"column")) };
    let column = bound.column(name)?;
    match action {
        Action::Drop => {
            table.current.refuse("drop an index")?;
            table.open.database.drop_index(&bound.table, column)?;
        }
        Action::Create | Action::List => {}
        Action::Count => {
            let count = table.read(|txn| txn.count_index_keys(&bound.table, column))?;
            let count = count.ok_or_else(|| no_index(table, column))?;
            return reply(interp, &Obj::count(count));
        }
        Action::Span => {
            let indexes = table.read(|txn| txn.index_statistics(&bound.table))?;
            if indexes.iter().all(|index| index.column != column) {
                return Err(no_index(table, column));
            }
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

/// The options of `create` and `list`.
#[derive(Default)]
struct Wanted {
    unique: Option<bool>,
    kind: Option<Kind>,
}

impl Wanted {
    /// Reads the words from number `first` on.
    fn read(interp: &Interp, words: &[Obj], first: usize, usage: &CStr) -> Result<Self, Error> {
        let mut wanted = Self::default();
        for pair in words.get(first..).unwrap_or_default().chunks(2) {
            let [name, value] = pair else { return Err(Error::usage(interp, words, 3, usage)) };
            match Promise::find(interp, name)? {
                Promise::Unique => wanted.unique = Some(flag("-unique", value)?),
                Promise::Kind => wanted.kind = Some(Kind::find(interp, value)?),
            }
        }
        Ok(wanted)
    }
}

fn no_index(table: &Opened, column: usize) -> Error {
    let schema = &table.bound.schema;
    let name = schema.column(column).name();
    Error::new("NOT_FOUND", format!("column {name} of {} has no index", schema.name())).with(name)
}
