//! Reading one row, as it is now.

#![forbid(unsafe_code)]

use crate::db::database::Inner;
use crate::db::{Database, Error, Table};
use crate::row::{RowView, Value};
use crate::txn::{Newest, Session, TxnOptions};

impl Database {
    /// Calls `f` with the row of that key, as it was last committed: what a transaction does that reads this row and nothing else, for less.
    ///
    /// ```
    /// # use aerostore_core::db::{Database, TxnOptions};
    /// # use aerostore_core::row::{Column, ColumnType, Schema, Value};
    /// # let dir = std::env::temp_dir().join(format!("aerostore-doc-get-{}", std::process::id()));
    /// # let db = Database::builder(&dir).shm_path(dir.with_extension("shm")).open()?;
    /// let seats = Schema::builder("Seats").column(Column::new("flight", ColumnType::String(8))).column(Column::new("free", ColumnType::I32));
    /// let seats = db.create_table(&seats.key("flight").build()?)?;
    /// db.transaction(TxnOptions::default(), |txn| txn.set(&seats, Value::Str("SWR8K"), &[(1, Value::I32(3))]))?;
    /// assert_eq!(db.get(&seats, Value::Str("SWR8K"), |row| row.get(1).as_i64())?, Some(Some(3)));
    /// assert_eq!(db.get(&seats, Value::Str("DLH4"), |_| ())?, None);
    /// # db.close()?;
    /// # std::fs::remove_dir_all(&dir)?;
    /// # std::fs::remove_file(dir.with_extension("shm"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Type` for a key of the wrong type; `NotFound` when the table is dropped; `Closed`; `Busy` when every session slot is taken.
    #[inline]
    pub fn get<R>(
        &self,
        table: &Table,
        key: Value<'_>,
        f: impl FnOnce(RowView<'_>) -> R,
    ) -> Result<Option<R>, Error> {
        let mut look = Look::begin(&self.0)?;
        match look.newest(table, key, f)? {
            Newest::Known(found) => Ok(found),
            Newest::Unsettled(f) => {
                drop(look);
                let mut txn = self.begin(TxnOptions { read_only: true, ..TxnOptions::default() })?;
                let found = txn.get(table, key, f)?;
                // There is nothing to commit, but what ends undecided asks the system which process this is. What `f` was shown
                // stays true if it has forked or closed the database.
                let _ = txn.commit();
                Ok(found)
            }
        }
    }
}

/// A session of the pool, for one look.
struct Look<'d> {
    session: Option<Box<Session>>,
    database: &'d Inner,
}

impl<'d> Look<'d> {
    #[inline]
    fn begin(database: &'d Inner) -> Result<Self, Error> {
        let session = database.session()?;
        // What is shown may fork: the child leaves the parent's interval alone.
        session.participant().begin();
        Ok(Self { session: Some(session), database })
    }

    #[inline]
    fn newest<R, F: FnOnce(RowView<'_>) -> R>(
        &mut self,
        table: &Table,
        key: Value<'_>,
        f: F,
    ) -> Result<Newest<R, F>, Error> {
        match &mut self.session {
            Some(session) => Ok(session.read_newest(&table.0, key, f)?),
            None => Err(Error::Closed),
        }
    }
}

impl Drop for Look<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        if self.database.is_forked() {
            std::mem::forget(session); // the parent's, as with a transaction
        } else {
            session.participant().end();
            self.database.pool().put(session);
        }
    }
}
