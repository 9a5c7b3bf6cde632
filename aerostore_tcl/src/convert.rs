//! Tcl values as column values, and back.
//!
//! Numbers pass as numbers: a value that Tcl holds as a number never becomes text here, and results are typed objects.
//! In a nullable column the empty string is null; `\N` always is.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use aerostore_core::row::{Column, ColumnType, RowError, Value, text};

use crate::error::Error;
use crate::ffi::{Integer, Obj, TextError};

/// A column value read from a Tcl value: borrowed from it, but for text that Tcl holds in another form.
pub(crate) enum Input<'o> {
    /// The value itself.
    Value(Value<'o>),
    /// A string in its own storage.
    Text(String),
}

impl Input<'_> {
    /// The value.
    #[inline]
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Value(value) => *value,
            Self::Text(text) => Value::Str(text),
        }
    }
}

/// Reads `obj` as a value for `column`. Range, length and null are checked where the value is stored.
pub(crate) fn read<'o>(column: &Column, obj: &'o Obj) -> Result<Input<'o>, Error> {
    use ColumnType as T;
    let value = match column.column_type() {
        T::I16 | T::I32 | T::I64 | T::Timestamp | T::TimestampMicros => match obj.integer() {
            Integer::Wide(number) => Some(Value::I64(number)),
            Integer::TooBig => return Err(too_big(column, obj)),
            Integer::Not => None,
        },
        T::F32 | T::F64 => obj.as_double().map(Value::F64),
        T::Bool => obj.as_boolean().map(Value::Bool),
        _ => return read_text(column, obj),
    };
    if let Some(value) = value {
        return Ok(Input::Value(value));
    }
    match obj.bytes() {
        b"\\N" => Ok(Input::Value(Value::Null)),
        b"" if column.is_nullable() => Ok(Input::Value(Value::Null)),
        _ => Err(not_a(column, obj)),
    }
}

/// Reads `obj` as the key of a row.
pub(crate) fn read_key<'o>(column: &Column, obj: &'o Obj) -> Result<Input<'o>, Error> {
    let input = read(column, obj)?;
    match input.value() {
        Value::Null => Err(RowError::NotNull { column: column.name().to_owned() }.into()),
        Value::Str("") => Err(RowError::EmptyKey { column: column.name().to_owned() }.into()),
        _ => Ok(input),
    }
}

fn read_text<'o>(column: &Column, obj: &'o Obj) -> Result<Input<'o>, Error> {
    let text = match obj.bytes() {
        b"\\N" => return Ok(Input::Value(Value::Null)),
        b"" if column.is_nullable() => return Ok(Input::Value(Value::Null)),
        bytes => Obj::text_of(bytes).map_err(|reason| bad_text(column, reason))?,
    };
    match text {
        Cow::Borrowed(text) if column.column_type().is_string() => Ok(Input::Value(Value::Str(text))),
        Cow::Owned(text) if column.column_type().is_string() => Ok(Input::Text(text)),
        Cow::Borrowed(text) => Ok(Input::Value(text::parse(column, text.as_bytes())?)),
        // Of the other types only a character can be written in letters that Tcl holds in another form.
        Cow::Owned(text) => match text::parse(column, text.as_bytes())? {
            Value::Char(letter) => Ok(Input::Value(Value::Char(letter))),
            _ => Err(not_a(column, obj)),
        },
    }
}

/// The value as a Tcl object; null is empty.
pub(crate) fn write(value: Value<'_>) -> Obj {
    match value {
        Value::Null => Obj::empty(),
        Value::Bool(flag) => Obj::boolean(flag),
        Value::I16(number) => Obj::wide(number.into()),
        Value::I32(number) => Obj::wide(number.into()),
        Value::I64(number) | Value::Timestamp(number) | Value::TimestampMicros(number) => Obj::wide(number),
        Value::F32(number) => Obj::double(shortest(number)),
        Value::F64(number) => Obj::double(number),
        Value::Str(text) => Obj::string(text),
        Value::Char(letter) => Obj::string(letter.encode_utf8(&mut [0; 4])),
        Value::Inet(_) | Value::Mac(_) => {
            let mut bytes = Vec::with_capacity(40);
            text::format(value, &mut bytes);
            Obj::string(&String::from_utf8_lossy(&bytes))
        }
    }
}

/// The double that prints as the float does: 0.1 stays 0.1.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

fn not_a(column: &Column, obj: &Obj) -> Error {
    let (column, expected) = (column.name().to_owned(), column.column_type());
    RowError::Parse { column, expected, text: obj.quoted() }.into()
}

fn too_big(column: &Column, obj: &Obj) -> Error {
    let (column, expected) = (column.name().to_owned(), column.column_type());
    RowError::Range { column, expected, value: obj.quoted() }.into()
}

fn bad_text(column: &Column, reason: TextError) -> Error {
    let column = column.name().to_owned();
    match reason {
        TextError::Nul(offset) => RowError::Nul { column, offset },
        TextError::Malformed(offset) => RowError::Utf8 { column, offset },
    }
    .into()
}
