//! Tables are dropped while others use them: at every access of a commit, of a look at rows, of the making of an index; and by sessions
//! that die at points of it. Nothing that was done in a table commits after its drop, and all memory comes back.
//!
//! Length      `AEROSTORE_POINT_STRIDE`: every how manyth access or point is tried, 1 is the long form.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::garbage_tests::{Scene, run};
use super::secondary_tests::{FIRST, PLAIN, assert_clean, scene, schema, vacuum};
use super::verify::check;
use crate::mvcc::{NewDefinition, TableState};
use crate::row::{IndexSpec, RowView, Schema, Value};
use crate::shm::{BlockKind, BlockState, tagged_slabs};
use crate::sync::{interrupted_at, point_stride, survives};
use crate::txn::{
    Session, TableRef, Transaction, TxnError, TxnOptions, create_index, create_table, drop_table,
    reap_dead_processes, table,
};
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;

const ROWS: i64 = 3;

/// A peer with two tables, some rows in each; the first is the one to be dropped.
fn tables(name: &str, point: u64) -> (Scene, Box<Session>, [TableRef; 2]) {
    let (scene, mut peer, first) = scene(name, point);
    let mut other = Schema::builder("Other");
    for column in schema().columns() {
        other = other.column(column.clone());
    }
    let other = peer.load_table(2, &other.key("name").build().unwrap()).unwrap();
    for table in [&first, &other] {
        peer = run(peer, true, |txn| fill(txn, table));
    }
    (scene, peer, [first, other])
}

fn fill(txn: &mut Transaction, table: &TableRef) {
    for row in 0..ROWS {
        txn.set(table, Value::I64(row), &[(FIRST, Value::I64(row)), (PLAIN, Value::I64(1))]).unwrap();
    }
}

/// Drops the table; its log counts as written at once.
fn drop_by(session: Box<Session>, table: &TableRef) -> (Box<Session>, Result<(), TxnError>) {
    let (session, dropped) = drop_table(session, table, false);
    let session = session.unwrap();
    session.store().log().start_at(session.store().clock().now());
    (session, dropped)
}

fn state(session: &Session, table: &TableRef) -> TableState {
    table.root(&session.participant().pin()).unwrap().state()
}

/// Lets the vacuum do all it can, and looks that nothing is left of the table.
fn assert_gone(session: &mut Session, table: &TableRef, hint: &str) {
    for _ in 0..6 {
        vacuum(session);
    }
    assert_eq!(state(session, table), TableState::Gone, "{hint}");
    assert_clean(session, hint);
}

fn live_blocks(session: &Session, kind: BlockKind) -> usize {
    let arena = session.store().arena();
    let blocks = arena.slabs().flat_map(|slab| slab.blocks(arena).collect::<Vec<_>>());
    blocks.filter(|(_, word)| word.state() == BlockState::Live && word.kind() == kind).count()
}

fn is_gone<T>(outcome: &Result<T, TxnError>) -> bool {
    matches!(outcome, Err(TxnError::NoTable { table }) if table == "Cell")
}

#[test]
fn whatever_is_done_in_a_dropped_table_says_so() {
    let (scene, peer, [table, other]) = tables("drop-says", 0);
    let mut before = Transaction::begin(scene.process(), TxnOptions::default());
    before.get(&table, Value::I64(1), |_| ()).unwrap();
    let (peer, dropped) = drop_by(peer, &table);
    dropped.unwrap();
    let (peer, again) = drop_by(peer, &table);
    assert!(is_gone(&again));
    for txn in [&mut before, &mut Transaction::begin(scene.process(), TxnOptions::default())] {
        let key = Value::I64(1);
        assert!(is_gone(&txn.get(&table, key, |_| ())));
        assert!(is_gone(&txn.set(&table, key, &[(PLAIN, key)])));
        assert!(is_gone(&txn.delete(&table, key)));
        assert!(is_gone(&txn.lock_for_update(&table, key, |_| ())));
        assert!(is_gone(&txn.count(&table)));
        assert!(is_gone(&txn.estimated_rows(&table)));
        assert!(is_gone(&txn.index_statistics(&table, |_| true)));
    }
    before.set(&other, Value::I64(1), &[(PLAIN, Value::I64(5))]).unwrap();
    assert!(is_gone(&before.commit(false)), "what it has read is gone");
    let (peer, made) = create_index(peer, &table, PLAIN, IndexSpec::default(), false);
    assert!(is_gone(&made));
    let mut peer = peer.unwrap();
    drop(before);
    reap(&mut peer);
    assert_gone(&mut peer, &table, "after all");
    let mut kinds = [BlockKind::ROW, BlockKind::VERSION].map(|kind| live_blocks(&peer, kind));
    kinds[1] -= kinds[0];
    assert_eq!(kinds[0], usize::try_from(ROWS).unwrap(), "those of the other table, and {kinds:?}");
}

/// Looks after the sessions that have died.
fn reap(peer: &mut Session) {
    peer.store().log().start_at(peer.store().clock().now());
    reap_dead_processes(peer).unwrap();
    assert_eq!(peer.store().registry().live_slots().unwrap().len(), 1);
}

/// T2, at accesses of what `work` does, and of its commit; `work` is told both tables.
fn overtake(
    name: &str,
    stride: u64,
    work: impl Fn(&mut Transaction, &[TableRef; 2]) -> Result<(), TxnError>,
) {
    let stride = point_stride(stride);
    let mut point = 0;
    loop {
        point += stride;
        let (scene, peer, tables) = tables(name, point);
        let rival = Rc::new(RefCell::new(Some(scene.process())));
        let mut txn = Transaction::begin(peer, TxnOptions::default());
        let (place, theirs) = (Rc::clone(&rival), tables[0].clone());
        let (was_interrupted, outcome) = interrupted_at(
            point,
            move || {
                let (session, dropped) = drop_by(place.take().unwrap(), &theirs);
                dropped.unwrap();
                place.replace(Some(session));
            },
            || work(&mut txn, &tables).and_then(|()| txn.commit(false)),
        );
        let mut peer = txn.into_session().unwrap();
        peer.store().log().start_at(peer.store().clock().now());
        if !was_interrupted {
            outcome.unwrap();
            drop(scene);
            assert!(point > 3 * stride, "it has no points");
            return;
        }
        let root_ts = tables[0].root(&peer.participant().pin()).unwrap().dropped_ts();
        match &outcome {
            Ok(commit_ts) => assert!(*commit_ts < root_ts, "point {point}: {commit_ts} is after {root_ts}"),
            outcome => assert!(is_gone(outcome), "point {point}: {outcome:?}"),
        }
        rival.take().unwrap().close().unwrap();
        drop(scene);
        assert_gone(&mut peer, &tables[0], &format!("point {point}"));
    }
}

#[test]
fn nothing_that_was_written_in_a_table_commits_after_its_drop() {
    overtake("drop-write", 7, |txn, [table, _]| {
        txn.set(table, Value::I64(1), &[(FIRST, Value::I64(70))])?;
        txn.set(table, Value::I64(90), &[(FIRST, Value::I64(71))])?;
        txn.delete(table, Value::I64(2)).map(drop)
    });
}

#[test]
fn nothing_that_was_read_in_a_table_commits_after_its_drop() {
    overtake("drop-read", 3, |txn, [table, other]| {
        let seen = txn.get(table, Value::I64(1), |row| row.get(FIRST).as_i64())?;
        assert_eq!(seen, Some(Some(1)));
        txn.set(other, Value::I64(1), &[(PLAIN, Value::I64(3))]).map(drop)
    });
}

#[test]
fn nothing_that_was_scanned_in_a_table_commits_after_its_drop() {
    overtake("drop-scan", 173, |txn, [table, other]| {
        assert_eq!(txn.count(table)?, ROWS.unsigned_abs());
        txn.set(other, Value::I64(1), &[(PLAIN, Value::I64(3))]).map(drop)
    });
}

#[test]
fn an_index_that_is_made_on_a_table_while_it_is_dropped_goes_with_it() {
    let stride = point_stride(61);
    let mut point = 0;
    loop {
        point += stride;
        let (scene, peer, tables) = tables("drop-index", point);
        let rival = Rc::new(RefCell::new(Some(scene.process())));
        let (place, theirs) = (Rc::clone(&rival), tables[0].clone());
        let (was_interrupted, (peer, made)) = interrupted_at(
            point,
            move || {
                let (session, dropped) = drop_by(place.take().unwrap(), &theirs);
                dropped.unwrap();
                place.replace(Some(session));
            },
            || create_index(peer, &tables[0], PLAIN, IndexSpec::default(), false),
        );
        let mut peer = peer.unwrap();
        peer.store().log().start_at(peer.store().clock().now());
        if !was_interrupted {
            made.unwrap();
            assert!(point > 2 * stride);
            return;
        }
        assert!(made.is_ok() || is_gone(&made), "point {point}: {made:?}");
        rival.take().unwrap().close().unwrap();
        drop(scene);
        assert_gone(&mut peer, &tables[0], &format!("point {point}"));
    }
}

#[test]
fn dying_while_a_table_is_dropped() {
    let stride = point_stride(2);
    let mut point = 0;
    loop {
        point += stride;
        let (scene, mut peer, tables) = tables("drop-dying", point);
        let victim = RefCell::new(Some(scene.process()));
        let survived = survives(point, || {
            let (session, dropped) = drop_by(victim.take().unwrap(), &tables[0]);
            dropped.unwrap();
            victim.replace(Some(session));
        });
        drop(victim);
        reap(&mut peer);
        // Whoever makes one of that name finds out what there is of it.
        let hint = format!("point {point}");
        let (session, made) = create_table(peer, &schema(), false);
        peer = session.unwrap();
        let made = made.unwrap();
        peer.store().log().start_at(peer.store().clock().now());
        let found = table(&peer, "Cell").unwrap().unwrap();
        assert_eq!(found.id(), made.id(), "{hint}");
        if survived {
            assert_eq!(state(&peer, &tables[0]), TableState::Dropped, "{hint}");
        }
        let is_new = made.id() != tables[0].id();
        assert_eq!(is_new, state(&peer, &tables[0]) != TableState::Live, "{hint}");
        peer = run(peer, true, |txn| {
            let rows = txn.count(&found).unwrap();
            assert_eq!(rows, if is_new { 0 } else { ROWS.unsigned_abs() }, "{hint}");
            fill(txn, &found);
        });
        if is_new {
            assert_gone(&mut peer, &tables[0], &hint);
        } else {
            // And it stays, now that somebody has it.
            (0..3).for_each(|_| vacuum(&mut peer));
            assert_eq!(state(&peer, &tables[0]), TableState::Live, "{hint}");
        }
        assert_clean(&mut peer, &hint);
        if survived {
            assert!(point > 3 * stride);
            return;
        }
    }
}

#[test]
fn dying_while_a_dropped_table_is_cleared() {
    let stride = point_stride(41);
    let mut point = 0;
    loop {
        point += stride;
        let (scene, peer, tables) = tables("drop-clearing", point);
        let (mut peer, dropped) = drop_by(peer, &tables[0]);
        dropped.unwrap();
        let mut victim = scene.process();
        let survived = survives(point, || (0..6).for_each(|_| vacuum(&mut victim)));
        drop(victim);
        reap(&mut peer);
        let hint = format!("point {point}");
        assert_clean(&mut peer, &hint);
        assert_gone(&mut peer, &tables[0], &hint);
        if survived {
            assert!(point > 2 * stride);
            return;
        }
    }
}

#[test]
fn what_an_old_snapshot_may_look_at_again_stays() {
    let (scene, peer, [table, other]) = tables("drop-kept", 0);
    let mut reader = Transaction::begin(scene.process(), TxnOptions::default());
    assert_eq!(reader.count(&table).unwrap(), ROWS.unsigned_abs());
    let mut owner = Transaction::begin(scene.process(), TxnOptions::default());
    owner.set(&table, Value::I64(2), &[(PLAIN, Value::I64(9))]).unwrap();
    let (mut peer, dropped) = drop_by(peer, &table);
    dropped.unwrap();
    (0..4).for_each(|_| vacuum(&mut peer));
    assert_eq!(state(&peer, &table), TableState::Dropped);
    assert_eq!(live_blocks(&peer, BlockKind::ROW), 2 * usize::try_from(ROWS).unwrap());
    reader.set(&other, Value::I64(1), &[(PLAIN, Value::I64(3))]).unwrap();
    assert!(is_gone(&reader.commit(false)));
    drop(reader);
    (0..4).for_each(|_| vacuum(&mut peer));
    assert_eq!(state(&peer, &table), TableState::Dropped, "somebody owns a row");
    assert!(is_gone(&owner.commit(false)));
    drop(owner);
    reap(&mut peer);
    assert_gone(&mut peer, &table, "in the end");
}

#[test]
fn a_checkpoint_sees_tables_as_its_snapshot_does() {
    let (scene, peer, [table, _]) = tables("drop-checkpoint", 0);
    let options = TxnOptions { read_only: true, ..TxnOptions::default() };
    let mut early = Transaction::begin(scene.process(), options);
    let (found, _) = early.logged_tables().unwrap();
    assert_eq!(found.len(), 2);
    let mut late = Transaction::begin(scene.process(), options);
    let before = late.read_ts().unwrap();
    let (mut peer, dropped) = drop_by(peer, &table);
    dropped.unwrap();
    let (left, _) = late.logged_tables().unwrap();
    assert_eq!(left.iter().map(|left| left.table.id()).collect::<Vec<_>>(), [2]);
    let dropped_ts = table.root(&peer.participant().pin()).unwrap().dropped_ts();
    assert!(before < dropped_ts && late.read_ts().unwrap() >= dropped_ts, "it has moved on");
    drop(late);
    (0..4).for_each(|_| vacuum(&mut peer));
    let kept = found.iter().find(|found| found.table.id() == 1).unwrap();
    let rows = scanned(&mut early, &kept.table);
    assert_eq!(rows, usize::try_from(ROWS).unwrap(), "what it has begun with it reads to its end");
    drop(early);
    reap(&mut peer);
    assert_gone(&mut peer, &table, "in the end");
    assert!(check(&mut peer).unwrap().is_clean());
}

/// How many rows a scan shows.
fn scanned(txn: &mut Transaction, table: &TableRef) -> usize {
    let mut rows = 0;
    let mut count = |seen: &[RowView<'_>]| {
        rows += seen.len();
        ControlFlow::Continue(())
    };
    txn.scan(table, None, &mut count).unwrap();
    rows
}

/// Makes a table of the schema with which the others begin; its log counts as written at once.
fn make(session: Box<Session>) -> (Box<Session>, TableRef) {
    let (session, made) = create_table(session, &schema(), false);
    let session = session.unwrap();
    session.store().log().start_at(session.store().clock().now());
    (session, made.unwrap())
}

/// The tag of the slabs of a table's rows, and how many there are.
fn slabs(session: &Session, table: &TableRef) -> (u32, usize) {
    let guard = session.participant().pin();
    let root = table.root(&guard).unwrap();
    (root.tag(), tagged_slabs(session.store().arena(), &root.rows).unwrap().len())
}

#[test]
fn a_table_has_the_slabs_of_one_that_was_dropped() {
    let (_scene, mut peer, [mut table, other]) = tables("drop-slabs", 0);
    let first = slabs(&peer, &table);
    assert_eq!(first, (1, 1));
    for round in 0..5 {
        let (session, dropped) = drop_by(peer, &table);
        dropped.unwrap();
        peer = session;
        assert_gone(&mut peer, &table, &format!("round {round}"));
        (peer, table) = make(peer);
        peer = run(peer, true, |txn| fill(txn, &table));
        assert_eq!(slabs(&peer, &table), first, "round {round}");
        peer = run(peer, false, |txn| assert_eq!(txn.count(&table).unwrap(), ROWS.unsigned_abs()));
    }
    assert_eq!(slabs(&peer, &other), (2, 1));
    // Deletions find their table by the tag.
    peer = run(peer, true, |txn| assert!(txn.delete(&table, Value::I64(1)).unwrap()));
    vacuum(&mut peer);
    assert_clean(&mut peer, "after a removal");
    assert_eq!(live_blocks(&peer, BlockKind::ROW), 2 * usize::try_from(ROWS).unwrap() - 1);
}

#[test]
fn dying_while_a_table_is_made_of_the_slabs_of_another() {
    let stride = point_stride(5);
    let mut point = 0;
    loop {
        point += stride;
        let (scene, peer, tables) = tables("drop-heir", point);
        let (mut peer, dropped) = drop_by(peer, &tables[0]);
        dropped.unwrap();
        (0..6).for_each(|_| vacuum(&mut peer));
        let victim = RefCell::new(Some(scene.process()));
        let survived = survives(point, || {
            let (session, _) = make(victim.take().unwrap());
            victim.replace(Some(session));
        });
        drop(victim);
        reap(&mut peer);
        vacuum(&mut peer);
        let hint = format!("point {point}");
        let (session, table) = make(peer);
        peer = run(session, true, |txn| fill(txn, &table));
        assert_eq!(slabs(&peer, &table), (1, 1), "{hint}");
        let (session, dropped) = drop_by(peer, &table);
        dropped.unwrap();
        peer = session;
        assert_gone(&mut peer, &table, &hint);
        // Once only.
        let (session, heir) = make(peer);
        let another =
            Schema::builder("Another").column(schema().column(0).clone()).key("name").build().unwrap();
        let (session, other) = create_table(session, &another, false);
        let tags = [&heir, &other.unwrap()].map(|table| slabs(session.as_ref().unwrap(), table).0);
        assert!(tags[0] == 1 && tags[1] != 1, "{hint}: {tags:?}");
        if survived {
            assert!(point > 3 * stride);
            return;
        }
    }
}

/// A table of that number, made of the slabs of one that is gone, by a session that dies before it says so.
fn make_and_die(mut session: Box<Session>, id: u32) {
    let heir_of = session.claim_slabs().unwrap();
    assert!(heir_of.is_some());
    let schema = schema();
    let definition = NewDefinition::new(&schema).unwrap();
    let made = session.try_link_table([id; 2], &schema, &definition, TableState::Live, heir_of);
    assert!(made.unwrap().is_some());
}

/// One more table has slabs of its own, whatever became of the makers of others.
fn assert_slabs_are_given_out_once(peer: Box<Session>, hint: &str) {
    let another = Schema::builder("Another").column(schema().column(0).clone()).key("name").build().unwrap();
    let (session, made) = create_table(peer, &another, false);
    made.unwrap();
    let session = session.unwrap();
    let guard = session.participant().pin();
    let tables = session.store().catalog().tables(&guard).unwrap();
    let mut tags: Vec<u32> =
        tables.iter().filter(|(_, root)| root.is_live()).map(|(_, root)| root.tag()).collect();
    let count = tags.len();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!((tags.len(), count), (3, 3), "{hint}: {tags:?}");
}

#[test]
fn slabs_are_given_out_once_though_the_number_of_a_table_was_taken_early() {
    let (scene, peer, tables) = tables("drop-early", 0);
    let early = peer.store().catalog().take_id();
    let (mut peer, dropped) = drop_by(peer, &tables[0]);
    dropped.unwrap();
    assert_gone(&mut peer, &tables[0], "the first");
    let (mut peer, second) = make(peer);
    assert!(second.id() > early);
    let (session, dropped) = drop_by(peer, &second);
    dropped.unwrap();
    peer = session;
    assert_gone(&mut peer, &second, "the second");
    make_and_die(scene.process(), early);
    reap(&mut peer);
    vacuum(&mut peer);
    assert_slabs_are_given_out_once(peer, "a smaller number");
}

#[test]
fn slabs_are_given_out_once_though_their_maker_dies_while_the_list_of_tables_is_read() {
    let mut point = 0;
    loop {
        point += 1;
        let (scene, peer, tables) = tables("drop-hands", point);
        let (mut peer, dropped) = drop_by(peer, &tables[0]);
        dropped.unwrap();
        assert_gone(&mut peer, &tables[0], "the first");
        let (id, victim) = (peer.store().catalog().take_id(), scene.process());
        let (was_interrupted, handed) =
            interrupted_at(point, move || make_and_die(victim, id), || peer.hand_for_dead());
        handed.unwrap();
        if !was_interrupted {
            assert!(point > 5);
            return;
        }
        reap(&mut peer);
        vacuum(&mut peer);
        assert_slabs_are_given_out_once(peer, &format!("point {point}"));
    }
}

mod overtaken;
