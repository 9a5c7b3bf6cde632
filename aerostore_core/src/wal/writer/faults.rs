//! The log writer killed, overtaken and failed at every operation on a file, with and without power loss after it.

use super::*;
use crate::sys::MemoryFileSystem;
use crate::wal::harness::{Records, TestDatabase, scan};
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
}

impl Scene {
    fn new() -> Self {
        let database = Box::leak(Box::new(TestDatabase::new(3, 4096)));
        Self { fs: MemoryFileSystem::default(), database, committed: Arc::default() }
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

    /// A writer's life: taking office, drains with and without sync, rolls, an aborted transaction, the clean end.
    fn live(&self) -> Result<(), WalError> {
        let mut writer = self.take_over()?;
        for round in 0..6 {
            self.commit(round % 2, 100 + round * 40);
            self.commit(0, 10);
            let aborted = self.database.prepare(1, b"aborted").unwrap();
            self.database.decide(aborted, false);
            writer.drain(self.database, round % 3 != 0)?;
        }
        writer.close(self.database)
    }

    fn records(&self) -> Records {
        self.committed.lock().unwrap().clone()
    }

    /// A successor in the same shared memory finds everything.
    fn check_warm(&self) {
        let writer = self.take_over().unwrap();
        self.commit(2, 30);
        writer.close(self.database).unwrap();
        let (found, report) = scan(&self.fs, 0).unwrap();
        assert_eq!(found, self.records());
        assert!(report.closed && report.torn.is_none());
        assert!((0..3).all(|session| self.database.ring(session).is_drained(report.last_ts).unwrap()));
    }

    /// A cold start from `fs` finds a prefix with everything that was durable, and goes on from there.
    fn check_cold(&self, fs: &MemoryFileSystem) {
        let all = self.records();
        let (mut found, report) = scan(fs, 0).unwrap();
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
        assert_eq!(scan(fs, 0).unwrap().0, found);
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

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
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
        assert_eq!(scan(&scene.fs, 0).unwrap().0, scene.records());
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
    control.clear_read_only();
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
        assert_eq!(scan(&scene.fs, 0).unwrap().0, scene.records());
        drop(writer);
        scene.check_warm();
    }
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
