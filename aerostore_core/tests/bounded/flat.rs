//! Updates without end beside a long reader and a stopped process.

use super::{READ, child, insert, number, open, update_each, verified};
use crate::common::Place;
use aerostore_core::db::{Database, ErrorKind, Table};
use aerostore_core::shm::{Arena, ArenaExpect, BlockState, SLAB_BYTES, ShmError};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes of a block that holds a version of a flight.
const VERSION_BYTES: u64 = 96;

/// Reads all rows at one snapshot over and over, and takes another when it is revoked. Returns how often that was.
fn read_for_long(db: &Database, table: &Table, rows: u64, stop: &AtomicBool) -> u64 {
    let mut revoked = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut txn = db.begin(READ).unwrap();
        let mut first = None;
        while !stop.load(Ordering::Relaxed) {
            let (mut count, mut sum) = (0, 0);
            let outcome = txn.scan(table, &mut |row| {
                count += 1;
                sum += row.get(3).as_i64().unwrap();
                ControlFlow::Continue(())
            });
            match outcome {
                Ok(()) => assert_eq!((count, sum), (rows, *first.get_or_insert(sum)), "a snapshot changed"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Revoked, "{error}");
                    revoked += 1;
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    revoked
}

/// The most slabs of versions there have been, and the most of their blocks that were in use at one moment.
#[derive(Debug, Default)]
struct MostVersions {
    slabs: u64,
    used: u64,
}

impl MostVersions {
    fn look(&mut self, arena: &Arena) {
        let (mut slabs, mut used) = (0, 0);
        for slab in arena.slabs().filter(|slab| slab.payload_bytes() == VERSION_BYTES) {
            slabs += 1;
            used += slab.blocks(arena).filter(|(_, word)| word.state() != BlockState::Free).count();
        }
        self.slabs = self.slabs.max(slabs);
        self.used = self.used.max(u64::try_from(used).unwrap());
    }
}

/// The mapping, to look at.
fn arena(place: &Place) -> Arena {
    let any = ArenaExpect::default();
    let Err(ShmError::LayoutMismatch { found, .. }) = Arena::attach(&place.shm, &any) else {
        panic!("a mapping without a layout")
    };
    Arena::attach(&place.shm, &ArenaExpect { layout_hash: found, ..any }).unwrap()
}

/// The figures are for a soak to change: see `scripts/soak churn`.
#[test]
fn memory_stays_flat_under_a_long_reader_and_a_stopped_process() {
    const STEPS: u64 = 50;
    let (rows, updates) = (number("AEROSTORE_CHURN_ROWS", 2_000), number("AEROSTORE_CHURN_UPDATES", 60_000));
    let max_bytes = number("AEROSTORE_CHURN_BYTES", 48 << 20);
    let place = Place::with_timeout("bounded-flat", 300.max(updates / 10_000));
    let (db, table) = open(&place, max_bytes);
    db.set_config("max_snapshot_age", &number("AEROSTORE_CHURN_AGE", 700).to_string()).unwrap();
    (0..rows).step_by(1000).for_each(|first| insert(&db, &table, first..rows.min(first + 1000)).unwrap());
    let mut child = child(&place, "stands");
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: the child was started by this test and has not been waited for, so the pid is its own.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    let stop = AtomicBool::new(false);
    let arena = arena(&place);
    let (most, revoked) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_for_long(&db, &table, rows, &stop));
        let looker = scope.spawn(|| {
            let mut most = MostVersions::default();
            while !stop.load(Ordering::Relaxed) {
                most.look(&arena);
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let begun = std::time::Instant::now();
        for step in 0..STEPS {
            update_each(&db, &table, rows, step * updates / STEPS, updates / STEPS);
            let status = db.status().unwrap();
            let done = (step + 1) * updates / STEPS;
            let rate = done * 1000 / u64::try_from(begun.elapsed().as_millis()).unwrap().max(1);
            println!(
                "churn: {done} of {updates} updates, {rate} a second, {} KiB in use of {}, {} snapshots revoked",
                status.used_bytes >> 10,
                max_bytes >> 10,
                status.vacuum.snapshots_revoked
            );
        }
        stop.store(true, Ordering::Relaxed);
        (looker.join().unwrap(), reader.join().unwrap())
    });
    println!("churn: {rows} rows, {updates} updates, {revoked} snapshots of the reader revoked: {most:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    let versions = verified(&db).versions;
    // A slab is taken when no block is free, so there are as many as the most blocks in use at one moment need; others are in use in part by
    // the sessions that have them. A look may miss the moment by what is written until the next.
    let needed = most.used.div_ceil(SLAB_BYTES / (VERSION_BYTES + 16));
    assert!(most.slabs <= needed + needed / 20 + 32, "{most:?}, of which {needed} slabs are needed");
    // Of each row the newest version and the reader's, and, for each operation that stands still or is not scheduled, which are few at a time,
    // the two there were then.
    assert!(most.used <= 6 * rows + 10_000, "{most:?} of {rows} rows");
    assert!(versions <= 2 * rows + 400, "{versions} versions of {rows} rows");
    db.close().unwrap();
}
