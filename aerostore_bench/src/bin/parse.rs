//! How fast can text be read at all? Lines, fields and typed values as an ingest takes them, each row into an image, and then
//! nothing: what remains of an ingest is the engine's work, and Tcl's.
//!
//! Rows          those of the file: flights of six columns, image 64 bytes
//! Operations    one batch of 1000 rows each
//! Durability    none, nothing is kept
//! Unit          rows per second
//! Arguments     `FILE`; prints rows, elapsed and processor microseconds
//!
//! The file is read through the same stream of chunks as by `ingest_tsv -file`.

#![forbid(unsafe_code)]

use aerostore_bench::contender::cpu_nanos;
use aerostore_bench::flight::FlightState;
use aerostore_core::db::ingest::{BatchSink, IngestOptions, Input, ingest};
use aerostore_core::db::{Error, Upserted};
use aerostore_core::row::{DirtyMask, Row, RowImage, Value};
use std::fs::File;
use std::ops::ControlFlow;
use std::time::Instant;

/// Takes rows and forgets them.
struct Nowhere;

impl BatchSink for Nowhere {
    type Error = Error;

    fn begin(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn upsert(&mut self, row: &RowImage, given: DirtyMask) -> Result<Upserted, Error> {
        std::hint::black_box((row, given));
        Ok(Upserted::Inserted)
    }

    fn delete(&mut self, key: Value<'_>) -> Result<bool, Error> {
        std::hint::black_box(key);
        Ok(false)
    }

    fn commit(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn rollback(&mut self) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("which file?")?;
    let file = File::open(path)?;
    let cpu_begin = cpu_nanos();
    let begin = Instant::now();
    let input = Input::from_reader(file);
    let options = IngestOptions::new();
    let report =
        ingest(FlightState::schema(), &options, input, &mut Nowhere, &mut |_| ControlFlow::Continue(()))?;
    let elapsed = begin.elapsed().as_micros();
    println!("{} {elapsed} {}", report.rows, (cpu_nanos() - cpu_begin) / 1000);
    Ok(())
}
