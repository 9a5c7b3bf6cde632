use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io::{self, Read};

use proptest::prelude::*;

use super::*;
use crate::row::{Column, ColumnType, RowView};

fn schema() -> Schema {
    Schema::builder("Flight")
        .column(Column::new("ident", ColumnType::FixedString(8)).alias("flight"))
        .column(Column::new("alt", ColumnType::I32).nullable())
        .column(Column::new("lat", ColumnType::F64).nullable())
        .column(Column::new("note", ColumnType::String(20)).nullable())
        .key("ident")
        .build()
        .expect("a sound definition")
}

/// A table in a map, with transactions.
#[derive(Default)]
struct Map {
    rows: BTreeMap<String, Vec<u8>>,
    before: Option<BTreeMap<String, Vec<u8>>>,
    begun: u32,
    given: DirtyMask,
    /// How many more commits fail.
    conflicts: u32,
    /// How many failures of one batch are put up with.
    patience: u32,
}

#[derive(Debug)]
struct Conflict;

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("conflict")
    }
}

impl std::error::Error for Conflict {}

impl BatchSink for Map {
    type Error = Conflict;

    fn begin(&mut self) -> Result<(), Conflict> {
        assert!(self.before.is_none(), "a batch is open");
        self.before = Some(self.rows.clone());
        self.begun += 1;
        Ok(())
    }

    fn upsert(&mut self, row: &RowImage, given: DirtyMask) -> Result<Upserted, Conflict> {
        self.given = given;
        let schema = schema();
        let key = row.view(&schema).expect("a row of the table").key().to_string();
        Ok(match self.rows.insert(key, row.bytes().to_vec()) {
            None => Upserted::Inserted,
            Some(old) if old == row.bytes() => Upserted::Unchanged,
            Some(_) => Upserted::Updated,
        })
    }

    fn delete(&mut self, key: Value<'_>) -> Result<bool, Conflict> {
        Ok(self.rows.remove(&key.to_string()).is_some())
    }

    fn commit(&mut self) -> Result<(), Conflict> {
        let before = self.before.take().expect("a batch is open");
        if self.conflicts > 0 {
            self.conflicts -= 1;
            self.rows = before;
            return Err(Conflict);
        }
        Ok(())
    }

    fn rollback(&mut self) {
        self.rows = self.before.take().expect("a batch is open");
    }

    fn retry(&mut self, _error: &Conflict, attempt: u32) -> bool {
        attempt < self.patience
    }
}

impl Map {
    fn row(&self, key: &str) -> Option<String> {
        let schema = schema();
        let view = RowView::new(&schema, self.rows.get(key)?).expect("a row of the table");
        Some(view.values().map(|value| value.to_string()).collect::<Vec<_>>().join("|"))
    }
}

fn run(options: &IngestOptions, text: &[u8]) -> (Map, Result<IngestReport, IngestError<Conflict>>) {
    let mut map = Map::default();
    let result = ingest_into(&mut map, options, text);
    (map, result)
}

fn ingest_into(
    map: &mut Map,
    options: &IngestOptions,
    text: &[u8],
) -> Result<IngestReport, IngestError<Conflict>> {
    ingest(&schema(), options, Input::from_bytes(text), map, &mut |_| ControlFlow::Continue(()))
}

/// Ingests one line and gives the complaint.
fn complaint(line: &[u8]) -> String {
    let (map, result) = run(&IngestOptions::new(), line);
    assert!(map.rows.is_empty() && map.before.is_none(), "nothing of it stays");
    result.expect_err("a bad line").to_string()
}

#[test]
fn rows_arrive_and_are_counted() {
    let text = b"a\t1\t1.5\tx\nb\t\\N\t\t\na\t2\t1.5\tx\nb\t\t\t\n";
    let (map, result) = run(&IngestOptions::new(), text);
    let report = result.expect("good lines");
    assert_eq!((report.rows, report.inserted, report.updated, report.unchanged), (4, 2, 1, 1));
    assert_eq!((report.rejected, report.batches, report.bytes), (0, 1, text.len() as u64));
    assert_eq!(map.row("a").as_deref(), Some("a|2|1.5|x"));
    assert_eq!(map.row("b").as_deref(), Some(r"b|\N|\N|\N"));
}

#[test]
fn line_ends_of_any_kind() {
    let (map, result) = run(&IngestOptions::new(), b"\xef\xbb\xbfa\t1\t\tx\r\n\r\n\nb\t2\t\ty\nc\t3\t\t");
    assert_eq!(result.expect("good lines").rows, 3);
    assert_eq!(map.row("a").as_deref(), Some(r"a|1|\N|x"));
    assert_eq!(map.row("c").as_deref(), Some(r"c|3|\N|\N"));
    for empty in [&b""[..], b"\n", b"\r\n\n", b"\xef\xbb\xbf"] {
        let (map, result) = run(&IngestOptions::new(), empty);
        assert_eq!((result.expect("no lines").batches, map.begun), (0, 0));
    }
}

#[test]
fn columns_by_list_or_header() {
    let options = IngestOptions::new().columns(["alt", "-", "flight"]);
    let (map, result) = run(&options, b"7\tignored\ta\n");
    assert_eq!(result.expect("good lines").rows, 1);
    assert_eq!(map.row("a").as_deref(), Some(r"a|7|\N|\N"));
    assert_eq!(map.given, DirtyMask(0b11));

    let (map, result) = run(&IngestOptions::new().header(true), b"note\tflight\r\nhi\ta\r\n");
    assert_eq!(result.expect("good lines").rows, 1);
    assert_eq!(map.row("a").as_deref(), Some(r"a|\N|\N|hi"));

    let (map, result) = run(&options.header(true), b"whatever\n7\tignored\ta\n");
    assert_eq!((result.expect("good lines").rows, map.rows.len()), (1, 1));

    let (_, result) = run(&IngestOptions::new().header(true), b"");
    assert_eq!(result.expect("no lines").rows, 0);
}

#[test]
fn bad_options_and_headers() {
    let complaint =
        |options: IngestOptions, text: &[u8]| run(&options, text).1.expect_err("bad options").to_string();
    let named = |names: &[&str]| IngestOptions::new().columns(names.iter().copied());
    assert_eq!(complaint(named(&["ident", "speed"]), b""), "no column \"speed\" in table \"Flight\"");
    assert_eq!(complaint(named(&["ident", "flight"]), b""), "column \"ident\" is named twice");
    assert_eq!(complaint(named(&["alt"]), b""), "column \"ident\" is not named, but every row needs it");
    assert_eq!(complaint(IngestOptions::new().header(true), b"ident\t\xff\n"), "the header is not UTF-8");
    let separator = IngestOptions::new().separator(b'\n');
    assert_eq!(complaint(separator, b""), "bad separator \"\\n\": must not be NUL or part of a line end");
    let long_header = IngestOptions::new().header(true).line_bytes_max(4);
    assert_eq!(complaint(long_header, b"ident\n"), "line 1: line exceeds the limit of 4 bytes");
}

#[test]
fn separator_and_null_mark() {
    let options = IngestOptions::new().separator(b',').null_mark("-");
    let (map, result) = run(&options, b"a,-,-,tab\there\nb,\\N,2,-\n");
    assert_eq!(result.expect("good lines").rows, 2);
    assert_eq!(map.row("a").as_deref(), Some("a|\\N|\\N|tab\there"));
    assert_eq!(map.row("b").as_deref(), Some(r"b|\N|2.0|\N"));
    let error = run(&options, b"-,1,1,x\n").1.expect_err("a null key");
    assert_eq!(error.to_string(), "line 1: column \"ident\" must not be null");
}

#[test]
fn bad_lines_name_line_column_and_reason() {
    assert_eq!(complaint(b"a\tNaN\t1\tx"), "line 1: column \"alt\": expected int but got \"NaN\"");
    assert_eq!(complaint(b"a\t1\tnan\tx"), "line 1: column \"lat\": not a finite number");
    assert_eq!(complaint(b"a\t1\t-inf\tx"), "line 1: column \"lat\": not a finite number");
    assert_eq!(complaint(b"a\t1\t1e999\tx"), "line 1: column \"lat\": 1e999 is out of range for double");
    assert_eq!(
        complaint(b"a\t2147483648\t1\tx"),
        "line 1: column \"alt\": 2147483648 is out of range for int"
    );
    assert_eq!(complaint(b"a\t1"), "line 1: expected 4 fields but got 2, column \"lat\" is missing");
    assert_eq!(complaint(b"a\t1\t1\tx\t\t"), "line 1: expected 4 fields but got 6");
    assert_eq!(complaint(b"\t1\t1\tx"), "line 1: column \"ident\": the key must not be empty");
    assert_eq!(complaint(b"\\N\t1\t1\tx"), "line 1: column \"ident\" must not be null");
    assert_eq!(
        complaint(b"abcdefghi\t1\t1\tx"),
        "line 1: column \"ident\": string of 9 bytes exceeds the limit of 8"
    );
    assert_eq!(complaint(b"a\t1\t1\tx\0y"), "line 1: column \"note\": NUL at byte 1");
    assert_eq!(complaint(b"a\t1\t1\tx\xff"), "line 1: column \"note\": invalid UTF-8 at byte 1");
    assert_eq!(complaint(b"a\t1 \t1\tx"), "line 1: column \"alt\": expected int but got \"1 \"");
    let long = [b"a\t1\t1\t", &vec![b'x'; 1 << 20][..]].concat();
    assert_eq!(complaint(&long), "line 1: line exceeds the limit of 1048576 bytes");
    assert_eq!(
        complaint(&long[7..]),
        "line 1: column \"ident\": string of 1048575 bytes exceeds the limit of 8"
    );
    let Err(IngestError { cause: IngestCause::Row(fault), .. }) = run(&IngestOptions::new(), b"a\t1\n").1
    else {
        panic!("a bad line");
    };
    assert_eq!((fault.line, fault.column.as_deref()), (1, Some("lat")));
}

#[test]
fn stop_keeps_earlier_batches_only() {
    let options = IngestOptions::new().batch_rows(2);
    let (map, result) = run(&options, b"a\t1\t\t\nb\t1\t\t\nc\t1\t\t\nd\tx\t\t\ne\t1\t\t\n");
    let error = result.expect_err("a bad line");
    assert_eq!(error.to_string(), "line 4: column \"alt\": expected int but got \"x\"");
    assert_eq!((error.report.rows, error.report.batches), (2, 1));
    assert_eq!(map.rows.keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn skip_leaves_bad_lines_out() {
    let options = IngestOptions::new().batch_rows(2).on_error(OnError::Skip);
    let mut text = b"a\t1\t\t\nb\tx\t\t\n\nc\t1\t\t\n".to_vec();
    for _ in 0..30 {
        text.extend_from_slice(b"d\n");
    }
    text.extend_from_slice(b"e\t1\t\t");
    let (map, result) = run(&options, &text);
    let report = result.expect("bad lines are skipped");
    assert_eq!((report.rows, report.rejected, report.faults.len()), (3, 31, 20));
    assert_eq!((report.faults[0].line, report.faults[1].line), (2, 5));
    assert_eq!(map.rows.keys().collect::<Vec<_>>(), ["a", "c", "e"]);
    assert_eq!(report.batches, 3, "a batch of bad lines only is no transaction");
}

#[test]
fn oversized_lines_are_skipped_without_being_held() {
    let options = IngestOptions::new().line_bytes_max(100).on_error(OnError::Skip);
    let huge = vec![b'x'; 3 << 20];
    let text = [b"a\t1\t\t\n", &huge[..], b"\nb\t1\t\t\n", &huge[..101], b"\r\n", &huge[..]].concat();
    for input in [Input::from_bytes(&text), Input::from_reader(&text[..])] {
        let mut map = Map::default();
        let report = ingest(&schema(), &options, input, &mut map, &mut |_| ControlFlow::Continue(()));
        let report = report.expect("bad lines are skipped");
        assert_eq!((report.rows, report.rejected), (2, 3));
        assert_eq!(report.faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [2, 4, 5]);
    }
    let full = format!("a\t1\t\t{}\r\n", "y".repeat(20));
    let (_, result) = run(&IngestOptions::new().line_bytes_max(full.len() - 2), full.as_bytes());
    assert_eq!(result.expect("the longest line allowed").rows, 1);
}

#[test]
fn a_batch_that_lost_runs_again() {
    let text = b"a\t1\t\t\nb\t1\t\t\nc\t1\t\t\n";
    let options = IngestOptions::new().batch_rows(2);
    let mut map = Map { conflicts: 3, patience: 3, ..Map::default() };
    let report = ingest_into(&mut map, &options, text).expect("the fourth attempt succeeds");
    assert_eq!((report.rows, report.inserted, report.batches, map.begun), (3, 3, 2, 5));

    let mut map = Map { conflicts: 3, patience: 2, ..Map::default() };
    let error = ingest_into(&mut map, &options, text).expect_err("patience ends");
    assert_eq!(error.to_string(), "batch from line 1: conflict");
    assert!(map.rows.is_empty());
}

#[test]
fn progress_sees_each_batch_and_can_break_off() {
    let text = b"a\t1\t\t\nb\t1\t\t\nc\t1\t\t\nd\t1\t\t\n";
    let options = IngestOptions::new().batch_rows(1);
    let mut map = Map::default();
    let mut seen = Vec::new();
    let error = ingest(&schema(), &options, Input::from_bytes(text), &mut map, &mut |report| {
        seen.push(report.rows);
        if report.rows == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(error.expect_err("broken off").cause, IngestCause::Cancelled));
    assert_eq!((seen, map.rows.len()), (vec![1, 2, 3], 3));
}

/// Gives so many bytes at a time, with interruptions, and fails after them if told to.
struct Trickle<'a> {
    rest: &'a [u8],
    step: usize,
    interrupted: bool,
    fails: bool,
}

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.fails && self.rest.is_empty() {
            return Err(io::Error::other("unplugged"));
        }
        let count = self.step.min(buffer.len());
        self.rest.read(&mut buffer[..count])
    }
}

#[test]
fn a_failing_stream_undoes_its_batch() {
    let reader = Trickle { rest: b"a\t1\t\t\nb\t1\t\t\nc\t1\t", step: 3, interrupted: false, fails: true };
    let mut map = Map::default();
    let options = IngestOptions::new().batch_rows(2);
    let input = Input::from_reader(reader);
    let error = ingest(&schema(), &options, input, &mut map, &mut |_| ControlFlow::Continue(()));
    let error = error.expect_err("the stream fails");
    assert_eq!(error.to_string(), "line 3: cannot read: unplugged");
    assert_eq!((map.rows.len(), error.report.rows), (2, 2));
}

/// Keeps what it is given.
struct Collector(Vec<Vec<u8>>);

impl BatchSink for Collector {
    type Error = Infallible;

    fn begin(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn upsert(&mut self, row: &RowImage, _given: DirtyMask) -> Result<Upserted, Infallible> {
        self.0.push(row.bytes().to_vec());
        Ok(Upserted::Inserted)
    }

    fn delete(&mut self, _key: Value<'_>) -> Result<bool, Infallible> {
        Ok(false)
    }

    fn commit(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn rollback(&mut self) {}
}

/// The rows of the good lines, and how many lines are bad, by the plainest means.
fn naive(schema: &Schema, text: &str) -> (Vec<Vec<u8>>, u64) {
    let mut rows = Vec::new();
    let mut rejected = 0;
    for line in
        text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).filter(|line| !line.is_empty())
    {
        let fields: Vec<&str> = line.split('\t').collect();
        let mut image = RowImage::new(schema);
        let parsed = (fields.len() == schema.columns().len()).then(|| {
            let mut each = fields.iter().enumerate();
            each.try_for_each(|(index, field)| text::parse_into(schema, index, field.as_bytes(), &mut image))
                .and_then(|()| image.finish(schema))
        });
        if let Some(Ok(())) = parsed {
            rows.push(image.bytes().to_vec());
        } else {
            rejected += 1;
        }
    }
    (rows, rejected)
}

proptest! {
    #[test]
    fn any_text_in_any_pieces_gives_the_same_rows(
        text in "([a-c]{0,3}\t-?[0-9]{0,3}\t[0-9.e]{0,3}\t[xé\\\\N]{0,4}\r?\n|[a\t\r\n1]{0,9}){0,20}",
        step in 1..40_usize,
        batch_rows in 1..5_u64,
    ) {
        let schema = schema();
        let options = IngestOptions::new().on_error(OnError::Skip).batch_rows(batch_rows);
        let expected = naive(&schema, &text);
        let pieces = Trickle { rest: text.as_bytes(), step, interrupted: false, fails: false };
        for input in [Input::from_bytes(text.as_bytes()), Input::from_reader(pieces)] {
            let mut sink = Collector(Vec::new());
            let report = ingest(&schema, &options, input, &mut sink, &mut |_| ControlFlow::Continue(()));
            let report = report.expect("bad lines are skipped");
            prop_assert_eq!((&sink.0, report.rejected), (&expected.0, expected.1));
            prop_assert_eq!(report.bytes, text.len() as u64);
        }
    }

    #[test]
    fn any_bytes_are_rows_or_faults(bytes in prop::collection::vec(any::<u8>(), 0..300), stop: bool) {
        let on_error = if stop { OnError::Stop } else { OnError::Skip };
        let mut sink = Collector(Vec::new());
        let options = IngestOptions::new().on_error(on_error).line_bytes_max(50);
        let input = Input::from_bytes(&bytes);
        let result = ingest(&schema(), &options, input, &mut sink, &mut |_| ControlFlow::Continue(()));
        prop_assert!(stop || result.is_ok());
    }
}
