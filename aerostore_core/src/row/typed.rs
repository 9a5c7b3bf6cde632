//! Rows as Rust structs: what `#[speedtable]` implements.
#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::delta;
use super::error::RowError;
use super::field::Field;
use super::image::RowImage;
use super::kind::Layout;
use super::mask::{DirtyMask, NullMask};
use super::schema::Schema;
use super::value::Value;
use super::view::RowView;

/// A Rust struct whose fields are a table's columns. `#[speedtable]` writes the implementation.
pub trait Row: Sized {
    /// The table's name.
    const NAME: &'static str;
    /// Where the columns lie in an image.
    const LAYOUT: Layout;

    /// The table's definition, built once.
    fn schema() -> &'static Arc<Schema>;

    /// Makes `image` this row's, finished.
    ///
    /// # Errors
    /// What [`RowImage::set`] reports for a value that its column does not take: NaN, a text too long, a NUL.
    fn encode(&self, image: &mut RowImage) -> Result<(), RowError>;

    /// The row in an image; no column is dirty.
    ///
    /// # Errors
    /// [`RowError::SchemaMismatch`] for an image of another layout.
    fn decode(view: RowView<'_>) -> Result<Self, RowError>;

    /// The value of column `index`.
    ///
    /// # Panics
    /// When there is no such column.
    fn value(&self, index: usize) -> Value<'_>;

    /// Sets column `index`, and marks it dirty.
    ///
    /// # Errors
    /// What [`RowImage::set`] reports for a value that the column does not take.
    ///
    /// # Panics
    /// When there is no such column.
    fn set_value(&mut self, index: usize, value: Value<'_>) -> Result<(), RowError>;

    /// The columns that are null.
    fn nulls(&self) -> NullMask;

    /// The columns that were set since the row was made or read.
    fn dirty(&self) -> DirtyMask;

    /// Forgets which columns were set.
    fn clear_dirty(&mut self);

    /// Appends the key and the dirty columns to `out`, as [`delta::decode_into`] and
    /// [`apply_delta`](Self::apply_delta) read them.
    ///
    /// # Errors
    /// What [`RowImage::set`] reports for a value that its column does not take; `out` is as before then.
    fn encode_delta(&self, out: &mut Vec<u8>) -> Result<(), RowError> {
        let schema = Self::schema();
        let mask = self.dirty().with(schema.key_index());
        let start = out.len();
        delta::encode_values(schema, mask, |index| self.value(index), out)
            .inspect_err(|_| out.truncate(start))
    }

    /// Sets the columns of the delta at the start of `bytes`, and returns how many bytes it took.
    ///
    /// # Errors
    /// What [`delta::decode_into`] reports; the row is as before then.
    fn apply_delta(&mut self, bytes: &[u8]) -> Result<usize, RowError> {
        let schema = Self::schema();
        let taken = delta::for_each(schema, bytes, |index, value| schema.accept(index, value).map(drop))?;
        delta::for_each(schema, bytes, |index, value| self.set_value(index, value))?;
        Ok(taken)
    }
}

/// A column of row type `R` whose values, when not null, are `T`.
pub struct TypedColumn<R, T> {
    index: usize,
    name: &'static str,
    row: PhantomData<fn() -> (R, T)>,
}

impl<R, T> TypedColumn<R, T> {
    /// Column `index`, of this name: what `#[speedtable]` makes for each field.
    pub const fn new(index: usize, name: &'static str) -> Self {
        Self { index, name, row: PhantomData }
    }

    /// Its index in the schema.
    pub const fn index(self) -> usize {
        self.index
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl<R: Row, T: Field> TypedColumn<R, T> {
    /// Bytes from the start of an image to its values.
    pub const fn offset(self) -> usize {
        R::LAYOUT.offset(self.index) as usize
    }

    /// Its value in a row of `R`'s table; `None` when null.
    ///
    /// # Panics
    /// When `view` is of a table with fewer columns.
    #[inline]
    pub fn get(self, view: RowView<'_>) -> Option<T::Ref<'_>> {
        T::from_value(view.get(self.index))
    }
}

impl<R, T> Clone for TypedColumn<R, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R, T> Copy for TypedColumn<R, T> {}

impl<R, T> fmt::Debug for TypedColumn<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedColumn")
            .field("index", &self.index)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
