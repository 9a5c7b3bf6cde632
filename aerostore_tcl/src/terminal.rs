//! How far something is that takes long, in one line on a terminal.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io::{self, IsTerminal, Stderr, Write};
use std::time::Duration;

/// Time between two changes of the line.
const PERIOD: Duration = Duration::from_millis(200);

/// A line that is written over again and again, and wiped in the end.
pub(crate) struct Line<W: Write> {
    out: W,
    /// When the next text is due, since the start.
    due: Duration,
    is_shown: bool,
}

impl Line<Stderr> {
    /// A line on the standard error channel if that is a terminal; whoever has to wait for less than `patience` sees none.
    pub(crate) fn of_terminal(patience: Duration) -> Option<Self> {
        let out = io::stderr();
        out.is_terminal().then(|| Self::new(out, patience))
    }
}

impl<W: Write> Line<W> {
    fn new(out: W, patience: Duration) -> Self {
        Self { out, due: patience, is_shown: false }
    }

    /// Writes `text` if it is time to, so long after the start.
    pub(crate) fn show(&mut self, elapsed: Duration, text: &impl Display) {
        if elapsed < self.due {
            return;
        }
        self.due = elapsed + PERIOD;
        self.is_shown = true;
        // A terminal that takes no text is no reason to end what it is about.
        let _ = write!(self.out, "\r{text}\x1b[K");
        let _ = self.out.flush();
    }
}

impl<W: Write> Drop for Line<W> {
    fn drop(&mut self) {
        if self.is_shown {
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
        let mut line = Line::new(&mut out, Duration::from_millis(500));
        for &ms in times_ms {
            line.show(Duration::from_millis(ms), &format_args!("{ms} rows"));
        }
        drop(line);
        String::from_utf8(out).expect("a line is text")
    }

    #[test]
    fn what_is_short_shows_nothing() {
        assert_eq!(shown(&[1, 100, 499]), "");
    }

    #[test]
    fn what_is_long_shows_a_line_now_and_then_and_wipes_it() {
        assert_eq!(shown(&[100, 600, 700, 800, 900]), "\r600 rows\x1b[K\r800 rows\x1b[K\r\x1b[K");
    }
}
