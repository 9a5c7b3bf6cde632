//! Those who walk over a table's rows, or make it once more, while it is dropped and another has its slabs.

use super::{FIRST, ROWS, assert_gone, drop_by, make, reap, scanned, state, tables};
use crate::db::garbage_tests::run;
use crate::db::secondary_tests::{assert_clean, schema, vacuum};
use crate::mvcc::TableState;
use crate::row::{Schema, Value};
use crate::sync::{interrupted_at, point_stride};
use crate::txn::{
    Session, Transaction, TxnError, TxnOptions, Vacuum, create_table, define_table, log_only, table,
};
use std::cell::RefCell;
use std::rc::Rc;

/// A walk over all rows that has not looked at any yet.
fn begin_walk(session: &Session) -> Option<Vacuum> {
    session.store().garbage().want();
    Vacuum::begin(session).unwrap()
}

#[test]
fn a_walk_that_began_before_a_drop_leaves_the_rows_to_those_who_may_see_them() {
    let (scene, peer, [table, _]) = tables("drop-walk", 0);
    let options = TxnOptions { read_only: true, ..TxnOptions::default() };
    let mut early = Transaction::begin(scene.process(), options);
    let (found, _) = early.logged_tables().unwrap();
    let kept = found.iter().find(|found| found.table.id() == 1).unwrap();
    let mut walker = scene.process();
    let mut walk = begin_walk(&walker).unwrap();
    let (mut peer, dropped) = drop_by(peer, &table);
    dropped.unwrap();
    while !walk.go_on(&mut walker, 100).unwrap() {}
    assert_eq!(scanned(&mut early, &kept.table), usize::try_from(ROWS).unwrap());
    drop(early);
    walker.close().unwrap();
    reap(&mut peer);
    assert_gone(&mut peer, &table, "in the end");
}

/// T9: a walk that has the slabs of a table meets another's rows there, at each access of it.
fn overtake_walk(name: &str, stride: u64, is_dropped: bool) {
    let stride = point_stride(stride);
    for point in (1..).step_by(usize::try_from(stride).unwrap()) {
        let (scene, mut peer, tables) = tables(name, point);
        if is_dropped {
            let (session, dropped) = drop_by(peer, &tables[0]);
            dropped.unwrap();
            peer = session;
            // Until its rows may go.
            (0..3).for_each(|_| peer.mend_tables().map(drop).unwrap());
            assert!(peer.mend_indexes().is_ok());
        }
        let mut walker = scene.process();
        // Its slabs are known before the drop.
        let begun = (!is_dropped).then(|| begin_walk(&walker).unwrap());
        let rival = Rc::new(RefCell::new(Some(peer)));
        let (place, theirs) = (Rc::clone(&rival), tables[0].clone());
        let overtake = move || {
            let mut session = place.take().unwrap();
            if !is_dropped {
                let dropped;
                (session, dropped) = drop_by(session, &theirs);
                dropped.unwrap();
            }
            (0..6).for_each(|_| vacuum(&mut session));
            let (mut session, heir) = make(session);
            for value in 0..2 {
                session = run(session, true, |txn| {
                    for row in 0..ROWS {
                        txn.set(&heir, Value::I64(row), &[(FIRST, Value::I64(10 * row + value))]).unwrap();
                    }
                });
            }
            session = run(session, true, |txn| assert!(txn.delete(&heir, Value::I64(0)).unwrap()));
            place.replace(Some(session));
        };
        let (was_interrupted, outcome) = interrupted_at(point, overtake, || {
            // Who overtakes this may have begun one for all that is asked for.
            let Some(mut walk) = begun.or_else(|| begin_walk(&walker)) else { return Ok(()) };
            while !walk.go_on(&mut walker, 1)? {}
            Ok::<(), TxnError>(())
        });
        let hint = format!("point {point}");
        outcome.unwrap();
        let mut peer = rival.take().unwrap();
        if !was_interrupted {
            assert!(point > 3 * stride, "{hint}");
            return;
        }
        walker.close().unwrap();
        assert_clean(&mut peer, &hint);
        let heir = table(&peer, "Cell").unwrap().unwrap();
        peer = run(peer, false, |txn| {
            assert_eq!(txn.count(&heir).unwrap(), ROWS.unsigned_abs() - 1, "{hint}");
        });
        assert_gone(&mut peer, &tables[0], &hint);
    }
}

#[test]
fn a_walk_that_began_before_a_drop_leaves_the_next_table_alone() {
    overtake_walk("drop-walk-live", 61, false);
}

#[test]
fn a_walk_over_a_dropped_table_leaves_the_next_table_alone() {
    overtake_walk("drop-walk-dropped", 61, true);
}

#[test]
fn a_definition_that_is_logged_late_is_not_behind_the_drop_of_its_table() {
    let mut point = 0;
    loop {
        point += 7;
        let (scene, peer, _tables) = tables("drop-late", point);
        let another =
            Schema::builder("Another").column(schema().column(0).clone()).key("name").build().unwrap();
        let rival = Rc::new(RefCell::new(Some(scene.process())));
        let (place, theirs) = (Rc::clone(&rival), another.clone());
        let overtake = move || {
            let (session, made) = create_table(place.take().unwrap(), &theirs, false);
            let (session, dropped) = drop_by(session.unwrap(), &made.unwrap());
            dropped.unwrap();
            place.replace(Some(session));
        };
        let (was_interrupted, (peer, made)) =
            interrupted_at(point, overtake, || define_table(peer, &another, false));
        let peer = peer.unwrap();
        peer.store().log().start_at(peer.store().clock().now());
        if !was_interrupted {
            made.unwrap();
            assert!(point > 20);
            return;
        }
        let Ok((table, logged_ts)) = made else {
            assert!(matches!(made, Err(TxnError::NoTable { .. })), "point {point}: {made:?}");
            continue;
        };
        let root = table.root(&peer.participant().pin()).unwrap();
        if state(&peer, &table) != TableState::Live {
            let (now, dropped_ts) = (state(&peer, &table), root.dropped_ts());
            assert!(
                logged_ts.is_none_or(|ts| ts < dropped_ts),
                "point {point}: {now:?}, {logged_ts:?} is after {dropped_ts}"
            );
        }
    }
}

#[test]
fn an_index_that_is_logged_late_is_not_behind_the_drop_of_its_table() {
    let (_scene, peer, [table, _]) = tables("drop-index-late", 0);
    let (peer, dropped) = drop_by(peer, &table);
    dropped.unwrap();
    let (_peer, logged) = log_only(peer, &table, FIRST, true);
    assert!(matches!(logged, Err(TxnError::NoTable { .. })), "{logged:?}");
}
