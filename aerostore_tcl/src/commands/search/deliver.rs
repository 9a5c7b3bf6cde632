//! Gives a row to the variables and the script of a search.
#![forbid(unsafe_code)]

use aerostore_core::row::RowView;

use super::options::Search;
use crate::commands::table::{Bound, key_of};
use crate::convert;
use crate::error::Error;
use crate::ffi::{Completion, Interp, Obj};

/// How rows are given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// A list of values for each.
    Lists,
    /// Names and values for each, without nulls.
    Dicts,
}

/// Rows between two polls when nobody says.
const POLL_INTERVAL: u64 = 1024;

/// Variables to set and a script to run. A variable with a flag gets nulls, as empty values, when the flag is set.
#[derive(Default)]
pub(super) struct Targets {
    pub(super) key: Option<Obj>,
    pub(super) get: Option<Obj>,
    pub(super) arrays: Vec<(Obj, bool)>,
    pub(super) array_gets: Vec<(Obj, bool)>,
    pub(super) code: Option<Obj>,
}

/// A script that is run between rows.
#[derive(Default)]
pub(super) struct Poll {
    /// `update` unless told otherwise.
    pub(super) code: Option<Obj>,
    /// After how many rows; 0 for never. Without one there is no poll, but with a script of its own.
    pub(super) interval: Option<u64>,
}

impl Poll {
    /// Runs it when `count` rows have been given.
    pub(super) fn run(&self, interp: &Interp, count: u64) -> Result<Flow, Error> {
        let interval = match (self.interval, &self.code) {
            (Some(interval), _) => interval,
            (None, Some(_)) => POLL_INTERVAL,
            (None, None) => 0,
        };
        if interval == 0 || !count.is_multiple_of(interval) {
            return Ok(Flow::Next);
        }
        let Some(code) = &self.code else { return run_code(interp, &Obj::string("update"), "-poll_code") };
        run_code(interp, code, "-poll_code")
    }
}

/// What the script wants.
pub(super) enum Flow {
    /// The next row.
    Next,
    /// No more rows.
    Stop,
    /// To end the search as the script ended.
    End(Completion),
}

impl Targets {
    /// Whether rows are wanted one by one.
    pub(super) fn are_any(&self) -> bool {
        self.key.is_some()
            || self.get.is_some()
            || !self.arrays.is_empty()
            || !self.array_gets.is_empty()
            || self.code.is_some()
    }
}

/// Sets the variables to a row and runs the script.
pub(super) fn deliver(
    search: &Search,
    bound: &Bound,
    interp: &Interp,
    row: RowView<'_>,
) -> Result<Flow, Error> {
    let targets = &search.targets;
    let columns = &search.columns[..];
    if let Some(name) = &targets.key {
        interp.set_variable(name, None, &key_of(row))?;
    }
    if let Some(name) = &targets.get {
        interp.set_variable(name, None, &Bound::list(row, columns))?;
    }
    for (name, with_nulls) in &targets.array_gets {
        interp.set_variable(name, None, &bound.pairs(row, columns, *with_nulls))?;
    }
    for (name, with_nulls) in &targets.arrays {
        for &index in columns {
            let (value, element) = (row.get(index), &bound.names[index]);
            if *with_nulls || !value.is_null() {
                interp.set_variable(name, Some(element), &convert::write(value))?;
            } else {
                // The row before may have set it.
                interp.unset_element(name, element);
            }
        }
    }
    targets.code.as_ref().map_or(Ok(Flow::Next), |code| run_code(interp, code, search.method))
}

fn run_code(interp: &Interp, code: &Obj, method: &str) -> Result<Flow, Error> {
    match interp.eval(code) {
        Completion::OK | Completion::CONTINUE => Ok(Flow::Next),
        Completion::BREAK => Ok(Flow::Stop),
        Completion::ERROR => {
            interp.add_error_info(&format!("\n    (\"{method}\" body line {})", interp.error_line()));
            Err(Error::Raised)
        }
        other => Ok(Flow::End(other)),
    }
}
