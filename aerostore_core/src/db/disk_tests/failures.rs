//! Every call of the disk fails once, or from then on, in the life of a database.

use super::{
    Commit, History, Log, Place, Random, added_to, alter, check_goes_on, check_rows, commit, rows_of, schema,
};
use crate::db::{Database, Error, ErrorKind};
use crate::sys::{Call, MemoryFileSystem};

/// Is it an error that a failing disk may cause?
fn is_of_disk(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Space | ErrorKind::ReadOnly)
}

/// Commits, and finds out what became of it when the disk fails: what has taken effect was committed last, as nobody else commits.
fn try_commit(db: &Database, history: &History, value: i64, synchronous: bool) {
    let changes = vec![(100, Some(value)), (value % 7, Some(value)), (value % 5, None)];
    if let Err(error) = commit(db, history, changes.clone(), synchronous) {
        assert!(is_of_disk(&error), "{error}");
        let (rows, session) = rows_of(db.0.session().unwrap());
        db.0.pool().put(session);
        if rows.get(&100).is_some_and(|row| row[0] == value) {
            let added = added_to(&db.table("Cell").unwrap().unwrap().0);
            history.commits().insert(db.0.store.clock().now(), Commit { changes, added });
        }
    }
}

/// A short life of a database, whatever the disk does.
fn live(place: &Place, disk: &MemoryFileSystem, history: &History) -> [u8; 16] {
    let db = place.open(disk);
    if let Err(error) = db.create_table(&schema()) {
        assert!(is_of_disk(&error), "{error}");
    }
    if db.table("Cell").unwrap().is_some() {
        for number in 0..12 {
            try_commit(&db, history, 1000 + number * 37, number % 3 > 0);
            if (number == 5 || number == 8)
                && let Err(error) = alter(&db)
            {
                assert!(is_of_disk(&error), "{error}");
            }
            if number == 7
                && let Err(error) = db.checkpoint()
            {
                assert!(is_of_disk(&error), "{error}");
            }
        }
    }
    let uuid = db.0.dir.uuid();
    match db.close() {
        Ok(()) => history.tell(history.commits().last_key_value().map_or(0, |last| *last.0)),
        Err(error) => assert!(is_of_disk(&error), "{error}"),
    }
    uuid
}

/// The life of a database in which calls of a kind fail; whether one did.
fn lives_with(call: Call, after: u64, count: u64) -> bool {
    let scene = format!("fail-{call:?}-{after}-{count}");
    let (place, disk, history) = (Place::new(&scene), MemoryFileSystem::default(), History::default());
    disk.fail(call, after, count);
    let uuid = live(&place, &disk, &history);
    let has_failed = disk.heal();
    let told = history.told();
    let mut random = Random(after);
    let disks = [0, 1, 2].map(|variant| disk.power_loss(|| variant == 0 || random.below(2) == 0));
    for left in &disks {
        let log = Log::read(&place, uuid, left).unwrap();
        assert!(log.last_ts >= told, "{scene}: {told} was told of, the log ends at {}", log.last_ts);
        check_rows(&scene, &place, uuid, left, &history);
    }
    // The disk is well again: the mapping has everything, and it goes to the disk now.
    let db = place.open(&disk);
    db.create_table(&schema()).unwrap();
    try_commit(&db, &history, 5000, true);
    assert_eq!(history.told(), *history.commits().last_key_value().unwrap().0, "{scene}: it does not go on");
    let left = disk.power_loss(|| false);
    db.close().unwrap();
    check_rows(&scene, &place, uuid, &left, &history);
    if after.is_multiple_of(4) && count > 1 {
        check_goes_on(&place, &disks[2], &history, told);
    }
    has_failed
}

#[test]
fn a_call_of_the_disk_that_fails_costs_nothing_that_was_acknowledged() {
    let is_long = std::env::var_os("AEROSTORE_CRASH_POINTS").is_some();
    let mut lives = 0;
    for call in Call::ALL {
        for count in [1, 4, u64::MAX] {
            let mut after = 0;
            while lives_with(call, after, count) {
                lives += 1;
                after += if is_long { 1 } else { 5 };
            }
            if after == 0 {
                // There is no such call in this life.
                break;
            }
        }
    }
    println!("failing calls: {lives} lives");
    assert!(lives > 10, "{lives}");
}
