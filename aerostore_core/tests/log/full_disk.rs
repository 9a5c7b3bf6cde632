//! A data directory whose disk is really full: who waits for the disk is told at once, who does not goes on for a while and is told then,
//! and all of them go on by themselves when there is room.

use crate::commit;
use crate::common::{Place, Watchdog, flight, flight_schema};
use crate::shm_common::{Worker, fill_up, mount_small, unmount};
use aerostore_core::db::{Database, Error, ErrorKind, OpenMode, Table, TxnOptions};
use aerostore_core::row::Value;
use aerostore_core::txn::TxnError;
use std::path::Path;
use std::time::{Duration, Instant};

const RING_BYTES: u64 = 64 << 10;

/// A database on a small disk, and the rows that it must have.
struct Scene {
    db: Database,
    table: Table,
    rows: Vec<String>,
}

impl Scene {
    fn open(dir: &Path, shm: &Path) -> Self {
        let options = Database::builder(dir).shm_path(shm).max_bytes(128 << 20);
        let db = options.ring_bytes(RING_BYTES).segment_bytes(128 << 10).open().unwrap();
        let table = db.create_table(&flight_schema()).unwrap();
        Self { db, table, rows: Vec::new() }
    }

    /// Opens it again.
    fn reopen(self, dir: &Path, shm: &Path, mode: OpenMode) -> Self {
        let Self { db, table, rows } = self;
        drop((db, table));
        let scene = Self { rows, ..Self::open(dir, shm) };
        assert_eq!(scene.db.boot().mode, mode);
        scene.check();
        scene
    }

    fn commit(&mut self, synchronous: bool) -> Result<(), Error> {
        let id = format!("row {}", self.rows.len());
        match commit(&self.db, &self.table, &id, synchronous) {
            Ok(_) => self.rows.push(id),
            Err(error) => {
                let Error::Txn(TxnError::LogFault { errno: libc::ENOSPC, took_effect }) = error else {
                    panic!("{error}")
                };
                assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Space, false));
                assert!(error.to_string().contains("No space left on device"), "{error}");
                if took_effect {
                    self.rows.push(id);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// All rows that took effect are there, and no other.
    fn check(&self) {
        let mut txn = self.db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
        for id in &self.rows {
            assert!(txn.get(&self.table, Value::Str(id), |_| ()).unwrap().is_some(), "{id} is gone");
        }
        assert_eq!(txn.count(&self.table).unwrap(), self.rows.len() as u64);
    }

    fn took_effect(&mut self, synchronous: bool) -> bool {
        let before = self.rows.len();
        let refused = self.commit(synchronous);
        assert!(refused.is_err());
        self.rows.len() > before
    }

    /// Commits until the disk is full, which the last one that took effect finds out.
    fn fill(&mut self) {
        let before = self.rows.len();
        while self.commit(true).is_ok() {}
        // One of them waited for the disk, took effect and was told; from then on nothing takes effect.
        assert!(self.rows.len() > before);
        assert_eq!(self.db.status().unwrap().log.fault, libc::ENOSPC);
        for _ in 0..20 {
            assert!(!self.took_effect(true), "a commit that is refused did nothing");
        }
        self.check();
    }

    /// Commits that do not wait for the disk go on, and are stopped while half the ring is free.
    fn fill_ring(&mut self) -> usize {
        let before = self.rows.len();
        while self.commit(false).is_ok() {}
        assert!(!self.took_effect(false));
        let count = self.rows.len() - before;
        let pending: u64 =
            self.db.status().unwrap().slots.iter().map(|slot| slot.ring.pending_bytes).max().unwrap();
        assert!(pending > RING_BYTES / 3 && pending <= RING_BYTES / 2 + 256, "{pending} bytes");
        self.check();
        count
    }

    /// More than goes into the ring is not put aside in memory.
    fn is_large_one_refused(&self) -> bool {
        let mut txn =
            self.db.begin(TxnOptions { synchronous_commit: Some(false), ..TxnOptions::default() }).unwrap();
        for number in 0..1000 {
            txn.upsert(&self.table, &flight(&self.table, &format!("large {number}"), 1)).unwrap();
        }
        matches!(txn.commit(), Err(Error::Txn(TxnError::LogFault { took_effect: false, .. })))
    }

    /// Nobody does anything but make room.
    fn goes_on(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.commit(true).is_err() {
            assert!(Instant::now() < deadline, "there is room");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.db.status().unwrap().log.fault, 0);
        self.commit(false).unwrap();
        self.check();
    }
}

/// A checkpoint that does not fit leaves the log the room that there is; when there is more it is taken.
fn leaves_room_to_the_log(scene: &mut Scene, ballast: &Path) {
    let rows = 3000;
    let options = TxnOptions { synchronous_commit: Some(true), ..TxnOptions::default() };
    for first in (0..rows).step_by(100) {
        scene
            .db
            .transaction(options, |txn| {
                (first..first + 100).try_for_each(|number| {
                    txn.insert(&scene.table, &flight(&scene.table, &format!("checkpoint {number}"), 1))
                })
            })
            .unwrap();
        scene.rows.extend((first..first + 100).map(|number| format!("checkpoint {number}")));
    }
    let file = fill_up(ballast);
    file.set_len(file.metadata().unwrap().len() - (200 << 10)).unwrap();
    drop(file);
    for _ in 0..3 {
        let error = scene.db.checkpoint().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Space, "{error}");
        assert!(error.to_string().contains("left to the log"), "{error}");
        // More than is left of a segment.
        for _ in 0..20 {
            scene.commit(true).unwrap();
        }
    }
    std::fs::remove_file(ballast).unwrap();
    assert_eq!(scene.db.checkpoint().unwrap().rows, scene.rows.len() as u64);
    scene.check();
}

fn on_a_full_disk(disk: &Path, shm: &Path) {
    let _watchdog = Watchdog::new(120);
    let (dir, ballast) = (disk.join("data"), disk.join("ballast"));
    let mut scene = Scene::open(&dir, shm);
    scene.goes_on();

    drop(fill_up(&ballast));
    scene.fill();
    assert!(scene.is_large_one_refused());
    let went_on = scene.fill_ring();
    println!("full: {went_on} commits went on without the disk");
    assert!(went_on > 100);
    std::fs::remove_file(&ballast).unwrap();
    scene.goes_on();
    scene.db.flush().unwrap();
    assert!(scene.db.verify().unwrap().is_clean());

    // Full again, and everybody leaves: what is not on disk stays in the mapping, and they say so.
    drop(fill_up(&ballast));
    scene.fill();
    scene.fill_ring();
    let error = scene.db.clone().close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Space, "{error}");
    std::fs::remove_file(&ballast).unwrap();
    let mut scene = scene.reopen(&dir, shm, OpenMode::Warm);
    // Whatever the last log writer has met, nobody is refused for it.
    scene.commit(true).unwrap();
    leaves_room_to_the_log(&mut scene, &ballast);
    scene.db.clone().close().unwrap();

    // All of it is in the log.
    std::fs::remove_file(shm).unwrap();
    scene.reopen(&dir, shm, OpenMode::Cold).db.close().unwrap();
}

#[test]
fn a_full_disk_is_told_to_all_and_they_go_on_when_there_is_room() {
    let place = Place::new("full-disk");
    let orders = [("AEROSTORE_TEST_CHILD", place.names())];
    let mut child = Worker::start("full_disk::child_on_a_full_disk", &orders);
    assert!(child.0.wait().unwrap().success());
}

/// Not a test by itself: a process that may do with its mounts what it likes.
#[test]
fn child_on_a_full_disk() {
    let Ok(names) = std::env::var("AEROSTORE_TEST_CHILD") else { return };
    let (disk, shm) = names.split_once('|').unwrap();
    let (disk, shm) = (Path::new(disk), Path::new(shm));
    std::fs::create_dir_all(disk).unwrap();
    if mount_small(disk, 2 << 20) {
        on_a_full_disk(disk, shm);
        unmount(disk);
    }
}
