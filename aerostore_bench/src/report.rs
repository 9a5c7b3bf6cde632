//! How results are printed.

use crate::turns::{Side, median, median_ratio};

/// Prints the machine and the commit, without which no figure means anything.
pub fn print_machine() {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let pages =
        std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    println!("machine      {count} x{}", model.trim_start_matches([' ', '\t', ':']).trim());
    println!("load         {}", load.trim());
    println!("shmem pages  {}", pages.trim());
}

/// Prints one comparison: a line per side, then the ratio turn by turn.
///
/// Of a machine that others use too, the processor time is what to look at: the wall clock counts their turns as well.
pub fn print_pair(title: &str, names: [&str; 2], sides: &[Side]) {
    println!("{title}");
    for (name, side) in names.iter().zip(sides) {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| side.sampled.quantile(share));
        println!(
            "  {name:<22} {:>9.0} /s   cpu {:>6.0} ns each   sampled p50 {p50} p99 {p99} p99.9 {p999} ns",
            side.rate(),
            median(&side.cpu_nanos)
        );
    }
    if let [a, b] = sides {
        println!(
            "  {} / {}: rate {:.2}, cpu {:.2}, p50 {:.2}",
            names[0],
            names[1],
            median_ratio(&a.rates, &b.rates),
            median_ratio(&a.cpu_nanos, &b.cpu_nanos),
            a.sampled.quantile(0.5) as f64 / b.sampled.quantile(0.5).max(1) as f64
        );
    }
}
