//! Rows made by `#[speedtable]`: what is set is what is stored, and what is read back.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail there")]

use std::net::IpAddr;

use aerostore_core::row::{
    ColumnType, DirtyMask, FixedString, IndexKind, Mac, NullRule, Row, RowError, RowImage, RowView, Schema,
    Timestamp, TimestampMicros, TypedColumn, Value, delta, speedtable,
};

/// Every type, plain and optional.
#[speedtable(name = "Every::Type", nulls = "high")]
pub struct Everything {
    flag: bool,
    maybe_flag: Option<bool>,
    short: i16,
    #[column(alias = "number", alias = "count", ordered)]
    int: i32,
    wide: Option<i64>,
    #[column(key, name = "ident")]
    id: FixedString<11>,
    single: f32,
    double: Option<f64>,
    letter: char,
    #[column(max = 40)]
    text: String,
    #[column(max = 40, default = "none", hash)]
    note: Option<String>,
    seconds: Timestamp,
    micros: Option<TimestampMicros>,
    #[column(unique)]
    address: IpAddr,
    #[column(default = -7)]
    level: i16,
    r#type: Option<Mac>,
    place: Option<FixedString<3>>,
}

fn sample() -> Everything {
    let mut row = Everything::new(
        true,
        -5,
        70_000,
        "BEL3881".parse().unwrap(),
        1.5,
        '\u{20ac}',
        "some text".to_owned(),
        Timestamp(1_533_099_600),
        IpAddr::from([10, 0, 0, 1]),
    );
    row.set_double(Some(-0.25));
    row.set_type(Some(Mac([1, 2, 3, 4, 5, 6])));
    row
}

fn encoded(row: &Everything) -> RowImage {
    let mut image = RowImage::new(Everything::schema());
    row.encode(&mut image).unwrap();
    image
}

#[test]
fn the_schema_is_as_declared() {
    let schema = Everything::schema();
    assert_eq!((schema.name(), schema.null_rule()), ("Every::Type", NullRule::High));
    assert_eq!((schema.key_column().name(), schema.find("ident")), ("ident", Some(5)));
    assert_eq!((schema.find("count"), schema.find("type"), schema.find("id")), (Some(3), Some(15), None));
    assert_eq!(schema.column(3).index_kind(), IndexKind::Ordered);
    assert_eq!(schema.column(10).index_kind(), IndexKind::Hash);
    assert!(
        schema.column(13).is_unique() && schema.column(4).is_nullable() && !schema.column(3).is_nullable()
    );
    assert_eq!(schema.column(9).column_type(), ColumnType::String(40));
    assert_eq!(schema.column(14).default_value(), Some(Value::I16(-7)));
    assert_eq!(schema.fixed_bytes(), Everything::LAYOUT.fixed_bytes() as usize);
    assert_eq!(
        (Everything::INT.index(), Everything::ID.name(), Everything::TYPE.name()),
        (3, "ident", "type")
    );
}

#[test]
fn new_rows_have_defaults_and_nulls() {
    let row = sample();
    assert_eq!((row.level(), row.note(), row.wide(), row.place()), (-7, Some("none"), None, None));
    assert_eq!((row.id(), row.text(), row.letter()), ("BEL3881", "some text", '\u{20ac}'));
    assert_eq!(row.nulls().columns().collect::<Vec<_>>(), [1, 4, 12, 16]);
    assert_eq!(row.value(7), Value::F64(-0.25));
}

#[test]
fn images_round_trip() {
    let row = sample();
    let image = encoded(&row);
    let view = image.view(Everything::schema()).unwrap();
    assert_eq!(view.check(), Ok(()));
    for index in 0..17 {
        assert_eq!(view.get(index), row.value(index), "column {index}");
    }
    let back = Everything::decode(view).unwrap();
    assert_eq!(back, row);
    assert!(back.dirty().is_empty() && !row.dirty().is_empty());
    assert_eq!(format!("{back:?}"), format!("{row:?}"));
    assert!(format!("{row:?}").contains("type: Some(Mac([1, 2, 3, 4, 5, 6]))"));
}

#[test]
fn columns_read_views() {
    fn sum<T: Into<f64>>(a: T, b: f64) -> f64 {
        a.into() + b
    }
    let image = encoded(&sample());
    let view = image.view(Everything::schema()).unwrap();
    let double: TypedColumn<Everything, f64> = Everything::DOUBLE;
    assert_eq!(double.get(view).map(|value| sum(value, 1.0)), Some(0.75));
    assert_eq!(Everything::TEXT.get(view), Some("some text"));
    assert_eq!(Everything::PLACE.get(view), None);
    assert_eq!(Everything::SHORT.offset(), Everything::schema().offset(2));
}

#[test]
fn setters_mark_and_deltas_carry_the_change() {
    let old = sample();
    let mut row = old.clone();
    row.clear_dirty();
    row.set_note(None);
    row.set_int(8);
    row.set_place(Some("ZRH".parse().unwrap()));
    assert_eq!(row.dirty(), DirtyMask::of(3).with(10).with(16));
    let mut bytes = b"before".to_vec();
    row.encode_delta(&mut bytes).unwrap();
    let bytes = &bytes[6..];
    assert_eq!(delta::key(Everything::schema(), bytes), Ok(Some(Value::Str("BEL3881"))));

    let mut typed = old.clone();
    assert_eq!(typed.apply_delta(bytes), Ok(bytes.len()));
    assert_eq!(typed, row);
    let mut image = encoded(&old);
    delta::decode_into(Everything::schema(), bytes, &mut image).unwrap();
    image.finish(Everything::schema()).unwrap();
    assert_eq!(image.bytes(), encoded(&row).bytes());
}

#[test]
fn a_delta_that_does_not_fit_changes_nothing() {
    let mut wide = sample();
    wide.clear_dirty();
    wide.set_int(8);
    wide.set_note(Some("a note".to_owned()));
    let mut bytes = Vec::new();
    wide.encode_delta(&mut bytes).unwrap();
    for cut in 0..bytes.len() {
        let mut row = sample();
        assert!(row.apply_delta(&bytes[..cut]).unwrap_err().is_corruption());
        assert_eq!(row, sample());
    }
}

#[test]
fn bad_values_stop_at_the_door() {
    let mut row = sample();
    row.set_double(Some(f64::NAN));
    let mut image = RowImage::new(Everything::schema());
    assert_eq!(row.encode(&mut image), Err(RowError::NotFinite { column: "double".into() }));
    let mut bytes = vec![1, 2, 3];
    assert_eq!(row.encode_delta(&mut bytes), Err(RowError::NotFinite { column: "double".into() }));
    assert_eq!(bytes, [1, 2, 3]);
    row.set_double(None);
    row.set_text("x".repeat(41));
    assert!(matches!(row.encode(&mut image), Err(RowError::TooLong { max_bytes: 40, found_bytes: 41, .. })));
    row.set_text(String::new());
    row.set_id(FixedString::EMPTY);
    assert_eq!(row.encode(&mut image), Err(RowError::EmptyKey { column: "ident".into() }));
}

#[test]
fn values_are_set_by_index() {
    let mut row = sample();
    row.clear_dirty();
    row.set_value(2, Value::I64(12)).unwrap();
    row.set_value(10, Value::Null).unwrap();
    assert_eq!((row.short(), row.note(), row.dirty()), (12, None, DirtyMask::of(2).with(10)));
    assert!(matches!(row.set_value(2, Value::I64(40_000)), Err(RowError::Range { .. })));
    assert!(matches!(row.set_value(2, Value::Null), Err(RowError::NotNull { .. })));
    assert!(matches!(row.set_value(5, Value::Str("much too long")), Err(RowError::TooLong { .. })));
    assert!(matches!(row.set_value(5, Value::Str("")), Err(RowError::EmptyKey { .. })));
    assert_eq!(row.short(), 12);
}

#[test]
#[should_panic(expected = "table Every::Type has no column 17")]
fn there_is_no_column_17() {
    let _ = sample().value(17);
}

#[test]
fn rows_of_another_table_are_refused() {
    #[speedtable]
    struct Small {
        #[column(key)]
        id: i64,
    }
    let image = encoded(&sample());
    let view = image.view(Everything::schema()).unwrap();
    assert_eq!(Small::decode(view).unwrap_err(), RowError::SchemaMismatch { table: "Small".into() });
    assert_eq!(Small::new(5).id(), 5);
}

#[test]
fn a_stored_definition_reads_typed_rows() {
    let stored = Schema::from_bytes(&Everything::schema().to_bytes()).unwrap();
    assert_eq!(stored, **Everything::schema());
    let image = encoded(&sample());
    assert_eq!(Everything::decode(RowView::new(&stored, image.bytes()).unwrap()), Ok(sample()));
}
