//! Operands: a literal read as the type of the column that it is compared with.
//!
//! An operand need not be a value that the column can hold, only one that it can be compared with: an int column may be
//! compared with 10000.5 or with 10^20, a string column with a longer string. What cannot be compared at all is an error.
//! How a script writes null is its front end's affair; here text is text.

#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::field::INET_BYTES;
use super::syntax::Literal;
use crate::row::{Column, ColumnType, OwnedValue, Value, text};

/// A literal as one of the three kinds that columns compare by.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// The null.
    Null,
    /// For integer columns: the number, rounded down, and whether that is the number itself.
    Int { floor: i128, exact: bool },
    /// For float columns: a finite number, never -0.0.
    Float(f64),
    /// For columns of strings and addresses.
    Bytes(Box<[u8]>),
}

impl Operand {
    /// Reads `literal` for `column`; the error is what would have been right instead.
    pub(super) fn read(column: &Column, literal: &Literal) -> Result<Self, String> {
        let kind = column.column_type();
        match literal {
            Literal::Null => Ok(Self::Null),
            Literal::Text(text) => Self::read_text(column, text),
            Literal::Bool(flag) if kind == ColumnType::Bool => Ok(Self::int(i64::from(*flag))),
            Literal::Int(number) if is_integer(kind) => Ok(Self::int(*number)),
            Literal::Int(number) if is_float(kind) => Self::float(kind, nearest(*number)),
            Literal::Float(number) if is_integer(kind) => Self::rounded(*number),
            Literal::Float(number) if is_float(kind) => Self::float(kind, *number),
            Literal::Inet(address) if kind == ColumnType::Inet => {
                Ok(Self::Bytes(inet_bytes(*address).into()))
            }
            Literal::Mac(octets) if kind == ColumnType::Mac => Ok(Self::Bytes((*octets).into())),
            _ => Err(expectation(kind)),
        }
    }

    fn read_text(column: &Column, text: &str) -> Result<Self, String> {
        let kind = column.column_type();
        if kind.is_string() {
            return Ok(Self::Bytes(text.as_bytes().into()));
        }
        if kind.is_number() || kind == ColumnType::Timestamp || kind == ColumnType::TimestampMicros {
            let trimmed = text.trim();
            if let Some(number) = trimmed.parse().ok().filter(|_| is_integer(kind)) {
                return Ok(Self::int(number));
            }
            if let Ok(number) = fast_float2::parse(trimmed) {
                return if is_float(kind) { Self::float(kind, number) } else { Self::rounded(number) };
            }
        }
        let value = text::parse(column, text.as_bytes()).ok().filter(|value| !value.is_null());
        value.and_then(Self::of_value).ok_or_else(|| expectation(kind))
    }

    fn of_value(value: Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::int(i64::from(flag)),
            Value::Char(letter) => Self::int(i64::from(u32::from(letter))),
            Value::F32(number) => Self::Float(f64::from(number) + 0.0),
            Value::F64(number) => Self::Float(number + 0.0),
            Value::Str(text) => Self::Bytes(text.as_bytes().into()),
            Value::Inet(address) => Self::Bytes(inet_bytes(address).into()),
            Value::Mac(octets) => Self::Bytes(octets.into()),
            number => Self::int(number.as_i64()?),
        })
    }

    fn int(number: i64) -> Self {
        Self::Int { floor: i128::from(number), exact: true }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "i128 holds more than any column does; beyond it saturates"
    )]
    fn rounded(number: f64) -> Result<Self, String> {
        if !number.is_finite() {
            return Err("a finite number".to_owned());
        }
        let floor = number.floor();
        #[expect(clippy::float_cmp, reason = "equal exactly when there was nothing to round")]
        Ok(Self::Int { floor: floor as i128, exact: floor == number })
    }

    /// A number for a float column: rounded to what that column would store, so that the same text finds it again.
    #[expect(clippy::cast_possible_truncation, reason = "a float column stores the nearest float")]
    fn float(kind: ColumnType, number: f64) -> Result<Self, String> {
        if !number.is_finite() {
            return Err("a finite number".to_owned());
        }
        let stored = if kind == ColumnType::F32 { f64::from(number as f32) } else { number };
        Ok(Self::Float(if stored.is_finite() { stored + 0.0 } else { number }))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a float column would store the nearest float too")]
fn nearest(number: i64) -> f64 {
    number as f64
}

fn is_float(kind: ColumnType) -> bool {
    matches!(kind, ColumnType::F32 | ColumnType::F64)
}

fn is_integer(kind: ColumnType) -> bool {
    use ColumnType::{I16, I32, I64, Timestamp, TimestampMicros};
    matches!(kind, I16 | I32 | I64 | Timestamp | TimestampMicros)
}

/// What an operand for such a column may be.
fn expectation(kind: ColumnType) -> String {
    match kind {
        ColumnType::Bool => "a boolean",
        ColumnType::I16 | ColumnType::I32 | ColumnType::I64 | ColumnType::F32 | ColumnType::F64 => "a number",
        ColumnType::Char => "a single character",
        ColumnType::FixedString(_) | ColumnType::String(_) => "text",
        ColumnType::Timestamp => "a timestamp in seconds",
        ColumnType::TimestampMicros => "a timestamp in microseconds",
        ColumnType::Inet => "an internet address",
        ColumnType::Mac => "an Ethernet address",
    }
    .to_owned()
}

/// An address as rows store it, which also orders version 4 before version 6.
pub(super) fn inet_bytes(address: IpAddr) -> [u8; INET_BYTES] {
    let mut bytes = [0; INET_BYTES];
    match address {
        IpAddr::V4(four) => {
            bytes[0] = 4;
            bytes[1..5].copy_from_slice(&four.octets());
        }
        IpAddr::V6(six) => {
            bytes[0] = 6;
            bytes[1..].copy_from_slice(&six.octets());
        }
    }
    bytes
}

/// The value that a column of this type holds when its integer is `number`.
pub(super) fn value_of_int(kind: ColumnType, number: i64) -> Option<OwnedValue> {
    Some(match kind {
        ColumnType::Bool => OwnedValue::Bool(number != 0),
        ColumnType::I16 => OwnedValue::I16(number.try_into().ok()?),
        ColumnType::I32 => OwnedValue::I32(number.try_into().ok()?),
        ColumnType::I64 => OwnedValue::I64(number),
        ColumnType::Timestamp => OwnedValue::Timestamp(number),
        ColumnType::TimestampMicros => OwnedValue::TimestampMicros(number),
        ColumnType::Char => OwnedValue::Char(u32::try_from(number).ok().and_then(char::from_u32)?),
        _ => return None,
    })
}

/// The value that a column of this type holds when its float is `number`.
#[expect(clippy::cast_possible_truncation, reason = "compared with the original afterwards")]
#[expect(clippy::float_cmp, reason = "a float that the column cannot hold equals no value of it")]
pub(super) fn value_of_float(kind: ColumnType, number: f64) -> Option<OwnedValue> {
    match kind {
        ColumnType::F64 => Some(OwnedValue::F64(number)),
        ColumnType::F32 if f64::from(number as f32) == number => Some(OwnedValue::F32(number as f32)),
        _ => None,
    }
}
