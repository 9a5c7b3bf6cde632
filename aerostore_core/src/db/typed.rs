//! A table whose rows are values of a Rust type.

#![forbid(unsafe_code)]

use crate::db::{Database, Error, Table, Transaction};
use crate::query::Query;
use crate::row::{Row, RowImage, Value};
use crate::txn::Upserted;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{ControlFlow, Deref};

/// A table whose rows are values of the type `R`, which [`#[speedtable]`](crate::row::speedtable) has made a row. It is a [`Table`] besides, and
/// goes wherever one does.
///
/// ```
/// use aerostore_core::db::{Database, TxnOptions};
/// use aerostore_core::query::Query;
/// use aerostore_core::row::speedtable;
///
/// #[speedtable]
/// pub struct Departure {
///     #[column(key, max = 8)]
///     flight: String,
///     #[column(max = 4)]
///     gate: Option<String>,
///     #[column(default = 0)]
///     delay_minutes: i32,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("aerostore-example-typed-{}", std::process::id());
/// # let (dir, shm) = (std::env::temp_dir().join(&name), std::path::Path::new("/dev/shm").join(name));
/// # let database = Database::builder(&dir).shm_path(&shm).max_bytes(64 << 20).open()?;
/// let board = database.typed_table::<Departure>()?;
/// let late = database.transaction(TxnOptions::default(), |txn| {
///     board.insert(txn, &Departure::new("SWR8K".to_owned()))?;
///     board.insert(txn, &Departure::new("DLH4".to_owned()))?;
///
///     let mut departure = board.get(txn, "DLH4")?.expect("it was inserted");
///     departure.set_delay_minutes(70);
///     board.update(txn, &mut departure)?; // writes what was set
///
///     board.find(txn, Query::filtered(Departure::DELAY_MINUTES.gt(15)))
/// })?;
/// assert_eq!((late.len(), late[0].flight(), late[0].delay_minutes()), (1, "DLH4", 70));
/// # database.close()?;
/// # std::fs::remove_dir_all(&dir)?;
/// # std::fs::remove_file(&shm)?;
/// # Ok(())
/// # }
/// ```
pub struct TypedTable<R> {
    table: Table,
    row: PhantomData<fn() -> R>,
}

impl<R: Row> TypedTable<R> {
    /// The row of that key, as this transaction sees it.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn get<'k>(&self, txn: &mut Transaction, key: impl Into<Value<'k>>) -> Result<Option<R>, Error> {
        Ok(txn.get(&self.table, key.into(), |row| R::decode(row))?.transpose()?)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// As [`Transaction::insert`]; `Type` when a value does not fit its column.
    pub fn insert(&self, txn: &mut Transaction, row: &R) -> Result<(), Error> {
        txn.insert(&self.table, &image(row)?)
    }

    /// Adds a row, or makes the row of its key equal to it.
    ///
    /// # Errors
    /// As [`Transaction::upsert`]; `Type` when a value does not fit its column.
    pub fn upsert(&self, txn: &mut Transaction, row: &R) -> Result<Upserted, Error> {
        txn.upsert(&self.table, &image(row)?)
    }

    /// Writes the columns that were set since the row was made or read, and keeps the others as they are in the table; makes the row if
    /// it is not there. Then no column of `row` counts as set.
    ///
    /// # Errors
    /// As [`Transaction::set`].
    pub fn update(&self, txn: &mut Transaction, row: &mut R) -> Result<Upserted, Error> {
        let key = R::schema().key_index();
        let columns = row.dirty().without(key).columns();
        let values: Vec<_> = columns.map(|column| (column, row.value(column))).collect();
        let upserted = txn.set(&self.table, row.value(key), &values)?;
        row.clear_dirty();
        Ok(upserted)
    }

    /// The rows that `query` asks for, in its order.
    ///
    /// # Errors
    /// As [`Transaction::find`].
    pub fn find(&self, txn: &mut Transaction, query: Query) -> Result<Vec<R>, Error> {
        let mut rows = Vec::new();
        txn.find(&self.table, query, &mut |row| {
            rows.push(R::decode(row));
            ControlFlow::Continue(())
        })?;
        Ok(rows.into_iter().collect::<Result<_, _>>()?)
    }
}

fn image<R: Row>(row: &R) -> Result<RowImage, Error> {
    let mut image = RowImage::new(R::schema());
    row.encode(&mut image)?;
    Ok(image)
}

impl Database {
    /// The table of rows of the type `R`, which is made if it is not there: see [`TypedTable`].
    ///
    /// # Errors
    /// As [`Database::create_table`].
    pub fn typed_table<R: Row>(&self) -> Result<TypedTable<R>, Error> {
        Ok(TypedTable { table: self.create_table(R::schema())?, row: PhantomData })
    }
}

impl<R> Deref for TypedTable<R> {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.table
    }
}

impl<R> Clone for TypedTable<R> {
    fn clone(&self) -> Self {
        Self { table: self.table.clone(), row: PhantomData }
    }
}

impl<R> fmt::Debug for TypedTable<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedTable").field(&self.table).finish()
    }
}
