//! How far an ingest is, in one line on a terminal.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Stderr, Write};
use std::time::Duration;

use aerostore_core::db::ingest::IngestReport;

/// Whoever has to wait less long wants no line.
const PATIENCE: Duration = Duration::from_millis(500);
/// Time between two changes of the line.
const PERIOD: Duration = Duration::from_millis(200);

/// A line that is written over again and again, and wiped in the end.
pub(super) struct Meter<W: Write> {
    out: W,
    /// When the next line is due, since the start of the ingest.
    due: Duration,
}

impl Meter<Stderr> {
    /// A meter on the standard error channel if that is a terminal.
    pub(super) fn of_terminal() -> Option<Self> {
        let out = io::stderr();
        out.is_terminal().then(|| Self::new(out))
    }
}

impl<W: Write> Meter<W> {
    fn new(out: W) -> Self {
        Self { out, due: PATIENCE }
    }

    /// Writes the figures if it is time to.
    pub(super) fn show(&mut self, report: &IngestReport) {
        if report.elapsed < self.due {
            return;
        }
        self.due = report.elapsed + PERIOD;
        // A terminal that takes no text is no reason to end an ingest.
        let _ = write!(self.out, "\r{} rows, {:.0} rows/s\x1b[K", report.rows, report.rows_per_sec());
        let _ = self.out.flush();
    }
}

impl<W: Write> Drop for Meter<W> {
    fn drop(&mut self) {
        if self.due > PATIENCE {
            let _ = self.out.write_all(b"\r\x1b[K");
            let _ = self.out.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(times_ms: &[u64]) -> String {
        let mut out = Vec::new();
        let mut meter = Meter::new(&mut out);
        for &ms in times_ms {
            let mut report = IngestReport::default();
            (report.rows, report.elapsed) = (ms, Duration::from_millis(ms));
            meter.show(&report);
        }
        drop(meter);
        String::from_utf8(out).expect("a meter writes text")
    }

    #[test]
    fn a_short_ingest_shows_nothing() {
        assert_eq!(shown(&[1, 100, 499]), "");
    }

    #[test]
    fn a_long_ingest_shows_a_line_now_and_then_and_wipes_it() {
        let wanted = "\r600 rows, 1000 rows/s\x1b[K\r800 rows, 1000 rows/s\x1b[K\r\x1b[K";
        assert_eq!(shown(&[100, 600, 700, 800, 900]), wanted);
    }
}
