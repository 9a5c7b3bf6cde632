//! Sides that take turns: what else the machine does meets them alike, and ratios are taken turn by turn.

use std::time::{Duration, Instant};

/// What the sides took, per operation, in nanoseconds.
pub struct Turns {
    title: String,
    names: Vec<&'static str>,
    taken: Vec<Vec<f64>>,
}

impl Turns {
    /// No turns yet.
    pub fn new(title: &str, names: &[&'static str]) -> Self {
        Self { title: title.to_owned(), names: names.to_vec(), taken: vec![Vec::new(); names.len()] }
    }

    /// Lets each side have one turn of `operations` operations.
    pub fn round(&mut self, operations: u32, sides: &mut [&mut dyn FnMut()]) {
        for (side, turns) in sides.iter_mut().zip(&mut self.taken) {
            let begin = Instant::now();
            for _ in 0..operations {
                side();
            }
            turns.push(begin.elapsed().as_secs_f64() * 1e9 / f64::from(operations));
        }
    }

    /// Adds what one side took for one operation.
    pub fn add(&mut self, side: usize, took: Duration) {
        self.taken[side].push(took.as_secs_f64() * 1e9);
    }

    /// Prints medians and tails, and the ratio of each side to the one named.
    pub fn print(&self, peer: &str) {
        println!("\n{} ({} turns each, nanoseconds)", self.title, self.taken.first().map_or(0, Vec::len));
        let peer_at = self.names.iter().position(|name| *name == peer).unwrap_or(0);
        for (name, turns) in self.names.iter().zip(&self.taken) {
            let [p50, p99, p999] = [500, 990, 999].map(|permille| quantile(turns, permille));
            let ratios: Vec<f64> = turns.iter().zip(&self.taken[peer_at]).map(|(a, b)| a / b).collect();
            let ratio = quantile(&ratios, 500);
            println!(
                "  {name:<28} p50 {p50:>10.1}  p99 {p99:>10.1}  p99.9 {p999:>10.1}   {ratio:.2} x {peer}"
            );
        }
    }
}

/// The value below which `permille` thousandths of `values` lie; 0 of none.
fn quantile(values: &[f64], permille: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) * permille / 1000).copied().unwrap_or_default()
}
