//! Call signs: an airline's three letters and a flight number, such as `BAW123`, `SWR8K` or `DLH47XQ`.
//!
//! Every ordinal below [`CallSign::COUNT`] has a call sign of its own, so that "a million different flights" needs no
//! set of those used. Beyond that a flight of another day gets a day's suffix: `BAW123-2`.

use std::fmt;

const AIRLINES: [&str; 64] = [
    "BAW", "AFR", "DLH", "KLM", "SWR", "EZY", "RYR", "IBE", "VLG", "AUA", "SAS", "FIN", "NAX", "LOT", "CSA",
    "THY", "AEE", "EIN", "TAP", "BEL", "ELY", "UAE", "QTR", "SVA", "MSR", "ETH", "KQA", "SAA", "AIC", "IGO",
    "THA", "SIA", "MAS", "GIA", "PAL", "CPA", "CCA", "CES", "CSN", "KAL", "AAR", "JAL", "ANA", "QFA", "VOZ",
    "ANZ", "AAL", "DAL", "UAL", "SWA", "JBU", "ASA", "ACA", "WJA", "AMX", "AVA", "LAN", "TAM", "GLO", "ARG",
    "HAL", "EWG", "TRA", "WZZ",
];
/// Letters of flight numbers; I and O are left out, as airlines do, because they look like digits.
const LETTERS: &[u8; 24] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";

const DIGITS_ONLY: u32 = 9999;
const ONE_LETTER: u32 = 999 * 24;
const TWO_LETTERS: u32 = 99 * 24 * 24;
const PER_AIRLINE: u32 = DIGITS_ONLY + ONE_LETTER + TWO_LETTERS;

/// Step from one ordinal to the next; prime, hence coprime to `COUNT`, hence every call sign is reached.
const STRIDE: u64 = 2_654_435_761;

/// A flight's identification of at most 18 ASCII bytes, kept inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallSign {
    bytes: [u8; Self::BYTES_MAX],
    len: u8,
}

impl CallSign {
    /// How many call signs there are before day suffixes begin.
    pub const COUNT: u64 = AIRLINES.len() as u64 * PER_AIRLINE as u64;
    /// Length of the longest one.
    pub const BYTES_MAX: usize = 18;

    /// The call sign of flight number `ordinal`; different ordinals below 2^32 have different ones.
    pub fn of_ordinal(ordinal: u32) -> Self {
        let count = Self::COUNT;
        let day = u64::from(ordinal) / count;
        let place = (u64::from(ordinal) % count) * STRIDE % count;
        let airline = AIRLINES[usize::from(place.to_le_bytes()[0]) % AIRLINES.len()];
        let number = u32::try_from(place / AIRLINES.len() as u64).unwrap_or(0);

        let mut sign = Self { bytes: [0; Self::BYTES_MAX], len: 0 };
        airline.bytes().for_each(|byte| sign.push(byte));
        if number < DIGITS_ONLY {
            sign.push_number(number + 1);
        } else if number < DIGITS_ONLY + ONE_LETTER {
            let rest = number - DIGITS_ONLY;
            sign.push_number(rest / 24 + 1);
            sign.push_letter(rest % 24);
        } else {
            let rest = number - DIGITS_ONLY - ONE_LETTER;
            sign.push_number(rest / (24 * 24) + 1);
            sign.push_letter(rest / 24 % 24);
            sign.push_letter(rest % 24);
        }
        if day > 0 {
            sign.push(b'-');
            sign.push_number(u32::try_from(day + 1).unwrap_or(u32::MAX));
        }
        sign
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }

    fn push_letter(&mut self, index: u32) {
        self.push(LETTERS[index as usize]);
    }

    fn push_number(&mut self, number: u32) {
        if number >= 10 {
            self.push_number(number / 10);
        }
        self.push(b'0' + (number % 10).to_le_bytes()[0]);
    }
}

impl fmt::Debug for CallSign {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

impl fmt::Display for CallSign {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{CallSign, STRIDE};
    use std::collections::HashSet;

    #[test]
    fn the_stride_reaches_every_call_sign() {
        let (mut larger, mut smaller) = (STRIDE, CallSign::COUNT);
        while smaller != 0 {
            (larger, smaller) = (smaller, larger % smaller);
        }
        assert_eq!(larger, 1, "greatest common divisor of stride and count");
    }

    #[test]
    fn ordinals_have_different_call_signs_of_ordinary_shape() {
        let mut seen = HashSet::new();
        for ordinal in 0..200_000 {
            let sign = CallSign::of_ordinal(ordinal);
            assert!((4..=7).contains(&sign.as_bytes().len()), "{sign}");
            assert!(sign.as_bytes().iter().all(u8::is_ascii_alphanumeric), "{sign}");
            assert!(seen.insert(sign), "{sign} twice");
        }
    }

    #[test]
    fn after_the_last_one_days_are_told_apart() {
        let count = u32::try_from(CallSign::COUNT).unwrap();
        assert_eq!(CallSign::of_ordinal(count).as_str(), format!("{}-2", CallSign::of_ordinal(0)));
        assert!(CallSign::of_ordinal(u32::MAX).as_bytes().len() <= CallSign::BYTES_MAX);
    }
}
