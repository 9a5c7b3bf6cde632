//! What do searches and updates cost when six columns are indexed, beside LMDB and beside ordered sets of one process?
//!
//! Rows          1 000 000 flights of fourteen columns, 108 bytes; ordered indexes on lat, lon, altitude, gs, dest, `updated_at`
//! Sides         Aerostore; LMDB (`heed`), no sync, in the same tmpfs, a sorted set per index; `BTreeSet`s and a hash map under one lock
//! Operations    load; update far (five of six indexed columns get other values), near (they move a little), unindexed (one column without
//!               an index); above: the 100 lowest rows from an altitude on; newest: the newest 50 of a band of 500 feet, some 11 000 rows;
//!               count: by a column without an index; whole rows are copied; layout: the same, beside an array of the same rows and
//!               beside the same cache lines without an engine
//! Durability    commit mode off (the log is written behind); LMDB never syncs; the sets keep nothing
//! Unit          nanoseconds an operation, one worker; ratios of medians turn by turn, the sides taking turns
//! Arguments     `--rows N --rounds N`; `--only far,above`; `--sides aerostore,lmdb,trees`

#![forbid(unsafe_code)]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use aerostore_bench::flight::Random;
use aerostore_bench::indexed::{Aerostore, Failure, Found, Indexed, Lmdb, Move, Trees, some_altitude};
use aerostore_bench::lines::{Array, Lines};
use aerostore_bench::place::Place;
use aerostore_bench::report::print_machine;
use aerostore_bench::turns::{median, median_ratio, quantile};
use aerostore_bench::wide::WideFlight;
use aerostore_core::query::{Query, SortKey};
use std::time::Instant;

/// Rows in a transaction while loading.
const LOAD_BATCH: u32 = 1000;

/// Name, operations in a turn, and what one does.
struct Task {
    name: &'static str,
    turn: u32,
    run: fn(&mut dyn Indexed, &mut Random, u32) -> Result<Found, Failure>,
}

const TASKS: [Task; 6] = [
    Task { name: "far", turn: 2000, run: |side, random, rows| update(side, random, rows, Move::Far) },
    Task { name: "near", turn: 2000, run: |side, random, rows| update(side, random, rows, Move::Near) },
    Task {
        name: "unindexed",
        turn: 5000,
        run: |side, random, rows| update(side, random, rows, Move::Unindexed),
    },
    Task { name: "above", turn: 500, run: |side, random, _| side.above(some_altitude(random), 100) },
    Task { name: "newest", turn: 4, run: |side, random, _| side.newest_within(some_altitude(random), 50) },
    Task { name: "count", turn: 1, run: |side, _, _| side.count_eastbound() },
];

fn update(side: &mut dyn Indexed, random: &mut Random, rows: u32, how: Move) -> Result<Found, Failure> {
    side.update(random.below(rows), how, random.word())?;
    Ok(Found::default())
}

/// Nanoseconds of each operation, and the median of each turn.
#[derive(Default)]
struct Times {
    single: Vec<f64>,
    turns: Vec<f64>,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str, default: u32| text(name).map_or(Ok(default), |word| word.parse());
    let (rows, rounds) = (number("--rows", 1_000_000)?, number("--rounds", 15)?);
    let listed = |list: &Option<String>, name: &str| {
        list.as_ref().is_none_or(|list| list.split(',').any(|word| word == name))
    };
    let (only, wanted) = (text("--only"), text("--sides"));
    print_machine();

    let place = Place::fresh("search");
    let mut loaded = Vec::new();
    let begin = Instant::now();
    let mut aerostore = Aerostore::load(&place, rows, LOAD_BATCH).map_err(|error| error.to_string())?;
    loaded.push(("aerostore", begin.elapsed(), Some(aerostore.database().status()?.used_bytes)));
    let mut lmdb = None;
    if listed(&wanted, "lmdb") {
        let begin = Instant::now();
        let side = Lmdb::load(&place, rows, LOAD_BATCH)?;
        loaded.push(("lmdb", begin.elapsed(), Some(side.bytes()?)));
        lmdb = Some(side);
    }
    let mut trees = None;
    if listed(&wanted, "trees") {
        let begin = Instant::now();
        trees = Some(Trees::load(rows));
        loaded.push(("trees", begin.elapsed(), None));
    }
    println!("load, {rows} rows, {LOAD_BATCH} in a transaction");
    for (name, took, bytes) in &loaded {
        let bytes = bytes.map_or_else(String::new, |bytes| {
            format!("   {:.1} bytes a row", bytes as f64 / f64::from(rows))
        });
        println!("  {name:<10} {:>9.0} rows/s{bytes}", f64::from(rows) / took.as_secs_f64());
    }

    for task in TASKS.iter().filter(|task| listed(&only, task.name)) {
        let mut sides: Vec<(&str, &mut dyn Indexed)> = vec![("aerostore", &mut aerostore)];
        if let Some(lmdb) = &mut lmdb {
            sides.push(("lmdb", lmdb));
        }
        if let Some(trees) = &mut trees {
            sides.push(("trees", trees));
        }
        compare(task, &mut sides, rows, rounds)?;
    }
    if listed(&only, "layout") {
        layout(&mut aerostore, rows, rounds)?;
    }
    if listed(&only, "shapes") {
        shapes(&mut aerostore, rounds)?;
    }
    Ok(())
}

fn compare(
    task: &Task,
    sides: &mut [(&str, &mut dyn Indexed)],
    rows: u32,
    rounds: u32,
) -> Result<(), Failure> {
    let mut times: Vec<Times> = sides.iter().map(|_| Times::default()).collect();
    // The first turn touches memory and fills caches.
    for round in 0..=rounds {
        let mut found: Vec<Found> = Vec::new();
        for ((_, side), times) in sides.iter_mut().zip(&mut times) {
            // The same operations for each.
            let mut random = Random::new(u64::from(round) << 40);
            let mut single = Vec::new();
            let mut sum = Found::default();
            for _ in 0..task.turn {
                let begin = Instant::now();
                let one = (task.run)(*side, &mut random, rows)?;
                single.push(begin.elapsed().as_nanos() as f64);
                sum.rows += one.rows;
                sum.sum = sum.sum.wrapping_add(one.sum);
            }
            found.push(sum);
            if round > 0 {
                times.turns.push(median(&single));
                times.single.extend(single);
            }
        }
        if found.iter().any(|sum| *sum != found[0]) {
            return Err(format!("{}: the sides find different rows: {found:?}", task.name).into());
        }
    }
    println!("{}", task.name);
    for ((name, _), side) in sides.iter().zip(&times) {
        let [p50, p99] = [0.5, 0.99].map(|share| quantile(&side.single, share));
        println!(
            "  {name:<10} p50 {p50:>11.0} ns   p99 {p99:>11.0} ns   {name} to aerostore {:.2}",
            median_ratio(&side.turns, &times[0].turns)
        );
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
        side.search(Query::filtered(eastbound()).sort_by(SortKey::ascending("squawk")).limit(10))
    };
    let one_way = |side: &mut Aerostore| side.search(Query::filtered(high().and(fast())));
    let other_way = |side: &mut Aerostore| side.search(Query::filtered(fast().and(high())));
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
        let mut times = [Times::default(), Times::default()];
        for round in 0..=rounds {
            for (shape, times) in shapes.iter().zip(&mut times) {
                let begin = Instant::now();
                for _ in 0..turn {
                    std::hint::black_box(shape(side)?);
                }
                if round > 0 {
                    times.turns.push(begin.elapsed().as_nanos() as f64 / f64::from(turn));
                }
            }
        }
        let [first, second] = &times;
        println!(
            "{title}: {:.0} ns, {:.0} ns, ratio {:.2}",
            median(&first.turns),
            median(&second.turns),
            median_ratio(&first.turns, &second.turns)
        );
    }
    Ok(())
}
