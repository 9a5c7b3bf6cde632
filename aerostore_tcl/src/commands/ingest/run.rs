//! Runs an ingest and reports.
#![forbid(unsafe_code)]

use std::ops::ControlFlow;
use std::time::Duration;

use aerostore_core::db::TxnOptions;
use aerostore_core::db::ingest::{
    ColumnsError, IngestCause, IngestError, IngestOptions, IngestReport, Input, RowFault, ingest,
};

use super::options::{Ingest, Origin};
use super::source::{ChannelReader, GzipReader, ZstdReader};
use super::within::Within;
use crate::commands::table::Opened;
use crate::error::{Error, Outcome, finish, reply};
use crate::ffi::{Channel, Completion, Interp, Obj};
use crate::terminal::Line;

/// Whoever has to wait for less wants no line.
const PATIENCE: Duration = Duration::from_millis(500);

/// `ingest_tsv data|-file path|-channel chan ?batch_size? ?-option value ...?`
pub(in crate::commands) fn run(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let request = Ingest::read(interp, words)?;
    let data;
    let input = match request.origin {
        Origin::Data(value) => {
            data = value.data();
            Input::from_bytes(&data)
        }
        Origin::File(path) => open_file(interp, path)?,
        Origin::Channel(name) => open_channel(interp, name)?,
    };
    let show = |report: &IngestReport| figures(report, request.deletes);
    take(table, interp, input, &request.options, request.progress, &show)
}

/// Reads all of the channel's lines; how many rows they made.
pub(in crate::commands) fn read_lines(
    table: &Opened,
    interp: &Interp,
    channel: &Obj,
    options: &IngestOptions,
) -> Outcome {
    let input = open_channel(interp, channel)?;
    take(table, interp, input, options, None, &|report| Obj::count(report.rows))
}

/// Reads all of the input, in the interpreter's transaction or batch by batch; what `show` makes of the figures.
fn take(
    table: &Opened,
    interp: &Interp,
    input: Input<'_>,
    options: &IngestOptions,
    progress: Option<&Obj>,
    show: &dyn Fn(&IngestReport) -> Obj,
) -> Outcome {
    let mut script = Progress { script: progress, show, ended: None };
    let mut line = progress.is_none().then(|| Line::of_terminal(PATIENCE)).flatten();
    let mut progress = |report: &IngestReport| {
        if let Some(line) = &mut line {
            let text = format_args!("{} rows, {:.0} rows/s", report.rows, report.rows_per_sec());
            line.show(report.elapsed, &text);
        }
        script.run(interp, report)
    };
    let outcome = if table.current.is_open() {
        ingest(&table.bound.schema, options, input, &mut Within::new(table), &mut progress)
    } else {
        let database = &table.open.database;
        database.ingest(&table.bound.table, options, input, TxnOptions::default(), &mut progress)
    };
    drop(line);
    match (outcome, script.ended) {
        (Ok(report), _) => reply(interp, &show(&report)),
        (Err(error), Some(Completion::BREAK)) if matches!(error.cause, IngestCause::Cancelled) => {
            reply(interp, &show(&error.report))
        }
        (Err(error), Some(Completion::ERROR)) if matches!(error.cause, IngestCause::Cancelled) => {
            Err(Error::Raised)
        }
        (Err(error), Some(other)) if matches!(error.cause, IngestCause::Cancelled) => Ok(other),
        (Err(error), _) => Err(failure(table, error)),
    }
}

fn open_channel<'i>(interp: &'i Interp, name: &Obj) -> Result<Input<'i>, Error> {
    let channel = Channel::find(interp, name).map_err(|_| Error::Tcl("NOT_FOUND"))?;
    let unreadable = || format!("channel \"{}\" wasn't opened for reading", name.quoted());
    let channel = channel.ok_or_else(|| Error::new("IO", unreadable()))?;
    Ok(Input::from_reader(ChannelReader::new(interp, channel)))
}

/// The text of a file, unpacked as its name says.
fn open_file<'i>(interp: &'i Interp, path: &Obj) -> Result<Input<'i>, Error> {
    if interp.is_safe() {
        return Err(Error::new("DENIED", "permission denied: a safe interpreter cannot read files"));
    }
    // Tcl opens a directory like a file, and only reading it fails.
    if interp.call(&[Obj::from("::tcl::file::isdirectory"), path.clone()]) == Completion::OK
        && interp.result().as_boolean() == Some(true)
    {
        return Err(Error::new("IO", format!("couldn't open \"{}\": it is a directory", path.quoted())));
    }
    interp.reset_result();
    let channel = Channel::open(interp, path).map_err(|_| Error::Tcl("IO"))?;
    let reader = ChannelReader::new(interp, channel);
    let name = path.bytes();
    if name.ends_with(b".gz") {
        Ok(Input::from_reader(GzipReader::new(reader)))
    } else if name.ends_with(b".zst") || name.ends_with(b".zstd") {
        let reader = ZstdReader::new(reader).map_err(|error| Error::new("IO", error.to_string()))?;
        Ok(Input::from_reader(reader))
    } else {
        Ok(Input::from_reader(reader))
    }
}

/// The script that is called after each batch.
struct Progress<'w> {
    script: Option<&'w Obj>,
    show: &'w dyn Fn(&IngestReport) -> Obj,
    /// How the script ended the ingest, if it did.
    ended: Option<Completion>,
}

impl Progress<'_> {
    fn run(&mut self, interp: &Interp, report: &IngestReport) -> ControlFlow<()> {
        let Some(script) = self.script else { return ControlFlow::Continue(()) };
        let completion = match script.items(interp) {
            Ok(mut words) => {
                words.push((self.show)(report));
                interp.call(&words)
            }
            Err(message) => finish(interp, Err(Error::syntax(format!("bad -progress script: {message}")))),
        };
        if matches!(completion, Completion::OK | Completion::CONTINUE) {
            return ControlFlow::Continue(());
        }
        if completion == Completion::ERROR {
            interp.add_error_info("\n    (\"ingest_tsv\" progress script)");
        }
        self.ended = Some(completion);
        ControlFlow::Break(())
    }
}

/// The figures as a dictionary.
fn figures(report: &IngestReport, deletes: bool) -> Obj {
    let count = |number| Obj::count(number);
    let pairs = [
        ("rows", count(report.rows)),
        ("inserted", count(report.inserted)),
        ("updated", count(report.updated)),
        ("unchanged", count(report.unchanged)),
        ("rejected", count(report.rejected)),
        ("batches", count(report.batches)),
        ("elapsed_us", count(report.elapsed_us())),
        ("rows_per_sec", Obj::double(report.rows_per_sec().round())),
        ("errors", Obj::list(&report.faults.iter().map(fault).collect::<Vec<_>>())),
    ];
    let gone = deletes.then(|| ("deleted", count(report.deleted)));
    Obj::dict(pairs.into_iter().chain(gone).map(|(name, value)| (Obj::string(name), value)))
}

fn fault(fault: &RowFault) -> Obj {
    Obj::list(&[
        Obj::count(fault.line),
        Obj::string(fault.column.as_deref().unwrap_or("")),
        Obj::string(&fault.reason),
    ])
}

fn failure(table: &Opened, error: IngestError<aerostore_core::db::Error>) -> Error {
    let message = error.to_string();
    match error.cause {
        IngestCause::Row(fault) => {
            Error::new("PARSE", message).with(fault.line.to_string()).with(fault.column.unwrap_or_default())
        }
        IngestCause::Columns(ColumnsError::Unknown { name, .. }) => table.bound.unknown_column(&name),
        IngestCause::Columns(ColumnsError::Duplicate { column } | ColumnsError::Missing { column }) => {
            Error::syntax(message).with("COLUMN").with(column)
        }
        IngestCause::Columns(_) => Error::syntax(message),
        IngestCause::Io { .. } => Error::new("IO", message),
        IngestCause::Sink { source, .. } => Error::from(source).saying(message),
        _ => Error::new("INTERNAL", message),
    }
}
