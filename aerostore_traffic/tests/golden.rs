//! The generator's output is part of its promise: measurements on different machines must use the same rows.

use aerostore_traffic::{Options, Report, Reports, UniqueFlights, tsv};
use std::collections::HashSet;

fn text(reports: impl Iterator<Item = Report>, count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    reports.take(count).for_each(|report| tsv::write(&report, &mut out));
    out
}

/// FNV-1a with 64 bits: short enough to stand here, and nobody attacks it.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[test]
fn the_bytes_are_the_same_everywhere_and_always() {
    let options = Options::default();
    assert_eq!(checksum(&text(Reports::new(&options), 50_000)), GOLDEN_REPORTS, "--reports 50000");
    assert_eq!(checksum(&text(UniqueFlights::new(&options), 50_000)), GOLDEN_UNIQUE, "--unique 50000");
}

const GOLDEN_REPORTS: u64 = 0x1AC9_C1D8_A887_A995;
const GOLDEN_UNIQUE: u64 = 0x0531_8914_6F81_4EFF;

#[test]
fn another_seed_gives_other_rows() {
    let other = Options { seed: 2, ..Options::default() };
    assert_ne!(text(Reports::new(&other), 100), text(Reports::new(&Options::default()), 100));
}

#[test]
fn reports_run_in_time_order_and_every_flight_reports_once_an_interval() {
    let options = Options { flights: 50, ..Options::default() };
    let reports: Vec<Report> = Reports::new(&options).take(50 * 100).collect();
    assert!(reports.is_sorted_by_key(|report| report.updated_at));
    for round in reports.chunks(50) {
        let signs: HashSet<_> = round.iter().map(|report| report.call_sign).collect();
        assert_eq!(signs.len(), 50);
        assert!(round[49].updated_at - round[0].updated_at < 10);
    }
}

#[test]
fn unique_flights_are_unique_and_their_values_plausible() {
    let mut seen = HashSet::new();
    for report in UniqueFlights::new(&Options::default()).take(100_000) {
        assert!(seen.insert(report.call_sign), "{report:?}");
        if let Some((lat, lon)) = report.position {
            assert!(lat.abs() <= 90_000_000 && lon.abs() <= 180_000_000, "{report:?}");
        }
        assert!(
            report.altitude.is_none_or(|feet| (0..=41_000).contains(&feet) && feet % 25 == 0),
            "{report:?}"
        );
        assert!(report.ground_speed.is_none_or(|knots| (140..=560).contains(&knots)), "{report:?}");
    }
}

#[test]
fn about_as_many_reports_are_incomplete_as_asked() {
    for (asked, low, high) in [(0, 0, 0), (20, 150, 250), (1000, 10_000, 10_000)] {
        let options = Options { missing_per_thousand: asked, ..Options::default() };
        let incomplete = |report: &Report| {
            report.position.is_none() || report.altitude.is_none() || report.ground_speed.is_none()
        };
        let count = Reports::new(&options).take(10_000).filter(incomplete).count();
        assert!((low..=high).contains(&count), "{count} of 10000 at {asked} per thousand");
    }
}

#[test]
fn degenerate_options_still_give_reports() {
    let options =
        Options { flights: 0, interval_seconds: 0, missing_per_thousand: 5000, ..Options::default() };
    assert_eq!(Reports::new(&options).take(10).count(), 10);
}
