//! Sessions die at every point of the work on garbage, their reapers at some; a peer finishes what they left, and every block,
//! row and index entry is as it should be.

use std::path::PathBuf;
use std::sync::Arc;

use super::verify::check;
use crate::epoch::Registry;
use crate::mvcc::StallPolicy;
use crate::row::{Column, ColumnType, RowImage, Schema, Value};
use crate::shm::{
    Arena, ArenaOptions, BlockKind, BlockRef, EXTENT_BYTES, Heap, OwnerId, Reserve, SlabRef, slabs_of,
};
use crate::sync::{Ordering, point_stride, survives};
use crate::sys::{LockFile, Probe};
use crate::txn::{
    GiveBack, Session, Store, SystemArea, TableRef, Transaction, TxnError, TxnOptions, Vacuum,
    reap_dead_processes,
};

/// Entries at which the first key hash gets a successor.
const GROWTH: u32 = 717;

/// An arena that several processes have open, all of them in this one.
pub(super) struct Scene {
    arena: Arena,
    lock: PathBuf,
}

impl Scene {
    pub(super) fn new(name: &str, point: u64) -> Self {
        Self::sized(name, point, 16 << 20)
    }

    fn sized(name: &str, point: u64, max_bytes: u64) -> Self {
        let lock = PathBuf::from(format!("/dev/shm/aerostore-test-{name}-{}-{point}", std::process::id()));
        let options =
            ArenaOptions { max_bytes, system_bytes: SystemArea::bytes(), ..ArenaOptions::default() };
        Self { arena: Arena::anonymous(&options).unwrap(), lock }
    }

    /// How many slabs a session owns.
    fn owned_by(&self, session: &Session) -> usize {
        slabs_of(&self.arena, session.participant().owner()).len()
    }

    /// The session of one more process. It dies when the last session on its store is dropped.
    pub(super) fn process(&self) -> Box<Session> {
        self.process_that_waits(StallPolicy::default())
    }

    /// The same, of a process that waits so long for others.
    pub(super) fn process_that_waits(&self, stall: StallPolicy) -> Box<Session> {
        let (start, _) = self.arena.system_area();
        let system = SystemArea::at(start);
        let lock = LockFile::open_or_create(&self.lock).unwrap();
        let probe = Probe::open(&self.lock).unwrap();
        let registry = Registry::attach(self.arena.clone(), system.registry(), lock, probe).unwrap();
        let mut store = Store::new(self.arena.clone(), Arc::new(registry), system, 1 << 16).unwrap();
        store.stall = stall;
        Box::new(Session::new(Arc::new(store)).unwrap())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.lock);
    }
}

pub(super) fn schema() -> Schema {
    Schema::builder("Cell")
        .column(Column::new("name", ColumnType::I64))
        .column(Column::new("value", ColumnType::I64))
        .key("name")
        .build()
        .unwrap()
}

pub(super) fn image(table: &TableRef, key: i64, value: i64) -> RowImage {
    let mut image = RowImage::new(table.schema());
    image.set(table.schema(), 0, Value::I64(key)).unwrap();
    image.set(table.schema(), 1, Value::I64(value)).unwrap();
    image.finish(table.schema()).unwrap();
    image
}

/// Runs `work` in a transaction and commits it, or not; its log counts as written at once.
pub(super) fn run(session: Box<Session>, commits: bool, work: impl FnOnce(&mut Transaction)) -> Box<Session> {
    let mut txn = Transaction::begin(session, TxnOptions::default());
    work(&mut txn);
    if commits {
        txn.commit(false).unwrap();
    }
    let session = txn.into_session().unwrap();
    session.store().log().start_at(session.store().clock().now());
    session
}

fn exists(txn: &mut Transaction, table: &TableRef, key: i64) -> bool {
    txn.get(table, Value::I64(key), |_| ()).unwrap().is_some()
}

/// Puts rows 0 to `rows` in place, as of timestamp 1.
fn load(session: &mut Session, table: &TableRef, rows: u32) {
    for key in 0..i64::from(rows) {
        let mut next = RowImage::new(table.schema());
        let full = image(table, key, 1);
        let build = |_: Option<crate::row::RowView<'_>>, image: &mut RowImage| {
            image.copy_from(full.view(table.schema())?);
            Ok(crate::txn::Change::Put)
        };
        session.load_row(table, Value::I64(key), 1, &mut next, build).unwrap();
    }
    session.add_rows(table, i64::from(rows)).unwrap();
    session.store().clock().restore(1);
}

/// Reaps who died at `point`, until `left` sessions are left. Reapers die as well, each time a little later, until one gets through.
pub(super) fn reap(scene: &Scene, peer: &mut Session, point: u64, left: usize) {
    let mut reaper_point = point % 11 + 1;
    loop {
        let mut reaper = scene.process();
        if survives(reaper_point, || {
            reap_dead_processes(&mut reaper).unwrap();
        }) {
            break;
        }
        reaper_point += 13;
    }
    reap_dead_processes(peer).unwrap();
    assert_eq!(peer.store().registry().live_slots().unwrap().len(), left, "point {point}");
}

/// Lets a session that `prepare` has given garbage die at each point of `operation` in turn, and looks at what its peer finds.
fn at_every_point(
    name: &str,
    rows: u32,
    prepare: impl Fn(Box<Session>, &TableRef) -> Box<Session>,
    operation: impl Fn(&mut Session),
    gone: &[i64],
) {
    let stride = point_stride(if rows > 100 { 13 } else { 5 });
    let mut point = 0;
    loop {
        point += stride;
        let scene = Scene::new(name, point);
        let mut peer = scene.process();
        let table = peer.load_table(1, &schema()).unwrap();
        load(&mut peer, &table, rows);
        let mut victim = prepare(scene.process(), &table);
        let survived = survives(point, || operation(&mut victim));
        drop(victim);
        reap(&scene, &mut peer, point, 1);
        let report = check(&mut peer).unwrap();
        assert!(report.is_clean(), "point {point}: {report:#?}");
        // The keys can be had again, once.
        peer = run(peer, true, |txn| {
            for &key in gone {
                assert!(!exists(txn, &table, key), "point {point}: {key} is there");
                txn.insert(&table, &image(&table, key, 2)).unwrap();
            }
            assert!(exists(txn, &table, i64::from(rows) - 1));
        });
        peer = run(peer, false, |txn| {
            for &key in gone {
                assert!(exists(txn, &table, key), "point {point}: {key} is not there");
            }
        });
        let report = check(&mut peer).unwrap();
        assert!(report.is_clean(), "point {point}: {report:#?}");
        if survived {
            assert!(point > 2 * stride, "the operation has no points");
            return;
        }
    }
}

fn deletes(keys: &[i64]) -> impl Fn(Box<Session>, &TableRef) -> Box<Session> + '_ {
    move |session, table| {
        run(session, true, |txn| {
            for &key in keys {
                assert!(txn.delete(table, Value::I64(key)).unwrap());
            }
        })
    }
}

#[test]
fn dying_while_rows_are_removed() {
    let keys = [3, 4, 9];
    at_every_point("remove", 20, deletes(&keys), |session| session.prune(0).unwrap(), &keys);
}

#[test]
fn dying_while_rows_are_removed_from_an_index_that_grows() {
    let keys = [0, 100, 200, 300, 400, 500, 600, 700];
    let prepare = |session: Box<Session>, table: &TableRef| {
        let session = deletes(&keys)(session, table);
        // Starts the growth, and moves a part.
        run(session, true, |txn| {
            for key in 0..3 {
                txn.insert(table, &image(table, 10_000 + key, 1)).unwrap();
            }
        })
    };
    at_every_point("remove-grow", GROWTH - 1, prepare, |session| session.prune(0).unwrap(), &keys);
}

#[test]
fn dying_while_key_holders_of_aborted_inserts_are_removed() {
    let keys = [1000, 1001];
    let prepare = |session, table: &TableRef| {
        run(session, false, |txn| {
            for key in keys {
                txn.insert(table, &image(table, key, 1)).unwrap();
            }
        })
    };
    at_every_point("remove-never", 20, prepare, |session| session.prune(0).unwrap(), &keys);
}

#[test]
fn dying_while_vacuuming() {
    let keys = [3, 4, 9];
    let prepare = |session: Box<Session>, table: &TableRef| {
        let session = deletes(&keys)(session, table);
        let session = run(session, true, |txn| {
            for key in [5, 6] {
                txn.upsert(table, &image(table, key, 7)).unwrap();
            }
        });
        session.store().garbage().want();
        session
    };
    let vacuum = |session: &mut Session| {
        let mut vacuum = Vacuum::begin(session).unwrap().unwrap();
        assert!(vacuum.go_on(session, 100).unwrap());
    };
    at_every_point("vacuum", 20, prepare, vacuum, &keys);
}

/// Takes every slab there is, the reserve included.
pub(super) fn fill(session: &Session) -> (Heap, Vec<BlockRef>) {
    let mut heap = Heap::new(session.store().arena().clone(), session.participant().owner());
    let mut blocks = Vec::new();
    while let Ok(block) = heap.alloc(60_000, BlockKind::RAW, 1, Reserve::Yes) {
        blocks.push(block);
    }
    (heap, blocks)
}

#[test]
fn a_removal_that_found_no_room_is_finished_by_the_next_walk() {
    let scene = Scene::new("no-room", 0);
    let mut session = scene.process();
    let table = session.load_table(1, &schema()).unwrap();
    // The last of them gives the index a successor, which has no slots yet.
    load(&mut session, &table, GROWTH);
    let reads = TxnOptions { read_only: true, ..TxnOptions::default() };
    let reader = Transaction::begin(scene.process(), reads);
    let keys: Vec<i64> = (0..i64::from(GROWTH)).collect();
    // While somebody reads, nothing is removed.
    let session = deletes(&keys)(session, &table);
    let (filler, mut vacuuming) = (scene.process(), scene.process());
    let (mut heap, blocks) = fill(&filler);
    // Freezes an entry, and cannot move it.
    let mut txn = Transaction::begin(session, TxnOptions::default());
    let refused = txn.insert(&table, &image(&table, 10_000, 1));
    assert!(matches!(refused, Err(TxnError::Shm(ref error)) if error.is_out_of_space()), "{refused:?}");
    let session = txn.into_session().unwrap();
    drop(reader);
    vacuuming.store().garbage().want();
    let mut vacuum = Vacuum::begin(&vacuuming).unwrap().unwrap();
    assert!(vacuum.go_on(&mut vacuuming, 100).unwrap());
    // That one waits for room, and those found after it for their turn.
    let removed = vacuuming.store().garbage().stats().rows_removed;
    assert!((1..u64::from(GROWTH)).contains(&removed), "{removed} rows");
    assert_ne!(vacuuming.participant().slot().removed_row.load(Ordering::Acquire), 0, "there was room");
    for block in blocks {
        heap.free(block);
    }
    heap.close();
    let mut vacuum = Vacuum::begin(&vacuuming).unwrap().unwrap();
    assert!(vacuum.go_on(&mut vacuuming, 100).unwrap());
    let report = check(&mut vacuuming).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.rows, 0);
    drop((filler, session));
}

#[test]
fn what_a_transaction_rolls_back_again_and_again_gives_its_memory_back() {
    let scene = Scene::new("rolled-back", 0);
    let mut session = scene.process();
    let table = session.load_table(1, &schema()).unwrap();
    load(&mut session, &table, 2);
    let mut txn = Transaction::begin(session, TxnOptions::default());
    txn.upsert(&table, &image(&table, 0, 2)).unwrap();
    let mark = txn.savepoint().unwrap();
    for round in 0..60_000 {
        txn.upsert(&table, &image(&table, 1, round)).unwrap();
        txn.insert(&table, &image(&table, 10 + round, 1)).unwrap();
        txn.rollback_to(&mark).unwrap();
    }
    txn.commit(false).unwrap();
    let mut session = txn.into_session().unwrap();
    session.store().log().start_at(session.store().clock().now());
    session.tidy_now().unwrap();
    let report = check(&mut session).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.rows, 2);
}

#[test]
fn an_operation_that_stands_still_puts_off_giving_back() {
    let scene = Scene::sized("giveback", 0, 64 << 20);
    let (mut giver, other) = (scene.process(), scene.process());
    let mut heap = Heap::new(scene.arena.clone(), OwnerId { slot: u16::MAX, incarnation: 1 });
    let blocks: Vec<BlockRef> =
        (0..16).map(|_| heap.alloc(1_900_000, BlockKind::RAW, 0, Reserve::No).unwrap()).collect();
    other.participant().enter();
    for block in blocks {
        assert!(heap.free(block));
    }
    let (mut give_back, mut now_ns) = (GiveBack::default(), 0);
    let mut given_back_after = |seconds: u64| {
        for _ in 0..seconds * 10 {
            now_ns += 100_000_000;
            if give_back.is_wanted(&scene.arena, now_ns) {
                give_back.go_on(&mut giver, now_ns).unwrap();
            }
        }
        scene.arena.given_back_bytes() / (EXTENT_BYTES - 4096)
    };
    assert_eq!(given_back_after(10), 0, "somebody may be looking there");
    other.participant().leave();
    let extents = given_back_after(10);
    assert!((10..=12).contains(&extents), "{extents} of 16: four or five stay");
    assert_eq!(given_back_after(10), extents);
    // What is needed comes from there before the file grows.
    let bytes = scene.arena.file_bytes();
    let again: Vec<_> = (0..16).map(|_| heap.alloc(1_900_000, BlockKind::RAW, 0, Reserve::No)).collect();
    assert!(again.iter().all(Result::is_ok));
    assert_eq!((scene.arena.file_bytes(), scene.arena.given_back_bytes()), (bytes, 0));
}

#[test]
fn what_the_system_refuses_to_take_back_is_offered_again_a_minute_later_and_can_be_used() {
    let scene = Scene::sized("refused", 0, 64 << 20);
    let mut giver = scene.process();
    let mut heap = Heap::new(scene.arena.clone(), OwnerId { slot: u16::MAX, incarnation: 1 });
    let fill = |heap: &mut Heap| -> Vec<BlockRef> {
        (0..16).map(|_| heap.alloc(1_900_000, BlockKind::RAW, 0, Reserve::No).unwrap()).collect()
    };
    let blocks = fill(&mut heap);
    let bytes = scene.arena.file_bytes();
    for block in blocks {
        assert!(heap.free(block));
    }
    scene.arena.keep_pages();
    let (mut give_back, mut refused_at) = (GiveBack::default(), Vec::new());
    for second in 1..=180 {
        let now_ns = second * 1_000_000_000;
        if give_back.is_wanted(&scene.arena, now_ns) && give_back.go_on(&mut giver, now_ns).is_err() {
            refused_at.push(second);
        }
    }
    assert_eq!(refused_at.len(), 3, "{refused_at:?}");
    assert!(refused_at.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{refused_at:?}");
    assert_eq!(scene.arena.given_back_bytes(), 0);
    fill(&mut heap);
    assert_eq!(scene.arena.file_bytes(), bytes);
}

#[test]
fn a_remembered_block_is_not_found_in_the_payload_of_another() {
    let scene = Scene::new("remembered", 0);
    let process = scene.process();
    let mut heap = Heap::new(scene.arena.clone(), OwnerId { slot: u16::MAX, incarnation: 1 });
    let mut live = |bytes: usize, count: usize| -> Vec<BlockRef> {
        let blocks = (0..count).map(|_| heap.alloc(bytes, BlockKind::VERSION, 0, Reserve::No).unwrap());
        let blocks: Vec<BlockRef> = blocks.collect();
        for &block in &blocks {
            assert!(scene.arena.publish(block));
        }
        if bytes < 3000 {
            for &block in &blocks {
                assert!(scene.arena.retire(block, 1) && heap.free(block));
            }
            heap.trim();
        }
        blocks
    };
    let remembered = live(500, 1000);
    let later = live(3000, 200);
    let mut hidden = 0;
    for old in &remembered {
        let word = old.offset - 16;
        if later.iter().any(|new| (new.offset..new.offset + 3000).contains(&word)) {
            // Two numbers that a row may well hold.
            let bits = u64::from(old.generation) << 32 | u64::from(BlockKind::VERSION.0) << 8 | 2;
            let number: &crate::sync::AtomicU64 = scene.arena.resolve(crate::shm::RelPtr::new(word)).unwrap();
            number.store(bits, Ordering::Relaxed);
            hidden += 1;
            assert!(process.participant().pin().word_of(*old).unwrap().is_none(), "{old:?}");
        }
    }
    assert!(hidden > 500, "{hidden}: nothing of what was remembered is in another use");
    let guard = process.participant().pin();
    assert!(later.iter().all(|block| guard.word_of(*block).unwrap().is_some()));
}

fn put_some(mut session: Box<Session>, table: &TableRef, keys: impl Iterator<Item = i64>) -> Box<Session> {
    let keys: Vec<i64> = keys.collect();
    for some in keys.chunks(100) {
        session = run(session, true, |txn| {
            for key in some {
                txn.upsert(table, &image(table, *key, 2)).unwrap();
            }
        });
    }
    session.tidy_now().unwrap();
    session
}

/// Commits more than an idle session waits for before it gives up its memory.
fn go_on(mut session: Box<Session>, table: &TableRef) -> Box<Session> {
    for _ in 0..1500 {
        session = run(session, true, |txn| txn.upsert(table, &image(table, 1, 3)).map(drop).unwrap());
    }
    session
}

/// Looks at an idle session for as long as that takes.
fn look_often(session: &mut Session) {
    (0..20).for_each(|_| session.tidy_idle().unwrap());
}

/// The one has made all rows and does nothing any more, while the other replaces them.
#[test]
fn what_is_freed_of_an_idle_sessions_memory_serves_others() {
    const ROWS: u32 = 14_000;
    let scene = Scene::sized("idle", 0, 64 << 20);
    let mut loader = scene.process();
    let table = loader.load_table(1, &schema()).unwrap();
    load(&mut loader, &table, ROWS);
    loader.tidy_idle().unwrap();
    // It has its log ring.
    let mut writer = put_some(scene.process(), &table, 1..2);
    let used = scene.arena.used_bytes();
    for round in 0..6 {
        writer = put_some(writer, &table, (round..i64::from(ROWS)).step_by(7));
        loader.tidy_idle().unwrap();
    }
    // Versions take 80 bytes.
    let grown = scene.arena.used_bytes().saturating_sub(used);
    assert!(grown < u64::from(ROWS) * 80 / 3, "{grown} bytes more");
    assert!(check(&mut writer).unwrap().is_clean());
    // It dies without slabs that it once had.
    drop(loader);
    reap(&scene, &mut writer, 1, 1);
    let report = check(&mut writer).unwrap();
    assert!(report.is_clean() && report.versions == u64::from(ROWS), "{report:#?}");
}

#[test]
fn what_an_idle_session_has_freed_serves_others_if_they_go_on() {
    const ROWS: u32 = 12_000;
    let scene = Scene::sized("idle-long", 0, 64 << 20);
    let mut idle = scene.process();
    let table = idle.load_table(1, &schema()).unwrap();
    load(&mut idle, &table, ROWS);
    let keys = || (0..i64::from(ROWS)).step_by(3);
    for some in keys().collect::<Vec<_>>().chunks(100) {
        idle = run(idle, true, |txn| {
            for key in some {
                assert!(txn.delete(&table, Value::I64(*key)).unwrap());
            }
        });
    }
    look_often(&mut idle);
    let owned = |session: &Session| scene.owned_by(session);
    let (all, mut writer) = (owned(&idle), scene.process());
    writer = put_some(writer, &table, 1..2);
    look_often(&mut idle);
    assert_eq!(owned(&idle), all, "nobody needs them");
    writer = go_on(writer, &table);
    look_often(&mut idle);
    let of_blocks = slabs_of(&scene.arena, idle.participant().owner());
    let of_blocks = of_blocks.iter().filter(|slab| slab.blocks(&scene.arena).count() > 1).count();
    assert_eq!(of_blocks, 0, "of {all} slabs, beside those of its part of the log");
    writer = put_some(writer, &table, keys());
    // It goes on with memory that it finds.
    idle = put_some(idle, &table, keys());
    assert!(check(&mut writer).unwrap().is_clean());
    idle.close().unwrap();
    assert!(check(&mut writer).unwrap().is_clean());
}

/// What does not fit into its ring waits for the log.
#[test]
fn an_idle_session_whose_last_commit_was_large_leaves_its_slabs_too() {
    let scene = Scene::sized("idle-large", 0, 64 << 20);
    let mut idle = scene.process();
    let table = idle.load_table(1, &schema()).unwrap();
    idle = run(idle, true, |txn| {
        for key in 0..6000 {
            txn.upsert(&table, &image(&table, key, 1)).unwrap();
        }
    });
    let reserved = || crate::shm::census(&scene.arena).values().map(|bytes| bytes.reserved).sum::<u64>();
    (0..3).for_each(|_| idle.tidy_idle().unwrap());
    assert_eq!(reserved(), 0, "bytes that are kept though the log has them");
    let owned = |session: &Session| scene.owned_by(session);
    let all = owned(&idle);
    let writer = put_some(scene.process(), &table, (0..6000).step_by(2));
    let _writer = go_on(writer, &table);
    look_often(&mut idle);
    assert!(owned(&idle) < all / 2, "{} of {all}", owned(&idle));
}

#[test]
fn a_session_that_is_in_use_keeps_its_slabs() {
    let scene = Scene::new("in-use", 0);
    let mut busy = scene.process();
    let table = busy.load_table(1, &schema()).unwrap();
    load(&mut busy, &table, 3000);
    let orphans = || scene.arena.slabs().filter(SlabRef::is_orphan).count();
    let (mut writer, before) = (scene.process(), orphans());
    for round in 0..5 {
        writer = put_some(writer, &table, (round..3000).step_by(7));
        busy = put_some(busy, &table, std::iter::once(round));
        busy.tidy_idle().unwrap();
        assert_eq!(orphans(), before);
    }
    // Once it is not, others have those in which they have freed blocks.
    writer = put_some(writer, &table, 0..3000);
    (0..2).for_each(|_| writer.tidy_idle().unwrap());
    busy.tidy_idle().unwrap();
    assert!(orphans() > before);
}

#[test]
fn a_write_that_found_no_room_looks_again_when_others_have_deleted_or_read_no_more() {
    let scene = Scene::sized("look-again", 0, 4 * EXTENT_BYTES);
    let mut writer = scene.process();
    let table = writer.load_table(1, &schema()).unwrap();
    let (deleting, reading) = (scene.process(), scene.process());
    // With room for its log before all is full.
    let deleting = run(deleting, true, |txn| txn.insert(&table, &image(&table, -1, 0)).unwrap());
    let store = Arc::clone(writer.store());
    // Nobody runs the vacuum here: that the writer asks for it, and waits, is all that shows.
    let mut keys = 0..;
    let mut asks = |mut writer: Box<Session>| loop {
        store.garbage().relieve(store.garbage().press());
        let mut txn = Transaction::begin(writer, TxnOptions::default());
        let inserted = txn.insert(&table, &image(&table, keys.next().unwrap(), 0));
        if inserted.is_ok() {
            txn.commit(false).unwrap();
        }
        writer = txn.into_session().unwrap();
        store.log().start_at(store.clock().now());
        if inserted.is_err_and(|error| error.is_out_of_space()) {
            return (writer, store.garbage().is_pressed());
        }
    };
    let (writer, is_pressed) = asks(writer);
    assert!(is_pressed);
    let reader = Transaction::begin(reading, TxnOptions { read_only: true, ..TxnOptions::default() });
    let delete = |txn: &mut Transaction| assert!(txn.delete(&table, Value::I64(-1)).unwrap());
    let _deleting = run(deleting, true, delete);
    let (writer, is_pressed) = asks(writer);
    assert!(is_pressed, "somebody has deleted a row");
    drop(reader);
    let (_writer, is_pressed) = asks(writer);
    assert!(is_pressed, "nobody can see it any more");
}

#[test]
fn a_write_that_finds_no_room_during_a_walk_is_not_content_with_that_walk() {
    let scene = Scene::new("press", 0);
    let mut vacuuming = scene.process();
    let table = vacuuming.load_table(1, &schema()).unwrap();
    load(&mut vacuuming, &table, 4000);
    let store = Arc::clone(vacuuming.store());
    let first = store.garbage().press();
    let mut walk = Vacuum::begin(&vacuuming).unwrap().unwrap();
    assert!(!walk.go_on(&mut vacuuming, 1).unwrap());
    let second = store.garbage().press();
    while !walk.go_on(&mut vacuuming, 1).unwrap() {}
    assert!(store.garbage().is_walked(first) && !store.garbage().is_walked(second));
    assert!(store.garbage().is_pressed());
}
