//! What do searches cost by the engine's layout, and what do two ways to ask for the same cost beside each other?
//!
//! Rows          1 000 000 flights of fourteen columns, 108 bytes; ordered indexes on lat, lon, altitude, gs, dest, `updated_at`
//! Layout        the count by a column without an index, beside an array of the same rows and beside the same cache lines without an engine
//! Shapes        pairs of queries
//! Unit          nanoseconds a search, one worker; ratios of medians turn by turn, the sides taking turns
//! Arguments     `--rows N --rounds N`; `--only layout` or `shapes`. Beside other engines: `scripts/bench workloads`

#![forbid(unsafe_code)]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use aerostore_bench::arguments::Arguments;
use aerostore_bench::indexed::{Aerostore, Failure, Found, Indexed};
use aerostore_bench::lines::{Array, Lines};
use aerostore_bench::place::Place;
use aerostore_bench::report::print_machine;
use aerostore_bench::turns::{median, median_ratio, quantile};
use aerostore_bench::wide::WideFlight;
use aerostore_core::query::{Query, SortKey};
use std::time::Instant;

/// Rows in a transaction while loading.
const LOAD_BATCH: u32 = 1000;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::of_program();
    let (rows, rounds) = (arguments.number("--rows", 1_000_000)?, arguments.number("--rounds", 15)?);
    let only = arguments.text("--only")?;
    let wanted = |name: &str| only.as_ref().is_none_or(|list| list.split(',').any(|word| word == name));
    print_machine();
    let place = Place::fresh("search");
    let mut aerostore = Aerostore::load(&place, rows, LOAD_BATCH).map_err(|error| error.to_string())?;
    if wanted("layout") {
        layout(&mut aerostore, rows, rounds)?;
    }
    if wanted("shapes") {
        shapes(&mut aerostore, rounds)?;
    }
    Ok(())
}

/// The count beside an array of the same rows, and beside the same cache lines without an engine: what the layout leaves to be had.
fn layout(side: &mut Aerostore, rows: u32, rounds: u32) -> Result<(), Failure> {
    let (array, lines) = (Array::load(rows), Lines::load(rows));
    let mut times: [Vec<f64>; 3] = std::array::from_fn(|_| Vec::new());
    for round in 0..=rounds {
        let mut found = [0; 3];
        for (way, times) in times.iter_mut().enumerate() {
            let begin = Instant::now();
            found[way] = match way {
                0 => side.count_eastbound()?.rows,
                1 => lines.count_eastbound(u64::from(rows)),
                _ => array.count_eastbound(),
            };
            if round > 0 {
                times.push(begin.elapsed().as_nanos() as f64);
            }
        }
        if round == 0 && (found[0], found[1]) != (found[2], found[2]) {
            println!("layout: the tracks have changed since the load");
        }
    }
    let [aerostore, lines, array] = &times;
    println!("layout: the count; its cache lines alone; an array");
    for (name, times) in [("aerostore", aerostore), ("lines", lines), ("array", array)] {
        let [least, p50] = [0.0, 0.5].map(|share| quantile(times, share));
        println!(
            "  {name:<10} least {least:>11.0} ns   p50 {p50:>11.0} ns   array to {name} {:.2}",
            median_ratio(array, times)
        );
    }
    Ok(())
}

/// A query of Aerostore.
type Shape<'a> = &'a dyn Fn(&mut Aerostore) -> Result<Found, Failure>;

/// What two ways to ask cost beside each other, in Aerostore alone.
fn shapes(side: &mut Aerostore, rounds: u32) -> Result<(), Failure> {
    let eastbound = || WideFlight::TRACK.range(90, 180);
    let high = || WideFlight::ALTITUDE.between(20_000, 22_000);
    let fast = || WideFlight::GS.between(100, 105);
    let unsorted = |side: &mut Aerostore| side.count(Query::filtered(eastbound()));
    let by_two = |side: &mut Aerostore| side.count(Query::filtered(eastbound()).threads(2));
    let sorted = |side: &mut Aerostore| {
        side.search(
            Query::filtered(eastbound()).sort_by(SortKey::ascending("squawk")).limit(10),
            WideFlight::SQUAWK.index(),
        )
    };
    let one_way =
        |side: &mut Aerostore| side.search(Query::filtered(high().and(fast())), WideFlight::GS.index());
    let other_way =
        |side: &mut Aerostore| side.search(Query::filtered(fast().and(high())), WideFlight::GS.index());
    let (lowest, at_one) = (|| WideFlight::ALTITUDE.lt(50), || WideFlight::DEST.eq("KAAA"));
    let either = |side: &mut Aerostore| side.count(Query::filtered(lowest().or(at_one())));
    let both = |side: &mut Aerostore| {
        let mut found = side.count(Query::filtered(lowest()))?;
        found.rows += side.count(Query::filtered(at_one()))?.rows;
        Ok(found)
    };
    let pairs: [(&str, [Shape<'_>; 2], u32); 4] = [
        ("a count by a column without an index by two threads, to the same by one", [&by_two, &unsorted], 1),
        (
            "sorted by a column without an index, limit 10, to a plain count of the same rows",
            [&sorted, &unsorted],
            1,
        ),
        ("two terms in one order to the same in the other", [&one_way, &other_way], 20),
        ("one of two terms, each with an index, to one search for each", [&either, &both], 20),
    ];
    for (title, shapes, turn) in pairs {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..=rounds {
            for (shape, times) in shapes.iter().zip(&mut times) {
                let begin = Instant::now();
                for _ in 0..turn {
                    std::hint::black_box(shape(side)?);
                }
                if round > 0 {
                    times.push(begin.elapsed().as_nanos() as f64 / f64::from(turn));
                }
            }
        }
        let [first, second] = &times;
        println!(
            "{title}: {:.0} ns, {:.0} ns, ratio {:.2}",
            median(first),
            median(second),
            median_ratio(first, second)
        );
    }
    Ok(())
}
