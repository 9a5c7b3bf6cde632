//! When a way is kept, and when it is not. That it changes no result is tested with all other queries.

use super::*;
use crate::query::fixture::Table;
use crate::query::{Explain, Literal, Plan, Query, compare};
use crate::row::{Column, ColumnType, IndexKind, OwnedValue, Schema};

const ROWS: i64 = 5000;

/// A thousand values in `number`, ten in `few`, both indexed.
fn table() -> Table {
    let schema = Schema::builder("Rows")
        .column(Column::new("id", ColumnType::I64))
        .column(Column::new("number", ColumnType::I64).nullable())
        .column(Column::new("few", ColumnType::I64).nullable())
        .key("id")
        .build()
        .expect("a sound definition");
    let row = |id: i64| vec![OwnedValue::I64(id), OwnedValue::I64(id % 1000), OwnedValue::I64(id % 10)];
    let mut table = Table::new(schema, &(0..ROWS).map(row).collect::<Vec<_>>());
    table.index(1, IndexKind::Ordered, &[]);
    table.index(2, IndexKind::Ordered, &[]);
    table
}

fn plan(table: &Table, terms: &[&str]) -> Plan {
    let terms: Vec<Vec<&str>> = terms.iter().map(|term| term.split(' ').collect()).collect();
    table.plan(Query::filtered(compare::all(&table.schema, &terms).expect("sound terms")))
}

fn run<const N: usize>(table: &mut Table, plan: &Plan, operands: [i64; N]) -> Explain {
    let plan = plan.with_operands(operands.map(Literal::Int)).expect("sound operands");
    plan.explain_run(table, true).expect("a sound plan")
}

#[test]
fn the_second_run_keeps_its_way_for_other_operands() {
    let mut table = table();
    let plan = plan(&table, &["range number 0 0"]);
    let kept = [[5, 6], [7, 9], [100, 120], [0, 1]].map(|ends| run(&mut table, &plan, ends).is_kept);
    assert_eq!(kept, [false, false, true, true]);
    let explain = run(&mut table, &plan, [500, 510]);
    assert_eq!((explain.outcome.map(|outcome| outcome.rows_returned), explain.is_kept), (Some(50), true));
    assert!(explain.to_string().ends_with("\nby a way kept from before"), "{explain}");
    // Nothing is kept of a plan that is run once, nor by those that only ask how it would be run.
    let fresh = self::plan(&table, &["range number 0 5"]);
    assert!(!fresh.explain_estimate(&mut table, true).expect("a sound plan").is_kept);
    assert!(plan.explain_estimate(&mut table, true).expect("a sound plan").is_kept);
}

#[test]
fn a_way_that_is_out_of_date_is_not_taken() {
    let mut table = table();
    let plan = plan(&table, &["range number 0 0", "= few 1"]);
    let warm = |table: &mut Table| {
        let _ = [run(table, &plan, [0, 9, 3]), run(table, &plan, [0, 9, 3])];
        assert!(run(table, &plan, [10, 12, 1]).is_kept);
    };
    warm(&mut table);
    // Of another kind, then gone, then the other one gone, too.
    table.index(1, IndexKind::Hash, &[]);
    assert!(!run(&mut table, &plan, [10, 12, 1]).is_kept);
    table.indexes.remove(&1);
    assert!(!run(&mut table, &plan, [10, 12, 1]).is_kept);
    table.index(1, IndexKind::Ordered, &[]);
    warm(&mut table);
    table.indexes.remove(&2);
    assert!(!run(&mut table, &plan, [10, 12, 1]).is_kept);
    warm(&mut table);
    // Twice as many rows, and some.
    table.exaggeration.0 = 2;
    assert!(run(&mut table, &plan, [10, 12, 1]).is_kept);
    table.exaggeration.0 = 3;
    assert!(!run(&mut table, &plan, [10, 12, 1]).is_kept);
}

#[test]
fn a_way_to_many_rows_is_chosen_anew() {
    let mut table = table();
    let plan = plan(&table, &["range number 0 0", "= few 1"]);
    let index = |explain: &Explain| explain.steps.last().expect("a step").columns.join(" ");
    let _ = [run(&mut table, &plan, [0, 9, 3]), run(&mut table, &plan, [0, 9, 3])];
    let narrow = run(&mut table, &plan, [10, 12, 1]);
    let wide = run(&mut table, &plan, [0, 1000, 1]);
    assert_eq!((narrow.is_kept, wide.is_kept), (true, false));
    assert_eq!([index(&narrow), index(&wide)], ["number", "few"]);
    assert_eq!(wide.outcome.map(|outcome| outcome.rows_returned), Some(500));
    // What is kept serves again.
    assert!(run(&mut table, &plan, [10, 12, 1]).is_kept);
}

#[test]
fn statistics_that_turn_out_to_be_wrong_are_forgotten() {
    let mut table = table();
    let plan = plan(&table, &["range number 0 0"]);
    // All of the index lies above what the statistics know of.
    let all = std::mem::take(&mut table.indexes.get_mut(&1).expect("an index").1);
    table.index(1, IndexKind::Ordered, &[]);
    table.indexes.get_mut(&1).expect("an index").1 = all.iter().take(50).cloned().collect();
    let _ = [run(&mut table, &plan, [0, 2]), run(&mut table, &plan, [0, 2])];
    table.indexes.get_mut(&1).expect("an index").1 = all;
    let wrong = run(&mut table, &plan, [500, 900]);
    assert!(wrong.is_kept && wrong.outcome.is_some_and(|outcome| outcome.rows_examined > FEW_ROWS));
    assert!(!run(&mut table, &plan, [0, 2]).is_kept);
}

#[test]
fn statistics_are_looked_up_again_after_so_many_runs() {
    let mut table = table();
    table.images.truncate(20);
    table.indexes.clear();
    table.index(1, IndexKind::Ordered, &[]);
    let plan = plan(&table, &["= number 0"]);
    let _ = [run(&mut table, &plan, [3]), run(&mut table, &plan, [3])];
    let kept = (0..RUNS).take_while(|_| run(&mut table, &plan, [3]).is_kept).count();
    assert_eq!(kept, RUNS as usize);
    assert!(!run(&mut table, &plan, [3]).is_kept);
    assert!(run(&mut table, &plan, [3]).is_kept);
}

#[test]
fn a_query_has_so_many_operands() {
    let table = table();
    let plan = plan(&table, &["range number 0 5", "in few 1 2"]);
    for wrong in [0, 1, 3, 5] {
        let error = plan.with_operands((0..wrong).map(Literal::Int)).expect_err("as many as there are");
        assert_eq!(error.to_string(), "the query has 4 operands");
    }
    let error = plan.with_operands(["x"; 4].map(Literal::from)).expect_err("numbers");
    assert!(error.to_string().contains("expected a number"), "{error}");
    assert!(plan.with_operands((0..4).map(Literal::Int)).is_ok());
}
