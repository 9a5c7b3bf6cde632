//! Ingest: tab-separated text into a table, streamed, in batches that are transactions.
//!
//! Shape       [`Input`] keeps the bytes of the current batch; lines and fields are slices of them, values go straight
//!             into one reused row image, and that to a [`BatchSink`]: nothing is allocated per row. A batch that lost
//!             against other transactions is parsed again from its bytes.
//! Format      G1: lines and fields as [`tsv`] cuts them, so CRLF is a line end as LF is, and the last
//!             line needs none. G2: empty lines are skipped, but counted as lines. G3: a byte order mark at the start is
//!             skipped. G4: fields are quoted as the options say, and null by rule F1 of `FieldFormat`. G5: of a row to be deleted
//!             only the key is looked at. G6: a line has as many fields as columns were named.
//! Errors      with `OnError::Stop`, a bad line rolls back its batch and ends the ingest; earlier batches stay. With
//!             `OnError::Skip` it is counted, and the first few are reported.

#![forbid(unsafe_code)]

mod columns;
mod input;
mod report;
mod sink;

use std::ops::ControlFlow;
use std::time::Instant;

use crate::query::Glob;
use crate::row::{DirtyMask, FieldFormat, Quoting, RowError, RowImage, Schema, Value, text, tsv};
use crate::txn::Upserted;

use columns::Columns;
pub use columns::ColumnsError;
pub use input::Input;
pub use report::{IngestCause, IngestError, IngestReport, RowFault};

/// Bytes after which a batch ends, so that neither it nor its transaction grows without bound.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Bad lines that a report lists.
const FAULTS_MAX: usize = 20;

/// What a bad line does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It ends the ingest, and its batch is undone.
    #[default]
    Stop,
    /// It is left out and counted.
    Skip,
}

/// How to read the text.
#[derive(Clone, Debug)]
pub struct IngestOptions {
    columns: Option<Vec<String>>,
    header: bool,
    null_mark: Option<Vec<u8>>,
    separator: u8,
    quoting: Quoting,
    key_pattern: Option<Glob>,
    deletes: bool,
    on_error: OnError,
    batch_rows: u64,
    line_bytes_max: usize,
}

/// Takes rows, in batches that are transactions.
pub trait BatchSink {
    /// What can go wrong.
    type Error: std::error::Error + 'static;

    /// Starts a batch; it is not called again before `commit` or `rollback`.
    ///
    /// # Errors
    ///
    /// When no transaction can be started.
    fn begin(&mut self) -> Result<(), Self::Error>;

    /// Inserts the row, or updates the one with its key, which in a table that numbers its rows is to get a number if the input has none.
    /// Only the columns in `given` come from the input; in a new row
    /// the others are as in `row`, in a present one they are to be kept.
    ///
    /// # Errors
    ///
    /// Whatever keeps the row from being written; the batch is rolled back then.
    fn upsert(&mut self, row: &RowImage, given: DirtyMask) -> Result<Upserted, Self::Error>;

    /// Deletes the row with that key; false when there is none.
    ///
    /// # Errors
    ///
    /// As for [`upsert`](BatchSink::upsert).
    fn delete(&mut self, key: Value<'_>) -> Result<bool, Self::Error>;

    /// Ends the batch and makes it last.
    ///
    /// # Errors
    ///
    /// When it could not be committed; nothing of it is there then, and `rollback` is not called.
    fn commit(&mut self) -> Result<(), Self::Error>;

    /// Ends the batch without a trace.
    fn rollback(&mut self);

    /// Whether to run the batch again after `error`, which ended attempt number `attempt`, counted from 0. This is the
    /// place to wait a little.
    fn retry(&mut self, error: &Self::Error, attempt: u32) -> bool {
        let _ = (error, attempt);
        false
    }
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            columns: None,
            header: false,
            null_mark: None,
            separator: b'\t',
            quoting: Quoting::None,
            key_pattern: None,
            deletes: false,
            on_error: OnError::Stop,
            batch_rows: 1000,
            line_bytes_max: 1 << 20,
        }
    }
}

impl IngestOptions {
    /// All columns in the schema's order, no header, tabs, batches of 1000 rows, stop at the first bad line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the column of each field, by name or alias; `-` or nothing for a field that is to be ignored. Without this,
    /// the header names them, or else they are all columns in the schema's order.
    #[must_use]
    pub fn columns<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Whether the first line is a header. It names the columns, unless they are named already.
    #[must_use]
    pub fn header(mut self, header: bool) -> Self {
        self.header = header;
        self
    }

    /// A field of exactly these bytes is null too.
    #[must_use]
    pub fn null_mark(mut self, mark: impl Into<Vec<u8>>) -> Self {
        self.null_mark = Some(mark.into());
        self
    }

    /// The byte between fields; anything but NUL and the bytes of line ends.
    #[must_use]
    pub fn separator(mut self, separator: u8) -> Self {
        self.separator = separator;
        self
    }

    /// How fields are quoted.
    #[must_use]
    pub fn quoting(mut self, quoting: Quoting) -> Self {
        self.quoting = quoting;
        self
    }

    /// Takes only rows whose key, as text, fits the pattern; others are passed over.
    #[must_use]
    pub fn keys_like(mut self, pattern: Glob) -> Self {
        self.key_pattern = Some(pattern);
        self
    }

    /// Whether the rows with the keys of the lines are deleted; other fields are not looked at then.
    #[must_use]
    pub fn deletes(mut self, deletes: bool) -> Self {
        self.deletes = deletes;
        self
    }

    /// What a bad line does.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Lines in a batch, at least 1; a batch also ends after 8 MiB.
    #[must_use]
    pub fn batch_rows(mut self, rows: u64) -> Self {
        self.batch_rows = rows.max(1);
        self
    }

    /// Bytes that a line may have; a longer one is a bad line, and is not kept in memory.
    #[must_use]
    pub fn line_bytes_max(mut self, bytes: usize) -> Self {
        self.line_bytes_max = bytes;
        self
    }
}

/// Reads all of `input` into `sink`. After each batch `progress` sees the figures so far, and can break off.
///
/// # Errors
///
/// [`IngestError`], with the figures of the batches that were committed before.
pub fn ingest<S: BatchSink>(
    schema: &Schema,
    options: &IngestOptions,
    input: Input<'_>,
    sink: &mut S,
    progress: &mut dyn FnMut(&IngestReport) -> ControlFlow<()>,
) -> Result<IngestReport, IngestError<S::Error>> {
    let started = Instant::now();
    let mut report = IngestReport::default();
    let result = Ingest::prepare(schema, options, input).and_then(|ingest| {
        ingest.map_or(Ok(()), |mut ingest| ingest.run(sink, &mut report, started, progress))
    });
    report.elapsed = started.elapsed();
    match result {
        Ok(()) => Ok(report),
        Err(cause) => Err(IngestError { cause, report: Box::new(report) }),
    }
}

struct Ingest<'i> {
    schema: &'i Schema,
    options: &'i IngestOptions,
    columns: Columns,
    format: FieldFormat,
    input: Input<'i>,
    image: RowImage,
    /// Number of the line with which the input's window starts, from 1.
    line: u64,
}

/// What one attempt at a batch came to.
#[derive(Default)]
struct Batch {
    begun: bool,
    /// Bytes of the input's window that are done with.
    bytes: usize,
    lines: u64,
    inserted: u64,
    updated: u64,
    unchanged: u64,
    deleted: u64,
    rejected: u64,
    faults: Vec<RowFault>,
    /// The line that starts after `bytes` is too long to be held.
    oversized: bool,
}

/// Why an attempt ended early.
enum Interruption<E> {
    Sink(E),
    Cause(IngestCause<E>),
}

impl<'i> Ingest<'i> {
    /// Reads what comes before the rows; `None` when there is nothing at all.
    fn prepare<E>(
        schema: &'i Schema,
        options: &'i IngestOptions,
        mut input: Input<'i>,
    ) -> Result<Option<Self>, IngestCause<E>> {
        let io = |source| IngestCause::Io { line: 1, source };
        columns::check_separator(options.separator)?;
        input.skip_byte_order_mark().map_err(io)?;
        let mut line = 1;
        let mut header = None;
        if options.header {
            let found = input.line(0, options.line_bytes_max).map_err(io)?;
            let Some(place) = found else {
                let (window, _) = input.window();
                if window.is_empty() {
                    return Ok(None);
                }
                return Err(IngestCause::Row(oversized(1, options.line_bytes_max)));
            };
            let (window, _) = input.window();
            header = Some(window[place.start..place.end].to_vec());
            input.consume(place.next);
            line = 2;
        }
        let columns = match (&options.columns, header) {
            (Some(names), _) => Columns::named(schema, names)?,
            (None, Some(header)) => Columns::from_header(schema, &header, options.separator)?,
            (None, None) => Columns::all(schema),
        };
        columns.check(schema, options.deletes)?;
        let format = FieldFormat::new(options.quoting, options.separator, options.null_mark.clone());
        Ok(Some(Self { schema, options, columns, format, input, image: RowImage::new(schema), line }))
    }

    fn run<S: BatchSink>(
        &mut self,
        sink: &mut S,
        report: &mut IngestReport,
        started: Instant,
        progress: &mut dyn FnMut(&IngestReport) -> ControlFlow<()>,
    ) -> Result<(), IngestCause<S::Error>> {
        loop {
            let batch = self.batch(sink, report.faults.len())?;
            self.input.consume(batch.bytes);
            self.line += batch.lines;
            let oversized = batch.oversized;
            let ended = batch.lines == 0 && !oversized;
            batch.add_to(report);
            if oversized {
                self.discard_line(report)?;
            }
            if ended {
                return Ok(());
            }
            report.elapsed = started.elapsed();
            if progress(report).is_break() {
                return Err(IngestCause::Cancelled);
            }
        }
    }

    /// Runs the next batch, again and again while the sink wants to.
    fn batch<S: BatchSink>(&mut self, sink: &mut S, faults: usize) -> Result<Batch, IngestCause<S::Error>> {
        let mut attempt = 0;
        loop {
            let mut batch = Batch::default();
            let mut result = self.attempt(sink, &mut batch, FAULTS_MAX.saturating_sub(faults));
            if batch.begun {
                match &result {
                    Ok(()) => result = sink.commit().map_err(Interruption::Sink),
                    Err(_) => sink.rollback(),
                }
            }
            match result {
                Ok(()) => return Ok(batch),
                Err(Interruption::Sink(error)) if sink.retry(&error, attempt) => attempt += 1,
                Err(Interruption::Sink(source)) => return Err(IngestCause::Sink { line: self.line, source }),
                Err(Interruption::Cause(cause)) => return Err(cause),
            }
        }
    }

    fn attempt<S: BatchSink>(
        &mut self,
        sink: &mut S,
        batch: &mut Batch,
        faults_max: usize,
    ) -> Result<(), Interruption<S::Error>> {
        while batch.lines < self.options.batch_rows && batch.bytes < BATCH_BYTES_MAX {
            let number = self.line + batch.lines;
            let io = |source| Interruption::Cause(IngestCause::Io { line: number, source });
            let Some(line) = self.input.line(batch.bytes, self.options.line_bytes_max).map_err(io)? else {
                batch.oversized = self.input.window().0.len() > batch.bytes;
                if batch.oversized && self.options.on_error == OnError::Stop {
                    let fault = oversized(number, self.options.line_bytes_max);
                    return Err(Interruption::Cause(IngestCause::Row(fault)));
                }
                return Ok(());
            };
            batch.bytes = line.next;
            batch.lines += 1;
            if line.start == line.end {
                continue;
            }
            match self.parse(line) {
                Ok(()) if self.passes_over() => {}
                Ok(()) => self.take(sink, batch).map_err(Interruption::Sink)?,
                Err(problem) if self.options.on_error == OnError::Stop => {
                    return Err(Interruption::Cause(IngestCause::Row(self.fault(number, problem))));
                }
                Err(problem) => {
                    batch.rejected += 1;
                    if batch.faults.len() < faults_max {
                        batch.faults.push(self.fault(number, problem));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the key of the row in the image does not fit the pattern.
    #[inline]
    fn passes_over(&self) -> bool {
        let Some(pattern) = &self.options.key_pattern else { return false };
        let Ok(row) = self.image.view(self.schema) else { return true };
        match row.key() {
            Value::Str(key) => !pattern.matches(key),
            key => {
                let mut shown = Vec::new();
                text::format(key, &mut shown);
                !pattern.matches(&String::from_utf8_lossy(&shown))
            }
        }
    }

    /// Hands the row in the image to the sink.
    #[inline]
    fn take<S: BatchSink>(&self, sink: &mut S, batch: &mut Batch) -> Result<(), S::Error> {
        if !batch.begun {
            sink.begin()?;
            batch.begun = true;
        }
        if self.options.deletes {
            let key = self.image.view(self.schema).map_or(Value::Null, |row| row.key());
            batch.deleted += u64::from(sink.delete(key)?);
            return Ok(());
        }
        match sink.upsert(&self.image, self.columns.given())? {
            Upserted::Inserted => batch.inserted += 1,
            Upserted::Updated => batch.updated += 1,
            Upserted::Unchanged => batch.unchanged += 1,
        }
        Ok(())
    }

    /// Reads one line into the image; of a row to be deleted only the key (G5).
    #[inline]
    fn parse(&mut self, line: tsv::Line) -> Result<(), Problem> {
        let (window, _) = self.input.window();
        let mut fields = tsv::fields_of(window, line, self.options.separator);
        self.image.reset(self.schema);
        if self.schema.has_numbered_key() {
            // Until it is written, if no field has another: the table gives it its number then.
            let key = self.schema.key_index();
            self.image.set(self.schema, key, Value::I64(0)).map_err(Problem::Value)?;
        }
        for (place, target) in self.columns.targets().iter().enumerate() {
            let field = fields.next().ok_or(Problem::Missing { place })?;
            let Some(index) = *target else { continue };
            if self.options.deletes && index != self.schema.key_index() {
                continue;
            }
            self.format.read_into(self.schema, index, field, &mut self.image).map_err(Problem::Value)?;
        }
        let surplus = fields.count();
        if surplus > 0 {
            return Err(Problem::Surplus { surplus });
        }
        if self.options.deletes {
            return Ok(());
        }
        self.image.finish(self.schema).map_err(Problem::Value)
    }

    #[cold]
    fn fault(&self, line: u64, problem: Problem) -> RowFault {
        let expected = self.columns.targets().len();
        let (column, reason) = match problem {
            Problem::Value(error) => (error.column().map(str::to_owned), error.to_string()),
            Problem::Missing { place } => {
                let column = self.columns.targets()[place].map(|index| self.schema.column(index).name());
                let missing =
                    column.map_or_else(String::new, |name| format!(", column \"{name}\" is missing"));
                (column.map(str::to_owned), format!("expected {expected} fields but got {place}{missing}"))
            }
            Problem::Surplus { surplus } => {
                (None, format!("expected {expected} fields but got {}", expected + surplus))
            }
        };
        RowFault { line, column, reason }
    }

    /// Drops the line at the start of the window, which is too long to be held, and counts it as bad.
    fn discard_line<E>(&mut self, report: &mut IngestReport) -> Result<(), IngestCause<E>> {
        let line = self.line;
        self.input.discard_line().map_err(|source| IngestCause::Io { line, source })?;
        self.line += 1;
        report.rejected += 1;
        if report.faults.len() < FAULTS_MAX {
            report.faults.push(oversized(line, self.options.line_bytes_max));
        }
        Ok(())
    }
}

/// What is wrong with a line.
enum Problem {
    /// A value that does not fit its column.
    Value(RowError),
    /// The line ends before this field.
    Missing { place: usize },
    /// The line goes on after the last field.
    Surplus { surplus: usize },
}

fn oversized(line: u64, line_bytes_max: usize) -> RowFault {
    RowFault { line, column: None, reason: format!("line exceeds the limit of {line_bytes_max} bytes") }
}

impl Batch {
    fn add_to(self, report: &mut IngestReport) {
        report.rows += self.inserted + self.updated + self.unchanged;
        report.inserted += self.inserted;
        report.updated += self.updated;
        report.unchanged += self.unchanged;
        report.deleted += self.deleted;
        report.rejected += self.rejected;
        report.batches += u64::from(self.begun);
        report.bytes += self.bytes as u64;
        report.faults.extend(self.faults);
    }
}

#[cfg(test)]
mod tests;
