//! Queries with the typed builder: conditions that the compiler has checked, order and limit, and how the rows were reached.
//!
//!     cargo run -p aerostore_core --example queries

mod place;

use aerostore_core::db::TxnOptions;
use aerostore_core::query::{Plan, Query};
use aerostore_core::row::speedtable;
use place::Place;

/// Where a flight is.
#[speedtable]
pub struct Position {
    #[column(key, max = 8)]
    flight: String,
    #[column(ordered)]
    altitude: Option<i32>,
    #[column(hash, max = 4)]
    destination: Option<String>,
    speed: Option<i32>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = Place::new();
    let database = place.open()?;
    let positions = database.typed_table::<Position>()?;
    database.transaction(TxnOptions::default(), |txn| {
        for (number, destination) in (0..1000).zip(["LSZH", "EGLL", "EDDF"].into_iter().cycle()) {
            let mut position = Position::new(format!("F{number:03}"));
            position.set_altitude((number % 10 != 0).then_some(number * 40));
            position.set_destination(Some(destination.to_owned()));
            position.set_speed(Some(200 + number % 300));
            positions.insert(txn, &position)?;
        }
        Ok(())
    })?;
    let mut txn = database.begin(TxnOptions { read_only: true, ..TxnOptions::default() })?;

    // Two conditions, order and limit.
    let high = Position::ALTITUDE.gt(30_000).and(Position::DESTINATION.eq("LSZH"));
    let highest = Query::filtered(high.clone()).sort_by(Position::ALTITUDE.descending()).limit(3);
    for position in positions.find(&mut txn, highest)? {
        println!("{} at {:?} to {:?}", position.flight(), position.altitude(), position.destination());
    }

    // Either; none; of a text.
    let either = Position::ALTITUDE.is_null().or(Position::SPEED.between(498, 499));
    println!("{} without altitude, or fast", txn.find_count(&positions, Query::filtered(either))?);
    let named = Position::FLIGHT.prefix("F99").and(Position::DESTINATION.in_values(["EGLL", "EDDF"]));
    println!("{} of that name", txn.find_count(&positions, Query::filtered(named))?);

    // A plan may be used many times, and explained.
    let plan = Plan::new(positions.schema(), Query::filtered(high))?;
    println!("{} high up", txn.search_count(&positions, &plan)?.rows_returned);
    println!("{}", txn.explain(&positions, &plan, true)?);
    drop(txn);
    database.close()?;
    Ok(())
}
