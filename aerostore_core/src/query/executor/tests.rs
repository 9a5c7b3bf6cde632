use crate::row::TypedColumn;
use std::ops::ControlFlow;

use crate::index::key::key_bytes;
use crate::query::executor::Sink;
use crate::query::fixture::Table;
use crate::query::{AccessPath, Among, IndexPath, KeyRange, Outcome, Query, SortKey};
use crate::row::{IndexKind, OwnedValue, RowView, Value};

const FLIGHT_ID: TypedColumn<(), String> = TypedColumn::new(0, "flight_id");
const ALTITUDE: TypedColumn<(), i32> = TypedColumn::new(1, "altitude");

fn sorted(keys: &[&str]) -> Query {
    keys.iter().fold(Query::all(), |query, key| query.sort_by(SortKey::parse(key)))
}

#[test]
fn a_stream_stops_at_its_limit() {
    let (keys, outcome) = Table::flights().run(Query::filtered(ALTITUDE.gt(0)).limit(1).offset(1));
    assert_eq!(keys, ["DLH3"]);
    assert_eq!(outcome, Outcome { rows_examined: 3, rows_matched: 2, rows_returned: 1 });
    let (keys, outcome) = Table::flights().run(Query::all().limit(0));
    assert_eq!((keys.len(), outcome), (0, Outcome::default()));
}

#[test]
fn a_visitor_can_stop() {
    let mut table = Table::flights();
    for query in [Query::all(), sorted(&["altitude"]), sorted(&["altitude"]).limit(4)] {
        let plan = table.plan(query);
        let mut seen = 0;
        let visit = &mut |_: RowView<'_>| {
            seen += 1;
            if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let outcome = plan.run(&mut table, visit).expect("a sound plan");
        assert_eq!((seen, outcome.rows_returned), (2, 2));
    }
}

#[test]
fn keys_are_asked_for_once_each_and_not_beyond_the_limit() {
    let mut table = Table::flights();
    let plan = table.plan(Query::filtered(FLIGHT_ID.in_values(["UAL2", "NONE", "UAL2", "DLH3"])).limit(2));
    let outcome = plan.run(&mut table, &mut |_| ControlFlow::Continue(())).expect("a sound plan");
    assert_eq!(outcome.rows_returned, 2);
    assert_eq!(table.points, ["DLH3", "NONE", "UAL2"].map(|key| OwnedValue::Str(key.into())));
}

#[test]
fn sorting_is_stable_with_nulls_last_when_ascending() {
    let mut table = Table::flights();
    assert_eq!(table.run(sorted(&["altitude"])).0, ["SWR5", "UAL2", "BAW4", "UAL1", "DLH3", "GHOST"]);
    assert_eq!(table.run(sorted(&["-altitude"])).0, ["GHOST", "UAL1", "DLH3", "BAW4", "UAL2", "SWR5"]);
    assert_eq!(table.run(sorted(&["-alt", "-lat"])).0, ["GHOST", "DLH3", "UAL1", "BAW4", "UAL2", "SWR5"]);
    assert_eq!(table.run(sorted(&["origin", "ident"])).0, ["BAW4", "UAL1", "UAL2", "DLH3", "SWR5", "GHOST"]);
}

#[test]
fn limit_and_offset_apply_after_the_sort() {
    let mut table = Table::flights();
    assert_eq!(table.run(sorted(&["altitude"]).limit(2)).0, ["SWR5", "UAL2"]);
    assert_eq!(table.run(sorted(&["altitude"]).limit(2).offset(2)).0, ["BAW4", "UAL1"]);
    assert_eq!(table.run(sorted(&["altitude"]).offset(4)).0, ["DLH3", "GHOST"]);
    assert_eq!(table.run(sorted(&["altitude"]).limit(9).offset(9)).0, [""; 0]);
    assert_eq!(table.run(sorted(&["altitude"]).limit(u64::MAX).offset(5)).0, ["GHOST"]);
    assert_eq!(table.run(sorted(&["altitude"]).limit(0)).1, Outcome::default());
}

#[test]
fn rows_are_looked_at_when_every_other_index_has_them() {
    let mut table = Table::flights();
    for column in [1, 2, 6] {
        table.index(column, IndexKind::Ordered, &[]);
    }
    let keys = |low: Value<'_>, high: Value<'_>| {
        let [mut low_key, mut high_key] = [Vec::new(), Vec::new()];
        key_bytes(low, &mut low_key);
        key_bytes(high, &mut high_key);
        vec![KeyRange::new(&low_key, &high_key)]
    };
    let among = |column, ranges| Among { column, kind: IndexKind::Ordered, ranges, estimated_entries: 0 };
    let plan = table.plan(Query::all());
    let mut route = table.route(Query::all());
    route.path = AccessPath::Index(IndexPath {
        kind: IndexKind::Ordered,
        column: 1,
        ranges: keys(Value::I32(-100), Value::I32(40_000)),
        descending: false,
        among: vec![
            among(2, keys(Value::F64(37.0), Value::F64(51.0))),
            among(6, keys(Value::Timestamp(200), Value::Timestamp(500))),
        ],
    });
    let mut found = Vec::new();
    let visit = &mut |row: RowView<'_>| {
        found.push(row.key().to_string());
        ControlFlow::Continue(())
    };
    let tally = plan.run_by(&route, &mut table, Sink::Visit(visit)).expect("a sound route");
    assert_eq!(found, ["UAL2", "DLH3"]);
    assert_eq!((tally.outcome.rows_examined, tally.entries), (2, vec![3, 3]));
}

#[test]
fn a_scan_may_give_more_rows_at_a_time_than_are_filtered_at_once() {
    let mut table = Table::flights();
    let images = table.images.clone();
    (0..24).for_each(|_| table.images.extend(images.iter().cloned()));
    assert_eq!(table.images.len(), 150);
    let (keys, outcome) = table.run(Query::filtered(ALTITUDE.gt(30_000)));
    assert_eq!(keys, ["UAL1", "DLH3"].repeat(25));
    assert_eq!(outcome, Outcome { rows_examined: 150, rows_matched: 50, rows_returned: 50 });
    let (keys, outcome) = table.run(Query::filtered(ALTITUDE.gt(30_000)).limit(1).offset(30));
    assert_eq!(keys, ["UAL1"]);
    assert_eq!(outcome, Outcome { rows_examined: 91, rows_matched: 31, rows_returned: 1 });
}
