//! What do the steps cost that the planner prices, and is the way it takes the cheaper one?
//!
//! Rows          1 000 000 flights of fourteen columns, 108 bytes; ordered indexes on lat, lon, altitude, gs, dest, `updated_at`
//! Costs         each step's cost is what a search that consists of it takes, less what is known of its other steps, by the number of
//!               times it is taken; to be compared with the constants of `query/costs.rs`
//! Choices       a range of altitudes of a growing share of the rows, counted by the index and by a scan (of a range of tracks, which
//!               have no index, of the same share); two ranges at once, by one index and by whatever the planner likes
//! Unit          processor time of one thread, in nanoseconds, medians of rounds in which all take turns; a turn is as many searches as fill
//!               40 ms, since the kernel counts in steps of 4
//! Arguments     `--rows N --rounds N`

#![forbid(unsafe_code)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "figures for people")]

use aerostore_bench::arguments::Arguments;
use aerostore_bench::contender::cpu_nanos;
use aerostore_bench::flight::Random;
use aerostore_bench::indexed::{Aerostore, Failure};
use aerostore_bench::place::Place;
use aerostore_bench::report::print_machine;
use aerostore_bench::turns::{median, median_ratio};
use aerostore_bench::wide::{ALTITUDES, WideFlight, key, text};
use aerostore_core::query::{Query, SortKey};

/// Does something, and says how many rows came of it.
type Run<'a> = Box<dyn Fn(&mut Aerostore) -> Result<u64, Failure> + 'a>;

/// A search that is timed.
struct Timed<'a> {
    name: String,
    run: Run<'a>,
    times: Vec<f64>,
    /// Rows that it found.
    rows: u64,
}

impl<'a> Timed<'a> {
    fn new(name: &str, run: impl Fn(&mut Aerostore) -> Result<u64, Failure> + 'a) -> Self {
        Self { name: name.to_owned(), run: Box::new(run), times: Vec::new(), rows: 0 }
    }

    fn count(name: &str, query: impl Fn() -> Query + 'a) -> Self {
        Self::new(name, move |side| Ok(side.count(query())?.rows))
    }

    fn search(name: &str, query: impl Fn() -> Query + 'a) -> Self {
        Self::new(name, move |side| Ok(side.search(query(), WideFlight::ALTITUDE.index())?.rows))
    }

    fn median(&self) -> f64 {
        median(&self.times)
    }
}

/// Processor time of a turn, at least.
const TURN_NANOS: u64 = 40_000_000;

/// Lets all take turns.
fn take_turns(side: &mut Aerostore, all: &mut [Timed<'_>], rounds: u32) -> Result<(), Failure> {
    // The first turn touches memory and fills caches.
    for round in 0..=rounds {
        for timed in all.iter_mut() {
            let (begin, mut searches) = (cpu_nanos(), 0.0);
            while cpu_nanos() - begin < TURN_NANOS {
                timed.rows = std::hint::black_box((timed.run)(side)?);
                searches += 1.0;
            }
            if round > 0 {
                timed.times.push((cpu_nanos() - begin) as f64 / searches);
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::of_program();
    let (rows, rounds) = (arguments.number("--rows", 1_000_000)?, arguments.number("--rounds", 15)?);
    print_machine();
    let place = Place::fresh("costs");
    let mut side = Aerostore::load(&place, rows, 1000).map_err(|error| error.to_string())?;
    costs(&mut side, rows, rounds)?;
    choices(&mut side, rounds)?;
    Ok(())
}

/// A band of altitudes with so many thousandths of the rows.
fn band(thousandths: i32) -> Query {
    Query::filtered(WideFlight::ALTITUDE.range(0, ALTITUDES / 1000 * thousandths))
}

fn costs(side: &mut Aerostore, rows: u32, rounds: u32) -> Result<(), Failure> {
    const KEYS: u32 = 2000;
    const SEEKS: i64 = 500;
    let mut random = Random::new(1);
    let keys: Vec<_> = (0..KEYS).map(|_| key(random.below(rows))).collect();
    let instants: Vec<i64> = (0..SEEKS).map(|_| i64::from(random.below(1 << 30))).collect();
    let all = || WideFlight::TRACK.gte(0);
    let mut timed = [
        Timed::count("scan", || Query::filtered(all())),
        Timed::count("index", || band(100).and(all()).by_index("altitude")),
        Timed::count("entries", || Query::filtered(WideFlight::ALTITUDE.is_null()).by_index("altitude")),
        Timed::count("points", || {
            Query::filtered(WideFlight::FLIGHT_ID.in_values(keys.iter().map(|key| text(key))))
        }),
        Timed::count("seeks", || {
            Query::filtered(WideFlight::UPDATED_AT.in_values(instants.iter().copied())).by_index("updated_at")
        }),
        Timed::search("top", || Query::filtered(all()).sort_by(SortKey::ascending("squawk")).limit(10)),
        Timed::search("sort", || Query::filtered(all()).sort_by(SortKey::ascending("squawk"))),
        Timed::search("stream", || Query::filtered(all())),
        Timed::new("threads", |_| {
            std::thread::scope(|scope| scope.spawn(|| std::hint::black_box(1_u64)).join())
                .map_err(|_| "a thread panicked".into())
        }),
    ];
    take_turns(side, &mut timed, rounds)?;
    let [scan, index, entries, points, seeks, top, sort, stream, threads] = timed.each_ref();
    let table = f64::from(rows);
    let per = |time: f64, count: f64| time / count.max(1.0);
    println!("cost, ns of processor time");
    let told = [
        ("SCAN_ROW", per(scan.median(), table), "a row of a scan"),
        ("FETCH_ROW + ENTRY", per(index.median(), index.rows as f64), "a row of a range of an index"),
        ("SEEK", per(seeks.median(), SEEKS as f64), "a range of an index with next to no row, planned too"),
        ("", entries.median(), "a search that finds nothing in an index, planning and all"),
        ("POINT", per(points.median(), f64::from(KEYS)), "a row by its key"),
        ("OFFER", per(top.median() - scan.median(), table), "a row offered to the best ten"),
        ("SORT_ROW + SORT_STEP log n", per(sort.median() - stream.median(), table), "a row sorted among all"),
        ("THREAD", threads.median(), "a thread started and waited for, as far as the caller works for it"),
    ];
    for (name, cost, what) in told {
        println!("  {name:<28} {cost:>10.1}   {what}");
    }
    Ok(())
}

fn choices(side: &mut Aerostore, rounds: u32) -> Result<(), Failure> {
    println!("choices: the planner's, beside the ways there are");
    for thousandths in [1, 10, 50, 100, 150, 200, 300, 400, 500, 700] {
        let scanned = move || Query::filtered(WideFlight::TRACK.range(0, (360 * thousandths / 1000).max(1)));
        let mut ways = [
            Timed::count("chosen", move || band(thousandths)),
            Timed::count("index", move || band(thousandths).by_index("altitude")),
            Timed::count("scan", scanned),
        ];
        take_turns(side, &mut ways, rounds)?;
        told(&format!("altitude in {thousandths} of 1000"), &ways);
    }
    for (altitude, speed) in [(10, 10), (50, 50), (100, 20), (200, 100), (300, 300), (20, 500)] {
        let both = move || band(altitude).and(WideFlight::GS.range(100, 100 + speed * 5 / 10));
        let mut ways = [
            Timed::count("chosen", both),
            Timed::count("altitude first", move || both().by_index("altitude")),
            Timed::count("gs first", move || both().by_index("gs")),
        ];
        take_turns(side, &mut ways, rounds)?;
        told(&format!("altitude in {altitude} of 1000 and gs in {speed} of 1000 or so"), &ways);
    }
    Ok(())
}

/// Each way's time, and that of the first against the best of the others.
fn told(title: &str, ways: &[Timed<'_>; 3]) {
    let [chosen, others @ ..] = ways;
    let times: Vec<String> =
        ways.iter().map(|way| format!("{} {:.2} ms", way.name, way.median() / 1e6)).collect();
    let regret = others.iter().map(|way| median_ratio(&chosen.times, &way.times)).fold(0.0, f64::max);
    println!("  {title}: {}   {} rows   chosen to the best {regret:.2}", times.join(", "), chosen.rows);
}
