//! Reads a row image in place.
//!
//! Reading never panics, whatever the bytes: [`RowView::new`] checks all lengths, and a value that cannot be (text that is
//! no UTF-8, a character that is none) reads as the part that can. [`RowView::check`] reports such damage.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;

use super::bytes::{array_at, u32_at, u64_at};
use super::error::RowError;
use super::fixed::{is_text, trim, valid_text};
use super::kind::{ColumnType, INET_BYTES, MAX_IMAGE_BYTES};
use super::mask::NullMask;
use super::schema::{Schema, Slot};
use super::value::Value;

/// Who is shown rows, some at a time. Breaks with the place of the last row that is wanted, of those it was shown.
pub type VisitRows<'f> = dyn FnMut(&[RowView<'_>]) -> ControlFlow<usize> + 'f;

/// Shows `f` one row after the other, until it breaks.
pub fn each_row(
    mut f: impl FnMut(RowView<'_>) -> ControlFlow<()>,
) -> impl FnMut(&[RowView<'_>]) -> ControlFlow<usize> {
    move |rows| match rows.iter().position(|row| f(*row).is_break()) {
        Some(place) => ControlFlow::Break(place),
        None => ControlFlow::Continue(()),
    }
}

/// A row image with the schema to read it by.
#[derive(Clone, Copy)]
pub struct RowView<'a> {
    schema: &'a Schema,
    bytes: &'a [u8],
}

impl<'a> RowView<'a> {
    /// A view of `bytes`; what follows the image is ignored.
    ///
    /// # Errors
    /// [`RowError::Truncated`] when the fixed part or a text is not all there, [`RowError::Corrupt`] for a text that
    /// claims to lie within the fixed part.
    #[inline]
    pub fn new(schema: &'a Schema, bytes: &'a [u8]) -> Result<Self, RowError> {
        if bytes.len() < schema.fixed_bytes() {
            return Err(truncated(schema.fixed_bytes() as u64, bytes));
        }
        let view = Self { schema, bytes };
        if !schema.texts().is_empty() {
            view.check_texts()?;
        }
        Ok(view)
    }

    /// Apart, so that [`new`](Self::new) stays small enough to be inlined.
    #[inline(never)]
    fn check_texts(&self) -> Result<(), RowError> {
        self.schema.texts().columns().try_for_each(|index| self.check_text_bounds(self.schema.slot(index)))
    }

    /// The schema it is read by.
    #[inline]
    pub fn schema(&self) -> &'a Schema {
        self.schema
    }

    /// The bytes it was made from.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The columns that are null.
    #[inline]
    pub fn nulls(&self) -> NullMask {
        NullMask(u64_at(self.bytes, 0))
    }

    /// Whether column `index` is null.
    #[inline]
    pub fn is_null(&self, index: usize) -> bool {
        self.nulls().contains(index)
    }

    /// The value of column `index`.
    ///
    /// # Panics
    /// When there is no such column.
    #[inline]
    pub fn get(&self, index: usize) -> Value<'a> {
        if self.is_null(index) {
            return Value::Null;
        }
        slot_value(self.bytes, self.schema.slot(index))
    }

    /// The bytes of a string column, unchecked; `None` when it is null or no string. Comparing these orders strings
    /// without the cost of proving them UTF-8.
    ///
    /// # Panics
    /// When there is no such column.
    #[inline]
    pub fn string_bytes(&self, index: usize) -> Option<&'a [u8]> {
        let slot = self.schema.slot(index);
        (slot.kind.is_string() && !self.is_null(index)).then(|| self.text_bytes(slot))
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> Value<'a> {
        self.get(self.schema.key_index())
    }

    /// All values in column order.
    pub fn values(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let view = *self;
        (0..self.schema.columns().len()).map(move |index| view.get(index))
    }

    /// Looks for damage in every value: for bytes that come from a file.
    ///
    /// # Errors
    /// [`RowError::Corrupt`] with the offset of the first bad value.
    pub fn check(&self) -> Result<(), RowError> {
        let corrupt = |at: usize, reason| RowError::Corrupt { what: "row", offset: at as u64, reason };
        if self.nulls().0 & !self.schema.all().0 != 0 {
            return Err(corrupt(0, "a null that is no column's"));
        }
        if self.nulls().0 & self.schema.required().0 != 0 {
            return Err(corrupt(0, "null in a column that has none"));
        }
        for index in NullMask(self.schema.all().0 & !self.nulls().0).columns() {
            let slot = self.schema.slot(index);
            if let Some(reason) = self.damage(slot) {
                return Err(corrupt(slot.offset as usize, reason));
            }
        }
        if self.string_bytes(self.schema.key_index()).is_some_and(<[u8]>::is_empty) {
            return Err(corrupt(self.schema.offset(self.schema.key_index()), "empty key"));
        }
        Ok(())
    }

    #[inline]
    fn damage(&self, slot: Slot) -> Option<&'static str> {
        let at = slot.offset as usize;
        let (bad, reason) = match slot.kind {
            ColumnType::Bool => (self.bytes[at] > 1, "neither true nor false"),
            ColumnType::F32 => {
                (!f32::from_le_bytes(array_at(self.bytes, at)).is_finite(), "not a finite number")
            }
            ColumnType::F64 => {
                (!f64::from_le_bytes(array_at(self.bytes, at)).is_finite(), "not a finite number")
            }
            ColumnType::Char => {
                (char::from_u32(u32_at(self.bytes, at)).is_none_or(|c| c == '\0'), "not a character")
            }
            ColumnType::Inet => {
                let stored: [u8; INET_BYTES] = array_at(self.bytes, at);
                (inet_bytes(inet_from(stored)) != stored, "not an address")
            }
            ColumnType::FixedString(width) => {
                let text = self.text_bytes(slot);
                let padding = &self.bytes[at + text.len()..at + usize::from(width)];
                (!is_text(text) || padding.iter().fold(0, |all, byte| all | byte) != 0, "not a padded string")
            }
            ColumnType::String(max_bytes) => {
                let text = self.text_bytes(slot);
                let clean = is_text(text) && memchr::memchr(0, text).is_none();
                (!clean || text.len() > max_bytes as usize, "not a string of this column")
            }
            _ => (false, ""),
        };
        bad.then_some(reason)
    }

    /// The text of a string column that is not null.
    #[inline]
    pub(super) fn text_bytes(&self, slot: Slot) -> &'a [u8] {
        text_bytes(self.bytes, slot)
    }

    /// Establishes what `text_bytes` relies on, also for nulls, whose place and length are zero.
    #[inline]
    fn check_text_bounds(&self, slot: Slot) -> Result<(), RowError> {
        let at = slot.offset as usize;
        let start = u32_at(self.bytes, at);
        let length = u32_at(self.bytes, at + 4);
        if length == 0 {
            let reason = "an empty text that has a place";
            let corrupt = RowError::Corrupt { what: "row", offset: u64::from(slot.offset), reason };
            return if start == 0 { Ok(()) } else { Err(corrupt) };
        }
        let end = u64::from(start) + u64::from(length);
        if end > self.bytes.len() as u64 {
            return Err(truncated(end, self.bytes));
        }
        if (start as usize) < self.schema.fixed_bytes() || length > MAX_IMAGE_BYTES {
            let reason = "text outside the tail";
            return Err(RowError::Corrupt { what: "row", offset: u64::from(slot.offset), reason });
        }
        Ok(())
    }
}

impl fmt::Debug for RowView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.schema.columns().iter().map(super::schema::Column::name);
        f.debug_map().entries(names.zip(self.values())).finish()
    }
}

/// The value in a slot of an image that reaches so far, and as far as the text that the slot names; it is not null.
#[inline]
pub(super) fn slot_value(image: &[u8], slot: Slot) -> Value<'_> {
    let at = slot.offset as usize;
    match slot.kind {
        ColumnType::Bool => Value::Bool(image[at] != 0),
        ColumnType::I16 => Value::I16(i16::from_le_bytes(array_at(image, at))),
        ColumnType::I32 => Value::I32(i32::from_le_bytes(array_at(image, at))),
        ColumnType::I64 => Value::I64(i64::from_le_bytes(array_at(image, at))),
        ColumnType::F32 => Value::F32(f32::from_le_bytes(array_at(image, at))),
        ColumnType::F64 => Value::F64(f64::from_le_bytes(array_at(image, at))),
        ColumnType::Char => {
            Value::Char(char::from_u32(u32_at(image, at)).unwrap_or(char::REPLACEMENT_CHARACTER))
        }
        ColumnType::FixedString(_) | ColumnType::String(_) => Value::Str(valid_text(text_bytes(image, slot))),
        ColumnType::Timestamp => Value::Timestamp(i64::from_le_bytes(array_at(image, at))),
        ColumnType::TimestampMicros => Value::TimestampMicros(i64::from_le_bytes(array_at(image, at))),
        ColumnType::Inet => Value::Inet(inet_from(array_at(image, at))),
        ColumnType::Mac => Value::Mac(array_at(image, at)),
    }
}

/// The text of a string column that is not null.
#[inline]
pub(super) fn text_bytes(image: &[u8], slot: Slot) -> &[u8] {
    let at = slot.offset as usize;
    if let ColumnType::FixedString(width) = slot.kind {
        return trim(&image[at..at + usize::from(width)]);
    }
    let start = u32_at(image, at) as usize;
    &image[start..start + u32_at(image, at + 4) as usize]
}

#[cold]
pub(super) fn truncated(needed: u64, bytes: &[u8]) -> RowError {
    RowError::Truncated { what: "row", needed, available: bytes.len() as u64 }
}

/// An address as stored; one of an unknown version reads as version 6.
#[inline]
pub(super) fn inet_from(stored: [u8; INET_BYTES]) -> IpAddr {
    if stored[0] == 4 {
        IpAddr::V4(Ipv4Addr::from(array_at(&stored, 1)))
    } else {
        IpAddr::V6(Ipv6Addr::from(array_at::<16>(&stored, 1)))
    }
}

/// An address as it is stored.
#[inline]
pub(super) fn inet_bytes(address: IpAddr) -> [u8; INET_BYTES] {
    let mut stored = [0; INET_BYTES];
    match address {
        IpAddr::V4(address) => {
            stored[0] = 4;
            stored[1..5].copy_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            stored[0] = 6;
            stored[1..].copy_from_slice(&address.octets());
        }
    }
    stored
}

#[cfg(test)]
mod tests;
