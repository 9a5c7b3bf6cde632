//! Reads of one row without a snapshot, overtaken at every access: by those who change the row, take it out and make it anew, drop its table;
//! and in the middle of others' commits. What is shown is of one moment, in the order in which things happened.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::garbage_tests::{Scene, run};
use super::secondary_tests::{FIRST, PLAIN, assert_clean, schema, vacuum};
use crate::mvcc::{BeginWord, StallPolicy, VersionRef, resolve_begin};
use crate::row::Value;
use crate::shm::{BlockKind, BlockState, BlockWord};
use crate::sync::{interrupted_at, survives};
use crate::txn::{
    Newest, Session, TableRef, Transaction, TxnError, TxnOptions, drop_table, reap_dead_processes,
};
use std::cell::RefCell;
use std::rc::Rc;

const KEY: i64 = 0;
const OTHER_KEY: i64 = 1;

/// The reader and the rival, each in a process that does not wait for one that stands still; one row, which says 1.
fn scene(name: &str, point: u64) -> (Scene, Box<Session>, Box<Session>, TableRef) {
    let scene = Scene::new(name, point);
    let stall = StallPolicy { check_after_ns: 0, abort_after_ns: 1, ..StallPolicy::default() };
    let (mut reader, rival) = (scene.process_that_waits(stall), scene.process_that_waits(stall));
    let table = reader.load_table(1, &schema()).unwrap();
    reader.store().clock().restore(1);
    let rival = run(rival, true, |txn| write(txn, &table, KEY, 1));
    (scene, reader, rival, table)
}

fn write(txn: &mut Transaction, table: &TableRef, key: i64, value: i64) {
    txn.set(table, Value::I64(key), &[(FIRST, Value::I64(value)), (PLAIN, Value::I64(-value))]).unwrap();
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// What the row says.
    Row(i64),
    Missing,
    /// A snapshot is needed.
    Unsettled,
}

fn look(session: &mut Session, table: &TableRef, key: i64) -> Result<Seen, TxnError> {
    let seen = session.read_newest(table, Value::I64(key), |row| {
        let [first, plain] = [FIRST, PLAIN].map(|column| row.get(column).as_i64().unwrap());
        assert_eq!((row.key(), first), (Value::I64(key), -plain), "half a row");
        first
    })?;
    Ok(match seen {
        Newest::Known(Some(value)) => Seen::Row(value),
        Newest::Known(None) => Seen::Missing,
        Newest::Unsettled(_) => Seen::Unsettled,
    })
}

/// Lets `rival` in at each access of a look at the row; what may be told then.
fn overtaken(
    name: &str,
    rival: impl Fn(Box<Session>, &TableRef) -> Box<Session> + Clone + 'static,
    allowed: &[Seen],
) {
    let mut seen = Vec::new();
    for point in 1_u64.. {
        let (_scene, mut reader, other, table) = scene(name, point);
        let back = Rc::new(RefCell::new(None));
        let (deed, returned, place) = (rival.clone(), Rc::clone(&back), table.clone());
        let (was_interrupted, found) = interrupted_at(
            point,
            move || *returned.borrow_mut() = Some(deed(other, &place)),
            || look(&mut reader, &table, KEY).unwrap(),
        );
        assert!(found == Seen::Unsettled || allowed.contains(&found), "access {point}: {found:?}");
        if found != Seen::Unsettled && !seen.contains(&found) {
            seen.push(found);
        }
        let Some(mut other) = back.take() else {
            assert!(!was_interrupted && point > 5, "{point} accesses");
            break;
        };
        vacuum(&mut other);
        assert_clean(&mut other, &format!("access {point}"));
    }
    assert!(seen.len() > 1, "it was never overtaken: {seen:?}");
}

#[test]
fn a_row_that_changes_is_seen_before_or_after() {
    overtaken(
        "newest-update",
        |rival, table| {
            let mut rival = rival;
            for value in 2..5 {
                rival = run(rival, true, |txn| write(txn, table, KEY, value));
                vacuum(&mut rival);
            }
            rival
        },
        &[Seen::Row(1), Seen::Row(4)],
    );
}

#[test]
fn a_row_that_is_deleted_is_missing_while_a_snapshot_has_it() {
    let (scene, mut reader, rival, table) = scene("newest-deleted", 1);
    let mut old =
        Transaction::begin(scene.process(), TxnOptions { read_only: true, ..TxnOptions::default() });
    let value =
        |old: &mut Transaction| old.get(&table, Value::I64(KEY), |row| row.get(FIRST).as_i64()).unwrap();
    assert_eq!(value(&mut old), Some(Some(1)));
    let mut rival = run(rival, true, |txn| {
        txn.delete(&table, Value::I64(KEY)).unwrap();
    });
    vacuum(&mut rival);
    assert_eq!(look(&mut reader, &table, KEY).unwrap(), Seen::Missing);
    assert_eq!(value(&mut old), Some(Some(1)));
}

/// Its memory is another row's then, or the same row's again.
#[test]
fn a_row_that_goes_and_comes_back_is_seen_of_one_moment() {
    overtaken(
        "newest-again",
        |rival, table| {
            let mut rival = run(rival, true, |txn| {
                txn.delete(table, Value::I64(KEY)).unwrap();
            });
            for _ in 0..3 {
                vacuum(&mut rival);
            }
            run(rival, true, |txn| write(txn, table, KEY, 2))
        },
        // In between it is not there.
        &[Seen::Row(1), Seen::Missing, Seen::Row(2)],
    );
}

/// Z1: the intent is there when the look begins, and is committed at every access of it; what is below it is taken out then, as no snapshot
/// holds it.
#[test]
fn a_row_whose_change_is_committed_meanwhile_does_not_seem_to_be_missing() {
    for point in 1_u64.. {
        let (_scene, mut reader, rival, table) = scene("newest-commit", point);
        let mut txn = Transaction::begin(rival, TxnOptions::default());
        write(&mut txn, &table, KEY, 2);
        let (was_interrupted, found) = interrupted_at(
            point,
            move || {
                txn.commit(false).unwrap();
                let mut rival = txn.into_session().unwrap();
                rival.store().log().start_at(rival.store().clock().now());
                vacuum(&mut rival);
            },
            || look(&mut reader, &table, KEY).unwrap(),
        );
        assert!(matches!(found, Seen::Unsettled | Seen::Row(1 | 2)), "access {point}: {found:?}");
        if !was_interrupted {
            assert!(point > 5, "{point} accesses");
            return;
        }
    }
}

/// Another reader, who has had the first intent at hand since before the second, learns from the record that it has committed, and
/// stamps what he has.
#[test]
fn what_a_transaction_has_written_over_itself_is_not_shown_however_late_it_is_stamped() {
    for point in 1_u64.. {
        let (scene, mut reader, rival, table) = scene("newest-overwritten", point);
        let late = scene.process();
        let mut txn = Transaction::begin(rival, TxnOptions::default());
        write(&mut txn, &table, KEY, 2);
        let place = table.clone();
        let (was_interrupted, found) = interrupted_at(
            point,
            move || {
                let guard = late.participant().pin();
                let arena = guard.arena();
                let versions = arena.slabs().flat_map(|slab| slab.blocks(arena).collect::<Vec<_>>());
                let live =
                    |word: &BlockWord| word.kind() == BlockKind::VERSION && word.state() == BlockState::Live;
                let mut intents = versions.filter(|(_, word)| live(word)).filter_map(|(offset, _)| {
                    let version = VersionRef::resolve(&guard, offset).unwrap();
                    matches!(version.begin(&guard), BeginWord::Intent(_)).then_some(version)
                });
                let first = intents.next().unwrap();
                write(&mut txn, &place, KEY, 3);
                txn.commit(false).unwrap();
                let clock = late.store().clock();
                resolve_begin(&guard, clock, &first, clock.now(), 0, StallPolicy::default()).unwrap();
            },
            || look(&mut reader, &table, KEY).unwrap(),
        );
        assert!(matches!(found, Seen::Unsettled | Seen::Row(1 | 3)), "access {point}: {found:?}");
        if !was_interrupted {
            assert!(point > 5, "{point} accesses");
            return;
        }
    }
}

/// At every access of a commit another commits elsewhere, and looks at the row then: where it is told, it is not shown the row as it was
/// before one whose place is the earlier one.
#[test]
fn who_looks_after_a_commit_sees_all_that_had_its_place_before() {
    let (mut after, mut unsettled) = (0, 0);
    for point in 1_u64.. {
        let (_scene, other, rival, table) = scene("newest-order", point);
        let mut txn = Transaction::begin(rival, TxnOptions::default());
        write(&mut txn, &table, KEY, 2);
        let seen = Rc::new(RefCell::new(None));
        let (outcome, place) = (Rc::clone(&seen), table.clone());
        let (was_interrupted, first) = interrupted_at(
            point,
            move || {
                let mut txn = Transaction::begin(other, TxnOptions::default());
                write(&mut txn, &place, OTHER_KEY, 7);
                let second = txn.commit(false).unwrap();
                let mut session = txn.into_session().unwrap();
                let found = look(&mut session, &place, KEY).unwrap();
                *outcome.borrow_mut() = Some((second, found));
            },
            || txn.commit(false),
        );
        if !was_interrupted {
            assert!(after > 2 && unsettled > 2, "{after} seen after it, {unsettled} not told");
            return;
        }
        match (seen.take().unwrap(), first) {
            ((second, Seen::Row(1)), Ok(first)) => {
                assert!(first > second, "point {point}: seen after {second} without what has {first}");
            }
            ((_, Seen::Unsettled), _) => unsettled += 1,
            ((_, found), first) => {
                assert!(found == Seen::Row(2) && first.is_ok(), "point {point}: {found:?}");
                after += 1;
            }
        }
    }
}

#[test]
fn a_table_that_is_dropped_meanwhile_has_its_rows_or_is_gone() {
    let (mut seen, mut gone) = (0, 0);
    for point in 1_u64.. {
        let (_scene, mut reader, rival, table) = scene("newest-drop", point);
        let place = table.clone();
        let (was_interrupted, found) = interrupted_at(
            point,
            move || {
                let (session, dropped) = drop_table(rival, &place, false);
                dropped.unwrap();
                let mut session = session.unwrap();
                session.store().log().start_at(session.store().clock().now());
                for _ in 0..3 {
                    vacuum(&mut session);
                }
            },
            || look(&mut reader, &table, KEY),
        );
        match found {
            Ok(found) => {
                assert_eq!(found, Seen::Row(1), "access {point}");
                seen += 1;
            }
            Err(error) => {
                assert!(matches!(error, TxnError::NoTable { .. }), "access {point}: {error}");
                gone += 1;
            }
        }
        if !was_interrupted {
            assert!(seen > 2 && gone > 2, "{seen} seen, {gone} gone");
            return;
        }
        for _ in 0..3 {
            vacuum(&mut reader);
        }
        assert_clean(&mut reader, &format!("access {point}"));
    }
}

/// Z3: what it leaves holds nothing back once it is reaped, and before that no more than an operation does.
#[test]
fn a_death_while_a_row_is_looked_at_leaves_nothing() {
    for point in 1_u64.. {
        let (scene, reader, mut rival, table) = scene("newest-death", point);
        let mut reader = reader;
        let survived = survives(point, || {
            look(&mut reader, &table, KEY).unwrap();
        });
        drop(reader);
        rival = run(rival, true, |txn| {
            txn.delete(&table, Value::I64(KEY)).unwrap();
        });
        reap_dead_processes(&mut rival).unwrap();
        assert_eq!(rival.store().registry().live_slots().unwrap().len(), 1);
        for _ in 0..3 {
            vacuum(&mut rival);
        }
        assert_clean(&mut rival, &format!("point {point}"));
        drop(scene);
        if survived {
            assert!(point > 4, "{point} points");
            return;
        }
    }
}
