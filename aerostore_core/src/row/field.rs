//! Which Rust types columns have, and how each lies in a row image.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::bytes::array_at;
use super::fixed::FixedString;
use super::kind::{ColumnType, INET_BYTES};
use super::value::Value;
use super::view::{inet_bytes, inet_from};

/// Seconds since 1970-01-01 UTC: the Rust type of a timestamp column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Timestamp(pub i64);

/// Microseconds since 1970-01-01 UTC: the Rust type of a column of such timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct TimestampMicros(pub i64);

/// An Ethernet address: the Rust type of a mac column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

/// An address as it lies in an image.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct StoredInet([u8; INET_BYTES]);

/// Where the text of a variable string lies in an image.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct StoredText {
    /// Bytes from the start of the image; 0 when null or empty.
    offset: u32,
    /// Bytes of text.
    length: u32,
}

/// The fixed part of a value: a type that `#[repr(C)]` places as a row image does.
pub trait Stored: Copy {
    /// What null is stored as.
    const ZERO: Self;

    /// The value at `at` in the fixed part of an image.
    ///
    /// # Panics
    /// When `bytes` end before it does.
    fn read(bytes: &[u8], at: usize) -> Self;
}

/// A Rust type that a column of a [`Row`](super::Row) can have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type of column",
    label = "no column can have this type",
    note = "columns are bool, i16, i32, i64, f32, f64, char, FixedString<N>, String, Timestamp, TimestampMicros, IpAddr \
            or Mac; or an Option of these"
)]
pub trait Field: Sized {
    /// The column type; a variable string's limit is still 0 here, the column states it.
    const TYPE: ColumnType;
    /// Whether null is a value.
    const NULLABLE: bool;
    /// The type without null.
    type Base: Field<Base = Self::Base>;
    /// The type as it lies in the fixed part of an image.
    type Stored: Stored;
    /// The type as it is read: strings are borrowed.
    type Ref<'a>: Copy;

    /// Reads the value from its parts; `text` matters to variable strings only.
    fn load<'a>(null: bool, stored: &'a Self::Stored, text: &'a str) -> Self::Ref<'a>;

    /// The fixed part; `None` for null.
    fn store(&self) -> Option<Self::Stored>;

    /// The text of a variable string.
    fn into_text(self) -> String {
        String::new()
    }

    /// The value as any value.
    fn to_value(value: Self::Ref<'_>) -> Value<'_>;

    /// Any value as a value of this type, when it is one.
    fn from_value(value: Value<'_>) -> Option<Self::Ref<'_>>;

    /// The value with its own copy of the text.
    fn own(value: Self::Ref<'_>) -> Self;
}

impl<T: Field<Base = T>> Field for Option<T> {
    const TYPE: ColumnType = T::TYPE;
    const NULLABLE: bool = true;
    type Base = T;
    type Stored = T::Stored;
    type Ref<'a> = Option<T::Ref<'a>>;

    #[inline]
    fn load<'a>(null: bool, stored: &'a T::Stored, text: &'a str) -> Self::Ref<'a> {
        (!null).then(|| T::load(false, stored, text))
    }

    #[inline]
    fn store(&self) -> Option<T::Stored> {
        self.as_ref().and_then(T::store)
    }

    fn into_text(self) -> String {
        self.map(T::into_text).unwrap_or_default()
    }

    #[inline]
    fn to_value(value: Self::Ref<'_>) -> Value<'_> {
        value.map_or(Value::Null, T::to_value)
    }

    #[inline]
    fn from_value(value: Value<'_>) -> Option<Self::Ref<'_>> {
        if value.is_null() { Some(None) } else { T::from_value(value).map(Some) }
    }

    fn own(value: Self::Ref<'_>) -> Self {
        value.map(T::own)
    }
}

/// Types that are stored as they are and copied when read.
macro_rules! plain_field {
    ($($type:ty, $kind:expr, $zero:expr, $read:expr, $pattern:pat => $value:expr, $to_value:expr;)*) => {$(
        impl Stored for $type {
            const ZERO: Self = $zero;

            #[inline]
            fn read(bytes: &[u8], at: usize) -> Self {
                $read(array_at(bytes, at))
            }
        }

        impl Field for $type {
            const TYPE: ColumnType = $kind;
            const NULLABLE: bool = false;
            type Base = Self;
            type Stored = Self;
            type Ref<'a> = Self;

            #[inline]
            fn load<'a>(_null: bool, stored: &'a Self, _text: &'a str) -> Self {
                *stored
            }

            #[inline]
            fn store(&self) -> Option<Self> {
                Some(*self)
            }

            #[inline]
            fn to_value(value: Self::Ref<'_>) -> Value<'_> {
                $to_value(value)
            }

            #[inline]
            fn from_value(value: Value<'_>) -> Option<Self> {
                if let $pattern = value { Some($value) } else { None }
            }

            fn own(value: Self) -> Self {
                value
            }
        }
    )*};
}

plain_field! {
    bool, ColumnType::Bool, false, |[byte]: [u8; 1]| byte != 0, Value::Bool(flag) => flag, Value::Bool;
    i16, ColumnType::I16, 0, i16::from_le_bytes, Value::I16(number) => number, Value::I16;
    i32, ColumnType::I32, 0, i32::from_le_bytes, Value::I32(number) => number, Value::I32;
    i64, ColumnType::I64, 0, i64::from_le_bytes, Value::I64(number) => number, Value::I64;
    f32, ColumnType::F32, 0.0, f32::from_le_bytes, Value::F32(number) => number, Value::F32;
    f64, ColumnType::F64, 0.0, f64::from_le_bytes, Value::F64(number) => number, Value::F64;
    char, ColumnType::Char, '\0', char_from, Value::Char(letter) => letter, Value::Char;
    Timestamp, ColumnType::Timestamp, Self(0), |bytes| Self(i64::from_le_bytes(bytes)),
        Value::Timestamp(seconds) => Self(seconds), |Self(seconds)| Value::Timestamp(seconds);
    TimestampMicros, ColumnType::TimestampMicros, Self(0), |bytes| Self(i64::from_le_bytes(bytes)),
        Value::TimestampMicros(micros) => Self(micros), |Self(micros)| Value::TimestampMicros(micros);
    Mac, ColumnType::Mac, Self([0; 6]), Self, Value::Mac(octets) => Self(octets), |Self(octets)| Value::Mac(octets);
}

/// A stored character; one that is none reads as the replacement character.
fn char_from(bytes: [u8; 4]) -> char {
    char::from_u32(u32::from_le_bytes(bytes)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

impl Stored for StoredInet {
    const ZERO: Self = Self([0; INET_BYTES]);

    #[inline]
    fn read(bytes: &[u8], at: usize) -> Self {
        Self(array_at(bytes, at))
    }
}

impl Field for IpAddr {
    const TYPE: ColumnType = ColumnType::Inet;
    const NULLABLE: bool = false;
    type Base = Self;
    type Stored = StoredInet;
    type Ref<'a> = Self;

    fn load<'a>(_null: bool, stored: &'a StoredInet, _text: &'a str) -> Self {
        inet_from(stored.0)
    }

    fn store(&self) -> Option<StoredInet> {
        Some(StoredInet(inet_bytes(*self)))
    }

    fn to_value(value: Self::Ref<'_>) -> Value<'_> {
        Value::Inet(value)
    }

    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Inet(address) = value { Some(address) } else { None }
    }

    fn own(value: Self) -> Self {
        value
    }
}

impl<const N: usize> Stored for FixedString<N> {
    const ZERO: Self = Self::EMPTY;

    #[inline]
    fn read(bytes: &[u8], at: usize) -> Self {
        Self::from_padded(array_at(bytes, at))
    }
}

impl<const N: usize> Field for FixedString<N> {
    const TYPE: ColumnType = {
        assert!(N >= 1 && N <= u16::MAX as usize, "a FixedString column has 1 to 65535 bytes");
        #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
        ColumnType::FixedString(N as u16)
    };
    const NULLABLE: bool = false;
    type Base = Self;
    type Stored = Self;
    type Ref<'a> = &'a str;

    #[inline]
    fn load<'a>(_null: bool, stored: &'a Self, _text: &'a str) -> &'a str {
        stored.as_str()
    }

    #[inline]
    fn store(&self) -> Option<Self> {
        Some(*self)
    }

    #[inline]
    fn to_value(value: Self::Ref<'_>) -> Value<'_> {
        Value::Str(value)
    }

    #[inline]
    fn from_value(value: Value<'_>) -> Option<&str> {
        value.as_str()
    }

    /// Text that does not fit cannot come here: columns refuse it, and defaults are checked at compile time.
    fn own(value: &str) -> Self {
        Self::try_from(value).unwrap_or_default()
    }
}

impl Stored for StoredText {
    const ZERO: Self = Self { offset: 0, length: 0 };

    #[inline]
    fn read(bytes: &[u8], at: usize) -> Self {
        let number = |at| u32::from_le_bytes(array_at(bytes, at));
        Self { offset: number(at), length: number(at + 4) }
    }
}

impl Field for String {
    const TYPE: ColumnType = ColumnType::String(0);
    const NULLABLE: bool = false;
    type Base = Self;
    type Stored = StoredText;
    type Ref<'a> = &'a str;

    fn load<'a>(_null: bool, _stored: &'a StoredText, text: &'a str) -> &'a str {
        text
    }

    /// The place is the image's business; in a typed row it is zero.
    fn store(&self) -> Option<StoredText> {
        Some(StoredText::ZERO)
    }

    fn into_text(self) -> String {
        self
    }

    fn to_value(value: Self::Ref<'_>) -> Value<'_> {
        Value::Str(value)
    }

    fn from_value(value: Value<'_>) -> Option<&str> {
        value.as_str()
    }

    fn own(value: &str) -> Self {
        value.to_owned()
    }
}
