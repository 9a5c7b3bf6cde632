//! Streams of reports: many flights over time, or many flights once each.

use crate::call_sign::CallSign;
use crate::flight::{Flight, airport_count};
use crate::random::Random;

/// What to generate; equal options give equal reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the random numbers start.
    pub seed: u64,
    /// Flights in the air at the same time; 0 counts as 1.
    pub flights: u32,
    /// Time of the first report, Unix seconds.
    pub start: i64,
    /// Seconds between two reports of one flight; 0 counts as 1.
    pub interval_seconds: u32,
    /// Reports of a thousand that lack a value.
    pub missing_per_thousand: u32,
}

impl Default for Options {
    /// Twelve hundred flights that report every ten seconds, a fiftieth of the reports incomplete.
    fn default() -> Self {
        Self { seed: 1, flights: 1200, start: 1_700_000_000, interval_seconds: 10, missing_per_thousand: 20 }
    }
}

/// One position report. `None` where the receiver did not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who.
    pub call_sign: CallSign,
    /// Latitude and longitude in millionths of a degree, north and east positive.
    pub position: Option<(i32, i32)>,
    /// Feet, in the steps of 25 that transponders send.
    pub altitude: Option<i32>,
    /// Speed over ground, knots.
    pub ground_speed: Option<i32>,
    /// When, Unix seconds.
    pub updated_at: i64,
}

impl Report {
    fn of(flight: &Flight, seconds: f64, updated_at: i64, missing: u32, random: &mut Random) -> Self {
        let now = flight.at(seconds);
        // One draw feeds the three small decisions; 16 bits each are plenty.
        let bits = random.next_u64();
        let knots_off = i32::from((bits % 5).to_le_bytes()[0]) - 2;
        let mut report = Self {
            call_sign: flight.call_sign(),
            position: Some((rounded(now.lat * 1e6), rounded(now.lon * 1e6))),
            altitude: Some(rounded(now.feet / 25.0) * 25),
            ground_speed: Some(rounded(now.knots) + knots_off),
            updated_at,
        };
        let lacks = (((bits >> 16) & 0xFFFF) * 1000) >> 16 < u64::from(missing);
        if lacks {
            match (bits >> 32) % 4 {
                0 => report.position = None,
                1 => report.altitude = None,
                2 => report.ground_speed = None,
                _ => (report.altitude, report.ground_speed) = (None, None),
            }
        }
        report
    }
}

/// The nearest whole number; all callers stay within a few hundred million.
#[expect(clippy::cast_possible_truncation, reason = "coordinates in millionths of a degree fit in 32 bits")]
fn rounded(number: f64) -> i32 {
    number.round() as i32
}

/// An endless stream of reports in time order. A flight that has landed is followed by a new one, with a call sign of
/// its own, from the same airport.
#[derive(Clone, Debug)]
pub struct Reports {
    random: Random,
    /// Each flight in the air and the second (after `start`) at which it took off.
    flights: Vec<(Flight, i64)>,
    start: i64,
    interval_seconds: i64,
    missing_per_thousand: u32,
    next_ordinal: u32,
    next_index: usize,
    round_seconds: i64,
}

impl Reports {
    /// A stream that depends on `options` alone.
    pub fn new(options: &Options) -> Self {
        let mut random = Random::new(options.seed);
        let count = options.flights.max(1);
        let flights = (0..count)
            .map(|ordinal| {
                let departure = random.below(airport_count());
                let flight = Flight::plan(CallSign::of_ordinal(ordinal), departure, &mut random);
                // At the beginning everybody is somewhere on the way.
                let flown = whole_seconds(random.fraction() * flight.duration_seconds());
                (flight, -flown)
            })
            .collect();
        Self {
            random,
            flights,
            start: options.start,
            interval_seconds: i64::from(options.interval_seconds.max(1)),
            missing_per_thousand: options.missing_per_thousand,
            next_ordinal: count,
            next_index: 0,
            round_seconds: 0,
        }
    }
}

impl Iterator for Reports {
    type Item = Report;

    fn next(&mut self) -> Option<Report> {
        if self.next_index == self.flights.len() {
            self.next_index = 0;
            self.round_seconds += self.interval_seconds;
        }
        let index = self.next_index;
        self.next_index += 1;
        // Flights report one after the other, spread over the interval, so that time never runs backwards.
        let phase =
            i64::try_from(index as u64 * self.interval_seconds.unsigned_abs() / self.flights.len() as u64);
        let now = self.round_seconds + phase.unwrap_or(0);
        let (flight, took_off) = &mut self.flights[index];
        if seconds_between(*took_off, now) > flight.duration_seconds() {
            let call_sign = CallSign::of_ordinal(self.next_ordinal);
            self.next_ordinal = self.next_ordinal.wrapping_add(1);
            *flight = Flight::plan(call_sign, flight.arrival_index(), &mut self.random);
            *took_off = now;
        }
        let seconds = seconds_between(*took_off, now);
        Some(Report::of(flight, seconds, self.start + now, self.missing_per_thousand, &mut self.random))
    }
}

/// A stream of reports of different flights, one each, taken somewhere on the way within one interval. It ends after
/// 2^32 of them.
#[derive(Clone, Debug)]
pub struct UniqueFlights {
    random: Random,
    start: i64,
    interval_seconds: u32,
    missing_per_thousand: u32,
    next_ordinal: Option<u32>,
}

impl UniqueFlights {
    /// A stream that depends on `options` alone; `flights` is not used.
    pub fn new(options: &Options) -> Self {
        Self {
            random: Random::new(options.seed),
            start: options.start,
            interval_seconds: options.interval_seconds.max(1),
            missing_per_thousand: options.missing_per_thousand,
            next_ordinal: Some(0),
        }
    }
}

impl Iterator for UniqueFlights {
    type Item = Report;

    fn next(&mut self) -> Option<Report> {
        let ordinal = self.next_ordinal?;
        self.next_ordinal = ordinal.checked_add(1);
        let random = &mut self.random;
        let flight = Flight::plan(CallSign::of_ordinal(ordinal), random.below(airport_count()), random);
        let seconds = random.fraction() * flight.duration_seconds();
        let updated_at = self.start + i64::from(random.below(self.interval_seconds));
        Some(Report::of(&flight, seconds, updated_at, self.missing_per_thousand, random))
    }
}

fn whole_seconds(seconds: f64) -> i64 {
    i64::from(rounded(seconds.floor()))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a flight lasts hours, not the 285 million years of 2^53 seconds"
)]
fn seconds_between(earlier: i64, later: i64) -> f64 {
    (later - earlier) as f64
}
