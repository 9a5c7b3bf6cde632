//! One column's value, read straight from the bytes of a row image.
//!
//! Every type is one of three *kinds*, within which values compare as their type demands: integers, floats, and byte
//! strings. So a predicate or a sort has three cases instead of thirteen.
//!
//! Invariants  F1: a field is used only with images of the schema it was made for, whose bounds `RowView` has checked.

#![forbid(unsafe_code)]

use std::cmp::Ordering;

use crate::row::{ColumnType, RowView, Schema};

/// Bytes of the null mask, with which an image starts.
const MASK_BYTES: usize = 8;
/// Bytes of a stored internet address.
pub(super) const INET_BYTES: usize = 17;

/// How the values of a type compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Float,
    Bytes,
}

/// Where a column's value lies, and how to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    index: usize,
    offset: usize,
    column_type: ColumnType,
}

impl Field {
    pub(super) fn new(schema: &Schema, index: usize) -> Self {
        Self { index, offset: schema.offset(index), column_type: schema.column(index).column_type() }
    }

    #[inline]
    pub(super) fn index(self) -> usize {
        self.index
    }

    /// Where the value lies in an image.
    pub(super) fn offset(self) -> usize {
        self.offset
    }

    /// The least and the greatest number that an integer column holds.
    pub(super) fn int_limits(self) -> (i64, i64) {
        int_limits(self.column_type)
    }

    #[inline]
    pub(super) fn column_type(self) -> ColumnType {
        self.column_type
    }

    pub(super) fn kind(self) -> Kind {
        kind_of(self.column_type)
    }

    #[inline]
    pub(super) fn is_null(self, row: RowView<'_>) -> bool {
        u64::from_le_bytes(array(row.bytes(), 0)) >> self.index & 1 == 1
    }

    /// The value of an integer column; of another, nothing that means anything.
    #[inline]
    pub(super) fn int(self, row: RowView<'_>) -> i64 {
        let bytes = row.bytes();
        match self.column_type {
            ColumnType::Bool => i64::from(bytes[self.offset]),
            ColumnType::I16 => i64::from(i16::from_le_bytes(array(bytes, self.offset))),
            ColumnType::I32 => i64::from(i32::from_le_bytes(array(bytes, self.offset))),
            ColumnType::Char => i64::from(u32::from_le_bytes(array(bytes, self.offset))),
            _ => i64::from_le_bytes(array(bytes, self.offset)),
        }
    }

    /// The value of a float column; of another, nothing that means anything.
    #[inline]
    pub(super) fn float(self, row: RowView<'_>) -> f64 {
        match self.column_type {
            ColumnType::F32 => f64::from(f32::from_le_bytes(array(row.bytes(), self.offset))),
            _ => f64::from_le_bytes(array(row.bytes(), self.offset)),
        }
    }

    /// The value of a column of strings or addresses; of another, nothing that means anything.
    #[inline]
    pub(super) fn bytes(self, row: RowView<'_>) -> &[u8] {
        let bytes = row.bytes();
        match self.column_type {
            ColumnType::FixedString(max_bytes) => {
                let padded = &bytes[self.offset..self.offset + usize::from(max_bytes)];
                // No string holds a NUL, so the first one is where the padding starts.
                &padded[..memchr::memchr(0, padded).unwrap_or(padded.len())]
            }
            ColumnType::Inet => &bytes[self.offset..self.offset + INET_BYTES],
            ColumnType::Mac => &bytes[self.offset..self.offset + 6],
            _ => {
                let start = u32::from_le_bytes(array(bytes, self.offset)) as usize;
                let length = u32::from_le_bytes(array(bytes, self.offset + 4)) as usize;
                &bytes[start..start + length]
            }
        }
    }

    /// The order of two rows by this column, null above all.
    pub(super) fn compare(self, a: RowView<'_>, b: RowView<'_>) -> Ordering {
        match (self.is_null(a), self.is_null(b)) {
            (false, false) => match self.kind() {
                Kind::Int => self.int(a).cmp(&self.int(b)),
                Kind::Float => self.float(a).total_cmp(&self.float(b)),
                Kind::Bytes => self.bytes(a).cmp(self.bytes(b)),
            },
            (a, b) => a.cmp(&b),
        }
    }

    /// A number that orders rows as this column does, as far as 64 bits can tell values apart; null above all.
    #[inline]
    pub(super) fn order_prefix(self, row: RowView<'_>) -> u128 {
        const SIGN: u64 = 1 << 63;
        if self.is_null(row) {
            return 1 << 64;
        }
        let prefix = match self.kind() {
            Kind::Int => self.int(row).cast_unsigned() ^ SIGN,
            Kind::Float => {
                let bits = self.float(row).to_bits();
                if bits & SIGN == 0 { bits | SIGN } else { !bits }
            }
            Kind::Bytes => {
                let bytes = self.bytes(row);
                let taken = bytes.len().min(8);
                let mut start = [0; 8];
                start[..taken].copy_from_slice(&bytes[..taken]);
                u64::from_be_bytes(start)
            }
        };
        u128::from(prefix)
    }
}

/// How the values of `column_type` compare.
pub(super) fn kind_of(column_type: ColumnType) -> Kind {
    match column_type {
        ColumnType::F32 | ColumnType::F64 => Kind::Float,
        ColumnType::FixedString(_) | ColumnType::String(_) | ColumnType::Inet | ColumnType::Mac => {
            Kind::Bytes
        }
        _ => Kind::Int,
    }
}

/// The least and the greatest number that an integer column of this type holds.
pub(super) fn int_limits(column_type: ColumnType) -> (i64, i64) {
    match column_type {
        ColumnType::Bool => (0, 1),
        ColumnType::I16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        ColumnType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        ColumnType::Char => (0, i64::from(u32::from(char::MAX))),
        _ => (i64::MIN, i64::MAX),
    }
}

#[inline]
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    const { assert!(N <= MASK_BYTES) };
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
