//! The log writer killed, overtaken and failed at every operation on a file, with and without power loss after it.

use super::*;
use crate::recovery::LogReport;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::MemoryFileSystem;
use crate::wal::harness::{DIR, Random, Records, TestDatabase, UUID, scan};
use crate::wal::remove_superfluous;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;

const SEGMENT: u64 = 5400;

/// Raised by a hook to end a writer where it stands.
struct Killed;

/// A database whose log writer is about to have an accident.
#[derive(Clone)]
struct Scene {
    fs: MemoryFileSystem,
    /// Lives for the rest of the test run, so that hooks may hold it.
    database: &'static TestDatabase,
    committed: Arc<Mutex<Records>>,
    /// Up to this timestamp the log is not needed any more.
    superfluous_ts: Arc<AtomicU64>,
}

impl Scene {
    fn new() -> Self {
        let database = Box::leak(Box::new(TestDatabase::new(3, 4096)));
        Self {
            fs: MemoryFileSystem::default(),
            database,
            committed: Arc::default(),
            superfluous_ts: Arc::default(),
        }
    }

    fn take_over(&self) -> Result<LogWriter<'static>, WalError> {
        self.database.try_writer(&self.fs, SEGMENT)
    }

    fn commit(&self, session: usize, length: usize) {
        let mut committed = self.committed.lock().unwrap();
        let redo = vec![b'a' + u8::try_from(committed.len() % 26).unwrap(); length];
        let c = self.database.commit(session, &redo).unwrap();
        committed.push((c, redo));
    }

    /// As a checkpoint does that holds all that is durable now.
    fn forget(&self) -> Result<(), WalError> {
        let ts = self.database.control.durable_ts();
        self.superfluous_ts.store(ts, Ordering::Relaxed);
        remove_superfluous(&self.fs, Path::new(DIR), UUID, ts).map(|_| ())
    }

    /// A writer's life: taking office, drains with and without sync, rolls, an aborted transaction, a segment that is used again, the
    /// clean end.
    fn live(&self) -> Result<(), WalError> {
        let mut writer = self.take_over()?;
        for round in 0..8 {
            self.commit(round % 2, 100 + round * 40);
            self.commit(0, 10);
            let aborted = self.database.prepare(1, b"aborted").unwrap();
            self.database.decide(aborted, false);
            writer.drain(self.database, round % 3 != 0)?;
            if round == 4 {
                self.forget()?;
            }
        }
        writer.close(self.database)
    }

    /// What the log is needed for.
    fn records(&self) -> Records {
        let superfluous_ts = self.superfluous_ts.load(Ordering::Relaxed);
        let committed = self.committed.lock().unwrap();
        committed.iter().filter(|record| record.0 > superfluous_ts).cloned().collect()
    }

    fn scan(&self, fs: &MemoryFileSystem) -> (Records, LogReport) {
        scan(fs, self.superfluous_ts.load(Ordering::Relaxed)).unwrap()
    }

    /// A successor in the same shared memory finds everything.
    fn check_warm(&self) {
        let writer = self.take_over().unwrap();
        self.commit(2, 30);
        writer.close(self.database).unwrap();
        let (found, report) = self.scan(&self.fs);
        assert_eq!(found, self.records());
        assert!(report.closed && report.torn.is_none());
        assert!((0..3).all(|session| self.database.ring(session).is_drained(report.last_ts).unwrap()));
    }

    /// A cold start from `fs` finds a prefix with everything that was durable, and goes on from there.
    fn check_cold(&self, fs: &MemoryFileSystem) {
        let all = self.records();
        let (mut found, report) = self.scan(fs);
        assert!(all.starts_with(&found));
        let durable_ts = self.database.control.durable_ts();
        assert!(
            all.iter().filter(|record| record.0 <= durable_ts).count() <= found.len(),
            "an acknowledged commit"
        );
        let database = TestDatabase::restarted(1, 1024, report.last_ts);
        let writer = database.try_writer(fs, SEGMENT).unwrap();
        found.push((database.commit(0, b"after the cold start").unwrap(), b"after the cold start".to_vec()));
        writer.close(&database).unwrap();
        assert_eq!(self.scan(fs).0, found);
    }

    fn check_power_loss(&self, seed: u64) {
        for round in 0..6 {
            let mut random = Random(seed * 64 + round);
            self.check_cold(&self.fs.power_loss(|| match round {
                0 => false,
                1 => true,
                _ => random.next().is_multiple_of(2),
            }));
        }
    }
}

/// Runs `life` and returns whether it was killed.
fn is_killed(life: impl FnOnce() -> Result<(), WalError>) -> bool {
    match catch_unwind(AssertUnwindSafe(life)) {
        Ok(result) => {
            result.unwrap();
            false
        }
        Err(payload) if payload.is::<Killed>() => true,
        Err(payload) => resume_unwind(payload),
    }
}

/// Counts steps until a scene is over without its accident.
fn at_every_step(mut scene_at: impl FnMut(u64) -> bool) {
    let steps = (0..10_000).find(|&step| !scene_at(step)).unwrap();
    assert!(steps > 50, "{steps} steps");
}

#[test]
fn killed_at_every_step_the_log_goes_on() {
    at_every_step(|step| {
        let scene = Scene::new();
        scene.fs.at_step(step, || resume_unwind(Box::new(Killed)));
        let killed = is_killed(|| scene.live());
        scene.fs.clear_hook();
        scene.check_power_loss(step);
        scene.check_cold(&scene.fs.power_loss(|| true));
        scene.check_warm();
        killed
    });
}

#[test]
fn a_successor_killed_at_every_step_leaves_the_log_to_the_next() {
    at_every_step(|step| {
        let scene = Scene::new();
        let mut first = scene.take_over().unwrap();
        scene.commit(0, 50);
        first.drain(scene.database, true).unwrap();
        scene.commit(0, 60);
        first.drain(scene.database, false).unwrap();
        scene.fs.at_step(step, || resume_unwind(Box::new(Killed)));
        let killed = is_killed(|| scene.live());
        scene.fs.clear_hook();
        assert!(matches!(first.drain(scene.database, true), Err(WalError::Deposed { .. })) || step < 2);
        scene.check_power_loss(step);
        scene.check_warm();
        killed
    });
}

#[test]
fn overtaken_at_every_step_the_old_writer_does_no_harm() {
    at_every_step(|step| {
        let scene = Scene::new();
        let successor = Arc::new(Mutex::new(None));
        scene.fs.at_step(step, {
            let (scene, successor) = (scene.clone(), Arc::clone(&successor));
            move || {
                let mut writer = scene.take_over().unwrap();
                scene.commit(2, 70);
                writer.drain(scene.database, true).unwrap();
                *successor.lock().unwrap() = Some(writer);
            }
        });
        let result = scene.live();
        let overtaken = !scene.fs.clear_hook();
        let Some(mut writer) = successor.lock().unwrap().take() else {
            result.unwrap();
            return overtaken;
        };
        assert!(matches!(result, Err(WalError::Deposed { .. }) | Ok(())), "{result:?}");
        scene.check_power_loss(step);
        for _ in 0..4 {
            scene.commit(2, 300);
            scene.commit(1, 300);
            match writer.drain(scene.database, true) {
                // The old writer was only about to take office, and did so after the successor.
                Err(WalError::Deposed { .. }) if step < 2 => {
                    assert_eq!(scene.database.control.stats().takeover_count, 2);
                    scene.check_warm();
                    return true;
                }
                drained => drained.unwrap(),
            };
        }
        scene.check_power_loss(step + 1000);
        assert_eq!(scene.scan(&scene.fs).0, scene.records());
        scene.check_warm();
        true
    });
}

#[test]
fn one_or_two_failed_syncs_cost_a_segment_and_no_record() {
    for failures in 1..=2 {
        at_every_step(|step| {
            let scene = Scene::new();
            scene.fs.at_step(step, {
                let fs = scene.fs.clone();
                move || fs.fail_syncs(failures)
            });
            let mut result = scene.live();
            let failed = !scene.fs.clear_hook();
            while let Err(WalError::Io { operation: "sync" | "write", .. }) = result {
                // Taking office, and ending it, is not repeated by the writer itself.
                scene.check_power_loss(step);
                result = scene.live();
            }
            result.unwrap();
            scene.fs.fail_syncs(0);
            assert!(!scene.database.control.is_read_only());
            scene.check_power_loss(step);
            scene.check_warm();
            failed
        });
    }
}

#[test]
fn three_failed_syncs_make_the_log_read_only_until_it_is_told_otherwise() {
    let scene = Scene::new();
    let mut writer = scene.take_over().unwrap();
    scene.commit(0, 20);
    writer.drain(scene.database, true).unwrap();
    scene.commit(1, 20);
    scene.fs.fail_syncs(3);
    assert!(matches!(writer.drain(scene.database, true), Err(WalError::Io { operation: "sync", .. })));
    let control = &scene.database.control;
    assert!(control.is_read_only() && control.durable_ts() == 1);
    let wait = |c| control.wait_durable(c, std::time::Duration::ZERO, |_, _, _| ());
    assert_eq!(wait(1), super::super::Durability::Durable);
    assert_eq!(wait(2), super::super::Durability::ReadOnly);
    assert!(matches!(writer.drain(scene.database, true), Err(WalError::ReadOnly)));
    scene.check_power_loss(1);
    control.forget_faults();
    assert_eq!(wait(2), super::super::Durability::TimedOut);
    scene.check_warm();
}

#[test]
fn a_failed_take_over_is_shown_to_who_waits() {
    let scene = Scene::new();
    drop(scene.take_over().unwrap());
    scene.commit(0, 20);
    scene.fs.fail_writes_after(Some(0));
    assert!(matches!(scene.take_over(), Err(WalError::Io { .. })));
    assert_ne!(scene.database.control.fault(), 0);
    scene.fs.fail_writes_after(None);
    scene.take_over().unwrap().drain(scene.database, true).unwrap();
    assert_eq!(scene.database.control.fault(), 0);
}

#[test]
fn a_full_disk_is_an_error_and_the_log_goes_on_when_there_is_room() {
    for writes in 0..30 {
        let scene = Scene::new();
        let mut writer = scene.take_over().unwrap();
        scene.fs.fail_writes_after(Some(writes));
        for round in 0..8 {
            scene.commit(round % 2, 250);
            scene.commit(2, 9);
            if let Err(error) = writer.drain(scene.database, round % 2 == 0) {
                assert!(matches!(error, WalError::Io { .. }) && error.is_retryable());
                assert_ne!(scene.database.control.fault(), 0);
                scene.check_power_loss(writes);
                scene.fs.fail_writes_after(None);
                writer.drain(scene.database, true).unwrap();
                assert_eq!(scene.database.control.fault(), 0);
            }
        }
        scene.fs.fail_writes_after(None);
        writer.drain(scene.database, true).unwrap();
        assert_eq!(scene.scan(&scene.fs).0, scene.records());
        drop(writer);
        scene.check_warm();
    }
}

#[test]
fn a_segment_whose_sync_failed_is_not_written_again_when_there_is_no_room_for_the_next() {
    for writes in 0..12 {
        let scene = Scene::new();
        let mut writer = scene.take_over().unwrap();
        scene.commit(0, 20);
        writer.drain(scene.database, true).unwrap();
        scene.fs.fail_syncs(1);
        scene.fs.fail_writes_after(Some(writes));
        for round in 0..6 {
            scene.commit(1, 30);
            if writer.drain(scene.database, true).is_err() {
                scene.check_power_loss(writes);
                // Still no room, and more has been committed meanwhile.
                scene.commit(0, 40);
                assert!(writer.drain(scene.database, true).is_err());
                scene.check_power_loss(writes + round);
                scene.fs.fail_writes_after(None);
                writer.drain(scene.database, true).unwrap();
            }
            scene.check_power_loss(writes + 100 * round);
        }
        scene.fs.fail_writes_after(None);
        drop(writer);
        scene.check_warm();
    }
}

#[test]
fn a_disk_that_is_found_full_by_a_sync_does_not_make_the_log_read_only() {
    let scene = Scene::new();
    let mut writer = scene.take_over().unwrap();
    scene.commit(0, 20);
    scene.fs.fill_at_syncs(5);
    for _ in 0..5 {
        let error = writer.drain(scene.database, true).unwrap_err();
        assert!(error.is_disk_full() && error.is_retryable(), "{error}");
        assert!(!scene.database.control.is_read_only());
        assert_eq!(scene.database.control.fault(), libc::ENOSPC);
        scene.check_power_loss(1);
        scene.commit(1, 10);
    }
    writer.drain(scene.database, true).unwrap();
    assert_eq!(scene.database.control.fault(), 0);
    scene.check_power_loss(2);
    drop(writer);
    scene.check_warm();
}

#[test]
fn damage_that_a_take_over_meets_is_refused_or_found_later() {
    let (mut refused, mut found_later, mut harmless) = (0, 0, 0);
    for (segment, places) in [(1, 0..128), (1, 4096..5400), (2, 0..128), (2, 4096..5400)] {
        for place in places.step_by(3) {
            let scene = Scene::new();
            let mut writer = scene.take_over().unwrap();
            while writer.position().segment < 3 {
                scene.commit(0, 100);
                writer.drain(scene.database, true).unwrap();
                if writer.position().segment == 2 && writer.position().offset > 5000 {
                    break;
                }
            }
            if place % 2 == 0 {
                // Not synced: this may be lost, for it is still in the rings.
                scene.commit(1, 100);
                writer.drain(scene.database, false).unwrap();
            }
            drop(writer);
            let path = segment_path(Path::new(DIR), segment);
            let bytes = scene.fs.bytes(&path);
            let Some(byte) = bytes.get(place) else { continue };
            let mut damaged = bytes.clone();
            damaged[place] = byte ^ 1 << (place % 8);
            scene.fs.set_bytes(&path, damaged);
            let damage = |error: &WalError| !matches!(error, WalError::Io { .. } | WalError::Deposed { .. });
            match scene.take_over() {
                Err(error) => {
                    assert!(damage(&error), "{segment}, {place}: {error}");
                    assert_ne!(scene.database.control.fault(), 0, "whoever waits is told");
                    // Nothing was made worse: with the file as it was all goes on.
                    scene.fs.set_bytes(&path, bytes);
                    scene.check_warm();
                    refused += 1;
                }
                Ok(writer) => {
                    writer.close(scene.database).unwrap();
                    match scan(&scene.fs, 0) {
                        Ok((found, _)) => {
                            assert_eq!(found, scene.records(), "{segment}, {place}");
                            harmless += 1;
                        }
                        Err(error) => {
                            assert!(damage(&error), "{segment}, {place}: {error}");
                            found_later += 1;
                        }
                    }
                }
            }
        }
    }
    // In the last segment it is met, in those before by a cold start; in what is not durable it harms nobody.
    assert!(refused > 200 && found_later > 200 && harmless > 20, "{refused}, {found_later}, {harmless}");
}

/// Random histories: commits, aborts, drains, take-overs, kills and failures, power loss at any point.
#[test]
fn random_histories_recover_to_a_prefix_with_every_acknowledged_commit() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let scene = Scene::new();
        let mut writer = None;
        for _ in 0..60 {
            let kill = random.below(5) == 0;
            if kill {
                let steps = random.below(12);
                scene.fs.at_step(steps, || resume_unwind(Box::new(Killed)));
            } else if random.below(8) == 0 {
                scene.fs.fail_syncs(1);
            }
            let killed = is_killed(|| {
                if writer.is_none() || random.below(9) == 0 {
                    match scene.take_over() {
                        Ok(new) => writer = Some(new),
                        Err(WalError::Io { .. }) => return Ok(()),
                        Err(error) => return Err(error),
                    }
                }
                for _ in 0..random.below(4) {
                    let session = usize::try_from(random.below(3)).unwrap();
                    if scene.database.ring(session).used_bytes() < 3000 {
                        scene.commit(session, usize::try_from(random.below(200)).unwrap());
                    }
                }
                if random.below(6) == 0 {
                    // What could not be removed is by the next.
                    let _ = scene.forget();
                }
                match writer.as_mut().map(|writer| writer.drain(scene.database, random.below(3) > 0)) {
                    // By a take-over that was killed halfway.
                    Some(Err(WalError::Deposed { .. })) => writer = None,
                    Some(Err(error)) => return Err(error),
                    None | Some(Ok(_)) => {}
                }
                Ok(())
            });
            scene.fs.clear_hook();
            scene.fs.fail_syncs(0);
            if killed {
                writer = None;
            }
            if random.below(4) == 0 {
                let after = scene.fs.power_loss(|| random.below(2) == 0);
                scene.check_cold(&after);
            }
        }
        drop(writer);
        scene.check_warm();
    }
}
