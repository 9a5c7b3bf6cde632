//! `schema`: the table's definition, in the form that `aerostore::define` takes.
#![forbid(unsafe_code)]

use aerostore_core::row::{Column, ColumnType, IndexKind, Schema};

use super::table::Opened;
use crate::convert;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Interp, Obj};

/// `schema`
pub(super) fn run(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, _] = words else { return Err(Error::usage(interp, words, 2, c"")) };
    let schema = &table.bound.schema;
    let columns: Vec<_> = table.bound.all_columns().iter().map(|&index| described(schema, index)).collect();
    reply(interp, &Obj::list(&columns))
}

/// `type column ?-option value ...?`
fn described(schema: &Schema, index: usize) -> Obj {
    let column: &Column = schema.column(index);
    let is_key = index == schema.key_index();
    let mut words = vec![Obj::string(column.column_type().name()), Obj::string(column.name())];
    let mut option = |name: &str, value: Obj| words.extend([Obj::string(name), value]);
    if let ColumnType::String(bytes) = column.column_type() {
        option("-length", Obj::wide(bytes.into()));
    } else if let ColumnType::FixedString(bytes) = column.column_type() {
        option("-length", Obj::wide(bytes.into()));
    }
    if is_key {
        option("-key", Obj::boolean(true));
    } else if !column.is_nullable() {
        option("-notnull", Obj::boolean(true));
    }
    match column.index_kind() {
        IndexKind::Ordered => option("-index", Obj::string("ordered")),
        IndexKind::Hash if !is_key => option("-index", Obj::string("hash")),
        _ => {}
    }
    if column.is_unique() && !is_key {
        option("-unique", Obj::boolean(true));
    }
    if let Some(value) = column.default_value() {
        option("-default", convert::write(value));
    }
    let aliases: Vec<_> = column.aliases().map(Obj::string).collect();
    if !aliases.is_empty() {
        option("-alias", Obj::list(&aliases));
    }
    Obj::list(&words)
}
