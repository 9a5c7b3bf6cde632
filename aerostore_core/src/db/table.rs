//! A table of an open database.

#![forbid(unsafe_code)]

use crate::row::Schema;
use crate::txn::TableRef;
use std::sync::Arc;

/// What has become of a table since a handle on it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableStanding {
    /// It is as the handle says.
    Current,
    /// It has columns that the handle does not know of, and leaves as they are.
    Altered,
    /// It was dropped.
    Dropped,
}

/// A table; cheap to clone. Its rows are what its [`Schema`] says; [`TypedTable`](crate::db::TypedTable) has them as values of a Rust type.
///
/// ```
/// use aerostore_core::db::{Database, TxnOptions};
/// use aerostore_core::row::{Column, ColumnType, Schema, Value};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("aerostore-example-table-{}", std::process::id());
/// # let (dir, shm) = (std::env::temp_dir().join(&name), std::path::Path::new("/dev/shm").join(name));
/// # let database = Database::builder(&dir).shm_path(&shm).max_bytes(64 << 20).open()?;
/// let schema = Schema::builder("Gate")
///     .column(Column::new("gate", ColumnType::String(4)))
///     .column(Column::new("passengers", ColumnType::I32).nullable())
///     .key("gate")
///     .build()?;
/// let gates = database.create_table(&schema)?;
/// let passengers = gates.schema().find("passengers").expect("it has that column");
/// database.transaction(TxnOptions::default(), |txn| {
///     txn.set(&gates, Value::Str("B7"), &[(passengers, Value::I32(118))])
/// })?;
///
/// let mut txn = database.begin(TxnOptions { read_only: true, ..TxnOptions::default() })?;
/// assert_eq!(txn.get(&gates, Value::Str("B7"), |row| row.get(passengers).as_i64())?, Some(Some(118)));
/// # drop(txn);
/// assert_eq!(database.table("Gate")?.map(|table| table.name().to_owned()), Some("Gate".to_owned()));
/// # database.close()?;
/// # std::fs::remove_dir_all(&dir)?;
/// # std::fs::remove_file(&shm)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Table(pub(super) TableRef);

impl Table {
    /// The name.
    pub fn name(&self) -> &str {
        self.0.schema().name()
    }

    /// What its rows look like.
    pub fn schema(&self) -> &Arc<Schema> {
        self.0.schema()
    }

    /// The table's number in the log.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}
