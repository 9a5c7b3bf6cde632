//! Unique indexes when others come in at every access of a transaction, or of the making of an index: no two rows ever have one
//! key, and somebody gets it.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::garbage_tests::Scene;
use super::secondary_tests::vacuum;
use super::verify::check;
use crate::db::{Error, ErrorKind};
use crate::mvcc::{Clock, IndexRoots, IndexState, NEVER, StallPolicy, newest_committed};
use crate::row::{Column, ColumnType, Copies, IndexSpec, RowImage, RowView, Schema, Value};
use crate::shm::tagged_slabs;
use crate::sync::{interrupted_at, run_scheduled, survives};
use crate::txn::{
    Alone, Change, Isolation, Session, TableRef, Transaction, TxnError, TxnOptions, create_index, drop_index,
    reap_dead_processes,
};
use std::cell::RefCell;
use std::rc::Rc;

const TAIL: usize = 1;
const KEY: i64 = 7;
/// Points between two looks at all there is.
const CHECK_EVERY: u64 = 37;
/// What `run_scheduled` is given in debug.
const SEEDS: u64 = 24;

fn schema(is_unique: bool) -> Schema {
    schema_named("Plane", is_unique)
}

fn schema_named(name: &str, is_unique: bool) -> Schema {
    let tail = Column::new("tail", ColumnType::I64).nullable();
    Schema::builder(name)
        .column(Column::new("name", ColumnType::I64))
        .column(if is_unique { tail.unique() } else { tail })
        .key("name")
        .build()
        .unwrap()
}

fn scene(name: &str, point: u64, is_unique: bool) -> (Scene, Box<Session>, Box<Session>, TableRef) {
    let scene = Scene::new(name, point);
    // Whoever waits for one that is interrupted waits in vain.
    let stall = StallPolicy { check_after_ns: 0, abort_after_ns: 1, ..StallPolicy::default() };
    let (mut one, other) = (scene.process(), scene.process_that_waits(stall));
    let table = one.load_table(1, &schema(is_unique)).unwrap();
    one.store().clock().restore(1);
    (scene, one, other, table)
}

fn give(txn: &mut Transaction, table: &TableRef, name: i64, tail: i64) -> Result<(), TxnError> {
    txn.set(table, Value::I64(name), &[(TAIL, Value::I64(tail))]).map(drop)
}

/// One transaction that gives a row a tail.
fn give_alone(
    session: Box<Session>,
    table: &TableRef,
    options: TxnOptions,
    (name, tail): (i64, i64),
) -> (Box<Session>, Result<(), TxnError>) {
    let mut txn = Transaction::begin(session, options);
    let given = give(&mut txn, table, name, tail).and_then(|()| txn.commit(false).map(drop));
    (txn.into_session().unwrap(), given)
}

/// The tails that rows have, in order.
fn tails(session: &mut Box<Session>, table: &TableRef) -> Vec<i64> {
    let mut tails = Vec::new();
    let (guard, _) = session.parts();
    for slab in tagged_slabs(guard.arena(), &table.root(&guard).unwrap().rows).unwrap() {
        for row in guard.live_blocks(slab).unwrap() {
            let (clock, row) = (Clock::new(u64::MAX >> 2), guard.resolve(row).unwrap());
            let newest = newest_committed(&guard, &clock, row, NEVER - 1, 0, StallPolicy::default()).unwrap();
            if let Some((version, _)) = newest
                && let Value::I64(tail) = table.view(version.image(), &Copies::default()).unwrap().get(TAIL)
            {
                tails.push(tail);
            }
        }
    }
    tails.sort_unstable();
    tails
}

fn is_refused(result: &Result<(), TxnError>) -> bool {
    matches!(result, Err(TxnError::UniqueViolation { .. }))
}

fn assert_clean(session: &mut Session, hint: &str) {
    session.store().log().start_at(session.store().clock().now());
    let report = check(session).unwrap();
    assert!(report.is_clean(), "{hint}: {report:#?}");
}

/// U1, U2: somebody else gives the key to another row at every access of the first one's write and commit.
#[test]
fn of_two_that_give_one_key_to_two_rows_one_commits() {
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let options = TxnOptions { isolation, ..TxnOptions::default() };
        let (_scene, mut one, mut other, table) = scene("two-keys", 0, true);
        for point in 1_u64.. {
            let key = point.cast_signed();
            let second = Rc::new(RefCell::new(None));
            let (outcome, place) = (Rc::clone(&second), table.clone());
            let (was_interrupted, (back, first)) = interrupted_at(
                point,
                move || *outcome.borrow_mut() = Some(give_alone(other, &place, options, (2, key))),
                || give_alone(one, &table, options, (1, key)),
            );
            if !was_interrupted {
                assert!(point > 50);
                break;
            }
            let (back_too, second) = second.take().unwrap();
            let hint = format!("{isolation:?}, point {point}: {first:?}, {second:?}");
            assert!(first.is_ok() != second.is_ok(), "{hint}");
            // One that was in the way of another may be aborted for that.
            let aborted = first.as_ref().is_err_and(TxnError::is_retryable);
            assert!(is_refused(&first) || is_refused(&second) || aborted, "{hint}");
            (one, other) = (back, back_too);
            let found = tails(&mut one, &table);
            assert_eq!(found.iter().filter(|tail| **tail == key).count(), 1, "{hint}: {found:?}");
            if point % CHECK_EVERY == 0 {
                assert_clean(&mut one, &hint);
            }
        }
    }
}

/// U2: the row that has the key lets go of it, and is looked after for garbage, at every access of a commit. Who gives it to another
/// row then has the later timestamp, or is refused.
fn let_go_beside(name: &str, has_looked: bool) {
    let (_scene, mut one, mut other, table) = scene(name, 0, true);
    let (mut early, mut late) = (0, 0);
    for point in 1_u64.. {
        let key = point.cast_signed();
        let mut txn = Transaction::begin(one, TxnOptions::default());
        if has_looked {
            // Its snapshot is older than the key.
            assert!(txn.get(&table, Value::I64(9), |_| ()).unwrap().is_none());
        }
        let had;
        (other, had) = give_alone(other, &table, TxnOptions::default(), (2, key));
        had.unwrap();
        give(&mut txn, &table, 1, key).unwrap();
        let second = Rc::new(RefCell::new(None));
        let (outcome, place) = (Rc::clone(&second), table.clone());
        let (was_interrupted, first) = interrupted_at(
            point,
            move || {
                let mut txn = Transaction::begin(other, TxnOptions::default());
                give(&mut txn, &place, 2, -key).unwrap();
                let let_go = txn.commit(false).unwrap();
                let mut session = txn.into_session().unwrap();
                vacuum(&mut session);
                *outcome.borrow_mut() = Some((session, let_go));
            },
            || txn.commit(false),
        );
        one = txn.into_session().unwrap();
        if !was_interrupted {
            assert!(early > 10 && late > 5, "{early} too early, {late} late enough");
            return;
        }
        let let_go;
        (other, let_go) = second.take().unwrap();
        match first {
            Ok(given) => {
                assert!(given > let_go, "point {point}: given at {given}, let go at {let_go}");
                late += 1;
            }
            Err(error) => {
                assert!(matches!(error, TxnError::UniqueViolation { .. }), "point {point}: {error:?}");
                early += 1;
            }
        }
        if point % CHECK_EVERY == 0 {
            assert_clean(&mut one, &format!("point {point}"));
        }
    }
}

#[test]
fn what_has_a_key_at_the_timestamp_is_seen_whatever_is_taken_out() {
    let_go_beside("unique-taken-out", false);
}

/// What counts at the timestamp, and not at the snapshot, is kept because the look is announced.
#[test]
fn what_has_a_key_since_the_snapshot_is_seen_whatever_is_taken_out() {
    let_go_beside("unique-announced", true);
}

/// The same by threads of random schedules: three rows, two keys, and somebody whose row lets go of one.
#[test]
fn keys_have_one_row_under_random_schedules() {
    let (mut given, mut refused) = (0, 0);
    for seed in 0..SEEDS {
        let (scene, one, _, table) = scene("keys-scheduled", seed, true);
        let (one, first) = give_alone(one, &table, TxnOptions::default(), (0, KEY));
        first.unwrap();
        let sessions = [one, scene.process(), scene.process()];
        let mut threads: Vec<Box<dyn FnOnce() -> Box<Session> + Send>> = Vec::new();
        for (number, mut session) in (0_i64..).zip(sessions) {
            let table = &table;
            threads.push(Box::new(move || {
                for turn in 0..3 {
                    let gift = (number, KEY + (number + turn) % 2);
                    let (back, result) = give_alone(session, table, TxnOptions::default(), gift);
                    session = back;
                    let is_conflict = result.as_ref().is_err_and(TxnError::is_retryable);
                    assert!(result.is_ok() || is_refused(&result) || is_conflict, "{result:?}");
                }
                session
            }));
        }
        let (ended, _) = run_scheduled(seed, threads);
        let mut sessions = ended.into_iter();
        let mut one = sessions.next().unwrap();
        let found = tails(&mut one, &table);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "seed {seed}: {found:?}");
        given += found.len();
        refused += 3 - found.len();
        assert_clean(&mut one, &format!("seed {seed}"));
    }
    assert!(given > 0 && refused > 0, "{given} rows with a tail, {refused} without");
}

/// U4, U5: somebody gives a row what another has, at every access of the making of the index, or commits then what he has given it
/// before.
fn make_beside(name: &str, gives_before: bool) {
    let (mut made, mut not_made) = (0, 0);
    let (_scene, mut one, mut other, table) = scene(name, 0, false);
    for point in 1_u64.. {
        let key = point.cast_signed();
        for (row, tail) in [(1, key), (2, -key)] {
            let given;
            (one, given) = give_alone(one, &table, TxnOptions::default(), (row, tail));
            given.unwrap();
        }
        let mut txn = Transaction::begin(other, TxnOptions::default());
        if gives_before {
            give(&mut txn, &table, 2, key).unwrap();
        }
        let second = Rc::new(RefCell::new(None));
        let (outcome, place) = (Rc::clone(&second), table.clone());
        let (was_interrupted, (back, created)) = interrupted_at(
            point,
            move || {
                let given = if gives_before { Ok(()) } else { give(&mut txn, &place, 2, key) };
                let committed = given.and_then(|()| txn.commit(false).map(drop));
                *outcome.borrow_mut() = Some((txn.into_session().unwrap(), committed));
            },
            || create_index(one, &table, TAIL, IndexSpec::UNIQUE, false),
        );
        if !was_interrupted {
            assert!(point > 50);
            break;
        }
        let (back_too, second) = second.take().unwrap();
        other = back_too;
        one = back.unwrap();
        let hint = format!("point {point}: {created:?}, {second:?}");
        // Both may be refused: by an index that is not made after all.
        assert!(created.is_err() || second.is_err(), "{hint}");
        assert!(
            created.is_ok() || is_refused(&created) || created.as_ref().is_err_and(TxnError::is_retryable),
            "{hint}"
        );
        let found = tails(&mut one, &table);
        assert_eq!(found == [key, key], second.is_ok(), "{hint}: {found:?}");
        if point % CHECK_EVERY == 0 {
            assert_clean(&mut one, &hint);
        }
        if created.is_ok() {
            made += 1;
            let dropped;
            let (back, result) = drop_index(one, &table, TAIL, false);
            (one, dropped) = (back.unwrap(), result);
            dropped.unwrap();
        } else {
            not_made += 1;
        }
        one.finish_indexes().unwrap();
    }
    assert!(made > 10 && not_made > 10, "made {made} times, not made {not_made} times");
}

#[test]
fn an_index_that_is_made_while_others_write_is_unique_or_not_made() {
    make_beside("unique-online", false);
}

#[test]
fn one_that_wrote_before_the_index_was_announced_is_looked_at_too() {
    make_beside("unique-before", true);
}

/// What a log says that was not written by this engine, or is damaged though its checksums are right.
#[test]
fn a_log_that_is_not_unique_is_said_to_be_damaged() {
    let (_scene, mut one, _, table) = scene("unique-log", 0, true);
    for name in 1..=2 {
        let mut image = RowImage::new(table.schema());
        let build = |_: Option<RowView<'_>>, image: &mut RowImage| {
            image.set(table.schema(), 0, Value::I64(name))?;
            image.set(table.schema(), TAIL, Value::I64(KEY))?;
            Ok(Change::Put)
        };
        one.load_row(&table, Value::I64(name), 1, &mut image, build).unwrap();
    }
    let alone = Alone { bytes_max: 1, added: &|_| {} };
    let loaded = one.load_index(&table, one.indexes_to_load(&table).unwrap()[0], alone);
    assert!(matches!(loaded, Err(TxnError::LogNotUnique { .. })), "{loaded:?}");
    let error = Error::from(loaded.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("the log"), "{error}");
}

/// Whoever makes a unique index dies at every point of that, and nobody has been there for him when others give two rows one key, or
/// make an index on that column.
#[test]
fn nobody_is_refused_for_the_sake_of_a_dead_maker() {
    let (mut given_up, mut complete) = (0, 0);
    for point in 1.. {
        let (scene, one, mut other, table) = scene("unique-dead", point, false);
        let (one, given) = give_alone(one, &table, TxnOptions::default(), (1, KEY));
        given.unwrap();
        let mut dead = scene.process();
        let survived = survives(point, || dead.make_unlogged(&table, TAIL, IndexSpec::UNIQUE));
        drop(dead);
        let is_complete = states(&one, &table).contains(&IndexState::Leaving);
        if point % 3 == 0 {
            // One that is reaped is in nobody's way at all.
            reap_dead_processes(&mut other).unwrap();
            assert!(!states(&one, &table).contains(&IndexState::Building), "point {point}");
        }
        if point % 2 == 0 && !is_complete {
            let (back, made) = create_index(other, &table, TAIL, IndexSpec::UNIQUE, false);
            assert!(made.is_ok(), "point {point}: {made:?}");
            other = back.unwrap();
        } else {
            let mut second;
            (other, second) = give_alone(other, &table, TxnOptions::default(), (2, KEY));
            if second.as_ref().is_err_and(TxnError::is_retryable) {
                (other, second) = give_alone(other, &table, TxnOptions::default(), (2, KEY));
            }
            assert_eq!(is_refused(&second), is_complete, "point {point}: {second:?}");
            assert_eq!(second.is_ok(), !is_complete, "point {point}: {second:?}");
        }
        *if is_complete { &mut complete } else { &mut given_up } += 1;
        reap_dead_processes(&mut other).unwrap();
        other.finish_indexes().unwrap();
        assert_clean(&mut other, &format!("point {point}"));
        if survived {
            break;
        }
    }
    assert!(given_up > 20 && complete > 0, "{given_up} given up, {complete} complete");
}

/// Somebody looks after him at every access of a commit that would give two rows one key.
#[test]
fn a_dead_maker_who_is_reaped_while_others_commit_refuses_nobody() {
    let died = |name: &str, point: u64, death: u64| {
        let (scene, one, other, table) = scene(name, point, false);
        let (one, given) = give_alone(one, &table, TxnOptions::default(), (1, KEY));
        given.unwrap();
        // Its first transaction has to find memory.
        let (other, given) = give_alone(other, &table, TxnOptions::default(), (3, KEY + 1));
        given.unwrap();
        let mut dead = scene.process();
        let survived = survives(death, || dead.make_unlogged(&table, TAIL, IndexSpec::UNIQUE));
        drop(dead);
        let is_building = states(&one, &table).contains(&IndexState::Building);
        (scene, one, other, table, survived, is_building)
    };
    // The last point at which it is in the way.
    let deaths = (1..).map(|death| (death, died("unique-last", death, death)));
    let deaths = deaths.take_while(|(_, scene)| !scene.4);
    let last = deaths.filter(|(_, scene)| scene.5).map(|(death, _)| death).last().unwrap();
    for point in 1.. {
        let (_scene, mut one, other, table, ..) = died("unique-reaped", point, last);
        let (was_interrupted, (mut other, second)) = interrupted_at(
            point,
            move || {
                reap_dead_processes(&mut one).unwrap();
            },
            || give_alone(other, &table, TxnOptions::default(), (2, KEY)),
        );
        assert!(!is_refused(&second), "access {point}: {second:?}");
        assert!(second.as_ref().map_or_else(TxnError::is_retryable, |()| true), "access {point}: {second:?}");
        if !was_interrupted {
            assert!(point > 20, "{point} accesses");
            break;
        }
        reap_dead_processes(&mut other).unwrap();
        other.finish_indexes().unwrap();
        assert_clean(&mut other, &format!("access {point}"));
    }
}

#[test]
fn who_meets_an_index_that_the_dead_had_to_log_leaves_no_session_behind() {
    let (scene, one, other, table) = scene("unique-logged", 0, false);
    let mut dead = scene.process();
    dead.make_unlogged(&table, TAIL, IndexSpec::UNIQUE);
    drop(dead);
    let slots = || one.store().registry().live_slots().unwrap().len();
    let before = slots();
    let (back, made) = create_index(other, &table, TAIL, IndexSpec::UNIQUE, false);
    assert!(matches!(made, Err(TxnError::IndexExists { .. })), "{made:?}");
    assert_eq!(states(&one, &table), [IndexState::Ready]);
    assert_eq!(slots(), before);
    drop(back);
}

/// How far the indexes of a table are.
fn states(session: &Session, table: &TableRef) -> Vec<IndexState> {
    let guard = session.participant().pin();
    let roots = IndexRoots::of(&guard, table.root(&guard).unwrap());
    roots.map(|index| index.unwrap().root.word().state).collect()
}

/// The marks of a table's columns and of the catalog are there while there is a unique index, and no longer; one that is made, or
/// comes with a new table, while they are taken back is looked at by all who commit.
#[test]
fn the_marks_of_unique_indexes_go_with_the_last_one() {
    for point in 1_u64.. {
        let (_scene, one, other, table) = scene("unique-marks", point, true);
        let (back, dropped) = drop_index(one, &table, TAIL, false);
        let mut one = back.unwrap();
        dropped.unwrap();
        assert!(one.store().catalog().has_unique());
        let ended = Rc::new(RefCell::new(None));
        let (seen, place) = (Rc::clone(&ended), table.clone());
        let make = move || {
            let (back, created) = if point % 2 == 0 {
                create_index(other, &place, TAIL, IndexSpec::UNIQUE, false)
            } else {
                let mut other = other;
                let linked = other.load_table(2, &schema_named("Kite", true));
                (Some(other), linked.map(drop))
            };
            *seen.borrow_mut() = Some((back.unwrap(), created));
        };
        let (was_interrupted, mended) = interrupted_at(point, make, || one.finish_indexes());
        mended.unwrap();
        if !was_interrupted {
            assert!(point > 10);
            assert!(!one.store().catalog().has_unique());
            assert!(table.root(&one.participant().pin()).unwrap().unique().is_empty());
            return;
        }
        let Some((mut other, created)) = ended.take() else { continue };
        let is_made = match created {
            Ok(()) => true,
            Err(error) => {
                assert!(matches!(error, TxnError::IndexBusy { .. }), "point {point}: {error:?}");
                false
            }
        };
        assert_eq!(one.store().catalog().has_unique(), is_made, "point {point}");
        let table =
            if point % 2 == 0 { table } else { other.load_table(2, &schema_named("Kite", true)).unwrap() };
        let (other, first) = give_alone(other, &table, TxnOptions::default(), (1, KEY));
        first.unwrap();
        let (_other, second) = give_alone(other, &table, TxnOptions::default(), (2, KEY));
        assert_eq!(is_refused(&second), is_made, "point {point}: {second:?}");
    }
}

/// The marks are looked after at every point of the making of a table with a unique index.
#[test]
fn a_table_that_is_made_while_marks_are_taken_back_has_its_own() {
    for point in 1.. {
        let (_scene, one, mut other, table) = scene("unique-marks-linked", point, true);
        let (back, dropped) = drop_index(one, &table, TAIL, false);
        let mut one = back.unwrap();
        dropped.unwrap();
        one.finish_indexes().unwrap();
        assert!(!one.store().catalog().has_unique());
        // Somebody has said it, and does not come to what follows.
        one.store().catalog().note_unique(table.root(&one.participant().pin()).unwrap(), TAIL);
        table.root(&one.participant().pin()).unwrap().forget_unique(TAIL);
        let (was_interrupted, kite) = interrupted_at(
            point,
            move || one.finish_indexes().unwrap(),
            || other.load_table(2, &schema_named("Kite", true)).unwrap(),
        );
        assert!(other.store().catalog().has_unique(), "point {point}");
        let (other, first) = give_alone(other, &kite, TxnOptions::default(), (1, KEY));
        first.unwrap();
        let (_other, second) = give_alone(other, &kite, TxnOptions::default(), (2, KEY));
        assert!(is_refused(&second), "point {point}: {second:?}");
        if !was_interrupted {
            assert!(point > 10);
            return;
        }
    }
}

/// U6: the drop commits between the transaction's timestamp and its look, or before, or after.
#[test]
fn a_key_is_not_given_twice_before_the_end_of_an_index_that_is_dropped_meanwhile() {
    let mut refused = 0;
    for point in 1.. {
        let (_scene, one, other, table) = scene("unique-dropped", point, true);
        let (one, given) = give_alone(one, &table, TxnOptions::default(), (1, KEY));
        given.unwrap();
        let mut txn = Transaction::begin(one, TxnOptions::default());
        give(&mut txn, &table, 2, KEY).unwrap();
        let end = Rc::new(RefCell::new(None));
        let (seen, place) = (Rc::clone(&end), table.clone());
        let drop_it = move || {
            let (session, dropped) = drop_index(other, &place, TAIL, false);
            dropped.unwrap();
            *seen.borrow_mut() = session.map(|session| (session.store().clock().now(), session));
        };
        let (was_interrupted, committed) = interrupted_at(point, drop_it, || txn.commit(false));
        let dropped_at = end.borrow().as_ref().map(|(dropped_at, _)| *dropped_at);
        match committed {
            Ok(at) => {
                assert!(
                    dropped_at.is_some_and(|dropped_at| at > dropped_at),
                    "point {point}: {dropped_at:?}"
                );
            }
            Err(error) => {
                refused += 1;
                let is_refused = matches!(error, TxnError::UniqueViolation { .. });
                assert!(is_refused || error.is_retryable(), "point {point}: {error:?}");
            }
        }
        if !was_interrupted {
            assert!(point > 20 && refused > 10, "{point} points, {refused} refused");
            return;
        }
    }
}
