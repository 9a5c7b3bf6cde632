//! The methods about one row, `get` and `set` and their kin, and `batch`, which does several of them at once.
//!
//! Shape   the words become a [`Step`], whatever is wrong with them being said before anything is done; a step then runs in a
//!         transaction, and again in another when it met a conflict.
#![forbid(unsafe_code)]

use std::ffi::CStr;

use aerostore_core::db::{self, Table, Transaction};
use aerostore_core::row::{Column, ColumnType, RowError, RowView, Schema, Value};
use aerostore_core::txn::{Change, TxnError};

use super::table::{Bound, Few, Opened};
use crate::convert::{self, Input};
use crate::current::none_open;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Interp, Obj};
use crate::words::word_enum;

word_enum! {
    /// A method about one row.
    RowMethod, c"operation", {
        ArrayGet = c"array_get",
        ArrayGetWithNulls = c"array_get_with_nulls",
        Delete = c"delete",
        Exists = c"exists",
        Get = c"get",
        Incr = c"incr",
        IsNull = c"isnull",
        Lock = c"lock",
        Null = c"null",
        Set = c"set",
        Store = c"store",
    }
}

/// How `get` and its kin give a row.
#[derive(Clone, Copy)]
enum Shape {
    List,
    Pairs,
    PairsWithNulls,
}

/// What is to be done with one row.
struct Step<'w> {
    /// `None` where the table is to number it.
    key: Option<Input<'w>>,
    action: Action<'w>,
}

enum Action<'w> {
    Get(Few<usize>, Shape),
    Exists,
    Delete,
    Set(Vec<(usize, Input<'w>)>),
    /// The key as it was given, and the other columns.
    Store(Option<&'w Obj>, Vec<(usize, Input<'w>)>),
    /// The amount that is added to each column.
    Incr(Vec<(usize, Input<'w>)>),
    Null(Vec<usize>),
    IsNull(Vec<usize>),
    Lock,
}

/// The words of a method, from the table's name or from the method on.
#[derive(Clone, Copy)]
struct Words<'w> {
    all: &'w [Obj],
    /// How many there are up to the method.
    kept: usize,
}

impl Words<'_> {
    fn usage(self, interp: &Interp, method: RowMethod) -> Error {
        Error::usage(interp, self.all, self.kept, method.usage())
    }

    /// The same with the pairs of column and value as words, when they were given as one list.
    fn spread(self, interp: &Interp, method: RowMethod) -> Result<Option<Vec<Obj>>, Error> {
        let before = match method {
            RowMethod::Set => 1,
            RowMethod::Store => 0,
            _ => return Ok(None),
        };
        let (arguments, end) = (&self.all[self.kept..], self.kept + before);
        match arguments.get(before..) {
            None | Some([]) => Err(self.usage(interp, method)),
            Some([list]) => {
                let mut words = self.all[..end].to_vec();
                words.append(&mut list.items(interp).map_err(Error::syntax)?);
                Ok(Some(words))
            }
            Some(_) => Ok(None),
        }
    }
}

impl RowMethod {
    fn usage(self) -> &'static CStr {
        match self {
            Self::Get | Self::ArrayGet | Self::ArrayGetWithNulls => c"key ?column ...?",
            Self::Delete | Self::Exists | Self::Lock => c"key",
            Self::Incr => c"key column ?amount? ?column amount ...?",
            Self::IsNull | Self::Null => c"key column ?column ...?",
            Self::Set => c"key column value ?column value ...?",
            Self::Store => c"column value ?column value ...?",
        }
    }

    fn reads_only(self) -> bool {
        matches!(self, Self::Get | Self::ArrayGet | Self::ArrayGetWithNulls | Self::Exists | Self::IsNull)
    }
}

/// Runs one call of a method.
#[inline]
pub(super) fn run(table: &Opened, interp: &Interp, words: &[Obj], method: RowMethod) -> Outcome {
    let words = Words { all: words, kept: 2 };
    let spread = words.spread(interp, method)?;
    let words = spread.as_deref().map_or(words, |all| Words { all, ..words });
    let step = Step::read(table, interp, words, method)?;
    if method == RowMethod::Lock && !table.current.is_open() {
        return Err(none_open());
    }
    let run = |txn: &mut Transaction| step.run(&table.bound, txn);
    let result = if !method.reads_only() {
        table.write(run)
    } else if table.current.is_open() {
        table.read(run)
    } else {
        step.read_alone(table)
    };
    reply(interp, &result?)
}

/// `batch {{method argument ...} ...}`
pub(super) fn batch(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, _, operations] = words else { return Err(Error::usage(interp, words, 2, c"operations")) };
    let operations = operations.items(interp).map_err(Error::syntax)?;
    let of = |place: usize, error: Error| error.about(&format!("operation {}", place + 1));
    let mut methods = Vec::with_capacity(operations.len());
    for (place, operation) in operations.iter().enumerate() {
        methods.push(read_operation(interp, operation).map_err(|error| of(place, error))?);
    }
    let mut steps = Vec::with_capacity(methods.len());
    for (place, (method, all)) in methods.iter().enumerate() {
        let step = Step::read(table, interp, Words { all, kept: 1 }, *method);
        steps.push(step.map_err(|error| of(place, error))?);
    }
    // The operation that runs; none when all have, and what is left is to commit.
    let mut place = None;
    let mut run = |txn: &mut Transaction| -> Result<Vec<Obj>, db::Error> {
        let mut results = Vec::with_capacity(steps.len());
        for step in &steps {
            place = Some(results.len());
            results.push(step.run(&table.bound, txn)?);
        }
        place = None;
        Ok(results)
    };
    let outcome = if methods.iter().all(|(method, _)| method.reads_only()) {
        table.read(run)
    } else {
        table.write_all(&mut run)
    };
    let results = outcome.map_err(|error| match place {
        Some(place) => of(place, error.into()),
        None => error.into(),
    })?;
    reply(interp, &Obj::list(&results))
}

/// The words of one operation.
fn read_operation(interp: &Interp, operation: &Obj) -> Result<(RowMethod, Vec<Obj>), Error> {
    let all = operation.items(interp).map_err(Error::syntax)?;
    let Some(method) = all.first() else {
        return Err(Error::syntax("it is empty: must be a method and its arguments"));
    };
    let method = RowMethod::find(interp, method)?;
    let spread = Words { all: &all, kept: 1 }.spread(interp, method)?;
    Ok((method, spread.unwrap_or(all)))
}

impl<'w> Step<'w> {
    #[inline]
    fn read(table: &Opened, interp: &Interp, words: Words<'w>, method: RowMethod) -> Result<Self, Error> {
        let (bound, arguments) = (&*table.bound, &words.all[words.kept..]);
        let usage = || words.usage(interp, method);
        if method == RowMethod::Store {
            return Self::read_store(bound, arguments).ok_or_else(usage)?;
        }
        let [key, rest @ ..] = arguments else { return Err(usage()) };
        let action = match (method, rest) {
            (RowMethod::Get, names) => Action::Get(bound.wanted(names)?, Shape::List),
            (RowMethod::ArrayGet, names) => Action::Get(bound.wanted(names)?, Shape::Pairs),
            (RowMethod::ArrayGetWithNulls, names) => Action::Get(bound.wanted(names)?, Shape::PairsWithNulls),
            (RowMethod::Set, pairs) if pairs.len() % 2 == 0 => Action::Set(bound.inputs(pairs)?),
            (RowMethod::Delete, []) => Action::Delete,
            (RowMethod::Exists, []) => Action::Exists,
            (RowMethod::Lock, []) => Action::Lock,
            (RowMethod::Null, [_, ..]) => Action::Null(bound.columns(rest)?),
            (RowMethod::IsNull, [_, ..]) => Action::IsNull(bound.columns(rest)?),
            (RowMethod::Incr, [name]) => {
                let index = bound.column(name)?;
                check_number(bound.schema.column(index))?;
                Action::Incr(vec![(index, Input::Value(Value::I64(1)))])
            }
            (RowMethod::Incr, [_, ..]) if rest.len() % 2 == 0 => Action::Incr(amounts(bound, rest)?),
            _ => return Err(usage()),
        };
        Ok(Self { key: Some(bound.key(key)?), action })
    }

    /// `store`; `None` when the words are no pairs.
    fn read_store(bound: &Bound, pairs: &'w [Obj]) -> Option<Result<Self, Error>> {
        if !pairs.len().is_multiple_of(2) {
            return None;
        }
        let read = || {
            let mut inputs = bound.inputs(pairs)?;
            let place = inputs.iter().rposition(|(index, _)| *index == bound.schema.key_index());
            let key = match place {
                Some(place) => Some(bound.key(&pairs[2 * place + 1])?),
                None if bound.schema.has_numbered_key() => None,
                None => {
                    let name = bound.schema.key_column().name();
                    let message = format!("the key column \"{name}\" is not named, but every row needs it");
                    return Err(Error::syntax(message).with("COLUMN").with(name));
                }
            };
            inputs.retain(|(index, _)| *index != bound.schema.key_index());
            Ok(Self { key, action: Action::Store(place.map(|place| &pairs[2 * place + 1]), inputs) })
        };
        Some(read())
    }

    /// Does one that reads only, in no transaction of the interpreter's.
    #[inline]
    fn read_alone(&self, table: &Opened) -> Result<Obj, db::Error> {
        let bound = &*table.bound;
        let key = self.key.as_ref().map_or(Value::Null, Input::value);
        Ok(self.shown(table.open.database.get(&bound.table, key, |row| self.show(bound, row))?))
    }

    /// What one that reads only makes of its row.
    #[inline]
    fn show(&self, bound: &Bound, row: RowView<'_>) -> Obj {
        match &self.action {
            Action::Get(columns, Shape::List) => Bound::list(row, columns),
            Action::Get(columns, Shape::Pairs) => bound.pairs(row, columns, false),
            Action::Get(columns, Shape::PairsWithNulls) => bound.pairs(row, columns, true),
            Action::IsNull(columns) => {
                let flags = columns.iter().map(|&index| Obj::boolean(row.is_null(index)));
                Obj::list(&flags.collect::<Vec<_>>())
            }
            _ => Obj::boolean(true),
        }
    }

    /// The result with what was made of the row, or none when there is no row.
    #[inline]
    fn shown(&self, made: Option<Obj>) -> Obj {
        match (made, &self.action) {
            (Some(made), _) => made,
            (None, Action::Exists) => Obj::boolean(false),
            (None, _) => Obj::empty(),
        }
    }

    /// Does it, as often as it takes.
    #[inline]
    fn run(&self, bound: &Bound, txn: &mut Transaction) -> Result<Obj, db::Error> {
        let table = &bound.table;
        let key = self.key.as_ref().map_or(Value::Null, Input::value);
        Ok(match &self.action {
            Action::Get(..) | Action::Exists | Action::IsNull(_) => {
                self.shown(txn.get(table, key, |row| self.show(bound, row))?)
            }
            Action::Delete => Obj::boolean(delete(txn, table, key)?),
            Action::Set(inputs) => {
                txn.set(table, key, &values(inputs))?;
                Obj::empty()
            }
            Action::Store(None, inputs) => Obj::wide(txn.insert_numbered(table, &values(inputs))?),
            Action::Store(Some(shown), inputs) => {
                txn.set(table, key, &values(inputs))?;
                (*shown).clone()
            }
            Action::Incr(amounts) => incr(txn, bound, key, amounts)?,
            Action::Null(columns) => Obj::boolean(set_null(txn, bound, key, columns)?),
            Action::Lock => Obj::boolean(txn.lock_for_update(table, key)?.is_some()),
        })
    }
}

#[inline]
fn values<'i>(inputs: &'i [(usize, Input<'_>)]) -> Few<(usize, Value<'i>)> {
    inputs.iter().map(|(index, input)| (*index, input.value())).collect()
}

fn delete(txn: &mut Transaction, table: &Table, key: Value<'_>) -> Result<bool, db::Error> {
    match txn.delete(table, key) {
        // No row has a key that its column cannot hold.
        Err(db::Error::Txn(TxnError::Row(RowError::TooLong { .. } | RowError::Range { .. }))) => Ok(false),
        outcome => outcome,
    }
}

fn set_null(
    txn: &mut Transaction,
    bound: &Bound,
    key: Value<'_>,
    columns: &[usize],
) -> Result<bool, db::Error> {
    let mut is_there = false;
    txn.modify(&bound.table, key, |row, image| {
        is_there = row.is_some();
        let Some(row) = row else { return Ok(Change::Keep) };
        image.copy_from(row);
        for &index in columns {
            image.set(&bound.schema, index, Value::Null)?;
        }
        Ok(Change::Put)
    })?;
    Ok(is_there)
}

/// Adds to columns of the row of that key, which is made if it is not there; the new values.
fn incr(
    txn: &mut Transaction,
    bound: &Bound,
    key: Value<'_>,
    amounts: &[(usize, Input<'_>)],
) -> Result<Obj, db::Error> {
    let schema = &*bound.schema;
    let mut sums: Vec<(usize, Value<'static>)> = Vec::with_capacity(amounts.len());
    txn.modify(&bound.table, key, |row, image| {
        if let Some(row) = row {
            image.copy_from(row);
        } else {
            image.reset(schema);
            image.set(schema, schema.key_index(), key)?;
        }
        sums.clear();
        for (index, amount) in amounts {
            let column = schema.column(*index);
            // A column may be named twice.
            let before = sums.iter().rfind(|(other, _)| other == index).map(|(_, sum)| *sum);
            let sum = match (before, row) {
                (Some(before), _) => sum(schema, *index, before, amount.value()),
                (None, Some(row)) => sum(schema, *index, row.get(*index), amount.value()),
                (None, None) => {
                    let before = column.default_value().unwrap_or(Value::Null);
                    sum(schema, *index, before, amount.value())
                }
            }?;
            image.set(schema, *index, sum)?;
            sums.push((*index, sum));
        }
        Ok(Change::Put)
    })?;
    Ok(Obj::list(&sums.into_iter().map(|(_, sum)| convert::write(sum)).collect::<Vec<_>>()))
}

/// The sum as a value of the column; null counts as 0.
fn sum(
    schema: &Schema,
    index: usize,
    before: Value<'_>,
    amount: Value<'_>,
) -> Result<Value<'static>, RowError> {
    let column = schema.column(index);
    let sum = match (before, amount) {
        (Value::F64(number), Value::F64(amount)) => Value::F64(number + amount),
        (Value::F32(number), Value::F64(amount)) => Value::F64(f64::from(number) + amount),
        (before, Value::I64(amount)) => {
            let number = match before {
                Value::I16(number) => number.into(),
                Value::I32(number) => number.into(),
                Value::I64(number) | Value::Timestamp(number) | Value::TimestampMicros(number) => number,
                _ => 0,
            };
            Value::I64(number.checked_add(amount).ok_or_else(|| RowError::Range {
                column: column.name().to_owned(),
                expected: column.column_type(),
                value: format!("{number} + {amount}"),
            })?)
        }
        _ => number(amount),
    };
    Ok(number(schema.coerce(index, sum)?))
}

/// The number, which borrows nothing; null for what is none.
fn number(value: Value<'_>) -> Value<'static> {
    match value {
        Value::I16(number) => Value::I16(number),
        Value::I32(number) => Value::I32(number),
        Value::I64(number) => Value::I64(number),
        Value::F32(number) => Value::F32(number),
        Value::F64(number) => Value::F64(number),
        Value::Timestamp(seconds) => Value::Timestamp(seconds),
        Value::TimestampMicros(micros) => Value::TimestampMicros(micros),
        _ => Value::Null,
    }
}

/// The columns and what is added to them.
fn amounts<'w>(bound: &Bound, pairs: &'w [Obj]) -> Result<Vec<(usize, Input<'w>)>, Error> {
    let mut amounts = Vec::with_capacity(pairs.len() / 2);
    for pair in pairs.chunks_exact(2) {
        let index = bound.column(&pair[0])?;
        let column = bound.schema.column(index);
        check_number(column)?;
        let amount = convert::read(column, &pair[1])?;
        if amount.value().is_null() {
            let message = format!(
                "bad amount \"{}\" for column \"{}\": must be a number",
                pair[1].quoted(),
                column.name()
            );
            return Err(Error::value(message).with(column.name()));
        }
        amounts.push((index, amount));
    }
    Ok(amounts)
}

fn check_number(column: &Column) -> Result<(), Error> {
    let kind = column.column_type();
    if kind.is_number() || matches!(kind, ColumnType::Timestamp | ColumnType::TimestampMicros) {
        return Ok(());
    }
    let message = format!("column \"{}\" is of type {kind}, which has no sums", column.name());
    Err(Error::value(message).with(column.name()))
}
