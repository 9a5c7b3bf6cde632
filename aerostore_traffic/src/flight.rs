//! One flight: a route, a climb, a cruise and a descent.
//!
//! Speed changes evenly during climb and descent, so the distance flown is a closed form of the time and any moment
//! of any flight can be asked for without stepping through those before it.

use crate::airports::{AIRPORTS, Airport};
use crate::call_sign::CallSign;
use crate::random::Random;
use crate::sphere::GreatCircle;

/// Speed over ground at lift-off and touch-down, knots.
const RUNWAY_KNOTS: f64 = 145.0;
/// Mean rates of climb and descent, feet per second.
const CLIMB_FEET_PER_SECOND: f64 = 30.0;
const DESCENT_FEET_PER_SECOND: f64 = 25.0;
/// No airline flies shorter hops than this, nautical miles.
const SHORTEST_NM: f64 = 120.0;

/// A flight from take-off to landing.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    call_sign: CallSign,
    circle: GreatCircle,
    arrival_index: u32,
    cruise_feet: f64,
    cruise_knots: f64,
    climb_seconds: f64,
    cruise_seconds: f64,
    descent_seconds: f64,
}

/// Where a flight is at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) lat: f64,
    pub(crate) lon: f64,
    pub(crate) feet: f64,
    pub(crate) knots: f64,
}

impl Flight {
    /// A flight out of airport `departure_index` to one that `random` chooses.
    pub(crate) fn plan(call_sign: CallSign, departure_index: u32, random: &mut Random) -> Self {
        let departure = airport(departure_index);
        // Short flights are more frequent than long ones: the nearest of three destinations drawn.
        let mut best: Option<(u32, GreatCircle)> = None;
        let mut drawn = 0;
        while drawn < 3 || best.is_none() {
            drawn += 1;
            let index = random.below(airport_count());
            if index == departure_index {
                continue;
            }
            let arrival = airport(index);
            let circle = GreatCircle::between((departure.lat, departure.lon), (arrival.lat, arrival.lon));
            let length = circle.length_nm();
            if length >= SHORTEST_NM && best.as_ref().is_none_or(|(_, known)| length < known.length_nm()) {
                best = Some((index, circle));
            }
        }
        let (arrival_index, circle) = best.unwrap_or_else(|| {
            unreachable!("the loop above ends with a destination");
        });

        // Flight levels in thousands of feet; short hops stay low: they have no room to climb.
        let level = f64::from(random.between(29, 41)).min((circle.length_nm() / 10.0).floor());
        let cruise_feet = level * 1000.0;
        // Airliners cruise near 460 knots; the wind adds or takes up to 60.
        let cruise_knots = 300.0 + level * 4.0 + f64::from(random.between(-60, 60));
        let climb_seconds = cruise_feet / CLIMB_FEET_PER_SECOND;
        let descent_seconds = cruise_feet / DESCENT_FEET_PER_SECOND;
        let slow_nm = (climb_seconds + descent_seconds) / 3600.0 * f64::midpoint(RUNWAY_KNOTS, cruise_knots);
        let cruise_seconds = ((circle.length_nm() - slow_nm) / cruise_knots * 3600.0).max(0.0);
        Self {
            call_sign,
            circle,
            arrival_index,
            cruise_feet,
            cruise_knots,
            climb_seconds,
            cruise_seconds,
            descent_seconds,
        }
    }

    pub(crate) fn call_sign(&self) -> CallSign {
        self.call_sign
    }

    /// Index of the airport it goes to.
    pub(crate) fn arrival_index(&self) -> u32 {
        self.arrival_index
    }

    /// From lift-off to touch-down.
    pub(crate) fn duration_seconds(&self) -> f64 {
        self.climb_seconds + self.cruise_seconds + self.descent_seconds
    }

    /// Position, height and speed, `seconds` after lift-off; after touch-down it stays where it landed.
    #[inline]
    pub(crate) fn at(&self, seconds: f64) -> Moment {
        let left = (self.duration_seconds() - seconds).max(0.0);
        let gain = self.cruise_knots - RUNWAY_KNOTS;
        let (share, along_nm) = if seconds < self.climb_seconds {
            let share = seconds / self.climb_seconds;
            (share, seconds / 3600.0 * (RUNWAY_KNOTS + gain * share / 2.0))
        } else if left < self.descent_seconds {
            let share = left / self.descent_seconds;
            let to_go = left / 3600.0 * (RUNWAY_KNOTS + gain * share / 2.0);
            (share, self.circle.length_nm() - to_go)
        } else {
            let climbed_nm = self.climb_seconds / 3600.0 * f64::midpoint(RUNWAY_KNOTS, self.cruise_knots);
            (1.0, climbed_nm + (seconds - self.climb_seconds) / 3600.0 * self.cruise_knots)
        };
        let (lat, lon) = self.circle.at(along_nm);
        // The climb is steep at first and flattens out.
        let feet = self.cruise_feet * share * (2.0 - share);
        Moment { lat, lon, feet, knots: RUNWAY_KNOTS + gain * share }
    }
}

/// How many airports there are.
pub(crate) fn airport_count() -> u32 {
    u32::try_from(AIRPORTS.len()).unwrap_or(u32::MAX)
}

fn airport(index: u32) -> &'static Airport {
    &AIRPORTS[index as usize]
}

#[cfg(test)]
mod tests {
    use super::{Flight, airport, airport_count};
    use crate::call_sign::CallSign;
    use crate::random::Random;

    #[test]
    fn flights_begin_and_end_at_airports_and_move_without_jumps() {
        let mut random = Random::new(11);
        for ordinal in 0..2000 {
            let departure = random.below(airport_count());
            let flight = Flight::plan(CallSign::of_ordinal(ordinal), departure, &mut random);
            let end = flight.duration_seconds();
            let (first, last) = (flight.at(0.0), flight.at(end));
            let (from, to) = (airport(departure), airport(flight.arrival_index()));
            assert!((first.lat - from.lat).abs() < 1e-6 && (first.lon - from.lon).abs() < 1e-6, "{flight:?}");
            assert!((last.lat - to.lat).abs() < 1e-6 && (last.lon - to.lon).abs() < 1e-6, "{flight:?}");
            assert!(first.feet.abs() < 1.0 && last.feet.abs() < 1.0, "{flight:?}");
            let mut before = first;
            for step in 1..=100 {
                let now = flight.at(end * f64::from(step) / 100.0);
                // A hundredth of a flight, in degrees of latitude: never more than the speed allows.
                let limit = end / 100.0 / 3600.0 * 620.0 / 60.0 + 1e-6;
                assert!((now.lat - before.lat).abs() <= limit, "{flight:?} at {step} %");
                assert!(
                    (0.0..=41_000.0).contains(&now.feet) && (140.0..=560.0).contains(&now.knots),
                    "{now:?}"
                );
                before = now;
            }
        }
    }
}
