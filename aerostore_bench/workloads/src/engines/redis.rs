//! Redis over a Unix socket: rows as hashes of what moves, the track, and what stays; a sorted set for each index. Its log is synced
//! once a second, or with each commit.

use crate::engines::key_value::{INDEXES, Newest, row};
use crate::engines::{Engine, Session, rows_of};
use aerostore_bench::indexed::{BAND, Failure, Found, Indexed, MISSING, Move};
use aerostore_bench::wide::{ROW_BYTES, Wide, key, text};
use redis::{Client, Connection, Pipeline};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// Rows that are sent at once while loading, and read at once when a search finds many.
const BATCH: usize = 1000;
/// Which of the indexes is of text: its entries all have one score, and the text before the key.
const BY_TEXT: usize = 4;

pub struct Redis {
    client: Client,
    is_durable: bool,
}

/// The socket of the server of a directory.
pub fn socket(dir: &Path) -> std::path::PathBuf {
    dir.join("redis.sock")
}

impl Redis {
    pub fn open(dir: &Path, is_durable: bool) -> Result<Self, Failure> {
        let client = Client::open(format!("redis+unix://{}", socket(dir).display()))?;
        Ok(Self { client, is_durable })
    }
}

/// Score and member of the entry of one of the indexes.
fn scores(flight: &Wide) -> [(f64, Vec<u8>); 6] {
    let key = || flight.key.to_vec();
    [
        (flight.lat, key()),
        (flight.lon, key()),
        (flight.altitude.into(), key()),
        (flight.gs.into(), key()),
        (0.0, [&flight.dest[..], &flight.key[..]].concat()),
        #[allow(clippy::cast_precision_loss, reason = "seconds of this century")]
        (flight.updated_at as f64, key()),
    ]
}

/// Fields of a row.
const FIELDS: [&str; 3] = ["moving", "track", "fixed"];
/// Where a row's bytes lie that move, and where the track is.
const MOVING: [Range<usize>; 2] = [8..32, 40..48];
const TRACK: Range<usize> = 32..36;

fn moving(image: &[u8; ROW_BYTES]) -> Vec<u8> {
    MOVING.map(|place| &image[place]).concat()
}

/// A row out of its fields, of which the last is the whole row as it was first.
fn assembled(fields: &[Option<Vec<u8>>]) -> Result<Wide, Failure> {
    let [Some(moving), Some(track), Some(fixed)] = fields else { return Err(MISSING.into()) };
    let mut image: [u8; ROW_BYTES] = fixed.as_slice().try_into()?;
    image[TRACK].copy_from_slice(track);
    let (first, second) = moving.split_at(MOVING[0].len());
    image[MOVING[0].clone()].copy_from_slice(first);
    image[MOVING[1].clone()].copy_from_slice(second);
    row(Some(&std::hint::black_box(image)))
}

/// Adds to a transaction what makes the five moving columns those of `flight`.
fn put_moving(pipe: &mut Pipeline, flight: &Wide) {
    pipe.hset(&flight.key[..], FIELDS[0], moving(&flight.to_bytes())).ignore();
    for (index, (score, member)) in scores(flight).into_iter().enumerate() {
        if index != BY_TEXT {
            pipe.zadd(INDEXES[index], member, score).ignore();
        }
    }
}

impl Engine for Redis {
    fn load(&self, tsv: &[u8]) -> Result<(), Failure> {
        let mut connection = self.client.get_connection()?;
        let rows: Vec<Wide> = rows_of(tsv).collect::<Result<_, _>>()?;
        for batch in rows.chunks(BATCH) {
            let mut pipe = redis::pipe();
            for row in batch {
                let image = row.to_bytes();
                pipe.hset(&row.key[..], FIELDS[1], &image[TRACK]).ignore();
                pipe.hset(&row.key[..], FIELDS[2], &image[..]).ignore();
                put_moving(&mut pipe, row);
                let [.., (score, member), _] = scores(row);
                pipe.zadd(INDEXES[BY_TEXT], member, score).ignore();
            }
            pipe.exec(&mut connection)?;
        }
        Ok(())
    }

    fn session(&self) -> Result<Session, Failure> {
        let mut connection = self.client.get_connection()?;
        let mode = if self.is_durable { "always" } else { "everysec" };
        redis::cmd("CONFIG").arg("SET").arg("appendfsync").arg(mode).exec(&mut connection)?;
        Ok(Box::new(Handle(connection)))
    }

    fn bytes(&self) -> Result<u64, Failure> {
        info(&self.client, "used_memory")
    }

    fn settle(&self) -> Result<(), Failure> {
        let mut connection = self.client.get_connection()?;
        redis::cmd("BGREWRITEAOF").exec(&mut connection)?;
        while info(&self.client, "aof_rewrite_in_progress")? + info(&self.client, "aof_rewrite_scheduled")?
            > 0
        {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

fn info(client: &Client, name: &str) -> Result<u64, Failure> {
    let text: String = redis::cmd("INFO").query(&mut client.get_connection()?)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.ok_or("Redis does not say")?.parse()?)
}

/// One connection.
struct Handle(Connection);

impl Handle {
    fn members(&mut self, band: [&str; 2], limit: Option<usize>) -> Result<Vec<Vec<u8>>, Failure> {
        let mut command = redis::cmd("ZRANGE");
        command.arg("altitude").arg(&band).arg("BYSCORE");
        if let Some(limit) = limit {
            command.arg("LIMIT").arg(0).arg(limit);
        }
        Ok(command.query(&mut self.0)?)
    }

    fn rows(&mut self, keys: &[Vec<u8>], mut look: impl FnMut(&Wide)) -> Result<(), Failure> {
        for batch in keys.chunks(BATCH) {
            let mut pipe = redis::pipe();
            for key in batch {
                pipe.cmd("HMGET").arg(key).arg(&FIELDS);
            }
            let rows: Vec<Vec<Option<Vec<u8>>>> = pipe.query(&mut self.0)?;
            for fields in rows {
                look(&assembled(&fields)?);
            }
        }
        Ok(())
    }
}

impl Indexed for Handle {
    fn row(&mut self, number: u32) -> Result<Wide, Failure> {
        let fields: Vec<Option<Vec<u8>>> =
            redis::cmd("HMGET").arg(text(&key(number))).arg(&FIELDS).query(&mut self.0)?;
        assembled(&fields)
    }

    fn update(&mut self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        let key = key(number);
        loop {
            let mut pipe = redis::pipe();
            pipe.atomic();
            match how {
                Move::Far => {
                    let mut flight = Wide::new(number);
                    how.apply(&mut flight, seed);
                    put_moving(&mut pipe, &flight);
                }
                Move::Near => {
                    redis::cmd("WATCH").arg(&key[..]).exec(&mut self.0)?;
                    let mut flight = self.row(number)?;
                    how.apply(&mut flight, seed);
                    put_moving(&mut pipe, &flight);
                }
                Move::Unindexed => {
                    pipe.hset(&key[..], FIELDS[1], &Move::track(seed).to_le_bytes()[..]).ignore();
                }
            }
            // None: somebody else has changed the row that is watched.
            let done: Option<()> = pipe.query(&mut self.0)?;
            if done.is_some() {
                return Ok(());
            }
        }
    }

    fn above(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let keys = self.members([&altitude.to_string(), "+inf"], Some(limit))?;
        let mut found = Found::default();
        self.rows(&keys, |flight| found.add(flight.altitude.into()))?;
        Ok(found)
    }

    fn newest_within(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let keys = self.members([&altitude.to_string(), &format!("({}", altitude + BAND)], None)?;
        let mut newest = Newest::new(limit);
        self.rows(&keys, |flight| newest.offer(flight))?;
        let keys: Vec<Vec<u8>> = newest.keys().map(|key| key.to_vec()).collect();
        let mut found = Found::default();
        self.rows(&keys, |flight| found.add(flight.updated_at))?;
        Ok(found)
    }

    fn count_eastbound(&mut self) -> Result<Found, Failure> {
        Err("Redis has no way to look at all rows but to send them".into())
    }
}
