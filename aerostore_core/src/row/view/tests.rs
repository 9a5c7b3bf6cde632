use proptest::prelude::*;

use super::*;
use crate::row::arbitrary;
use crate::row::{Column, RowImage};

fn sample() -> Schema {
    Schema::builder("Sample")
        .column(Column::new("id", ColumnType::FixedString(8)))
        .column(Column::new("note", ColumnType::String(20)).nullable())
        .column(Column::new("level", ColumnType::F64).nullable())
        .column(Column::new("on", ColumnType::Bool).nullable())
        .key("id")
        .build()
        .unwrap()
}

fn sample_row(schema: &Schema) -> Vec<u8> {
    let mut image = RowImage::new(schema);
    image.set(schema, 0, Value::Str("k")).unwrap();
    image.set(schema, 1, Value::Str("hello")).unwrap();
    image.set(schema, 2, Value::F64(2.5)).unwrap();
    image.set(schema, 3, Value::Bool(true)).unwrap();
    image.finish(schema).unwrap();
    image.bytes().to_vec()
}

#[test]
fn reads_what_was_written() {
    let schema = sample();
    let bytes = sample_row(&schema);
    let view = RowView::new(&schema, &bytes).unwrap();
    assert_eq!(view.key(), Value::Str("k"));
    assert_eq!(view.string_bytes(1), Some(&b"hello"[..]));
    assert_eq!(view.string_bytes(2), None);
    assert_eq!(view.values().last(), Some(Value::Bool(true)));
    assert_eq!(view.check(), Ok(()));
    assert_eq!(
        format!("{view:?}"),
        r#"{"id": Str("k"), "note": Str("hello"), "level": F64(2.5), "on": Bool(true)}"#
    );
}

#[test]
fn a_short_row_is_refused() {
    let schema = sample();
    let bytes = sample_row(&schema);
    for length in 0..bytes.len() - 3 {
        let error = RowView::new(&schema, &bytes[..length]).unwrap_err();
        assert!(matches!(error, RowError::Truncated { .. }), "{length}: {error}");
    }
}

#[test]
fn a_text_within_the_fixed_part_is_refused() {
    let schema = sample();
    let mut bytes = sample_row(&schema);
    let at = schema.offset(1);
    bytes[at] = 8;
    bytes[at + 1] = 0;
    assert!(matches!(RowView::new(&schema, &bytes), Err(RowError::Corrupt { .. })));
}

/// A copy of such a row would leave out the tail's end, to which the text claims to reach.
#[test]
fn an_empty_text_that_has_a_place_is_refused() {
    let schema = sample();
    let mut image = RowImage::from_view(RowView::new(&schema, &sample_row(&schema)).unwrap());
    image.set(&schema, 1, Value::Str("")).unwrap();
    image.finish(&schema).unwrap();
    let mut bytes = image.bytes().to_vec();
    bytes.extend([0; 8]);
    assert!(RowView::new(&schema, &bytes).is_ok());
    let at = schema.offset(1);
    bytes[at] = u8::try_from(schema.fixed_bytes()).unwrap();
    assert!(matches!(RowView::new(&schema, &bytes), Err(RowError::Corrupt { .. })));
}

#[test]
fn damage_is_found_where_it_is() {
    let schema = sample();
    let sound = sample_row(&schema);
    let cases =
        [(0, 0x80), (0, 1), (schema.offset(0), 0xff), (schema.offset(0) + 4, b'x'), (schema.offset(3), 7)];
    for (at, byte) in cases {
        let mut bytes = sound.clone();
        bytes[at] = byte;
        let view = RowView::new(&schema, &bytes).unwrap();
        let _ = view.values().count();
        let offset = if at == schema.offset(0) + 4 { schema.offset(0) } else { at } as u64;
        assert!(matches!(view.check(), Err(RowError::Corrupt { offset: o, .. }) if o == offset), "byte {at}");
    }
    let mut bytes = sound;
    bytes[schema.offset(2)..schema.offset(2) + 8].copy_from_slice(&f64::NAN.to_le_bytes());
    assert!(RowView::new(&schema, &bytes).unwrap().check().is_err());
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(schema in arbitrary::schema(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(view) = RowView::new(&schema, &bytes) {
            let values: Vec<_> = view.values().collect();
            let _ = view.check();
            let mut image = RowImage::from_view(view);
            for (index, value) in values.into_iter().enumerate() {
                let _ = image.set(&schema, index, value);
            }
            let _ = image.finish(&schema);
        }
    }

    #[test]
    fn one_bad_byte_never_panics((schema, [row]) in arbitrary::rows(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = arbitrary::image(&schema, &row).bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(view) = RowView::new(&schema, &bytes) {
            let _ = (view.values().count(), view.check());
            let mut image = RowImage::from_view(view);
            let _ = image.set(&schema, 0, Value::Str("another text"));
            let _ = image.finish(&schema);
        }
    }
}
