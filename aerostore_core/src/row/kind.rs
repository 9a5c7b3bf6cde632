//! Column types and where their values lie in a row image.
//!
//! Layout      a u64 null mask, then the columns in declaration order, each at the next multiple of its alignment, as
//!             `#[repr(C)]` would place them; the fixed part is padded to 8 bytes. A `String` column holds the offset
//!             and length (u32 each) of its text, which lies in the tail behind the fixed part, in column order.
//! Invariants  one value has one image: a null column is all zero, an empty string is (0, 0), bytes behind a fixed
//!             string and all padding are zero, -0.0 is stored as 0.0. So equal rows are equal bytes.
//! Numbers     little-endian.
#![forbid(unsafe_code)]

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most columns a table can have: one bit each in a mask of 64.
pub const MAX_COLUMNS: usize = 64;
/// The most bytes a row image can have, but for what its table's added columns put on top (J10 of `row::stored`).
pub const MAX_IMAGE_BYTES: u32 = 1 << 20;
/// The most bytes that a row of nothing but defaults can have in a table that gets columns (J10).
pub const MAX_TEMPLATE_BYTES: u32 = 900 << 10;
/// The most bytes a string key can have.
pub const MAX_KEY_BYTES: u32 = 1024;
/// Bytes of the null mask at the start of an image.
const MASK_BYTES: u32 = 8;
/// Bytes of an address: 4 or 6, then its octets, zero behind the four of version 4.
pub(crate) const INET_BYTES: usize = 17;

/// The type of a column. Stored in catalogs by position: new types go at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ColumnType {
    /// True or false; false is less.
    Bool,
    /// A signed 16-bit integer.
    I16,
    /// A signed 32-bit integer.
    I32,
    /// A signed 64-bit integer.
    I64,
    /// A finite 32-bit float.
    F32,
    /// A finite 64-bit float.
    F64,
    /// One Unicode character, not NUL.
    Char,
    /// UTF-8 without NUL of at most so many bytes, held in the fixed part.
    FixedString(u16),
    /// UTF-8 without NUL of at most so many bytes, held in the tail.
    String(u32),
    /// Seconds since 1970-01-01 UTC.
    Timestamp,
    /// Microseconds since 1970-01-01 UTC.
    TimestampMicros,
    /// An IPv4 or IPv6 address; version 4 is less.
    Inet,
    /// An Ethernet address.
    Mac,
}

const _: () = assert!(ColumnType::Inet.fixed_bytes() as usize == INET_BYTES);

impl ColumnType {
    /// Bytes of a value in the fixed part of an image.
    pub const fn fixed_bytes(self) -> u32 {
        match self {
            Self::Bool => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 | Self::Char => 4,
            Self::I64 | Self::F64 | Self::Timestamp | Self::TimestampMicros | Self::String(_) => 8,
            Self::FixedString(bytes) => bytes as u32,
            Self::Inet => 17,
            Self::Mac => 6,
        }
    }

    /// What the offset of a value in an image is a multiple of.
    pub const fn alignment(self) -> u32 {
        match self {
            Self::Bool | Self::FixedString(_) | Self::Inet | Self::Mac => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 | Self::Char | Self::String(_) => 4,
            Self::I64 | Self::F64 | Self::Timestamp | Self::TimestampMicros => 8,
        }
    }

    /// The name, as errors show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I16 => "short",
            Self::I32 => "int",
            Self::I64 => "wide",
            Self::F32 => "float",
            Self::F64 => "double",
            Self::Char => "char",
            Self::FixedString(_) => "fixedstring",
            Self::String(_) => "string",
            Self::Timestamp => "timestamp",
            Self::TimestampMicros => "timestamp_us",
            Self::Inet => "inet",
            Self::Mac => "mac",
        }
    }

    /// The most bytes a string can have; `None` for other types.
    pub const fn max_bytes(self) -> Option<u32> {
        match self {
            Self::FixedString(bytes) => Some(bytes as u32),
            Self::String(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether a delta holds a value as the bytes of its slot, whatever they are.
    pub(super) const fn is_plain(self) -> bool {
        matches!(
            self,
            Self::I16
                | Self::I32
                | Self::I64
                | Self::F32
                | Self::F64
                | Self::Timestamp
                | Self::TimestampMicros
                | Self::Mac
        )
    }

    /// Whether values are strings, fixed or variable.
    pub const fn is_string(self) -> bool {
        matches!(self, Self::FixedString(_) | Self::String(_))
    }

    /// Whether values are numbers: integers or floats.
    pub const fn is_number(self) -> bool {
        matches!(self, Self::I16 | Self::I32 | Self::I64 | Self::F32 | Self::F64)
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.max_bytes() {
            Some(bytes) => write!(f, "{}({bytes})", self.name()),
            None => f.write_str(self.name()),
        }
    }
}

/// The index that a column wants. Stored in catalogs by position: new kinds go at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum IndexKind {
    /// None.
    #[default]
    None,
    /// For equality only.
    Hash,
    /// For equality, ranges, prefixes and sorting.
    Ordered,
}

/// What is promised of an index beside its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct IndexSpec {
    /// Whether no two rows may have one value in it; null is none.
    pub is_unique: bool,
    /// Whether it is for equality only, by the hashes of values; else it is ordered.
    pub is_hash: bool,
}

impl IndexSpec {
    /// A unique ordered index.
    pub const UNIQUE: Self = Self { is_unique: true, is_hash: false };
    /// A hash.
    pub const HASH: Self = Self { is_unique: false, is_hash: true };

    /// Its kind.
    pub const fn kind(self) -> IndexKind {
        if self.is_hash { IndexKind::Hash } else { IndexKind::Ordered }
    }

    /// As a byte, in shared memory and in the log.
    pub const fn word(self) -> u8 {
        self.is_unique as u8 | (self.is_hash as u8) << 1
    }

    /// The promises that a byte of [`Self::word`] stands for; `None` for one that stands for none.
    pub const fn from_word(word: u8) -> Option<Self> {
        if word > 3 {
            return None;
        }
        Some(Self { is_unique: word & 1 != 0, is_hash: word & 2 != 0 })
    }
}

/// How comparisons treat nulls. Stored in catalogs by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum NullRule {
    /// A null satisfies only the test for null.
    #[default]
    Unknown,
    /// A null is above every value.
    High,
}

/// Where each column of a row image lies.
///
/// It can be computed at compile time, so that a typed struct proves its own layout against it.
///
/// ```
/// use aerostore_core::row::{ColumnType, Layout};
///
/// const LAYOUT: Layout = Layout::of(&[ColumnType::Bool, ColumnType::F64, ColumnType::I16]);
/// const _: () = assert!(LAYOUT.offset(1) == 16 && LAYOUT.offset(2) == 24 && LAYOUT.fixed_bytes() == 32);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    offsets: [u32; MAX_COLUMNS],
    fixed_bytes: u32,
}

impl Layout {
    /// The layout of columns of these types, in this order.
    ///
    /// # Panics
    /// When there are more than 64 types.
    pub const fn of(types: &[ColumnType]) -> Self {
        assert!(types.len() <= MAX_COLUMNS, "more than 64 columns");
        let mut offsets = [0; MAX_COLUMNS];
        let mut end = MASK_BYTES;
        let mut index = 0;
        while index < types.len() {
            offsets[index] = end.next_multiple_of(types[index].alignment());
            end = offsets[index] + types[index].fixed_bytes();
            index += 1;
        }
        Self { offsets, fixed_bytes: end.next_multiple_of(8) }
    }

    /// Bytes from the start of the image to column `index`.
    ///
    /// # Panics
    /// When `index` is not below 64.
    pub const fn offset(&self, index: usize) -> u32 {
        self.offsets[index]
    }

    /// Bytes of the fixed part: mask, columns and padding.
    pub const fn fixed_bytes(&self) -> u32 {
        self.fixed_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_columns_as_c_does() {
        #[repr(C)]
        struct Mixed {
            nulls: u64,
            flag: bool,
            mac: [u8; 6],
            short: i16,
            letter: char,
            text: [u32; 2],
            inet: [u8; INET_BYTES],
            wide: i64,
            name: [u8; 5],
        }
        let types = [
            ColumnType::Bool,
            ColumnType::Mac,
            ColumnType::I16,
            ColumnType::Char,
            ColumnType::String(9),
            ColumnType::Inet,
            ColumnType::I64,
            ColumnType::FixedString(5),
        ];
        let layout = Layout::of(&types);
        let expected = [
            std::mem::offset_of!(Mixed, flag),
            std::mem::offset_of!(Mixed, mac),
            std::mem::offset_of!(Mixed, short),
            std::mem::offset_of!(Mixed, letter),
            std::mem::offset_of!(Mixed, text),
            std::mem::offset_of!(Mixed, inet),
            std::mem::offset_of!(Mixed, wide),
            std::mem::offset_of!(Mixed, name),
        ];
        for (index, offset) in expected.into_iter().enumerate() {
            assert_eq!(layout.offset(index) as usize, offset, "column {index}");
        }
        assert_eq!(layout.fixed_bytes() as usize, size_of::<Mixed>());
    }
}
