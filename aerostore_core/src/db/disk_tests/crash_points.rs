//! Power is lost at every step of the disk, in a workload of several sessions and processes.

use super::{ADDED, History, Log, Place, Random, alter, check_goes_on, check_rows, commit, schema};
use crate::db::Database;
use crate::sys::MemoryFileSystem;
use crate::wal::{LogOptions, LogWriter};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Of disks whose last timestamp is another, every so many are replayed into rows; and all whose checkpoints are.
const ROWS_EVERY: usize = 30;
/// Of all disks every so many are opened as a whole database.
const DATABASE_EVERY: u64 = 500;

/// What a test has seen.
#[derive(Debug, Default)]
struct Counts {
    /// Steps at which power is lost.
    points: u64,
    /// Disks that were recovered.
    disks: u64,
    /// Of those, into rows.
    replayed: u64,
    /// Of those, by opening a whole database that then goes on.
    databases: u64,
    checkpoints: u64,
}

/// Deposes the log writer, as another process does that takes it for stalled, and dies at once.
fn depose(db: &Database, place: &Place, disk: &MemoryFileSystem) {
    let options = LogOptions { segment_bytes: 20_000, batch_bytes_max: 2_000 };
    let (log, dir) = (db.0.store.log(), place.wal_dir());
    // It may be deposed itself, by the one that stands for office again.
    drop(LogWriter::take_over(log, Arc::new(disk.clone()), &dir, db.0.dir.uuid(), 0, options));
}

/// Commits of three sessions in two processes, with and without waiting for the disk; checkpoints meanwhile, and columns that are added; writers of the log
/// that are deposed, and others that close the database.
fn live(place: &Place, disk: &MemoryFileSystem, history: &History, seed: u64) -> [u8; 16] {
    let mut first = place.open(disk);
    first.create_table(&schema()).unwrap();
    let uuid = first.0.dir.uuid();
    for round in 0..ADDED as u64 {
        let second = place.open(disk);
        std::thread::scope(|scope| {
            for (seat, db) in [&first, &first, &second].into_iter().enumerate() {
                let mut random = Random(seed * 1000 + round * 10 + seat as u64);
                scope.spawn(move || {
                    for _ in 0..10 {
                        let synchronous = random.below(3) > 0;
                        commit(db, history, random.changes(), synchronous).unwrap();
                    }
                });
            }
            let alteration = scope.spawn(|| alter(&first).unwrap());
            let checkpoint = scope.spawn(|| second.checkpoint().unwrap());
            if round % 2 == 0 {
                depose(&first, place, disk);
            }
            checkpoint.join().unwrap();
            alteration.join().unwrap();
        });
        first.close().unwrap();
        first = second;
    }
    first.close().unwrap();
    uuid
}

/// One workload, and a power loss at each of its steps.
fn lose_power_at_every_step(seed: u64, counts: &mut Counts) {
    let name = format!("points-{seed}");
    let (place, disk) = (Place::new(&name), MemoryFileSystem::default());
    let history = Arc::new(History::default());
    disk.record({
        let history = Arc::clone(&history);
        move || history.told()
    });
    let uuid = live(&place, &disk, &history, seed);
    check_rows(&name, &place, uuid, &disk, &history);
    let mut random = Random(seed);
    let (mut whole, mut recovered) = (BTreeMap::new(), HashSet::new());
    for moment in disk.recorded() {
        counts.points += 1;
        for variant in 0..4 {
            let mut choices = 0;
            let after = moment.power_loss(|| {
                choices += 1;
                variant == 0 || (variant > 1 && random.below(2) == 0)
            });
            if variant > 0 && choices == 0 {
                break;
            }
            let log = Log::read(&place, uuid, &after).unwrap();
            if variant == 0 {
                // With all that was written up to now: what later ones may have of that is the same.
                whole.extend(&log.records);
            }
            log.check(&whole, moment.mark);
            counts.disks += 1;
            // The same checkpoints and records make the same rows.
            let is_first = recovered.insert((log.checkpoints, None));
            if recovered.insert((log.checkpoints, Some(log.last_ts)))
                && recovered.len().is_multiple_of(ROWS_EVERY)
                || is_first
            {
                check_rows(&name, &place, uuid, &after, &history);
                counts.replayed += 1;
            }
            if counts.disks.is_multiple_of(DATABASE_EVERY) {
                check_goes_on(&place, &after, &history, moment.mark);
                counts.databases += 1;
            }
        }
    }
    let commits = history.commits();
    assert!(commits.keys().all(|commit_ts| whole.contains_key(commit_ts)), "some were never logged");
    assert_eq!(whole.len(), commits.len() + 1 + ADDED, "and the table, and its columns");
    assert!(commits.values().any(|commit| commit.added == ADDED), "nobody knew of all columns");
    counts.checkpoints += 3;
}

#[test]
fn power_lost_at_any_step_costs_nothing_that_was_acknowledged() {
    let wanted: u64 = std::env::var("AEROSTORE_CRASH_POINTS").map_or(1_000, |text| text.parse().unwrap());
    let mut counts = Counts::default();
    for seed in 0.. {
        if counts.points >= wanted {
            break;
        }
        lose_power_at_every_step(seed, &mut counts);
    }
    println!("crash points: {counts:?}");
}
