//! SQLite: with a write-ahead log, never synced in memory, synced with each commit on disk.

use crate::engines::{Engine, Session, bytes_below, rows_of};
use aerostore_bench::indexed::{BAND, EAST, Failure, Found, Indexed, MISSING, Move};
use aerostore_bench::wide::{ALTITUDES, REST_BYTES, Step, Wide, key, text};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

const COLUMNS: &str = "flight_id, lat, lon, altitude, gs, track, dest, updated_at, squawk, vertical_rate, origin, \
                       aircraft, operator, route";
const ABOVE: &str = "SELECT * FROM flights WHERE altitude >= ? ORDER BY altitude LIMIT ?";
const NEWEST: &str =
    "SELECT * FROM flights WHERE altitude >= ? AND altitude < ? ORDER BY updated_at DESC LIMIT ?";
const COUNT: &str = "SELECT count(*) FROM flights WHERE track >= ? AND track < ?";
const GET: &str = "SELECT * FROM flights WHERE flight_id = ?";
const FAR: &str =
    "UPDATE flights SET lat = ?, lon = ?, altitude = ?, gs = ?, updated_at = ? WHERE flight_id = ?";
const NEAR: &str = "UPDATE flights SET lat = min(lat + ?, 90.0), lon = min(lon + ?, 180.0), \
                    altitude = min(altitude + ?, ?), gs = (gs + ?) & 1023, updated_at = updated_at + ? \
                    WHERE flight_id = ?";
const UNINDEXED: &str = "UPDATE flights SET track = ? WHERE flight_id = ?";

pub struct Sqlite {
    dir: PathBuf,
    is_durable: bool,
}

impl Sqlite {
    pub fn new(dir: &Path, is_durable: bool) -> Self {
        Self { dir: dir.to_owned(), is_durable }
    }

    fn connect(&self) -> Result<Connection, Failure> {
        let connection = Connection::open(self.dir.join("flights.sqlite"))?;
        connection.busy_timeout(Duration::from_mins(1))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", if self.is_durable { "FULL" } else { "OFF" })?;
        connection.pragma_update(None, "cache_size", -1_000_000)?;
        connection.pragma_update(None, "mmap_size", 4_i64 << 30)?;
        Ok(connection)
    }
}

impl Engine for Sqlite {
    fn load(&self, tsv: &[u8]) -> Result<(), Failure> {
        let mut connection = self.connect()?;
        let txn = connection.transaction()?;
        txn.execute_batch(
            "CREATE TABLE flights (flight_id TEXT PRIMARY KEY, lat REAL, lon REAL, altitude INTEGER, gs INTEGER, \
             track INTEGER, dest TEXT, updated_at INTEGER, squawk INTEGER, vertical_rate INTEGER, origin TEXT, \
             aircraft TEXT, operator TEXT, route TEXT) WITHOUT ROWID",
        )?;
        let mut insert = txn.prepare(&format!(
            "INSERT INTO flights ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        ))?;
        for row in rows_of(tsv) {
            let row = row?;
            let [origin, aircraft, operator, route] = row.texts();
            insert.execute(params![
                text(&row.key),
                row.lat,
                row.lon,
                row.altitude,
                row.gs,
                row.track,
                text(&row.dest),
                row.updated_at,
                row.squawk(),
                row.vertical_rate(),
                origin,
                aircraft,
                operator,
                route
            ])?;
        }
        drop(insert);
        for column in ["lat", "lon", "altitude", "gs", "dest", "updated_at"] {
            txn.execute_batch(&format!("CREATE INDEX by_{column} ON flights ({column})"))?;
        }
        txn.commit()?;
        Ok(connection.execute_batch("ANALYZE")?)
    }

    fn session(&self) -> Result<Session, Failure> {
        Ok(Box::new(Handle(self.connect()?)))
    }

    fn bytes(&self) -> Result<u64, Failure> {
        bytes_below(&self.dir)
    }

    fn settle(&self) -> Result<(), Failure> {
        let connection = self.connect()?;
        Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }
}

/// One connection.
struct Handle(Connection);

fn wide(row: &Row<'_>) -> rusqlite::Result<Wide> {
    let bytes = |column: usize| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_bytes()?);
    let mut flight = Wide {
        key: bytes(0)?.try_into().unwrap_or_default(),
        lat: row.get(1)?,
        lon: row.get(2)?,
        altitude: row.get(3)?,
        gs: row.get(4)?,
        track: row.get(5)?,
        dest: bytes(6)?.try_into().unwrap_or_default(),
        updated_at: row.get(7)?,
        rest: [0; REST_BYTES],
    };
    let texts = [text(bytes(10)?), text(bytes(11)?), text(bytes(12)?), text(bytes(13)?)];
    flight.set_rest(row.get(8)?, row.get(9)?, texts);
    Ok(std::hint::black_box(flight))
}

impl Indexed for Handle {
    fn row(&mut self, number: u32) -> Result<Wide, Failure> {
        let key = key(number);
        let mut statement = self.0.prepare_cached(GET)?;
        Ok(statement.query_row([text(&key)], wide).optional()?.ok_or(MISSING)?)
    }

    fn update(&mut self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        let key = key(number);
        // One statement, which takes the write lock at once.
        let txn = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changed = match how {
            Move::Far => {
                let mut to = Wide::new(number);
                to.move_far(seed);
                txn.prepare_cached(FAR)?.execute(params![
                    to.lat,
                    to.lon,
                    to.altitude,
                    to.gs,
                    to.updated_at,
                    text(&key)
                ])?
            }
            Move::Near => {
                let Step { lat, lon, altitude, gs, updated_at } = Step::new(seed);
                txn.prepare_cached(NEAR)?.execute(params![
                    lat,
                    lon,
                    altitude,
                    ALTITUDES - 1,
                    gs,
                    updated_at,
                    text(&key)
                ])?
            }
            Move::Unindexed => {
                txn.prepare_cached(UNINDEXED)?.execute(params![Move::track(seed), text(&key)])?
            }
        };
        txn.commit()?;
        if changed == 1 { Ok(()) } else { Err(MISSING.into()) }
    }

    fn above(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let mut statement = self.0.prepare_cached(ABOVE)?;
        let mut found = Found::default();
        for row in statement.query_map(params![altitude, limit as i64], wide)? {
            found.add(row?.altitude.into());
        }
        Ok(found)
    }

    fn newest_within(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let mut statement = self.0.prepare_cached(NEWEST)?;
        let mut found = Found::default();
        for row in statement.query_map(params![altitude, altitude + BAND, limit as i64], wide)? {
            found.add(row?.updated_at);
        }
        Ok(found)
    }

    fn count_eastbound(&mut self) -> Result<Found, Failure> {
        let mut statement = self.0.prepare_cached(COUNT)?;
        let count: i64 = statement.query_row(params![EAST.start, EAST.end], |row| row.get(0))?;
        Ok(Found { rows: count.cast_unsigned(), sum: 0 })
    }
}
