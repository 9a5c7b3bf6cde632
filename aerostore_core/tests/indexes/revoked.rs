//! Walks over an index whose snapshot is revoked meanwhile.

use super::{GO_ON, NUMBER, builder, common, image, unsynced};
use aerostore_core::db::{ErrorKind, TxnOptions};
use aerostore_core::query::{Plan, Query, SortKey, compare};
use aerostore_core::row::Value;
use common::Place;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROWS: i32 = 1000;
const GONE: std::ops::Range<i32> = 200..500;

#[test]
fn a_walk_over_an_index_passes_over_no_row_when_its_snapshot_is_revoked() {
    let place = Place::new("indexes-revoked");
    let db = place.builder().max_bytes(64 << 20).open().unwrap();
    db.set_config("max_snapshot_age", "100").unwrap();
    let table = db.create_table(&Arc::new(builder("Walk", true))).unwrap();
    db.transaction(unsynced(), |txn| {
        (0..ROWS).try_for_each(|number| {
            txn.upsert(&table, &image(&table, i64::from(number), Some(number), "x")).map(drop)
        })
    })
    .unwrap();
    // The limit ends the walk before its range does: nothing but what is asked on the way tells that rows are missing.
    let filter = compare::all(table.schema(), &[vec![">=", "number", "0"]]).unwrap();
    let query = Query::filtered(filter).sort_by(SortKey::ascending("number")).limit(650);
    let plan = Plan::new(table.schema(), query).unwrap();
    let mut reader = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    let mut seen = 0;
    let walk = reader.search(&table, &plan, &mut |row| {
        assert_eq!(row.get(NUMBER).as_i64(), Some(seen), "rows were passed over");
        if seen == 0 {
            db.transaction(unsynced(), |txn| {
                GONE.into_iter()
                    .try_for_each(|number| txn.delete(&table, Value::I64(i64::from(number))).map(drop))
            })
            .unwrap();
            let begin = Instant::now();
            while db.verify().unwrap().rows > 900 {
                assert!(begin.elapsed() < Duration::from_mins(1), "nothing is removed");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        seen += 1;
        GO_ON
    });
    assert_eq!(walk.unwrap_err().kind(), ErrorKind::Revoked);
    assert!(seen < i64::from(GONE.start), "{seen}");
    drop(reader);
    db.close().unwrap();
}
