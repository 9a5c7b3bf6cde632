//! Aerostore as a contender.

use crate::contender::Contender;
use crate::flight::{FlightKey, FlightState, Position, Random};
use aerostore_core::db::{Database, Table, Transaction, TxnOptions};
use aerostore_core::row::{FixedString, Row, RowImage, Timestamp, Value};
use std::error::Error;

/// Rows per transaction while loading.
const LOAD_BATCH: u32 = 1000;

/// Fills the table with `rows` flights.
///
/// # Errors
/// What the database says.
pub fn load(db: &Database, rows: u32) -> Result<Table, Box<dyn Error>> {
    let table = db.create_table(FlightState::schema())?;
    let mut image = RowImage::new(FlightState::schema());
    for batch in 0..rows.div_ceil(LOAD_BATCH) {
        let mut txn = db.begin(TxnOptions::default())?;
        for number in batch * LOAD_BATCH..((batch + 1) * LOAD_BATCH).min(rows) {
            flight(number, 0)?.encode(&mut image)?;
            txn.upsert(&table, &image)?;
        }
        txn.commit()?;
    }
    Ok(table)
}

fn flight(number: u32, step: u64) -> Result<FlightState, Box<dyn Error>> {
    let position = Position::new(number, step);
    let mut flight = FlightState::new(FixedString::try_from(FlightKey::new(number).as_str())?);
    flight.set_lat(Some(position.lat));
    flight.set_lon(Some(position.lon));
    flight.set_altitude(Some(position.altitude));
    flight.set_gs(Some(position.gs));
    flight.set_updated_at(Some(Timestamp(position.updated_at)));
    Ok(flight)
}

/// One session of an Aerostore database.
pub struct Aerostore {
    db: Database,
    table: Table,
    first: u32,
}

impl Aerostore {
    /// A session on the table of flights.
    ///
    /// # Errors
    /// What the database says; also when the table is missing.
    pub fn new(db: Database) -> Result<Self, Box<dyn Error>> {
        let table = db.table(FlightState::NAME)?.ok_or("the table of flights is missing")?;
        Ok(Self { db, table, first: 0 })
    }

    /// Counts rows from flight number `first` on.
    #[must_use]
    pub fn starting_at(self, first: u32) -> Self {
        Self { first, ..self }
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.db
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Runs one transaction, again when it met another one.
    fn until_done(
        &self,
        mut run: impl FnMut(&mut Transaction) -> Result<(), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        loop {
            let mut txn = self.db.begin(TxnOptions::default())?;
            let done = run(&mut txn);
            match done.and_then(|()| txn.commit().map_err(Into::into)) {
                Err(error) if is_retryable(error.as_ref()) => {}
                outcome => return outcome.map(drop),
            }
        }
    }

    fn read_in(&self, txn: &mut Transaction, number: u32) -> Result<i32, Box<dyn Error>> {
        let key = FlightKey::new(self.first + number);
        altitude(txn.get(&self.table, Value::Str(key.as_str()), FlightState::decode)?)
    }

    fn update_in(&self, txn: &mut Transaction, number: u32, step: u64) -> Result<(), Box<dyn Error>> {
        let key = FlightKey::new(self.first + number);
        let position = Position::new(number, step);
        let values = [
            (FlightState::LAT.index(), Value::F64(position.lat)),
            (FlightState::LON.index(), Value::F64(position.lon)),
            (FlightState::ALTITUDE.index(), Value::I32(position.altitude)),
            (FlightState::GS.index(), Value::I32(position.gs)),
            (FlightState::UPDATED_AT.index(), Value::Timestamp(position.updated_at)),
        ];
        txn.set(&self.table, Value::Str(key.as_str()), &values)?;
        Ok(())
    }
}

/// The altitude of a row that was copied.
fn altitude<E: Error + 'static>(row: Option<Result<FlightState, E>>) -> Result<i32, Box<dyn Error>> {
    let flight = std::hint::black_box(row.ok_or("a flight is missing")??);
    Ok(flight.altitude().unwrap_or_default())
}

impl Contender for Aerostore {
    fn read(&mut self, number: u32) -> Result<i32, Box<dyn Error>> {
        let key = FlightKey::new(self.first + number);
        altitude(self.db.get(&self.table, Value::Str(key.as_str()), FlightState::decode)?)
    }

    fn update(&mut self, number: u32, step: u64) -> Result<(), Box<dyn Error>> {
        self.until_done(|txn| self.update_in(txn, number, step))
    }

    fn upsert(&mut self, number: u32, step: u64) -> Result<(), Box<dyn Error>> {
        let mut image = RowImage::new(FlightState::schema());
        flight(self.first + number, step)?.encode(&mut image)?;
        self.until_done(|txn| Ok(txn.upsert(&self.table, &image).map(drop)?))
    }

    fn savepoints(&mut self, [first, second, third]: [u32; 3], step: u64) -> Result<(), Box<dyn Error>> {
        self.until_done(|txn| {
            self.update_in(txn, first, step)?;
            let savepoint = txn.savepoint()?;
            self.update_in(txn, second, step)?;
            txn.rollback_to(&savepoint)?;
            txn.release(savepoint)?;
            let savepoint = txn.savepoint()?;
            self.update_in(txn, third, step)?;
            Ok(txn.release(savepoint)?)
        })
    }

    fn read_many(&mut self, random: &mut Random, rows: u32, count: u32) -> Result<i64, Box<dyn Error>> {
        let mut txn = self.db.begin(TxnOptions { read_only: true, ..TxnOptions::default() })?;
        let mut sum = 0;
        for _ in 0..count {
            sum += i64::from(self.read_in(&mut txn, random.below(rows))?);
        }
        Ok(sum)
    }

    fn update_many(&mut self, random: &mut Random, rows: u32, count: u32) -> Result<(), Box<dyn Error>> {
        let before = random.clone();
        self.until_done(|txn| {
            *random = before.clone();
            (0..count).try_for_each(|_| self.update_in(txn, random.below(rows), random.word() >> 40))
        })
    }
}

fn is_retryable(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<aerostore_core::db::Error>().is_some_and(aerostore_core::db::Error::is_retryable)
}
