//! The rows of the indexed workload: flights of 108 bytes in fourteen columns, of which six are indexed.

use crate::flight::Random;
use aerostore_core::row::{FixedString, Row, RowImage, Timestamp, Value, speedtable};
use std::error::Error;

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
        };
        let airport = random.below(4000);
        wide.dest[1..].copy_from_slice(&[17, 289, 1].map(|step| b'A' + (airport / step % 17) as u8));
        wide.move_far(random.word());
        wide
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
        let word = Random::new(seed).word();
        self.lat = (self.lat + (word & 0xFF) as f64 * 0.001).min(90.0);
        self.lon = (self.lon + (word >> 8 & 0xFF) as f64 * 0.001).min(180.0);
        self.altitude = (self.altitude + (word >> 16 & 0x7F) as i32).min(ALTITUDES - 1);
        self.gs = (self.gs + (word >> 24 & 0x7) as i32) & 0x3FF;
        self.updated_at += 60;
    }

    /// The row as engines keep it that know no columns: 108 bytes.
    pub fn to_bytes(&self) -> [u8; ROW_BYTES] {
        let mut bytes = [b' '; ROW_BYTES];
        bytes[..8].copy_from_slice(&self.key);
        bytes[8..16].copy_from_slice(&self.lat.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.lon.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.altitude.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.gs.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.track.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.dest);
        bytes[40..48].copy_from_slice(&self.updated_at.to_le_bytes());
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
        let flight = WideFlight::new(
            FixedString::try_from(text(&self.key))?,
            self.lat,
            self.lon,
            self.altitude,
            self.gs,
            self.track,
            FixedString::try_from(text(&self.dest))?,
            Timestamp(self.updated_at),
            0o1200,
            0,
            FixedString::try_from("KIAH")?,
            FixedString::try_from("B738")?,
            FixedString::try_from("UNITED")?,
            FixedString::try_from("BPT LLA ELD MEM")?,
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
    fn bytes_read_back_and_keys_keep_the_order() {
        let mut flights: Vec<Wide> = (0..1000).map(Wide::new).collect();
        assert!(flights.iter().all(|flight| Wide::from_bytes(&flight.to_bytes()) == Some(*flight)));
        flights.sort_by(|a, b| a.lat.total_cmp(&b.lat));
        assert!(flights.is_sorted_by_key(|flight| flight.index_keys()[0]));
        flights.sort_by_key(|flight| flight.altitude);
        assert!(flights.is_sorted_by_key(|flight| flight.index_keys()[BY_ALTITUDE]));
        assert_eq!(altitude_key(flights[0].altitude), flights[0].index_keys()[BY_ALTITUDE]);
    }
}
