use proptest::prelude::*;

use super::*;
use crate::row::OwnedValue;
use crate::row::arbitrary;

fn read(kind: ColumnType, text: &str) -> Result<OwnedValue, RowError> {
    parse(&Column::new("c", kind), text.as_bytes()).map(OwnedValue::from)
}

fn written(value: Value<'_>) -> String {
    let mut text = Vec::new();
    format(value, &mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn integers_to_the_limits() {
    for (text, number) in [
        ("0", 0),
        ("-0", 0),
        ("+7", 7),
        ("007", 7),
        ("999999999999999999", 999_999_999_999_999_999),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("0000000000000000000000005", 5),
    ] {
        assert_eq!(read(ColumnType::I64, text), Ok(OwnedValue::I64(number)), "{text}");
    }
    for text in ["9223372036854775808", "-9223372036854775809", "99999999999999999999999"] {
        assert!(matches!(read(ColumnType::I64, text), Err(RowError::Range { .. })), "{text}");
    }
    for text in ["-", "+", "1.0", " 1", "1 ", "0x10", "1e3", "--1", "12345678901234567890x", "\u{663}"] {
        assert!(matches!(read(ColumnType::I64, text), Err(RowError::Parse { .. })), "{text}");
    }
    assert!(matches!(read(ColumnType::I16, "32768"), Err(RowError::Range { .. })));
    assert!(matches!(read(ColumnType::I32, "-2147483649"), Err(RowError::Range { .. })));
}

#[test]
fn floats_are_finite() {
    assert_eq!(read(ColumnType::F64, "46.962982"), Ok(OwnedValue::F64(46.962_982)));
    assert_eq!(read(ColumnType::F32, "-1e-3"), Ok(OwnedValue::F32(-1e-3)));
    for text in ["nan", "NaN", "inf", "-infinity"] {
        assert!(matches!(read(ColumnType::F64, text), Err(RowError::NotFinite { .. })), "{text}");
    }
    assert!(matches!(read(ColumnType::F64, "1e400"), Err(RowError::Range { .. })));
    assert!(matches!(read(ColumnType::F32, "1e40"), Err(RowError::Range { .. })));
    for text in ["", ".", "1,5", "1.5x", " 1", "--1"] {
        assert!(matches!(read(ColumnType::F64, text), Err(RowError::Parse { .. })), "{text}");
    }
}

#[test]
fn words_characters_and_addresses() {
    assert_eq!(read(ColumnType::Bool, "Yes"), Ok(OwnedValue::Bool(true)));
    assert_eq!(read(ColumnType::Bool, "0"), Ok(OwnedValue::Bool(false)));
    assert!(read(ColumnType::Bool, "2").is_err());
    assert_eq!(read(ColumnType::Char, "\u{20ac}"), Ok(OwnedValue::Char('\u{20ac}')));
    assert!(read(ColumnType::Char, "ab").is_err());
    assert_eq!(
        read(ColumnType::Mac, "00:1B:44:11:3a:b7"),
        Ok(OwnedValue::Mac([0, 0x1b, 0x44, 0x11, 0x3a, 0xb7]))
    );
    assert_eq!(read(ColumnType::Mac, "00-1b-44-11-3a-b7"), read(ColumnType::Mac, "00:1b:44:11:3a:b7"));
    for text in ["00:1b:44-11:3a:b7", "00:1b:44:11:3a", "0+:1b:44:11:3a:b7", "00:1b:44:11:3a:b7:"] {
        assert!(read(ColumnType::Mac, text).is_err(), "{text}");
    }
    assert_eq!(written(Value::Mac([0, 0x1b, 0x44, 0x11, 0x3a, 0xb7])), "00:1b:44:11:3a:b7");
    assert!(read(ColumnType::Inet, "10.0.0.256").is_err());
    assert_eq!(read(ColumnType::Inet, "::1").map(|value| value.to_string()), Ok("::1".into()));
}

#[test]
fn nulls_where_they_are_allowed() {
    let nullable = Column::new("c", ColumnType::String(9)).nullable();
    assert_eq!(parse(&nullable, b""), Ok(Value::Null));
    assert_eq!(parse(&nullable, NULL), Ok(Value::Null));
    assert_eq!(read(ColumnType::String(9), ""), Ok(OwnedValue::Str("".into())));
    assert_eq!(read(ColumnType::String(9), "\\N"), Err(RowError::NotNull { column: "c".into() }));
    assert!(matches!(read(ColumnType::I32, ""), Err(RowError::Parse { .. })));
}

#[test]
fn bad_text_says_where_and_is_shortened() {
    let column = Column::new("c", ColumnType::FixedString(9));
    assert_eq!(parse(&column, b"ab\xff"), Err(RowError::Utf8 { column: "c".into(), offset: 2 }));
    let error = read(ColumnType::I32, &"y".repeat(1 << 20)).unwrap_err();
    assert_eq!(error.to_string(), format!("column \"c\": expected int but got \"{}...\"", "y".repeat(40)));
    let schema = Schema::builder("T").column(column).key("c").build().unwrap();
    let mut image = RowImage::new(&schema);
    assert!(matches!(parse_into(&schema, 0, b"a\0", &mut image), Err(RowError::Nul { offset: 1, .. })));
    assert!(matches!(parse_into(&schema, 0, b"0123456789", &mut image), Err(RowError::TooLong { .. })));
    assert!(matches!(parse_into(&schema, 0, b"", &mut image), Err(RowError::EmptyKey { .. })));
}

proptest! {
    #[test]
    fn text_round_trips((kind, value) in arbitrary::column_type().prop_flat_map(|kind| (Just(kind), arbitrary::value(kind)))) {
        let text = written(value.as_value());
        prop_assume!(text.as_bytes() != NULL);
        prop_assert_eq!(read(kind, &text), Ok(value));
    }

    #[test]
    fn any_text_is_a_value_or_an_error(kind in arbitrary::column_type(), text in prop::collection::vec(any::<u8>(), 0..24)) {
        let _ = parse(&Column::new("c", kind), &text);
    }

    #[test]
    fn integers_read_as_std_reads_them(text in "[-+]?[0-9]{1,22}") {
        let expected = text.parse::<i64>().ok().map(OwnedValue::I64);
        prop_assert_eq!(read(ColumnType::I64, &text).ok(), expected);
    }
}
