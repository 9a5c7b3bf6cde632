//! Eight processes under kills, on workloads whose result says at once whether isolation held.
//!
//! Bank        transfers between accounts; every read, read-only or serializable, by keys or by scan, finds the same sum.
//! Rooms       a row is added to a room only while it is not full, and taken out only while enough are left, by counting a range;
//!             no reader ever finds more or fewer. Only phantoms could break it: no two of these transactions write one row.
//! Unique      all insert the same keys; each key has one winner, and what the winner wrote besides is there once.
//! Seats       guests take seats, change them with each other, go and come; a unique index keeps two from having one.
//!
//! Each workload also runs in a version that has to fail, or it would prove nothing: readers that take two transactions for one
//! sum, rooms under snapshot isolation, a look and an insert in two transactions, a look at the seats instead of the index.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod bank;
#[path = "../common/mod.rs"]
mod common;
mod rooms;
mod seats;
mod unique;

use aerostore_core::db::{Database, Error, OpenMode, Table, TxnOptions};
use aerostore_core::row::{Column, ColumnType, Schema, Value};
use common::fleet::{Fleet, Random, Role, seconds};
use common::{Place, Watchdog};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PROCESSES: u64 = 8;
/// Kills between two looks at everything.
const LOOK_AFTER: u64 = 4;
/// Transactions that a sound run has at least.
const DONE_MIN: usize = 200;

/// One workload.
trait Workload: Sync {
    /// The test that its workers run in.
    const NAME: &'static str;

    /// What is there before anyone works.
    fn prepare(&self, db: &Database, table: &Table);

    /// Works for ever; `sound` or in the version that has to fail. Says `bad ...` for whatever must not be, and what else
    /// `judge` wants to know.
    fn work(&self, worker: &mut Worker, sound: bool) -> Result<(), Error>;

    /// What is wrong with what is there, given what the workers have said.
    fn judge(&self, rows: &Rows, said: &[(u64, String)]) -> Result<(), String>;
}

/// Group and number of each row, by name.
type Rows = BTreeMap<String, (i64, i64)>;

/// A process at work.
struct Worker {
    db: Database,
    table: Table,
    random: Random,
    seat: u64,
    serial: i64,
    /// Transactions done or tried.
    count: i64,
}

fn schema() -> Schema {
    Schema::builder("Cell")
        .column(Column::new("name", ColumnType::String(24)))
        .column(Column::new("place", ColumnType::I64))
        .column(Column::new("number", ColumnType::I64))
        .key("name")
        .build()
        .unwrap()
}

fn put(
    txn: &mut aerostore_core::db::Transaction,
    table: &Table,
    name: &str,
    place: i64,
    number: i64,
) -> Result<(), Error> {
    txn.set(table, Value::Str(name), &[(1, Value::I64(place)), (2, Value::I64(number))]).map(|_| ())
}

fn number(txn: &mut aerostore_core::db::Transaction, table: &Table, name: &str) -> Result<i64, Error> {
    Ok(txn.get(table, Value::Str(name), |row| row.get(2).as_i64().unwrap())?.unwrap_or(0))
}

fn rows(db: &Database) -> Rows {
    let table = db.table("Cell").unwrap().unwrap();
    let mut rows = Rows::new();
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(&table, &mut |row| {
        let Value::Str(name) = row.get(0) else { panic!("{row:?}") };
        let values = (row.get(1).as_i64().unwrap(), row.get(2).as_i64().unwrap());
        assert!(rows.insert(name.to_owned(), values).is_none(), "{name} was seen twice");
        ControlFlow::Continue(())
    })
    .unwrap();
    rows
}

/// What a worker's process does; nothing in one that is no worker.
fn work<W: Workload>(workload: &W) {
    let Some(role) = Role::of(W::NAME) else { return };
    let db = role.place.open();
    db.set_config("synchronous_commit", if role.seat.is_multiple_of(4) { "on" } else { "off" }).unwrap();
    let table = db.table("Cell").unwrap().unwrap();
    let mut worker = Worker {
        db,
        table,
        random: Random(role.serial * 7919 + 1),
        seat: role.seat,
        serial: role.serial.cast_signed(),
        count: 0,
    };
    loop {
        match workload.work(&mut worker, role.extra == "sound") {
            Ok(()) => {}
            Err(error) if error.is_retryable() => {}
            Err(error) => panic!("{error}"),
        }
        worker.count += 1;
    }
}

/// Transactions that were acknowledged.
fn done(said: &[(u64, String)]) -> usize {
    said.iter().filter(|(_, words)| words.starts_with("did ") || words.starts_with("won ")).count()
}

/// Runs the workload under kills, and says what was wrong, if anything.
fn run<W: Workload>(workload: &W, sound: bool) -> Result<(), String> {
    let seconds = seconds(2).min(20);
    let place = Place::with_timeout(W::NAME, seconds * 6 + 120);
    let reader = place.open();
    let table = reader.create_table(&schema()).unwrap();
    workload.prepare(&reader, &table);
    let said: Arc<Mutex<Vec<(u64, String)>>> = Arc::default();
    let heard = Arc::clone(&said);
    let listener = Arc::new(move |_, serial, line: &str| {
        if ["bad ", "did ", "try ", "won "].iter().any(|word| line.starts_with(word)) {
            heard.lock().unwrap().push((serial, line.to_owned()));
        }
    });
    let version = if sound { "sound" } else { "broken" };
    let mut fleet = Fleet::start(W::NAME, version, &place, PROCESSES, listener);
    let (mut outcome, mut looks) = (Ok(()), 0);
    fleet.torment(
        Duration::from_secs(seconds),
        false,
        // What is wrong may come to a standstill; it is run again if that is not seen.
        || !sound || done(&said.lock().unwrap()) >= DONE_MIN,
        || {
            looks += 1;
            if outcome.is_ok() && (looks % LOOK_AFTER == 0) {
                outcome = workload.judge(&rows(&reader), &[]);
            }
        },
    );
    fleet.end();
    let said = std::mem::take(&mut *said.lock().unwrap());
    let check = |db: &Database| workload.judge(&rows(db), &said);
    outcome = outcome.and_then(|()| check(&reader));
    if let Some((serial, words)) = said.iter().find(|(_, words)| words.starts_with("bad ")) {
        outcome = outcome.and_then(|()| Err(format!("process {serial}: {words}")));
    }
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
        outcome = outcome.and_then(|()| check(&db));
        db.close().unwrap();
    }
    println!(
        "{}, {version}: {} kills, {} transactions acknowledged, {} rows; {}",
        W::NAME,
        fleet.kills,
        done(&said),
        report.rows,
        outcome.as_ref().err().map_or("nothing wrong", String::as_str)
    );
    outcome
}

fn holds<W: Workload>(workload: &W) {
    assert_eq!(run(workload, true), Ok(()));
}

fn fails<W: Workload>(workload: &W) {
    // A version that is wrong may be lucky, on a busy machine more than once, but not for ever.
    let _watchdog = Watchdog::new(seconds(2).min(20) * 10 + 240);
    while run(workload, false).is_ok() {}
}

macro_rules! tests {
    ($workload:expr, $worker:ident, $holds:ident, $fails:ident) => {
        /// Not a test of its own: what the processes run.
        #[test]
        fn $worker() {
            work(&$workload);
        }

        #[test]
        fn $holds() {
            holds(&$workload);
        }

        #[test]
        fn $fails() {
            fails(&$workload);
        }
    };
}

tests!(
    bank::Bank,
    bank_worker,
    every_reader_of_a_bank_finds_the_same_sum,
    a_sum_in_two_transactions_is_caught
);
tests!(rooms::Rooms, rooms_worker, no_phantom_overfills_a_room, phantoms_under_snapshot_isolation_are_caught);
tests!(
    seats::Seats,
    seats_worker,
    no_seat_of_a_unique_index_is_taken_twice,
    looking_for_a_free_seat_under_snapshot_isolation_is_caught
);
tests!(
    unique::Unique,
    unique_worker,
    every_key_is_inserted_by_exactly_one,
    looking_before_inserting_is_caught
);
