//! What do searches cost in the engine alone, beside plain Rust containers with the same rows?
//!
//! Rows          1 000 000 flights of fourteen columns, 108 bytes of values each; `AEROSTORE_BENCH_ROWS` for another number. Altitude,
//!               speed, latitude, longitude, time and destination ask for ordered indexes
//! Values        uniform random; one time for every ten rows
//! Operations    a read-only transaction each, the query planned in it. W5 to W7 are the names of the shapes in the notes on
//!               speed: a hundred rows from a bound on, the newest fifty of a range, a count by a column without index
//! Peers         the same in an array of structs, and in a `BTreeSet` of altitudes for what an index can do
//! Unit          nanoseconds an operation, turn by turn; the last column is the ratio to the scan of the array
#![allow(missing_docs, reason = "a program, not a library")]

mod common;

use aerostore_core::db::{Database, Error, Table, TxnOptions};
use aerostore_core::query::{Plan, text};
use aerostore_core::row::{Column, ColumnType, RowError, RowImage, RowView, Schema, Value};
use common::flights::{READ, Random};
use common::place::Place;
use common::turns::Turns;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::ops::ControlFlow;

/// Rows of a transaction while loading.
const LOAD_BATCH: usize = 1000;

/// The searches. The first ones have peers, in this order.
const SHAPES: [(&str, &str); 8] = [
    ("W7 count by track", "track between 90 180"),
    ("W5 altitude >= a, 100 rows", "altitude >= 20000 limit 100"),
    ("W6 range, newest 50", "altitude range 20000 20500 sort -updated_at limit 50"),
    ("sort by track, first 10", "sort track limit 10"),
    ("sort by altitude, last 10", "sort -altitude limit 10"),
    ("two terms", "altitude range 20000 20500 and dest prefix AA"),
    ("two terms turned round", "dest prefix AA and altitude range 20000 20500"),
    ("one of two terms", "altitude < 50 or dest = AAAA"),
];

/// A flight as an array of structs has it, with the other columns as bytes.
#[derive(Clone, Copy)]
struct Plain {
    lat: f64,
    lon: f64,
    altitude: i32,
    gs: i32,
    track: i32,
    updated_at: i64,
    dest: [u8; 4],
    rest: [u8; 68],
}

fn schema() -> Result<Schema, RowError> {
    let text = |name, bytes| Column::new(name, ColumnType::FixedString(bytes));
    Schema::builder("Flight")
        .column(text("ident", 8))
        .column(Column::new("lat", ColumnType::F64).ordered())
        .column(Column::new("lon", ColumnType::F64).ordered())
        .column(Column::new("altitude", ColumnType::I32).ordered())
        .column(Column::new("gs", ColumnType::I32).ordered())
        .column(Column::new("track", ColumnType::I32))
        .column(Column::new("updated_at", ColumnType::Timestamp).ordered())
        .column(text("dest", 4).ordered())
        .column(text("origin", 4))
        .column(text("kind", 4))
        .column(text("registration", 8))
        .column(text("squawk", 4))
        .column(text("route", 24))
        .column(text("remark", 16))
        .key("ident")
        .build()
}

fn plain(random: &mut Random) -> Plain {
    let degrees = |word: u32, span: f64| (f64::from(word) / f64::from(u32::MAX) - 0.5) * span;
    let mut below = |limit| i32::try_from(random.below(limit)).unwrap_or(0);
    let (altitude, gs, track, seconds) = (below(45_000), below(600), below(360), below(100_000));
    let letter = |number: i32| b'A' + u8::try_from(number).unwrap_or(0);
    let dest = [letter(below(6)), letter(below(6)), letter(below(6)), letter(below(6))];
    let mut rest = [b'x'; 68];
    rest.fill_with(|| letter(below(26)));
    let [lat, lon] = [180.0, 360.0].map(|span| degrees(random.below(u32::MAX), span));
    Plain { lat, lon, altitude, gs, track, updated_at: 1_700_000_000 + i64::from(seconds), dest, rest }
}

fn load(db: &Database, rows: u32) -> Result<(Table, Vec<Plain>), Error> {
    let schema = schema().map_err(aerostore_core::txn::TxnError::from)?;
    let table = db.create_table(&std::sync::Arc::new(schema))?;
    let schema = table.schema();
    let mut random = Random(7);
    let flights: Vec<Plain> = (0..rows).map(|_| plain(&mut random)).collect();
    let mut image = RowImage::new(schema);
    let mut number = 0;
    for batch in flights.chunks(LOAD_BATCH) {
        let mut txn = db.begin(TxnOptions::default())?;
        for flight in batch {
            let text = |from: usize, to: usize| {
                Value::Str(std::str::from_utf8(&flight.rest[from..to]).unwrap_or(""))
            };
            let ident = common::flights::key(number);
            let values = [
                Value::Str(&ident),
                Value::F64(flight.lat),
                Value::F64(flight.lon),
                Value::I32(flight.altitude),
                Value::I32(flight.gs),
                Value::I32(flight.track),
                Value::Timestamp(flight.updated_at),
                Value::Str(std::str::from_utf8(&flight.dest).unwrap_or("")),
                text(8, 12),
                text(12, 16),
                text(16, 24),
                text(24, 28),
                text(28, 52),
                text(52, 68),
            ];
            image.reset(schema);
            for (column, value) in values.into_iter().enumerate() {
                image.set(schema, column, value)?;
            }
            txn.upsert(&table, &image)?;
            number += 1;
        }
        txn.commit()?;
    }
    Ok((table, flights))
}

/// Plans and runs a search as a user does, and looks at each row that comes.
fn search(db: &Database, table: &Table, query: &str) -> Result<u64, Error> {
    let query = text::parse(table.schema(), query)?;
    let plan = Plan::new(table.schema(), query)?;
    let mut txn = db.begin(READ)?;
    if plan.limit().is_none() {
        return Ok(txn.search_count(table, &plan)?.rows_returned);
    }
    let visit = &mut |row: RowView<'_>| {
        black_box(row.bytes());
        ControlFlow::Continue(())
    };
    Ok(txn.search(table, &plan, visit)?.rows_returned)
}

/// The newest of the flights.
fn newest<'f>(flights: impl Iterator<Item = &'f Plain>, count: usize) -> Vec<&'f Plain> {
    let mut newest: Vec<&Plain> = flights.collect();
    newest.sort_unstable_by_key(|flight| std::cmp::Reverse(flight.updated_at));
    newest.truncate(count);
    newest
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows = u32::try_from(common::number("AEROSTORE_BENCH_ROWS", 1_000_000))?;
    let place = Place::fresh("search");
    let db = place.open()?;
    let (table, flights) = load(&db, rows)?;
    let by_altitude: BTreeSet<(i32, usize)> =
        flights.iter().enumerate().map(|(at, flight)| (flight.altitude, at)).collect();

    if let Ok(query) = std::env::var("AEROSTORE_BENCH_QUERY") {
        // One search, many times over: for a profiler.
        for _ in 0..common::number("AEROSTORE_BENCH_TIMES", 10) {
            println!("{} rows", search(&db, &table, &query)?);
        }
        return Ok(());
    }
    for (name, query) in SHAPES {
        let plan = Plan::new(table.schema(), text::parse(table.schema(), query)?)?;
        println!("{name}\n{}", db.begin(READ)?.explain(&table, &plan, plan.limit().is_none())?);
    }

    let mut array = || {
        black_box(flights.iter().filter(|row| (90..=180).contains(&row.track)).count());
    };
    let from = |low: i32, high: i32| by_altitude.range((low, 0)..(high, 0)).map(|(_, at)| &flights[*at]);
    let mut tree_w5 = || {
        for row in from(20_000, i32::MAX).take(100) {
            black_box(*row);
        }
    };
    let mut tree_w6 = || drop(black_box(newest(from(20_000, 20_500), 50)));
    let names = ["array scan", "W5 in a BTreeSet", "W6 in a BTreeSet"];
    let names: Vec<&str> = names.into_iter().chain(SHAPES.map(|(name, _)| name)).collect();
    let mut turns = Turns::new("search", &names);
    let mut searches = SHAPES.map(|(_, query)| {
        let (db, table) = (&db, &table);
        move || drop(black_box(search(db, table, query)))
    });
    let mut sides: Vec<&mut dyn FnMut()> = vec![&mut array, &mut tree_w5, &mut tree_w6];
    sides.extend(searches.iter_mut().map(|search| search as &mut dyn FnMut()));
    for _ in 0..common::number("AEROSTORE_BENCH_TURNS", 15) {
        turns.round(1, &mut sides);
    }
    turns.print("array scan");

    let mut criterion = common::criterion();
    let mut group = criterion.benchmark_group("search");
    group.sample_size(10);
    for (name, query) in SHAPES {
        group.bench_function(name, |bencher| bencher.iter(|| black_box(search(&db, &table, query)).is_ok()));
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
