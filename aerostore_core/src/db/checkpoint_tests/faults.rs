//! Checkpoints when something goes wrong: with the disk, with who takes them, with what was never committed.

use super::*;
use crate::sys::Call;
use std::time::Instant;

/// A transaction that takes a timestamp and does not commit.
fn commit_in_vain(scene: &Scene, value: i64) {
    let (table, options) = (scene.table(), TxnOptions::default());
    let mut txn = scene.db().begin(options).unwrap();
    let read = |row: crate::row::RowView<'_>| row.get(1).as_i64();
    txn.get(&table, Value::Str("row 1"), read).unwrap();
    txn.set(&table, Value::Str("row 2"), &[(1, Value::I64(-2))]).unwrap();
    scene.put(1..2, |_| value);
    assert!(txn.commit().is_err());
}

/// Nobody logs anything at a timestamp that was taken in vain, so no file of the log reaches it.
#[test]
fn a_log_may_end_before_the_last_timestamp_that_was_taken() {
    let mut scene = Scene::new("in-vain");
    scene.put(0..10, |name| name);
    scene.db().checkpoint().unwrap();
    scene.put(0..10, |name| name + 1);
    commit_in_vain(&scene, -1);
    scene.db().checkpoint().unwrap();
    let before = scene.rows();
    scene.reopen();
    assert_eq!(scene.rows(), before);
    commit_in_vain(&scene, -2);
    scene.put(3..4, |_| -3);
    let before = scene.rows();
    scene.lose();
    let newest = scene.files("checkpoints").pop().unwrap();
    flip(&newest, 100);
    scene.db = Some(scene.open().unwrap());
    assert_eq!(scene.db().boot().checkpoint, Some(1));
    assert_eq!(scene.rows(), before);
}

/// It may have its name, or not: whichever, its rows stay, and are not missed by who counts it later.
#[test]
fn a_checkpoint_whose_name_may_not_survive_keeps_its_rows() {
    for call in [Call::SyncDir, Call::Rename] {
        for after in 0..4 {
            let disk = MemoryFileSystem::default();
            let mut scene = Scene::on(&format!("name-{call:?}-{after}"), Some(disk.clone()));
            scene.put(0..10, |name| name);
            scene.db().flush().unwrap();
            disk.fail(call, after, 1);
            let first = scene.db().checkpoint();
            disk.heal();
            scene.put_and_checkpoint(1);
            let before = scene.rows();
            let newest = scene.db().status().unwrap().checkpoint.number;
            scene.lose();
            let rows = crate::checkpoint::rows_path(&scene.dir.join("checkpoints"), newest);
            let mut bytes = disk.bytes(&rows);
            bytes[100] ^= 1;
            disk.set_bytes(&rows, bytes);
            scene.db = Some(scene.open().unwrap());
            assert_eq!(scene.rows(), before, "{call:?} {after}: {first:?}");
        }
    }
}

#[test]
fn a_checkpoint_that_is_known_to_be_damaged_does_not_count_as_one_of_two() {
    let mut scene = Scene::new("known");
    scene.put_and_checkpoint(2);
    scene.lose();
    let newest = scene.files("checkpoints").pop().unwrap();
    flip(&newest, 5000);
    scene.db = Some(scene.open().unwrap());
    assert_eq!(scene.db().boot().checkpoint, Some(1));
    scene.put_and_checkpoint(1);
    let before = scene.rows();
    scene.lose();
    let newest = scene.files("checkpoints").pop().unwrap();
    flip(&newest, 5000);
    scene.db = Some(scene.open().unwrap());
    assert_eq!(scene.db().boot().checkpoint, Some(1));
    assert_eq!(scene.rows(), before);
}

#[test]
fn a_table_that_could_not_be_made_is_not_there_after_a_cold_start() {
    let disk = MemoryFileSystem::default();
    let mut scene = Scene::on("unmade", Some(disk.clone()));
    let other = |name: &str| {
        let column = crate::row::Column::new("number", crate::row::ColumnType::I64);
        Schema::builder(name).column(column).key("number").build().unwrap()
    };
    disk.fail(Call::Write, 0, u64::MAX);
    scene.put(0..10, |name| -name);
    scene.db().flush().unwrap_err();
    // The log is known to fail: who waits for the disk is refused before it takes effect.
    scene.db().set_config("synchronous_commit", "on").unwrap();
    let name = "Unmade";
    scene.db().create_table(&cells(name)).unwrap_err();
    let begun = Instant::now();
    disk.heal();
    while scene.db().flush().is_err() {
        assert!(begun.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    scene.db().checkpoint().unwrap();
    scene.reopen();
    assert!(scene.db().table(name).unwrap().is_none(), "it was never made");
    scene.db().create_table(&other(name)).unwrap();
    assert!(scene.db().verify().unwrap().is_clean());
}

#[test]
fn what_cannot_be_removed_is_said_and_no_failure() {
    let disk = MemoryFileSystem::default();
    let scene = Scene::on("remove", Some(disk.clone()));
    scene.put_and_checkpoint(2);
    disk.fail(Call::Remove, 0, u64::MAX);
    scene.put(0..10, |name| -name);
    let taken = scene.db().checkpoint().unwrap();
    assert!(taken.left_behind.is_some(), "{taken:?}");
    disk.heal();
    let stats = scene.db().status().unwrap().checkpoint;
    assert_eq!((stats.number, stats.failures), (taken.number, 0));
    let next = scene.db().checkpoint().unwrap();
    assert!(next.left_behind.is_none(), "{next:?}");
    let checkpoints = disk.paths().into_iter().filter(|path| path.starts_with(scene.dir.join("checkpoints")));
    assert_eq!(checkpoints.count(), 4, "two of two files each");
}

#[test]
fn a_panic_of_who_is_told_keeps_nobody_from_taking_the_next() {
    let scene = Scene::new("panic");
    scene.put(0..10, |name| name);
    let panics = || scene.db().checkpoint_with(&mut |_| panic!("told enough"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).unwrap_err();
    assert_eq!(scene.db().status().unwrap().checkpoint_pid, None, "the role is free");
    scene.db().set_config("checkpoint_interval_secs", "1").unwrap();
    let begun = Instant::now();
    while scene.db().status().unwrap().checkpoint.taken == 0 {
        assert!(begun.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_row_count_below_nothing_is_no_obstacle() {
    let scene = Scene::new("count");
    scene.db().create_table(&cells("Other")).unwrap();
    scene.put(0..10, |name| name);
    let session = scene.db().0.session().unwrap();
    session.add_rows(&scene.table().0, -20).unwrap();
    assert_eq!(scene.db().checkpoint().unwrap().rows, 10);
    session.add_rows(&scene.table().0, 20).unwrap();
    scene.db().0.pool().put(session);
}

#[test]
fn one_that_cannot_fit_takes_nothing_of_the_disk() {
    let disk = MemoryFileSystem::default();
    let scene = Scene::on("room", Some(disk.clone()));
    scene.put(0..2000, |name| name);
    let bytes = scene.db().checkpoint().unwrap().bytes;
    let before = disk.paths();
    // Whether it began with the rows before it found out.
    let has_begun = |free| {
        disk.set_free_bytes(Some(free));
        let mut has_begun = false;
        let error = scene.db().checkpoint_with(&mut |progress| {
            has_begun |= progress.rows_expected > 0;
            ControlFlow::Continue(())
        });
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Space, "{error}");
        assert!(error.to_string().contains(&format!("{free} are free")), "{error}");
        assert_eq!(disk.paths(), before);
        has_begun
    };
    assert!(!has_begun(bytes), "not all that is free is for it");
    // What is left of compressed rows nobody can know before.
    scene.db().set_config("checkpoint_compression", "on").unwrap();
    assert!(has_begun(1000));
    scene.put(0..10, |name| -name);
    scene.db().flush().unwrap();
    // A small one is taken where little is free.
    disk.set_free_bytes(Some(bytes));
    scene.db().checkpoint().unwrap();
}

/// Room for rows as large as the first ones is reserved ahead; the others are small.
fn first_rows_are_large(name: &str, disk: &MemoryFileSystem) -> Scene {
    let scene = Scene::on(name, Some(disk.clone()));
    let column = |name, kind| Column::new(name, kind);
    let schema = Schema::builder("Text")
        .columns([column("number", ColumnType::I64), column("text", ColumnType::String(1 << 10))])
        .key("number");
    let table = scene.db().create_table(&schema.build().unwrap()).unwrap();
    let [large, small] = ["x".repeat(1 << 10), "y".to_owned()];
    let mut txn = scene.db().begin(TxnOptions::default()).unwrap();
    for number in 0..4000 {
        let text = if number < 2000 { &large } else { &small };
        txn.set(&table, Value::I64(number), &[(1, Value::Str(text))]).unwrap();
    }
    txn.commit().unwrap();
    scene.db().flush().unwrap();
    scene
}

#[test]
fn rows_are_as_long_as_their_checkpoint_says_whatever_was_reserved_for_them() {
    let disk = MemoryFileSystem::default();
    let mut scene = first_rows_are_large("reserved", &disk);
    let take = || {
        let taken = scene.db().checkpoint().unwrap();
        let dir = scene.dir.join("checkpoints");
        let rows = crate::checkpoint::rows_path(&dir, taken.number);
        let manifest = crate::checkpoint::manifest_path(&dir, taken.number);
        assert_eq!((disk.bytes(&rows).len() + disk.bytes(&manifest).len()) as u64, taken.bytes);
    };
    take();
    disk.fail(Call::Preallocate, 0, u64::MAX);
    take();
    disk.heal();
    disk.fail(Call::SetLen, 0, u64::MAX);
    scene.db().checkpoint().expect_err("what was reserved could not be cut off");
    disk.heal();
    take();
    scene.lose();
    scene.db = Some(scene.open().unwrap());
    assert_eq!(scene.db().boot().loaded, 4000);
}

#[test]
fn a_checkpoint_counts_though_reserving_failed_half_way() {
    let disk = MemoryFileSystem::default();
    let mut scene = first_rows_are_large("half-reserved", &disk);
    let rows = crate::checkpoint::rows_path(&scene.dir.join("checkpoints"), 1);
    disk.fail(Call::Preallocate, 0, u64::MAX);
    let taken = scene.db().checkpoint_with(&mut |progress| {
        let is_given_back = progress.bytes == 0 || disk.bytes(&rows).len() as u64 == progress.bytes;
        if is_given_back { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    taken.expect("what was reserved in part is given back before the next chunk");
    assert!(disk.heal(), "reserving was tried");
    scene.lose();
    scene.db = Some(scene.open().unwrap());
    assert_eq!((scene.db().boot().checkpoint, scene.db().boot().loaded), (Some(1), 4000));
}

/// Others fill the disk once the first chunk is written.
#[test]
fn room_is_looked_for_on_the_way_where_nothing_can_be_reserved() {
    let disk = MemoryFileSystem::default();
    let scene = first_rows_are_large("unreserved", &disk);
    let take = || {
        disk.set_free_bytes(None);
        scene.db().checkpoint_with(&mut |progress| {
            disk.set_free_bytes((progress.bytes > 0).then_some(1000));
            ControlFlow::Continue(())
        })
    };
    take().expect("what is reserved is there, whatever others write");
    disk.reserve_nothing();
    assert_eq!(take().unwrap_err().kind(), ErrorKind::Space);
}
