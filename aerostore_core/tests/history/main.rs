//! Histories of transactions by eight processes under kills, checked for strict serializability.
//!
//! Lists      a row holds a list as text; a transaction reads some lists and appends numbers to others. Every number is
//!            appended once, so a list that is read tells in which order its appends took effect, and who precedes whom follows:
//!            Adya's graph of write, read and anti-dependencies. A cycle in it, real time included, breaks the promise.
//! Unknown    a transaction whose process was killed before it said how it ended may have taken effect or not.
//! Checker    the crate `adya`, after Kingsbury and Alvaro's Elle (PVLDB 14(3), 2020). `checker.rs` shows that it finds what
//!            it should; the run under snapshot isolation shows it on real transactions.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod checker;
#[path = "../common/mod.rs"]
mod common;
mod record;
mod worker;

use adya::Valid;
use aerostore_core::db::OpenMode;
use checker::verdict;
use common::fleet::{Fleet, now_ns, seconds, whole_lines};
use common::{Place, Watchdog};
use record::{Events, Record};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use worker::{NAME, list_schema, read_everything};

const PROCESSES: u64 = 8;
/// Transactions that a history has at least.
const COMMITTED_MIN: usize = 500;

/// Lets eight processes work under kills, and stops if asked to; returns everything they did, and what was there at the end, warm and
/// cold.
fn run(isolation: &str, stops: bool) -> Record {
    // A longer history takes more memory than it is worth: the soak runs this again and again.
    let seconds = seconds(3).min(20);
    let place = Place::with_timeout(&format!("history-{isolation}"), seconds * 6 + 120);
    let reader = place.open();
    reader.create_table(&list_schema()).unwrap();
    let events: Arc<Mutex<Events>> = Arc::default();
    let heard = Arc::clone(&events);
    let listener = Arc::new(move |_, serial, line: &str| heard.lock().unwrap().hear(serial, line));
    let mut fleet = Fleet::start(NAME, &format!("{isolation},{}", now_ns()), &place, PROCESSES, listener);
    fleet.torment(
        Duration::from_secs(seconds),
        stops,
        || events.lock().unwrap().committed() >= COMMITTED_MIN,
        || (),
    );
    fleet.end();
    let mut events = std::mem::take(&mut *events.lock().unwrap());
    let keys = events.keys();
    read_everything(&reader, &keys, &mut events);
    reader.flush().unwrap();
    let report = reader.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    reader.close().unwrap();
    for expected in [OpenMode::Warm, OpenMode::Cold] {
        if expected == OpenMode::Cold {
            std::fs::remove_file(&place.shm).unwrap();
        }
        let db = place.open();
        assert_eq!(db.boot().mode, expected);
        read_everything(&db, &keys, &mut events);
        db.close().unwrap();
    }
    let record = events.into_record();
    println!(
        "history, {isolation}: {} kills, {} stops, {} transactions committed, {} aborted, {} unknown, {} lists",
        fleet.kills,
        fleet.stops,
        record.committed,
        record.aborted,
        record.unknown,
        keys.len()
    );
    record
}

/// Not a test of its own: what the processes run.
#[test]
fn history_worker() {
    worker::work();
}

#[test]
fn transactions_under_kills_are_strictly_serializable() {
    let report = verdict(&run("serializable", false).history, "strict-serializable");
    assert_eq!(report.valid, Valid::True, "{}", checker::explain(&report));
}

#[test]
fn transactions_under_stops_and_kills_are_strictly_serializable() {
    let report = verdict(&run("serializable", true).history, "strict-serializable");
    assert_eq!(report.valid, Valid::True, "{}", checker::explain(&report));
}

/// The same check on the weaker level: write skew is found, and nothing worse is there to be found.
#[test]
fn snapshot_isolation_has_write_skew_and_nothing_worse() {
    // A history may be without it, on a busy machine more than once, but not for ever.
    let _watchdog = Watchdog::new(seconds(3).min(20) * 10 + 240);
    let report = loop {
        let record = run("snapshot", false);
        let report = verdict(&record.history, "strong-snapshot-isolation");
        assert_eq!(report.valid, Valid::True, "{}", checker::explain(&report));
        let report = verdict(&record.history, "strict-serializable");
        println!("history, snapshot: found {:?}", report.anomaly_types);
        if report.valid == Valid::False {
            break report;
        }
    };
    assert!(
        report.anomaly_types.iter().all(|found| found.starts_with("G2") || found.starts_with("PL-")),
        "{}",
        checker::explain(&report)
    );
}

#[test]
fn a_line_that_a_death_has_cut_is_not_heard() {
    let heard: Vec<String> = whole_lines(&b"o 7 r:0.1:5,6\no 8 r:0.1:5,6,70"[..]).collect();
    assert_eq!(heard, ["o 7 r:0.1:5,6"]);
}
