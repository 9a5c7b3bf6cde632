//! Definitions of one table that differ in how many columns they have (J1 of `row::stored`).
#![forbid(unsafe_code)]

use super::{Column, Schema, SchemaBuilder, Ttl};
use crate::row::{ColumnType, IndexKind, MAX_TEMPLATE_BYTES, RowError, Value};

impl Schema {
    /// The same definition with these columns behind its own: what its rows have in them is their defaults, or null.
    ///
    /// # Errors
    /// [`RowError::Definition`] for a column that may neither be null nor has a default, and for one that wants an index, which is
    /// made when the column is there; what [`SchemaBuilder::build`] reports: a name that is taken, more columns than there can be, a row that is too wide, or would
    /// be with its defaults: [`MAX_TEMPLATE_BYTES`].
    pub fn with_columns(&self, added: &[Column]) -> Result<Self, RowError> {
        let bad = |reason| RowError::Definition { table: self.name().to_owned(), reason };
        if added.is_empty() {
            return Err(bad("no columns to add".to_owned()));
        }
        for column in added {
            let what = if !column.is_nullable() && column.default_value().is_none() {
                "must be nullable or have a default, for the rows there are"
            } else if column.index_kind() != IndexKind::None || column.is_unique() {
                "gets its index when it is there"
            } else {
                continue;
            };
            return Err(bad(format!("the added column \"{}\" {what}", column.name())));
        }
        let mut builder = SchemaBuilder::new(self.name())
            .columns(self.columns().iter().chain(added).cloned())
            .key(self.key_column().name())
            .nulls(self.null_rule());
        if let Some(Ttl { column, seconds }) = self.ttl() {
            builder = builder.ttl(self.column(column).name(), seconds);
        }
        if self.has_numbered_key() {
            builder = builder.numbered_key();
        }
        let schema = builder.build()?;
        // J10 of `row::stored`
        let bytes = schema.template_bytes();
        if bytes > u64::from(MAX_TEMPLATE_BYTES) {
            let reason = format!(
                "a row of defaults would take {bytes} bytes, more than the {MAX_TEMPLATE_BYTES} that columns can be added up to"
            );
            return Err(bad(reason));
        }
        Ok(schema)
    }

    /// Bytes of a row that has nothing but defaults.
    fn template_bytes(&self) -> u64 {
        let tail = self.columns().iter().map(|column| match (column.column_type(), column.default_value()) {
            (ColumnType::String(_), Some(Value::Str(text))) => text.len() as u64,
            _ => 0,
        });
        self.fixed_bytes() as u64 + tail.sum::<u64>()
    }

    /// May `other` be all that somebody knows of a table of this definition: the same, or one with fewer columns, and in a row that he inserts the others
    /// have their defaults, or are null?
    pub fn admits(&self, other: &Self) -> bool {
        let can_be_left_out = |column: &Column| column.is_nullable() || column.default_value().is_some();
        self.extends(other) && self.columns[other.columns.len()..].iter().all(can_be_left_out)
    }

    /// Is it `other`, with the same columns or more?
    pub fn extends(&self, other: &Self) -> bool {
        self.columns.starts_with(&other.columns)
            && self.name == other.name
            && self.key == other.key
            && self.rules == other.rules
    }
}
