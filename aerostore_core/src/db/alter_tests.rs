//! Columns are added to a table while others use it: at every access of a write, and by sessions that die at points of it. Handles of
//! every age read and write what they know of, indexes have what rows lack, and a checkpoint and the log say the same.
//!
//! Length      `AEROSTORE_POINT_STRIDE`: every how manyth access or point is tried, 1 is the long form.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::garbage_tests::run;
use super::secondary_tests::{FIRST, PLAIN, assert_clean, scene, vacuum};
use crate::db::{Database, OpenMode};
use crate::epoch::SlotId;
use crate::mvcc::{DropStage, TableRoot, TxnRecord};
use crate::row::{Column, ColumnType, IndexSpec, OwnedValue, Value};
use crate::shm::{BlockRef, BlockState, RelPtr};
use crate::sync::{Ordering, interrupted_at, point_stride, survives};
use crate::txn::{
    LoggedTable, Session, TableRef, Transaction, TxnError, TxnOptions, add_columns, create_index, drop_table,
    reap_dead_processes, table,
};
use std::cell::RefCell;
use std::mem::offset_of;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

mod restarts;
mod stopped;
mod wide_rows;

/// The files of a test's database.
struct Place {
    dir: PathBuf,
    shm: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let unique = format!("/dev/shm/aerostore-test-alter-{name}-{}", std::process::id());
        Self { dir: PathBuf::from(&unique), shm: PathBuf::from(format!("{unique}.mmap")) }
    }

    fn open(&self) -> Database {
        let builder = Database::builder(&self.dir).shm_path(&self.shm).max_bytes(64 << 20);
        builder.segment_bytes(1 << 20).synchronous_commit(false).open().unwrap()
    }

    /// Closes the database and opens it from what is on disk.
    fn start_cold(&self, db: Database) -> Database {
        db.close().unwrap();
        std::fs::remove_file(&self.shm).unwrap();
        let db = self.open();
        assert_eq!(db.boot().mode, OpenMode::Cold);
        db
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.shm);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The columns that are added, as the first alteration has them.
const LEVEL: usize = 4;
const WORD: usize = 5;
const FLAG: usize = 6;

pub(super) fn added() -> [Column; 3] {
    [
        Column::new("level", ColumnType::I64).default(7_i64),
        Column::new("word", ColumnType::String(20)).nullable(),
        Column::new("flag", ColumnType::Bool).nullable().default(true),
    ]
}

/// Adds columns; its log counts as written at once.
fn alter(
    session: Box<Session>,
    table: &TableRef,
    columns: &[Column],
) -> (Box<Session>, Result<TableRef, TxnError>) {
    let (session, altered) = add_columns(session, table, columns, false);
    let session = session.unwrap();
    session.store().log().start_at(session.store().clock().now());
    (session, altered)
}

fn row(txn: &mut Transaction, table: &TableRef, key: i64) -> Option<Vec<OwnedValue>> {
    txn.get(table, Value::I64(key), |row| row.values().map(|value| value.to_owned()).collect()).unwrap()
}

fn ints(values: &[i64]) -> Vec<OwnedValue> {
    values.iter().map(|value| Value::I64(*value).to_owned()).collect()
}

/// A row by the newest definition.
fn wide(values: [i64; 5], word: Option<&str>, flag: Option<bool>) -> Vec<OwnedValue> {
    let word = word.map_or(Value::Null, Value::Str).to_owned();
    let flag = flag.map_or(Value::Null, Value::Bool).to_owned();
    ints(&values).into_iter().chain([word, flag]).collect()
}

fn fill(txn: &mut Transaction, table: &TableRef, key: i64) {
    let columns = [1, 2, 3].map(|column| (column, Value::I64(key)));
    txn.set(table, Value::I64(key), &columns).unwrap();
}

#[test]
fn handles_of_every_age_read_and_write_what_they_know_of() {
    let (scene, peer, narrow) = scene("alter-ages", 0);
    let peer = run(peer, true, |txn| (1..=3).for_each(|key| fill(txn, &narrow, key)));
    let (peer, altered) = alter(peer, &narrow, &added());
    let table = altered.unwrap();
    assert_eq!(table.columns(), 7);
    let (_, other) = alter(scene.process(), &narrow, &[Column::new("last", ColumnType::I16).nullable()]);
    let last = other.unwrap();
    assert_eq!(last.columns(), 8, "an old handle does for an alteration");
    let mut peer = run(peer, true, |txn| {
        assert_eq!(row(txn, &table, 1), Some(wide([1, 1, 1, 1, 7], None, Some(true))));
        let given = [(LEVEL, Value::I64(1)), (WORD, Value::Str("one")), (FLAG, Value::Null)];
        txn.set(&table, Value::I64(1), &given).unwrap();
        assert_eq!(row(txn, &narrow, 1), Some(ints(&[1, 1, 1, 1])));
        // Its own version, which has more columns than this handle knows of.
        txn.set(&narrow, Value::I64(1), &[(PLAIN, Value::I64(9))]).unwrap();
        assert_eq!(row(txn, &table, 1), Some(wide([1, 1, 1, 9, 1], Some("one"), None)));
    });
    peer = run(peer, true, |txn| {
        txn.set(&narrow, Value::I64(1), &[(FIRST, Value::I64(8))]).unwrap();
        fill(txn, &narrow, 4);
        txn.delete(&narrow, Value::I64(2)).unwrap();
        txn.delete(&last, Value::I64(3)).unwrap();
    });
    peer = run(peer, true, |txn| {
        fill(txn, &narrow, 3);
        txn.set(&last, Value::I64(2), &[(7, Value::I16(2))]).unwrap();
    });
    for snapshot in [true, false] {
        peer = run(peer, false, |txn| {
            assert_eq!(row(txn, &table, 1), Some(wide([1, 8, 1, 9, 1], Some("one"), None)));
            assert_eq!(row(txn, &table, 3), Some(wide([3, 3, 3, 3, 7], None, Some(true))));
            assert_eq!(row(txn, &table, 4), Some(wide([4, 4, 4, 4, 7], None, Some(true))));
            let mut levels = Vec::new();
            txn.scan(&table, None, &mut |rows| {
                levels.extend(rows.iter().map(|row| row.get(LEVEL).as_i64().unwrap()));
                ControlFlow::Continue(())
            })
            .unwrap();
            levels.sort_unstable();
            assert_eq!(levels, [1, 7, 7, 7]);
            let mut seen = 0;
            txn.scan(&narrow, None, &mut |rows| {
                seen += rows.iter().filter(|row| row.schema().columns().len() == 4).count();
                ControlFlow::Continue(())
            })
            .unwrap();
            assert_eq!(seen, 4);
        });
        if snapshot {
            vacuum(&mut peer);
            assert_clean(&mut peer, "after the vacuum");
        }
    }
}

#[test]
fn an_index_on_an_added_column_has_what_rows_lack() {
    let (_scene, peer, narrow) = scene("alter-index", 0);
    let peer = run(peer, true, |txn| (1..=3).for_each(|key| fill(txn, &narrow, key)));
    let (peer, altered) = alter(peer, &narrow, &added());
    let table = altered.unwrap();
    let set = |txn: &mut Transaction, key: i64| {
        txn.set(&table, Value::I64(key), &[(LEVEL, Value::I64(key))]).unwrap();
    };
    let mut peer = run(peer, true, |txn| set(txn, 1));
    for (column, is_hash) in [(LEVEL, true), (WORD, false), (FLAG, false)] {
        let spec = IndexSpec { is_hash, ..IndexSpec::default() };
        let (session, made) = create_index(peer, &table, column, spec, false);
        made.unwrap();
        peer = session.unwrap();
        peer.store().log().start_at(peer.store().clock().now());
    }
    assert_clean(&mut peer, "made");
    // Written, deleted and made again by who does not know of the column.
    peer = run(peer, true, |txn| {
        fill(txn, &narrow, 9);
        txn.delete(&narrow, Value::I64(1)).unwrap();
        fill(txn, &narrow, 1);
        set(txn, 2);
        txn.set(&narrow, Value::I64(2), &[(FIRST, Value::I64(20))]).unwrap();
    });
    assert_clean(&mut peer, "written");
    peer = run(peer, true, |txn| assert!(txn.delete(&narrow, Value::I64(2)).unwrap()));
    peer = run(peer, true, |txn| fill(txn, &narrow, 2));
    assert_clean(&mut peer, "made again");
    peer = run(peer, true, |txn| assert!(txn.delete(&narrow, Value::I64(2)).unwrap()));
    (0..3).for_each(|_| vacuum(&mut peer));
    assert_clean(&mut peer, "deleted");
    peer = run(peer, true, |txn| set(txn, 3));
    (0..3).for_each(|_| vacuum(&mut peer));
    assert_clean(&mut peer, "moved on");
    // Two rows have the default.
    let unique = IndexSpec { is_unique: true, ..IndexSpec::default() };
    let (session, altered) = alter(peer, &narrow, &[Column::new("code", ColumnType::I16).default(5_i16)]);
    let (session, made) = create_index(session, &altered.unwrap(), 7, unique, false);
    assert!(matches!(made, Err(TxnError::UniqueViolation { column, .. }) if column == "code"));
    drop(session);
}

/// Looks after the sessions that have died.
fn reap(peer: &mut Session) {
    peer.store().log().start_at(peer.store().clock().now());
    reap_dead_processes(peer).unwrap();
    let slots = peer.store().registry().live_slots().unwrap();
    assert_eq!(slots.len(), 1, "{slots:?}");
}

#[test]
fn dying_while_columns_are_added() {
    let stride = point_stride(5);
    let mut point = 0;
    let mut outcomes = [0; 2];
    loop {
        point += stride;
        let (scene, mut peer, narrow) = scene("alter-dying", point);
        peer = run(peer, true, |txn| fill(txn, &narrow, 1));
        let victim = RefCell::new(Some(scene.process()));
        let survived = survives(point, || {
            let (session, altered) = alter(victim.take().unwrap(), &narrow, &added());
            altered.unwrap();
            victim.replace(Some(session));
        });
        drop(victim);
        let hint = format!("point {point}");
        // Before the reaper or after him.
        peer.store().log().start_at(peer.store().clock().now());
        if (point / stride).is_multiple_of(2) {
            reap(&mut peer);
        }
        let last = [Column::new("last", ColumnType::I64).nullable()];
        let (session, altered) = alter(peer, &narrow, &last);
        peer = session;
        let altered = altered.unwrap();
        let is_there = altered.columns() == 8;
        outcomes[usize::from(is_there)] += 1;
        assert!(is_there || altered.columns() == 5, "{hint}");
        assert!(is_there || !survived, "{hint}");
        reap(&mut peer);
        assert_eq!(table(&peer, "Cell").unwrap().unwrap().columns(), altered.columns(), "{hint}");
        peer = run(peer, true, |txn| {
            fill(txn, &narrow, 2);
            let column = altered.columns() - 1;
            txn.set(&altered, Value::I64(1), &[(column, Value::I64(5))]).unwrap();
        });
        assert_clean(&mut peer, &hint);
        let (session, dropped) = drop_table(peer, &altered, false);
        dropped.unwrap();
        let mut peer = session.unwrap();
        peer.store().log().start_at(peer.store().clock().now());
        (0..6).for_each(|_| vacuum(&mut peer));
        assert_clean(&mut peer, &hint);
        if survived {
            assert!(outcomes.iter().all(|count| *count > 2), "{outcomes:?}");
            return;
        }
    }
}

#[test]
fn whoever_takes_over_an_alteration_may_die_too() {
    let stride = point_stride(11);
    let mut point = 0;
    loop {
        point += stride;
        let (scene, mut peer, narrow) = scene("alter-heir", point);
        // Linked, and logged or not: all that there is to take over.
        for victim_point in [60, 90] {
            let victim = RefCell::new(Some(scene.process()));
            survives(victim_point, || drop(alter(victim.take().unwrap(), &narrow, &added())));
        }
        let heir = RefCell::new(Some(scene.process()));
        let survived = survives(point, || {
            let (session, _) = drop_table(heir.take().unwrap(), &narrow, false);
            heir.replace(session);
        });
        drop(heir);
        let hint = format!("point {point}");
        reap(&mut peer);
        if let Some(found) = table(&peer, "Cell").unwrap() {
            let (session, altered) = alter(peer, &found, &[Column::new("z", ColumnType::Bool).nullable()]);
            peer = session;
            match altered {
                Ok(_) => peer = run(peer, true, |txn| fill(txn, &found, 1)),
                // It has died dropping it, which was done for it.
                Err(error) => assert!(matches!(error, TxnError::NoTable { .. }), "{hint}: {error}"),
            }
        }
        (0..6).for_each(|_| vacuum(&mut peer));
        assert_clean(&mut peer, &hint);
        if survived {
            assert!(point > 3 * stride);
            return;
        }
    }
}

/// At accesses of a write by an old handle, somebody adds columns and writes one of them.
#[test]
fn what_is_written_in_an_added_column_is_not_lost_to_one_who_does_not_know_of_it() {
    let stride = point_stride(3);
    let mut point = 0;
    loop {
        point += stride;
        let (scene, peer, narrow) = scene("alter-overtake", point);
        let peer = run(peer, true, |txn| (1..=2).for_each(|key| fill(txn, &narrow, key)));
        let rival = Rc::new(RefCell::new(Some(scene.process())));
        let mut txn = Transaction::begin(peer, TxnOptions::default());
        let (place, theirs) = (Rc::clone(&rival), narrow.clone());
        let was_set = Rc::new(RefCell::new(None));
        let set = Rc::clone(&was_set);
        let (was_interrupted, outcome) = interrupted_at(
            point,
            move || {
                let (session, altered) = alter(place.take().unwrap(), &theirs, &added());
                let table = altered.unwrap();
                let mut txn = Transaction::begin(session, TxnOptions::default());
                let written = txn
                    .set(&table, Value::I64(1), &[(LEVEL, Value::I64(40))])
                    .and_then(|_| txn.set(&table, Value::I64(5), &[(WORD, Value::Str("five"))]))
                    .and_then(|_| txn.commit(false));
                set.replace(Some((table, written.is_ok())));
                let session = txn.into_session().unwrap();
                session.store().log().start_at(session.store().clock().now());
                place.replace(Some(session));
            },
            || {
                txn.set(&narrow, Value::I64(1), &[(PLAIN, Value::I64(70))])?;
                txn.delete(&narrow, Value::I64(2))?;
                fill(&mut txn, &narrow, 6);
                txn.commit(false)
            },
        );
        let mut peer = txn.into_session().unwrap();
        peer.store().log().start_at(peer.store().clock().now());
        let hint = format!("point {point}: {outcome:?}");
        if !was_interrupted {
            outcome.unwrap();
            assert!(point > 10 * stride, "it has no points");
            return;
        }
        let Some((table, written)) = was_set.take() else { panic!("{hint}") };
        let wrote = outcome.is_ok();
        peer = run(peer, false, |txn| {
            let level = if written { 40 } else { 7 };
            let plain = if wrote { 70 } else { 1 };
            assert_eq!(row(txn, &table, 1), Some(wide([1, 1, 1, plain, level], None, Some(true))), "{hint}");
            assert_eq!(row(txn, &table, 2).is_none(), wrote, "{hint}");
            assert_eq!(row(txn, &table, 6).is_some(), wrote, "{hint}");
            assert_eq!(row(txn, &table, 5).is_some(), written, "{hint}");
        });
        rival.take().unwrap().close().unwrap();
        drop(scene);
        (0..3).for_each(|_| vacuum(&mut peer));
        assert_clean(&mut peer, &hint);
    }
}

#[test]
fn an_alteration_that_is_replayed_again_has_happened() {
    let (_scene, mut peer, narrow) = scene("alter-replayed", 0);
    let wide = narrow.schema().with_columns(&added()).unwrap();
    let mut table = narrow.clone();
    for schema in [&wide, &wide, &**narrow.schema()] {
        table = peer.load_alteration(&table, schema).unwrap();
        assert_eq!(table.columns(), 7);
    }
    assert_eq!(peer.load_table(1, narrow.schema()).unwrap().columns(), 7);
    let other = narrow.schema().with_columns(&added()[1..]).unwrap();
    assert!(matches!(peer.load_alteration(&table, &other), Err(TxnError::TableExists { .. })));
    assert_clean(&mut peer, "afterwards");
}

/// J6, at accesses of an alteration.
#[test]
fn an_alteration_that_is_aborted_leaves_the_table_as_it_was() {
    let stride = point_stride(7);
    let mut point = 0;
    let mut aborted = 0;
    loop {
        point += stride;
        let (scene, mut peer, narrow) = scene("alter-aborted", point);
        peer = run(peer, true, |txn| fill(txn, &narrow, 1));
        // With all that a first transaction makes.
        let session = run(scene.process(), true, |txn| fill(txn, &narrow, 2));
        let (store, slot) = (Arc::clone(session.store()), SlotId(session.participant().owner().slot));
        let abort = move || {
            let record = store.registry().slot(slot).unwrap().record.load(Ordering::Acquire);
            if record != 0 {
                store.arena().resolve::<TxnRecord>(RelPtr::new(record)).unwrap().abort();
            }
        };
        let (was_interrupted, (session, altered)) =
            interrupted_at(point, abort, || alter(session, &narrow, &added()));
        let hint = format!("point {point}: {altered:?}");
        aborted += usize::from(altered.is_err());
        let root = narrow.root(&peer.participant().pin()).unwrap().drop_word();
        assert_eq!(root.stage, DropStage::None, "{hint}");
        let found = table(&peer, "Cell").unwrap().unwrap();
        assert_eq!(found.columns(), if altered.is_ok() { 7 } else { 4 }, "{hint}");
        let (session, again) = alter(session, &narrow, &[Column::new("last", ColumnType::Mac).nullable()]);
        assert_eq!(again.unwrap().columns(), found.columns() + 1, "{hint}");
        drop(session);
        reap(&mut peer);
        assert_clean(&mut peer, &hint);
        if !was_interrupted {
            assert!(aborted > 2, "it is never aborted");
            return;
        }
    }
}

#[test]
fn a_checkpoint_logs_an_alteration_of_the_dead() {
    let (scene, peer, narrow) = scene("alter-checkpoint", 0);
    let options = TxnOptions { read_only: true, ..TxnOptions::default() };
    let mut early = Transaction::begin(scene.process(), options);
    early.read_ts().unwrap();
    let (peer, altered) = alter(peer, &narrow, &added());
    altered.unwrap();
    let (found, _) = early.logged_tables().unwrap();
    assert_eq!(found[0].table.columns(), 7, "rows are read by it, whenever they were written");
    drop(early);
    // Somebody who dies with the definition linked.
    let stride = point_stride(7);
    let mut point = 0;
    let mut peer = Some(peer);
    loop {
        point += stride;
        let victim = RefCell::new(Some(scene.process()));
        let column = Column::new(&format!("c{point}"), ColumnType::Bool).nullable();
        let survived = survives(point, || drop(alter(victim.take().unwrap(), &narrow, &[column])));
        drop(victim);
        let session = peer.take().unwrap();
        session.store().log().start_at(session.store().clock().now());
        let mut late = Transaction::begin(session, options);
        let (found, _) = late.logged_tables().unwrap();
        let stage = narrow.root(&scene.process().participant().pin()).unwrap().drop_word().stage;
        assert!(found.iter().all(LoggedTable::is_sure) && stage == DropStage::None, "point {point}");
        let mut session = late.into_session().unwrap();
        session.store().log().start_at(session.store().clock().now());
        reap_dead_processes(&mut session).unwrap();
        peer = Some(session);
        if survived {
            assert!(point > 3 * stride);
            return;
        }
    }
}

fn newest_definition(session: &Session, table: &TableRef) -> BlockRef {
    let definition = table.root(&session.participant().pin()).unwrap().definition.load(Ordering::Acquire);
    session.store().arena().block_ref(definition).unwrap()
}

/// The victim stands where it is about to unlink the block from the word of the table's next definition.
fn leave_unlinking(peer: &Session, victim: &Session, table: &TableRef, block: BlockRef) {
    const UNLINK: u64 = 1 << 32;
    let slot = peer.store().registry().slot(SlotId(victim.participant().owner().slot)).unwrap();
    slot.link_shape.store(UNLINK | u64::from(block.generation), Ordering::Relaxed);
    slot.link_block.store(block.offset, Ordering::Relaxed);
    let word = table.root_offset() + offset_of!(TableRoot, next_definition) as u64;
    slot.link_word.store(word, Ordering::Release);
}

/// It was about to take back a definition that whoever has its turn now has made the newest.
#[test]
fn the_newest_definition_stays_whatever_a_dead_session_was_about_to_do_with_it() {
    let (scene, peer, narrow) = scene("alter-late-reaper", 0);
    let (mut peer, altered) = alter(peer, &narrow, &added());
    altered.unwrap();
    let victim = RefCell::new(Some(scene.process()));
    let block = newest_definition(&peer, &narrow);
    leave_unlinking(&peer, victim.borrow().as_ref().unwrap(), &narrow, block);
    assert!(!survives(1, || drop(alter(victim.take().unwrap(), &narrow, &added()))));
    reap(&mut peer);
    assert_eq!(peer.store().arena().block_word(block.offset).unwrap().state(), BlockState::Live);
    assert_clean(&mut peer, "afterwards");
}

/// At accesses of who reads what the log defines, columns are added, and an index on one of them is made.
#[test]
fn a_checkpoint_has_no_index_on_a_column_that_its_definition_lacks() {
    let stride = point_stride(2);
    let mut point = 0;
    loop {
        point += stride;
        let (scene, peer, narrow) = scene("alter-listed", point);
        let rival = scene.process();
        let mut txn = Transaction::begin(peer, TxnOptions { read_only: true, ..TxnOptions::default() });
        txn.read_ts().unwrap();
        let theirs = narrow.clone();
        let deed = move || {
            let (session, altered) = alter(rival, &theirs, &added());
            create_index(session, &altered.unwrap(), LEVEL, IndexSpec::default(), false).1.unwrap();
        };
        let (was_interrupted, found) = interrupted_at(point, deed, || txn.logged_tables());
        if !was_interrupted {
            assert!(point > 5 * stride, "it has no points");
            return;
        }
        let Ok((found, _)) = found else { continue };
        for listed in found {
            let columns: Vec<_> = listed.indexes.iter().map(|(column, _)| usize::from(*column)).collect();
            assert!(
                columns.iter().all(|column| *column < listed.table.columns()),
                "point {point}: {columns:?}"
            );
        }
    }
}
