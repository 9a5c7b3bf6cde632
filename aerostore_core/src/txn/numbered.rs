//! Rows of a table that numbers them: C5 of `mvcc::table`.
#![forbid(unsafe_code)]

use crate::mvcc::{BeginWord, NEVER, NUMBERS_END, RowHeader, TableRoot, VersionRef};
use crate::row::{RowError, Schema, Value};
use crate::shm::{Reserve, tagged_slabs};
use crate::txn::{Change, TableRef, Transaction, TxnError};

impl Transaction {
    /// Adds a row with these columns under a number that the table gives it, which is returned. Numbers begin with 0 and grow; those of
    /// transactions that fail are not given again, unless numbers were used up (C5).
    ///
    /// # Errors
    /// `Row` when a value does not fit its column, or the table does not number its rows; `NoNumber`; `Serialization`; `OutOfSpace`.
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
        loop {
            let number = table.in_use(&self.session()?.participant.pin())?.take_key();
            if let Some(number) = number {
                return Ok(number);
            }
            self.restart_numbers(table)?;
        }
    }

    /// Lets the numbers go on behind the greatest key of any row, when they are used up (C5).
    #[cold]
    fn restart_numbers(&self, table: &TableRef) -> Result<(), TxnError> {
        let session = self.session()?;
        let slabs = tagged_slabs(session.arena(), &table.in_use(&session.participant.pin())?.rows)?;
        let mut next = 0;
        for slab in slabs {
            let guard = session.participant.pin();
            table.in_use(&guard)?; // T9
            for row in guard.live_blocks(slab)? {
                let head = guard.protect(&guard.resolve::<RowHeader>(row)?.head);
                if head == 0 {
                    continue;
                }
                let version = VersionRef::resolve(&guard, head)?;
                if version.is_tombstone() || version.begin(&guard) == BeginWord::Stamped(NEVER) {
                    continue;
                }
                if let Value::I64(key) = table.key_of(version.image())?
                    && let Ok(key) = u64::try_from(key)
                    && key < NUMBERS_END
                {
                    next = next.max(key + 1);
                }
            }
        }
        if next >= NUMBERS_END {
            let (table, key) = (table.schema().name().to_owned(), next - 1);
            return Err(TxnError::NoNumber { table, key });
        }
        table.in_use(&session.participant.pin())?.restart_keys(next);
        Ok(())
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
