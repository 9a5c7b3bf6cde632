//! When the log is synced, what the settings change of that, and its figures.

use crate::commit;
use crate::common::{Place, flight, flight_schema};
use aerostore_core::db::{Database, Status, Table, TxnOptions};
use std::time::Duration;

/// A database whose log is synced when something asks for it, but hardly ever because time has passed.
fn patient(place: &Place, every_commits: &str) -> (Database, Table) {
    let db = place.builder().ring_bytes(4096).open().unwrap();
    let table = db.create_table(&flight_schema()).unwrap();
    db.set_config("wal_writer_delay_ms", "10000").unwrap();
    db.set_config("wal_sync_every_commits", every_commits).unwrap();
    commit(&db, &table, "first", false).unwrap();
    db.flush().unwrap();
    (db, table)
}

#[test]
fn commits_that_wait_for_the_disk_wait_for_each_other_if_it_is_the_policy() {
    let place = Place::with_timeout("policy", 60);
    let (db, table) = patient(&place, "3");
    for round in 0..3 {
        let before = db.status().unwrap().log;
        let commit = |number: u64| commit(&db, &table, &format!("{round}-{number}"), true).unwrap();
        let commit = &commit;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=2).map(|number| scope.spawn(move || commit(number))).collect();
            // Both are written, and neither is synced: none of the two has returned.
            while db.status().unwrap().log.record_count < before.record_count + 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let status = db.status().unwrap().log;
            assert_eq!((status.durable_ts, status.sync_count), (before.durable_ts, before.sync_count));
            assert!(threads.iter().all(|thread| !thread.is_finished()));
            let last = commit(3);
            let durable_ts = db.status().unwrap().log.durable_ts;
            assert!(threads.into_iter().all(|thread| thread.join().unwrap() <= durable_ts));
            assert!(last <= durable_ts);
        });
        assert_eq!(db.status().unwrap().log.sync_count, before.sync_count + 1);
    }
    db.close().unwrap();
}

#[test]
fn who_asks_for_the_disk_or_finds_no_room_in_the_log_waits_for_no_policy() {
    // With the policy's delay each of these would take ten seconds, and the watchdog ends the test.
    let place = Place::with_timeout("hurry", 60);
    let (db, table) = patient(&place, "0");
    for round in 0..10 {
        let last = commit(&db, &table, &format!("flushed {round}"), false).unwrap();
        db.flush().unwrap();
        assert!(db.status().unwrap().log.durable_ts >= last);
    }
    let rings = 10;
    let entry_bytes = 64;
    for number in 0..rings * 4096 / entry_bytes {
        commit(&db, &table, &format!("in a small ring {number}"), false).unwrap();
    }
    db.close().unwrap();
}

#[test]
fn a_setting_of_the_log_takes_effect_while_it_is_written() {
    let place = Place::with_timeout("setting", 60);
    let (db, table) = patient(&place, "0");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| commit(&db, &table, "waits", true).unwrap());
        std::thread::sleep(Duration::from_millis(30));
        assert!(!waits.is_finished(), "by time only, and that is not over");
        db.set_config("wal_sync_every_commits", "1").unwrap();
        // The one that waits asks again every now and then.
        waits.join().unwrap();
    });
    db.close().unwrap();
}

#[test]
fn figures_tell_what_a_session_has_logged_and_what_is_not_on_disk() {
    let place = Place::with_timeout("figures", 60);
    let (db, table) = patient(&place, "0");
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.upsert(&table, &flight(&table, "idle", 1)).unwrap();
    let before = db.status().unwrap();
    assert!(before.slots.iter().all(|slot| slot.ring.pending_bytes == 0));
    for number in 0..5 {
        commit(&db, &table, &format!("async {number}"), false).unwrap();
    }
    let logged = |status: &Status| status.slots.iter().map(|slot| slot.ring.record_count).sum::<u64>();
    let pending = |status: &Status| status.slots.iter().map(|slot| slot.ring.pending_bytes).sum::<u64>();
    let status = db.status().unwrap();
    assert_eq!(logged(&status) - logged(&before), 5);
    assert!(pending(&status) >= 5 * 64, "{}", pending(&status));
    let session = status.slots.iter().find(|slot| slot.ring.pending_bytes > 0).unwrap();
    assert_eq!(session.ring.capacity_bytes, 4096);
    assert!(session.ring.redo_bytes >= 5 * 20 && session.ring.used_bytes >= session.ring.pending_bytes);
    db.flush().unwrap();
    let status = db.status().unwrap();
    assert_eq!(pending(&status), 0);
    let [office] = &*status.log.offices else { panic!("one log writer: {:?}", status.log.offices) };
    assert_eq!((office.pid, Some(office.pid)), (std::process::id(), status.log_writer_pid));
    assert_eq!((office.record_count, office.sync_count), (status.log.record_count, status.log.sync_count));
    txn.rollback();
    db.close().unwrap();
}
