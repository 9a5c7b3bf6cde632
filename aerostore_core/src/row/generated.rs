//! What the expansion of `#[speedtable]` calls, so that it stays short. Not for people.
#![forbid(unsafe_code)]

use super::error::RowError;
use super::field::Field;
use super::kind::{ColumnType, MAX_IMAGE_BYTES, MAX_KEY_BYTES};
use super::typed::Row;
use super::value::Value;
use super::view::RowView;

/// The type of a column, with the limit that its attribute states.
///
/// # Panics
/// At compile time: when a variable string has no sound limit, or another type has one.
pub const fn column_type(kind: ColumnType, max_bytes: Option<u32>) -> ColumnType {
    match (kind, max_bytes) {
        (ColumnType::String(_), Some(max_bytes)) => {
            assert!(max_bytes >= 1, "max must be at least 1");
            assert!(max_bytes <= MAX_IMAGE_BYTES, "max is longer than a row can be (1 MiB)");
            ColumnType::String(max_bytes)
        }
        (ColumnType::String(_), None) => panic!("a String column needs #[column(max = BYTES)]"),
        (kind, None) => kind,
        (_, Some(_)) => panic!("max is for String columns only"),
    }
}

/// Whether a field of this type can be the key.
///
/// # Panics
/// At compile time: when a string is too long to be one.
pub const fn check_key(kind: ColumnType) {
    if let Some(max_bytes) = kind.max_bytes() {
        assert!(max_bytes <= MAX_KEY_BYTES, "a key has at most 1024 bytes");
    }
}

/// Whether a default text fits its column.
///
/// # Panics
/// At compile time: when it does not.
pub const fn check_default(kind: ColumnType, text: &str) {
    if let Some(max_bytes) = kind.max_bytes() {
        assert!(text.len() <= max_bytes as usize, "the default is longer than the column allows");
    }
}

/// Whether an image of `R` can be read as one: same names, types and nullability in the same order.
///
/// # Errors
/// [`RowError::SchemaMismatch`].
#[inline]
pub fn check_view<R: Row>(view: RowView<'_>) -> Result<(), RowError> {
    if view.schema().layout_hash() == R::schema().layout_hash() {
        return Ok(());
    }
    Err(RowError::SchemaMismatch { table: R::NAME.to_owned() })
}

/// `value` as column `index` of `R` stores it, as a field of type `T`.
///
/// # Errors
/// What [`RowImage::set`](super::RowImage::set) reports.
pub fn field_value<R: Row, T: Field>(index: usize, value: Value<'_>) -> Result<T, RowError> {
    let schema = R::schema();
    let value = schema.accept(index, value)?;
    let wrong_type = || RowError::Type {
        column: schema.column(index).name().to_owned(),
        expected: schema.column(index).column_type(),
        found: value.type_name(),
    };
    T::from_value(value).map(T::own).ok_or_else(wrong_type)
}

/// For an index that no column of `R` has.
///
/// # Panics
/// Always.
#[cold]
pub fn no_such_column<R: Row>(index: usize) -> ! {
    panic!("table {} has no column {index}", R::NAME)
}
