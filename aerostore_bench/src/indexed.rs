//! Engines with the indexed workload: flights of 108 bytes, ordered indexes on six columns.
//!
//! Each keeps its secondary indexes up to date, finds rows through them, and copies the rows it finds.

use crate::place::Place;
use crate::wide::{ALTITUDES, Key, REST_BYTES, ROW_BYTES, Wide, WideFlight, key, text};
use aerostore_core::db::ingest::{IngestOptions, Input};
use aerostore_core::db::{Change, Database, Table, Transaction, TxnOptions};
use aerostore_core::query::{Literal, Plan, Query};
use aerostore_core::row::{IndexKind, IndexSpec, Row, RowImage, RowView, Schema, Value};
use std::error::Error;
use std::ops::ControlFlow;

/// What an engine says.
pub type Failure = Box<dyn Error + Send + Sync>;

/// How an update moves a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// To values that have nothing to do with those before.
    Far,
    /// As a report a minute later does.
    Near,
    /// Its track only, which no index is on.
    Unindexed,
}

impl Move {
    /// Moves it; the same for the same seed.
    pub fn apply(self, flight: &mut Wide, seed: u64) {
        match self {
            Self::Far => flight.move_far(seed),
            Self::Near => flight.move_near(seed),
            Self::Unindexed => flight.track = Self::track(seed),
        }
    }

    /// The track that [`Move::Unindexed`] sets.
    pub fn track(seed: u64) -> i32 {
        (seed % 360) as i32
    }
}

/// What came of a search: rows, and something of each, so that they are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Rows.
    pub rows: u64,
    /// Sum of the column they were sought by: whichever of several with one value come last, it is the same.
    pub sum: i64,
}

impl Found {
    /// Adds a row.
    pub fn add(&mut self, value: i64) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(value);
    }
}

/// One worker on one engine.
pub trait Indexed {
    /// Copies the row of flight `number`; its time and altitude, so that the copy is needed.
    ///
    /// # Errors
    /// What the engine says.
    fn read(&mut self, number: u32) -> Result<i64, Failure> {
        let flight = self.row(number)?;
        Ok(flight.updated_at + i64::from(flight.altitude))
    }

    /// The row of flight `number`, column by column.
    ///
    /// # Errors
    /// What the engine says.
    fn row(&mut self, number: u32) -> Result<Wide, Failure>;

    /// Moves flight `number`, in a transaction.
    ///
    /// # Errors
    /// What the engine says.
    fn update(&mut self, number: u32, how: Move, seed: u64) -> Result<(), Failure>;

    /// The `limit` lowest flights at or above an altitude, whole rows.
    ///
    /// # Errors
    /// What the engine says.
    fn above(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure>;

    /// The newest `limit` of the flights within 500 feet above an altitude.
    ///
    /// # Errors
    /// What the engine says.
    fn newest_within(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure>;

    /// Makes flight `number` as a whole what it is after a move far away, and adds one to its squawk: a lost report would be seen there.
    ///
    /// # Errors
    /// What the engine says; that it is not compared in this.
    fn report(&mut self, _number: u32, _seed: u64) -> Result<(), Failure> {
        Err("this engine is not compared in reports".into())
    }

    /// How many flights head [`EAST`], by a column without an index.
    ///
    /// # Errors
    /// What the engine says.
    fn count_eastbound(&mut self) -> Result<Found, Failure>;
}

/// What the update of a flight that is not there says.
pub const MISSING: &str = "a flight is missing";
/// Feet of a band of altitudes.
pub const BAND: i32 = 500;
/// Tracks that lead east, as far as counts here go.
pub const EAST: std::ops::Range<i32> = 90..180;

/// Whether the flight of these bytes heads [`EAST`].
#[inline]
pub fn heads_east(row: &[u8]) -> bool {
    Wide::from_bytes(row).is_some_and(|flight| EAST.contains(&flight.track))
}

/// Aerostore.
pub struct Aerostore {
    db: Database,
    table: Table,
    image: [u8; ROW_BYTES],
    reported: RowImage,
    /// The searches made ready, as the other databases have them.
    above: Option<(usize, Plan)>,
    newest_within: Option<(usize, Plan)>,
}

impl Aerostore {
    /// Fills a fresh database with `rows` flights, its indexes kept from the first row on.
    ///
    /// # Errors
    /// What the database says.
    pub fn load(place: &Place, rows: u32, batch: u32) -> Result<Self, Box<dyn Error>> {
        let db = place.open()?;
        let table = db.create_table(WideFlight::schema())?;
        let mut image = RowImage::new(WideFlight::schema());
        for first in (0..rows).step_by(batch as usize) {
            let mut txn = db.begin(TxnOptions::default())?;
            for number in first..rows.min(first + batch) {
                Wide::new(number).encode(&mut image)?;
                txn.upsert(&table, &image)?;
            }
            txn.commit()?;
        }
        Ok(Self::new(db).map_err(|error| error.to_string())?)
    }

    /// Fills a fresh database with the flights of a text, and makes the indexes then.
    ///
    /// # Errors
    /// What the database says.
    pub fn ingest(db: &Database, tsv: &[u8]) -> Result<(), Failure> {
        let indexed = WideFlight::schema();
        let plain = indexed.columns().iter().cloned().map(|column| column.index(IndexKind::None));
        let key = indexed.key_column().name();
        let schema = Schema::builder(indexed.name()).columns(plain).key(key).build()?;
        let table = db.create_table(&schema)?;
        let mut go_on = |_: &_| ControlFlow::Continue(());
        let options = TxnOptions::default();
        db.ingest(&table, &IngestOptions::new(), Input::from_bytes(tsv), options, &mut go_on)?;
        let columns = indexed.columns().iter().enumerate();
        let ordered = columns.filter(|(_, column)| column.index_kind() == IndexKind::Ordered);
        let wanted: Vec<_> = ordered.map(|(column, _)| (column, IndexSpec::default())).collect();
        db.create_indexes(&table, &wanted)?;
        Ok(())
    }

    /// A session on the table of flights.
    ///
    /// # Errors
    /// What the database says; also when the table is missing.
    pub fn new(db: Database) -> Result<Self, Failure> {
        let table = db.table(WideFlight::NAME)?.ok_or("the table of flights is missing")?;
        let reported = RowImage::new(WideFlight::schema());
        Ok(Self { db, table, image: [0; ROW_BYTES], reported, above: None, newest_within: None })
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.db
    }

    /// Runs a query and copies what it finds, and sums a column of numbers.
    ///
    /// # Errors
    /// What the database says.
    pub fn search(&mut self, query: Query, summed: usize) -> Result<Found, Failure> {
        self.run(&Plan::new(WideFlight::schema(), query)?, summed)
    }

    fn run(&mut self, plan: &Plan, summed: usize) -> Result<Found, Failure> {
        let mut txn = self.db.begin(TxnOptions { read_only: true, ..TxnOptions::default() })?;
        let mut found = Found::default();
        txn.search(&self.table, plan, &mut |row| {
            copy(row, &mut self.image);
            found.add(number(row, summed));
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Counts what a query finds.
    ///
    /// # Errors
    /// What the database says.
    pub fn count(&mut self, query: Query) -> Result<Found, Failure> {
        let plan = Plan::new(WideFlight::schema(), query)?;
        let mut txn = self.db.begin(TxnOptions { read_only: true, ..TxnOptions::default() })?;
        Ok(Found { rows: txn.search_count(&self.table, &plan)?.rows_returned, sum: 0 })
    }
}

/// A whole row, wherever it goes from here.
fn copy(row: RowView<'_>, image: &mut [u8; ROW_BYTES]) {
    let length = row.bytes().len().min(ROW_BYTES);
    image[..length].copy_from_slice(&row.bytes()[..length]);
    std::hint::black_box(image);
}

fn number(row: RowView<'_>, column: usize) -> i64 {
    row.get(column).as_i64().unwrap_or_default()
}

impl Indexed for Aerostore {
    fn read(&mut self, number: u32) -> Result<i64, Failure> {
        let key = key(number);
        let image = &mut self.image;
        let sum = self.db.get(&self.table, Value::Str(text(&key)), |row| {
            copy(row, image);
            self::number(row, WideFlight::UPDATED_AT.index())
                + self::number(row, WideFlight::ALTITUDE.index())
        })?;
        Ok(sum.ok_or(MISSING)?)
    }

    fn row(&mut self, number: u32) -> Result<Wide, Failure> {
        let key = key(number);
        Ok(self.db.get(&self.table, Value::Str(text(&key)), |row| read(row, key))?.ok_or(MISSING)?)
    }

    fn update(&mut self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        let key = key(number);
        let table = &self.table;
        self.db.transaction(TxnOptions::default(), |txn: &mut Transaction| {
            if how == Move::Unindexed {
                let track = [(WideFlight::TRACK.index(), Value::I32(Move::track(seed)))];
                return txn.set(table, Value::Str(text(&key)), &track);
            }
            let mut flight = Wide::new(number);
            if how == Move::Near {
                txn.get(table, Value::Str(text(&key)), |row| flight = read(row, key))?;
            }
            how.apply(&mut flight, seed);
            txn.set(table, Value::Str(text(&key)), &flight.moving())
        })?;
        Ok(())
    }

    fn report(&mut self, number: u32, seed: u64) -> Result<(), Failure> {
        let key = key(number);
        let mut flight = Wide::new(number);
        flight.move_far(seed);
        flight.encode(&mut self.reported).map_err(|error| error.to_string())?;
        let (table, reported, squawk) = (&self.table, &self.reported, WideFlight::SQUAWK.index());
        self.db.transaction(TxnOptions::default(), |txn: &mut Transaction| {
            txn.modify(table, Value::Str(text(&key)), |row, image| {
                image.copy_from(reported.view(table.schema())?);
                if let Some(row) = row {
                    let count = self::number(row, squawk) as i32 + 1;
                    image.set(table.schema(), squawk, Value::I32(count))?;
                }
                Ok(Change::Put)
            })
        })?;
        Ok(())
    }

    fn above(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let plan = ready(&mut self.above, limit, [altitude], || {
            let query = Query::filtered(WideFlight::ALTITUDE.gte(altitude));
            query.sort_by(WideFlight::ALTITUDE.ascending())
        })?;
        self.run(&plan, WideFlight::ALTITUDE.index())
    }

    fn newest_within(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let ends = [altitude, altitude + BAND];
        let plan = ready(&mut self.newest_within, limit, ends, || {
            let query = Query::filtered(WideFlight::ALTITUDE.range(ends[0], ends[1]));
            query.sort_by(WideFlight::UPDATED_AT.descending())
        })?;
        self.run(&plan, WideFlight::UPDATED_AT.index())
    }

    fn count_eastbound(&mut self) -> Result<Found, Failure> {
        self.count(Query::filtered(WideFlight::TRACK.range(EAST.start, EAST.end)))
    }
}

/// The plan of a search for the first `limit` rows with these operands, made from the one in `kept`, if that has the same limit.
fn ready<const N: usize>(
    kept: &mut Option<(usize, Plan)>,
    limit: usize,
    operands: [i32; N],
    query: impl FnOnce() -> Query,
) -> Result<Plan, Failure> {
    if let Some((_, plan)) = kept.as_ref().filter(|(kept, _)| *kept == limit) {
        return Ok(plan.with_operands(operands.map(|operand| Literal::Int(i64::from(operand))))?);
    }
    let plan = Plan::new(WideFlight::schema(), query().limit(limit as u64))?;
    *kept = Some((limit, plan.clone()));
    Ok(plan)
}

fn read(row: RowView<'_>, key: Key) -> Wide {
    let float = |column: usize| match row.get(column) {
        Value::F64(value) => value,
        _ => 0.0,
    };
    let int = |column: usize| number(row, column) as i32;
    let text = |column: usize| match row.get(column) {
        Value::Str(text) => text,
        _ => "",
    };
    let mut flight = Wide {
        key,
        lat: float(WideFlight::LAT.index()),
        lon: float(WideFlight::LON.index()),
        altitude: int(WideFlight::ALTITUDE.index()),
        gs: int(WideFlight::GS.index()),
        track: int(WideFlight::TRACK.index()),
        dest: text(WideFlight::DEST.index()).as_bytes().try_into().unwrap_or_default(),
        updated_at: number(row, WideFlight::UPDATED_AT.index()),
        rest: [0; REST_BYTES],
    };
    let texts = [
        WideFlight::ORIGIN.index(),
        WideFlight::AIRCRAFT.index(),
        WideFlight::OPERATOR.index(),
        WideFlight::ROUTE.index(),
    ];
    let (squawk, rate) = (WideFlight::SQUAWK.index(), WideFlight::VERTICAL_RATE.index());
    flight.set_rest(int(squawk), int(rate), texts.map(text));
    flight
}

/// A random altitude with a band above it.
pub fn some_altitude(random: &mut crate::flight::Random) -> i32 {
    random.below((ALTITUDES - BAND) as u32) as i32
}
