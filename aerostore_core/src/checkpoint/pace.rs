//! The pace of a checkpoint that nobody waits for (P6).
//!
//! Cost        three busy threads on two processors take a third from each other, whatever the scheduler is told. A lower priority would be for good,
//!             as nobody may raise its own again, without a bound on a busy machine, and for nothing between processes whose groups the
//!             scheduler weighs first; a share of time is kept in all of these.

#![forbid(unsafe_code)]

use crate::sys::thread_cpu_ns;
use std::time::{Duration, Instant};

/// How many times as long as it was at work it rests.
const REST: u64 = 3;
/// How often it looks, while it rests, whether somebody waits.
const REST_SLICE: Duration = Duration::from_millis(10);
/// No rest is longer: whoever closes the database waits for it, and whoever has the role gives signs of life.
const REST_MAX: Duration = Duration::from_secs(1);

/// When to rest, and for how long.
pub(super) struct Pace {
    /// What the thread had had of a processor after the last rest; none for one that does not rest.
    rested_at_ns: Option<u64>,
}

impl Pace {
    /// From now on, by the calling thread.
    pub(super) fn new(rests: bool) -> Self {
        Self { rested_at_ns: rests.then(thread_cpu_ns) }
    }

    /// The rest that is due; none while others wait for the end.
    fn due(&mut self, now_ns: u64, is_pressed: bool) -> Option<Duration> {
        let rested_at_ns = self.rested_at_ns.as_mut()?;
        let worked_ns = now_ns.saturating_sub(std::mem::replace(rested_at_ns, now_ns));
        (!is_pressed).then(|| Duration::from_nanos(REST * worked_ns).min(REST_MAX))
    }

    /// Rests, if it is to, and while nobody waits for the end, which `is_pressed` says.
    pub(super) fn rest(&mut self, is_pressed: impl Fn() -> bool) {
        if self.rested_at_ns.is_none() {
            return;
        }
        if let Some(rest) = self.due(thread_cpu_ns(), is_pressed()) {
            sleep(rest, is_pressed);
        }
    }
}

fn sleep(rest: Duration, is_pressed: impl Fn() -> bool) {
    let begun = Instant::now();
    while let Some(left) = rest.checked_sub(begun.elapsed())
        && !left.is_zero()
        && !is_pressed()
    {
        std::thread::sleep(left.min(REST_SLICE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn one_that_nobody_waits_for_has_a_quarter_of_a_processor() {
        let mut pace = Pace { rested_at_ns: Some(5_000_000) };
        assert_eq!(pace.due(6_000_000, false), Some(Duration::from_millis(3)));
        assert_eq!(
            pace.due(6_500_000, false),
            Some(Duration::from_micros(1500)),
            "of what it has done since"
        );
        assert_eq!(pace.due(7_500_000, true), None, "others have no room while it lasts");
        assert_eq!(pace.due(8_000_000, false), Some(Duration::from_micros(1500)), "it makes up for nothing");
        assert_eq!(pace.due(u64::MAX / 4, false), Some(REST_MAX));
    }

    #[test]
    fn one_that_is_waited_for_never_rests() {
        assert_eq!(Pace::new(false).due(u64::MAX, false), None);
    }

    #[test]
    fn one_that_rests_goes_on_when_somebody_waits() {
        let looks = Cell::new(0);
        sleep(Duration::from_hours(1), || {
            looks.set(looks.get() + 1);
            looks.get() > 2
        });
        assert_eq!(looks.get(), 3);
    }

    #[test]
    fn time_asleep_is_no_work() {
        let mut pace = Pace::new(true);
        std::thread::sleep(Duration::from_millis(20));
        let rest = pace.due(thread_cpu_ns(), false).unwrap_or_default();
        assert!(rest < Duration::from_millis(20), "{rest:?}");
    }
}
