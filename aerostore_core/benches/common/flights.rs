//! Numbered flights of six columns; the image of a row is 64 bytes.

use aerostore_core::db::{Database, Error, Isolation, Table, TxnOptions};
use aerostore_core::row::{FixedString, Row, RowImage, Schema, Timestamp, Value, speedtable};

/// Rows of a transaction while loading.
const LOAD_BATCH: u32 = 1000;

/// One flight.
#[speedtable]
pub struct FlightState {
    #[column(key)]
    flight_id: FixedString<24>,
    lat: Option<f64>,
    lon: Option<f64>,
    altitude: Option<i32>,
    gs: Option<i32>,
    updated_at: Option<Timestamp>,
}

/// A read-only transaction.
pub const READ: TxnOptions =
    TxnOptions { isolation: Isolation::Serializable, read_only: true, synchronous_commit: None };

/// The key of flight `number`, eight characters for the first million.
pub fn key(number: u32) -> String {
    format!("AE{number:06}")
}

/// The five columns behind the key: other values for each `step`.
pub fn position(number: u32, step: u64) -> [(usize, Value<'static>); 5] {
    let word = Random(u64::from(number) ^ step.rotate_left(32)).word();
    let [low, high] =
        [word & 0xFFFF_FFFF, word >> 32].map(|half| f64::from(u32::try_from(half).unwrap_or(0)));
    [
        (FlightState::LAT.index(), Value::F64(low * (180.0 / 4_294_967_296.0) - 90.0)),
        (FlightState::LON.index(), Value::F64(high * (360.0 / 4_294_967_296.0) - 180.0)),
        (FlightState::ALTITUDE.index(), Value::I32(i32::try_from(word % 45_000).unwrap_or(0))),
        (FlightState::GS.index(), Value::I32(i32::try_from(word >> 20 & 0x3FF).unwrap_or(0))),
        (FlightState::UPDATED_AT.index(), Value::Timestamp(1_700_000_000 + i64::try_from(step).unwrap_or(0))),
    ]
}

/// Makes the table and fills it with flights numbered from 0.
pub fn load(db: &Database, rows: u32) -> Result<Table, Error> {
    fill(db, db.create_table(FlightState::schema())?, rows)
}

/// Fills a table of these columns, whatever its name is.
pub fn fill(db: &Database, table: Table, rows: u32) -> Result<Table, Error> {
    let mut image = RowImage::new(table.schema());
    for first in (0..rows).step_by(LOAD_BATCH as usize) {
        let mut txn = db.begin(TxnOptions::default())?;
        for number in first..(first + LOAD_BATCH).min(rows) {
            set_image(&mut image, table.schema(), number)?;
            txn.upsert(&table, &image)?;
        }
        txn.commit()?;
    }
    Ok(table)
}

/// Makes an image that of a flight as it is loaded.
pub fn set_image(image: &mut RowImage, schema: &Schema, number: u32) -> Result<(), Error> {
    set_image_of(image, schema, &key(number), number)
}

/// The same, with its key, which is made from the number.
pub fn set_image_of(image: &mut RowImage, schema: &Schema, key: &str, number: u32) -> Result<(), Error> {
    image.reset(schema);
    image.set(schema, 0, Value::Str(key))?;
    for (column, value) in position(number, 0) {
        image.set(schema, column, value)?;
    }
    Ok(())
}

/// Uniform and repeatable random numbers (`SplitMix64`).
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(((self.word() >> 32) * u64::from(limit)) >> 32).unwrap_or(0)
    }
}
