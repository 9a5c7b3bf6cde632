//! Running a transaction again: how long to wait before it.

#![forbid(unsafe_code)]

use std::time::Duration;

const BASE_US: u64 = 1_000;
const CEILING_US: u64 = 16_000;

/// Truncated exponential backoff with full jitter: the n-th pause is uniform below min(1 ms * 2^n, 16 ms).
///
/// Source: Brooker, "Exponential Backoff And Jitter", 2015.
#[derive(Debug)]
pub struct RetryBackoff {
    limit_us: u64,
    state: u64,
}

impl RetryBackoff {
    /// A backoff whose jitter comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { limit_us: BASE_US, state: seed | 1 }
    }

    /// The next pause.
    pub fn next_pause(&mut self) -> Duration {
        // xorshift64: Marsaglia, "Xorshift RNGs", 2003.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let pause = self.state % self.limit_us;
        self.limit_us = (self.limit_us * 2).min(CEILING_US);
        Duration::from_micros(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_the_ceiling() {
        let mut backoff = RetryBackoff::new(7);
        assert!(backoff.next_pause() < Duration::from_micros(BASE_US));
        for _ in 0..100 {
            assert!(backoff.next_pause() < Duration::from_micros(CEILING_US));
        }
    }
}
