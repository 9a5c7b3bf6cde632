//! One plan, run again and again with other operands, while writers change the rows and indexes come and go: each run is exact on its
//! snapshot.

use crate::common::Place;
use crate::{GO_ON, NUMBER, SPARE, builder, image, unsynced};
use aerostore_core::db::{Database, Isolation, Table, Transaction, TxnOptions};
use aerostore_core::query::{Literal, Plan, Query, SortKey, compare};
use aerostore_core::row::{IndexSpec, Value};
use std::sync::RwLock;

const ROWS: i64 = 600;

const READ: TxnOptions =
    TxnOptions { isolation: Isolation::Snapshot, read_only: true, synchronous_commit: None };

fn filled(db: &Database, name: &str) -> Table {
    let table = db.create_table(&builder(name, false)).unwrap();
    let mut txn = db.begin(unsynced()).unwrap();
    for id in 0..ROWS {
        let number = i32::try_from(id * 7 % 90).unwrap();
        txn.upsert(&table, &image(&table, id, Some(number), "x")).unwrap();
    }
    txn.commit().unwrap();
    table
}

/// The shapes of queries, and how many operands each has.
fn plans(table: &Table) -> Vec<(Plan, usize)> {
    type Shape<'a> = (&'a [&'a [&'a str]], usize, Option<u64>);
    let shapes: [Shape<'_>; 5] = [
        (&[&["range", "number", "0", "1"]], 2, None),
        (&[&["=", "number", "0"]], 1, None),
        (&[&[">=", "number", "0"]], 1, Some(10)),
        (&[&["=", "number", "0"], &["<", "id", "0"]], 2, None),
        (&[&["=", "spare", "0"], &["between", "number", "0", "0"]], 3, Some(5)),
    ];
    let plan = |terms: &[&[&str]], limit: Option<u64>| {
        let terms: Vec<Vec<&str>> = terms.iter().map(|term| term.to_vec()).collect();
        let mut query = Query::filtered(compare::all(table.schema(), &terms).unwrap());
        if let Some(limit) = limit {
            query = query.sort_by(SortKey::parse("number")).sort_by(SortKey::parse("-id")).limit(limit);
        }
        Plan::new(table.schema(), query).unwrap()
    };
    shapes.map(|(terms, operands, limit)| (plan(terms, limit), operands)).into_iter().collect()
}

/// What a plan finds: in its order when it has one, else sorted by key.
fn found(txn: &mut Transaction, table: &Table, plan: &Plan) -> Option<Vec<(Option<i64>, i64)>> {
    let mut rows = Vec::new();
    let outcome = txn.search(table, plan, &mut |row| {
        rows.push((row.get(NUMBER).as_i64(), row.get(0).as_i64().unwrap()));
        GO_ON
    });
    match outcome {
        Ok(_) => {}
        // The index has gone since it was looked at.
        Err(error) if error.is_retryable() => return None,
        Err(error) => panic!("{error}"),
    }
    if !plan.is_sorted() {
        rows.sort_unstable();
    }
    Some(rows)
}

/// The same by a look at every row.
fn looked_at(txn: &mut Transaction, table: &Table, plan: &Plan) -> Vec<(Option<i64>, i64)> {
    let mut rows = Vec::new();
    txn.scan(table, &mut |row| {
        if plan.filter().is_none_or(|filter| filter.matches(row)) {
            rows.push((row.get(NUMBER).as_i64(), row.get(0).as_i64().unwrap()));
        }
        GO_ON
    })
    .unwrap();
    if plan.is_sorted() {
        rows.sort_unstable_by_key(|(number, id)| (number.is_none(), *number, -id));
    } else {
        rows.sort_unstable();
    }
    rows.truncate(plan.limit().map_or(usize::MAX, |limit| usize::try_from(limit).unwrap()));
    rows
}

#[test]
fn one_plan_is_exact_while_indexes_come_and_go_and_others_write() {
    let place = Place::new("plans");
    let db = place.open();
    let table = filled(&db, "Plans");
    let plans = plans(&table);
    let stop = RwLock::new(false);
    let mut compared = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0_i64;
            while !*stop.read().unwrap() {
                turn += 1;
                let (id, number) = (turn * 7919 % ROWS, i32::try_from(turn % 97).unwrap());
                let written = db.transaction(unsynced(), |txn| {
                    if turn % 7 == 0 {
                        return txn.delete(&table, Value::I64(id)).map(drop);
                    }
                    let values = [(NUMBER, Value::I32(number)), (SPARE, Value::I32(number % 4))];
                    txn.set(&table, Value::I64(id), &values).map(drop)
                });
                written.unwrap();
            }
        });
        scope.spawn(|| {
            let specs = [IndexSpec::default(), IndexSpec::HASH];
            for turn in 0.. {
                for column in [NUMBER, SPARE] {
                    db.create_index(&table, column, specs[(turn + column) % 2]).unwrap();
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
                if *stop.read().unwrap() {
                    break;
                }
                for column in [NUMBER, SPARE] {
                    db.drop_index(&table, column).unwrap();
                }
            }
        });
        let mut seed = 1_u64;
        for turn in 0..1000 {
            let (plan, operands) = &plans[turn % plans.len()];
            let mut operand = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                Literal::Int(i64::try_from(seed >> 33).unwrap() % 100)
            };
            let plan = plan.with_operands((0..*operands).map(|_| operand())).unwrap();
            let mut txn = db.begin(READ).unwrap();
            let Some(found) = found(&mut txn, &table, &plan) else { continue };
            assert_eq!(found, looked_at(&mut txn, &table, &plan), "{plan:?}");
            if let Ok(counted) = txn.search_count(&table, &plan) {
                assert_eq!(counted.rows_returned, found.len() as u64, "{plan:?}");
            }
            compared += 1;
        }
        *stop.write().unwrap() = true;
    });
    assert!(compared > 200, "{compared}");
}

#[test]
fn a_plan_goes_on_when_its_index_is_dropped_or_is_a_hash() {
    let place = Place::new("plan-index");
    let db = place.open();
    let table = filled(&db, "Plan");
    let (plan, _) = &plans(&table)[0];
    let mut expected = Vec::new();
    let mut is_kept = |low: i64| {
        let plan = plan.with_operands([Literal::Int(low), Literal::Int(low + 3)]).unwrap();
        let mut txn = db.begin(READ).unwrap();
        let found = found(&mut txn, &table, &plan);
        expected = looked_at(&mut txn, &table, &plan);
        assert_eq!(found, Some(expected.clone()));
        txn.explain(&table, &plan, false).unwrap().is_kept
    };
    assert_eq!([is_kept(5), is_kept(6)], [false, false], "600 rows are many to look at");
    db.create_index(&table, NUMBER, IndexSpec::default()).unwrap();
    assert_eq!([is_kept(7), is_kept(8)], [true, true]);
    db.drop_index(&table, NUMBER).unwrap();
    assert!(!is_kept(9));
    db.create_index(&table, NUMBER, IndexSpec::HASH).unwrap();
    assert!(!is_kept(10));
    // What another transaction wrote, and this one.
    db.drop_index(&table, NUMBER).unwrap();
    db.create_index(&table, NUMBER, IndexSpec::default()).unwrap();
    assert!(is_kept(11));
    let plan = plan.with_operands([Literal::Int(11), Literal::Int(14)]).unwrap();
    let mut txn = db.begin(unsynced()).unwrap();
    txn.set(&table, Value::I64(ROWS + 1), &[(NUMBER, Value::I32(12))]).unwrap();
    let own = found(&mut txn, &table, &plan).unwrap();
    assert!(own.contains(&(Some(12), ROWS + 1)) && own.len() > 1);
    txn.rollback();
}
