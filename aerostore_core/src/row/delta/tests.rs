use proptest::prelude::*;

use super::*;
use crate::row::arbitrary;

#[test]
fn a_key_alone_is_small() {
    let schema = Schema::builder("T")
        .column(crate::row::Column::new("n", ColumnType::F64).nullable())
        .column(crate::row::Column::new("id", ColumnType::FixedString(24)))
        .key("id")
        .build()
        .unwrap();
    let mut image = RowImage::new(&schema);
    image.set(&schema, 1, Value::Str("BEL3881")).unwrap();
    image.finish(&schema).unwrap();
    let mut bytes = Vec::new();
    encode_key(&schema, image.view(&schema).unwrap(), &mut bytes);
    assert_eq!(bytes, b"\x02\x00\x07BEL3881");
    assert_eq!(key(&schema, &bytes), Ok(Some(Value::Str("BEL3881"))));
    assert_eq!(mask(&bytes), Ok(DirtyMask::of(1)));
}

#[test]
fn foreign_columns_are_refused() {
    let schema = Schema::builder("T")
        .column(crate::row::Column::new("id", ColumnType::I16))
        .key("id")
        .build()
        .unwrap();
    let mut image = RowImage::new(&schema);
    for bytes in [&[2, 0, 1][..], &[1, 2, 1, 1], &[1], &[1, 0, 5], &[]] {
        assert!(decode_into(&schema, bytes, &mut image).unwrap_err().is_corruption(), "{bytes:?}");
    }
    assert_eq!(decode_into(&schema, &[1, 1], &mut image), Err(RowError::NotNull { column: "id".into() }));
}

proptest! {
    #[test]
    fn the_changes_turn_the_old_row_into_the_new((schema, [old, new]) in arbitrary::rows()) {
        let (old, new) = (arbitrary::image(&schema, &old), arbitrary::image(&schema, &new));
        let (old, new) = (old.view(&schema).unwrap(), new.view(&schema).unwrap());
        let mask = changed(&schema, old, new);
        for index in 0..schema.columns().len() {
            prop_assert_eq!(mask.contains(index), old.get(index) != new.get(index));
        }
        let mut bytes = Vec::new();
        encode(&schema, new, mask, &mut bytes);
        let length = bytes.len();
        bytes.push(0xee);
        let mut image = RowImage::from_view(old);
        prop_assert_eq!(decode_into(&schema, &bytes, &mut image), Ok(length));
        image.finish(&schema).unwrap();
        prop_assert_eq!(image.bytes(), new.bytes());
    }

    #[test]
    fn a_whole_row_round_trips((schema, [row]) in arbitrary::rows()) {
        let row = arbitrary::image(&schema, &row);
        let mut bytes = Vec::new();
        encode(&schema, row.view(&schema).unwrap(), all_columns(&schema), &mut bytes);
        let mut image = RowImage::new(&schema);
        prop_assert_eq!(decode_into(&schema, &bytes, &mut image), Ok(bytes.len()));
        prop_assert_eq!(key(&schema, &bytes), Ok(Some(row.view(&schema).unwrap().key())));
        image.finish(&schema).unwrap();
        prop_assert_eq!(image.bytes(), row.bytes());
    }

    #[test]
    fn cut_deltas_are_errors((schema, [row]) in arbitrary::rows(), cut in any::<prop::sample::Index>()) {
        let row = arbitrary::image(&schema, &row);
        let mut bytes = Vec::new();
        encode(&schema, row.view(&schema).unwrap(), all_columns(&schema), &mut bytes);
        let cut = cut.index(bytes.len());
        prop_assert!(decode_into(&schema, &bytes[..cut], &mut RowImage::new(&schema)).unwrap_err().is_corruption());
    }

    #[test]
    fn hostile_bytes_never_panic(schema in arbitrary::schema(), bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut image = RowImage::new(&schema);
        let _ = decode_into(&schema, &bytes, &mut image);
        let _ = (key(&schema, &bytes), mask(&bytes), image.finish(&schema));
    }
}
