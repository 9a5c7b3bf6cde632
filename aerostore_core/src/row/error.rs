//! What can be wrong with a definition, a value, or the bytes of a row.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

use super::kind::ColumnType;

/// An error of the row layer. Errors about a value name its column; errors about bytes say where in them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowError {
    /// A table, column or alias name that is not an identifier of at most 64 bytes.
    Name {
        /// The name as given.
        name: String,
        /// What it breaks.
        reason: &'static str,
    },
    /// Two columns, or a column and an alias, have the same name.
    DuplicateName {
        /// The name that is there twice.
        name: String,
    },
    /// No column has this name or alias.
    UnknownColumn {
        /// The name as given.
        name: String,
        /// The table that was asked.
        table: String,
    },
    /// A definition that no table can have: no columns, too many, no key, a nullable key, an image that is too wide ...
    Definition {
        /// The table being defined.
        table: String,
        /// What it breaks.
        reason: String,
    },
    /// A value of another type than the column's.
    Type {
        /// The column.
        column: String,
        /// The column's type.
        expected: ColumnType,
        /// The type of the value.
        found: &'static str,
    },
    /// A number that the column's type cannot hold.
    Range {
        /// The column.
        column: String,
        /// The column's type.
        expected: ColumnType,
        /// The number.
        value: String,
    },
    /// NaN or an infinity.
    NotFinite {
        /// The column.
        column: String,
    },
    /// A string longer than the column allows.
    TooLong {
        /// The column.
        column: String,
        /// Bytes that the column allows.
        max_bytes: u32,
        /// Bytes that the string has.
        found_bytes: u64,
    },
    /// A NUL in a string or character.
    Nul {
        /// The column.
        column: String,
        /// Its place in the string, in bytes from 0.
        offset: usize,
    },
    /// Text that is not UTF-8.
    Utf8 {
        /// The column.
        column: String,
        /// Place of the first bad byte, from 0.
        offset: usize,
    },
    /// A null, or no value at all, for a column that must have one.
    NotNull {
        /// The column.
        column: String,
    },
    /// An empty string as the key.
    EmptyKey {
        /// The key column.
        column: String,
    },
    /// Text that does not read as a value of the column's type.
    Parse {
        /// The column.
        column: String,
        /// The column's type.
        expected: ColumnType,
        /// The text, shortened.
        text: String,
    },
    /// A row whose image would exceed [`MAX_IMAGE_BYTES`](super::MAX_IMAGE_BYTES).
    TooWide {
        /// Bytes that the image would need.
        found_bytes: u64,
    },
    /// An image, view or delta used with a schema of another layout.
    SchemaMismatch {
        /// The table whose schema was given.
        table: String,
    },
    /// Bytes that end before what they announce.
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that are there.
        available: u64,
    },
    /// Bytes that cannot be what they should be.
    Corrupt {
        /// What was being read.
        what: &'static str,
        /// Place in the bytes given, from 0.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
}

impl RowError {
    /// The column that the error is about, where it is about one.
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::Type { column, .. }
            | Self::Range { column, .. }
            | Self::NotFinite { column }
            | Self::TooLong { column, .. }
            | Self::Nul { column, .. }
            | Self::Utf8 { column, .. }
            | Self::NotNull { column }
            | Self::EmptyKey { column }
            | Self::Parse { column, .. } => Some(column),
            Self::UnknownColumn { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether the error is about bytes read back, not about what a caller gave.
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Truncated { .. } | Self::Corrupt { .. })
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name, reason } => write!(f, "bad name \"{name}\": {reason}"),
            Self::DuplicateName { name } => write!(f, "duplicate column name or alias \"{name}\""),
            Self::UnknownColumn { name, table } => write!(f, "no column \"{name}\" in table \"{table}\""),
            Self::Definition { table, reason } => write!(f, "bad definition of table \"{table}\": {reason}"),
            Self::Type { column, expected, found } => {
                write!(f, "column \"{column}\": expected {expected} but got {found}")
            }
            Self::Range { column, expected, value } => {
                write!(f, "column \"{column}\": {value} is out of range for {expected}")
            }
            Self::NotFinite { column } => write!(f, "column \"{column}\": not a finite number"),
            Self::TooLong { column, max_bytes, found_bytes } => {
                write!(
                    f,
                    "column \"{column}\": string of {found_bytes} bytes exceeds the limit of {max_bytes}"
                )
            }
            Self::Nul { column, offset } => write!(f, "column \"{column}\": NUL at byte {offset}"),
            Self::Utf8 { column, offset } => write!(f, "column \"{column}\": invalid UTF-8 at byte {offset}"),
            Self::NotNull { column } => write!(f, "column \"{column}\" must not be null"),
            Self::EmptyKey { column } => write!(f, "column \"{column}\": the key must not be empty"),
            Self::Parse { column, expected, text } => {
                write!(f, "column \"{column}\": expected {expected} but got \"{text}\"")
            }
            Self::TooWide { found_bytes } => {
                write!(f, "a row of {found_bytes} bytes exceeds the limit of {}", super::MAX_IMAGE_BYTES)
            }
            Self::SchemaMismatch { table } => write!(f, "row has another layout than table \"{table}\""),
            Self::Truncated { what, needed, available } => {
                write!(f, "truncated {what}: needs {needed} bytes, has {available}")
            }
            Self::Corrupt { what, offset, reason } => write!(f, "corrupt {what} at byte {offset}: {reason}"),
        }
    }
}

impl Error for RowError {}
