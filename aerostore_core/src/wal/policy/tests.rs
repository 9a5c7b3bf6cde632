use super::*;
use crate::sys::MemoryFileSystem;
use crate::wal::LogWriter;
use crate::wal::harness::{TestDatabase, scan};

const MS: u64 = 1_000_000;

/// A log on a disk in memory, with the number of its syncs.
struct Scene {
    fs: MemoryFileSystem,
    database: TestDatabase,
}

impl Scene {
    fn new() -> Self {
        Self { fs: MemoryFileSystem::default(), database: TestDatabase::new(2, 4096) }
    }

    fn commit(&self) -> u64 {
        self.database.commit(0, b"redo").unwrap()
    }

    fn syncs(&self) -> u64 {
        self.database.control.stats().sync_count
    }

    fn pass(&self, writer: &mut LogWriter<'_>, policy: &SyncPolicy) -> u64 {
        writer.drain_by(&self.database, policy).unwrap().durable_ts
    }
}

fn after(delay_ms: u64) -> SyncPolicy {
    SyncPolicy { every_commits: 0, delay: Duration::from_millis(delay_ms), bytes: u64::MAX }
}

#[test]
fn each_reason_to_sync_is_enough_and_none_is_not() {
    let mut clean = Clean::default();
    clean.note(100 * MS);
    let unsynced = Unsynced { records: 5, bytes: 500 };
    let policy = SyncPolicy { every_commits: 6, delay: Duration::from_millis(10), bytes: 501 };
    let due = |policy: SyncPolicy, now_ns| clean.is_due(&policy, unsynced, now_ns);
    assert!(!due(policy, 110 * MS - 1));
    assert!(due(policy, 110 * MS), "the delay is over");
    assert!(due(SyncPolicy { every_commits: 5, ..policy }, 100 * MS), "so many commits");
    assert!(due(SyncPolicy { every_commits: 1, ..policy }, 100 * MS), "every batch");
    assert!(due(SyncPolicy { bytes: 500, ..policy }, 100 * MS), "so many bytes");
    assert!(!due(SyncPolicy { every_commits: 0, ..policy }, 109 * MS), "by time only");
    assert!(!due(SyncPolicy::ON_DEMAND, u64::MAX) && due(SyncPolicy::EVERY_BATCH, 0));
    assert_eq!(clean.left(&policy, 103 * MS), Duration::from_millis(7));
    assert_eq!(clean.left(&policy, 500 * MS), Duration::ZERO);
    // A clock that another processor read earlier.
    assert_eq!(clean.left(&policy, 99 * MS), policy.delay);
}

#[test]
fn commits_wait_until_there_are_so_many_of_them() {
    let scene = Scene::new();
    let mut writer = scene.database.writer(&scene.fs, 1 << 20);
    let policy = SyncPolicy { every_commits: 3, ..SyncPolicy::ON_DEMAND };
    scene.commit();
    assert_eq!(scene.pass(&mut writer, &policy), 0);
    // Of no account: it did not take effect.
    let aborted = scene.database.prepare(1, b"aborted").unwrap();
    scene.database.decide(aborted, false);
    scene.commit();
    assert_eq!((scene.pass(&mut writer, &policy), scene.syncs()), (0, 0));
    assert_eq!(scan(&scene.fs, 0).unwrap().0.len(), 2, "what is not synced is written");
    let third = scene.commit();
    assert_eq!((scene.pass(&mut writer, &policy), scene.syncs()), (third, 1));
    // Counted anew.
    scene.commit();
    assert_eq!((scene.pass(&mut writer, &policy), scene.syncs()), (third, 1));
}

#[test]
fn who_cannot_wait_gets_the_next_pass_to_sync_and_no_other() {
    let scene = Scene::new();
    let mut writer = scene.database.writer(&scene.fs, 1 << 20);
    scene.commit();
    scene.pass(&mut writer, &SyncPolicy::ON_DEMAND);
    scene.database.control.hurry(|_| ());
    let hurried = scene.commit();
    assert_eq!(scene.pass(&mut writer, &SyncPolicy::ON_DEMAND), hurried);
    scene.commit();
    assert_eq!(scene.pass(&mut writer, &SyncPolicy::ON_DEMAND), hurried);
}

#[test]
fn a_new_writer_syncs_at_once_and_then_when_the_delay_is_over() {
    let scene = Scene::new();
    let mut writer = scene.database.writer(&scene.fs, 1 << 20);
    let long = after(3_600_000);
    let first = scene.commit();
    assert_eq!(scene.pass(&mut writer, &long), first, "how long it has waited already, nobody knows");
    scene.commit();
    let outcome = writer.drain_by(&scene.database, &long).unwrap();
    assert_eq!(outcome.durable_ts, first);
    let left = outcome.sync_in.unwrap();
    assert!(left <= long.delay && left > long.delay / 2, "{left:?}");
    std::thread::sleep(Duration::from_millis(2));
    let outcome = writer.drain_by(&scene.database, &after(2)).unwrap();
    assert_eq!((outcome.durable_ts, outcome.sync_in), (first + 1, None));
    assert_eq!(writer.drain_by(&scene.database, &long).unwrap().sync_in, None, "nothing waits");
}

#[test]
fn what_a_roll_has_synced_does_not_count_any_more() {
    let scene = Scene::new();
    let mut writer = scene.database.writer(&scene.fs, 5000);
    let policy = SyncPolicy { every_commits: 4, ..SyncPolicy::ON_DEMAND };
    for _ in 0..3 {
        scene.database.commit(0, &[7; 200]).unwrap();
        assert_eq!(scene.pass(&mut writer, &policy), 0);
    }
    // The fourth goes to another segment: three are synced by that, and one waits.
    scene.database.commit(0, &[7; 200]).unwrap();
    assert_eq!((scene.pass(&mut writer, &policy), writer.position().segment), (3, 2));
}

#[test]
fn a_failed_sync_is_made_up_for_in_the_same_pass() {
    let scene = Scene::new();
    let mut writer = scene.database.writer(&scene.fs, 1 << 20);
    let policy = SyncPolicy { every_commits: 2, ..SyncPolicy::ON_DEMAND };
    scene.commit();
    scene.pass(&mut writer, &policy);
    let last = scene.commit();
    scene.fs.fail_syncs(1);
    assert_eq!(scene.pass(&mut writer, &policy), last);
    // The same by a wish, of which there was only one.
    let last = scene.commit();
    scene.database.control.hurry(|_| ());
    scene.fs.fail_syncs(1);
    assert_eq!(scene.pass(&mut writer, &policy), last);
    assert_eq!(scan(&scene.fs.power_loss(|| false), 0).unwrap().0.len(), 3);
}
