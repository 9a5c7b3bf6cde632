//! One value of a column, borrowed or owned, and its total order.
//!
//! Numbers of all widths compare by value; within every other type as described at [`ColumnType`](super::ColumnType);
//! values of different kinds compare by kind, so that any set of values can be sorted; null is above all.
#![forbid(unsafe_code)]

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A value as rows give it out: strings are borrowed from the image.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed 16-bit integer.
    I16(i16),
    /// A signed 32-bit integer.
    I32(i32),
    /// A signed 64-bit integer.
    I64(i64),
    /// A 32-bit float.
    F32(f32),
    /// A 64-bit float.
    F64(f64),
    /// One character.
    Char(char),
    /// A string, of a fixed or a variable column.
    Str(&'a str),
    /// Seconds since 1970-01-01 UTC.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 UTC.
    TimestampMicros(i64),
    /// An internet address.
    Inet(IpAddr),
    /// An Ethernet address.
    Mac([u8; 6]),
}

impl<'a> Value<'a> {
    /// Whether there is no value.
    #[inline]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The string, when it is one.
    #[inline]
    pub const fn as_str(&self) -> Option<&'a str> {
        if let Self::Str(text) = *self { Some(text) } else { None }
    }

    /// The integer, when it is one of any width, or a timestamp.
    #[inline]
    pub const fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::I16(number) => Some(number as i64),
            Self::I32(number) => Some(number as i64),
            Self::I64(number) | Self::Timestamp(number) | Self::TimestampMicros(number) => Some(number),
            _ => None,
        }
    }

    /// The number as the nearest double, when it is a number.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "the nearest double is what is asked for")]
    pub const fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(number) => Some(number as f64),
            Self::F64(number) => Some(number),
            _ => match self.as_i64() {
                Some(number) => Some(number as f64),
                None => None,
            },
        }
    }

    /// The name of the value's type, as errors show it.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::I16(_) => "short",
            Self::I32(_) => "int",
            Self::I64(_) => "wide",
            Self::F32(_) => "float",
            Self::F64(_) => "double",
            Self::Char(_) => "char",
            Self::Str(_) => "string",
            Self::Timestamp(_) => "timestamp",
            Self::TimestampMicros(_) => "timestamp_us",
            Self::Inet(_) => "inet",
            Self::Mac(_) => "mac",
        }
    }

    /// The value with its own copy of the string.
    pub fn to_owned(&self) -> OwnedValue {
        match *self {
            Self::Null => OwnedValue::Null,
            Self::Bool(flag) => OwnedValue::Bool(flag),
            Self::I16(number) => OwnedValue::I16(number),
            Self::I32(number) => OwnedValue::I32(number),
            Self::I64(number) => OwnedValue::I64(number),
            Self::F32(number) => OwnedValue::F32(number),
            Self::F64(number) => OwnedValue::F64(number),
            Self::Char(letter) => OwnedValue::Char(letter),
            Self::Str(text) => OwnedValue::Str(text.into()),
            Self::Timestamp(seconds) => OwnedValue::Timestamp(seconds),
            Self::TimestampMicros(micros) => OwnedValue::TimestampMicros(micros),
            Self::Inet(address) => OwnedValue::Inet(address),
            Self::Mac(octets) => OwnedValue::Mac(octets),
        }
    }

    /// Place of the value's kind in the order of kinds.
    const fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::I16(_) | Self::I32(_) | Self::I64(_) | Self::F32(_) | Self::F64(_) => 1,
            Self::Char(_) => 2,
            Self::Str(_) => 3,
            Self::Timestamp(_) => 4,
            Self::TimestampMicros(_) => 5,
            Self::Inet(_) => 6,
            Self::Mac(_) => 7,
            Self::Null => 8,
        }
    }
}

impl Ord for Value<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(&b),
            (Self::Char(a), Self::Char(b)) => a.cmp(&b),
            (Self::Str(a), Self::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Timestamp(a), Self::Timestamp(b))
            | (Self::TimestampMicros(a), Self::TimestampMicros(b)) => a.cmp(&b),
            (Self::Inet(a), Self::Inet(b)) => a.cmp(&b),
            (Self::Mac(a), Self::Mac(b)) => a.cmp(&b),
            (a, b) if a.rank() != b.rank() => a.rank().cmp(&b.rank()),
            (a, b) => compare_numbers(a, b),
        }
    }
}

/// The order of two numbers of any widths; two nulls are equal.
fn compare_numbers(a: Value<'_>, b: Value<'_>) -> Ordering {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(a), None) => b.as_f64().map_or(Ordering::Equal, |b| compare_mixed(a, b)),
        (None, Some(b)) => a.as_f64().map_or(Ordering::Equal, |a| compare_mixed(b, a).reverse()),
        (None, None) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => compare_floats(a, b),
            _ => Ordering::Equal,
        },
    }
}

/// By value, with -0.0 equal to 0.0 and NaN, which no row holds, above the rest.
fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Compares an integer with a float without rounding either: the double nearest to the integer decides unless it
/// equals the float, and then the float has an exact integer value to compare with.
#[expect(clippy::cast_precision_loss, reason = "an inexact conversion only decides when the two differ")]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the float equals a rounded integer, so it has no fraction"
)]
fn compare_mixed(integer: i64, float: f64) -> Ordering {
    match compare_floats(integer as f64, float) {
        Ordering::Equal => i128::from(integer).cmp(&(float as i128)),
        decided => decided,
    }
}

impl PartialOrd for Value<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value<'_> {}

impl Hash for Value<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match *self {
            Self::Null => {}
            Self::Bool(flag) => flag.hash(state),
            Self::Char(letter) => letter.hash(state),
            Self::Str(text) => text.hash(state),
            Self::Inet(address) => address.hash(state),
            Self::Mac(octets) => octets.hash(state),
            Self::Timestamp(number) | Self::TimestampMicros(number) => number.hash(state),
            // Equal numbers of different types must hash the same: through the nearest double, with one zero.
            number => (number.as_f64().unwrap_or(0.0) + 0.0).to_bits().hash(state),
        }
    }
}

/// Text as people read it: null is `\N`, strings are unquoted.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        super::text::format(*self, &mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for Value<'_> {
            fn from(value: $from) -> Self {
                Self::$variant(value)
            }
        })*
    };
}

value_from! {
    bool => Bool, i16 => I16, i32 => I32, i64 => I64, f32 => F32, f64 => F64, char => Char, IpAddr => Inet,
    [u8; 6] => Mac,
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Str(text)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A value that owns its string: a column's default, a query's operand. Stored in catalogs by position.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum OwnedValue {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed 16-bit integer.
    I16(i16),
    /// A signed 32-bit integer.
    I32(i32),
    /// A signed 64-bit integer.
    I64(i64),
    /// A 32-bit float.
    F32(f32),
    /// A 64-bit float.
    F64(f64),
    /// One character.
    Char(char),
    /// A string.
    Str(Box<str>),
    /// Seconds since 1970-01-01 UTC.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 UTC.
    TimestampMicros(i64),
    /// An internet address.
    Inet(IpAddr),
    /// An Ethernet address.
    Mac([u8; 6]),
}

impl OwnedValue {
    /// The value, borrowed.
    pub fn as_value(&self) -> Value<'_> {
        match *self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(flag),
            Self::I16(number) => Value::I16(number),
            Self::I32(number) => Value::I32(number),
            Self::I64(number) => Value::I64(number),
            Self::F32(number) => Value::F32(number),
            Self::F64(number) => Value::F64(number),
            Self::Char(letter) => Value::Char(letter),
            Self::Str(ref text) => Value::Str(text),
            Self::Timestamp(seconds) => Value::Timestamp(seconds),
            Self::TimestampMicros(micros) => Value::TimestampMicros(micros),
            Self::Inet(address) => Value::Inet(address),
            Self::Mac(octets) => Value::Mac(octets),
        }
    }
}

impl PartialEq for OwnedValue {
    fn eq(&self, other: &Self) -> bool {
        self.as_value() == other.as_value()
    }
}

impl Eq for OwnedValue {}

impl PartialOrd for OwnedValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OwnedValue {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_value().cmp(&other.as_value())
    }
}

impl Hash for OwnedValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_value().hash(state);
    }
}

impl From<Value<'_>> for OwnedValue {
    fn from(value: Value<'_>) -> Self {
        value.to_owned()
    }
}

impl fmt::Display for OwnedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_value().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_by_value() {
        assert_eq!(Value::F64(-0.0), Value::F64(0.0));
        assert_eq!(Value::I16(7), Value::F64(7.0));
        assert!(Value::I64(i64::MAX) < Value::F64(9_223_372_036_854_775_808.0));
        assert!(Value::F64(-1.5) < Value::I32(-1));
        assert!(Value::I64((1 << 53) + 1) > Value::F64(9_007_199_254_740_992.0));
    }

    #[test]
    fn null_is_above_all() {
        assert!(Value::Null > Value::Mac([255; 6]));
        assert_eq!(Value::Null, Value::Null);
        assert_eq!(Value::from(None::<i64>), Value::Null);
    }
}
