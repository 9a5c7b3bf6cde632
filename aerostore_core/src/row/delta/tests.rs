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

/// Two images that agree in some columns, with bytes of the second one damaged if `damage` says so: what a view accepts,
/// whatever it holds.
fn similar_rows() -> impl Strategy<Value = (Schema, Vec<u8>, Vec<u8>)> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (arbitrary::rows(), any::<u64>(), damage).prop_map(|((schema, [old, new]), mix, damage)| {
        let pick = |index: usize| if mix >> index & 1 == 0 { &old[index] } else { &new[index] };
        let mixed: Vec<_> = (0..old.len()).map(|index| pick(index).clone()).collect();
        let [old, mut new] = [&old, &mixed].map(|row| arbitrary::image(&schema, row).bytes().to_vec());
        for (at, byte) in damage {
            let at = at.index(new.len());
            new[at] = byte;
        }
        (schema, old, new)
    })
}

/// What `changed` says, column by column.
fn changed_by_column(schema: &Schema, old: RowView<'_>, new: RowView<'_>) -> DirtyMask {
    let mut mask = DirtyMask::EMPTY;
    for (index, column) in schema.columns().iter().enumerate() {
        let differs = if old.is_null(index) || new.is_null(index) {
            old.is_null(index) != new.is_null(index)
        } else if matches!(column.column_type(), ColumnType::String(_)) {
            old.string_bytes(index) != new.string_bytes(index)
        } else {
            let start = schema.offset(index);
            let range = start..start + column.column_type().fixed_bytes() as usize;
            old.bytes()[range.clone()] != new.bytes()[range]
        };
        mask.set(index, differs);
    }
    mask
}

/// What `encode` appends, value by value.
fn encode_by_value(schema: &Schema, row: RowView<'_>, mask: DirtyMask, out: &mut Vec<u8>) {
    let mask = DirtyMask(mask.0 & all_columns(schema).0);
    let nulls = NullMask(row.nulls().0 & mask.0);
    put_varint(mask.0, out);
    put_varint(nulls.0, out);
    for index in mask.columns().filter(|&index| !nulls.contains(index)) {
        put_value(row.get(index), out);
    }
}

/// 64 columns reach the masks' last bits; all are numbers, so that one run takes the whole row.
#[test]
fn the_widest_table_is_compared_and_encoded_whole() {
    let mut builder = Schema::builder("Wide");
    for index in 0..64 {
        let kind = if index % 3 == 0 { ColumnType::F64 } else { ColumnType::I32 };
        builder = builder.column(crate::row::Column::new(&format!("c{index}"), kind));
    }
    let schema = builder.key("c1").build().unwrap();
    let row = |number: i32| {
        let mut image = RowImage::new(&schema);
        (0..64).for_each(|index| image.set(&schema, index, Value::I32(number)).unwrap());
        image.finish(&schema).unwrap();
        image
    };
    let (old, new) = (row(1), row(2));
    let (old, new) = (old.view(&schema).unwrap(), new.view(&schema).unwrap());
    assert_eq!(changed(&schema, old, new), DirtyMask(u64::MAX));
    assert_eq!(changed(&schema, old, old), DirtyMask::EMPTY);
    for mask in [u64::MAX, 1 << 63, 3 << 62, 0xf0f0 << 40, u64::MAX >> 1] {
        let (mut fast, mut plain) = (Vec::new(), Vec::new());
        encode(&schema, new, DirtyMask(mask), &mut fast);
        encode_by_value(&schema, new, DirtyMask(mask), &mut plain);
        assert_eq!(fast, plain, "{mask:x}");
    }
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
    fn changes_are_those_of_comparing_column_by_column((schema, old, new) in similar_rows()) {
        let old = RowView::new(&schema, &old).unwrap();
        if let Ok(new) = RowView::new(&schema, &new) {
            prop_assert_eq!(changed(&schema, old, new), changed_by_column(&schema, old, new));
            prop_assert_eq!(changed(&schema, new, old), changed_by_column(&schema, new, old));
        }
    }

    #[test]
    fn columns_are_encoded_as_their_values_are((schema, _, row) in similar_rows(), mask in any::<u64>()) {
        if let Ok(row) = RowView::new(&schema, &row) {
            for mask in [DirtyMask(mask), all_columns(&schema), DirtyMask::of(schema.key_index())] {
                let (mut fast, mut plain) = (Vec::new(), Vec::new());
                encode(&schema, row, mask, &mut fast);
                encode_by_value(&schema, row, mask, &mut plain);
                prop_assert_eq!(fast, plain);
            }
        }
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
