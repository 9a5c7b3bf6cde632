//! Old readers, and searches beside what changes all the time.

use super::{READ, id, insert, number, open, update_each, verified};
use crate::common::{Place, flight};
use aerostore_core::db::{Table, TxnOptions};
use aerostore_core::row::Value;
use std::ops::ControlFlow;

/// The altitudes of all rows as a transaction sees them, in the order of their numbers.
fn altitudes(txn: &mut aerostore_core::db::Transaction, table: &Table) -> Vec<i64> {
    let mut found = Vec::new();
    txn.scan(table, &mut |row| {
        let Value::Str(name) = row.get(0) else { panic!("{row:?}") };
        found.push((name[1..].parse::<u64>().unwrap(), row.get(3).as_i64().unwrap()));
        ControlFlow::Continue(())
    })
    .unwrap();
    found.sort_unstable();
    found.into_iter().map(|(_, altitude)| altitude).collect()
}

#[test]
fn an_old_reader_costs_one_version_of_each_row() {
    // Versions of the session's last looks, and the few that it keeps before it looks between snapshots.
    const SLACK: u64 = 400;
    let (rows, updates) = (number("AEROSTORE_PRUNE_ROWS", 1_000), number("AEROSTORE_PRUNE_UPDATES", 40_000));
    let place = Place::new("bounded-old-reader");
    let (db, table) = open(&place, 256 << 20);
    db.set_config("max_snapshot_age", "0").unwrap();
    (0..rows).step_by(1000).for_each(|first| insert(&db, &table, first..rows.min(first + 1000)).unwrap());
    let mut reader = db.begin(READ).unwrap();
    let seen = altitudes(&mut reader, &table);
    let begun = std::time::Instant::now();
    update_each(&db, &table, rows, 0, updates);
    let rate = updates * 1000 / u64::try_from(begun.elapsed().as_millis()).unwrap().max(1);
    let versions = verified(&db).versions;
    println!("{updates} updates of {rows} rows, {rate} a second: {versions} versions");
    assert!(versions <= 2 * rows + SLACK, "{versions} versions of {rows} rows");
    assert!(altitudes(&mut reader, &table) == seen, "the reader's snapshot");
    // Another one, at a later snapshot, costs one more.
    let mut second = db.begin(READ).unwrap();
    let seen_by_second = altitudes(&mut second, &table);
    update_each(&db, &table, rows, updates, updates / 2);
    let versions = verified(&db).versions;
    assert!(versions <= 3 * rows + SLACK, "{versions} versions of {rows} rows");
    assert!(altitudes(&mut reader, &table) == seen && altitudes(&mut second, &table) == seen_by_second);
    // Neither of them keeps what only the other sees.
    drop(reader);
    update_each(&db, &table, rows, 2 * updates, updates / 2);
    let versions = verified(&db).versions;
    assert!(versions <= 2 * rows + SLACK, "{versions} versions of {rows} rows");
    assert!(altitudes(&mut second, &table) == seen_by_second);
    drop(second);
    db.close().unwrap();
}

/// What changes all the time does not keep a transaction from committing that it does not concern.
#[test]
fn a_search_that_writes_commits_beside_rows_that_change_all_the_time() {
    const ROWS: u64 = 20_000;
    let place = Place::new("bounded-search");
    let (db, table) = open(&place, 256 << 20);
    (0..ROWS).step_by(1000).for_each(|first| insert(&db, &table, first..first + 1000).unwrap());
    let done = std::sync::atomic::AtomicBool::new(false);
    let conflicts = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u64;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                db.transaction(TxnOptions::default(), |txn| {
                    let number = if round.is_multiple_of(2) { 0 } else { ROWS - 1 };
                    txn.set(&table, Value::Str(&id(number)), &[(3, Value::I32(round.try_into().unwrap()))])
                })
                .unwrap();
                round += 1;
            }
        });
        let mut conflicts = 0;
        for _ in 0..12 {
            let mut txn = db.begin(TxnOptions::default()).unwrap();
            let mut found = 0;
            let predicate = std::sync::Arc::new(move |row: &aerostore_core::row::RowView<'_>| {
                row.get(3).as_i64() == Some(-5)
            });
            txn.scan_for(&table, predicate, &mut |_| {
                found += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
            txn.upsert(&table, &flight(&table, &id(ROWS / 2), 8)).unwrap();
            conflicts += u32::from(txn.commit().is_err());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        conflicts
    });
    assert_eq!(conflicts, 0, "conflicts of 12");
}
