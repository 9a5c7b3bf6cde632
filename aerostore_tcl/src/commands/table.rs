//! A table's command: `FlightState get AAL1 lat`.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use aerostore_core::db::{self, Table, TableStanding, Transaction, TxnOptions};
use aerostore_core::query::{Compare, Expr, Literal, Operator, Query};
use aerostore_core::row::{RowView, Schema, Value};
use smallvec::SmallVec;

use super::row::{self, RowMethod};
use super::search::KeptSearches;
use crate::convert::{self, Input};
use crate::current::Current;
use crate::engine::{self, Open};
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Interp, Obj};
use crate::words::word_enum;

word_enum! {
    /// What a table's command can do.
    Method, c"method", {
        ArrayGet = c"array_get",
        ArrayGetWithNulls = c"array_get_with_nulls",
        Batch = c"batch",
        Count = c"count",
        Cursor = c"cursor",
        Delete = c"delete",
        Exists = c"exists",
        Explain = c"explain",
        Fields = c"fields",
        FieldType = c"fieldtype",
        Foreach = c"foreach",
        Get = c"get",
        Import = c"import",
        Incr = c"incr",
        Index = c"index",
        IngestTsv = c"ingest_tsv",
        IsNull = c"isnull",
        Key = c"key",
        Lock = c"lock",
        Names = c"names",
        Null = c"null",
        ReadTabsep = c"read_tabsep",
        Reset = c"reset",
        Schema = c"schema",
        Search = c"search",
        Set = c"set",
        Statistics = c"statistics",
        Store = c"store",
        Unwatch = c"unwatch",
        Watch = c"watch",
        WriteTabsep = c"write_tabsep",
    }
}

/// Columns, or columns and values, of one call: mostly so few that they need no memory but the stack's.
pub(super) type Few<T> = SmallVec<[T; 8]>;

/// Reads only: nothing is remembered or checked.
pub(super) const READ: TxnOptions = TxnOptions {
    isolation: aerostore_core::db::Isolation::Snapshot,
    read_only: true,
    synchronous_commit: None,
};

/// The state behind a table's command in one interpreter.
pub(crate) struct TableCommand {
    name: String,
    current: Rc<Current>,
    bound: RefCell<Option<Rc<Bound>>>,
    /// The transaction in which it was last used, if one was open then.
    used_in: Cell<Option<u64>>,
}

/// A table of the open database, with what this interpreter keeps about it.
pub(super) struct Bound {
    open: Weak<Open>,
    pub(super) table: Table,
    pub(super) schema: Arc<Schema>,
    /// Column names as values, which know their index.
    pub(super) names: Vec<Obj>,
    /// Every column's index, but for a key that the table numbers, which is there for who names it.
    shown: Vec<usize>,
    /// Stands for this binding in values that remember a column.
    serial: usize,
    pub(super) searches: KeptSearches,
}

/// A bound table, its database and the interpreter's transaction, for the length of one call.
pub(super) struct Opened {
    pub(super) open: Arc<Open>,
    pub(super) bound: Rc<Bound>,
    pub(super) current: Rc<Current>,
}

impl TableCommand {
    /// The command of the table called `name` in the interpreter whose transaction is `current`.
    pub(crate) fn new(name: &str, current: Rc<Current>) -> Self {
        Self { name: name.to_owned(), current, bound: RefCell::new(None), used_in: Cell::new(None) }
    }

    /// Runs one call.
    pub(crate) fn run(&self, interp: &Interp, words: &[Obj]) -> Outcome {
        let Some(method) = words.get(1) else {
            return Err(Error::usage(interp, words, 1, c"method ?arg ...?"));
        };
        let method = Method::find(interp, method)?;
        let table = self.opened()?;
        match method {
            Method::Get => row::run(&table, interp, words, RowMethod::Get),
            Method::ArrayGet => row::run(&table, interp, words, RowMethod::ArrayGet),
            Method::ArrayGetWithNulls => row::run(&table, interp, words, RowMethod::ArrayGetWithNulls),
            Method::Set => row::run(&table, interp, words, RowMethod::Set),
            Method::Store => row::run(&table, interp, words, RowMethod::Store),
            Method::Incr => row::run(&table, interp, words, RowMethod::Incr),
            Method::Null => row::run(&table, interp, words, RowMethod::Null),
            Method::IsNull => row::run(&table, interp, words, RowMethod::IsNull),
            Method::Exists => row::run(&table, interp, words, RowMethod::Exists),
            Method::Delete => row::run(&table, interp, words, RowMethod::Delete),
            Method::Lock => row::run(&table, interp, words, RowMethod::Lock),
            Method::Batch => row::batch(&table, interp, words),
            Method::Count => table.count(interp, words),
            Method::Names => table.names(interp, words),
            Method::Fields | Method::Key => table.describe(interp, words, method),
            Method::FieldType => table.field_type(interp, words),
            Method::Explain => super::search::explain(&table, interp, words),
            Method::Search => super::search::run(&table, interp, words),
            Method::ReadTabsep => super::tabsep::read(&table, interp, words),
            Method::WriteTabsep => super::tabsep::write(&table, interp, words),
            Method::Import => super::import::run(&table, interp, words),
            Method::Reset => super::reset::run(&table, interp, words),
            Method::Foreach => super::search::foreach(&table, interp, words),
            Method::Cursor => super::search::cursor(&table, interp, words),
            Method::Schema => super::schema::run(&table, interp, words),
            Method::Statistics => super::statistics::run(&table, interp, words),
            Method::Index => super::index::run(&table, interp, words),
            Method::IngestTsv => super::ingest::run(&table, interp, words),
            Method::Watch => super::watch::watch(&table, interp, words),
            Method::Unwatch => super::watch::unwatch(&table, interp, words),
        }
    }

    /// The table, bound anew when the database was closed since, or the table dropped, or got columns.
    fn opened(&self) -> Result<Opened, Error> {
        let used_in = self.used_in.replace(self.current.number());
        if let Some(bound) = self.bound.borrow().as_ref()
            && let Some(open) = bound.open.upgrade()
            // A search that still runs, in this thread or another, may keep one that was closed.
            && open.database.is_open()
        {
            let standing = open.database.standing(&bound.table)?;
            if standing == TableStanding::Current {
                return Ok(Opened { open, bound: Rc::clone(bound), current: Rc::clone(&self.current) });
            }
            // A transaction that has looked at a table is not shown another one of that name.
            let is_dropped = standing == TableStanding::Dropped;
            if is_dropped && used_in.is_some() && used_in == self.current.number() {
                let message = format!("table {} was dropped while the transaction used it", self.name);
                return Err(Error::new("NOT_FOUND", message).with(&self.name));
            }
        }
        let open = engine::database()?;
        let table = open.database.table(&self.name)?;
        let table = table.ok_or_else(|| crate::package::no_table(&self.name))?;
        let bound = Rc::new(Bound::new(&open, table));
        self.bound.replace(Some(Rc::clone(&bound)));
        Ok(Opened { open, bound, current: Rc::clone(&self.current) })
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
        let hidden = schema.has_numbered_key().then(|| schema.key_index());
        let shown = (0..schema.columns().len()).filter(|index| Some(*index) != hidden).collect();
        Self {
            open: Arc::downgrade(open),
            table,
            names: names.collect(),
            shown,
            schema,
            serial,
            searches: KeptSearches::default(),
        }
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
        let names: Vec<_> =
            self.all_columns().iter().map(|&index| self.schema.column(index).name()).collect();
        Error::syntax(format!("bad column \"{name}\": must be {}", choices(&names))).with("COLUMN").with(name)
    }

    /// The row's columns as a list in the order asked; nulls are empty.
    pub(super) fn list(row: RowView<'_>, columns: &[usize]) -> Obj {
        if let [column] = columns {
            return Obj::list(&[convert::write(row.get(*column))]);
        }
        list_of(|words| words.extend(columns.iter().map(|&index| convert::write(row.get(index)))))
    }

    /// The row's columns as a list of names and values.
    pub(super) fn pairs(&self, row: RowView<'_>, columns: &[usize], with_nulls: bool) -> Obj {
        list_of(|words| {
            for &index in columns {
                let value = row.get(index);
                if with_nulls || !value.is_null() {
                    words.extend([self.names[index].clone(), convert::write(value)]);
                }
            }
        })
    }

    /// Every column's index, but for a key that the table numbers, which is there for who names it.
    pub(super) fn all_columns(&self) -> &[usize] {
        &self.shown
    }

    /// The columns that the words name; all of them when there are none.
    #[inline]
    pub(super) fn wanted(&self, names: &[Obj]) -> Result<Few<usize>, Error> {
        if names.is_empty() {
            Ok(self.shown.iter().copied().collect())
        } else {
            names.iter().map(|name| self.column(name)).collect()
        }
    }

    /// Reads pairs of column and value.
    pub(super) fn inputs<'o>(&self, pairs: &'o [Obj]) -> Result<Vec<(usize, Input<'o>)>, Error> {
        let mut inputs = Vec::with_capacity(pairs.len() / 2);
        for pair in pairs.chunks_exact(2) {
            let index = self.column(&pair[0])?;
            inputs.push((index, convert::read(self.schema.column(index), &pair[1])?));
        }
        Ok(inputs)
    }

    /// Reads a key.
    pub(super) fn key<'o>(&self, obj: &'o Obj) -> Result<Input<'o>, Error> {
        convert::read_key(self.schema.key_column(), obj)
    }
}

/// The list of what `fill` adds, which runs no script. Rows come by the million: their words are collected in one place, and nothing is
/// allocated for each.
fn list_of(fill: impl FnOnce(&mut Vec<Obj>)) -> Obj {
    thread_local!(static WORDS: RefCell<Vec<Obj>> = const { RefCell::new(Vec::new()) });
    WORDS.with_borrow_mut(|words| {
        // What a panic may have left.
        words.clear();
        fill(words);
        let list = Obj::list(words);
        words.clear();
        list
    })
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

impl Opened {
    /// Reads in the interpreter's transaction, or else in one that only reads.
    #[inline]
    pub(super) fn read<R>(
        &self,
        body: impl FnOnce(&mut Transaction) -> Result<R, db::Error>,
    ) -> Result<R, db::Error> {
        if let Some(mut current) = self.current.lend() {
            return current.run(body);
        }
        let mut txn = self.open.database.begin(READ)?;
        let outcome = body(&mut txn)?;
        // Nothing to commit; but what is dropped unended first asks the system which process this is.
        txn.commit()?;
        Ok(outcome)
    }

    /// Does one thing in the interpreter's transaction, or else in one of its own, again when another was in its way.
    #[inline]
    pub(super) fn write<R>(
        &self,
        mut body: impl FnMut(&mut Transaction) -> Result<R, db::Error>,
    ) -> Result<R, db::Error> {
        match self.current.lend() {
            Some(mut current) => current.run(body),
            None => self.open.database.transaction(TxnOptions::default(), |txn| body(txn)),
        }
    }

    /// Does several things, all of them or none.
    pub(super) fn write_all<R>(
        &self,
        body: &mut dyn FnMut(&mut Transaction) -> Result<R, db::Error>,
    ) -> Result<R, db::Error> {
        match self.current.lend() {
            Some(mut current) => current.run(|txn| txn.atomically(body)),
            None => self.open.database.transaction(TxnOptions::default(), body),
        }
    }

    fn count(&self, interp: &Interp, words: &[Obj]) -> Outcome {
        let [_, _] = words else { return Err(Error::usage(interp, words, 2, c"")) };
        reply(interp, &Obj::count(self.read(|txn| txn.count(&self.bound.table))?))
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
        if method == Method::Key {
            return reply(interp, &self.bound.names[self.bound.schema.key_index()]);
        }
        let shown = self.bound.all_columns().iter().map(|&index| self.bound.names[index].clone());
        reply(interp, &Obj::list(&shown.collect::<Vec<_>>()))
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
