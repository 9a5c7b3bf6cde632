//! Everybody inserts the same keys.

use crate::common::fleet::say;
use crate::{Rows, Worker, Workload, put};
use aerostore_core::db::{Database, Error, ErrorKind, Table, Transaction, TxnOptions};
use aerostore_core::row::{RowImage, Value};
use std::collections::{BTreeMap, BTreeSet};

/// In column `place`.
const KEY: i64 = 1;
const WITNESS: i64 = 2;
/// Enough; what a small database holds.
const KEYS: i64 = 200_000;

pub(crate) struct Unique;

fn insert(txn: &mut Transaction, table: &Table, key: &str, serial: i64) -> Result<(), Error> {
    let schema = table.schema();
    let mut image = RowImage::new(schema);
    image.set(schema, 0, Value::Str(key)).unwrap();
    image.set(schema, 1, Value::I64(KEY)).unwrap();
    image.set(schema, 2, Value::I64(serial)).unwrap();
    image.finish(schema).unwrap();
    txn.insert(table, &image)
}

impl Workload for Unique {
    const NAME: &'static str = "unique_worker";

    fn prepare(&self, _db: &Database, _table: &Table) {}

    fn work(&self, worker: &mut Worker, sound: bool) -> Result<(), Error> {
        if worker.count == 0 {
            // Where the others are.
            let mut txn = worker.db.begin(TxnOptions { read_only: true, ..TxnOptions::default() })?;
            worker.count = i64::try_from(txn.count(&worker.table)?).unwrap() / 2;
        }
        if worker.count > KEYS {
            std::thread::sleep(std::time::Duration::from_millis(1));
            return Ok(());
        }
        let (serial, table) = (worker.serial, &worker.table);
        let key = format!("K{}", worker.count);
        let witness = format!("W{}.{serial}", worker.count);
        say(&format!("try {}", worker.count));
        let mut txn = worker.db.begin(TxnOptions::default())?;
        let inserted = if sound {
            insert(&mut txn, table, &key, serial)
        } else {
            if txn.exists(table, Value::Str(&key))? {
                return Ok(());
            }
            txn.commit()?;
            txn = worker.db.begin(TxnOptions::default())?;
            put(&mut txn, table, &key, KEY, serial)
        };
        match inserted {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Duplicate => return Ok(()),
            Err(error) => return Err(error),
        }
        put(&mut txn, table, &witness, WITNESS, serial)?;
        txn.commit()?;
        say(&format!("won {}", worker.count));
        Ok(())
    }

    fn judge(&self, rows: &Rows, said: &[(u64, String)]) -> Result<(), String> {
        let mut winners = BTreeMap::new();
        for (name, (_, serial)) in rows.iter().filter(|(_, (place, _))| *place == WITNESS) {
            let number = name[1..].split('.').next().unwrap();
            if let Some(other) = winners.insert(number.to_owned(), *serial) {
                return Err(format!("key {number} was inserted by {serial} and {other}"));
            }
        }
        let keys: BTreeMap<String, i64> = rows
            .iter()
            .filter(|(_, (place, _))| *place == KEY)
            .map(|(name, (_, serial))| (name[1..].to_owned(), *serial))
            .collect();
        if keys != winners {
            return Err("keys and witnesses differ".to_owned());
        }
        let mut tried = BTreeSet::new();
        for (serial, words) in said {
            let (what, number) = words.split_once(' ').unwrap();
            let serial = serial.cast_signed();
            match what {
                "try" => {
                    tried.insert((number, serial));
                }
                _ if keys.get(number) != Some(&serial) => {
                    return Err(format!(
                        "{serial} was told it won key {number}: {:?} has it",
                        keys.get(number)
                    ));
                }
                _ => {}
            }
        }
        match keys
            .iter()
            .find(|(number, serial)| !said.is_empty() && !tried.contains(&(number.as_str(), **serial)))
        {
            Some((number, serial)) => Err(format!("{serial} has key {number} and has not tried")),
            None => Ok(()),
        }
    }
}
