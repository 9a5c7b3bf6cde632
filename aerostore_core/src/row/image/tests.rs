use proptest::prelude::*;

use super::*;
use crate::row::arbitrary;
use crate::row::{Column, OwnedValue};

fn notes() -> Schema {
    Schema::builder("Notes")
        .column(Column::new("a", ColumnType::String(600_000)).nullable())
        .column(Column::new("id", ColumnType::I32))
        .column(Column::new("b", ColumnType::String(600_000)).nullable())
        .column(Column::new("level", ColumnType::I16).default(7))
        .column(Column::new("share", ColumnType::F32).nullable())
        .key("id")
        .build()
        .unwrap()
}

fn finished(schema: &Schema, sets: &[(usize, Value<'_>)]) -> RowImage {
    let mut image = RowImage::new(schema);
    for &(index, value) in sets {
        image.set(schema, index, value).unwrap();
    }
    image.finish(schema).unwrap();
    image
}

#[test]
fn equal_rows_have_equal_bytes_however_they_came_about() {
    let schema = notes();
    let direct = finished(&schema, &[(0, "one".into()), (1, 5.into()), (2, "two".into())]);
    let detour = finished(
        &schema,
        &[
            (2, "something else".into()),
            (1, 5.into()),
            (0, "longer than one".into()),
            (2, Value::Null),
            (4, Value::F64(-0.0)),
            (0, "one".into()),
            (2, "owt".into()),
            (2, "two".into()),
            (4, Value::Null),
        ],
    );
    assert_eq!(direct.bytes(), detour.bytes());
    let positive = finished(&schema, &[(1, 5.into()), (4, 0.0_f32.into())]);
    let negative = finished(&schema, &[(1, 5.into()), (4, (-0.0_f32).into())]);
    assert_eq!(positive.bytes(), negative.bytes());
    assert_eq!(direct.bytes().len() % 8, 0);
}

#[test]
fn texts_set_backwards_lie_forwards() {
    let schema = notes();
    let forwards = finished(&schema, &[(0, "one".into()), (1, 5.into()), (2, "two".into())]);
    let backwards = finished(&schema, &[(2, "two".into()), (1, 5.into()), (0, "one".into())]);
    assert_eq!(forwards.bytes(), backwards.bytes());
}

#[test]
fn defaults_and_missing_values() {
    let schema = notes();
    let image = finished(&schema, &[(1, 5.into())]);
    assert_eq!(image.view(&schema).unwrap().get(3), Value::I16(7));
    assert_eq!(image.view(&schema).unwrap().get(0), Value::Null);
    let mut keyless = RowImage::new(&schema);
    assert_eq!(keyless.finish(&schema), Err(RowError::NotNull { column: "id".into() }));
    assert_eq!(keyless.set(&schema, 3, Value::Null), Err(RowError::NotNull { column: "level".into() }));
}

#[test]
fn a_refused_value_changes_nothing() {
    let schema = notes();
    let mut image = finished(&schema, &[(0, "one".into()), (1, 5.into())]);
    let before = image.bytes().to_vec();
    let long = "x".repeat(600_001);
    let refused = [
        (1, Value::I64(1 << 40)),
        (1, Value::F64(1.0)),
        (1, Value::Str("5")),
        (3, Value::I32(40_000)),
        (4, Value::F64(f64::NAN)),
        (4, Value::F64(f64::INFINITY)),
        (4, Value::F64(1e300)),
        (4, Value::I32(16_777_217)),
        (0, Value::Str("a\0b")),
        (0, Value::Str(&long)),
    ];
    for (index, value) in refused {
        assert!(image.set(&schema, index, value).is_err(), "column {index}");
    }
    assert_eq!(image.bytes(), before);
}

#[test]
fn numbers_pass_between_types_without_loss() {
    let schema = notes();
    let image = finished(&schema, &[(1, Value::I64(-5)), (3, Value::I32(9)), (4, Value::I16(3))]);
    let view = image.view(&schema).unwrap();
    assert_eq!((view.get(1), view.get(3), view.get(4)), (Value::I32(-5), Value::I16(9), Value::F32(3.0)));
}

#[test]
fn an_empty_key_is_refused() {
    let schema =
        Schema::builder("T").column(Column::new("id", ColumnType::String(9))).key("id").build().unwrap();
    let error = RowImage::new(&schema).set(&schema, 0, Value::Str(""));
    assert_eq!(error, Err(RowError::EmptyKey { column: "id".into() }));
}

#[test]
fn replaced_texts_never_make_a_row_too_wide() {
    let schema = notes();
    let mut image = RowImage::new(&schema);
    image.set(&schema, 1, 1.into()).unwrap();
    for length in (0..50).map(|step| 500_000 - step) {
        image.set(&schema, 2, Value::Str(&"y".repeat(length))).unwrap();
        image.set(&schema, 0, Value::Str(&"x".repeat(length))).unwrap();
    }
    image.finish(&schema).unwrap();
    assert_eq!(image.view(&schema).unwrap().string_bytes(0).map(<[u8]>::len), Some(499_951));
    let wide = "z".repeat(600_000);
    assert!(matches!(image.set(&schema, 2, Value::Str(&wide)), Err(RowError::TooWide { .. })));
    image.finish(&schema).unwrap();
    assert_eq!(image.view(&schema).unwrap().string_bytes(2).map(<[u8]>::len), Some(499_951));
}

#[test]
fn a_row_of_another_table_is_refused() {
    let (schema, other) =
        (notes(), Schema::builder("T").column(Column::new("id", ColumnType::Mac)).key("id"));
    let other = other.build().unwrap();
    let mut image = RowImage::new(&other);
    let mismatch = RowError::SchemaMismatch { table: "Notes".into() };
    assert_eq!(image.set(&schema, 1, 5.into()), Err(mismatch.clone()));
    assert_eq!(image.finish(&schema), Err(mismatch.clone()));
    assert_eq!(image.view(&schema).unwrap_err(), mismatch);
}

#[test]
fn of_several_values_those_before_a_bad_one_are_set() {
    let schema = notes();
    let mut image = finished(&schema, &[(1, 5.into())]);
    let values = [(1, Value::I32(6)), (4, Value::F64(f64::NAN)), (3, Value::I16(8))];
    assert_eq!(image.set_all(&schema, &values), Err(RowError::NotFinite { column: "share".into() }));
    image.finish(&schema).unwrap();
    assert_eq!(image.bytes(), finished(&schema, &[(1, 6.into())]).bytes());
}

/// A value of any type, also one that a column may refuse, and the zeros.
fn any_value() -> impl Strategy<Value = OwnedValue> {
    prop_oneof![
        6 => arbitrary::column_type().prop_flat_map(arbitrary::value),
        1 => prop::sample::select(vec![0.0, -0.0, f64::NAN, f64::INFINITY]).prop_map(OwnedValue::F64),
        1 => prop::sample::select(vec!["", "a\0b", "\0"]).prop_map(|text| OwnedValue::Str(text.into())),
        1 => Just(OwnedValue::Null),
    ]
}

proptest! {
    #[test]
    fn images_round_trip((schema, [values]) in arbitrary::rows()) {
        let image = arbitrary::image(&schema, &values);
        let view = RowView::new(&schema, image.bytes()).unwrap();
        prop_assert_eq!(view.check(), Ok(()));
        prop_assert_eq!(view.values().map(OwnedValue::from).collect::<Vec<_>>(), values);
    }

    #[test]
    fn a_changed_copy_equals_a_new_row((schema, [old, new]) in arbitrary::rows(), order in any::<u64>()) {
        let expected = arbitrary::image(&schema, &new);
        let base = arbitrary::image(&schema, &old);
        let mut image = RowImage::from_view(base.view(&schema).unwrap());
        let mut columns: Vec<usize> = (0..new.len()).collect();
        columns.sort_by_key(|&index| order.rotate_left(u32::try_from(index * 7).unwrap()) & 0xff);
        for index in columns {
            image.set(&schema, index, new[index].as_value()).unwrap();
        }
        image.finish(&schema).unwrap();
        prop_assert_eq!(image.bytes(), expected.bytes());
    }

    #[test]
    fn the_common_cases_do_what_the_door_does(
        (schema, [row, other]) in arbitrary::rows(), values in prop::collection::vec(any_value(), 10),
    ) {
        let mut plain = arbitrary::image(&schema, &row);
        let mut one = plain.clone();
        let mut all = plain.clone();
        for (index, fitting) in other.iter().enumerate() {
            for value in [fitting.as_value(), values[index].as_value()] {
                let expected = plain.set_any(&schema, index, &value);
                prop_assert_eq!(&one.set(&schema, index, value), &expected);
                prop_assert_eq!(&all.set_all(&schema, &[(index, value)]), &expected);
                for fast in [&one, &all] {
                    prop_assert_eq!(&fast.bytes, &plain.bytes);
                    prop_assert_eq!((fast.assigned, fast.ragged), (plain.assigned, plain.ragged));
                    prop_assert_eq!(fast.finished, plain.finished);
                }
            }
        }
        let finished = plain.finish_any(&schema);
        prop_assert_eq!(one.finish(&schema), finished);
        prop_assert_eq!(one.bytes(), plain.bytes());
    }

    #[test]
    fn a_row_has_what_it_gives_out(
        (schema, [row]) in arbitrary::rows(), value in any_value(), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let sound = arbitrary::image(&schema, &row);
        let mut bytes = sound.bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let damaged = RowView::new(&schema, &bytes).map(RowImage::from_view);
        for image in [Some(sound), damaged.ok()].iter().flatten() {
            let view = image.view(&schema).unwrap();
            for (index, stored) in row.iter().enumerate() {
                for value in [stored.as_value(), value.as_value(), view.get(index), Value::Str("")] {
                    prop_assert_eq!(image.has(&schema, index, value), Ok(view.get(index) == value));
                }
            }
        }
    }
}
