use crate::query::fixture::Table;
use crate::query::{AccessPath, Compare, Expr, Operator, Query, Route};
use crate::row::OwnedValue;
use crate::row::TypedColumn;

const FLIGHT_ID: TypedColumn<(), String> = TypedColumn::new(0, "flight_id");
const ALTITUDE: TypedColumn<(), i32> = TypedColumn::new(1, "altitude");

fn plan(filter: Expr) -> Route {
    Table::flights().route(Query::filtered(filter))
}

fn text(text: &str) -> OwnedValue {
    OwnedValue::Str(text.into())
}

#[test]
fn a_key_is_a_point_and_needs_no_filter() {
    let plan = plan(FLIGHT_ID.eq("UAL1"));
    assert_eq!(plan.access_path(), &AccessPath::Point(text("UAL1")));
    assert!(plan.residual().is_none());
}

#[test]
fn several_keys_are_points_without_duplicates() {
    let plan = plan(FLIGHT_ID.in_values(["UAL2", "UAL1", "UAL2"]).and(ALTITUDE.gt(5)));
    assert_eq!(plan.access_path(), &AccessPath::Points(vec![text("UAL1"), text("UAL2")]));
    assert_eq!(plan.residual().map(ToString::to_string).as_deref(), Some("{> altitude 5}"));
}

#[test]
fn conditions_on_the_key_intersect() {
    let both = FLIGHT_ID.in_values(["UAL2", "UAL1"]).and(FLIGHT_ID.eq("UAL1"));
    assert_eq!(plan(both).access_path(), &AccessPath::Point(text("UAL1")));
    let contradiction = FLIGHT_ID.eq("UAL2").and(FLIGHT_ID.eq("UAL1"));
    assert_eq!(plan(contradiction).access_path(), &AccessPath::Nothing);
}

#[test]
fn alternatives_on_the_key_unite() {
    let either = FLIGHT_ID.eq("UAL2").or(FLIGHT_ID.eq("DLH3").and(ALTITUDE.gt(5)));
    let plan = plan(either);
    assert_eq!(plan.access_path(), &AccessPath::Points(vec![text("DLH3"), text("UAL2")]));
    assert!(plan.residual().is_some(), "the altitude is still to be asked");
}

#[test]
fn everything_else_is_a_scan() {
    assert_eq!(plan(ALTITUDE.eq(5)).access_path(), &AccessPath::Scan);
    assert_eq!(plan(FLIGHT_ID.eq("UAL1").negate()).access_path(), &AccessPath::Scan);
    assert_eq!(plan(FLIGHT_ID.eq("UAL1").or(ALTITUDE.gt(5))).access_path(), &AccessPath::Scan);
    assert_eq!(plan(FLIGHT_ID.prefix("UAL")).access_path(), &AccessPath::Scan);
}

#[test]
fn keys_that_cannot_be_are_not_looked_up() {
    assert_eq!(plan(FLIGHT_ID.eq("TOOLONGFORIT")).access_path(), &AccessPath::Nothing);
    assert_eq!(plan(FLIGHT_ID.eq("")).access_path(), &AccessPath::Nothing);
    assert_eq!(plan(FLIGHT_ID.in_values(["", "UAL1"])).access_path(), &AccessPath::Point(text("UAL1")));
    assert_eq!(plan(FLIGHT_ID.is_null()).access_path(), &AccessPath::Nothing);
    assert_eq!(plan(ALTITUDE.between(5, 4)).access_path(), &AccessPath::Nothing);
}

#[test]
fn cheap_questions_come_first() {
    let origin: TypedColumn<(), String> = TypedColumn::new(2, "origin");
    let plan = plan(origin.matches("z*").and(ALTITUDE.gt(5)));
    assert_eq!(
        plan.residual().map(ToString::to_string).as_deref(),
        Some("{> altitude 5} and {match origin z*}")
    );
}

#[test]
fn a_condition_written_in_two_ways_stands_once() {
    let typed = ALTITUDE.gte(5);
    let text = Expr::Compare(Compare::new("altitude", Operator::GreaterOrEqual, vec!["5".into()]));
    for terms in [vec![typed.clone(), text.clone()], vec![text, typed]] {
        let residual = plan(Expr::All(terms)).residual().map(ToString::to_string);
        assert_eq!(residual.as_deref(), Some("{>= altitude 5}"));
    }
}
