//! Running a transaction again: how long to wait before it.

#![forbid(unsafe_code)]

use std::time::Duration;

/// Truncated exponential backoff with full jitter: the n-th pause is uniform below min(base * 2^n, ceiling).
///
/// Source: Brooker, "Exponential Backoff And Jitter", 2015.
#[derive(Debug)]
pub struct RetryBackoff {
    limit_us: u64,
    ceiling_us: u64,
    state: u64,
}

impl RetryBackoff {
    /// A backoff whose jitter comes from `seed`, with limits from 1 to 16 ms.
    pub fn new(seed: u64) -> Self {
        Self::with_limits(seed, Duration::from_millis(1), Duration::from_millis(16))
    }

    /// A backoff whose first pause is below `base`, and none above `ceiling`.
    pub fn with_limits(seed: u64, base: Duration, ceiling: Duration) -> Self {
        let micros = |limit: Duration| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX).max(1);
        Self { limit_us: micros(base).min(micros(ceiling)), ceiling_us: micros(ceiling), state: seed | 1 }
    }

    /// The next pause.
    pub fn next_pause(&mut self) -> Duration {
        // xorshift64: Marsaglia, "Xorshift RNGs", 2003.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let pause = self.state % self.limit_us;
        self.limit_us = self.limit_us.saturating_mul(2).min(self.ceiling_us);
        Duration::from_micros(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_the_ceiling() {
        let (base, ceiling) = (Duration::from_millis(1), Duration::from_millis(16));
        let mut backoff = RetryBackoff::with_limits(7, base, ceiling);
        assert!(backoff.next_pause() < base);
        let longest = (0..100).map(|_| backoff.next_pause()).max();
        assert!(longest > Some(base) && longest < Some(ceiling), "{longest:?}");
        let mut none = RetryBackoff::with_limits(7, Duration::ZERO, Duration::ZERO);
        assert_eq!(none.next_pause(), Duration::ZERO);
    }
}
