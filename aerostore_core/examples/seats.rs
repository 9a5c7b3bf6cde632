//! A typed table and transactions: seats are sold by several threads, none twice.
//!
//!     cargo run -p aerostore_core --example seats

mod place;

use aerostore_core::db::{Error, TxnOptions, TypedTable};
use aerostore_core::row::speedtable;
use place::Place;

/// A flight and how many seats are left on it.
#[speedtable]
pub struct Flight {
    #[column(key, max = 8)]
    flight: String,
    free: i32,
    #[column(default = 0)]
    sold: i32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = Place::new();
    let database = place.open()?;
    let flights: TypedTable<Flight> = database.typed_table()?;
    database.transaction(TxnOptions::default(), |txn| {
        flights.insert(txn, &Flight::new("SWR8K".to_owned(), 5))?;
        flights.insert(txn, &Flight::new("DLH4".to_owned(), 1))
    })?;

    // A closure that meets a conflict is run again, so it does nothing besides that cannot be done again.
    let sell = || -> Result<bool, Error> {
        database.transaction(TxnOptions { synchronous_commit: Some(false), ..TxnOptions::default() }, |txn| {
            let Some(mut flight) = flights.get(txn, "SWR8K")? else { return Ok(false) };
            if flight.free() == 0 {
                return Ok(false);
            }
            flight.set_free(flight.free() - 1);
            flight.set_sold(flight.sold() + 1);
            flights.update(txn, &mut flight)?;
            Ok(true)
        })
    };
    let sold = std::thread::scope(|scope| {
        let sellers: Vec<_> =
            (0..3).map(|_| scope.spawn(|| (0..3).map(|_| sell()).collect::<Vec<_>>())).collect();
        let sales = sellers.into_iter().flat_map(|seller| seller.join().expect("a seller does not panic"));
        sales.collect::<Result<Vec<_>, _>>()
    })?;
    println!("{} of 9 buyers have a seat", sold.into_iter().filter(|sold| *sold).count());

    // What fails is undone, to the savepoint or altogether.
    let mut txn = database.begin(TxnOptions::default())?;
    let before = txn.savepoint()?;
    txn.delete(&flights, "DLH4".into())?;
    txn.rollback_to(&before)?;
    println!("DLH4 is there: {}", txn.exists(&flights, "DLH4".into())?);
    txn.commit()?;

    let mut txn = database.begin(TxnOptions { read_only: true, ..TxnOptions::default() })?;
    if let Some(flight) = flights.get(&mut txn, "SWR8K")? {
        println!("{}: {} sold, {} free", flight.flight(), flight.sold(), flight.free());
    }
    drop(txn);
    database.close()?;
    Ok(())
}
