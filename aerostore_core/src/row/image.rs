//! Builds a row image: the reusable buffer between a caller's values and a stored version.
//!
//! Shape       `bytes` is the image itself; texts are appended to the tail as they come. `finish` applies defaults,
//!             checks what is missing, and brings the tail into column order if it is not.
//! Invariants  I1: behind `tail_end` lies only padding. I2: unless `ragged`, the tail holds exactly the texts of the row, in
//!             column order without gaps. I3: until `finish`, an unassigned column is null in the mask.
#![forbid(unsafe_code)]

use super::bytes::{put_at, u32_at, u64_at};
use super::coerce::is_stored_form;
use super::error::RowError;
use super::fixed::is_trimmed_to;
use super::kind::{ColumnType, MAX_COLUMNS, MAX_IMAGE_BYTES};
use super::mask::{DirtyMask, NullMask};
use super::schema::{Schema, Slot};
use super::value::Value;
use super::view::{RowView, inet_bytes};

/// A row being put together. Made once and reset for each row, it allocates nothing in the long run.
///
/// ```
/// use aerostore_core::row::{Column, ColumnType, RowImage, Schema, Value};
///
/// let schema = Schema::builder("Fix")
///     .column(Column::new("ident", ColumnType::FixedString(8)))
///     .column(Column::new("alt", ColumnType::I32).nullable())
///     .key("ident")
///     .build()?;
/// let mut image = RowImage::new(&schema);
/// image.set(&schema, 0, Value::Str("BEL3881"))?;
/// image.set(&schema, 1, Value::I64(34_975))?;
/// image.finish(&schema)?;
/// assert_eq!(image.view(&schema)?.get(1), Value::I32(34_975));
/// # Ok::<(), aerostore_core::row::RowError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RowImage {
    bytes: Vec<u8>,
    scratch: Vec<u8>,
    layout_hash: u64,
    /// Columns that were set, or came from another row.
    assigned: DirtyMask,
    tail_end: usize,
    /// The most bytes that it may take.
    limit: usize,
    /// The first column whose text may still be appended in order.
    next_text: usize,
    ragged: bool,
    finished: bool,
}

impl RowImage {
    /// A row without any column set.
    pub fn new(schema: &Schema) -> Self {
        let mut image = Self {
            bytes: Vec::new(),
            scratch: Vec::new(),
            layout_hash: 0,
            assigned: DirtyMask::EMPTY,
            tail_end: 0,
            limit: 0,
            next_text: 0,
            ragged: false,
            finished: false,
        };
        image.reset(schema);
        image
    }

    /// A row that starts as a copy of `view`.
    pub fn from_view(view: RowView<'_>) -> Self {
        let mut image = Self::new(view.schema());
        image.copy_from(view);
        image
    }

    /// Starts another row, keeping the memory.
    #[inline]
    pub fn reset(&mut self, schema: &Schema) {
        self.bytes.clear();
        self.bytes.resize(schema.fixed_bytes(), 0);
        put_at(&mut self.bytes, 0, schema.all().0.to_le_bytes());
        self.layout_hash = schema.layout_hash();
        self.assigned = DirtyMask::EMPTY;
        self.tail_end = schema.fixed_bytes();
        self.limit = MAX_IMAGE_BYTES as usize;
        self.next_text = 0;
        self.ragged = false;
        self.finished = false;
    }

    /// Starts another row as a copy of `view`, keeping the memory. It may be as wide as that one, if its table's added columns have made that wider
    /// than a row can be.
    #[inline]
    pub fn copy_from(&mut self, view: RowView<'_>) {
        let schema = view.schema();
        self.bytes.clear();
        self.bytes.extend_from_slice(view.bytes());
        self.layout_hash = schema.layout_hash();
        self.assigned = DirtyMask(schema.all().0);
        self.tail_end = schema.fixed_bytes();
        self.next_text = 0;
        self.ragged = false;
        self.finished = false;
        for index in schema.texts().columns() {
            let at = schema.offset(index);
            let (start, length) = (u32_at(&self.bytes, at) as usize, u32_at(&self.bytes, at + 4) as usize);
            if length > 0 {
                self.ragged |= start != self.tail_end;
                self.tail_end = self.tail_end.max(start + length);
                self.next_text = index + 1;
            }
        }
        self.bytes.truncate(self.tail_end);
        self.limit = self.tail_end.next_multiple_of(8).max(MAX_IMAGE_BYTES as usize);
    }

    /// Lets the row that was begun be as wide as may be, one that is not stored, or was committed (J10 of `row::stored`); the limit that it had.
    #[inline]
    pub(crate) fn lift_limit(&mut self) -> usize {
        std::mem::replace(&mut self.limit, u32::MAX as usize)
    }

    /// Gives it one again.
    #[inline]
    pub(super) fn limit_to(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// Puts `value` into column `index`.
    ///
    /// # Errors
    /// [`RowError::Type`], [`RowError::Range`], [`RowError::NotFinite`], [`RowError::TooLong`], [`RowError::Nul`],
    /// [`RowError::NotNull`], [`RowError::EmptyKey`] for a value that the column does not take,
    /// [`RowError::TooWide`] when the row would exceed its limit, [`RowError::SchemaMismatch`] when the row was begun
    /// with another schema. The row is as before then.
    ///
    /// # Panics
    /// When there is no such column.
    #[inline]
    pub fn set(&mut self, schema: &Schema, index: usize, value: Value<'_>) -> Result<(), RowError> {
        self.check_schema(schema)?;
        self.set_checked(schema, index, &value)
    }

    /// Puts values into columns, one after the other.
    ///
    /// # Errors
    /// What [`set`](Self::set) reports; the columns before the bad one are set then.
    ///
    /// # Panics
    /// When there is no such column.
    pub(crate) fn set_all(&mut self, schema: &Schema, values: &[(usize, Value<'_>)]) -> Result<(), RowError> {
        self.check_schema(schema)?;
        for (index, value) in values {
            self.set_checked(schema, *index, value)?;
        }
        Ok(())
    }

    /// [`set`](Self::set) for a schema that is the row's.
    #[expect(
        clippy::inline_always,
        reason = "a value passed to a call is copied first, which costs what the rest does"
    )]
    #[inline(always)]
    fn set_checked(&mut self, schema: &Schema, index: usize, value: &Value<'_>) -> Result<(), RowError> {
        let Slot { kind, offset, .. } = schema.slot(index);
        let at = offset as usize;
        // The common cases: the value is what the column stores, be it the key or not, and its place is the slot.
        match (kind, *value) {
            (ColumnType::Bool, Value::Bool(flag)) => self.bytes[at] = u8::from(flag),
            (ColumnType::I16, Value::I16(number)) => put_at(&mut self.bytes, at, number.to_le_bytes()),
            (ColumnType::I32, Value::I32(number)) => put_at(&mut self.bytes, at, number.to_le_bytes()),
            (ColumnType::I64, Value::I64(number))
            | (ColumnType::Timestamp, Value::Timestamp(number))
            | (ColumnType::TimestampMicros, Value::TimestampMicros(number)) => {
                put_at(&mut self.bytes, at, number.to_le_bytes());
            }
            // Adding positive zero turns -0.0 into 0.0 and nothing else.
            (ColumnType::F64, Value::F64(number)) if number.is_finite() => {
                put_at(&mut self.bytes, at, (number + 0.0).to_le_bytes());
            }
            _ => return self.set_any(schema, index, value),
        }
        self.mark(index, false);
        Ok(())
    }

    /// [`set`](Self::set) for every case, apart, so that the common ones stay small.
    #[inline(never)]
    fn set_any(&mut self, schema: &Schema, index: usize, value: &Value<'_>) -> Result<(), RowError> {
        let value = *value;
        let kind = schema.slot(index).kind;
        let value = if is_stored_form(kind, value) { value } else { schema.accept(index, value)? };
        self.put(schema, index, value)?;
        self.mark(index, value.is_null());
        Ok(())
    }

    /// Notes that column `index`, which is there, was written.
    #[inline]
    fn mark(&mut self, index: usize, null: bool) {
        // A column that is there is one of 64, which spares looking.
        let column = 1 << (index % MAX_COLUMNS);
        let nulls = u64_at(&self.bytes, 0) & !column;
        let nulls = if null { nulls | column } else { nulls };
        put_at(&mut self.bytes, 0, nulls.to_le_bytes());
        self.assigned.0 |= column;
        self.finished = false;
    }

    /// The columns that were set since the row was begun; all of them when it began as a copy.
    #[inline]
    pub fn assigned(&self) -> DirtyMask {
        self.assigned
    }

    /// Makes the row complete: sets defaults where nothing was set, and puts the image in its one form. More columns
    /// may be set afterwards; then it is to be finished again.
    ///
    /// # Errors
    /// [`RowError::NotNull`] for a column without a value that must have one, [`RowError::TooWide`],
    /// [`RowError::SchemaMismatch`].
    #[inline]
    pub fn finish(&mut self, schema: &Schema) -> Result<(), RowError> {
        // A copy of a row without texts in which columns were set: it has its one form already.
        if self.layout_hash == schema.layout_hash()
            && self.assigned.0 == schema.all().0
            && self.tail_end == schema.fixed_bytes()
            && self.bytes.len() == self.tail_end
            && !self.ragged
        {
            self.finished = true;
            return Ok(());
        }
        self.finish_any(schema)
    }

    /// [`finish`](Self::finish) for every case, apart, so that the common one stays small.
    #[inline(never)]
    fn finish_any(&mut self, schema: &Schema) -> Result<(), RowError> {
        self.check_schema(schema)?;
        let unassigned = schema.all().0 & !self.assigned.0;
        if unassigned != 0 {
            self.fill(schema, NullMask(unassigned))?;
        }
        if self.ragged {
            self.compact(schema);
        }
        let padded = self.tail_end.next_multiple_of(8);
        if padded > self.limit {
            return Err(RowError::TooWide { found_bytes: padded as u64 });
        }
        self.bytes.truncate(self.tail_end);
        self.bytes.resize(padded, 0);
        self.finished = true;
        Ok(())
    }

    /// The image, padded to 8 bytes.
    ///
    /// # Panics
    /// When the row is not finished.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        assert!(self.finished, "the row is not finished");
        &self.bytes
    }

    /// The row as it is now, finished or not; columns that are not set yet are null.
    ///
    /// # Errors
    /// [`RowError::SchemaMismatch`].
    #[inline]
    pub fn view<'a>(&'a self, schema: &'a Schema) -> Result<RowView<'a>, RowError> {
        self.check_schema(schema)?;
        RowView::new(schema, &self.bytes)
    }

    /// Whether column `index` has this value, as comparing it with what [`RowView::get`] returns says.
    ///
    /// # Errors
    /// [`RowError::SchemaMismatch`].
    ///
    /// # Panics
    /// When there is no such column.
    #[inline]
    pub(crate) fn has(&self, schema: &Schema, index: usize, value: Value<'_>) -> Result<bool, RowError> {
        self.check_schema(schema)?;
        let Slot { kind, offset, end } = schema.slot(index);
        // Bytes that equal a string are that string: only a difference needs to know how far the bytes are UTF-8.
        if let (ColumnType::FixedString(_), Value::Str(text)) = (kind, value)
            && !NullMask(u64_at(&self.bytes, 0)).contains(index)
            && is_trimmed_to(&self.bytes[offset as usize..end as usize], text.as_bytes())
        {
            return Ok(true);
        }
        self.compares_equal(schema, index, value)
    }

    /// [`has`](Self::has) for every case.
    #[inline(never)]
    fn compares_equal(&self, schema: &Schema, index: usize, value: Value<'_>) -> Result<bool, RowError> {
        let view = self.view(schema)?;
        if let Value::Str(text) = value
            && view.string_bytes(index) == Some(text.as_bytes())
        {
            return Ok(true);
        }
        Ok(view.get(index) == value)
    }

    /// Whether [`finish`](Self::finish) succeeded after the last change.
    #[inline]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    #[inline]
    fn check_schema(&self, schema: &Schema) -> Result<(), RowError> {
        if self.layout_hash == schema.layout_hash() {
            return Ok(());
        }
        Err(mismatch(schema))
    }

    /// Gives unassigned columns their defaults; without one they are null already.
    fn fill(&mut self, schema: &Schema, unassigned: NullMask) -> Result<(), RowError> {
        for index in unassigned.columns() {
            let column = schema.column(index);
            match column.default_value() {
                Some(value) => self.set(schema, index, value)?,
                None if column.is_nullable() => {}
                None => return Err(RowError::NotNull { column: column.name().to_owned() }),
            }
        }
        Ok(())
    }

    /// Writes a value that `coerce` let through.
    fn put(&mut self, schema: &Schema, index: usize, value: Value<'_>) -> Result<(), RowError> {
        let slot = schema.slot(index);
        let at = slot.offset as usize;
        match value {
            Value::Null => self.clear_slot(slot),
            Value::Bool(flag) => self.bytes[at] = u8::from(flag),
            Value::I16(number) => put_at(&mut self.bytes, at, number.to_le_bytes()),
            Value::I32(number) => put_at(&mut self.bytes, at, number.to_le_bytes()),
            Value::I64(number) | Value::Timestamp(number) | Value::TimestampMicros(number) => {
                put_at(&mut self.bytes, at, number.to_le_bytes());
            }
            Value::F32(number) => put_at(&mut self.bytes, at, number.to_le_bytes()),
            Value::F64(number) => put_at(&mut self.bytes, at, number.to_le_bytes()),
            Value::Char(letter) => put_at(&mut self.bytes, at, u32::from(letter).to_le_bytes()),
            Value::Inet(address) => put_at(&mut self.bytes, at, inet_bytes(address)),
            Value::Mac(octets) => put_at(&mut self.bytes, at, octets),
            Value::Str(text) => self.put_text(schema, index, text)?,
        }
        Ok(())
    }

    /// Zeroes a slot; a text in the tail becomes garbage.
    fn clear_slot(&mut self, slot: Slot) {
        let at = slot.offset as usize;
        if matches!(slot.kind, ColumnType::String(_)) {
            self.ragged |= u32_at(&self.bytes, at + 4) != 0;
        }
        self.bytes[at..at + slot.kind.fixed_bytes() as usize].fill(0);
    }

    fn put_text(&mut self, schema: &Schema, index: usize, text: &str) -> Result<(), RowError> {
        let slot = schema.slot(index);
        let at = slot.offset as usize;
        if let ColumnType::FixedString(width) = slot.kind {
            let (head, padding) = self.bytes[at..at + usize::from(width)].split_at_mut(text.len());
            head.copy_from_slice(text.as_bytes());
            padding.fill(0);
            return Ok(());
        }
        let old_length = u32_at(&self.bytes, at + 4) as usize;
        if old_length == text.len() && old_length > 0 {
            let start = u32_at(&self.bytes, at) as usize;
            self.bytes[start..start + old_length].copy_from_slice(text.as_bytes());
            return Ok(());
        }
        if text.is_empty() {
            self.clear_slot(slot);
            return Ok(());
        }
        self.append_text(schema, index, text)
    }

    /// Appends `text` to the tail. What it replaces becomes garbage, which is removed early if the row would get too wide.
    fn append_text(&mut self, schema: &Schema, index: usize, text: &str) -> Result<(), RowError> {
        let slot = schema.slot(index);
        let at = slot.offset as usize;
        let limit = self.limit - text.len().min(self.limit);
        if self.tail_end > limit && self.ragged {
            self.compact(schema);
        }
        let old_length = u32_at(&self.bytes, at + 4) as usize;
        if self.tail_end - old_length > limit {
            return Err(RowError::TooWide { found_bytes: (self.tail_end - old_length + text.len()) as u64 });
        }
        self.clear_slot(slot);
        if self.tail_end > limit {
            self.compact(schema);
        }
        let place = [self.tail_end, text.len()].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        put_at(&mut self.bytes, at, place[0].to_le_bytes());
        put_at(&mut self.bytes, at + 4, place[1].to_le_bytes());
        self.bytes.truncate(self.tail_end);
        self.bytes.extend_from_slice(text.as_bytes());
        self.tail_end = self.bytes.len();
        self.ragged |= index < self.next_text;
        self.next_text = index + 1;
        Ok(())
    }

    /// Brings the tail into column order, without gaps.
    fn compact(&mut self, schema: &Schema) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.bytes[..schema.fixed_bytes()]);
        self.next_text = 0;
        for index in schema.texts().columns() {
            let at = schema.offset(index);
            let (start, length) = (u32_at(&self.bytes, at) as usize, u32_at(&self.bytes, at + 4) as usize);
            if length > 0 {
                let moved = u32::try_from(self.scratch.len()).unwrap_or(u32::MAX);
                put_at(&mut self.scratch, at, moved.to_le_bytes());
                self.scratch.extend_from_slice(&self.bytes[start..start + length]);
                self.next_text = index + 1;
            } else {
                put_at(&mut self.scratch, at, [0; 8]);
            }
        }
        std::mem::swap(&mut self.bytes, &mut self.scratch);
        self.tail_end = self.bytes.len();
        self.ragged = false;
    }
}

#[cold]
fn mismatch(schema: &Schema) -> RowError {
    RowError::SchemaMismatch { table: schema.name().to_owned() }
}

#[cfg(test)]
mod tests;
