//! What others do while somebody stands still who adds columns, or has died at that: they wait for him, or go by the log, or take his turn.

use super::restarts::{assert_sound, named, rows, schema, set};
use super::{LEVEL, Place, added, alter, fill, leave_unlinking, newest_definition, reap};
use crate::db::fault_tests::Watchdog;
use crate::db::garbage_tests;
use crate::db::secondary_tests::{assert_clean, scene};
use crate::db::verify::check;
use crate::mvcc::{Definition, DropStage};
use crate::row::{Column, ColumnType, Value};
use crate::shm::{BlockKind, Heap, Reserve};
use crate::sync::{AtomicU64, Ordering, survives};
use crate::txn::{
    Transaction, TxnOptions, drop_table, go_on_altering, reap_dead_processes, stand_still_altering,
};
use std::cell::RefCell;
use std::time::Duration;

/// Before it is logged, or behind that: nobody waits for him, and a checkpoint has what the log has. If he goes on, the log may say it behind the checkpoint.
#[test]
fn a_checkpoint_has_the_columns_that_the_log_says_are_added() {
    for case in 0..8 {
        let bit = |bit: u32| case >> bit & 1 == 1;
        let (is_logged, has_earlier, goes_on) = (bit(0), bit(1), bit(2));
        let place = Place::new(&format!("standing-{case}"));
        let db = place.open();
        let table = db.create_table(&schema()).unwrap();
        set(&db, &table, 1, &[(2, Value::I64(1))]);
        if has_earlier {
            db.checkpoint().unwrap();
        }
        // Which the log has as well.
        let table = db.add_columns(&table, &[Column::new("before", ColumnType::I64).default(3_i64)]).unwrap();
        set(&db, &table, 2, &[(3, Value::I64(2))]);
        let mut session = stand_still_altering(db.0.session().unwrap(), &table.0, &added(), is_logged);
        set(&db, &table, 3, &[(3, Value::I64(3))]);
        // The second one begins with the log behind the first.
        (0..2).for_each(|_| assert_eq!(db.checkpoint().unwrap().rows, 3, "case {case}"));
        if goes_on {
            session = go_on_altering(session, &table.0, is_logged);
            set(&db, &named(&db), 3, &[(LEVEL, Value::I64(30))]);
        }
        set(&db, &table, 4, &[]);
        db.0.pool().put(session);
        drop(table);
        let db = place.start_cold(db);
        let is_wide = is_logged || goes_on;
        let found = rows(&db, &named(&db));
        let more = |level: &str| if is_wide { format!(" {level} \\N 1") } else { String::new() };
        assert_eq!(found[&1], format!("1 \\N 1 3{}", more("7")), "case {case}");
        assert_eq!(found[&2], format!("2 \\N \\N 2{}", more("7")), "case {case}");
        assert_eq!(
            found[&3],
            format!("3 \\N \\N 3{}", more(if goes_on { "30" } else { "7" })),
            "case {case}"
        );
        assert_eq!(found[&4], format!("4 \\N \\N 3{}", more("7")), "case {case}");
        assert_sound(&db, &format!("case {case}"));
    }
}

/// Whoever adds columns is done in a moment, unless its process is stopped.
#[test]
fn a_drop_waits_for_who_adds_columns() {
    let place = Place::new("drop-waits");
    let db = place.open();
    let table = db.create_table(&schema()).unwrap();
    let session = stand_still_altering(db.0.session().unwrap(), &table.0, &added(), false);
    std::thread::scope(|scope| {
        let dropped = scope.spawn(|| db.drop_table(&table));
        std::thread::sleep(Duration::from_millis(20));
        db.0.pool().put(go_on_altering(session, &table.0, false));
        dropped.join().unwrap().unwrap();
    });
    assert!(db.table("Gate").unwrap().is_none());
}

#[test]
fn a_dead_session_that_was_adding_columns_is_taken_over_without_memory() {
    for checkpoints in [false, true] {
        let (scene, peer, narrow) = scene("alter-no-room", u64::from(checkpoints));
        let peer = garbage_tests::run(peer, true, |txn| fill(txn, &narrow, 1));
        drop(stand_still_altering(scene.process(), &narrow, &added(), false)); // and dies
        // All but what is kept back.
        let filler = scene.process();
        let mut heap = Heap::new(filler.store().arena().clone(), filler.participant().owner());
        let alloc = || heap.alloc(60_000, BlockKind::RAW, 1, Reserve::No).ok();
        let blocks: Vec<_> = std::iter::from_fn(alloc).collect();
        let mut peer = if checkpoints {
            let options = TxnOptions { read_only: true, ..TxnOptions::default() };
            let mut txn = Transaction::begin(peer, options);
            while txn.logged_tables().is_err() {
                let stage = narrow.root(&filler.participant().pin()).unwrap().drop_word().stage;
                assert_ne!(stage, DropStage::Altering, "nobody takes it over");
            }
            txn.into_session().unwrap()
        } else {
            let (session, dropped) = drop_table(peer, &narrow, false);
            dropped.unwrap();
            session.unwrap()
        };
        assert!(blocks.into_iter().all(|block| heap.free(block)));
        heap.close();
        drop(filler);
        reap(&mut peer);
        assert_clean(&mut peer, "afterwards");
    }
}

/// Each definition names the one before it; here the first one names the last.
#[test]
fn definitions_of_a_damaged_mapping_that_name_each_other_are_reported() {
    let _watchdog = Watchdog::new("definitions that name each other".to_owned());
    let (scene, mut peer, narrow) = scene("alter-cycle", 0);
    for name in ["one", "two"] {
        let (session, altered) = alter(peer, &narrow, &[Column::new(name, ColumnType::I16).nullable()]);
        altered.unwrap();
        peer = session;
    }
    // Not one of its definitions, so that it is looked for among all of them.
    let other = peer.load_table(2, &schema()).unwrap();
    let block = newest_definition(&peer, &other);
    let victim = RefCell::new(Some(scene.process()));
    leave_unlinking(&peer, victim.borrow().as_ref().unwrap(), &narrow, block);
    assert!(!survives(1, || drop(alter(victim.take().unwrap(), &narrow, &added()))));
    {
        let guard = peer.participant().pin();
        let newest = newest_definition(&peer, &narrow).offset;
        let first = *Definition::chain(&guard, newest).unwrap().last().unwrap();
        // The first word of a definition.
        guard.resolve::<AtomicU64>(first).unwrap().store(newest, Ordering::Relaxed);
    }
    let error = reap_dead_processes(&mut peer).unwrap_err();
    assert!(error.to_string().contains("corrupt"), "{error}");
    let error = check(&mut peer).unwrap_err();
    assert!(error.to_string().contains("corrupt"), "{error}");
}
