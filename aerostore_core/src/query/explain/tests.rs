//! Twenty query shapes: each is explained as what it is, with estimates near what comes, and gives the right rows.

use std::ops::ControlFlow;

use crate::query::fixture::Table;
use crate::query::{Expr, Plan, Query, SortKey, StepKind, compare};
use crate::row::{Column, ColumnType, IndexKind, OwnedValue, RowView, Schema};

const ROWS: i32 = 4000;

/// Rows whose values are spread evenly: altitude 0 to 3999 once each in a mixed order, speed 0 to 99, twenty airports, lat
/// from -90 to 90, a null altitude in every fortieth row, a note without index.
fn table() -> Table {
    let schema = Schema::builder("Flight")
        .column(Column::new("id", ColumnType::String(8)))
        .column(Column::new("alt", ColumnType::I32).nullable())
        .column(Column::new("gs", ColumnType::I32))
        .column(Column::new("dest", ColumnType::String(4)))
        .column(Column::new("lat", ColumnType::F64))
        .column(Column::new("note", ColumnType::I32))
        .key("id")
        .build()
        .expect("a sound definition");
    let row = |number: i32| {
        let mixed = number * 1237 % ROWS;
        let alt = if number % 40 == 7 { OwnedValue::Null } else { OwnedValue::I32(mixed) };
        vec![
            OwnedValue::Str(format!("F{number:04}").into()),
            alt,
            OwnedValue::I32(number * 31 % 100),
            OwnedValue::Str(
                format!("{}AP", char::from(b'A' + u8::try_from(number % 20).expect("small"))).into(),
            ),
            OwnedValue::F64(f64::from(number * 7 % ROWS) * 180.0 / f64::from(ROWS) - 90.0),
            OwnedValue::I32(number % 10),
        ]
    };
    let mut table = Table::new(schema, &(0..ROWS).map(row).collect::<Vec<_>>());
    table.index(1, IndexKind::Ordered, &[]);
    table.index(2, IndexKind::Ordered, &[]);
    table.index(3, IndexKind::Ordered, &[]);
    table.index(4, IndexKind::Ordered, &[]);
    table
}

struct Shape {
    all: &'static [&'static str],
    any: &'static [&'static str],
    sort: &'static [&'static str],
    limit: Option<u64>,
    /// The access step with its index, and all others before it.
    steps: &'static [StepKind],
    columns: &'static [&'static str],
}

fn terms(table: &Table, terms: &[&str]) -> Vec<Expr> {
    let words = |term: &&str| compare::term(&table.schema, &term.split(' ').collect::<Vec<_>>());
    terms.iter().map(|term| words(term).expect("a sound term")).collect()
}

fn query(table: &Table, shape: &Shape) -> Query {
    let mut query = Query::filtered(Expr::All(terms(table, shape.all)));
    if !shape.any.is_empty() {
        query = query.and(Expr::Any(terms(table, shape.any)));
    }
    let query = shape.sort.iter().fold(query, |query, key| query.sort_by(SortKey::parse(key)));
    shape.limit.map_or(query.clone(), |limit| query.limit(limit))
}

const NONE: Shape = Shape { all: &[], any: &[], sort: &[], limit: None, steps: &[], columns: &[] };

fn shapes() -> Vec<Shape> {
    use StepKind::{Among, Filter, Index, Limit, Nothing, Point, Points, Scan, Sort, SortGroups, Top, Union};
    vec![
        Shape { all: &["= id F0007", "> gs 1"], steps: &[Filter, Point], columns: &["id"], ..NONE },
        Shape { all: &["in id F0007 F0100 F0007 none"], steps: &[Points], columns: &["id"], ..NONE },
        Shape { steps: &[Scan], ..NONE },
        Shape { all: &["= note 3"], steps: &[Filter, Scan], ..NONE },
        Shape { all: &["> alt 500"], steps: &[Filter, Scan], ..NONE },
        Shape { all: &["= gs 50"], steps: &[Index], columns: &["gs"], ..NONE },
        Shape { all: &[">= alt 1000", "< alt 1100"], steps: &[Index], columns: &["alt"], ..NONE },
        Shape { all: &["between lat 10 12", "= note 3"], steps: &[Filter, Index], columns: &["lat"], ..NONE },
        Shape { all: &["in gs 3 50 3"], steps: &[Index], columns: &["gs"], ..NONE },
        Shape { all: &["prefix dest C"], steps: &[Index], columns: &["dest"], ..NONE },
        Shape { all: &["match dest c*"], steps: &[Index], columns: &["dest"], ..NONE },
        Shape { all: &["match_case dest C?P"], steps: &[Filter, Index], columns: &["dest"], ..NONE },
        Shape { all: &["null alt"], steps: &[Index], columns: &["alt"], ..NONE },
        Shape { all: &["> alt 3", "< alt 3"], steps: &[Nothing], ..NONE },
        Shape { sort: &["-alt"], limit: Some(10), steps: &[Limit, Index], columns: &["alt"], ..NONE },
        Shape {
            sort: &["gs", "-alt"],
            limit: Some(10),
            steps: &[Limit, SortGroups, Index],
            columns: &["gs"],
            ..NONE
        },
        Shape {
            all: &["between alt 100 199"],
            sort: &["-gs"],
            limit: Some(5),
            steps: &[Limit, Top, Index],
            columns: &["alt"],
            ..NONE
        },
        Shape { sort: &["note"], limit: Some(10), steps: &[Limit, Top, Scan], ..NONE },
        Shape { all: &["= note 3"], sort: &["note", "id"], steps: &[Sort, Filter, Scan], ..NONE },
        Shape {
            any: &["= gs 50", "< alt 100", "= id F0001"],
            steps: &[Union, Index, Index, Point],
            columns: &["alt", "gs", "id"],
            ..NONE
        },
        Shape {
            all: &["between alt 1000 1999", "between lat 10 60"],
            steps: &[Filter, Index, Among],
            columns: &["lat", "alt"],
            ..NONE
        },
        Shape {
            all: &["= gs 50", "= note 0"],
            limit: Some(1),
            steps: &[Limit, Filter, Index],
            columns: &["gs"],
            ..NONE
        },
    ]
}

#[test]
fn explanations_tell_the_truth() {
    let mut table = table();
    for shape in shapes() {
        let query = query(&table, &shape);
        let plan = Plan::new(&table.schema, query).expect("a sound query");
        let explain = plan.explain_run(&mut table, false).expect("a run");
        let steps: Vec<StepKind> = explain.steps.iter().map(|step| step.kind).collect();
        assert_eq!(steps, shape.steps, "{explain}");
        let reaching = explain.steps.iter().filter(|step| {
            use StepKind::{Among, Index, Point, Points};
            matches!(step.kind, Index | Among | Point | Points)
        });
        let columns: Vec<&str> = reaching.flat_map(|step| &step.columns).map(String::as_str).collect();
        assert_eq!(columns, shape.columns, "{explain}");
        for step in &explain.steps {
            let actual = step.actual.expect("a run");
            // Of a column without index nothing is known.
            let factor = if shape.all.iter().any(|term| term.contains("note")) { 12 } else { 3 };
            let near = |a: u64, b: u64| a <= factor * b + 40;
            assert!(near(step.estimated, actual) && near(actual, step.estimated), "{step} in\n{explain}");
        }

        // The same rows as a look at every row finds, and as many looked at as it says.
        let mut looked_at = 0;
        let mut found = Vec::new();
        let filter = plan.filter().cloned();
        for image in &table.images {
            let row = image.view(&table.schema).expect("a finished image");
            if filter.as_ref().is_none_or(|filter| filter.matches(row)) {
                found.push(row.key().to_string());
            }
        }
        let outcome = plan
            .run(&mut table, &mut |row: RowView<'_>| {
                looked_at += 1;
                assert!(found.contains(&row.key().to_string()), "{explain}");
                ControlFlow::Continue(())
            })
            .expect("a run");
        assert_eq!(Some(outcome), explain.outcome);
        let wanted = (found.len() as u64).min(plan.limit().unwrap_or(u64::MAX));
        assert_eq!((looked_at, outcome.rows_returned), (wanted, wanted), "{explain}");
        let reached: u64 = explain
            .steps
            .iter()
            .filter(|step| {
                use StepKind::{Index, Nothing, Point, Points, Scan};
                matches!(step.kind, Index | Nothing | Point | Points | Scan)
            })
            .filter_map(|step| step.actual)
            .sum();
        assert_eq!(reached, outcome.rows_examined, "{explain}");
    }
}

#[test]
fn an_index_spares_what_it_can() {
    let mut table = table();
    let mut examined = |shape: Shape| {
        let plan = Plan::new(&table.schema, query(&table, &shape)).expect("a sound query");
        plan.explain_run(&mut table, false).expect("a run").outcome.expect("a run").rows_examined
    };
    assert_eq!(examined(Shape { all: &["between alt 1000 1099"], ..NONE }), 97);
    assert_eq!(examined(Shape { sort: &["-alt"], limit: Some(10), ..NONE }), 10);
    let both = Shape { all: &["between alt 1000 1999", "between lat 10 60"], ..NONE };
    assert!(examined(both) < 350, "entries of one index spare rows of the other");
    let group = Shape { sort: &["gs", "-alt"], limit: Some(10), ..NONE };
    assert_eq!(examined(group), 41, "a group and the first row of the next");
}

/// The table as if it had a million rows.
fn large() -> Table {
    let mut table = table();
    table.exaggeration = (250, (1..=4).map(|column| (column, 250)).collect());
    table
}

/// The kinds of the steps by which rows are reached.
fn reached_by(table: &mut Table, all: &'static [&'static str]) -> Vec<StepKind> {
    let plan = Plan::new(&table.schema, query(table, &Shape { all, ..NONE })).expect("a sound query");
    let explain = plan.explain_estimate(table, true).expect("statistics");
    let reaches = |kind: &StepKind| matches!(kind, StepKind::Scan | StepKind::Index | StepKind::Among);
    explain.steps.iter().map(|step| step.kind).filter(reaches).collect()
}

/// Where the ways cost the same, as `costs` of `aerostore_bench` measures it, either will do.
#[test]
fn the_way_that_was_measured_to_be_quicker_is_taken() {
    use StepKind::{Among, Index, Scan};
    let mut table = large();
    for (all, wanted) in [
        (&["< alt 40"][..], &[Index][..]),
        (&["< alt 600"], &[Index]),
        (&["< alt 1800"], &[Scan]),
        (&["< alt 3500"], &[Scan]),
        (&["< alt 200", "< lat -81"], &[Index, Among]),
        (&["< alt 40", "< lat 0"], &[Index]),
    ] {
        assert_eq!(reached_by(&mut table, all), wanted, "{all:?}");
    }
}

#[test]
fn a_scan_takes_the_threads_that_make_it_shorter() {
    let threads = |table: &mut Table, query: Query, counting: bool| {
        let plan = table.plan(query);
        let explain = plan.explain_estimate(table, counting).expect("statistics");
        let detail = &explain.steps.last().expect("a step").detail;
        detail.split_once(" by ").map_or(1, |(_, by)| by.replace(" threads", "").parse().expect("a number"))
    };
    let (mut small, mut large) = (table(), large());
    assert_eq!(threads(&mut small, Query::all().threads(8), true), 1, "they cost more than they spare");
    assert_eq!(threads(&mut large, Query::all().threads(2), true), 2);
    assert_eq!(threads(&mut large, Query::all().threads(8), true), 8);
    assert!(
        threads(&mut large, Query::all().threads(u32::MAX), true) < 30,
        "each has to spare what it costs"
    );
    assert_eq!(threads(&mut large, Query::all(), true), 1, "they have to be asked for");
    assert_eq!(
        threads(&mut large, Query::all().threads(8), false),
        1,
        "all rows would have to be handed over"
    );
    assert_eq!(threads(&mut large, Query::all().sort_by(SortKey::parse("note")).threads(8), false), 8);
    assert_eq!(threads(&mut large, Query::all().limit(100).threads(8), false), 1, "a limit ends it soon");
}

#[test]
fn a_count_needs_no_order() {
    let mut table = table();
    let plan = Plan::new(&table.schema, Query::all().sort_by(SortKey::parse("-alt"))).expect("a sound query");
    let explain = plan.explain_run(&mut table, true).expect("a run");
    assert_eq!(explain.to_string(), "scan of Flight (estimated 4000, actual 4000)");
}

#[test]
fn steps_are_told_from_the_last_to_the_first() {
    let mut table = table();
    let shape = Shape {
        all: &["> alt 9.5", "<= alt 250", "notnull note", "= dest CAP"],
        sort: &["-gs", "id"],
        limit: Some(3),
        ..NONE
    };
    let query = query(&table, &shape).offset(2);
    let plan = Plan::new(&table.schema, query).expect("a sound query");
    assert_eq!(
        plan.explain_run(&mut table, false).expect("a run").to_string(),
        "limit 3 offset 2 (estimated 3, actual 3)\n  top 5 by gs descending, id (estimated 5, actual 5)\n    \
         filter {notnull note} and {= dest CAP} (estimated 11, actual 12)\n      \
         index of Flight on alt: >= 10 <= 250 (estimated 12, actual 12)\n        \
         among entries of dest: = CAP (estimated 200, actual 200)"
    );
    let route = table.route(Query::filtered(Expr::All(terms(&table, &["> dest X", "null alt"]))));
    assert_eq!(plan.explain(&route).steps.last().and_then(|step| step.actual), None);
}
