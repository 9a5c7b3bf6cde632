//! Guests that take each other's seats: no two of them ever have one, which a unique index sees to.

use crate::common::fleet::say;
use crate::{Rows, Worker, Workload, put};
use aerostore_core::db::{Database, Error, ErrorKind, Isolation, Table, TxnOptions};
use aerostore_core::row::{IndexSpec, Value};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

const GUESTS: i64 = 12;
const ROWS: usize = 12;
/// Some stay free.
const SEATS: i64 = 16;
/// The column with the unique index.
const PLACE: usize = 1;

pub(crate) struct Seats;

/// A guest's seat is its place in the version that holds, and its number in the other; what is not is its own all the time.
fn seat(
    txn: &mut aerostore_core::db::Transaction,
    table: &Table,
    guest: i64,
    seat: i64,
    sound: bool,
) -> Result<(), Error> {
    let (place, number) = if sound { (seat, guest) } else { (guest, seat) };
    put(txn, table, &format!("G{guest}"), place, number)
}

fn twice(seats: impl IntoIterator<Item = i64>) -> Option<i64> {
    let mut taken = BTreeSet::new();
    seats.into_iter().find(|seat| !taken.insert(*seat))
}

impl Workload for Seats {
    const NAME: &'static str = "seats_worker";

    fn prepare(&self, db: &Database, table: &Table) {
        db.transaction(TxnOptions::default(), |txn| {
            (0..GUESTS).try_for_each(|guest| put(txn, table, &format!("G{guest}"), guest, guest))
        })
        .unwrap();
        db.create_index(table, PLACE, IndexSpec::UNIQUE).unwrap();
    }

    fn work(&self, worker: &mut Worker, sound: bool) -> Result<(), Error> {
        let mut any = |limit: i64| worker.random.below(limit.unsigned_abs()).cast_signed();
        let (action, guest, other, free) = (any(6), any(GUESTS), any(GUESTS), any(SEATS));
        let isolation = if action % 2 == 0 && sound { Isolation::Serializable } else { Isolation::Snapshot };
        let options = TxnOptions { isolation, read_only: action == 0, ..TxnOptions::default() };
        let mut txn = worker.db.begin(options)?;
        let table = &worker.table;
        let mut seats = [0; ROWS];
        let mut taken = Vec::new();
        txn.scan(table, &mut |row| {
            let value = row.get(if sound { PLACE } else { 2 }).as_i64().unwrap();
            if let Value::Str(name) = row.get(0) {
                seats[name[1..].parse::<usize>().unwrap()] = value;
            }
            taken.push(value);
            ControlFlow::Continue(())
        })?;
        if let Some(seat) = twice(taken.iter().copied()) {
            txn.commit()?;
            say(&format!("bad seat {seat} is taken twice"));
            return Ok(());
        }
        let seat_of = |guest: i64| seats[usize::try_from(guest).unwrap()];
        match action {
            0 => {}
            // Each takes the other's.
            1 | 2 => {
                seat(&mut txn, table, guest, seat_of(other), sound)?;
                seat(&mut txn, table, other, seat_of(guest), sound)?;
            }
            // One goes, and another comes in its place.
            3 => {
                txn.delete(table, Value::Str(&format!("G{guest}")))?;
                seat(&mut txn, table, guest, seat_of(guest), sound)?;
            }
            // Whether it is free is the index's business; without one it is looked at.
            _ if sound || !taken.contains(&free) => seat(&mut txn, table, guest, free, sound)?,
            _ => {}
        }
        match txn.commit() {
            Ok(_) => say(&format!("did {}", worker.count)),
            Err(error) if error.kind() == ErrorKind::Duplicate && action > 3 => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn judge(&self, rows: &Rows, _said: &[(u64, String)]) -> Result<(), String> {
        let seats = |of: fn(&(i64, i64)) -> i64| twice(rows.values().map(of));
        match seats(|row| row.0).or_else(|| seats(|row| row.1)) {
            Some(seat) => Err(format!("seat {seat} is taken twice: {rows:?}")),
            None if rows.len() != ROWS => Err(format!("{} guests", rows.len())),
            None => Ok(()),
        }
    }
}
