//! Altered tables of a database that is checkpointed, closed and recovered, and those who follow them.

use super::{Place, added};
use crate::db::{Database, ErrorKind, Event, OpenMode, Table, TableStanding, TxnOptions};
use crate::query::Query;
use crate::row::{Column, ColumnType, IndexSpec, Schema, Value};
use crate::sync::{AtomicBool, Ordering};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

pub(super) fn schema() -> Schema {
    Schema::builder("Gate")
        .column(Column::new("id", ColumnType::I64))
        .column(Column::new("name", ColumnType::String(20)).nullable())
        .column(Column::new("count", ColumnType::I64).nullable().ordered())
        .key("id")
        .build()
        .unwrap()
}

pub(super) fn set(db: &Database, table: &Table, key: i64, columns: &[(usize, Value<'_>)]) {
    db.transaction(TxnOptions::default(), |txn| txn.set(table, Value::I64(key), columns)).unwrap();
}

/// The rows of the table of that handle.
pub(super) fn rows(db: &Database, table: &Table) -> BTreeMap<i64, String> {
    let mut rows = BTreeMap::new();
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(table, &mut |row| {
        let values: Vec<_> = row.values().map(|value| value.to_string()).collect();
        rows.insert(row.key().as_i64().unwrap(), values.join(" "));
        ControlFlow::Continue(())
    })
    .unwrap();
    rows
}

pub(super) fn named(db: &Database) -> Table {
    db.table("Gate").unwrap().unwrap()
}

pub(super) fn assert_sound(db: &Database, hint: &str) {
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{hint}: {report:?}");
}

/// What happens to a table, and in between a checkpoint, or none, is the same after a cold start.
#[test]
fn a_checkpoint_at_any_time_and_the_log_say_the_same() {
    const STEPS: usize = 6;
    let step = |db: &Database, handles: &mut Vec<Table>, number: usize| match number {
        0 => handles.push(db.create_table(&schema()).unwrap()),
        1 => (1..=4)
            .for_each(|key| set(db, &handles[0], key, &[(1, Value::Str("first")), (2, Value::I64(key))])),
        2 => handles.push(db.add_columns(&handles[0], &added()).unwrap()),
        3 => {
            set(db, &handles[1], 1, &[(3, Value::I64(1)), (4, Value::Str("one")), (5, Value::Null)]);
            set(db, &handles[0], 1, &[(1, Value::Str("known to both"))]);
            set(db, &handles[0], 5, &[(2, Value::I64(50))]);
            db.create_index(&handles[1], 3, IndexSpec::default()).unwrap();
        }
        4 => handles
            .push(db.add_columns(&handles[1], &[Column::new("last", ColumnType::F64).default(0.5)]).unwrap()),
        _ => {
            set(db, &handles[2], 2, &[(6, Value::F64(2.0))]);
            set(db, &handles[0], 2, &[(2, Value::I64(20))]);
            set(db, &handles[1], 6, &[(3, Value::I64(6))]);
            db.transaction(TxnOptions::default(), |txn| txn.delete(&handles[0], Value::I64(3))).unwrap();
        }
    };
    for checkpoint in 0..=STEPS {
        let place = Place::new(&format!("checkpoint-{checkpoint}"));
        let mut db = place.open();
        let mut handles = Vec::new();
        for number in 0..STEPS {
            step(&db, &mut handles, number);
            if number == checkpoint {
                db.checkpoint().unwrap();
            }
        }
        let expected = rows(&db, &handles[2]);
        assert_eq!(expected[&1], "1 known to both 1 1 one \\N 0.5");
        assert_eq!(expected[&2], "2 first 20 7 \\N 1 2.0");
        assert_eq!(expected.keys().copied().collect::<Vec<_>>(), [1, 2, 4, 5, 6]);
        let hint = format!("checkpoint {checkpoint}");
        assert_sound(&db, &hint);
        drop(handles);
        for is_cold in [false, true, true] {
            if is_cold {
                db = place.start_cold(db);
            } else {
                db.close().unwrap();
                db = place.open();
                assert_eq!(db.boot().mode, OpenMode::Warm);
            }
            assert_eq!(rows(&db, &named(&db)), expected, "{hint}");
            assert_sound(&db, &hint);
            // A program that begins again knows of what it did before.
            assert_eq!(db.create_table(&schema()).unwrap().schema().columns().len(), 3);
        }
        db.checkpoint().unwrap();
        let db = place.start_cold(db);
        assert_eq!(rows(&db, &named(&db)), expected, "{hint}");
        assert_sound(&db, &hint);
    }
}

#[test]
fn what_cannot_be_added_is_refused_and_leaves_the_table_as_it_is() {
    let place = Place::new("refused");
    let db = place.open();
    let table = db.create_table(&schema()).unwrap();
    let column = |name: &str| Column::new(name, ColumnType::I64);
    for refused in [column("must"), column("name").nullable(), column("x").nullable().ordered()] {
        db.add_columns(&table, &[refused]).unwrap_err();
        assert_eq!(db.standing(&table).unwrap(), TableStanding::Current);
    }
    let wide = db.add_columns(&table, &[column("n").nullable().alias("number")]).unwrap();
    assert_eq!(
        [&table, &wide].map(|table| db.standing(table).unwrap()),
        [TableStanding::Altered, TableStanding::Current]
    );
    db.add_columns(&table, &[column("number").nullable()]).unwrap_err();
    let same = schema().with_columns(&[column("n").nullable().alias("number")]).unwrap();
    assert_eq!(db.create_table(&same).unwrap().schema().columns().len(), 4);
    db.drop_table(&table).unwrap();
    let error = db.add_columns(&wide, &[column("m").nullable()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_sound(&db, "after all");
}

/// Writers with handles of every age, each as another process would, while columns are added.
#[test]
fn columns_are_added_while_others_read_and_write() {
    const WRITERS: i64 = 3;
    const ALTERATIONS: usize = 6;
    let place = Place::new("meanwhile");
    let db = place.open();
    let table = db.create_table(&schema()).unwrap();
    (0..10).for_each(|key| set(&db, &table, key, &[(2, Value::I64(0))]));
    let is_over = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_mins(2);
    let counts: Vec<[i64; 2]> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (place, is_over) = (&place, &is_over);
                scope.spawn(move || {
                    let db = place.open();
                    let mut table = named(&db);
                    let (mut old, mut new) = (0, 0);
                    while !is_over.load(Ordering::Relaxed) {
                        assert!(Instant::now() < deadline, "it takes too long");
                        // One stays with what it knew first, the others look now and then.
                        if writer > 0 && old % 7 == 0 {
                            table = named(&db);
                        }
                        let last = table.schema().columns().len() - 1;
                        let column = if last > 2 { last } else { 2 };
                        db.transaction(TxnOptions::default(), |txn| {
                            txn.modify(&table, Value::I64(old % 10), |row, image| {
                                let row = row.unwrap();
                                image.copy_from(row);
                                for index in if column > 2 { vec![2, column] } else { vec![2] } {
                                    let before = row.get(index).as_i64().unwrap();
                                    image.set(table.schema(), index, Value::I64(before + 1))?;
                                }
                                Ok(crate::txn::Change::Put)
                            })
                        })
                        .unwrap();
                        old += 1;
                        new += i64::from(column > 2);
                    }
                    [old, new]
                })
            })
            .collect();
        let mut newest = table.clone();
        for number in 0..ALTERATIONS {
            std::thread::sleep(Duration::from_millis(10));
            let column = Column::new(&format!("sum{number}"), ColumnType::I64).default(0_i64);
            newest = db.add_columns(&newest, &[column]).unwrap();
            if number == 2 {
                db.create_index(&newest, 4, IndexSpec::default()).unwrap();
                db.checkpoint().unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(10));
        is_over.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let expected = rows(&db, &named(&db));
    assert_sound(&db, "afterwards");
    let mut db = db;
    for _ in 0..2 {
        let table = named(&db);
        assert_eq!(table.schema().columns().len(), 3 + ALTERATIONS);
        let mut sums = vec![0; 3 + ALTERATIONS];
        let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
        txn.scan(&table, &mut |row| {
            (2..sums.len()).for_each(|index| sums[index] += row.get(index).as_i64().unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
        drop(txn);
        assert_eq!(sums[2], counts.iter().map(|[old, _]| old).sum::<i64>(), "{sums:?}");
        assert_eq!(sums[3..].iter().sum::<i64>(), counts.iter().map(|[_, new]| new).sum::<i64>(), "{sums:?}");
        assert_eq!(rows(&db, &table), expected);
        db = place.start_cold(db);
        assert_sound(&db, "recovered");
    }
}

#[test]
fn a_follower_is_told_of_the_columns_that_his_handle_knows_of() {
    let place = Place::new("followed");
    let db = place.open();
    let table = db.create_table(&schema()).unwrap();
    set(&db, &table, 1, &[(2, Value::I64(1))]);
    let early = db.watch(&table).subscribe().unwrap();
    let wide = db.add_columns(&table, &added()).unwrap();
    set(&db, &wide, 1, &[(4, Value::Str("only the new"))]);
    let late = db.watch(&wide).subscribe().unwrap();
    set(&db, &wide, 1, &[(2, Value::I64(2)), (3, Value::I64(3))]);
    set(&db, &table, 1, &[(2, Value::I64(4))]);
    set(&db, &table, 2, &[]);
    db.transaction(TxnOptions::default(), |txn| txn.delete(&table, Value::I64(1))).unwrap();
    let told = |follower: &crate::db::Subscription| {
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut told = Vec::new();
        loop {
            match follower.next_within(deadline.saturating_duration_since(Instant::now())).unwrap() {
                Some(Event::Commit(commit)) => {
                    for change in &commit.changes {
                        let columns = change.schema().columns().len();
                        told.push(format!("{columns} {change:?}"));
                    }
                }
                other => panic!("{other:?}"),
            }
            if told.last().is_some_and(|last| last.contains("delete")) {
                return told;
            }
        }
    };
    assert_eq!(
        told(&early),
        [
            "3 update 1 count: 1 -> 2",
            "3 update 1 count: 2 -> 4",
            "3 insert 2 id:  -> 2 name:  -> \\N count:  -> \\N",
            "3 delete 1 id: 1 ->  name: \\N ->  count: 4 -> ",
        ]
    );
    assert_eq!(
        told(&late),
        [
            "6 update 1 count: 1 -> 2 level: 7 -> 3",
            "6 update 1 count: 2 -> 4",
            "6 insert 2 id:  -> 2 name:  -> \\N count:  -> \\N level:  -> 7 word:  -> \\N flag:  -> 1",
            "6 delete 1 id: 1 ->  name: \\N ->  count: 4 ->  level: 3 ->  word: only the new ->  flag: 1 -> ",
        ]
    );
}

/// Whoever drops it stands still before that is logged, and the log says of the table first what it was without the column.
#[test]
fn an_index_on_an_added_column_that_somebody_is_about_to_drop_is_in_a_checkpoint() {
    let place = Place::new("unsure");
    let db = place.open();
    let table = db.create_table(&schema()).unwrap();
    let wide = db.add_columns(&table, &added()).unwrap();
    db.create_index(&wide, 3, IndexSpec::default()).unwrap();
    set(&db, &wide, 1, &[(3, Value::I64(1))]);
    let mut session = db.0.session().unwrap();
    session.leave_unlogged(&wide.0, 3);
    db.checkpoint().unwrap();
    db.0.pool().put(session);
    drop((table, wide));
    let db = place.start_cold(db);
    db.drop_index(&named(&db), 3).unwrap();
    assert_sound(&db, "recovered");
}

/// As a program does that was written before the columns were added, and begins again.
#[test]
fn a_definition_of_before_columns_were_added_finds_the_table() {
    let place = Place::new("again");
    let db = place.open();
    let table = db.create_table(&schema()).unwrap();
    set(&db, &table, 1, &[(1, Value::Str("first"))]);
    let wide = db.add_columns(&table, &added()).unwrap();
    set(&db, &wide, 1, &[(3, Value::I64(1))]);
    let other = place.open();
    let again = other.create_table(&schema()).unwrap();
    assert_eq!(**again.schema(), schema());
    assert_eq!(other.standing(&again).unwrap(), TableStanding::Altered);
    set(&other, &again, 1, &[(2, Value::I64(5))]);
    set(&other, &again, 2, &[]);
    // One that the table never had, between those that it had.
    let between = schema().with_columns(&added()[..1]).unwrap();
    set(&other, &other.create_table(&between).unwrap(), 2, &[(3, Value::I64(2))]);
    assert_eq!(rows(&other, &again), BTreeMap::from([(1, "1 first 5".into()), (2, "2 \\N \\N".into())]));
    other.close().unwrap();
    let expected = rows(&db, &wide);
    assert_eq!(expected[&1], "1 first 5 1 \\N 1");
    assert_eq!(expected[&2], "2 \\N \\N 2 \\N 1");
    assert_sound(&db, "afterwards");
    drop((table, again, wide));
    let db = place.start_cold(db);
    assert_eq!(db.create_table(&schema()).unwrap().schema().columns().len(), 3);
    assert_eq!(rows(&db, &named(&db)), expected);
}

/// What such a handle inserts would have nothing there.
#[test]
fn a_definition_without_a_column_that_must_have_a_value_is_another_one() {
    let place = Place::new("must");
    let db = place.open();
    let first = Column::new("id", ColumnType::I64);
    let one = Schema::builder("Gate").column(first.clone()).key("id").build().unwrap();
    let two = Schema::builder("Gate").column(first).column(Column::new("must", ColumnType::I64));
    db.create_table(&two.key("id").build().unwrap()).unwrap();
    let error = db.create_table(&one).unwrap_err();
    assert_eq!(error.to_string(), "table Gate exists with another definition: it has a column \"must\"");
}

#[test]
fn a_handle_that_does_not_know_of_a_column_does_not_hear_of_its_index() {
    let place = Place::new("statistics");
    let db = place.open();
    let table = db.create_table(&schema()).unwrap();
    let wide = db.add_columns(&table, &added()).unwrap();
    db.create_index(&wide, 3, IndexSpec::default()).unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let error = txn.find_count(&table, Query::default().by_index("name")).unwrap_err();
    assert!(error.to_string().contains("count"), "{error}");
    assert!(!error.to_string().contains("level"), "{error}");
}
