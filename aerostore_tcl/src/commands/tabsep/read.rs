//! `read_tabsep`.
#![forbid(unsafe_code)]

use aerostore_core::db::ingest::IngestOptions;
use aerostore_core::query::Glob;

use super::options::SheetOptions;
use crate::commands::ingest;
use crate::commands::table::Opened;
use crate::error::{Error, Outcome};
use crate::ffi::{Interp, Obj};

/// `read_tabsep channel ?-option value ...?`: how many rows.
pub(in crate::commands) fn read(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, _, channel, options @ ..] = words else {
        return Err(Error::usage(interp, words, 2, c"channel ?-option value ...?"));
    };
    let sheet = SheetOptions::read(interp, options)?;
    sheet.format()?;
    let (quoting, null) = sheet.quoting();
    let mut options = IngestOptions::new().header(sheet.header).separator(sheet.separator()).quoting(quoting);
    if sheet.names_columns() || !sheet.header {
        options = options.columns(sheet.names(table)?);
    }
    if let Some(mark) = null {
        options = options.null_mark(mark);
    }
    if let Some(pattern) = &sheet.glob {
        let pattern =
            pattern.text().map_err(|_| Error::value(format!("bad pattern \"{}\"", pattern.quoted())))?;
        options = options.keys_like(Glob::new(&pattern, false));
    }
    ingest::read_lines(table, interp, channel, &options)
}
