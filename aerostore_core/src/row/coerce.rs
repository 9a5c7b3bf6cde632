//! The door: what a caller gives becomes what a column stores, or an error. Nothing is wrapped, cut or rounded to fit.
//!
//! Integers pass between widths when they fit, and into timestamps; integers pass into floats when exact; a double
//! passes into a float column when it is in range (that rounding is the column's precision, not a loss of the value's
//! meaning). Floats do not pass into integers, nor strings into anything but strings: reading text is `text`'s work.
#![forbid(unsafe_code)]

use super::error::RowError;
use super::fixed::trim;
use super::kind::ColumnType;
use super::schema::Column;
use super::value::Value;

/// Whether a column of type `kind` stores `value` just as it is, key or not: the common case, decided without a look at
/// the column's definition. When in doubt, no.
#[inline]
pub(super) fn is_stored_form(kind: ColumnType, value: Value<'_>) -> bool {
    match (kind, value) {
        (ColumnType::Bool, Value::Bool(_))
        | (ColumnType::I16, Value::I16(_))
        | (ColumnType::I32, Value::I32(_))
        | (ColumnType::I64, Value::I64(_))
        | (ColumnType::Timestamp, Value::Timestamp(_))
        | (ColumnType::TimestampMicros, Value::TimestampMicros(_)) => true,
        (ColumnType::F64, Value::F64(number)) => number.is_finite() && number != 0.0,
        (ColumnType::FixedString(width), Value::Str(text)) => {
            !text.is_empty() && text.len() <= usize::from(width) && trim(text.as_bytes()).len() == text.len()
        }
        _ => false,
    }
}

/// `value` as `column` stores it.
pub(super) fn coerce<'v>(column: &Column, value: Value<'v>) -> Result<Value<'v>, RowError> {
    let kind = column.column_type();
    match (kind, value) {
        (ColumnType::F64, Value::F64(number)) => float64(column, number),
        (ColumnType::F32, Value::F32(number)) => float32(column, number),
        (ColumnType::FixedString(_) | ColumnType::String(_), Value::Str(text)) => string(column, text),
        (ColumnType::Char, Value::Char('\0')) => {
            Err(RowError::Nul { column: column.name().to_owned(), offset: 0 })
        }
        (ColumnType::Bool, Value::Bool(_))
        | (ColumnType::I16, Value::I16(_))
        | (ColumnType::I32, Value::I32(_))
        | (ColumnType::I64, Value::I64(_))
        | (ColumnType::Char, Value::Char(_))
        | (ColumnType::Timestamp, Value::Timestamp(_))
        | (ColumnType::TimestampMicros, Value::TimestampMicros(_))
        | (ColumnType::Inet, Value::Inet(_))
        | (ColumnType::Mac, Value::Mac(_)) => Ok(value),
        (_, Value::Null) if column.is_nullable() => Ok(value),
        (_, Value::Null) => Err(RowError::NotNull { column: column.name().to_owned() }),
        (_, Value::I16(number)) => integer(column, i64::from(number), value),
        (_, Value::I32(number)) => integer(column, i64::from(number), value),
        (_, Value::I64(number)) => integer(column, number, value),
        (ColumnType::F64, Value::F32(number)) => float64(column, f64::from(number)),
        (ColumnType::F32, Value::F64(number)) => narrow(column, number),
        _ => Err(wrong_type(column, value)),
    }
}

fn integer<'v>(column: &Column, number: i64, value: Value<'_>) -> Result<Value<'v>, RowError> {
    match column.column_type() {
        ColumnType::I16 => i16::try_from(number).map(Value::I16).map_err(|_| out_of_range(column, value)),
        ColumnType::I32 => i32::try_from(number).map(Value::I32).map_err(|_| out_of_range(column, value)),
        ColumnType::I64 => Ok(Value::I64(number)),
        ColumnType::Timestamp => Ok(Value::Timestamp(number)),
        ColumnType::TimestampMicros => Ok(Value::TimestampMicros(number)),
        ColumnType::F64 => exact(column, value, Value::F64(to_f64(number))),
        ColumnType::F32 => exact(column, value, Value::F32(to_f32(number))),
        _ => Err(wrong_type(column, value)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "the caller compares the result with the integer")]
fn to_f64(number: i64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "the caller compares the result with the integer")]
fn to_f32(number: i64) -> f32 {
    number as f32
}

/// `float` if it equals the integer `value`.
fn exact<'v>(column: &Column, value: Value<'_>, float: Value<'v>) -> Result<Value<'v>, RowError> {
    if float == value { Ok(float) } else { Err(out_of_range(column, value)) }
}

#[inline]
fn float64<'v>(column: &Column, number: f64) -> Result<Value<'v>, RowError> {
    // Adding positive zero turns -0.0 into 0.0 and nothing else.
    if number.is_finite() { Ok(Value::F64(number + 0.0)) } else { Err(not_finite(column)) }
}

fn float32<'v>(column: &Column, number: f32) -> Result<Value<'v>, RowError> {
    if number.is_finite() { Ok(Value::F32(number + 0.0)) } else { Err(not_finite(column)) }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float column keeps the nearest float; range is checked"
)]
fn narrow<'v>(column: &Column, number: f64) -> Result<Value<'v>, RowError> {
    let nearest = number as f32;
    if number.is_finite() && !nearest.is_finite() {
        return Err(out_of_range(column, Value::F64(number)));
    }
    float32(column, nearest)
}

#[inline]
fn string<'v>(column: &Column, text: &'v str) -> Result<Value<'v>, RowError> {
    let max_bytes = column.column_type().max_bytes().unwrap_or(0);
    if text.len() > max_bytes as usize {
        let column = column.name().to_owned();
        return Err(RowError::TooLong { column, max_bytes, found_bytes: text.len() as u64 });
    }
    match memchr::memchr(0, text.as_bytes()) {
        Some(offset) => Err(RowError::Nul { column: column.name().to_owned(), offset }),
        None => Ok(Value::Str(text)),
    }
}

#[cold]
fn wrong_type(column: &Column, value: Value<'_>) -> RowError {
    RowError::Type {
        column: column.name().to_owned(),
        expected: column.column_type(),
        found: value.type_name(),
    }
}

#[cold]
fn out_of_range(column: &Column, value: Value<'_>) -> RowError {
    RowError::Range {
        column: column.name().to_owned(),
        expected: column.column_type(),
        value: value.to_string(),
    }
}

#[cold]
fn not_finite(column: &Column) -> RowError {
    RowError::NotFinite { column: column.name().to_owned() }
}
