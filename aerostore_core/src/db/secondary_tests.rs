//! Secondary indexes when others come in at every access of a write, or of a look for garbage, and when there is no room: no entry
//! is lost, and none is left over.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::garbage_tests::{Scene, fill, run};
use super::verify::check;
use crate::epoch::{Guard, LiveSnapshots};
use crate::index::Blocks;
use crate::mvcc::{IndexRoots, IndexState, IndexWord, RowHeader};
use crate::row::{Column, ColumnPlace, ColumnType, IndexSpec, Schema, Value};
use crate::shm::{BlockKind, BlockRef, BlockState, Heap, Reserve, tagged_slabs};
use crate::sync::{Ordering, interrupted_at, run_scheduled};
use crate::txn::{
    KeySpan, RowKeys, Session, TableRef, Transaction, TxnError, TxnOptions, Vacuum, create_index, drop_index,
    prune_between, reap_dead_processes,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(super) const FIRST: usize = 1;
pub(super) const SECOND: usize = 2;
pub(super) const PLAIN: usize = 3;

pub(super) fn schema() -> Schema {
    Schema::builder("Cell")
        .column(Column::new("name", ColumnType::I64))
        .column(Column::new("first", ColumnType::I64).nullable().ordered())
        .column(Column::new("second", ColumnType::I64).nullable().ordered())
        .column(Column::new("plain", ColumnType::I64).nullable())
        .key("name")
        .build()
        .unwrap()
}

pub(super) fn scene(name: &str, point: u64) -> (Scene, Box<Session>, TableRef) {
    let scene = Scene::new(name, point);
    let mut peer = scene.process();
    let table = peer.load_table(1, &schema()).unwrap();
    peer.store().clock().restore(1);
    (scene, peer, table)
}

pub(super) fn set(
    txn: &mut Transaction,
    table: &TableRef,
    column: usize,
    value: i64,
) -> Result<(), TxnError> {
    txn.set(table, Value::I64(0), &[(column, Value::I64(value))]).map(drop)
}

/// One transaction for each.
pub(super) fn put(session: Box<Session>, table: &TableRef, values: &[(usize, i64)]) -> Box<Session> {
    values.iter().fold(session, |session, (column, value)| {
        run(session, true, |txn| set(txn, table, *column, *value).unwrap())
    })
}

fn reader(session: Box<Session>, table: &TableRef) -> Transaction {
    let mut txn = Transaction::begin(session, TxnOptions { read_only: true, ..TxnOptions::default() });
    txn.get(table, Value::I64(0), |_| ()).unwrap();
    txn
}

pub(super) fn vacuum(session: &mut Session) {
    session.store().garbage().want();
    let mut vacuum = Vacuum::begin(session).unwrap().unwrap();
    while !vacuum.go_on(session, 100).unwrap() {}
}

pub(super) fn assert_clean(session: &mut Session, hint: &str) {
    let report = check(session).unwrap();
    assert!(report.is_clean(), "{hint}: {report:#?}");
}

/// K3: the row goes from 1 to 2 and back to 1, and is written once more by the same transaction.
#[test]
fn a_second_write_keeps_an_entry_that_is_about_to_be_removed() {
    let (scene, mut peer, table) = scene("second-write", 0);
    let other = Rc::new(RefCell::new(scene.process()));
    for point in 1.. {
        peer = put(peer, &table, &[(FIRST, 1), (FIRST, 2), (PLAIN, 0)]);
        let mut txn = Transaction::begin(peer, TxnOptions::default());
        set(&mut txn, &table, FIRST, 1).unwrap();
        let pruner = Rc::clone(&other);
        let (was_interrupted, written) = interrupted_at(
            point,
            move || vacuum(&mut pruner.borrow_mut()),
            || set(&mut txn, &table, PLAIN, 7),
        );
        written.unwrap();
        txn.commit(false).unwrap();
        peer = txn.into_session().unwrap();
        peer.store().log().start_at(peer.store().clock().now());
        assert_clean(&mut peer, &format!("point {point}"));
        if !was_interrupted {
            assert!(point > 10);
            return;
        }
    }
}

/// K3: `first` is 1 all the time, while one version hands it on to the next.
#[test]
fn a_value_that_one_version_hands_on_to_the_next_is_held_all_the_time() {
    for point in 1.. {
        let (scene, peer, table) = scene("handed-on", point);
        let mut peer = put(peer, &table, &[(FIRST, 1), (SECOND, 1)]);
        let other = Rc::new(RefCell::new(Some(scene.process())));
        let (writer, place) = (Rc::clone(&other), table.clone());
        let (guard, _) = peer.parts();
        let (row, _) = newest(&guard, &table);
        let keys = RowKeys::at(&guard, table.root_offset(), row).unwrap();
        let place_of_first = ColumnPlace::of(table.schema(), FIRST);
        let (was_interrupted, is_held) = interrupted_at(
            point,
            move || {
                let mut session = put(writer.take().unwrap(), &place, &[(SECOND, 2)]);
                vacuum(&mut session);
            },
            || keys.is_held(place_of_first, IndexSpec::default(), Value::I64(1)),
        );
        assert!(is_held.unwrap(), "point {point}");
        if !was_interrupted {
            assert!(point > 2);
            return;
        }
    }
}

/// K2: what a write takes back of its own transaction's it does not take back in vain.
#[test]
fn a_write_that_finds_no_room_leaves_the_entries_of_the_one_before() {
    let scene = Scene::new("no-room-again", 0);
    let mut peer = scene.process();
    let schema = Schema::builder("Text")
        .column(Column::new("name", ColumnType::I64))
        .column(Column::new("first", ColumnType::I64).nullable().ordered())
        .column(Column::new("text", ColumnType::String(60_000)).nullable())
        .key("name")
        .build()
        .unwrap();
    let table = peer.load_table(1, &schema).unwrap();
    peer.store().clock().restore(1);
    let peer = put(peer, &table, &[(FIRST, 1)]);
    let filler = scene.process();
    let mut txn = Transaction::begin(peer, TxnOptions::default());
    set(&mut txn, &table, FIRST, 2).unwrap();
    let text = "x".repeat(50_000);
    let mut fillings = Vec::new();
    let refused = (3..).find_map(|first| {
        fillings.push(fill(&filler));
        txn.set(&table, Value::I64(0), &[(1, Value::I64(first)), (2, Value::Str(&text))]).err()
    });
    assert!(refused.as_ref().is_some_and(TxnError::is_out_of_space), "{refused:?}");
    for (mut heap, blocks) in fillings {
        for block in blocks {
            assert!(heap.free(block));
        }
        heap.trim();
    }
    txn.commit(false).unwrap();
    drop(filler);
    let mut peer = txn.into_session().unwrap();
    peer.store().log().start_at(peer.store().clock().now());
    assert_clean(&mut peer, "after the commit");
}

/// Takes all memory there is.
pub(super) fn take_free(filler: &Session) -> (Heap, Vec<BlockRef>) {
    let (mut heap, mut blocks) = fill(filler);
    // Where there was no room for large ones.
    while let Ok(block) = heap.alloc(1000, BlockKind::RAW, 1, Reserve::Yes) {
        blocks.push(block);
    }
    (heap, blocks)
}

/// Takes what the session has for itself, there being no other.
pub(super) fn take_own(session: &mut Session) -> Vec<BlockRef> {
    let mut blocks = Vec::new();
    for _ in 0..3 {
        session.tidy_now().unwrap();
        let (_guard, mut memory) = session.parts();
        for bytes in (16..1200).step_by(16) {
            while let Ok(block) = memory.alloc(bytes, BlockKind::RAW) {
                blocks.push(block);
            }
        }
    }
    blocks
}

/// S2: the upper of two versions of one transaction stays for want of room, and the lower one with it.
#[test]
fn a_version_below_one_that_found_no_room_is_left_to_the_vacuum_too() {
    let (scene, peer, table) = scene("no-room-below", 0);
    let peer = put(peer, &table, &[(FIRST, 1)]);
    let mut txn = Transaction::begin(scene.process(), TxnOptions::default());
    set(&mut txn, &table, PLAIN, 5).unwrap();
    let _mark = txn.savepoint().unwrap();
    set(&mut txn, &table, FIRST, 2).unwrap();
    txn.die();
    let (mut peer, filler) = (peer, scene.process());
    let (heap, blocks) = take_free(&filler);
    take_own(&mut peer);
    let reaping = std::thread::spawn(move || {
        reap_dead_processes(&mut peer).unwrap();
        peer
    });
    let begun = Instant::now();
    while !reaping.is_finished() {
        assert!(begun.elapsed() < Duration::from_mins(1), "it goes round in circles");
        std::thread::sleep(Duration::from_millis(1));
    }
    let peer = reaping.join().unwrap();
    drop((peer, heap, blocks, filler));
    let mut peer = scene.process();
    while peer.store().registry().live_slots().unwrap().len() > 1 {
        reap_dead_processes(&mut peer).unwrap();
    }
    (0..3).for_each(|_| vacuum(&mut peer));
    assert_clean(&mut peer, "after the vacuum");
}

/// K6: while a reader stands at each of its accesses, a row comes into the index and is taken back after that was dropped, so nobody looks
/// for its entry, and its memory is free.
#[test]
fn no_entry_of_an_index_that_was_dropped_meanwhile_is_followed() {
    let mut refused = 0;
    for point in 1.. {
        let (scene, peer, table) = scene("followed", point);
        let peer = put(peer, &table, &[(FIRST, 1)]);
        let (other, place) = (scene.process(), table.clone());
        let mut txn = reader(scene.process(), &table);
        let meanwhile = move || {
            other.participant().close_epoch();
            let mut coming = Transaction::begin(other, TxnOptions::default());
            coming.set(&place, Value::I64(5), &[(FIRST, Value::I64(5))]).unwrap();
            drop_index(peer, &place, FIRST, false).1.unwrap();
            coming.rollback();
            let mut other = coming.into_session().unwrap();
            vacuum(&mut other);
            other.tidy_now().unwrap();
        };
        let arena = scene.process().store().arena().clone();
        let (was_interrupted, read) = interrupted_at(point, meanwhile, || {
            let span = KeySpan { low: &[], high: &[0xFF; 12] };
            txn.range_rows(&table, FIRST, span, &mut |row| {
                let state = arena.block_word(row).unwrap().state();
                assert_eq!(state, BlockState::Live, "point {point}: the row of an entry");
            })
        });
        if let Err(error) = read {
            assert!(error.is_retryable(), "point {point}: {error}");
            refused += 1;
        }
        if !was_interrupted {
            assert!(point > 10 && refused > 3, "{point} points, {refused} refused");
            return;
        }
    }
}

/// The table's one row, and its newest version.
pub(super) fn newest(guard: &Guard<'_>, table: &TableRef) -> (u64, BlockRef) {
    let slab = tagged_slabs(guard.arena(), &table.root(guard).unwrap().rows).unwrap()[0];
    let row = guard.live_blocks(slab).unwrap().next().unwrap();
    let header: &RowHeader = guard.resolve(row).unwrap();
    (row, guard.arena().block_ref(guard.protect(&header.head)).unwrap())
}

fn look(session: &Session) -> LiveSnapshots {
    let mut live = LiveSnapshots::default();
    live.look(session.store().registry(), session.store().clock().word()).unwrap();
    live
}

/// Takes out what nobody needs below a version, as of an earlier look.
fn prune(session: &mut Session, table: &TableRef, newest: BlockRef, live: &LiveSnapshots) {
    let (guard, mut linker) = session.parts();
    prune_between(&guard, &mut linker, table.root_offset(), newest, live).unwrap();
}

/// V5: while a chain is cut off, a version in its middle is taken out by somebody who has looked at the snapshots earlier.
#[test]
fn what_is_cut_off_loses_its_entries_though_its_middle_is_taken_out_meanwhile() {
    let (scene, mut peer, table) = scene("cut-middle", 0);
    let (mut first, mut second, mut cutter) = (scene.process(), scene.process(), scene.process());
    let other = Rc::new(RefCell::new(scene.process()));
    for point in 1.. {
        peer = put(peer, &table, &[(FIRST, 1)]);
        peer.prune(0).unwrap();
        let oldest = reader(first, &table);
        peer = put(peer, &table, &[(FIRST, 2), (PLAIN, 3)]);
        let middle = reader(second, &table);
        peer = put(peer, &table, &[(PLAIN, 4)]);
        let earlier = look(&peer);
        (first, second) = (oldest.into_session().unwrap(), middle.into_session().unwrap());
        let now = look(&peer);
        assert!(now.horizon() > earlier.horizon());
        let (_, newest) = newest(&peer.participant().pin(), &table);
        let (pruner, place) = (Rc::clone(&other), table.clone());
        let (was_interrupted, ()) = interrupted_at(
            point,
            move || prune(&mut pruner.borrow_mut(), &place, newest, &earlier),
            || prune(&mut cutter, &table, newest, &now),
        );
        assert_clean(&mut peer, &format!("point {point}"));
        if !was_interrupted {
            assert!(point > 10);
            return;
        }
    }
}

/// While an earlier index is taken down, whose root may serve the next one or not.
#[test]
fn of_two_that_make_an_index_at_once_no_more_than_one_does() {
    type Work<'a> = Box<dyn FnOnce() -> Box<Session> + Send + 'a>;
    for seed in 1..=60 {
        let (scene, peer, table) = scene("two-makers", seed);
        let (session, made) = create_index(
            put(peer, &table, &[(FIRST, 1), (PLAIN, 1)]),
            &table,
            PLAIN,
            IndexSpec::default(),
            false,
        );
        made.unwrap();
        let (peer, dropped) = drop_index(session.unwrap(), &table, PLAIN, false);
        dropped.unwrap();
        let (one, two, mut three) = (scene.process(), scene.process(), scene.process());
        let table = &table;
        let threads: Vec<Work<'_>> = vec![
            Box::new(move || create_index(one, table, PLAIN, IndexSpec::default(), false).0.unwrap()),
            Box::new(move || create_index(two, table, PLAIN, IndexSpec::default(), false).0.unwrap()),
            Box::new(move || {
                (0..3).for_each(|_| vacuum(&mut three));
                three
            }),
        ];
        drop(run_scheduled(seed, threads));
        let mut txn = Transaction::begin(peer.unwrap(), TxnOptions::default());
        let found = txn.index_statistics(table, |_| true).unwrap();
        let found = found.iter().filter(|stats| stats.column == PLAIN).count();
        assert!(found <= 1, "seed {seed}: {found} indexes");
    }
}

/// O3: whether the new one is made before, after or in the midst of the end of the old one, writers keep it.
#[test]
fn an_index_that_is_made_while_an_older_one_on_the_column_goes_is_kept() {
    for point in 1.. {
        let (scene, peer, table) = scene("goes", point);
        let (peer, dropped) = drop_index(put(peer, &table, &[(FIRST, 1)]), &table, FIRST, false);
        dropped.unwrap();
        let mut peer = peer.unwrap();
        let other = Rc::new(RefCell::new(Some(scene.process())));
        let (maker, place) = (Rc::clone(&other), table.clone());
        let make = move || {
            let maker_session = maker.take().unwrap();
            let (session, made) = create_index(maker_session, &place, FIRST, IndexSpec::default(), false);
            assert!(matches!(made, Ok(()) | Err(TxnError::IndexBusy { .. })), "point {point}: {made:?}");
            maker.replace(session);
        };
        let (was_interrupted, mended) = interrupted_at(point, make, || peer.finish_indexes());
        mended.unwrap();
        if was_interrupted {
            let mut session = put(other.take().unwrap(), &table, &[(FIRST, 2), (FIRST, 3)]);
            assert_clean(&mut session, &format!("point {point}"));
        } else {
            assert!(point > 10);
            assert_eq!(marks(&peer, &table) & 1 << FIRST, 0, "writers still look for it");
            return;
        }
    }
}

/// The columns that writers take for indexed.
fn marks(session: &Session, table: &TableRef) -> u64 {
    let guard = session.participant().pin();
    table.root(&guard).unwrap().indexed.load(Ordering::Relaxed)
}

/// One that stands still while its column is CLEARING holds the making of another up for a while only, and its death for no longer.
#[test]
fn an_index_is_refused_while_another_takes_the_mark_of_its_column_back() {
    let (scene, peer, table) = scene("clearing", 0);
    let (peer, dropped) = drop_index(put(peer, &table, &[(FIRST, 1)]), &table, FIRST, false);
    dropped.unwrap();
    let dead = scene.process();
    {
        let guard = dead.participant().pin();
        let roots = IndexRoots::of(&guard, table.root(&guard).unwrap());
        let root = roots.map(Result::unwrap).find(|index| index.root.word().state == IndexState::Dropping);
        let clearing = IndexWord::owned(IndexState::Clearing, dead.participant().owner());
        assert!(root.unwrap().root.change(IndexWord::of(IndexState::Dropping), clearing));
    }
    let (peer, made) = create_index(peer.unwrap(), &table, FIRST, IndexSpec::default(), false);
    assert!(matches!(made, Err(TxnError::IndexBusy { .. })), "{made:?}");
    dead.close().unwrap();
    let mut peer = peer.unwrap();
    peer.finish_indexes().unwrap();
    assert_eq!(marks(&peer, &table) & 1 << FIRST, 0);
    create_index(peer, &table, FIRST, IndexSpec::default(), false).1.unwrap();
}

/// Whether its dead owner was about to make or to drop it: the log may have neither.
#[test]
fn an_index_that_was_left_to_the_log_is_logged_again() {
    let (scene, peer, table) = scene("left", 0);
    let mut peer = put(peer, &table, &[(FIRST, 1)]);
    let dead = scene.process();
    let state = |session: &Session| {
        let guard = session.participant().pin();
        let mut roots = IndexRoots::of(&guard, table.root(&guard).unwrap()).map(Result::unwrap);
        roots.find(|index| index.root.place().unwrap().column() == FIRST).unwrap().root.word()
    };
    {
        let guard = dead.participant().pin();
        let mut roots = IndexRoots::of(&guard, table.root(&guard).unwrap()).map(Result::unwrap);
        let index = roots.find(|index| index.root.place().unwrap().column() == FIRST).unwrap();
        let leaving = IndexWord::owned(IndexState::Leaving, dead.participant().owner());
        assert!(index.root.change(IndexWord::of(IndexState::Ready), leaving));
    }
    let before = peer.store().clock().now();
    peer.finish_indexes().unwrap();
    assert_eq!(state(&peer).state, IndexState::Leaving, "its owner lives");
    dead.close().unwrap();
    peer.finish_indexes().unwrap();
    assert_eq!(state(&peer), IndexWord::of(IndexState::Ready));
    assert_eq!(peer.store().clock().now(), before + 1, "nothing was logged");
    assert_clean(&mut peer, "logged again");
}
