//! The rows of the indexed workload: flights of 108 bytes in fourteen columns, of which six are indexed.

use crate::flight::Random;
use aerostore_core::row::{FixedString, Row, RowImage, Timestamp, Value, speedtable};
use std::error::Error;
use std::io::Write;
use std::ops::Range;

/// One flight, its own key and thirteen columns.
#[speedtable]
pub struct WideFlight {
    #[column(key)]
    flight_id: FixedString<8>,
    #[column(ordered)]
    lat: f64,
    #[column(ordered)]
    lon: f64,
    #[column(ordered)]
    altitude: i32,
    #[column(ordered)]
    gs: i32,
    track: i32,
    #[column(ordered)]
    dest: FixedString<4>,
    #[column(ordered)]
    updated_at: Timestamp,
    squawk: i32,
    vertical_rate: i32,
    origin: FixedString<4>,
    aircraft: FixedString<8>,
    operator: FixedString<8>,
    route: FixedString<32>,
}

/// Altitudes lie below this, in feet.
pub const ALTITUDES: i32 = 45_000;
/// Bytes of a row.
pub const ROW_BYTES: usize = 108;
/// Bytes of the columns that neither change nor are asked for.
pub const REST_BYTES: usize = 60;
/// Where each of those that are text lies among them.
const ORIGIN: Range<usize> = 8..12;
const AIRCRAFT: Range<usize> = 12..20;
const OPERATOR: Range<usize> = 20..28;
const ROUTE: Range<usize> = 28..60;

/// The key of flight `number`, of ten millions.
pub type Key = [u8; 8];

/// The key of flight `number`.
pub fn key(number: u32) -> Key {
    let mut key = *b"AE000000";
    let mut rest = number;
    for place in key[2..].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key[1] += rest as u8;
    key
}

/// A key as text.
pub fn text(key: &[u8]) -> &str {
    // All that is made here is ASCII.
    std::str::from_utf8(key).unwrap_or_default()
}

/// The columns that change, and those that stay, as plain values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wide {
    /// Its key.
    pub key: Key,
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// Feet.
    pub altitude: i32,
    /// Knots.
    pub gs: i32,
    /// Degrees.
    pub track: i32,
    /// Airport.
    pub dest: [u8; 4],
    /// Unix seconds.
    pub updated_at: i64,
    /// The other six: squawk and vertical rate in four bytes each, origin, aircraft, operator and route in text padded with spaces.
    pub rest: [u8; REST_BYTES],
}

/// What a report a minute later adds to a flight.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Degrees, up to 90 in all.
    pub lat: f64,
    /// Degrees, up to 180 in all.
    pub lon: f64,
    /// Feet, to stay below [`ALTITUDES`].
    pub altitude: i32,
    /// Knots, modulo 1024.
    pub gs: i32,
    /// Seconds.
    pub updated_at: i64,
}

impl Step {
    /// The step of a seed.
    pub fn new(seed: u64) -> Self {
        let word = Random::new(seed).word();
        Self {
            lat: (word & 0xFF) as f64 * 0.001,
            lon: (word >> 8 & 0xFF) as f64 * 0.001,
            altitude: (word >> 16 & 0x7F) as i32,
            gs: (word >> 24 & 0x7) as i32,
            updated_at: 60,
        }
    }
}

impl Wide {
    /// Flight `number` as it is first.
    pub fn new(number: u32) -> Self {
        let mut random = Random::new(u64::from(number) << 20);
        let mut wide = Self {
            key: key(number),
            lat: 0.0,
            lon: 0.0,
            altitude: 0,
            gs: 0,
            track: random.below(360) as i32,
            dest: [b'K'; 4],
            updated_at: 0,
            rest: [b' '; REST_BYTES],
        };
        let airport = random.below(4000);
        wide.dest[1..].copy_from_slice(&[17, 289, 1].map(|step| b'A' + (airport / step % 17) as u8));
        wide.move_far(random.word());
        wide.rest[..4].copy_from_slice(&random.below(4096).to_le_bytes());
        wide.rest[4..8].copy_from_slice(&(random.below(6000) as i32 - 3000).to_le_bytes());
        let mut letters = |place: Range<usize>| {
            let letter = |word: u64, at: usize| b'A' + (word >> (at * 5) & 0xF) as u8;
            let word = random.word();
            wide.rest[place].iter_mut().enumerate().for_each(|(at, byte)| *byte = letter(word, at % 12));
        };
        letters(ORIGIN);
        letters(AIRCRAFT.start..AIRCRAFT.start + 4);
        letters(OPERATOR.start..OPERATOR.start + 3);
        for fix in 0..4 {
            letters(ROUTE.start + fix * 6..ROUTE.start + fix * 6 + 5);
        }
        wide
    }

    /// Transponder code.
    pub fn squawk(&self) -> i32 {
        take(&self.rest, 0).map_or(0, i32::from_le_bytes)
    }

    /// Sets it.
    pub fn set_squawk(&mut self, squawk: i32) {
        self.rest[..4].copy_from_slice(&squawk.to_le_bytes());
    }

    /// Feet a minute.
    pub fn vertical_rate(&self) -> i32 {
        take(&self.rest, 4).map_or(0, i32::from_le_bytes)
    }

    /// Origin, aircraft, operator and route.
    pub fn texts(&self) -> [&str; 4] {
        [ORIGIN, AIRCRAFT, OPERATOR, ROUTE].map(|place| text(&self.rest[place]).trim_end())
    }

    /// Sets the six other columns.
    pub fn set_rest(&mut self, squawk: i32, vertical_rate: i32, texts: [&str; 4]) {
        self.rest = [b' '; REST_BYTES];
        self.rest[..4].copy_from_slice(&squawk.to_le_bytes());
        self.rest[4..8].copy_from_slice(&vertical_rate.to_le_bytes());
        for (place, text) in [ORIGIN, AIRCRAFT, OPERATOR, ROUTE].into_iter().zip(texts) {
            let length = text.len().min(place.len());
            self.rest[place][..length].copy_from_slice(&text.as_bytes()[..length]);
        }
    }

    /// Adds a line of tab-separated text, the columns in the order of [`WideFlight`].
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_tsv(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self { lat, lon, altitude, gs, track, updated_at, .. } = self;
        let (key, dest, [origin, aircraft, operator, route]) =
            (text(&self.key), text(&self.dest), self.texts());
        write!(out, "{key}\t{lat}\t{lon}\t{altitude}\t{gs}\t{track}\t{dest}\t{updated_at}\t")?;
        let (squawk, vertical_rate) = (self.squawk(), self.vertical_rate());
        writeln!(out, "{squawk}\t{vertical_rate}\t{origin}\t{aircraft}\t{operator}\t{route}")
    }

    /// What [`Wide::write_tsv`] has written, without the line end; `None` of anything else.
    pub fn from_tsv(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        let mut wide = Self {
            key: next()?.as_bytes().try_into().ok()?,
            lat: next()?.parse().ok()?,
            lon: next()?.parse().ok()?,
            altitude: next()?.parse().ok()?,
            gs: next()?.parse().ok()?,
            track: next()?.parse().ok()?,
            dest: next()?.as_bytes().try_into().ok()?,
            updated_at: next()?.parse().ok()?,
            rest: [b' '; REST_BYTES],
        };
        let (squawk, vertical_rate) = (next()?.parse().ok()?, next()?.parse().ok()?);
        wide.set_rest(squawk, vertical_rate, [next()?, next()?, next()?, next()?]);
        Some(wide)
    }

    /// Gives the five moving columns values that have nothing to do with those before.
    pub fn move_far(&mut self, seed: u64) {
        let word = Random::new(seed).word();
        self.lat = (word & 0xFFFF_FFFF) as f64 * (180.0 / 4_294_967_296.0) - 90.0;
        self.lon = (word >> 32) as f64 * (360.0 / 4_294_967_296.0) - 180.0;
        self.altitude = (word % ALTITUDES as u64) as i32;
        self.gs = (word >> 20) as i32 & 0x3FF;
        self.updated_at = 1_533_099_600 + (word >> 24 & 0xFFFF_FFFF) as i64;
    }

    /// Moves the five columns as a report a minute later does.
    pub fn move_near(&mut self, seed: u64) {
        let step = Step::new(seed);
        self.lat = (self.lat + step.lat).min(90.0);
        self.lon = (self.lon + step.lon).min(180.0);
        self.altitude = (self.altitude + step.altitude).min(ALTITUDES - 1);
        self.gs = (self.gs + step.gs) & 0x3FF;
        self.updated_at += step.updated_at;
    }

    /// The row as engines keep it that know no columns: 108 bytes.
    pub fn to_bytes(&self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        bytes[..8].copy_from_slice(&self.key);
        bytes[8..16].copy_from_slice(&self.lat.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.lon.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.altitude.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.gs.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.track.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.dest);
        bytes[40..48].copy_from_slice(&self.updated_at.to_le_bytes());
        bytes[48..].copy_from_slice(&self.rest);
        bytes
    }

    /// What [`Wide::to_bytes`] has written; `None` of anything shorter.
    #[inline]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            key: take(bytes, 0)?,
            lat: f64::from_le_bytes(take(bytes, 8)?),
            lon: f64::from_le_bytes(take(bytes, 16)?),
            altitude: i32::from_le_bytes(take(bytes, 24)?),
            gs: i32::from_le_bytes(take(bytes, 28)?),
            track: i32::from_le_bytes(take(bytes, 32)?),
            dest: take(bytes, 36)?,
            updated_at: i64::from_le_bytes(take(bytes, 40)?),
            rest: take(bytes, 48)?,
        })
    }

    /// The five moving columns, as Aerostore sets them.
    pub fn moving(&self) -> [(usize, Value<'static>); 5] {
        [
            (WideFlight::LAT.index(), Value::F64(self.lat)),
            (WideFlight::LON.index(), Value::F64(self.lon)),
            (WideFlight::ALTITUDE.index(), Value::I32(self.altitude)),
            (WideFlight::GS.index(), Value::I32(self.gs)),
            (WideFlight::UPDATED_AT.index(), Value::Timestamp(self.updated_at)),
        ]
    }

    /// As a row of Aerostore.
    ///
    /// # Errors
    /// None: every value fits its column.
    pub fn encode(&self, image: &mut RowImage) -> Result<(), Box<dyn Error>> {
        let [origin, aircraft, operator, route] = self.texts();
        let flight = WideFlight::new(
            FixedString::try_from(text(&self.key))?,
            self.lat,
            self.lon,
            self.altitude,
            self.gs,
            self.track,
            FixedString::try_from(text(&self.dest))?,
            Timestamp(self.updated_at),
            self.squawk(),
            self.vertical_rate(),
            FixedString::try_from(origin)?,
            FixedString::try_from(aircraft)?,
            FixedString::try_from(operator)?,
            FixedString::try_from(route)?,
        );
        Ok(flight.encode(image)?)
    }

    /// The keys of its six index entries: the column's bytes in an order that they keep.
    pub fn index_keys(&self) -> [u64; 6] {
        let number = |value: i64| value.cast_unsigned() ^ 1 << 63;
        let float = |value: f64| {
            let bits = value.to_bits();
            if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
        };
        [
            float(self.lat),
            float(self.lon),
            number(self.altitude.into()),
            number(self.gs.into()),
            u64::from(u32::from_be_bytes(self.dest)),
            number(self.updated_at),
        ]
    }

    /// The indexes whose entry is another one when this has become `after`: which of them, the key of the old entry, that of the new one.
    pub fn index_changes(&self, after: &Self) -> impl Iterator<Item = (usize, u64, u64)> {
        let keys = self.index_keys().into_iter().zip(after.index_keys()).enumerate();
        keys.filter(|(_, (old, new))| old != new).map(|(index, (old, new))| (index, old, new))
    }
}

/// Where in [`Wide::index_keys`] altitudes are.
pub const BY_ALTITUDE: usize = 2;

/// The index key of an altitude.
pub fn altitude_key(altitude: i32) -> u64 {
    i64::from(altitude).cast_unsigned() ^ 1 << 63
}

#[inline]
fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_text_read_back_and_keys_keep_the_order() {
        let mut flights: Vec<Wide> = (0..1000).map(Wide::new).collect();
        for flight in &flights {
            assert_eq!(Wide::from_bytes(&flight.to_bytes()), Some(*flight));
            let mut line = Vec::new();
            flight.write_tsv(&mut line).unwrap();
            assert_eq!(Wide::from_tsv(text(&line).trim_end()), Some(*flight));
        }
        flights.sort_by(|a, b| a.lat.total_cmp(&b.lat));
        assert!(flights.is_sorted_by_key(|flight| flight.index_keys()[0]));
        flights.sort_by_key(|flight| flight.altitude);
        assert!(flights.is_sorted_by_key(|flight| flight.index_keys()[BY_ALTITUDE]));
        assert_eq!(altitude_key(flights[0].altitude), flights[0].index_keys()[BY_ALTITUDE]);
        let (before, mut after) = (flights[0], flights[0]);
        assert_eq!(before.index_changes(&after).count(), 0);
        after.altitude += 1;
        let [old, new] = [before, after].map(|flight| flight.index_keys()[BY_ALTITUDE]);
        assert_eq!(before.index_changes(&after).collect::<Vec<_>>(), [(BY_ALTITUDE, old, new)]);
    }
}
