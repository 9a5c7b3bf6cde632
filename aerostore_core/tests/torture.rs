//! Processes that write, are killed and stopped at random, and come back; then every row is checked.
//!
//! Each writer `i` counts its transactions in row `W<i>`; its n-th transaction also writes or deletes one row of its own
//! whose fate follows from n, and moves one unit between two of the accounts that all writers share. So the counter alone says
//! what every row must be, and the accounts' sum never changes. Before a commit the writer says `try n` on its pipe, after it
//! `done n`.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{Change, Database, OpenMode, Table, TxnOptions};
use aerostore_core::row::{Column, ColumnType, Schema, Value};
use common::Place;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const ROLE: &str = "AEROSTORE_TORTURE_WRITER";
const WRITERS: u64 = 4;
const ROWS_PER_WRITER: u64 = 97;
const ACCOUNTS: u64 = 16;
const BALANCE: i64 = 1000;

fn schema() -> Schema {
    Schema::builder("Cell")
        .column(Column::new("name", ColumnType::String(16)))
        .column(Column::new("value", ColumnType::I64))
        .key("name")
        .build()
        .unwrap()
}

fn seconds() -> u64 {
    std::env::var("AEROSTORE_TORTURE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

/// xorshift64: Marsaglia, 2003.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
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
) -> Result<(), aerostore_core::db::Error> {
    txn.set(table, Value::Str(name), &[(1, Value::I64(value))]).map(|_| ())
}

fn add(
    txn: &mut aerostore_core::db::Transaction,
    table: &Table,
    name: &str,
    delta: i64,
) -> Result<(), aerostore_core::db::Error> {
    let schema = Arc::clone(table.schema());
    txn.modify(table, Value::Str(name), |row, image| {
        let row = row.expect("accounts are never deleted");
        image.copy_from(row);
        image.set(&schema, 1, Value::I64(number(row.get(1)) + delta))?;
        Ok(Change::Put)
    })
    .map(|_| ())
}

/// What transaction `n` does to the writer's own row `n % ROWS_PER_WRITER`.
fn fate(n: u64) -> Option<i64> {
    if n.is_multiple_of(3) { None } else { Some(n.cast_signed()) }
}

fn write_forever(writer: u64, place: &Place) {
    let db = place.open();
    db.set_config("synchronous_commit", if writer.is_multiple_of(2) { "off" } else { "on" }).unwrap();
    let table = db.table("Cell").unwrap().unwrap();
    let counter = format!("W{writer}");
    let mut random = Random(u64::from(std::process::id()) * 7919 + 1);
    let mut out = std::io::stdout();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let mut n =
        txn.get(&table, Value::Str(&counter), |row| number(row.get(1))).unwrap().unwrap().cast_unsigned();
    drop(txn);
    loop {
        n += 1;
        writeln!(out, "try {n}").unwrap();
        let done = db.transaction(TxnOptions::default(), |txn| {
            put(txn, &table, &counter, n.cast_signed())?;
            let own = format!("R{writer}.{}", n % ROWS_PER_WRITER);
            match fate(n) {
                Some(value) => put(txn, &table, &own, value)?,
                None => {
                    txn.delete(&table, Value::Str(&own))?;
                }
            }
            let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
            add(txn, &table, &format!("A{from}"), -1)?;
            add(txn, &table, &format!("A{to}"), 1)
        });
        match done {
            Ok(()) => writeln!(out, "done {n}").unwrap(),
            // The retry limit, on this hot a set of accounts, is no failure: the next round tries the same number.
            Err(error) if error.is_retryable() => n -= 1,
            Err(error) => panic!("writer {writer}: {error}"),
        }
    }
}

/// What the parent knows of a writer from its pipe.
#[derive(Default)]
struct Heard {
    tried: u64,
    done: u64,
}

struct Writer {
    number: u64,
    child: Child,
    listener: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(number: u64, place: &Place, heard: Arc<Mutex<Heard>>) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_process", "--nocapture", "--test-threads=1"])
            .env(ROLE, format!("{number}|{}|{}", place.dir.display(), place.shm.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = BufReader::new(child.stdout.take().unwrap());
        let listener = std::thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                // The test runner's own words stand before the first one.
                let line = line.rsplit("... ").next().unwrap_or_default();
                let mut heard = heard.lock().unwrap();
                if let Some(n) = line.strip_prefix("try ") {
                    heard.tried = n.parse().unwrap_or(heard.tried);
                } else if let Some(n) = line.strip_prefix("done ") {
                    heard.done = n.parse().unwrap_or(heard.done);
                }
            }
        });
        Self { number, child, listener: Some(listener) }
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: the child was started by this test and has not been waited for, so the pid is its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    fn kill(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("writer {} ended by itself: {status}", self.number);
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.listener.take().unwrap().join().unwrap();
    }
}

fn contents(db: &Database) -> BTreeMap<String, i64> {
    let table = db.table("Cell").unwrap().unwrap();
    let mut rows = BTreeMap::new();
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(&table, &mut |row| {
        let Value::Str(name) = row.get(0) else { panic!("{row:?}") };
        assert!(rows.insert(name.to_owned(), number(row.get(1))).is_none(), "{name} was seen twice");
        ControlFlow::Continue(())
    })
    .unwrap();
    rows
}

fn check_sum(rows: &BTreeMap<String, i64>) {
    let sum: i64 = rows.range("A".to_owned().."B".to_owned()).map(|(_, balance)| balance).sum();
    assert_eq!(sum, ACCOUNTS.cast_signed() * BALANCE, "money was made or lost");
}

fn check_exactly(rows: &BTreeMap<String, i64>, heard: &[Arc<Mutex<Heard>>]) {
    check_sum(rows);
    let mut expected = ACCOUNTS + WRITERS;
    for writer in 0..WRITERS {
        let n = rows[&format!("W{writer}")].cast_unsigned();
        let heard = heard[usize::try_from(writer).unwrap()].lock().unwrap();
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
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut parts = role.split('|');
    let number = parts.next().unwrap().parse().unwrap();
    let place = Place::existing(PathBuf::from(parts.next().unwrap()), PathBuf::from(parts.next().unwrap()));
    write_forever(number, &place);
}

fn torture(name: &str, stop_too: bool) {
    let seconds = seconds();
    let place = Place::with_timeout(name, seconds * 4 + 120);
    {
        let db = place.open();
        let table = db.create_table(&schema()).unwrap();
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        for account in 0..ACCOUNTS {
            put(&mut txn, &table, &format!("A{account}"), BALANCE).unwrap();
        }
        for writer in 0..WRITERS {
            put(&mut txn, &table, &format!("W{writer}"), 0).unwrap();
        }
        txn.commit().unwrap();
    }
    let heard: Vec<Arc<Mutex<Heard>>> = (0..WRITERS).map(|_| Arc::default()).collect();
    let mut writers: Vec<Writer> = (0..WRITERS)
        .map(|number| Writer::start(number, &place, Arc::clone(&heard[usize::try_from(number).unwrap()])))
        .collect();
    let reader = place.open();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut kills, mut stops) = (0, 0);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20 + random.below(40)));
        check_sum(&contents(&reader));
        let victim = usize::try_from(random.below(WRITERS)).unwrap();
        if stop_too && random.below(2) == 0 {
            writers[victim].signal(libc::SIGSTOP);
            stops += 1;
            std::thread::sleep(Duration::from_millis(1 + random.below(400)));
            check_sum(&contents(&reader));
            if random.below(2) == 0 {
                writers[victim].signal(libc::SIGCONT);
                continue;
            }
        }
        writers[victim].kill();
        kills += 1;
        let number = writers[victim].number;
        writers[victim] = Writer::start(number, &place, Arc::clone(&heard[victim]));
    }
    for writer in &mut writers {
        writer.kill();
    }
    let total: u64 = heard.iter().map(|heard| heard.lock().unwrap().done).sum();
    check_exactly(&contents(&reader), &heard);
    let report = reader.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    println!("{kills} kills, {stops} stops, {total} transactions acknowledged, {} rows checked", report.rows);
    assert!(kills > 0 && total > 0, "nothing happened");
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
    if std::env::var(ROLE).is_err() {
        torture("kill", false);
    }
}

#[test]
fn stopped_and_killed_writers_lose_nothing() {
    if std::env::var(ROLE).is_err() {
        torture("stop", true);
    }
}
