//! Tables that are dropped before, while and after checkpoints are taken.

use super::{Scene, flip};
use crate::db::crash_tests::cells;
use crate::db::{Database, TxnOptions};
use crate::row::{Column, ColumnType, Schema, Value};
use crate::txn::{go_on_dropping, log_drop_only};

/// Other columns than those of the cells.
fn short(name: &str) -> Schema {
    Schema::builder(name)
        .column(Column::new("n", ColumnType::I64))
        .column(Column::new("s", ColumnType::I16).nullable().ordered())
        .key("n")
        .build()
        .unwrap()
}

fn fill_short(db: &Database, rows: i64) {
    let table = db.table("Short").unwrap().unwrap();
    db.transaction(TxnOptions::default(), |txn| {
        (0..rows).try_for_each(|n| txn.set(&table, Value::I64(n), &[(1, Value::I16(7))]).map(drop))
    })
    .unwrap();
}

fn count(db: &Database, table: &str) -> u64 {
    let table = db.table(table).unwrap().unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.count(&table).unwrap()
}

/// A cold start knows of no table that was dropped before the checkpoint it begins with, so its number is given again; and the log behind
/// an earlier checkpoint has both tables of that number.
#[test]
fn the_number_of_a_dropped_table_may_be_given_again_after_a_cold_start() {
    let mut scene = Scene::new("number");
    scene.db().create_table(&cells("Old")).unwrap();
    let old = scene.db().table("Old").unwrap().unwrap();
    scene.db().checkpoint().unwrap();
    scene
        .db()
        .transaction(TxnOptions::default(), |txn| {
            (0..100).try_for_each(|n| {
                txn.set(&old, Value::Str(&format!("old {n}")), &[(1, Value::I64(n))]).map(drop)
            })
        })
        .unwrap();
    scene.db().drop_table(&old).unwrap();
    scene.put(0..1000, |name| name);
    scene.db().checkpoint().unwrap();
    scene.reopen();
    scene.db().create_table(&short("Short")).unwrap();
    let made = scene.db().table("Short").unwrap().unwrap();
    assert_eq!(made.id(), old.id(), "else there is nothing to see here");
    fill_short(scene.db(), 50);
    for is_damaged in [false, true] {
        scene.lose();
        if is_damaged {
            let files = scene.files("checkpoints");
            flip(files.last().unwrap(), 5000);
        }
        scene.db = Some(scene.open().unwrap());
        let expected = if is_damaged { 1 } else { 2 };
        assert_eq!(scene.db().boot().checkpoint, Some(expected));
        assert_eq!(count(scene.db(), "Short"), 50);
        assert_eq!(scene.db().status().unwrap().rows, 1050);
        // What is left of the old one goes.
        fill_short(scene.db(), 60);
        while scene.db().status().unwrap().vacuum.is_wanted {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(count(scene.db(), "Short"), 60);
        assert!(scene.db().table("Old").unwrap().is_none());
        let report = scene.db().verify().unwrap();
        assert!(report.is_clean(), "{report:#?}");
        assert_eq!(count(scene.db(), "Cell"), 1000);
        let table = scene.db().table("Short").unwrap().unwrap();
        scene
            .db()
            .transaction(TxnOptions::default(), |txn| {
                (50..60).try_for_each(|n| txn.delete(&table, Value::I64(n)).map(drop))
            })
            .unwrap();
    }
}

/// Whoever drops a table stands still before that is logged, or behind it: nobody waits for him, and a checkpoint has what the log has. If
/// he goes on the log says so after the checkpoint, perhaps once more.
#[test]
fn a_table_that_somebody_is_about_to_drop_is_in_a_checkpoint_unless_the_log_says_that_it_is_dropped() {
    for case in 0..8 {
        let bit = |bit: u32| case >> bit & 1 == 1;
        let (is_logged, has_earlier, goes_on) = (bit(0), bit(1), bit(2));
        let mut scene = Scene::new("leaving");
        let table = scene.db().create_table(&short("Short")).unwrap();
        fill_short(scene.db(), 20);
        if has_earlier {
            scene.db().checkpoint().unwrap();
        }
        fill_short(scene.db(), 25);
        let mut session = scene.db().0.session().unwrap();
        session.leave_unlogged_table(&table.0);
        if is_logged {
            session = log_drop_only(session, &table.0);
        }
        scene.put(0..10, |name| name);
        let taken = scene.db().checkpoint().unwrap();
        assert_eq!(taken.rows, if is_logged { 10 } else { 35 }, "case {case}");
        if goes_on {
            session = go_on_dropping(session, &table.0);
        }
        scene.put(5..15, |name| -name);
        scene.db().0.pool().put(session);
        drop(table);
        scene.reopen();
        let is_there = scene.db().table("Short").unwrap().is_some();
        assert_eq!(is_there, !is_logged && !goes_on, "case {case}");
        if is_there {
            assert_eq!(count(scene.db(), "Short"), 25, "case {case}");
        }
        assert_eq!(count(scene.db(), "Cell"), 15, "case {case}");
        assert!(scene.db().verify().unwrap().is_clean(), "case {case}");
    }
}
