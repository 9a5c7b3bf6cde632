//! A table's command: `FlightState get AAL1 lat`.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use aerostore_core::db::{self, Table, Transaction, TxnOptions};
use aerostore_core::query::{Compare, Expr, Literal, Operator, Query};
use aerostore_core::row::{Column, RowError, RowView, Schema, Value};
use aerostore_core::txn::TxnError;

use crate::convert::{self, Input};
use crate::engine::{self, Open};
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Interp, Obj};
use crate::words::word_enum;

word_enum! {
    /// What a table's command can do.
    Method, c"method", {
        ArrayGet = c"array_get",
        ArrayGetWithNulls = c"array_get_with_nulls",
        Count = c"count",
        Delete = c"delete",
        Exists = c"exists",
        Explain = c"explain",
        Fields = c"fields",
        FieldType = c"fieldtype",
        Get = c"get",
        Index = c"index",
        IngestTsv = c"ingest_tsv",
        Key = c"key",
        Names = c"names",
        Search = c"search",
        Set = c"set",
        Statistics = c"statistics",
    }
}

/// Reads only: nothing is remembered or checked.
pub(super) const READ: TxnOptions = TxnOptions {
    isolation: aerostore_core::db::Isolation::Snapshot,
    read_only: true,
    synchronous_commit: None,
};

/// The state behind a table's command in one interpreter.
pub(crate) struct TableCommand {
    name: String,
    bound: RefCell<Option<Rc<Bound>>>,
}

/// A table of the open database, with what this interpreter keeps about it.
pub(super) struct Bound {
    open: Weak<Open>,
    pub(super) table: Table,
    pub(super) schema: Arc<Schema>,
    /// Column names as values, which know their index.
    pub(super) names: Vec<Obj>,
    /// Stands for this binding in values that remember a column.
    serial: usize,
}

/// A bound table and its database, for the length of one call.
pub(super) struct Opened {
    pub(super) open: Arc<Open>,
    pub(super) bound: Rc<Bound>,
}

impl TableCommand {
    /// The command of the table called `name`.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), bound: RefCell::new(None) }
    }

    /// Runs one call.
    pub(crate) fn run(&self, interp: &Interp, words: &[Obj]) -> Outcome {
        let Some(method) = words.get(1) else {
            return Err(Error::usage(interp, words, 1, c"method ?arg ...?"));
        };
        let method = Method::find(interp, method)?;
        let table = self.opened()?;
        match method {
            Method::Get => table.get(interp, words, Shape::List),
            Method::ArrayGet => table.get(interp, words, Shape::Pairs),
            Method::ArrayGetWithNulls => table.get(interp, words, Shape::PairsWithNulls),
            Method::Set => table.set(interp, words),
            Method::Exists => table.exists(interp, words),
            Method::Delete => table.delete(interp, words),
            Method::Count => table.count(interp, words),
            Method::Names => table.names(interp, words),
            Method::Fields | Method::Key => table.describe(interp, words, method),
            Method::FieldType => table.field_type(interp, words),
            Method::Explain => super::search::explain(&table, interp, words),
            Method::Search => super::search::run(&table, interp, words),
            Method::Statistics => super::statistics::run(&table, interp, words),
            Method::Index => super::index::run(&table, interp, words),
            Method::IngestTsv => super::ingest::run(&table, interp, words),
        }
    }

    /// The table, bound anew when the database was closed since.
    fn opened(&self) -> Result<Opened, Error> {
        if let Some(bound) = self.bound.borrow().as_ref()
            && let Some(open) = bound.open.upgrade()
        {
            return Ok(Opened { open, bound: Rc::clone(bound) });
        }
        let open = engine::database()?;
        let table = open.database.table(&self.name)?;
        let table = table.ok_or_else(|| {
            Error::new("NOT_FOUND", format!("no table \"{}\" in this database", self.name)).with(&self.name)
        })?;
        let bound = Rc::new(Bound::new(&open, table));
        self.bound.replace(Some(Rc::clone(&bound)));
        Ok(Opened { open, bound })
    }
}

impl Bound {
    fn new(open: &Arc<Open>, table: Table) -> Self {
        thread_local!(static NEXT: Cell<usize> = const { Cell::new(0) });
        // Values never leave their thread, so numbers need to differ within it only.
        let serial = NEXT.get();
        NEXT.set(serial + 1);
        let schema = Arc::clone(table.schema());
        let names = schema.columns().iter().enumerate().map(|(index, column)| {
            let name = Obj::string(column.name());
            name.cache_column(serial, index);
            name
        });
        Self { open: Arc::downgrade(open), table, names: names.collect(), schema, serial }
    }

    /// The index of the column that `name` names.
    #[inline]
    pub(super) fn column(&self, name: &Obj) -> Result<usize, Error> {
        if let Some(index) = name.cached_column(self.serial) {
            return Ok(index);
        }
        let found = name.text().ok().and_then(|text| self.schema.find(&text));
        let index = found.ok_or_else(|| self.unknown_column(&name.quoted()))?;
        name.cache_column(self.serial, index);
        Ok(index)
    }

    /// The indexes of the columns that the words name.
    pub(super) fn columns(&self, names: &[Obj]) -> Result<Vec<usize>, Error> {
        names.iter().map(|name| self.column(name)).collect()
    }

    /// The error that no column has this name, with those that there are.
    pub(super) fn unknown_column(&self, name: &str) -> Error {
        let names: Vec<_> = self.schema.columns().iter().map(Column::name).collect();
        Error::syntax(format!("bad column \"{name}\": must be {}", choices(&names))).with("COLUMN").with(name)
    }

    /// The row's columns as a list in the order asked; nulls are empty.
    pub(super) fn list(row: RowView<'_>, columns: &[usize]) -> Obj {
        Obj::list(&columns.iter().map(|&index| convert::write(row.get(index))).collect::<Vec<_>>())
    }

    /// The row's columns as a list of names and values.
    pub(super) fn pairs(&self, row: RowView<'_>, columns: &[usize], with_nulls: bool) -> Obj {
        let mut words = Vec::with_capacity(2 * columns.len());
        for &index in columns {
            let value = row.get(index);
            if with_nulls || !value.is_null() {
                words.extend([self.names[index].clone(), convert::write(value)]);
            }
        }
        Obj::list(&words)
    }

    /// Every column's index.
    pub(super) fn all_columns(&self) -> Vec<usize> {
        (0..self.names.len()).collect()
    }

    fn key<'o>(&self, obj: &'o Obj) -> Result<Input<'o>, Error> {
        convert::read_key(self.schema.key_column(), obj)
    }
}

/// `a, b, or c`, as Tcl lists choices.
pub(super) fn choices(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first, second] => format!("{first} or {second}"),
        [others @ .., last] => format!("{}, or {last}", others.join(", ")),
    }
}

/// How `get` and its kin give a row.
#[derive(Clone, Copy)]
enum Shape {
    List,
    Pairs,
    PairsWithNulls,
}

impl Opened {
    /// A transaction that only reads.
    pub(super) fn read(&self) -> Result<Transaction, Error> {
        Ok(self.open.database.begin(READ)?)
    }

    /// Runs a small transaction, again when another one was in its way.
    pub(super) fn write<R>(
        &self,
        mut body: impl FnMut(&mut Transaction) -> Result<R, aerostore_core::db::Error>,
    ) -> Result<R, Error> {
        Ok(self.open.database.transaction(TxnOptions::default(), |txn| body(txn))?)
    }

    fn get(&self, interp: &Interp, words: &[Obj], shape: Shape) -> Outcome {
        let [_, _, key, names @ ..] = words else {
            return Err(Error::usage(interp, words, 2, c"key ?column ...?"));
        };
        let bound = &*self.bound;
        let columns = if names.is_empty() { bound.all_columns() } else { bound.columns(names)? };
        let key = bound.key(key)?;
        let row = self.read()?.get(&bound.table, key.value(), |row| match shape {
            Shape::List => Bound::list(row, &columns),
            Shape::Pairs => bound.pairs(row, &columns, false),
            Shape::PairsWithNulls => bound.pairs(row, &columns, true),
        })?;
        reply(interp, &row.unwrap_or_else(Obj::empty))
    }

    fn set(&self, interp: &Interp, words: &[Obj]) -> Outcome {
        let usage = || Error::usage(interp, words, 2, c"key column value ?column value ...?");
        let listed;
        let (key, pairs) = match words {
            [_, _, key, list] => {
                listed = list.items(interp).map_err(Error::syntax)?;
                (key, &listed[..])
            }
            [_, _, key, pairs @ ..] if !pairs.is_empty() => (key, pairs),
            _ => return Err(usage()),
        };
        if pairs.len() % 2 != 0 {
            return Err(usage());
        }
        let bound = &*self.bound;
        let key = bound.key(key)?;
        let mut inputs = Vec::with_capacity(pairs.len() / 2);
        for pair in pairs.chunks_exact(2) {
            let index = bound.column(&pair[0])?;
            inputs.push((index, convert::read(bound.schema.column(index), &pair[1])?));
        }
        let values: Vec<_> = inputs.iter().map(|(index, input)| (*index, input.value())).collect();
        self.write(|txn| txn.set(&bound.table, key.value(), &values))?;
        reply(interp, &Obj::empty())
    }

    fn exists(&self, interp: &Interp, words: &[Obj]) -> Outcome {
        let [_, _, key] = words else { return Err(Error::usage(interp, words, 2, c"key")) };
        let key = self.bound.key(key)?;
        let found = self.read()?.exists(&self.bound.table, key.value())?;
        reply(interp, &Obj::boolean(found))
    }

    fn delete(&self, interp: &Interp, words: &[Obj]) -> Outcome {
        let [_, _, key] = words else { return Err(Error::usage(interp, words, 2, c"key")) };
        let key = self.bound.key(key)?;
        let found = self.write(|txn| match txn.delete(&self.bound.table, key.value()) {
            // No row has a key that its column cannot hold.
            Err(db::Error::Txn(TxnError::Row(RowError::TooLong { .. } | RowError::Range { .. }))) => {
                Ok(false)
            }
            outcome => outcome,
        })?;
        reply(interp, &Obj::boolean(found))
    }

    fn count(&self, interp: &Interp, words: &[Obj]) -> Outcome {
        let [_, _] = words else { return Err(Error::usage(interp, words, 2, c"")) };
        reply(interp, &Obj::count(self.read()?.count(&self.bound.table)?))
    }

    fn names(&self, interp: &Interp, words: &[Obj]) -> Outcome {
        let pattern = match words {
            [_, _] => None,
            [_, _, pattern] => Some(pattern),
            _ => return Err(Error::usage(interp, words, 2, c"?pattern?")),
        };
        let query = pattern
            .map_or_else(|| Ok(Query::all()), |pattern| self.key_glob(pattern).map(Query::filtered))?;
        let mut names = Vec::new();
        super::search::visit(self, query, &mut |row| {
            names.push(convert::write(row.key()));
            ControlFlow::Continue(())
        })?;
        reply(interp, &Obj::list(&names))
    }

    /// The condition that the key fits a glob pattern.
    pub(super) fn key_glob(&self, pattern: &Obj) -> Result<Expr, Error> {
        let pattern =
            pattern.text().map_err(|_| Error::value(format!("bad pattern \"{}\"", pattern.quoted())))?;
        let key = self.bound.schema.key_column().name();
        Ok(Expr::Compare(Compare::new(key, Operator::MatchCase, vec![Literal::Text(pattern.into_owned())])))
    }

    fn describe(&self, interp: &Interp, words: &[Obj], method: Method) -> Outcome {
        let [_, _] = words else { return Err(Error::usage(interp, words, 2, c"")) };
        match method {
            Method::Key => reply(interp, &self.bound.names[self.bound.schema.key_index()]),
            _ => reply(interp, &Obj::list(&self.bound.names)),
        }
    }

    fn field_type(&self, interp: &Interp, words: &[Obj]) -> Outcome {
        let [_, _, name] = words else { return Err(Error::usage(interp, words, 2, c"column")) };
        let index = self.bound.column(name)?;
        reply(interp, &Obj::string(self.bound.schema.column(index).column_type().name()))
    }
}

/// The row's key as a Tcl value.
pub(super) fn key_of(row: RowView<'_>) -> Obj {
    let key: Value<'_> = row.key();
    convert::write(key)
}
