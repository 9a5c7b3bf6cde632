//! Runs an ingest and reports.
#![forbid(unsafe_code)]

use std::ops::ControlFlow;

use aerostore_core::db::TxnOptions;
use aerostore_core::db::ingest::{ColumnsError, IngestCause, IngestError, IngestReport, Input, RowFault};

use super::meter::Meter;
use super::options::{Ingest, Origin};
use super::source::{ChannelReader, GzipReader};
use crate::commands::table::Opened;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Channel, Completion, Interp, Obj};

/// `ingest_tsv data|-file path|-channel chan ?batch_size? ?-option value ...?`
pub(in crate::commands) fn run(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let request = Ingest::read(interp, words)?;
    let data;
    let input = match request.origin {
        Origin::Data(value) => {
            data = value.data();
            Input::from_bytes(&data)
        }
        Origin::File(path) => {
            let reader = ChannelReader::new(interp, open_file(interp, path)?);
            if path.bytes().ends_with(b".gz") {
                Input::from_reader(GzipReader::new(reader))
            } else {
                Input::from_reader(reader)
            }
        }
        Origin::Channel(name) => {
            let channel = Channel::find(interp, name).map_err(|_| Error::Tcl("NOT_FOUND"))?;
            let unreadable = || format!("channel \"{}\" wasn't opened for reading", name.quoted());
            let channel = channel.ok_or_else(|| Error::new("IO", unreadable()))?;
            Input::from_reader(ChannelReader::new(interp, channel))
        }
    };
    let mut script = Progress::new(request.progress);
    let mut meter = request.progress.is_none().then(Meter::of_terminal).flatten();
    let (database, options) = (&table.open.database, &request.options);
    let outcome = database.ingest(&table.bound.table, options, input, TxnOptions::default(), &mut |report| {
        if let Some(meter) = &mut meter {
            meter.show(report);
        }
        script.run(interp, report)
    });
    drop(meter);
    match (outcome, script.ended) {
        (Ok(report), _) => reply(interp, &figures(&report)),
        (Err(error), Some(Completion::BREAK)) if matches!(error.cause, IngestCause::Cancelled) => {
            reply(interp, &figures(&error.report))
        }
        (Err(error), Some(Completion::ERROR)) if matches!(error.cause, IngestCause::Cancelled) => {
            Err(Error::Raised)
        }
        (Err(error), Some(other)) if matches!(error.cause, IngestCause::Cancelled) => Ok(other),
        (Err(error), _) => Err(failure(table, error)),
    }
}

fn open_file(interp: &Interp, path: &Obj) -> Result<Channel, Error> {
    if interp.is_safe() {
        return Err(Error::new("DENIED", "permission denied: a safe interpreter cannot read files"));
    }
    let name = path.bytes();
    if name.ends_with(b".zst") || name.ends_with(b".zstd") {
        let message = format!("cannot read \"{}\": zstd is not supported, gzip is", path.quoted());
        return Err(Error::new("IO", message));
    }
    // Tcl opens a directory like a file, and only reading it fails.
    if interp.call(&[Obj::from("::tcl::file::isdirectory"), path.clone()]) == Completion::OK
        && interp.result().as_boolean() == Some(true)
    {
        return Err(Error::new("IO", format!("couldn't open \"{}\": it is a directory", path.quoted())));
    }
    interp.reset_result();
    Channel::open(interp, path).map_err(|_| Error::Tcl("IO"))
}

/// The script that is called after each batch.
struct Progress<'w> {
    script: Option<&'w Obj>,
    /// How the script ended the ingest, if it did.
    ended: Option<Completion>,
}

impl<'w> Progress<'w> {
    fn new(script: Option<&'w Obj>) -> Self {
        Self { script, ended: None }
    }

    fn run(&mut self, interp: &Interp, report: &IngestReport) -> ControlFlow<()> {
        let Some(script) = self.script else { return ControlFlow::Continue(()) };
        let completion = match script.items(interp) {
            Ok(mut words) => {
                words.push(figures(report));
                interp.call(&words)
            }
            Err(message) => {
                interp.set_result(&Obj::string(&message));
                Completion::ERROR
            }
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
fn figures(report: &IngestReport) -> Obj {
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
    Obj::dict(pairs.into_iter().map(|(name, value)| (Obj::string(name), value)))
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
        IngestCause::Sink { source, .. } => Error::new(source.kind().as_str(), message),
        _ => Error::new("INTERNAL", message),
    }
}
