//! Processes that write, are killed and stopped at random, and come back; then every row is checked.
//!
//! Each writer `i` counts its transactions in row `W<i>`; its n-th transaction also writes or deletes one row of its own
//! whose fate follows from n, and moves one unit between two of the accounts that all writers share. So the counter alone says
//! what every row must be, and the accounts' sum never changes. Before a commit the writer says `try n` on its pipe, after it
//! `done n`. Four more columns follow from the value, and each of the five has an index: of keys that all differ, of few,
//! of long texts, of nulls, and, by a hash, in the other direction. The index of a sixth is made and dropped all the time. Two more are unique: of `tag`, for
//! some of whose values all writers fight, so that transactions are refused; and of `mark`, where no two rows ever have one value, so
//! that nobody is refused, and whose unique index is made and dropped all the time. `AEROSTORE_TORTURE_SECONDS` says how long each form goes on.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{Change, Database, Error, ErrorKind, OpenMode, Table, TxnOptions};
use aerostore_core::row::{Column, ColumnType, IndexKind, IndexSpec, Schema, Value};
use aerostore_core::txn::TxnError;
use common::Place;
use common::fleet::{Fleet, Random, Role, say, seconds};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The test that the writers run in.
const NAME: &str = "writer_process";
const WRITERS: u64 = 8;
/// A round ends with everybody dead and everything checked.
const ROUND_SECONDS: u64 = 4;
/// Transactions that a round has at least.
const DONE_MIN: u64 = 200;
const ROWS_PER_WRITER: u64 = 97;
const ACCOUNTS: u64 = 16;
const BALANCE: i64 = 1000;
/// The column whose index is made and dropped, by so many writers, after so many transactions.
const CHURNED: usize = 6;
const CHURNERS: u64 = 3;
const CHURN: u64 = 20;
/// The columns that are unique, always and from time to time.
const TAG: usize = 7;
const MARK: usize = 8;
/// Tags that all writers want for their counters. Those of their own rows lie above.
const CONTESTED: u64 = 12;

fn schema() -> Schema {
    Schema::builder("Cell")
        .column(Column::new("name", ColumnType::String(16)))
        .column(Column::new("value", ColumnType::I64).ordered())
        .column(Column::new("digit", ColumnType::I32).ordered())
        .column(Column::new("text", ColumnType::String(400)).ordered())
        .column(Column::new("part", ColumnType::F64).nullable().ordered())
        .column(Column::new("below", ColumnType::I64).index(IndexKind::Hash))
        .column(Column::new("hundreds", ColumnType::I64))
        .column(Column::new("tag", ColumnType::I64).nullable().unique())
        .column(Column::new("mark", ColumnType::I64).nullable())
        .key("name")
        .build()
        .unwrap()
}

/// What a row with this value has in its columns, beside its text.
fn columns(value: i64, text: &str) -> [(usize, Value<'_>); 6] {
    let digit = i32::try_from(value % 10).unwrap();
    let part = if digit == 3 { Value::Null } else { Value::F64(f64::from(digit) / 8.0 - 0.5) };
    [
        (1, Value::I64(value)),
        (2, Value::I32(digit)),
        (3, Value::Str(text)),
        (4, part),
        (5, Value::I64(-value)),
        (CHURNED, Value::I64(value / 100)),
    ]
}

/// The same text for ten values; it may be empty, and of 200 bytes.
fn text(value: i64) -> String {
    let tens = value.unsigned_abs() / 10;
    format!("{tens:x}").repeat(usize::try_from(tens % 40).unwrap())
}

fn number(value: Value<'_>) -> i64 {
    match value {
        Value::I64(number) => number,
        other => panic!("{other:?}"),
    }
}

fn put(
    txn: &mut aerostore_core::db::Transaction,
    table: &Table,
    name: &str,
    value: i64,
) -> Result<(), Error> {
    txn.set(table, Value::Str(name), &columns(value, &text(value))).map(|_| ())
}

/// What a writer's own row has in its unique columns at transaction `n`: nobody else ever has it.
fn own_tag(writer: u64, n: u64) -> Value<'static> {
    Value::I64((CONTESTED + n * WRITERS + writer).cast_signed())
}

fn add(
    txn: &mut aerostore_core::db::Transaction,
    table: &Table,
    name: &str,
    delta: i64,
) -> Result<(), Error> {
    let schema = Arc::clone(table.schema());
    txn.modify(table, Value::Str(name), |row, image| {
        let row = row.expect("accounts are never deleted");
        image.copy_from(row);
        let value = number(row.get(1)) + delta;
        for (column, value) in columns(value, &text(value)) {
            image.set(&schema, column, value)?;
        }
        Ok(Change::Put)
    })
    .map(|_| ())
}

/// What transaction `n` does to the writer's own row `n % ROWS_PER_WRITER`.
fn fate(n: u64) -> Option<i64> {
    if n.is_multiple_of(3) { None } else { Some(n.cast_signed()) }
}

/// Makes an index, or drops it, while others do the same, or have died over it.
fn churn(db: &Database, table: &Table, column: usize, drops: bool) {
    let done = if drops {
        db.drop_index(table, column)
    } else {
        let is_hash = std::process::id().is_multiple_of(2);
        db.create_index(table, column, IndexSpec { is_unique: column == MARK, is_hash })
    };
    if let Err(error) = done {
        assert!(!is_refused(&error), "no two rows have one mark: {error}");
        let expected = [ErrorKind::Busy, if drops { ErrorKind::NotFound } else { ErrorKind::Duplicate }];
        assert!(error.is_retryable() || expected.contains(&error.kind()), "{error}");
    }
}

fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Txn(TxnError::UniqueViolation { .. }))
}

fn write_forever(role: &Role) {
    let (writer, db) = (role.seat, role.place.open());
    db.set_config("synchronous_commit", if writer.is_multiple_of(2) { "off" } else { "on" }).unwrap();
    let table = db.table("Cell").unwrap().unwrap();
    let counter = format!("W{writer}");
    let mut random = Random(role.serial * 7919 + 1);
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let mut n =
        txn.get(&table, Value::Str(&counter), |row| number(row.get(1))).unwrap().unwrap().cast_unsigned();
    drop(txn);
    let mut wants_tag = true;
    loop {
        n += 1;
        say(&format!("try {n}"));
        // One that was refused is tried again without.
        let tag = if wants_tag { Value::I64(random.below(CONTESTED).cast_signed()) } else { Value::Null };
        let done = db.transaction(TxnOptions::default(), |txn| {
            put(txn, &table, &counter, n.cast_signed())?;
            txn.set(&table, Value::Str(&counter), &[(TAG, tag)])?;
            let own = format!("R{writer}.{}", n % ROWS_PER_WRITER);
            match fate(n) {
                Some(value) => {
                    put(txn, &table, &own, value)?;
                    let tag = own_tag(writer, n);
                    txn.set(&table, Value::Str(&own), &[(TAG, tag), (MARK, tag)])?;
                }
                None => {
                    txn.delete(&table, Value::Str(&own))?;
                }
            }
            let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
            add(txn, &table, &format!("A{from}"), -1)?;
            add(txn, &table, &format!("A{to}"), 1)
        });
        match done {
            Ok(()) => {
                say(&format!("done {n}"));
                wants_tag = true;
                if writer < CHURNERS && n.is_multiple_of(CHURN) {
                    let column = if random.below(2) == 0 { CHURNED } else { MARK };
                    churn(&db, &table, column, random.below(2) == 0);
                }
            }
            Err(error) if wants_tag && is_refused(&error) && error.to_string().contains("tag") => {
                say("refused");
                wants_tag = false;
                n -= 1;
            }
            // The retry limit, on this hot a set of accounts, is no failure: the next round tries the same number.
            Err(error) if error.is_retryable() => n -= 1,
            Err(error) => panic!("writer {writer}: {error}"),
        }
    }
}

/// What the parent knows of a writer from its pipe.
#[derive(Clone, Copy, Default)]
struct Heard {
    tried: u64,
    done: u64,
    refused: u64,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        if let Some(n) = line.strip_prefix("try ") {
            self.tried = n.parse().unwrap();
        } else if let Some(n) = line.strip_prefix("done ") {
            self.done = n.parse().unwrap();
        } else if line == "refused" {
            self.refused += 1;
        }
    }
}

fn contents(db: &Database) -> BTreeMap<String, i64> {
    let table = db.table("Cell").unwrap().unwrap();
    let (mut rows, mut tags) = (BTreeMap::new(), BTreeMap::new());
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(&table, &mut |row| {
        let Value::Str(name) = row.get(0) else { panic!("{row:?}") };
        let value = number(row.get(1));
        for (column, wanted) in columns(value, &text(value)) {
            assert_eq!(row.get(column), wanted, "{name}");
        }
        let (tag, mark) = (row.get(TAG), row.get(MARK));
        if let Some((writer, _)) = name.strip_prefix('R').and_then(|own| own.split_once('.')) {
            let own = own_tag(writer.parse().unwrap(), value.cast_unsigned());
            assert_eq!((tag, mark), (own, own), "{name}");
        } else {
            assert_eq!(mark, Value::Null, "{name}");
        }
        if let Value::I64(tag) = tag {
            let other = tags.insert(tag, name.to_owned());
            assert!(other.is_none(), "{name} and {other:?} have the tag {tag}");
        }
        assert!(rows.insert(name.to_owned(), value).is_none(), "{name} was seen twice");
        ControlFlow::Continue(())
    })
    .unwrap();
    rows
}

fn check_sum(rows: &BTreeMap<String, i64>) {
    let sum: i64 = rows.range("A".to_owned().."B".to_owned()).map(|(_, balance)| balance).sum();
    assert_eq!(sum, ACCOUNTS.cast_signed() * BALANCE, "money was made or lost");
}

fn check_exactly(rows: &BTreeMap<String, i64>, heard: &[Heard]) {
    check_sum(rows);
    let mut expected = ACCOUNTS + WRITERS;
    for (writer, heard) in (0..).zip(heard) {
        let n = rows[&format!("W{writer}")].cast_unsigned();
        assert!(n >= heard.done, "writer {writer} was told that {} is done, but {n} is there", heard.done);
        assert!(n <= heard.tried, "writer {writer} has tried up to {}, but {n} is there", heard.tried);
        for row in 0..ROWS_PER_WRITER {
            // The newest transaction up to n that wrote this row.
            let last = (n + ROWS_PER_WRITER - row) / ROWS_PER_WRITER * ROWS_PER_WRITER + row;
            let last = if last > n { last.checked_sub(ROWS_PER_WRITER) } else { Some(last) };
            let value = last.filter(|last| *last > 0).and_then(fate);
            assert_eq!(
                rows.get(&format!("R{writer}.{row}")).copied(),
                value,
                "row {row} of writer {writer} at {n}"
            );
            expected += u64::from(value.is_some());
        }
    }
    assert_eq!(rows.len() as u64, expected, "there are rows that nobody wrote");
}

/// Not a test of its own: what the child processes run.
#[test]
fn writer_process() {
    if let Some(role) = Role::of(NAME) {
        write_forever(&role);
    }
}

/// What the rounds of one test have come to.
#[derive(Default)]
struct Totals {
    rounds: u64,
    kills: u64,
    stops: u64,
    looks: u64,
    rows: u64,
}

/// Eight writers, killed and perhaps stopped, until the round is over; then nothing may be lost, leaked or half done.
fn round(place: &Place, reader: &Database, stops: bool, heard: &Arc<Mutex<Vec<Heard>>>, totals: &mut Totals) {
    let listener = {
        let heard = Arc::clone(heard);
        move |seat, _, line: &str| heard.lock().unwrap()[usize::try_from(seat).unwrap()].hear(line)
    };
    let mut fleet = Fleet::start(NAME, "", place, WRITERS, Arc::new(listener));
    let done = || heard.lock().unwrap().iter().map(|heard| heard.done).sum::<u64>();
    let before = done();
    fleet.torment(
        Duration::from_secs(ROUND_SECONDS),
        stops,
        || done() >= before + DONE_MIN,
        || {
            check_sum(&contents(reader));
            totals.looks += 1;
        },
    );
    fleet.end();
    let heard = heard.lock().unwrap();
    check_exactly(&contents(reader), &heard);
    reader.flush().unwrap();
    // 0 leaked, 0 reached twice, every row and index entry exact.
    let report = reader.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    check_exactly(&contents(reader), &heard);
    totals.rounds += 1;
    totals.kills += fleet.kills;
    totals.stops += fleet.stops;
    totals.rows += report.rows;
}

fn torture(name: &str, stops: bool) {
    let seconds = seconds(8);
    let place = Place::with_timeout(name, seconds * 4 + 120);
    let reader = place.open();
    let table = reader.create_table(&schema()).unwrap();
    let mut txn = reader.begin(TxnOptions::default()).unwrap();
    for account in 0..ACCOUNTS {
        put(&mut txn, &table, &format!("A{account}"), BALANCE).unwrap();
    }
    for writer in 0..WRITERS {
        put(&mut txn, &table, &format!("W{writer}"), 0).unwrap();
    }
    txn.commit().unwrap();
    let heard: Arc<Mutex<Vec<Heard>>> =
        Arc::new(Mutex::new(vec![Heard::default(); usize::try_from(WRITERS).unwrap()]));
    let mut totals = Totals::default();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        round(&place, &reader, stops, &heard, &mut totals);
    }
    let heard = heard.lock().unwrap();
    let done: u64 = heard.iter().map(|heard| heard.done).sum();
    let refused: u64 = heard.iter().map(|heard| heard.refused).sum();
    assert!(refused > 0, "nobody wanted what another had");
    let Totals { rounds, kills, stops, looks, rows } = totals;
    println!(
        "torture, {name}: {rounds} rounds, {kills} kills, {stops} stops, {done} transactions acknowledged, \
         {refused} refused for a tag, {looks} looks at all accounts, {rows} rows checked"
    );
    // Nothing is left but what was committed: warm, and from the log alone.
    reader.close().unwrap();
    for expected in [OpenMode::Warm, OpenMode::Cold] {
        if expected == OpenMode::Cold {
            std::fs::remove_file(&place.shm).unwrap();
        }
        let db = place.open();
        assert_eq!(db.boot().mode, expected);
        check_exactly(&contents(&db), &heard);
        let report = db.verify().unwrap();
        assert!(report.is_clean(), "{report:#?}");
        db.close().unwrap();
    }
}

#[test]
fn killed_writers_lose_nothing() {
    torture("kill", false);
}

#[test]
fn stopped_and_killed_writers_lose_nothing() {
    torture("stop", true);
}
