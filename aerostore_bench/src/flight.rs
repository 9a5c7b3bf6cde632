//! The rows: numbered flights of six columns, and random picks among them.

use aerostore_core::row::{FixedString, Timestamp, speedtable};

/// One flight: the row of every measurement here. Its image is 64 bytes.
#[speedtable]
pub struct FlightState {
    #[column(key, alias = "flight", alias = "ident")]
    flight_id: FixedString<24>,
    lat: Option<f64>,
    lon: Option<f64>,
    altitude: Option<i32>,
    gs: Option<i32>,
    updated_at: Option<Timestamp>,
}

/// The key of flight `number`: eight characters for the first million.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlightKey([u8; 24]);

impl FlightKey {
    /// The key of flight `number`.
    #[inline]
    pub fn new(number: u32) -> Self {
        let mut bytes = [0; 24];
        bytes[0] = b'A';
        bytes[1] = b'E';
        let mut rest = number;
        for place in bytes[2..8].iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        // The seventh digit of ten millions of flights: a letter in front keeps the length.
        bytes[1] += rest as u8;
        Self(bytes)
    }

    /// As text.
    #[inline]
    pub fn as_str(&self) -> &str {
        // All of it is ASCII.
        std::str::from_utf8(&self.0[..8]).unwrap_or_default()
    }
}

/// The columns of a flight behind its key, as a plain Rust struct: null mask and values take the bytes that they take in
/// Aerostore's image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// Null columns; none is.
    pub nulls: u64,
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// Feet.
    pub altitude: i32,
    /// Knots.
    pub gs: i32,
    /// Unix seconds.
    pub updated_at: i64,
}

impl Position {
    /// Some position: the same for the same numbers, and different in all five columns for different `step`s.
    #[inline]
    pub fn new(number: u32, step: u64) -> Self {
        let mut random = Random::new(u64::from(number) ^ step.rotate_left(32));
        let word = random.word();
        Self {
            nulls: 0,
            lat: (word & 0xFFFF_FFFF) as f64 * (180.0 / 4_294_967_296.0) - 90.0,
            lon: (word >> 32) as f64 * (360.0 / 4_294_967_296.0) - 180.0,
            altitude: (word % 45_000) as i32,
            gs: (word >> 20) as i32 & 0x3FF,
            updated_at: 1_533_099_600 + step as i64,
        }
    }
}

/// A small random number generator (`SplitMix64`): uniform and repeatable.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    #[inline]
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// A number below `limit`.
    #[inline]
    pub fn below(&mut self, limit: u32) -> u32 {
        (((self.word() >> 32) * u64::from(limit)) >> 32) as u32
    }
}
