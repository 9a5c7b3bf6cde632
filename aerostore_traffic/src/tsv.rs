//! Reports as lines of tab-separated values; an empty field stands for a missing value.

use crate::report::Report;

/// The column names, in the order of [`write`]; ends with a line feed.
pub const HEADER: &[u8] = b"flight_id\tlat\tlon\taltitude\tgs\tupdated_at\n";

/// Appends one line to `out`.
pub fn write(report: &Report, out: &mut Vec<u8>) {
    // Built in a buffer on the stack, so that `out` is checked for room once a line and not once a byte.
    let mut line = Line { bytes: [0; Line::BYTES_MAX], len: 0 };
    line.bytes(report.call_sign.as_bytes());
    line.byte(b'\t');
    if let Some((lat, _)) = report.position {
        line.degrees(lat);
    }
    line.byte(b'\t');
    if let Some((_, lon)) = report.position {
        line.degrees(lon);
    }
    line.byte(b'\t');
    if let Some(altitude) = report.altitude {
        line.integer(i64::from(altitude));
    }
    line.byte(b'\t');
    if let Some(ground_speed) = report.ground_speed {
        line.integer(i64::from(ground_speed));
    }
    line.byte(b'\t');
    line.integer(report.updated_at);
    line.byte(b'\n');
    out.extend_from_slice(&line.bytes[..line.len]);
}

struct Line {
    bytes: [u8; Self::BYTES_MAX],
    len: usize,
}

impl Line {
    /// Call sign, two coordinates, three integers, five tabs and a line feed need at most 100.
    const BYTES_MAX: usize = 128;

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Millionths of a degree as degrees with six decimals.
    fn degrees(&mut self, millionths: i32) {
        if millionths < 0 {
            self.byte(b'-');
        }
        let magnitude = millionths.unsigned_abs();
        self.digits(u64::from(magnitude / 1_000_000), 1);
        self.byte(b'.');
        self.digits(u64::from(magnitude % 1_000_000), 6);
    }

    fn integer(&mut self, number: i64) {
        if number < 0 {
            self.byte(b'-');
        }
        self.digits(number.unsigned_abs(), 1);
    }

    /// `number` in at least `width` digits.
    fn digits(&mut self, mut number: u64, width: usize) {
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        while number > 0 {
            first -= 1;
            digits[first] += (number % 10).to_le_bytes()[0];
            number /= 10;
        }
        self.bytes(&digits[first.min(digits.len() - width)..]);
    }
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::{CallSign, Report};

    fn text(report: &Report) -> String {
        let mut out = Vec::new();
        write(report, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_and_gaps() {
        let call_sign = CallSign::of_ordinal(0);
        let mut report = Report {
            call_sign,
            position: Some((-7, 179_999_999)),
            altitude: Some(-25),
            ground_speed: Some(0),
            updated_at: 1_700_000_000,
        };
        assert_eq!(text(&report), format!("{call_sign}\t-0.000007\t179.999999\t-25\t0\t1700000000\n"));
        (report.position, report.altitude, report.ground_speed) = (None, None, None);
        assert_eq!(text(&report), format!("{call_sign}\t\t\t\t\t1700000000\n"));
    }

    #[test]
    fn the_longest_line_fits() {
        let report = Report {
            call_sign: CallSign::of_ordinal(u32::MAX),
            position: Some((i32::MIN, i32::MIN)),
            altitude: Some(i32::MIN),
            ground_speed: Some(i32::MIN),
            updated_at: i64::MIN,
        };
        assert!(text(&report).ends_with("-9223372036854775808\n"));
    }
}
