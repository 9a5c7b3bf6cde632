//! A process's handle on a table: where its root is, and what its rows look like.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::index::HashIndex;
use crate::mvcc::TableRoot;
use crate::row::{ColumnPlace, Copies, RowView, Schema, StoredImage, Value};
use crate::shm::{Arena, RelPtr, ShmError};
use crate::txn::TxnError;
use std::mem::offset_of;
use std::sync::Arc;

/// A table of an open database.
#[derive(Clone, Debug)]
pub struct TableRef {
    root: u64,
    id: u32,
    schema: Arc<Schema>,
    /// Whether it is used though it is dropped.
    even_dropped: bool,
}

impl TableRef {
    /// The table whose root lies at `root`.
    pub fn new(root: u64, id: u32, schema: Arc<Schema>) -> Self {
        Self { root, id, schema, even_dropped: false }
    }

    /// The same table by another of its definitions (J1 of `row::stored`).
    #[must_use]
    pub fn with_schema(&self, schema: Schema) -> Self {
        Self { schema: Arc::new(schema), ..self.clone() }
    }

    /// The table as somebody knows it who defines it so: it may have got columns since.
    ///
    /// # Errors
    /// `TableExists` when that is another definition.
    pub fn as_defined(&self, schema: &Schema) -> Result<Self, TxnError> {
        if *self.schema == *schema {
            return Ok(self.clone());
        }
        if self.schema.admits(schema) {
            return Ok(self.with_schema(schema.clone()));
        }
        let difference = self.schema.difference(schema).unwrap_or_default();
        Err(TxnError::TableExists { table: schema.name().to_owned(), difference })
    }

    /// The same table, for one that uses it though it is dropped: who checks it, or sees it as it was.
    pub(super) fn even_dropped(self) -> Self {
        Self { even_dropped: true, ..self }
    }

    /// Number of the table in log records.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What its rows look like.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Offset of the root.
    pub fn root_offset(&self) -> u64 {
        self.root
    }

    /// The shared root.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[inline]
    pub fn root<'g>(&self, guard: &Guard<'g>) -> Result<&'g TableRoot, ShmError> {
        guard.resolve(self.root)
    }

    /// The shared root of a table that is in use: what an operation on it begins with.
    ///
    /// # Errors
    /// `NoTable` once it is dropped (T2).
    #[inline]
    pub(super) fn in_use<'g>(&self, guard: &Guard<'g>) -> Result<&'g TableRoot, TxnError> {
        let root: &TableRoot = guard.resolve(self.root)?;
        if root.is_live() || self.even_dropped { Ok(root) } else { Err(self.gone()) }
    }

    /// Is it in use? Asked outside of any operation: roots stay.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn is_in_use(&self, arena: &Arena) -> Result<bool, ShmError> {
        Ok(arena.resolve::<TableRoot>(RelPtr::new(self.root))?.is_live())
    }

    /// The timestamp of its drop, if it was dropped. Asked outside of any operation.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn dropped_ts(&self, arena: &Arena) -> Result<Option<u64>, ShmError> {
        let root: &TableRoot = arena.resolve(RelPtr::new(self.root))?;
        Ok(Some(root.dropped_ts()).filter(|ts| *ts != 0))
    }

    /// Does it know all columns of the table? Asked outside of any operation.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn is_newest(&self, arena: &Arena) -> Result<bool, ShmError> {
        let root = arena.resolve::<TableRoot>(RelPtr::new(self.root))?;
        Ok(usize::try_from(root.columns()).is_ok_and(|columns| columns == self.columns()))
    }

    #[cold]
    fn gone(&self) -> TxnError {
        TxnError::NoTable { table: self.schema.name().to_owned() }
    }

    /// The key index of a table that is in use.
    ///
    /// # Errors
    /// `NoTable` once it is dropped.
    #[inline]
    pub(super) fn primary<'g>(&self, guard: &Guard<'g>) -> Result<HashIndex<'g>, TxnError> {
        let root = self.in_use(guard)?;
        Ok(HashIndex::new(&root.primary, self.root + offset_of!(TableRoot, primary) as u64))
    }

    /// The key index, for checks.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn primary_ever<'g>(&self, guard: &Guard<'g>) -> Result<HashIndex<'g>, ShmError> {
        primary_at(guard, self.root)
    }

    /// How many columns this handle knows of.
    #[inline]
    pub fn columns(&self) -> usize {
        self.schema.columns().len()
    }

    /// A row image of this table, or a copy of it in `copies` where it has not the columns of this handle (J2 of `row::stored`).
    ///
    /// # Errors
    /// When the image is not of this table: the mapping is damaged.
    #[inline]
    pub fn view<'a>(&'a self, image: StoredImage<'a>, copies: &'a Copies) -> Result<RowView<'a>, TxnError> {
        Ok(copies.view(&self.schema, image)?)
    }

    /// The key in a row image, whatever columns it has; in that of a tombstone too.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn key_of<'a>(&self, image: StoredImage<'a>) -> Result<Value<'a>, TxnError> {
        Ok(image.value(ColumnPlace::of(&self.schema, self.schema.key_index()))?)
    }

    /// Whether a row image has that key.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[inline]
    pub(super) fn has_key(&self, image: StoredImage<'_>, key: Value<'_>) -> Result<bool, TxnError> {
        // The key lies at one place in images of all definitions (J1).
        let place = ColumnPlace::of(&self.schema, self.schema.key_index());
        Ok(match key {
            Value::Str(text) => place.has_text(image.bytes(), text.as_bytes())?,
            _ => place.value(image.bytes())? == key,
        })
    }
}

/// The key index of the table whose root lies at `table`.
#[inline]
pub(super) fn primary_at<'g>(guard: &Guard<'g>, table: u64) -> Result<HashIndex<'g>, ShmError> {
    let root: &TableRoot = guard.resolve(table)?;
    Ok(HashIndex::new(&root.primary, table + offset_of!(TableRoot, primary) as u64))
}
