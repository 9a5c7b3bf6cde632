//! Indexes that are made and dropped while others write.

use crate::common::Place;
use crate::{NUMBER, SPARE, TEXT, agree_on_everything, assert_clean, builder, found, image, unsynced};
use aerostore_core::db::{Database, ErrorKind, Table, TxnOptions};
use aerostore_core::row::{IndexSpec, Value};
use std::sync::RwLock;

fn fill(db: &Database, table: &Table, rows: i64) {
    let mut txn = db.begin(unsynced()).unwrap();
    for id in 0..rows {
        let number = i32::try_from(id % 90).unwrap();
        txn.upsert(table, &image(table, id, (id % 11 != 0).then_some(number), &format!("t{}", id % 13)))
            .unwrap();
    }
    txn.commit().unwrap();
}

fn put(db: &Database, table: &Table, id: i64, number: i32) {
    let put = db.transaction(unsynced(), |txn| {
        let values = [
            (NUMBER, Value::I32(number)),
            (SPARE, Value::I32(number % 4)),
            (TEXT, Value::Str(if number % 2 == 0 { "a" } else { "b" })),
        ];
        txn.set(table, Value::I64(id), &values).map(drop)
    });
    put.unwrap();
}

fn delete(db: &Database, table: &Table, id: i64) {
    db.transaction(unsynced(), |txn| txn.delete(table, Value::I64(id)).map(drop)).unwrap();
}

#[test]
fn an_index_is_made_and_dropped_while_others_write() {
    let place = Place::new("online");
    let db = place.open();
    let table = db.create_table(&builder("Online", false)).unwrap();
    fill(&db, &table, 3000);
    let made = [(NUMBER, IndexSpec::default()), (TEXT, IndexSpec::default()), (SPARE, IndexSpec::HASH)];
    let stop = RwLock::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2_i64 {
            let (db, table, stop) = (&db, &table, &stop);
            scope.spawn(move || {
                let mut turn = 0_i64;
                while !*stop.read().unwrap() {
                    turn += 1;
                    let id = (turn * 7919 + writer * 31) % 3200;
                    let number = i32::try_from(turn % 97).unwrap();
                    match turn % 5 {
                        0 => delete(db, table, id),
                        1 => {
                            // Taken back, half of it by a savepoint.
                            let mut txn = db.begin(unsynced()).unwrap();
                            let tried = txn
                                .set(table, Value::I64(id), &[(NUMBER, Value::I32(number))])
                                .and_then(|_| {
                                    let mark = txn.savepoint()?;
                                    txn.set(table, Value::I64(id), &[(NUMBER, Value::I32(-2))])?;
                                    txn.rollback_to(&mark)?;
                                    txn.set(table, Value::I64(id), &[(NUMBER, Value::I32(-1))])
                                });
                            assert!(tried.is_ok() || tried.is_err_and(|error| error.is_retryable()));
                        }
                        _ => put(db, table, id, number),
                    }
                }
            });
        }
        for round in 0..4 {
            for (column, spec) in made {
                db.create_index(&table, column, spec).unwrap();
                assert_eq!(
                    db.create_index(&table, column, IndexSpec::default()).unwrap_err().kind(),
                    ErrorKind::Duplicate
                );
            }
            let options = TxnOptions { read_only: true, ..TxnOptions::default() };
            for _ in 0..3 {
                let mut txn = db.begin(options).unwrap();
                agree_on_everything(&mut txn, &table, &["number", "text", "spare"]);
            }
            if round == 3 {
                break;
            }
            for (column, _) in made {
                db.drop_index(&table, column).unwrap();
                assert_eq!(db.drop_index(&table, column).unwrap_err().kind(), ErrorKind::NotFound);
            }
        }
        *stop.write().unwrap() = true;
    });
    assert_clean(&db);
    let entries = db.verify().unwrap().entries;
    assert!(entries > 2 * 1000, "{entries}");
    for (column, _) in made {
        db.drop_index(&table, column).unwrap();
    }
    assert_clean(&db);
    assert_eq!(db.verify().unwrap().entries, 0);
}

#[test]
fn a_snapshot_that_is_older_than_an_index_does_without() {
    let place = Place::new("older");
    let db = place.open();
    let table = db.create_table(&builder("Older", false)).unwrap();
    fill(&db, &table, 200);
    let read = TxnOptions { read_only: true, ..TxnOptions::default() };
    let mut old = db.begin(read).unwrap();
    (0..200).for_each(|id| put(&db, &table, id, 1));
    db.create_index(&table, NUMBER, IndexSpec::default()).unwrap();
    let terms = [vec!["=", "number", "1"]];
    assert!(old.index_statistics(&table).unwrap().is_empty());
    assert!(found(&mut old, &table, &terms, Some("number")).is_err(), "it is named, and cannot be used");
    // Rows 1 and 91, and 181: the planner has a choice, and must not take the index.
    assert_eq!(found(&mut old, &table, &terms, None).unwrap().len(), 3);
    let mut new = db.begin(read).unwrap();
    assert_eq!(found(&mut new, &table, &terms, Some("number")).unwrap().len(), 200);
}

#[test]
fn indexes_come_back_after_a_cold_start() {
    let place = Place::new("cold");
    {
        let db = place.open();
        let table = db.create_table(&builder("Cold", true)).unwrap();
        let plain = db.create_table(&builder("Plain", false)).unwrap();
        fill(&db, &table, 500);
        fill(&db, &plain, 300);
        db.drop_index(&table, TEXT).unwrap();
        db.create_index(&plain, TEXT, IndexSpec::default()).unwrap();
        db.create_index(&plain, NUMBER, IndexSpec::HASH).unwrap();
        db.drop_index(&plain, NUMBER).unwrap();
        db.create_index(&plain, SPARE, IndexSpec::HASH).unwrap();
        (0..100).for_each(|id| delete(&db, &table, id * 3));
        db.close().unwrap();
    }
    std::fs::remove_file(&place.shm).unwrap();
    let db = place.open();
    for (name, columns) in [("Cold", vec!["number", "spare"]), ("Plain", vec!["text", "spare"])] {
        let table = db.table(name).unwrap().unwrap();
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        let stats = txn.index_statistics(&table).unwrap();
        let names: Vec<_> = stats.iter().map(|stats| table.schema().column(stats.column).name()).collect();
        assert_eq!(names, columns, "{name}");
        assert!(stats.iter().all(|stats| stats.spec.is_hash == (stats.column == SPARE)), "{stats:?}");
        agree_on_everything(&mut txn, &table, &columns);
    }
    assert_clean(&db);
}

#[test]
fn statistics_follow_the_table() {
    let place = Place::new("statistics");
    let db = place.open();
    let table = db.create_table(&builder("Stats", true)).unwrap();
    fill(&db, &table, 990);
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let stats = txn.index_statistics(&table).unwrap();
    let number = &stats[0];
    assert_eq!((number.rows, number.nulls, number.distinct), (990, 90, 90));
    assert_eq!((stats[1].nulls, stats[1].distinct), (0, 13));
    assert_eq!(number.min.as_deref(), Some(&0x8000_0000_u32.to_be_bytes()[..]));
    assert_eq!(number.max.as_deref(), Some(&0x8000_0059_u32.to_be_bytes()[..]));
    drop(txn);
    fill(&db, &table, 3960);
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let stats = txn.index_statistics(&table).unwrap();
    assert_eq!((stats[0].rows, stats[0].nulls, stats[0].distinct), (3960, 360, 90));
}

/// The session that drops it keeps slabs for the next one. While another session's operation lasts, be it the log writer's, that one is built
/// beside what is left of the last, for which it takes a slab or two more.
#[test]
fn memory_of_dropped_indexes_is_had_back() {
    const SLAB_BYTES: u64 = 64 << 10;
    let place = Place::new("had-back");
    let db = place.open();
    let table = db.create_table(&builder("Back", false)).unwrap();
    fill(&db, &table, 4000);
    let mut used = Vec::new();
    for _ in 0..20 {
        db.create_index(&table, NUMBER, IndexSpec::default()).unwrap();
        db.drop_index(&table, NUMBER).unwrap();
        assert_clean(&db);
        used.push(db.status().unwrap().used_bytes);
    }
    // Of twenty that leave something each, more would be left.
    assert!(used.iter().all(|now| *now <= used[0] + 4 * SLAB_BYTES), "{used:?}");
}
