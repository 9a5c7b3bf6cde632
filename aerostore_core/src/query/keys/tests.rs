use proptest::prelude::*;

use super::*;
use crate::query::{Compare, Expr, Literal, Operator, Predicate};
use crate::row::{Column, NullRule, OwnedValue, Schema, arbitrary};

const OPERATORS: [Operator; 14] = [
    Operator::Equal,
    Operator::NotEqual,
    Operator::Less,
    Operator::LessOrEqual,
    Operator::Greater,
    Operator::GreaterOrEqual,
    Operator::Range,
    Operator::Between,
    Operator::In,
    Operator::NotIn,
    Operator::Match,
    Operator::NotMatch,
    Operator::MatchCase,
    Operator::Prefix,
];

fn schema(kind: ColumnType) -> Schema {
    let key = Column::new("id", ColumnType::I32);
    Schema::builder("One")
        .column(key)
        .column(Column::new("v", kind).nullable())
        .key("id")
        .build()
        .expect("a sound definition")
}

/// A type, values of rows, operands near them, and an operator.
fn cases() -> impl Strategy<Value = (ColumnType, Vec<OwnedValue>, Vec<Literal>, Operator, bool, bool)> {
    arbitrary::column_type().prop_flat_map(|kind| {
        let value = || prop_oneof![9 => arbitrary::value(kind), 1 => Just(OwnedValue::Null)];
        let number = prop_oneof![any::<i64>().prop_map(Literal::Int), (-4.0..4.0).prop_map(Literal::Float)];
        let operand = if kind.is_number() {
            prop_oneof![2 => value().prop_map(|value| text(&value)), 1 => number].boxed()
        } else if kind.is_string() {
            let pattern = "[a-c *?\\[\\]\\\\K]{0,5}".prop_map(Literal::Text);
            prop_oneof![2 => value().prop_map(|value| text(&value)), 1 => pattern].boxed()
        } else {
            value().prop_map(|value| text(&value)).boxed()
        };
        let values = prop::collection::vec(value(), 1..6);
        let operands = prop::collection::vec(operand, 2..4);
        (Just(kind), values, operands, prop::sample::select(&OPERATORS[..]), any::<bool>(), any::<bool>())
    })
}

fn text(value: &OwnedValue) -> Literal {
    if value.as_value().is_null() { Literal::Null } else { Literal::Text(value.to_string()) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn keys_are_those_of_the_rows_that_pass((kind, values, mut operands, operator, high, inverted) in cases()) {
        let schema = schema(kind);
        let nulls = if high { NullRule::High } else { NullRule::Unknown };
        operands.truncate(operator.operand_count().unwrap_or(usize::MAX));
        // Values of rows as operands, so that bounds are met and not only passed.
        if let (Some(first), false) = (operands.first_mut(), operator.takes_text()) {
            *first = text(&values[0]);
        }
        let compare = Expr::Compare(Compare::new("v", operator, operands));
        let Ok(predicate) = Predicate::new(&schema, if inverted { compare.negate() } else { compare }, nulls) else {
            return Ok(());
        };
        let set = KeySet::of(&predicate.node, 1);
        for value in values {
            let image = arbitrary::image(&schema, &[OwnedValue::I32(1), value]);
            let row = image.view(&schema).expect("a finished image");
            let key = key(row.get(1));
            let has = set.ranges.ranges().iter().any(|range| range.contains(&key));
            let passes = predicate.matches(row);
            prop_assert!(has || !passes, "{} loses {}", predicate, row.get(1));
            prop_assert!(!set.exact || has == passes, "{} is not exact for {}", predicate, row.get(1));
        }
    }
}

fn set(kind: ColumnType, operator: Operator, operands: &[&str]) -> RangeSet {
    let operands = operands.iter().map(|text| Literal::from(*text)).collect();
    let compare = Expr::Compare(Compare::new("v", operator, operands));
    let predicate = Predicate::new(&schema(kind), compare, NullRule::Unknown).expect("a sound term");
    KeySet::of(&predicate.node, 1).ranges
}

#[test]
fn bounds_are_rounded_to_what_the_column_holds() {
    let four = key(Value::I32(4));
    assert_eq!(*set(ColumnType::I32, Operator::Greater, &["3.5"]).ranges()[0].low, *four);
    assert!(set(ColumnType::I16, Operator::Greater, &["40000"]).is_empty());
    assert_eq!(set(ColumnType::I16, Operator::Less, &["40000"]), RangeSet::values());
    assert_eq!(
        set(ColumnType::I16, Operator::Less, &["5"]),
        RangeSet::between(&[], &[&key(Value::I16(4))[..], &[0]].concat())
    );
    assert!(set(ColumnType::I64, Operator::Equal, &["-9223372036854775808"]).is_points());
    assert_eq!(
        *set(ColumnType::F32, Operator::Greater, &["0.1"]).ranges()[0].low,
        *key(Value::F32(0.1_f32.next_up()))
    );
    assert_eq!(set(ColumnType::F64, Operator::Equal, &["-0.0"]), RangeSet::points([key(Value::F64(0.0))]));
}

#[test]
fn the_greatest_numbers_are_bounds_like_others() {
    use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
    for kind in [ColumnType::F32, ColumnType::F64] {
        let schema = schema(kind);
        for bound in [f64::MAX, f64::MIN, f64::from(f32::MAX), f64::from(f32::MIN), f64::MIN_POSITIVE, 0.0] {
            for operator in [Less, LessOrEqual, Equal, GreaterOrEqual, Greater] {
                let compare = Compare::new("v", operator, vec![Literal::Float(bound)]);
                let predicate = Predicate::new(&schema, Expr::Compare(compare), NullRule::Unknown).unwrap();
                let set = KeySet::of(&predicate.node, 1);
                assert!(set.exact, "{predicate}");
                for number in [f32::MIN, -1.0, 0.0, f32::MIN_POSITIVE, 1.0, f32::MAX] {
                    let value = if kind == ColumnType::F32 {
                        OwnedValue::F32(number)
                    } else {
                        OwnedValue::F64(f64::from(number))
                    };
                    let image = arbitrary::image(&schema, &[OwnedValue::I32(1), value]);
                    let row = image.view(&schema).expect("a finished image");
                    let has = set.ranges.ranges().iter().any(|range| range.contains(&key(row.get(1))));
                    assert_eq!(has, predicate.matches(row), "{predicate} of {number:e} in {kind}");
                }
            }
        }
    }
}

#[test]
fn no_text_of_a_row_equals_one_with_a_nul_in_it() {
    for kind in [ColumnType::FixedString(4), ColumnType::String(4)] {
        let schema = schema(kind);
        for text in ["", "a", "ab"] {
            let image = arbitrary::image(&schema, &[OwnedValue::I32(1), OwnedValue::Str(text.into())]);
            let row = image.view(&schema).expect("a finished image");
            for operand in ["\0", "a\0", "a\0\0\0", "ab\0b"] {
                for negated in [false, true] {
                    let operands = vec![Literal::Text(operand.to_owned())];
                    let compare = Expr::Compare(Compare::new("v", Operator::Equal, operands));
                    let compare = if negated { compare.negate() } else { compare };
                    let predicate = Predicate::new(&schema, compare, NullRule::Unknown).unwrap();
                    assert_eq!(predicate.matches(row), negated, "{predicate} of {text:?} in {kind}");
                }
            }
        }
    }
}

#[test]
fn equality_is_a_point_whatever_the_type() {
    let equal = [
        (ColumnType::Bool, "1"),
        (ColumnType::I64, "-7"),
        (ColumnType::Char, "x"),
        (ColumnType::Inet, "10.0.0.1"),
        (ColumnType::Inet, "::1"),
        (ColumnType::Mac, "00:11:22:33:44:55"),
        (ColumnType::String(9), "abc"),
        (ColumnType::F32, "0.25"),
    ];
    for (kind, operand) in equal {
        let set = set(kind, Operator::Equal, &[operand]);
        assert!(set.is_points() && set.ranges().len() == 1, "{kind}");
    }
}
