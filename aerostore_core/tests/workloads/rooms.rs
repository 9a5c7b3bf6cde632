//! Rooms that may not be overfilled or emptied, kept so by counting the rows in them.

use crate::common::fleet::say;
use crate::{Rows, Worker, Workload, put};
use aerostore_core::db::{Database, Error, Isolation, Table, Transaction, TxnOptions};
use aerostore_core::row::{RowView, Value};
use std::ops::ControlFlow;
use std::sync::Arc;

const ROOMS: u64 = 3;
const LEAST: usize = 3;
const MOST: usize = 6;

pub(crate) struct Rooms;

/// Names of the rows in a room. What is searched for is the room, so rows that come and go elsewhere are no conflict.
fn guests(txn: &mut Transaction, table: &Table, room: i64) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    let in_room = Arc::new(move |row: &RowView<'_>| row.get(1) == Value::I64(room));
    txn.scan_for(table, in_room, &mut |row| {
        if let (Value::Str(name), true) = (row.get(0), row.get(1) == Value::I64(room)) {
            names.push(name.to_owned());
        }
        ControlFlow::Continue(())
    })?;
    Ok(names)
}

impl Workload for Rooms {
    const NAME: &'static str = "rooms_worker";

    fn prepare(&self, db: &Database, table: &Table) {
        db.transaction(TxnOptions::default(), |txn| {
            (0..ROOMS.cast_signed()).try_for_each(|room| {
                (0..LEAST).try_for_each(|guest| put(txn, table, &format!("P{room}.{guest}"), room, 0))
            })
        })
        .unwrap();
    }

    fn work(&self, worker: &mut Worker, sound: bool) -> Result<(), Error> {
        let isolation = if sound { Isolation::Serializable } else { Isolation::Snapshot };
        let room = worker.random.below(ROOMS).cast_signed();
        let action = worker.random.below(5);
        let options = TxnOptions { isolation, read_only: action == 0, ..TxnOptions::default() };
        let mut txn = worker.db.begin(options)?;
        let names = guests(&mut txn, &worker.table, room)?;
        if !(LEAST..=MOST).contains(&names.len()) {
            // Only what a transaction commits counts, so a reader says so after its commit.
            txn.commit()?;
            say(&format!("bad {} in room {room}", names.len()));
            return Ok(());
        }
        match action {
            0 => {}
            1 | 2 if names.len() < MOST => {
                let name = format!("G{}.{}", worker.serial, worker.count);
                put(&mut txn, &worker.table, &name, room, worker.count)?;
            }
            3 if names.len() > LEAST => {
                let name = &names[usize::try_from(worker.random.below(names.len() as u64)).unwrap()];
                txn.delete(&worker.table, Value::Str(name))?;
            }
            // Writes the count down, so that it is validated; to a row in no room.
            _ => {
                let count = i64::try_from(names.len()).unwrap();
                put(&mut txn, &worker.table, &format!("C{}", worker.seat), -1, count)?;
            }
        }
        if guests(&mut txn, &worker.table, room)?.is_empty() {
            say("bad second look");
        }
        txn.commit()?;
        say(&format!("did {}", worker.count));
        Ok(())
    }

    fn judge(&self, rows: &Rows, _said: &[(u64, String)]) -> Result<(), String> {
        for room in 0..ROOMS.cast_signed() {
            let count = rows.values().filter(|(place, _)| *place == room).count();
            if !(LEAST..=MOST).contains(&count) {
                return Err(format!("{count} in room {room}"));
            }
        }
        Ok(())
    }
}
