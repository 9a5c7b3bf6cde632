//! What does it spare that an update logs the columns it changes, and not the row?
//!
//! Rows          10 000 aircraft of 28 columns, image 816 bytes: numbers, codes, names, addresses, a remark of a sentence or two
//! Keys          uniform random
//! Operations    one column, two columns, four columns of a row are set; the whole of a row is put, all columns but its key changed
//! Durability    commit mode off; each turn ends when all of it is on disk
//! Unit          bytes of log for each transaction, headers and batches included; processor time of the process, the log writer's included
#![allow(missing_docs, reason = "a program, not a library")]

mod common;

use aerostore_core::db::{Database, Error, Table, TxnOptions};
use aerostore_core::row::{Column, ColumnType, RowImage, Schema, Value};
use common::flights::Random;
use common::place::Place;

const ROWS: u32 = 10_000;
/// Updates of a side in one turn, and turns: 100 000 updates in all.
const TURN: u32 = 4_000;
const TURNS: u32 = 25;
const ROW_BYTES: usize = 816;

/// Columns of numbers that the sides set, by their places.
const CHANGED: [usize; 4] = [1, 2, 3, 4];
const WHOLE_ROW: usize = 3;
const SIDES: [&str; 4] = ["one column", "two columns", "four columns", "whole row"];

const COUNTS: [&str; 7] = ["gs", "track", "vertical_rate", "fuel", "cycles", "seats", "crew"];
const CODES: [&str; 8] =
    ["registration", "icao_address", "type_code", "squawk", "origin", "destination", "gate", "runway"];
const TEXTS: [(&str, [&str; 2]); 7] = [
    ("operator", ["Swiss International Air Lines AG, Basel", "Deutsche Lufthansa Aktiengesellschaft, Koeln"]),
    (
        "manufacturer",
        ["Airbus Operations GmbH, Hamburg-Finkenwerder", "The Boeing Company, Renton, Washington"],
    ),
    ("owner", ["Castlelake Aircraft Leasing Ireland DAC", "AerCap Global Aviation Trust, Wilmington"]),
    ("address", ["Malzgasse 15, 4052 Basel, Schweiz", "Venloer Strasse 151-153, 50672 Koeln, Deutschland"]),
    ("route", ["LSZH DEGES UN871 GERSA UM738 ABESI UT10 EDDF", "EDDF SOBRA Y180 DIK UN852 MOROK UM164 LFPG"]),
    ("phone", ["+41 61 582 00 00", "+49 221 826 0"]),
    ("email", ["operations.control@swiss.example", "verkehrszentrale@lufthansa.example"]),
];
const REMARKS: [&str; 2] = [
    "Left engine exchanged at the last C check, no open items. Cargo door sensor reset twice in May; see the tech log, pages 118 to 121, before dispatch. ",
    "Cabin refurbished with the new seats. Crew reports a slight yaw at cruise, within limits; rudder trim to be looked at in the next overnight stop. ",
];

fn schema() -> Result<Schema, Box<dyn std::error::Error>> {
    let mut builder = Schema::builder("Aircraft").column(Column::new("serial", ColumnType::I64));
    for name in ["lat", "lon"] {
        builder = builder.column(Column::new(name, ColumnType::F64));
    }
    builder = builder.column(Column::new("altitude", ColumnType::I32));
    builder = builder.column(Column::new("updated_at", ColumnType::Timestamp));
    for name in COUNTS {
        builder = builder.column(Column::new(name, ColumnType::I32));
    }
    for name in CODES {
        builder = builder.column(Column::new(name, ColumnType::FixedString(8)));
    }
    for (name, _) in TEXTS {
        builder = builder.column(Column::new(name, ColumnType::String(64)));
    }
    Ok(builder.column(Column::new("remark", ColumnType::String(400))).key("serial").build()?)
}

/// What the columns of numbers are at a step; different in all of them.
fn position(step: u32) -> [Value<'static>; 4] {
    let turn = f64::from(step % 36_000) / 100.0;
    let height = i32::try_from(step % 45_000).unwrap_or_default();
    [
        Value::F64(turn / 4.0),
        Value::F64(turn / 2.0),
        Value::I32(height),
        Value::Timestamp(1_700_000_000 + i64::from(step)),
    ]
}

/// A row in which every column but the key and those of numbers is that of one half of the steps.
fn template(schema: &Schema, odd: usize) -> Result<RowImage, Box<dyn std::error::Error>> {
    let mut image = RowImage::new(schema);
    let mut column = CHANGED.len() + 1;
    let mut set = |image: &mut RowImage, value: Value<'_>| {
        image.set(schema, column, value)?;
        column += 1;
        Ok::<(), Error>(())
    };
    for number in 0..COUNTS.len() {
        set(&mut image, Value::I32(i32::try_from(300 * odd + 17 * number)?))?;
    }
    for place in 0..CODES.len() {
        set(&mut image, Value::Str(&["HB-JDA", "D-AIUO"][odd][place % 3..]))?;
    }
    let mut left = ROW_BYTES - schema.fixed_bytes();
    for (_, texts) in TEXTS {
        set(&mut image, Value::Str(texts[odd]))?;
        left -= texts[odd].len();
    }
    // The sentences again until the row has its length.
    let remark: String = REMARKS[odd].chars().cycle().take(left).collect();
    set(&mut image, Value::Str(&remark))?;
    Ok(image)
}

struct Bench {
    db: Database,
    table: Table,
    random: Random,
    step: u32,
    templates: [RowImage; 2],
    /// Which template each row was last put from.
    odd: Vec<bool>,
}

impl Bench {
    fn new(db: Database) -> Result<Self, Box<dyn std::error::Error>> {
        let table = db.create_table(&schema()?)?;
        let templates = [template(table.schema(), 0)?, template(table.schema(), 1)?];
        let odd = vec![false; ROWS as usize];
        let mut bench = Self { db, table, random: Random(1), step: 0, templates, odd };
        for first in (0..ROWS).step_by(1000) {
            let mut txn = bench.db.begin(TxnOptions::default())?;
            for serial in first..first + 1000 {
                txn.upsert(&bench.table, row(&bench.table, &mut bench.templates[0], serial, 0)?)?;
            }
            txn.commit()?;
        }
        Ok(bench)
    }

    fn operate(&mut self, side: usize) -> Result<(), Error> {
        let serial = self.random.below(ROWS);
        self.step += 1;
        let [lat, lon, altitude, updated_at] = position(self.step);
        let mut txn = self.db.begin(TxnOptions::default())?;
        if side == WHOLE_ROW {
            let odd = &mut self.odd[serial as usize];
            *odd = !*odd;
            let template = &mut self.templates[usize::from(*odd)];
            txn.upsert(&self.table, row(&self.table, template, serial, self.step)?)?;
        } else {
            let values = [(3, altitude), (4, updated_at), (1, lat), (2, lon)];
            txn.set(&self.table, Value::I64(serial.into()), &values[..1 << side])?;
        }
        txn.commit().map(drop)
    }
}

/// The row of a key at a step; of 816 bytes.
fn row<'a>(table: &Table, image: &'a mut RowImage, serial: u32, step: u32) -> Result<&'a RowImage, Error> {
    let schema = table.schema();
    image.set(schema, 0, Value::I64(serial.into()))?;
    for (column, value) in CHANGED.into_iter().zip(position(step)) {
        image.set(schema, column, value)?;
    }
    image.finish(schema)?;
    assert_eq!(image.bytes().len(), ROW_BYTES);
    Ok(image)
}

/// Processor time of all threads so far, in nanoseconds.
fn cpu_nanos() -> Result<f64, std::io::Error> {
    let mut sum = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or_default();
    }
    Ok(sum)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = Place::fresh("wal-delta");
    let mut bench = Bench::new(place.open()?)?;
    let mut bytes: [Vec<f64>; 4] = Default::default();
    let mut nanos: [Vec<f64>; 4] = Default::default();
    let turns = u32::try_from(common::number("AEROSTORE_BENCH_TURNS", TURNS.into()))?;
    for _ in 0..turns {
        for side in 0..SIDES.len() {
            bench.db.flush()?;
            let (log, cpu) = (bench.db.status()?.log, cpu_nanos()?);
            for _ in 0..TURN {
                bench.operate(side)?;
            }
            bench.db.flush()?;
            let written = u32::try_from(bench.db.status()?.log.written_bytes - log.written_bytes)?;
            bytes[side].push(f64::from(written) / f64::from(TURN));
            nanos[side].push((cpu_nanos()? - cpu) / f64::from(TURN));
        }
    }
    println!("{} updates of each kind, rows of {ROW_BYTES} bytes", turns * TURN);
    let ratio = |side: &[f64]| {
        let mut ratios: Vec<f64> = side.iter().zip(&nanos[WHOLE_ROW]).map(|(a, b)| a / b).collect();
        median(&mut ratios)
    };
    let ratios: Vec<f64> = nanos.iter().map(|side| ratio(side)).collect();
    let whole_bytes = median(&mut bytes[WHOLE_ROW].clone());
    for (side, name) in SIDES.into_iter().enumerate() {
        let each = median(&mut bytes[side]);
        println!(
            "  {name:<14} {each:>7.1} bytes ({:>5.1} % fewer)   {:>6.0} ns of processor time, {:.2} x whole row",
            100.0 * (1.0 - each / whole_bytes),
            median(&mut nanos[side]),
            ratios[side]
        );
    }
    Ok(())
}
