//! Contenders take turns: A B A B ..., so that what else the machine does meets both alike.

use crate::histogram::Histogram;
use crate::worker::Worker;
use std::error::Error;
use std::time::Duration;

/// What one side did in all its turns.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Rows per second of each turn, all workers together.
    pub rates: Vec<f64>,
    /// Processor time per row of each turn, the workers' mean, in nanoseconds.
    pub cpu_nanos: Vec<f64>,
    /// Rows, all turns and workers together.
    pub operations: u64,
    /// Single operations, all turns and workers together.
    pub sampled: Histogram,
}

impl Side {
    /// The median turn's rows per second.
    pub fn rate(&self) -> f64 {
        median(&self.rates)
    }
}

/// The median; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which `share` of `values` lie; 0 of none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let place = (last as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

/// The median of `a[i] / b[i]`: each turn against the one beside it.
pub fn median_ratio(a: &[f64], b: &[f64]) -> f64 {
    let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// Lets every side have `rounds` turns.
///
/// # Errors
/// What a worker says.
pub fn take_turns<O: Copy>(
    sides: &mut [Vec<&mut dyn Worker<O>>],
    operation: O,
    rounds: usize,
    turn: Duration,
) -> Result<Vec<Side>, Box<dyn Error>> {
    let mut results = vec![Side::default(); sides.len()];
    for _ in 0..rounds {
        for (workers, result) in sides.iter_mut().zip(&mut results) {
            for worker in workers.iter_mut() {
                worker.start(operation, turn)?;
            }
            let mut rate = 0.0;
            let mut cpu_nanos = 0.0;
            let worker_count = workers.len() as f64;
            for worker in workers.iter_mut() {
                let outcome = worker.finish()?;
                rate += outcome.rate();
                cpu_nanos += outcome.cpu_nanos_each() / worker_count;
                result.operations += outcome.operations;
                result.sampled.merge(&outcome.sampled);
            }
            result.rates.push(rate);
            result.cpu_nanos.push(cpu_nanos);
        }
    }
    Ok(results)
}
