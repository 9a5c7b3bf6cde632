//! PostgreSQL over a Unix socket: prepared statements, one of them for each transaction.

use crate::engines::{Engine, Session};
use aerostore_bench::indexed::{BAND, EAST, Failure, Found, Indexed, MISSING, Move};
use aerostore_bench::wide::{ALTITUDES, REST_BYTES, Step, Wide, key, text};
use postgres::{Client, Config, NoTls, Row, Statement};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The user that the cluster is made for, and its database.
pub const USER: &str = "postgres";

pub struct Postgres {
    dir: PathBuf,
    is_durable: bool,
}

/// Connects to the server of a directory.
pub fn connect(dir: &Path) -> Result<Client, Failure> {
    Ok(Config::new().host_path(dir).user(USER).dbname(USER).connect(NoTls)?)
}

impl Postgres {
    pub fn new(dir: &Path, is_durable: bool) -> Self {
        Self { dir: dir.to_owned(), is_durable }
    }
}

impl Engine for Postgres {
    fn load(&self, tsv: &[u8]) -> Result<(), Failure> {
        let mut client = connect(&self.dir)?;
        client.batch_execute(
            "CREATE TABLE flights (flight_id text COLLATE \"C\", lat float8, lon float8, altitude int4, gs int4, \
             track int4, dest text COLLATE \"C\", updated_at int8, squawk int4, vertical_rate int4, origin text, \
             aircraft text, operator text, route text)",
        )?;
        let mut copy = client.copy_in("COPY flights FROM STDIN")?;
        copy.write_all(tsv)?;
        copy.finish()?;
        client.batch_execute("ALTER TABLE flights ADD PRIMARY KEY (flight_id)")?;
        for column in ["lat", "lon", "altitude", "gs", "dest", "updated_at"] {
            client.batch_execute(&format!("CREATE INDEX ON flights ({column})"))?;
        }
        Ok(client.batch_execute("ANALYZE flights")?)
    }

    fn session(&self) -> Result<Session, Failure> {
        let mut client = connect(&self.dir)?;
        let mode = if self.is_durable { "on" } else { "off" };
        client.batch_execute(&format!("SET synchronous_commit = {mode}"))?;
        Ok(Box::new(Handle { client, statements: HashMap::new() }))
    }

    fn bytes(&self) -> Result<u64, Failure> {
        let row = connect(&self.dir)?.query_one("SELECT pg_total_relation_size('flights')", &[])?;
        Ok(row.get::<_, i64>(0).cast_unsigned())
    }

    fn settle(&self) -> Result<(), Failure> {
        Ok(connect(&self.dir)?.batch_execute("CHECKPOINT")?)
    }
}

/// One connection and what it has prepared.
struct Handle {
    client: Client,
    statements: HashMap<String, Statement>,
}

impl Handle {
    fn prepared(&mut self, sql: &str) -> Result<Statement, Failure> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

fn wide(row: &Row) -> Wide {
    let text = |column: usize| row.get::<_, &str>(column);
    let mut flight = Wide {
        key: text(0).as_bytes().try_into().unwrap_or_default(),
        lat: row.get(1),
        lon: row.get(2),
        altitude: row.get(3),
        gs: row.get(4),
        track: row.get(5),
        dest: text(6).as_bytes().try_into().unwrap_or_default(),
        updated_at: row.get(7),
        rest: [0; REST_BYTES],
    };
    flight.set_rest(row.get(8), row.get(9), [text(10), text(11), text(12), text(13)]);
    std::hint::black_box(flight)
}

impl Indexed for Handle {
    fn row(&mut self, number: u32) -> Result<Wide, Failure> {
        let statement = self.prepared("SELECT * FROM flights WHERE flight_id = $1")?;
        let row = self.client.query_opt(&statement, &[&text(&key(number))])?;
        Ok(wide(&row.ok_or(MISSING)?))
    }

    fn update(&mut self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        let key = key(number);
        let key = text(&key);
        let changed = match how {
            Move::Far => {
                let mut to = Wide::new(number);
                to.move_far(seed);
                let statement = self.prepared(
                    "UPDATE flights SET lat = $1, lon = $2, altitude = $3, gs = $4, updated_at = $5 WHERE flight_id = $6",
                )?;
                let values: [&(dyn postgres::types::ToSql + Sync); 6] =
                    [&to.lat, &to.lon, &to.altitude, &to.gs, &to.updated_at, &key];
                self.client.execute(&statement, &values)?
            }
            Move::Near => {
                let step = Step::new(seed);
                let statement = self.prepared(
                    "UPDATE flights SET lat = least(lat + $1, 90), lon = least(lon + $2, 180), \
                     altitude = least(altitude + $3, $4), gs = (gs + $5) & 1023, updated_at = updated_at + $6 \
                     WHERE flight_id = $7",
                )?;
                let highest = ALTITUDES - 1;
                let values: [&(dyn postgres::types::ToSql + Sync); 7] =
                    [&step.lat, &step.lon, &step.altitude, &highest, &step.gs, &step.updated_at, &key];
                self.client.execute(&statement, &values)?
            }
            Move::Unindexed => {
                let statement = self.prepared("UPDATE flights SET track = $1 WHERE flight_id = $2")?;
                self.client.execute(&statement, &[&Move::track(seed), &key])?
            }
        };
        if changed == 1 { Ok(()) } else { Err(MISSING.into()) }
    }

    fn report(&mut self, number: u32, seed: u64) -> Result<(), Failure> {
        let mut to = Wide::new(number);
        to.move_far(seed);
        let [origin, aircraft, operator, route] = to.texts();
        let (key, dest) = (text(&to.key), text(&to.dest));
        let statement = self.prepared(
            "INSERT INTO flights VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
             ON CONFLICT (flight_id) DO UPDATE SET lat = excluded.lat, lon = excluded.lon, altitude = excluded.altitude, \
             gs = excluded.gs, track = excluded.track, dest = excluded.dest, updated_at = excluded.updated_at, \
             squawk = flights.squawk + 1, vertical_rate = excluded.vertical_rate, origin = excluded.origin, \
             aircraft = excluded.aircraft, operator = excluded.operator, route = excluded.route",
        )?;
        let (squawk, vertical_rate) = (to.squawk(), to.vertical_rate());
        let values: [&(dyn postgres::types::ToSql + Sync); 14] = [
            &key,
            &to.lat,
            &to.lon,
            &to.altitude,
            &to.gs,
            &to.track,
            &dest,
            &to.updated_at,
            &squawk,
            &vertical_rate,
            &origin,
            &aircraft,
            &operator,
            &route,
        ];
        self.client.execute(&statement, &values)?;
        Ok(())
    }

    fn above(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let statement = self.prepared(&format!(
            "SELECT * FROM flights WHERE altitude >= $1 ORDER BY altitude LIMIT {limit}"
        ))?;
        let mut found = Found::default();
        for row in self.client.query(&statement, &[&altitude])? {
            found.add(wide(&row).altitude.into());
        }
        Ok(found)
    }

    fn newest_within(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let statement = self.prepared(&format!(
            "SELECT * FROM flights WHERE altitude >= $1 AND altitude < $2 ORDER BY updated_at DESC LIMIT {limit}"
        ))?;
        let mut found = Found::default();
        for row in self.client.query(&statement, &[&altitude, &(altitude + BAND)])? {
            found.add(wide(&row).updated_at);
        }
        Ok(found)
    }

    fn count_eastbound(&mut self) -> Result<Found, Failure> {
        let statement = self.prepared("SELECT count(*) FROM flights WHERE track >= $1 AND track < $2")?;
        let row = self.client.query_one(&statement, &[&EAST.start, &EAST.end])?;
        Ok(Found { rows: row.get::<_, i64>(0).cast_unsigned(), sum: 0 })
    }
}
