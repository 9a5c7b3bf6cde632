//! Random numbers that are the same everywhere.
//!
//! Source      xoshiro256** of Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", ACM TOMS 47(4),
//!             2021, section 5; its 256 bits are filled from one word by `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014),
//!             as that paper advises. Integers in a range by Lemire's multiplication (ACM TOMACS 29(1), 2019)
//!             without its rejection step: the bias, below 2^-32 here, does not matter for traffic.

/// A generator of pseudo-random numbers; equal seeds give equal sequences on every platform.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// A generator whose sequence depends on `seed` alone.
    pub fn new(seed: u64) -> Self {
        let mut word = seed;
        let mut next = || {
            word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = word;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        };
        Self { state: [next(), next(), next(), next()] }
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let c = c ^ a;
        let d = d ^ b;
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        let high = self.next_u64() >> 32;
        u32::try_from((high * u64::from(bound)) >> 32).unwrap_or(0)
    }

    /// A number in `low..=high`, which must not be reversed.
    #[inline]
    pub fn between(&mut self, low: i32, high: i32) -> i32 {
        low.wrapping_add_unsigned(self.below(high.wrapping_sub(low).unsigned_abs() + 1))
    }

    /// A number in `[0, 1)` with 32 random bits.
    #[inline]
    pub fn fraction(&mut self) -> f64 {
        f64::from(self.below(u32::MAX)) / 4_294_967_296.0
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn seeding_and_output_match_the_published_algorithms() {
        // SplitMix64 from seed 0, as printed by its authors' reference program.
        let first = Random::new(0).state;
        assert_eq!(first[0], 0xE220_A839_7B1D_CDAF);
        assert_eq!(first[1], 0x6E78_9E6A_A1B9_65F4);
        // xoshiro256** from the state 1, 2, 3, 4: the first outputs can be worked out by hand.
        let mut random = Random { state: [1, 2, 3, 4] };
        assert_eq!([random.next_u64(), random.next_u64(), random.next_u64()], [11_520, 0, 1_509_978_240]);
    }

    #[test]
    fn ranges_are_kept_and_reached() {
        let mut random = Random::new(3);
        let mut seen = [false; 5];
        for _ in 0..1000 {
            let number = random.between(-2, 2);
            assert!((-2..=2).contains(&number));
            seen[usize::try_from(number + 2).unwrap()] = true;
            assert!((0.0..1.0).contains(&random.fraction()));
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.below(0), 0);
    }
}
