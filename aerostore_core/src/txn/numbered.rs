//! Rows of a table that numbers them: C5 of `mvcc::table`.
#![forbid(unsafe_code)]

use crate::mvcc::TableRoot;
use crate::row::{RowError, Schema, Value};
use crate::shm::Reserve;
use crate::txn::{Change, TableRef, Transaction, TxnError};

impl Transaction {
    /// Adds a row with these columns under a number that the table gives it, which is returned. Numbers begin with 0 and grow; those of
    /// transactions that fail are not given again.
    ///
    /// # Errors
    /// `Row` when a value does not fit its column, when the table does not number its rows, or has no number left; `Serialization`;
    /// `OutOfSpace`.
    pub fn insert_numbered(
        &mut self,
        table: &TableRef,
        values: &[(usize, Value<'_>)],
    ) -> Result<i64, TxnError> {
        let schema = table.schema();
        loop {
            let number = self.take_key(table)?;
            let key = Value::I64(number);
            let mut is_taken = false;
            let inserted = self.write(table, key, Reserve::No, &mut |current, next| {
                is_taken = current.is_some();
                if is_taken {
                    return Ok(Change::Keep);
                }
                next.reset(schema);
                next.set(schema, schema.key_index(), key)?;
                next.set_all(schema, values)?;
                Ok(Change::Put)
            });
            inserted?;
            if !is_taken {
                return Ok(number);
            }
        }
    }

    fn take_key(&self, table: &TableRef) -> Result<i64, TxnError> {
        let schema = table.schema();
        if !schema.has_numbered_key() {
            return Err(RowError::NotNull { column: schema.key_column().name().to_owned() }.into());
        }
        let guard = self.session()?.participant.pin();
        let number = table.in_use(&guard)?.take_key();
        number.ok_or_else(|| {
            let (column, expected) =
                (schema.key_column().name().to_owned(), schema.key_column().column_type());
            RowError::Range { column, expected, value: "the number after the greatest".to_owned() }.into()
        })
    }

    /// See [`note_numbered_key`].
    pub(super) fn note_numbered_key(&self, table: &TableRef, key: Value<'_>) -> Result<(), TxnError> {
        if table.schema().has_numbered_key() {
            let guard = self.session()?.participant.pin();
            note_numbered_key(table.in_use(&guard)?, table.schema(), key);
        }
        Ok(())
    }
}

/// A row is about to be linked under this key (C5).
pub(super) fn note_numbered_key(root: &TableRoot, schema: &Schema, key: Value<'_>) {
    if let (true, Value::I64(number)) = (schema.has_numbered_key(), key) {
        root.note_key(number);
    }
}
