//! Latencies by logarithmic classes: every quantile to within 3 %.

/// Classes per power of two.
const SUB_LOG2: u32 = 5;
/// Classes: up to 2^40 ns.
const CLASS_COUNT: usize = ((41 - SUB_LOG2 as usize) << SUB_LOG2) + 1;

/// Counts of nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; CLASS_COUNT] }
    }
}

impl Histogram {
    /// Adds one duration.
    #[inline]
    pub fn add(&mut self, nanos: u64) {
        let class = class_of(nanos).min(CLASS_COUNT - 1);
        self.counts[class] += 1;
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// The duration that `share` (0 to 1) of all do not exceed, in nanoseconds; 0 of none.
    pub fn quantile(&self, share: f64) -> u64 {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return value_of(class);
            }
        }
        0
    }

    /// As one line: `class:count` pairs.
    pub fn to_line(&self) -> String {
        let pairs = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        pairs.map(|(class, count)| format!("{class}:{count}")).collect::<Vec<_>>().join(",")
    }

    /// What [`Histogram::to_line`] has written; `None` for anything else.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut histogram = Self::default();
        for pair in line.split(',').filter(|pair| !pair.is_empty()) {
            let (class, count) = pair.split_once(':')?;
            *histogram.counts.get_mut(class.parse::<usize>().ok()?)? = count.parse().ok()?;
        }
        Some(histogram)
    }
}

fn class_of(nanos: u64) -> usize {
    let exponent = (u64::BITS - nanos.leading_zeros()).saturating_sub(SUB_LOG2 + 1);
    ((exponent as usize) << SUB_LOG2) + (nanos >> exponent) as usize
}

fn value_of(class: usize) -> u64 {
    let mantissa_limit = 2 << SUB_LOG2;
    if class < mantissa_limit {
        return class as u64;
    }
    let exponent = (class >> SUB_LOG2) - 1;
    ((class - (exponent << SUB_LOG2)) as u64) << exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_within_three_percent_of_what_is_in_it() {
        for nanos in (0..4096).chain([10_000, 123_456, 99_999_999, 1 << 39]) {
            let value = value_of(class_of(nanos));
            assert!(value <= nanos && (nanos - value) * 32 <= nanos, "{nanos} as {value}");
        }
    }

    #[test]
    fn quantiles_survive_the_line() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|nanos| histogram.add(nanos));
        let copy = Histogram::from_line(&histogram.to_line()).unwrap();
        assert_eq!((copy.quantile(0.5), copy.quantile(0.25)), (50, 25));
        assert!((96..=99).contains(&copy.quantile(0.99)));
    }
}
