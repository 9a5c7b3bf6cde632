//! The words after `ingest_tsv`.
#![forbid(unsafe_code)]

use aerostore_core::db::ingest::{IngestOptions, OnError};

use crate::commands::search::flag;
use crate::commands::tabsep::{quoting, separator};
use crate::error::Error;
use crate::ffi::{Integer, Interp, Obj};
use crate::words::word_enum;

const USAGE: &std::ffi::CStr = c"data|-file path|-channel chan ?batch_size? ?-option value ...?";

word_enum! {
    /// An option of `ingest_tsv`.
    IngestOption, c"option", {
        Columns = c"-columns",
        Delete = c"-delete",
        Header = c"-header",
        Null = c"-null",
        OnBadLine = c"-on_error",
        Progress = c"-progress",
        Quote = c"-quote",
        Tab = c"-tab",
    }
}

word_enum! {
    /// What a bad line does.
    BadLine, c"-on_error value", {
        Skip = c"skip",
        Stop = c"stop",
    }
}

/// Where the text comes from.
pub(super) enum Origin<'w> {
    /// It is the value.
    Data(&'w Obj),
    /// A file.
    File(&'w Obj),
    /// An open channel.
    Channel(&'w Obj),
}

/// What an ingest is to do.
pub(super) struct Ingest<'w> {
    pub(super) origin: Origin<'w>,
    pub(super) options: IngestOptions,
    /// Whether rows are deleted.
    pub(super) deletes: bool,
    /// Called after each batch, with the figures so far.
    pub(super) progress: Option<&'w Obj>,
}

impl<'w> Ingest<'w> {
    /// Reads the words after `ingest_tsv`.
    pub(super) fn read(interp: &Interp, words: &'w [Obj]) -> Result<Self, Error> {
        let (origin, mut rest) = match &words[2..] {
            [option, path, rest @ ..] if option.bytes() == b"-file" => (Origin::File(path), rest),
            [option, name, rest @ ..] if option.bytes() == b"-channel" => (Origin::Channel(name), rest),
            [data, rest @ ..] if !matches!(data.bytes(), b"-file" | b"-channel") => {
                (Origin::Data(data), rest)
            }
            _ => return Err(Error::usage(interp, words, 2, USAGE)),
        };
        let mut ingest = Self { origin, options: IngestOptions::new(), deletes: false, progress: None };
        if let [rows, after @ ..] = rest
            && !rows.bytes().starts_with(b"-")
        {
            ingest.options = ingest.options.batch_rows(batch_rows(rows)?);
            rest = after;
        }
        while let [name, after @ ..] = rest {
            let option = IngestOption::find(interp, name)?;
            let [value, after @ ..] = after else {
                return Err(Error::syntax(format!("value for \"{}\" missing", name.quoted())));
            };
            rest = after;
            ingest.set(interp, option, value)?;
        }
        Ok(ingest)
    }

    fn set(&mut self, interp: &Interp, option: IngestOption, value: &'w Obj) -> Result<(), Error> {
        let options = std::mem::take(&mut self.options);
        self.options = match option {
            IngestOption::Columns => {
                let names = value.items(interp).map_err(Error::syntax)?;
                options.columns(names.iter().map(|name| String::from_utf8_lossy(name.bytes()).into_owned()))
            }
            IngestOption::Header => options.header(flag("-header", value)?),
            IngestOption::Null => options.null_mark(value.data()),
            IngestOption::Tab => options.separator(separator(value)?),
            IngestOption::Quote => options.quoting(quoting(interp, value)?),
            IngestOption::Delete => {
                self.deletes = flag("-delete", value)?;
                options.deletes(self.deletes)
            }
            IngestOption::OnBadLine => options.on_error(match BadLine::find(interp, value)? {
                BadLine::Stop => OnError::Stop,
                BadLine::Skip => OnError::Skip,
            }),
            IngestOption::Progress => {
                self.progress = Some(value).filter(|script| !script.bytes().is_empty());
                options
            }
        };
        Ok(())
    }
}

/// Reads a number of rows.
pub(in crate::commands) fn batch_rows(value: &Obj) -> Result<u64, Error> {
    match value.integer() {
        Integer::Wide(rows) if rows > 0 => Ok(rows.unsigned_abs()),
        _ => Err(Error::value(format!("bad batch size \"{}\": must be a positive integer", value.quoted()))),
    }
}
