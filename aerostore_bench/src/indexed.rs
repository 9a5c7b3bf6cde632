//! Engines with the indexed workload: flights of 108 bytes, ordered indexes on six columns.
//!
//! Each keeps its secondary indexes up to date, finds rows through them, and copies the rows it finds.

use crate::place::Place;
use crate::wide::{ALTITUDES, BY_ALTITUDE, Key, ROW_BYTES, Wide, WideFlight, altitude_key, key, text};
use aerostore_core::db::{Database, Table, Transaction, TxnOptions};
use aerostore_core::query::{Plan, Query};
use aerostore_core::row::{Row, RowImage, RowView, Value};
use heed::types::{Bytes, Unit};
use heed::{Env, EnvFlags, EnvOpenOptions};
use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::ops::{Bound, ControlFlow};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

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
    fn apply(self, flight: &mut Wide, seed: u64) {
        match self {
            Self::Far => flight.move_far(seed),
            Self::Near => flight.move_near(seed),
            Self::Unindexed => flight.track = (seed % 360) as i32,
        }
    }
}

/// What came of a search: rows, and something of each, so that they are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Rows.
    pub rows: u64,
    /// Sum of their times and altitudes.
    pub sum: i64,
}

impl Found {
    fn add(&mut self, updated_at: i64, altitude: i32) {
        self.rows += 1;
        self.sum += updated_at + i64::from(altitude);
    }
}

/// One worker on one engine.
pub trait Indexed {
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

    /// How many flights head east: from 45 to 135 degrees, by a column without an index.
    ///
    /// # Errors
    /// What the engine says.
    fn count_eastbound(&mut self) -> Result<Found, Failure>;
}

/// Columns of a band of altitudes.
const BAND: i32 = 500;
/// Tracks that lead east, as far as counts here go.
pub const EAST: std::ops::Range<i32> = 90..180;

/// Aerostore.
pub struct Aerostore {
    db: Database,
    table: Table,
    image: [u8; ROW_BYTES],
}

impl Aerostore {
    /// Fills a fresh database with `rows` flights.
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
        Ok(Self { db, table, image: [0; ROW_BYTES] })
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.db
    }

    /// Runs a query and copies what it finds.
    ///
    /// # Errors
    /// What the database says.
    pub fn search(&mut self, query: Query) -> Result<Found, Failure> {
        let plan = Plan::new(WideFlight::schema(), query)?;
        let mut txn = self.db.begin(TxnOptions { read_only: true, ..TxnOptions::default() })?;
        let mut found = Found::default();
        txn.search(&self.table, &plan, &mut |row| {
            // A whole row, wherever it goes from here.
            let length = row.bytes().len().min(ROW_BYTES);
            self.image[..length].copy_from_slice(&row.bytes()[..length]);
            std::hint::black_box(&self.image);
            found
                .add(time_of(row), row.get(WideFlight::ALTITUDE.index()).as_i64().unwrap_or_default() as i32);
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

fn time_of(row: RowView<'_>) -> i64 {
    row.get(WideFlight::UPDATED_AT.index()).as_i64().unwrap_or_default()
}

impl Indexed for Aerostore {
    fn update(&mut self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        let key = key(number);
        let table = &self.table;
        self.db.transaction(TxnOptions::default(), |txn: &mut Transaction| {
            if how == Move::Unindexed {
                let track = [(WideFlight::TRACK.index(), Value::I32((seed % 360) as i32))];
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

    fn above(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let query = Query::filtered(WideFlight::ALTITUDE.gte(altitude));
        self.search(query.sort_by(WideFlight::ALTITUDE.ascending()).limit(limit as u64))
    }

    fn newest_within(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let query = Query::filtered(WideFlight::ALTITUDE.range(altitude, altitude + BAND));
        self.search(query.sort_by(WideFlight::UPDATED_AT.descending()).limit(limit as u64))
    }

    fn count_eastbound(&mut self) -> Result<Found, Failure> {
        self.count(Query::filtered(WideFlight::TRACK.range(EAST.start, EAST.end)))
    }
}

fn read(row: RowView<'_>, key: Key) -> Wide {
    let float = |column: usize| match row.get(column) {
        Value::F64(value) => value,
        _ => 0.0,
    };
    let int = |column: usize| row.get(column).as_i64().unwrap_or_default();
    Wide {
        key,
        lat: float(WideFlight::LAT.index()),
        lon: float(WideFlight::LON.index()),
        altitude: int(WideFlight::ALTITUDE.index()) as i32,
        gs: int(WideFlight::GS.index()) as i32,
        track: int(WideFlight::TRACK.index()) as i32,
        dest: *b"KKKK",
        updated_at: int(WideFlight::UPDATED_AT.index()),
    }
}

/// LMDB without sync, in the same folder as the other's mapping: rows by key, and a sorted set of (column, key) per index.
pub struct Lmdb {
    env: Env,
    rows: heed::Database<Bytes, Bytes>,
    indexes: [heed::Database<Bytes, Unit>; 6],
    path: PathBuf,
}

impl Lmdb {
    /// Fills a fresh environment with `rows` flights.
    ///
    /// # Errors
    /// What LMDB says.
    pub fn load(place: &Place, rows: u32, batch: u32) -> Result<Self, Failure> {
        let path = place.shm.with_extension("lmdb");
        std::fs::create_dir_all(&path)?;
        let mut options = EnvOpenOptions::new();
        options.map_size(8 << 30).max_dbs(7);
        let flags = EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP | EnvFlags::NO_READ_AHEAD;
        let env = open(&mut options, flags, &path)?;
        let mut txn = env.write_txn()?;
        let table = env.create_database(&mut txn, Some("rows"))?;
        let mut indexes = Vec::new();
        for number in 0..6 {
            indexes.push(env.create_database(&mut txn, Some(&format!("index-{number}")))?);
        }
        txn.commit()?;
        let indexes = indexes.try_into().map_err(|_| "there are six indexes")?;
        let lmdb = Self { env, rows: table, indexes, path };
        for first in (0..rows).step_by(batch as usize) {
            let mut txn = lmdb.env.write_txn()?;
            for number in first..rows.min(first + batch) {
                let flight = Wide::new(number);
                lmdb.rows.put(&mut txn, &flight.key, &flight.to_bytes())?;
                for (index, column) in lmdb.indexes.iter().zip(flight.index_keys()) {
                    index.put(&mut txn, &entry(column, &flight.key), &())?;
                }
            }
            txn.commit()?;
        }
        Ok(lmdb)
    }

    /// Bytes of the file that are in use.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn bytes(&self) -> Result<u64, Failure> {
        use std::os::unix::fs::MetadataExt;
        Ok(std::fs::metadata(self.path.join("data.mdb"))?.blocks() * 512)
    }
}

#[allow(unsafe_code, reason = "LMDB's way to open")]
fn open(options: &mut EnvOpenOptions, flags: EnvFlags, path: &PathBuf) -> Result<Env, Failure> {
    // SAFETY: the folder is this program's own and new; nobody else opens it, or truncates its file.
    Ok(unsafe { options.flags(flags).open(path)? })
}

impl Drop for Lmdb {
    fn drop(&mut self) {
        // Nothing there is as good as removed.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn entry(column: u64, key: &[u8]) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[..8].copy_from_slice(&column.to_be_bytes());
    entry[8..].copy_from_slice(key);
    entry
}

fn row(bytes: Option<&[u8]>) -> Result<Wide, Failure> {
    bytes.and_then(Wide::from_bytes).ok_or_else(|| "a flight is missing".into())
}

/// The newest of some rows.
struct Newest {
    limit: usize,
    heap: std::collections::BinaryHeap<std::cmp::Reverse<(i64, Key)>>,
}

impl Newest {
    fn offer(&mut self, flight: &Wide) {
        self.heap.push(std::cmp::Reverse((flight.updated_at, flight.key)));
        if self.heap.len() > self.limit {
            self.heap.pop();
        }
    }
}

impl Indexed for Lmdb {
    fn update(&mut self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        let mut txn = self.env.write_txn()?;
        let key = key(number);
        let before = row(self.rows.get(&txn, &key)?)?;
        let mut after = before;
        how.apply(&mut after, seed);
        self.rows.put(&mut txn, &key, &after.to_bytes())?;
        for (index, (old, new)) in
            self.indexes.iter().zip(before.index_keys().into_iter().zip(after.index_keys()))
        {
            if old != new {
                index.delete(&mut txn, &entry(old, &key))?;
                index.put(&mut txn, &entry(new, &key), &())?;
            }
        }
        Ok(txn.commit()?)
    }

    fn above(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let txn = self.env.read_txn()?;
        let from = entry(altitude_key(altitude), &[0; 8]);
        let mut found = Found::default();
        let mut image = [0; ROW_BYTES];
        for item in self.indexes[BY_ALTITUDE]
            .range(&txn, &(Bound::Included(&from[..]), Bound::Unbounded))?
            .take(limit)
        {
            let bytes = self.rows.get(&txn, &item?.0[8..])?.ok_or("a flight is missing")?;
            image.copy_from_slice(bytes);
            let flight = row(Some(std::hint::black_box(&image)))?;
            found.add(flight.updated_at, flight.altitude);
        }
        Ok(found)
    }

    fn newest_within(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let txn = self.env.read_txn()?;
        let [from, to] = [altitude, altitude + BAND].map(|at| entry(altitude_key(at), &[0; 8]));
        let mut newest = Newest { limit, heap: std::collections::BinaryHeap::new() };
        for item in
            self.indexes[BY_ALTITUDE].range(&txn, &(Bound::Included(&from[..]), Bound::Excluded(&to[..])))?
        {
            newest.offer(&row(self.rows.get(&txn, &item?.0[8..])?)?);
        }
        let mut found = Found::default();
        let mut image = [0; ROW_BYTES];
        for std::cmp::Reverse((_, key)) in newest.heap.into_sorted_vec() {
            image.copy_from_slice(self.rows.get(&txn, &key)?.ok_or("a flight is missing")?);
            let flight = row(Some(std::hint::black_box(&image)))?;
            found.add(flight.updated_at, flight.altitude);
        }
        Ok(found)
    }

    fn count_eastbound(&mut self) -> Result<Found, Failure> {
        let txn = self.env.read_txn()?;
        let mut found = Found::default();
        for item in self.rows.iter(&txn)? {
            found.rows += u64::from(EAST.contains(&row(Some(item?.1))?.track));
        }
        Ok(found)
    }
}

/// Ordered sets and a hash map of the standard library under one lock: what is left without versions, transactions, a log and
/// other processes.
pub struct Trees(Mutex<Maps>);

struct Maps {
    numbers: HashMap<Key, u32, foldhash::fast::RandomState>,
    rows: Vec<[u8; ROW_BYTES]>,
    indexes: [BTreeSet<(u64, u32)>; 6],
}

impl Trees {
    /// Fills fresh trees with `rows` flights.
    pub fn load(rows: u32) -> Self {
        let mut maps = Maps {
            numbers: HashMap::default(),
            rows: Vec::new(),
            indexes: std::array::from_fn(|_| BTreeSet::new()),
        };
        for number in 0..rows {
            let flight = Wide::new(number);
            maps.numbers.insert(flight.key, number);
            maps.rows.push(flight.to_bytes());
            for (index, column) in maps.indexes.iter_mut().zip(flight.index_keys()) {
                index.insert((column, number));
            }
        }
        Self(Mutex::new(maps))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Maps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Indexed for Trees {
    fn update(&mut self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        let mut maps = self.lock();
        let Maps { numbers, rows, indexes } = &mut *maps;
        let number = *numbers.get(&key(number)).ok_or("a flight is missing")?;
        let place = &mut rows[number as usize];
        let before = row(Some(place))?;
        let mut after = before;
        how.apply(&mut after, seed);
        *place = after.to_bytes();
        for (index, (old, new)) in
            indexes.iter_mut().zip(before.index_keys().into_iter().zip(after.index_keys()))
        {
            if old != new {
                index.remove(&(old, number));
                index.insert((new, number));
            }
        }
        Ok(())
    }

    fn above(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let maps = self.lock();
        let mut found = Found::default();
        for (_, number) in maps.indexes[BY_ALTITUDE].range((altitude_key(altitude), 0)..).take(limit) {
            let image = std::hint::black_box(maps.rows[*number as usize]);
            let flight = row(Some(&image))?;
            found.add(flight.updated_at, flight.altitude);
        }
        Ok(found)
    }

    fn newest_within(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let maps = self.lock();
        let mut newest = Newest { limit, heap: std::collections::BinaryHeap::new() };
        let band = (altitude_key(altitude), 0)..(altitude_key(altitude + BAND), 0);
        for (_, number) in maps.indexes[BY_ALTITUDE].range(band) {
            newest.offer(&row(Some(&maps.rows[*number as usize]))?);
        }
        let mut found = Found::default();
        for std::cmp::Reverse((_, key)) in newest.heap.into_sorted_vec() {
            let number = *maps.numbers.get(&key).ok_or("a flight is missing")?;
            let flight = row(Some(&std::hint::black_box(maps.rows[number as usize])))?;
            found.add(flight.updated_at, flight.altitude);
        }
        Ok(found)
    }

    fn count_eastbound(&mut self) -> Result<Found, Failure> {
        let maps = self.lock();
        let count = maps
            .rows
            .iter()
            .filter(|bytes| Wide::from_bytes(&bytes[..]).is_some_and(|row| EAST.contains(&row.track)));
        Ok(Found { rows: count.count() as u64, sum: 0 })
    }
}

/// A random altitude with a band above it.
pub fn some_altitude(random: &mut crate::flight::Random) -> i32 {
    random.below((ALTITUDES - BAND) as u32) as i32
}
