//! What lies between the snapshots of others is taken out, whoever dies at it; and nobody misses what was.

use super::garbage_tests::{Scene, image, reap, run, schema};
use super::verify::check;
use crate::epoch::LiveSnapshots;
use crate::mvcc::{RowHeader, VersionRef};
use crate::row::Value;
use crate::shm::tagged_slabs;
use crate::sync::{AtomicU64, Ordering, interrupted_at, point_stride, survives};
use crate::txn::{
    Session, TableRef, Transaction, TxnError, TxnOptions, Vacuum, intent_blocks, reap_dead_processes,
};
use std::cell::Cell;
use std::rc::Rc;

const ROWS: i64 = 3;

fn scene(name: &str, point: u64) -> (Scene, Box<Session>, TableRef) {
    let scene = Scene::new(name, point);
    let mut peer = scene.process();
    let table = peer.load_table(1, &schema()).unwrap();
    peer.store().clock().restore(1);
    let peer = put(peer, &table, 0);
    (scene, peer, table)
}

/// Gives every row the value.
fn put(session: Box<Session>, table: &TableRef, value: i64) -> Box<Session> {
    run(session, true, |txn| {
        for key in 0..ROWS {
            txn.upsert(table, &image(table, key, value)).unwrap();
        }
    })
}

fn reader(session: Box<Session>) -> Transaction {
    Transaction::begin(session, TxnOptions { read_only: true, ..TxnOptions::default() })
}

fn value(txn: &mut Transaction, table: &TableRef, key: i64) -> Option<i64> {
    txn.get(table, Value::I64(key), |row| row.get(1).as_i64().unwrap()).unwrap()
}

/// Lets a session die at each point of `operation` in turn, with chains of seven versions of which two readers see two.
fn at_every_point(name: &str, operation: impl Fn(&mut Session)) {
    let stride = point_stride(5);
    let mut point = 0;
    loop {
        point += stride;
        let (scene, mut peer, table) = scene(name, point);
        let mut first = reader(scene.process());
        peer = put(put(peer, &table, 1), &table, 2);
        let mut second = reader(scene.process());
        let mut victim = scene.process();
        for value in 3..7 {
            victim = put(victim, &table, value);
        }
        let survived = survives(point, || operation(&mut victim));
        drop(victim);
        reap(&scene, &mut peer, point, 3);
        // What it has left, the next one takes out.
        peer.store().garbage().want();
        assert!(Vacuum::begin(&peer).unwrap().unwrap().go_on(&mut peer, 100).unwrap());
        for key in 0..ROWS {
            assert_eq!(value(&mut first, &table, key), Some(0), "point {point}");
            assert_eq!(value(&mut second, &table, key), Some(2), "point {point}");
        }
        let report = check(&mut peer).unwrap();
        assert!(report.is_clean(), "point {point}: {report:#?}");
        assert_eq!(
            report.versions,
            3 * ROWS.cast_unsigned(),
            "point {point}: one for each reader, and the newest"
        );
        drop((first, second));
        peer.store().garbage().want();
        assert!(Vacuum::begin(&peer).unwrap().unwrap().go_on(&mut peer, 100).unwrap());
        let report = check(&mut peer).unwrap();
        assert!(report.is_clean(), "point {point}: {report:#?}");
        assert_eq!(report.versions, ROWS.cast_unsigned(), "point {point}");
        let mut last = reader(peer);
        assert!((0..ROWS).all(|key| value(&mut last, &table, key) == Some(6)), "point {point}");
        if survived {
            assert!(point > 2 * stride, "the operation has no points");
            return;
        }
    }
}

#[test]
fn dying_while_versions_between_snapshots_are_taken_out() {
    at_every_point("between", |session| session.prune(0).unwrap());
}

#[test]
fn dying_while_the_vacuum_takes_versions_out() {
    at_every_point("between-vacuum", |session| {
        session.store().garbage().want();
        assert!(Vacuum::begin(session).unwrap().unwrap().go_on(session, 100).unwrap());
    });
}

/// V4
#[test]
fn what_lies_below_a_version_that_is_being_taken_out_stays_there() {
    let (scene, mut peer, table) = scene("between-marked", 0);
    let old = reader(scene.process());
    peer = (1..4).fold(peer, |peer, value| put(peer, &table, value));
    let guard = peer.participant().pin();
    let slab = tagged_slabs(guard.arena(), &table.root(&guard).unwrap().rows).unwrap()[0];
    let row: &RowHeader = guard.resolve(guard.live_blocks(slab).unwrap().next().unwrap()).unwrap();
    let newest = VersionRef::resolve(&guard, guard.protect(&row.head)).unwrap();
    let middle = VersionRef::resolve(&guard, newest.next(&guard)).unwrap();
    let seen = middle.next_word(&guard);
    let below = middle.mark(&guard);
    assert_eq!(below, seen.older());
    let marked = middle.next_word(&guard);
    assert!(!middle.pass_over(seen, 0) && !middle.pass_over(marked, 0) && !middle.cut(marked));
    assert_eq!((middle.mark(&guard), middle.next_word(&guard)), (below, marked));
    assert!(newest.pass_over(newest.next_word(&guard), below));
    drop(old);
}

/// What became of two that take versions out of one chain.
struct Neighbours {
    /// Whether the slow one was interrupted at all.
    was_interrupted: bool,
    /// Whether the other one came to its end.
    survived: bool,
    /// The chain in between: which of its versions were marked.
    marks: Vec<bool>,
}

/// One that has looked while the second reader was there stands on the version that that one saw, and takes out the next. Before one of
/// its accesses another one, which has looked later, takes out the version it stands on, and dies at a point of that.
fn take_out_neighbours(access: u64, point: u64) -> Neighbours {
    let look = |session: &Session| {
        let mut live = LiveSnapshots::default();
        live.look(session.store().registry(), session.store().clock().word()).unwrap();
        live
    };
    let (scene, mut peer, table) = scene("between-neighbours", access << 20 | point);
    let mut old = reader(scene.process());
    peer = (1..3).fold(peer, |peer, value| put(peer, &table, value));
    let second = reader(scene.process());
    peer = put(peer, &table, 3);
    let earlier = look(&peer);
    drop(second);
    let later = look(&peer);
    let newest = {
        let guard = peer.participant().pin();
        let slab = tagged_slabs(guard.arena(), &table.root(&guard).unwrap().rows).unwrap()[0];
        let row: &RowHeader = guard.resolve(guard.live_blocks(slab).unwrap().next().unwrap()).unwrap();
        guard.arena().block_ref(guard.protect(&row.head)).unwrap()
    };
    let (mut slow, mut dying, witness) = (scene.process(), scene.process(), scene.process());
    let root = table.root_offset();
    let between = Rc::new(Cell::new((true, Vec::new())));
    let told = Rc::clone(&between);
    let deed = move || {
        let survived = survives(point, || {
            dying.prune_as_of(root, newest, &later).unwrap();
        });
        let guard = witness.participant().pin();
        let mut version = VersionRef::resolve(&guard, newest.offset).unwrap();
        let mut marks = vec![version.next_word(&guard).is_marked()];
        while version.next(&guard) != 0 {
            version = VersionRef::resolve(&guard, version.next(&guard)).unwrap();
            marks.push(version.next_word(&guard).is_marked());
        }
        told.set((survived, marks));
    };
    let (was_interrupted, _) =
        interrupted_at(access, deed, || slow.prune_as_of(root, newest, &earlier).unwrap());
    drop(slow);
    let at = format!("access {access}, point {point}");
    reap_dead_processes(&mut peer).unwrap();
    let report = check(&mut peer).unwrap();
    assert!(report.is_clean(), "{at}: {report:#?}");
    peer.store().garbage().want();
    assert!(Vacuum::begin(&peer).unwrap().unwrap().go_on(&mut peer, 100).unwrap());
    assert_eq!(check(&mut peer).unwrap().versions, 2 * ROWS.cast_unsigned(), "{at}");
    assert!((0..ROWS).all(|key| value(&mut old, &table, key) == Some(0)), "{at}");
    let (survived, marks) = between.take();
    Neighbours { was_interrupted, survived, marks }
}

/// V4: before each access of the one, after each change of the chain by the other.
#[test]
fn two_neighbours_are_not_taken_out_at_the_same_moment() {
    let (mut points, mut last) = (Vec::new(), Vec::new());
    for point in 1.. {
        let Neighbours { survived, marks, .. } = take_out_neighbours(1, point);
        if marks != last {
            points.push(point);
            last = marks;
        }
        if survived {
            break;
        }
    }
    assert_eq!((points.len(), last), (5, vec![false; 2]), "two versions are marked, and taken out");
    for access in (0..).map(|place| 2 + place * point_stride(3)) {
        if !points.iter().all(|&point| take_out_neighbours(access, point).was_interrupted) {
            assert!(access > 10, "{access} accesses");
            return;
        }
    }
}

/// G3: a transaction moves on to a newer snapshot, and right then others commit over what that sees, and take out what nobody needs. What
/// it reads afterwards is there, as it was at the one snapshot or the other; before each of its accesses in turn.
#[test]
fn what_a_newer_snapshot_sees_is_there_when_its_transaction_has_moved_on() {
    for point in 1.. {
        let (scene, mut writer, table) = scene("between-extend", point);
        let mut txn = Transaction::begin(scene.process(), TxnOptions::default());
        assert_eq!(value(&mut txn, &table, 0), Some(0));
        let change = |writer, table: &TableRef, key, value| {
            run(writer, true, |other| {
                other.upsert(table, &image(table, key, value)).unwrap();
            })
        };
        // What it meets makes it move on.
        writer = change(writer, &table, 1, 1);
        writer = change(writer, &table, 2, 1);
        let go_on = {
            let table = table.clone();
            move || {
                writer = (2..5).fold(writer, |writer, value| change(writer, &table, 2, value));
                writer.prune(0).unwrap();
            }
        };
        let (was_interrupted, moved) =
            interrupted_at(point, go_on, || txn.upsert(&table, &image(&table, 1, 50)));
        moved.unwrap();
        let seen = value(&mut txn, &table, 2);
        assert!(matches!(seen, Some(1 | 4)), "access {point}: {seen:?}");
        if !was_interrupted {
            return;
        }
    }
}

/// When others go on beside a transaction that commits, and take out what its check would meet.
#[derive(Clone, Copy, Debug)]
enum Beside {
    /// After its timestamp is drawn, before that is known to others.
    BeforeKnown,
    /// After that, before its check.
    BeforeCheck,
}

/// Does a transaction find that what it has `read` was changed? Row 0 and key 100 are `changed` before its timestamp, or not, and
/// many times after it.
fn is_conflict(beside: Beside, changed: bool, read: impl FnOnce(&mut Transaction, &TableRef)) -> bool {
    let (scene, mut writer, table) = scene("between-check", 0);
    let mut txn = Transaction::begin(scene.process(), TxnOptions::default());
    read(&mut txn, &table);
    txn.upsert(&table, &image(&table, ROWS - 1, 50)).unwrap();
    let change = |writer, value| {
        run(writer, true, |other| {
            other.upsert(&table, &image(&table, 0, value)).unwrap();
            other.upsert(&table, &image(&table, 100, value)).unwrap();
        })
    };
    if changed {
        writer = change(writer, 1);
    }
    let go_on = || {
        let mut writer = change(change(change(writer, 2), 3), 4);
        writer = run(writer, true, |other| assert!(other.delete(&table, Value::I64(100)).unwrap()));
        writer.prune(0).unwrap();
    };
    let checked = match beside {
        Beside::BeforeKnown => txn.check_reads(go_on, || ()),
        Beside::BeforeCheck => txn.check_reads(|| (), go_on),
    };
    match checked {
        Ok(()) => false,
        Err(TxnError::Serialization { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_check_of_a_commit_sees_what_counts_at_its_timestamp_whatever_is_taken_out() {
    let row = |txn: &mut Transaction, table: &TableRef| assert_eq!(value(txn, table, 0), Some(0));
    let missing = |txn: &mut Transaction, table: &TableRef| assert_eq!(value(txn, table, 100), None);
    let scan = |txn: &mut Transaction, table: &TableRef| {
        assert_eq!(txn.count(table).unwrap(), ROWS.cast_unsigned());
    };
    let other = |txn: &mut Transaction, table: &TableRef| assert_eq!(value(txn, table, 1), Some(0));
    for beside in [Beside::BeforeKnown, Beside::BeforeCheck] {
        for changed in [true, false] {
            assert_eq!(is_conflict(beside, changed, row), changed, "{beside:?}: a row");
            assert_eq!(is_conflict(beside, changed, missing), changed, "{beside:?}: a missing key");
            assert_eq!(is_conflict(beside, changed, scan), changed, "{beside:?}: a scan");
            assert!(!is_conflict(beside, changed, other), "{beside:?}: a row that nobody changed");
        }
    }
}

/// A look takes turns with the writes: what it finds every snapshot to see, the writes after it let go, one each.
#[test]
fn what_a_look_has_found_is_let_go_by_the_next_write() {
    let (_scene, mut peer, table) = scene("next-write", u64::MAX);
    peer.tidy_now().unwrap();
    let mut versions = Vec::new();
    for value in 0..100 {
        peer = run(peer, true, |txn| {
            txn.upsert(&table, &image(&table, 0, 100 + value)).unwrap();
        });
        versions.push(check(&mut peer).unwrap().versions);
    }
    let fell = versions.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert_eq!(fell, 3, "one look for 32 versions: {versions:?}");
    let most = versions.iter().max().copied().unwrap();
    assert!(most <= ROWS.cast_unsigned() + 33, "{versions:?}");
    assert!(versions.contains(&(ROWS.cast_unsigned() + 32)), "a look alone lets nothing go: {versions:?}");
}

/// G3: one that takes a snapshot may show for a moment what the clock showed long ago.
#[test]
fn a_snapshot_that_is_published_late_makes_nobody_forget_a_row() {
    let (scene, mut peer, table) = scene("late", 0);
    let late = scene.process();
    peer = run(peer, true, |txn| assert!(txn.delete(&table, Value::I64(0)).unwrap()));
    peer.tidy_later().unwrap();
    late.participant().slot().take_snapshot(&AtomicU64::new(1));
    peer.prune(0).unwrap();
    late.participant().slot().clear_snapshot();
    peer.prune(0).unwrap();
    let report = check(&mut peer).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.rows, ROWS.cast_unsigned() - 1);
}

/// What a session keeps to itself does not grow with what it has changed.
#[test]
fn a_large_transaction_leaves_little_to_the_next() {
    const MANY: u64 = 3000;
    let (_scene, mut peer, table) = scene("large", 0);
    for value in 0..3 {
        peer = run(peer, true, |txn| {
            for key in 0..MANY.cast_signed() {
                txn.upsert(&table, &image(&table, key, value)).unwrap();
            }
        });
        let retired = peer.participant().slot().retired_count.load(Ordering::Relaxed);
        assert!(retired < MANY / 10, "{retired} blocks are not freed");
        let versions = check(&mut peer).unwrap().versions;
        assert!(versions < MANY + MANY / 10, "{versions} versions of {MANY} rows");
    }
}

/// N3
#[test]
fn what_a_large_transaction_needed_for_its_intents_is_given_back_whoever_dies_at_it() {
    let blocks = |session: &Session| {
        let guard = session.participant().pin();
        intent_blocks(&guard, session.participant().slot()).unwrap().len()
    };
    let stride = point_stride(3);
    let mut point = 0;
    loop {
        point += stride;
        let (scene, mut peer, table) = scene("intents", point);
        let mut victim = scene.process();
        victim.have_had_intents(80);
        let most = blocks(&victim);
        let survived = survives(point, || victim.shed_intents(2).unwrap());
        let left = blocks(&victim);
        assert!(if survived { left == 2 } else { left <= most }, "{left} blocks of {most}");
        if !survived {
            drop(victim);
            reap(&scene, &mut peer, point, 1);
            victim = scene.process();
        }
        // What comes later goes on with what is left.
        victim.have_had_intents(80);
        victim = put(victim, &table, 1);
        assert_eq!(blocks(&victim), most);
        victim.close().unwrap();
        let report = check(&mut peer).unwrap();
        assert!(report.is_clean(), "point {point}: {report:#?}");
        if survived {
            assert!(point > 3, "giving back has no points");
            return;
        }
    }
}

#[test]
fn no_slot_is_left_with_what_a_large_transaction_needed_for_its_intents() {
    const KEPT: usize = 512;
    let blocks = |session: &Session| {
        let guard = session.participant().pin();
        intent_blocks(&guard, session.participant().slot()).unwrap().len()
    };
    let (scene, mut peer, table) = scene("intents-left", 0);
    let mut idle = scene.process();
    idle.have_had_intents(10_300);
    assert!(blocks(&idle) > KEPT);
    idle.tidy_idle().unwrap();
    assert_eq!(blocks(&idle), KEPT, "idle");
    idle.have_had_intents(10_300);
    let slot = idle.participant().owner().slot;
    idle.close().unwrap();
    let mut next = scene.process();
    assert_eq!((next.participant().owner().slot, blocks(&next)), (slot, KEPT), "ended");
    next.have_had_intents(10_300);
    drop(next);
    reap(&scene, &mut peer, 1, 1);
    let last = scene.process();
    assert_eq!((last.participant().owner().slot, blocks(&last)), (slot, KEPT), "reaped");
    drop(put(last, &table, 1));
    reap(&scene, &mut peer, 1, 1);
    assert!(check(&mut peer).unwrap().is_clean());
}

/// In a transaction that owns rows, and has made some, and takes some of that back.
#[test]
fn dying_in_a_write_that_lets_go_what_a_look_has_found() {
    let stride = point_stride(7);
    let mut point = 0;
    loop {
        point += stride;
        let (scene, mut peer, table) = scene("die-writing", point);
        let mut victim = put(scene.process(), &table, 1);
        victim = run(victim, true, |txn| assert!(txn.delete(&table, Value::I64(0)).unwrap()));
        victim.tidy_later().unwrap();
        let mut txn = Transaction::begin(victim, TxnOptions::default());
        let survived = survives(point, || {
            txn.upsert(&table, &image(&table, 1, 2)).unwrap();
            let mark = txn.savepoint().unwrap();
            txn.insert(&table, &image(&table, 0, 2)).unwrap();
            txn.rollback_to(&mark).unwrap();
            txn.upsert(&table, &image(&table, 2, 2)).unwrap();
            txn.insert(&table, &image(&table, 3, 2)).unwrap();
            txn.commit(false).unwrap();
        });
        if survived {
            drop(txn.into_session());
        } else {
            txn.die();
        }
        peer.store().log().start_at(peer.store().clock().now());
        reap(&scene, &mut peer, point, 1);
        peer.store().garbage().want();
        assert!(Vacuum::begin(&peer).unwrap().unwrap().go_on(&mut peer, 100).unwrap());
        let report = check(&mut peer).unwrap();
        assert!(report.is_clean(), "point {point}: {report:#?}");
        let mut last = reader(peer);
        let seen = [0, 1, 2, 3].map(|key| value(&mut last, &table, key));
        let committed = [None, Some(2), Some(2), Some(2)];
        let before = !survived && seen == [None, Some(1), Some(1), None];
        assert!(before || seen == committed, "point {point}: {seen:?}");
        let rows = u64::try_from(seen.iter().flatten().count()).unwrap();
        assert_eq!((report.rows, report.versions), (rows, rows), "point {point}");
        if survived {
            println!("{point} points");
            return;
        }
    }
}
