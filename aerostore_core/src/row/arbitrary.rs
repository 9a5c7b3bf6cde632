//! Random column types, values, schemas and rows, for property tests of this layer and those above.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Column, ColumnType, OwnedValue, RowImage, Schema};

/// Any column type; often a variable string, since rows with several of them are the hard ones.
pub(crate) fn column_type() -> impl Strategy<Value = ColumnType> {
    prop_oneof![
        1 => Just(ColumnType::Bool),
        1 => Just(ColumnType::I16),
        1 => Just(ColumnType::I32),
        1 => Just(ColumnType::I64),
        1 => Just(ColumnType::F32),
        1 => Just(ColumnType::F64),
        1 => Just(ColumnType::Char),
        1 => (1..20_u16).prop_map(ColumnType::FixedString),
        4 => (1..40_u32).prop_map(ColumnType::String),
        1 => Just(ColumnType::Timestamp),
        1 => Just(ColumnType::TimestampMicros),
        1 => Just(ColumnType::Inet),
        1 => Just(ColumnType::Mac),
    ]
}

/// Text of at most `max_bytes`, without NUL.
fn text(max_bytes: u32) -> impl Strategy<Value = OwnedValue> {
    "[ -~\u{e9}\u{20ac}\u{1f6e9}\t]{0,40}".prop_map(move |mut text| {
        while text.len() > max_bytes as usize {
            text.pop();
        }
        OwnedValue::Str(text.into())
    })
}

/// Any value that a column of type `kind` takes, other than null.
pub(crate) fn value(kind: ColumnType) -> BoxedStrategy<OwnedValue> {
    match kind {
        ColumnType::Bool => any::<bool>().prop_map(OwnedValue::Bool).boxed(),
        ColumnType::I16 => any::<i16>().prop_map(OwnedValue::I16).boxed(),
        ColumnType::I32 => any::<i32>().prop_map(OwnedValue::I32).boxed(),
        ColumnType::I64 => prop_oneof![any::<i64>(), -3..3_i64].prop_map(OwnedValue::I64).boxed(),
        ColumnType::F32 => finite32().prop_map(OwnedValue::F32).boxed(),
        ColumnType::F64 => finite64().prop_map(OwnedValue::F64).boxed(),
        ColumnType::Char => {
            any::<char>().prop_filter("NUL", |c| *c != '\0').prop_map(OwnedValue::Char).boxed()
        }
        ColumnType::FixedString(bytes) => text(u32::from(bytes)).boxed(),
        ColumnType::String(bytes) => text(bytes).boxed(),
        ColumnType::Timestamp => any::<i64>().prop_map(OwnedValue::Timestamp).boxed(),
        ColumnType::TimestampMicros => any::<i64>().prop_map(OwnedValue::TimestampMicros).boxed(),
        ColumnType::Inet => prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| OwnedValue::Inet(IpAddr::from(octets))),
            any::<[u8; 16]>().prop_map(|octets| OwnedValue::Inet(IpAddr::from(octets))),
        ]
        .boxed(),
        ColumnType::Mac => any::<[u8; 6]>().prop_map(OwnedValue::Mac).boxed(),
    }
}

fn finite32() -> impl Strategy<Value = f32> {
    prop_oneof![
        proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL | proptest::num::f32::ZERO,
        Just(1.5)
    ]
}

fn finite64() -> impl Strategy<Value = f64> {
    prop_oneof![
        proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO,
        -180.0..180.0
    ]
}

/// A table of up to nine columns, all nullable but the key, which is anywhere among them.
pub(crate) fn schema() -> impl Strategy<Value = Schema> {
    (vec(column_type(), 1..10), any::<prop::sample::Index>()).prop_map(|(kinds, key)| {
        let key = key.index(kinds.len());
        let mut builder = Schema::builder("Any");
        for (index, kind) in kinds.into_iter().enumerate() {
            let column = Column::new(&format!("c{index}"), kind);
            builder = builder.column(if index == key { column } else { column.nullable() });
        }
        builder.key(&format!("c{key}")).build().expect("a sound definition")
    })
}

/// Values for every column of `schema`, nulls among them.
pub(crate) fn row(schema: &Schema) -> impl Strategy<Value = Vec<OwnedValue>> + use<> {
    let key = schema.key_index();
    let columns: Vec<_> = schema.columns().iter().map(Column::column_type).enumerate().collect();
    columns
        .into_iter()
        .map(|(index, kind)| {
            if index == key {
                let full = |value: &OwnedValue| *value != OwnedValue::Str("".into());
                value(kind).prop_filter("empty key", full).boxed()
            } else {
                prop_oneof![3 => value(kind), 1 => Just(OwnedValue::Null)].boxed()
            }
        })
        .collect::<Vec<_>>()
}

/// A schema and as many rows of it as asked for.
pub(crate) fn rows<const N: usize>() -> impl Strategy<Value = (Schema, [Vec<OwnedValue>; N])> {
    schema().prop_flat_map(|schema| {
        let rows: [_; N] = std::array::from_fn(|_| row(&schema));
        (Just(schema), rows)
    })
}

/// The finished image of a row.
pub(crate) fn image(schema: &Schema, values: &[OwnedValue]) -> RowImage {
    let mut image = RowImage::new(schema);
    for (index, value) in values.iter().enumerate() {
        image.set(schema, index, value.as_value()).expect("a value of the column");
    }
    image.finish(schema).expect("a whole row");
    image
}
