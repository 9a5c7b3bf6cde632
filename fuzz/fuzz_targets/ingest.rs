//! Ingest takes any bytes: every row it hands out is sound, prints as text that reads back the same, and is counted;
//! a batch that failed left nothing.
#![no_main]

use aerostore_core::db::Upserted;
use aerostore_core::db::ingest::{BatchSink, IngestOptions, Input, OnError, ingest};
use aerostore_core::row::{DirtyMask, Quoting, RowImage, Schema, Value, text};
use aerostore_fuzz::WIDE;
use libfuzzer_sys::fuzz_target;
use std::convert::Infallible;
use std::ops::ControlFlow;

#[derive(Default)]
struct Sink {
    in_batch: bool,
    batch: u64,
    committed: u64,
    /// Rows of the open batch, and of those committed, that were to be deleted.
    deleted: [u64; 2],
}

impl BatchSink for Sink {
    type Error = Infallible;

    fn begin(&mut self) -> Result<(), Infallible> {
        assert!(!self.in_batch, "begin within a batch");
        (self.in_batch, self.batch, self.deleted[0]) = (true, 0, 0);
        Ok(())
    }

    fn upsert(&mut self, row: &RowImage, given: DirtyMask) -> Result<Upserted, Infallible> {
        assert!(self.in_batch, "a row outside a batch");
        check(&WIDE, row, given);
        self.batch += 1;
        Ok(Upserted::Inserted)
    }

    fn delete(&mut self, key: Value<'_>) -> Result<bool, Infallible> {
        assert!(self.in_batch, "a row outside a batch");
        assert!(matches!(key, Value::Str(_)), "{key:?} as a key of type string");
        self.deleted[0] += 1;
        Ok(true)
    }

    fn commit(&mut self) -> Result<(), Infallible> {
        assert!(self.in_batch);
        self.in_batch = false;
        self.committed += self.batch;
        self.deleted[1] += self.deleted[0];
        Ok(())
    }

    fn rollback(&mut self) {
        assert!(self.in_batch);
        self.in_batch = false;
    }
}

fn check(schema: &Schema, row: &RowImage, given: DirtyMask) {
    let view = row.view(schema).expect("a finished image");
    view.check().expect("a sound image");
    for index in given.columns().filter(|&index| !view.is_null(index)) {
        let mut printed = Vec::new();
        text::format(view.get(index), &mut printed);
        let column = schema.column(index);
        // Text that looks like a null mark, or is empty, can only come from a column where that is a value.
        if printed.is_empty() || printed == b"\\N" {
            continue;
        }
        let again = text::parse(column, &printed).expect("what was printed can be read");
        assert_eq!(again, view.get(index), "column {}", column.name());
    }
}

fuzz_target!(|data: &[u8]| {
    let [choice, batch, data @ ..] = data else { return };
    let mut options = IngestOptions::new()
        .header(choice & 1 != 0)
        .on_error(if choice & 2 != 0 { OnError::Skip } else { OnError::Stop })
        .batch_rows(u64::from(*batch))
        .line_bytes_max(if choice & 4 != 0 { 64 } else { 1 << 20 });
    if choice & 8 != 0 {
        options = options.columns(["ident", "-", "wide", "double", "text"]).separator(b',').null_mark(b"?");
    }
    let quoting = match choice >> 5 & 3 {
        0 => Quoting::None,
        1 => Quoting::Uri,
        _ => Quoting::Escape,
    };
    options = options.quoting(quoting).deletes(choice & 128 != 0);
    // A reader that gives a few bytes at a time takes other ways through the input than memory does.
    let input = if choice & 16 != 0 { Input::from_reader(Slow(data)) } else { Input::from_bytes(data) };
    let mut sink = Sink::default();
    let outcome = ingest(&WIDE, &options, input, &mut sink, &mut |_| ControlFlow::Continue(()));
    let report = match &outcome {
        Ok(report) => report,
        Err(error) => &error.report,
    };
    assert!(!sink.in_batch, "a batch was left open");
    assert_eq!((report.rows, report.deleted), (sink.committed, sink.deleted[1]), "{outcome:?}");
});

struct Slow<'a>(&'a [u8]);

impl std::io::Read for Slow<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.len().min(into.len()).min(7);
        let (now, later) = self.0.split_at(count);
        into[..count].copy_from_slice(now);
        self.0 = later;
        Ok(count)
    }
}
