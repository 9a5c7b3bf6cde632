//! A subscription: what any process commits to a table, in the order of commits; here a copy of the table is kept by it.
//!
//!     cargo run -p aerostore_core --example follow

mod place;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use aerostore_core::db::{ChangeOp, Event, TxnOptions};
use aerostore_core::row::speedtable;
use place::Place;

/// A gate and who boards there.
#[speedtable]
pub struct Gate {
    #[column(key, max = 4)]
    gate: String,
    #[column(max = 8)]
    flight: Option<String>,
    #[column(default = 0)]
    passengers: i32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = Place::new();
    let database = place.open()?;
    let gates = database.typed_table::<Gate>()?;
    database.transaction(TxnOptions::default(), |txn| gates.insert(txn, &Gate::new("B7".to_owned())))?;

    // First the subscription, then the table as it is: nothing is missed, and what comes twice does no harm.
    let changes = database.watch(&gates).filter(Gate::PASSENGERS.lt(100)).subscribe()?;
    let mut board = BTreeMap::new();
    let mut txn = database.begin(TxnOptions { read_only: true, ..TxnOptions::default() })?;
    txn.scan(&gates, &mut |row| {
        board.insert(row.key().to_string(), Gate::PASSENGERS.get(row));
        ControlFlow::Continue(())
    })?;
    drop(txn);

    // Others write; a thread stands for them here.
    let writer = {
        let (database, gates) = (database.clone(), gates.clone());
        std::thread::spawn(move || {
            database.transaction(TxnOptions::default(), |txn| {
                let mut gate = Gate::new("B8".to_owned());
                gate.set_passengers(40);
                gates.insert(txn, &gate)
            })?;
            database.transaction(TxnOptions::default(), |txn| {
                txn.set(&gates, "B7".into(), &[(Gate::PASSENGERS.index(), 12.into())])
            })?;
            database.transaction(TxnOptions::default(), |txn| txn.delete(&gates, "B8".into()))
        })
    };

    let mut commits = 0;
    while commits < 3 {
        match changes.next_within(Duration::from_mins(1))? {
            Some(Event::Commit(commit)) => {
                commits += 1;
                for change in &commit.changes {
                    println!("commit {commits}: {:?} {}", change.op(), change.key());
                    match (change.op(), change.after()) {
                        (ChangeOp::Delete, _) | (_, None) => board.remove(&change.key().to_string()),
                        (_, Some(row)) => board.insert(change.key().to_string(), Gate::PASSENGERS.get(row)),
                    };
                }
            }
            // Something did not fit the buffer: a real program reads the table again.
            Some(event) => return Err(format!("unexpected: {event:?}").into()),
            None => return Err("nothing came".into()),
        }
    }
    writer.join().expect("the writer does not panic")?;
    println!("{board:?}");
    drop(changes);
    database.close()?;
    Ok(())
}
