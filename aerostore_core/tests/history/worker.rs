//! A process that appends to lists and reads them, and says so before and after each transaction.

use crate::common::fleet::{Random, Role, now_ns, say};
use crate::record::{Action, Events, numbers};
use aerostore_core::db::{Change, Database, Error, Isolation, Table, Transaction, TxnOptions};
use aerostore_core::row::{Column, ColumnType, Schema, Value};
use std::sync::Arc;
use std::time::Duration;

/// The test that this runs in.
pub(crate) const NAME: &str = "history_worker";
/// Lists in use at a time.
const LISTS: u64 = 3;
/// A list this long is left alone, and the next one in its place is used.
const LONG: usize = 40;
/// So is one this old.
const OLD_MS: i64 = 60;

pub(crate) fn list_schema() -> Schema {
    Schema::builder("List")
        .column(Column::new("name", ColumnType::String(24)))
        .column(Column::new("numbers", ColumnType::String(4000)))
        .key("name")
        .build()
        .unwrap()
}

fn text(value: Value<'_>) -> String {
    match value {
        Value::Str(text) => text.to_owned(),
        other => panic!("{other:?}"),
    }
}

fn read(txn: &mut Transaction, table: &Table, key: &str) -> Result<Option<String>, Error> {
    txn.get(table, Value::Str(key), |row| text(row.get(1)))
}

/// Appends to the row as it is when it is owned, or as it was read before.
fn append(txn: &mut Transaction, table: &Table, key: &str, number: i64, looks: bool) -> Result<(), Error> {
    if looks {
        let mut list = read(txn, table, key)?.unwrap_or_default();
        list = format!("{list},{number}");
        return txn.set(table, Value::Str(key), &[(1, Value::Str(&list))]).map(|_| ());
    }
    let schema = Arc::clone(table.schema());
    txn.modify(table, Value::Str(key), |row, image| {
        let mut list = row.map(|row| text(row.get(1))).unwrap_or_default();
        list = format!("{list},{number}");
        image.set(&schema, 0, Value::Str(key))?;
        image.set(&schema, 1, Value::Str(&list))?;
        Ok(Change::Put)
    })
    .map(|_| ())
}

struct Worker {
    db: Database,
    table: Table,
    random: Random,
    serial: i64,
    isolation: Isolation,
    start_ns: i64,
    next_number: i64,
    /// Which list is in use, by place.
    newest: Vec<i64>,
}

/// Works until it is killed; does nothing in a process that is no worker.
pub(crate) fn work() {
    let Some(role) = Role::of(NAME) else { return };
    let db = role.place.open();
    db.set_config("synchronous_commit", if role.seat.is_multiple_of(4) { "on" } else { "off" }).unwrap();
    let table = db.table("List").unwrap().unwrap();
    let (isolation, start_ns) = role.extra.split_once(',').unwrap();
    let mut worker = Worker {
        db,
        table,
        random: Random(role.serial * 7919 + 1),
        serial: role.serial.cast_signed(),
        isolation: if isolation == "snapshot" { Isolation::Snapshot } else { Isolation::Serializable },
        start_ns: start_ns.parse().unwrap(),
        next_number: 0,
        newest: vec![0; usize::try_from(LISTS).unwrap()],
    };
    loop {
        worker.one();
    }
}

impl Worker {
    fn one(&mut self) {
        let mut plan = self.plan();
        let reads_only = plan.iter().all(|action| matches!(action, Action::Read { .. }));
        let options = TxnOptions {
            isolation: self.isolation,
            read_only: reads_only && self.random.below(2) == 0,
            ..TxnOptions::default()
        };
        announce('i', &plan);
        match self.run(options, &mut plan) {
            Ok(()) => announce('o', &plan),
            Err(error) if error.is_retryable() => {
                announce('f', &[]);
                std::thread::sleep(Duration::from_micros(self.random.below(500)));
            }
            Err(error) => panic!("{error}"),
        }
        for action in &plan {
            if let Action::Read { key, found: Some(found) } = action
                && found.len() >= LONG
            {
                let (place, number) = key.split_once('.').unwrap();
                let newest = &mut self.newest[place.parse::<usize>().unwrap()];
                *newest = (*newest).max(number.parse::<i64>().unwrap() + 1);
            }
        }
    }

    fn run(&mut self, options: TxnOptions, plan: &mut [Action]) -> Result<(), Error> {
        if let (true, [Action::Read { key, found }]) = (options.read_only, &mut *plan) {
            let list = self.db.get(&self.table, Value::Str(key), |row| text(row.get(1)))?;
            *found = Some(list.map_or(Vec::new(), |list| numbers(&list)));
            return Ok(());
        }
        let mut txn = self.db.begin(options)?;
        for action in plan {
            match action {
                Action::Append { key, number } => {
                    let looks = self.random.below(2) == 0;
                    append(&mut txn, &self.table, key, *number, looks)?;
                }
                Action::Read { key, found } => {
                    *found =
                        Some(read(&mut txn, &self.table, key)?.map_or(Vec::new(), |list| numbers(&list)));
                }
            }
        }
        txn.commit().map(|_| ())
    }

    /// One to four things to do with lists.
    fn plan(&mut self) -> Vec<Action> {
        let age = (now_ns() - self.start_ns) / 1_000_000 / OLD_MS;
        let reads_only = self.random.below(5) == 0;
        (0..=self.random.below(4))
            .map(|_| {
                let place = usize::try_from(self.random.below(LISTS)).unwrap();
                let newest = &mut self.newest[place];
                *newest = (*newest).max(age);
                let key = format!("{place}.{newest}");
                if reads_only || self.random.below(2) == 0 {
                    return Action::Read { key, found: None };
                }
                self.next_number += 1;
                Action::Append { key, number: self.serial * 1_000_000 + self.next_number }
            })
            .collect()
    }
}

fn line(kind: char, actions: &[Action]) -> String {
    let words: Vec<String> = actions.iter().map(Action::text).collect();
    format!("{kind} {} {}", now_ns(), words.join(" "))
}

fn announce(kind: char, actions: &[Action]) {
    say(&line(kind, actions));
}

/// Reads every list, some at a time, as a process of its own.
pub(crate) fn read_everything(db: &Database, keys: &[String], events: &mut Events) {
    const PROCESS: u64 = 1 << 40;
    let table = db.table("List").unwrap().unwrap();
    for keys in keys.chunks(8) {
        let mut actions: Vec<Action> =
            keys.iter().map(|key| Action::Read { key: key.clone(), found: None }).collect();
        events.hear(PROCESS, &line('i', &actions));
        let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
        for action in &mut actions {
            if let Action::Read { key, found } = action {
                *found = Some(read(&mut txn, &table, key).unwrap().map_or(Vec::new(), |list| numbers(&list)));
            }
        }
        txn.commit().unwrap();
        events.hear(PROCESS, &line('o', &actions));
    }
}
