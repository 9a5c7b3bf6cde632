//! Which field of a line goes to which column.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

use crate::row::{Column, DirtyMask, Schema, tsv};

/// The column of each field.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    targets: Vec<Option<usize>>,
    given: DirtyMask,
}

/// What is wrong with the options of an ingest, or with a header.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnsError {
    /// The table has no column of this name.
    Unknown {
        /// The name.
        name: String,
        /// The table.
        table: String,
    },
    /// Two fields go to one column.
    Duplicate {
        /// The column.
        column: String,
    },
    /// No field goes to a column that can be neither null nor a default.
    Missing {
        /// The column.
        column: String,
    },
    /// The header is not UTF-8.
    Header,
    /// A separator that is NUL or part of a line end.
    Separator {
        /// The byte.
        separator: u8,
    },
}

impl fmt::Display for ColumnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, table } => write!(f, "no column \"{name}\" in table \"{table}\""),
            Self::Duplicate { column } => write!(f, "column \"{column}\" is named twice"),
            Self::Missing { column } => write!(f, "column \"{column}\" is not named, but every row needs it"),
            Self::Header => write!(f, "the header is not UTF-8"),
            Self::Separator { separator } => {
                write!(
                    f,
                    "bad separator \"{}\": must not be NUL or part of a line end",
                    separator.escape_ascii()
                )
            }
        }
    }
}

impl Error for ColumnsError {}

impl Columns {
    /// All columns of `schema`, in its order, but for the number that the table gives each row.
    pub(super) fn all(schema: &Schema) -> Self {
        let count = schema.columns().len();
        let (targets, all) = ((0..count).map(Some), DirtyMask::first(count));
        if schema.has_numbered_key() {
            let key = schema.key_index();
            return Self {
                targets: targets.filter(|index| *index != Some(key)).collect(),
                given: all.without(key),
            };
        }
        Self { targets: targets.collect(), given: all }
    }

    /// The columns of these names; `-` and the empty name stand for a field that is ignored.
    pub(super) fn named<N: AsRef<str>>(schema: &Schema, names: &[N]) -> Result<Self, ColumnsError> {
        let mut columns = Self { targets: Vec::with_capacity(names.len()), given: DirtyMask::EMPTY };
        for name in names {
            columns.push(schema, name.as_ref())?;
        }
        Ok(columns)
    }

    /// Are all columns there without which a row cannot be made, or, when it is only to be deleted, found?
    pub(super) fn check(&self, schema: &Schema, only_keys: bool) -> Result<(), ColumnsError> {
        let needed = |index: usize, column: &Column| {
            if index == schema.key_index() {
                only_keys || !schema.has_numbered_key()
            } else {
                !only_keys && !column.is_nullable() && column.default_value().is_none()
            }
        };
        for (index, column) in schema.columns().iter().enumerate() {
            if needed(index, column) && !self.given.contains(index) {
                return Err(ColumnsError::Missing { column: column.name().to_owned() });
            }
        }
        Ok(())
    }

    /// The columns that a header line names.
    pub(super) fn from_header(schema: &Schema, header: &[u8], separator: u8) -> Result<Self, ColumnsError> {
        let names: Result<Vec<&str>, _> = tsv::fields(header, separator).map(std::str::from_utf8).collect();
        Self::named(schema, &names.map_err(|_| ColumnsError::Header)?)
    }

    /// The column of each field, `None` for a field that is ignored.
    #[inline]
    pub(super) fn targets(&self) -> &[Option<usize>] {
        &self.targets
    }

    /// The columns that some field goes to.
    #[inline]
    pub(super) fn given(&self) -> DirtyMask {
        self.given
    }

    fn push(&mut self, schema: &Schema, name: &str) -> Result<(), ColumnsError> {
        if name.is_empty() || name == "-" {
            self.targets.push(None);
            return Ok(());
        }
        let index = schema.find(name).ok_or_else(|| ColumnsError::Unknown {
            name: name.to_owned(),
            table: schema.name().to_owned(),
        })?;
        if self.given.contains(index) {
            return Err(ColumnsError::Duplicate { column: schema.column(index).name().to_owned() });
        }
        self.targets.push(Some(index));
        self.given = self.given.with(index);
        Ok(())
    }
}

/// Refuses separators that would make lines ambiguous.
pub(super) fn check_separator(separator: u8) -> Result<(), ColumnsError> {
    match separator {
        b'\0' | b'\n' | b'\r' => Err(ColumnsError::Separator { separator }),
        _ => Ok(()),
    }
}
