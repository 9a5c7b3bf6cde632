//! `write_tabsep`.
#![forbid(unsafe_code)]

use std::ops::ControlFlow;

use aerostore_core::query::Query;

use super::options::SheetOptions;
use super::sheet::Sheet;
use crate::commands::search;
use crate::commands::table::Opened;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Interp, Obj};

/// `write_tabsep channel ?-option value ...?`: how many rows.
pub(in crate::commands) fn write(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, _, channel, options @ ..] = words else {
        return Err(Error::usage(interp, words, 2, c"channel ?-option value ...?"));
    };
    let options = SheetOptions::read(interp, options)?;
    let query = match &options.glob {
        Some(pattern) => Query::filtered(table.key_glob(pattern)?),
        None => Query::all(),
    };
    let mut sheet = Sheet::open(interp, &table.bound, channel, &options)?;
    let mut failure = None;
    // Writing may run scripts, which may use the interpreter's transaction: then all is kept until the search is over.
    let writes_meanwhile = !table.current.is_open();
    let count = search::visit(table, query, &mut |row| {
        let mut done = sheet.put(&table.bound, row);
        if done.is_ok() && writes_meanwhile && sheet.is_full() {
            done = sheet.flush(interp);
        }
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    sheet.flush(interp)?;
    reply(interp, &Obj::count(count))
}
