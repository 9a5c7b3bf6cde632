//! Writers that are aborted while they add entries to indexes: rule K4 of `txn::secondary`, and D6 of `txn::remove`.
//!
//! Length      `AEROSTORE_INDEX_STRIDE`: every how manyth access is tried, 1 is the long form.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::garbage_tests::{Scene, run};
use super::index_tests::variable;
use super::secondary_tests::{
    FIRST, PLAIN, assert_clean, newest, put, scene, set, take_free, take_own, vacuum,
};
use crate::epoch::{Guard, SlotId};
use crate::index::{Blocks, Direction};
use crate::mvcc::{IndexRef, IndexRoots, TxnRecord};
use crate::row::Value;
use crate::shm::{BlockKind, BlockRef, BlockState, Heap, RelPtr};
use crate::sync::{interrupted_at, interrupted_from};
use crate::txn::{Session, TableRef, Transaction, TxnError, TxnOptions, ordered_index, reap_dead_processes};
use std::cell::{Cell, RefCell};
use std::ops::{Bound, RangeInclusive};
use std::rc::Rc;
use std::time::{Duration, Instant};

const NEW_KEY: Value<'static> = Value::I64(5);

/// A writer that has its record, but has done nothing yet that the index on `FIRST` knows of; and what others know of it.
struct Writer {
    txn: Transaction,
    slot: SlotId,
    record: u64,
}

impl Writer {
    fn begin(session: Box<Session>, table: &TableRef) -> Self {
        let slot = SlotId(session.participant().owner().slot);
        let mut txn = Transaction::begin(session, TxnOptions::default());
        txn.set(table, Value::I64(9), &[(PLAIN, Value::I64(1))]).unwrap();
        let record = txn.record_offset();
        Self { txn, slot, record }
    }
}

fn stride(short: u64) -> usize {
    usize::try_from(variable("AEROSTORE_INDEX_STRIDE", short)).unwrap()
}

fn is_adding(session: &Session, slot: SlotId) -> bool {
    session.store().registry().slot(slot).unwrap().adding().is_some()
}

fn abort(session: &Session, record: u64) {
    session.store().arena().resolve::<TxnRecord>(RelPtr::new(record)).unwrap().abort();
}

/// The numbers of the accesses of `write` at which the writer's slot says that it adds entries.
fn adding_points(name: &str, write: impl FnOnce(&mut Transaction, &TableRef)) -> RangeInclusive<u64> {
    let (scene, peer, table) = scene(name, 0);
    let peer = put(peer, &table, &[(FIRST, 1)]);
    let mut writer = Writer::begin(scene.process(), &table);
    let seen = Rc::new(Cell::new((0_u64, u64::MAX, 0)));
    let (counted, slot) = (Rc::clone(&seen), writer.slot);
    let peer = Rc::new(peer);
    let count = move || {
        let (count, first, last) = counted.get();
        let count = count + 1;
        counted.set(if is_adding(&peer, slot) {
            (count, first.min(count), count)
        } else {
            (count, first, last)
        });
    };
    interrupted_from(1, count.clone(), count, || write(&mut writer.txn, &table));
    let (_, first, last) = seen.get();
    assert!(first + 5 < last, "the index is changed between access {first} and {last}");
    first..=last
}

/// The index on `FIRST`.
fn index_on_first<'g>(guard: &Guard<'g>, table: &TableRef) -> IndexRef<'g> {
    let mut roots = IndexRoots::of(guard, table.root(guard).unwrap()).map(Result::unwrap);
    roots.find(|index| index.root.place().unwrap().column() == FIRST).unwrap()
}

/// Is each row that the index on `FIRST` leads to a row yet?
fn assert_rows(session: &Session, table: &TableRef, hint: &str) {
    let guard = session.participant().pin();
    let tree = ordered_index(index_on_first(&guard, table));
    let mut cursor = tree.seek(&guard, Bound::Unbounded, Bound::Unbounded, Direction::Forward);
    while let Some(batch) = cursor.next_batch().unwrap() {
        for entry in 0..batch.len() {
            let word = guard.arena().block_word(batch.row(entry)).unwrap();
            assert_eq!(word.state(), BlockState::Live, "{hint}: an entry's row");
        }
    }
}

/// D6: while an insertion adds its entries it is aborted, and others put the row in its place, delete it and look for garbage; before each
/// access after that a reader looks where entries lead.
#[test]
fn no_late_entry_leads_to_a_row_that_is_gone() {
    fn insert(txn: &mut Transaction, table: &TableRef) -> Result<(), TxnError> {
        txn.set(table, NEW_KEY, &[(FIRST, Value::I64(7))]).map(drop)
    }
    let points = adding_points("late-entries", |txn, table| insert(txn, table).unwrap());
    for point in points.step_by(stride(8)) {
        let (scene, peer, table) = scene("late-entry", point);
        let Writer { mut txn, record, .. } = Writer::begin(scene.process(), &table);
        let (reader, place) = (scene.process(), table.clone());
        let other = Rc::new(RefCell::new(Some(put(peer, &table, &[(FIRST, 1)]))));
        let (meanwhile, place_of_other) = (Rc::clone(&other), table.clone());
        let deed = move || {
            let other = meanwhile.take().unwrap();
            abort(&other, record);
            let value = [(FIRST, Value::I64(2))];
            let other = run(other, true, |txn| assert!(txn.set(&place_of_other, NEW_KEY, &value).is_ok()));
            let mut other = run(other, true, |txn| assert!(txn.delete(&place_of_other, NEW_KEY).unwrap()));
            vacuum(&mut other);
            other.tidy_now().unwrap();
            meanwhile.replace(Some(other));
        };
        let look = move || assert_rows(&reader, &place, &format!("point {point}"));
        let written = interrupted_from(point, deed, look, || insert(&mut txn, &table));
        assert!(written.is_err() || txn.commit(false).is_err(), "point {point}: it was aborted");
        drop(txn);
        let mut other = other.take().unwrap();
        vacuum(&mut other);
        other.tidy_now().unwrap();
        assert_clean(&mut other, &format!("point {point}"));
    }
}

/// K4: whoever is overtaken while it adds entries, and finds no room to remove what came too late, waits for nobody, and does it when there
/// is some. If it dies instead, all that it holds back is its row and its version.
#[test]
fn a_writer_that_finds_no_room_for_its_late_entries_goes_on_without() {
    let running = std::thread::spawn(|| {
        let points = adding_points("late-rooms", |txn, table| set(txn, table, FIRST, 7).unwrap());
        let mut late = [0_u32; 2];
        for (place, point) in points.step_by(stride(15)).enumerate() {
            late[place % 2] += u32::from(finds_no_room_at(point, place % 2 == 0));
        }
        late
    });
    let begun = Instant::now();
    while !running.is_finished() {
        assert!(begun.elapsed() < Duration::from_mins(1), "it waits for room that it holds back itself");
        std::thread::sleep(Duration::from_millis(1));
    }
    let late = running.join().unwrap();
    assert!(late.iter().all(|count| *count > 0), "{late:?} found no room");
}

/// A writer that finds memory for what it writes next, and no more; and all other memory.
fn writer_with_little(scene: &Scene, filler: &Session, table: &TableRef) -> (Writer, Heap, Vec<BlockRef>) {
    let of_writer = [(FIRST, Value::I64(1)), (PLAIN, Value::I64(2))];
    let mut session =
        run(scene.process(), true, |txn| assert!(txn.set(table, Value::I64(9), &of_writer).is_ok()));
    let (heap, mut taken) = take_free(filler);
    let mut blocks = take_own(&mut session);
    let capacity = |offset| session.store().arena().block_capacity(offset).unwrap();
    let wanted = {
        let guard = session.participant().pin();
        let (mut index_block, (_, version)) = (0, newest(&guard, table));
        let is_block = |offset| guard.block_word(offset).unwrap().kind() == BlockKind::INDEX_BLOCK;
        let look = |offset| index_block = if is_block(offset) { offset } else { index_block };
        ordered_index(index_on_first(&guard, table)).for_each_block(&guard, look).unwrap();
        // A record, two versions, and the block with one more entry.
        let (version, index_block) = (capacity(version.offset), capacity(index_block));
        [64, version, version, index_block + 16]
    };
    let found = wanted.map(|wanted| {
        let place = blocks.iter().position(|block| capacity(block.offset) == wanted);
        blocks.swap_remove(place.unwrap_or_else(|| panic!("there was no block of {wanted} bytes")))
    });
    let (guard, mut memory) = session.parts();
    for block in found {
        memory.give_back(block);
    }
    drop(guard);
    // LIVE, so that its death gives none of them back.
    for block in &blocks {
        assert!(session.store().arena().publish(*block));
    }
    taken.append(&mut blocks);
    (Writer::begin(session, table), heap, taken)
}

/// A writer is overtaken at `point`, having room for what it writes and no more, and dies then or goes on. Whether it found no room.
fn finds_no_room_at(point: u64, dies: bool) -> bool {
    let (scene, peer, table) = scene("late-room", point);
    let peer = put(peer, &table, &[(FIRST, 1)]);
    let filler = scene.process();
    let (writer, mut heap, blocks) = writer_with_little(&scene, &filler, &table);
    let Writer { mut txn, slot, record } = writer;
    let other = Rc::new(RefCell::new(Some(peer)));
    let (meanwhile, place) = (Rc::clone(&other), table.clone());
    let deed = move || {
        let other = meanwhile.take().unwrap();
        abort(&other, record);
        let mut other = put(other, &place, &[(FIRST, 2)]);
        take_own(&mut other);
        meanwhile.replace(Some(other));
    };
    let (_, written) = interrupted_at(point, deed, || set(&mut txn, &table, FIRST, 7));
    let is_aborted = |error: &TxnError| matches!(error, TxnError::ForcedAbort);
    assert!(written.as_ref().err().is_none_or(is_aborted), "point {point}: {written:?}");
    let mut other = other.take().unwrap();
    let is_late = is_adding(&other, slot);
    let slots = |session: &Session| session.store().registry().live_slots().unwrap().len();
    let before = slots(&other);
    let mut writer = None;
    if dies {
        txn.die();
        for _ in 0..2 {
            reap_dead_processes(&mut other).unwrap();
            take_own(&mut other); // what that gave back
        }
        assert_eq!(slots(&other), before - usize::from(!is_late), "point {point}");
        let epoch = other.participant().close_epoch();
        assert!(
            other.participant().is_over(epoch).unwrap(),
            "point {point}: a dead one holds back what there is"
        );
    } else {
        txn.rollback();
        writer = txn.into_session();
    }
    for block in blocks {
        filler.store().arena().retire(block, filler.participant().owner().slot);
        assert!(heap.free(block));
    }
    heap.trim();
    if let Some(mut writer) = writer {
        writer.tidy_now().unwrap();
        assert!(!is_adding(&other, slot), "point {point}: it does not try again");
        writer.close().unwrap();
    } else {
        reap_dead_processes(&mut other).unwrap();
    }
    assert_eq!(slots(&other), before - 1, "point {point}");
    drop((other, filler, heap));
    let mut last = scene.process();
    reap_dead_processes(&mut last).unwrap();
    vacuum(&mut last);
    assert_clean(&mut last, &format!("point {point}"));
    is_late
}
