//! Runs a search on one snapshot.
#![forbid(unsafe_code)]

use std::ops::ControlFlow;

use aerostore_core::query::Query;
use aerostore_core::row::RowView;

use super::deliver::{Flow, Listing, deliver};
use super::kept::Asked;
use super::options::Search;
use crate::commands::table::{Bound, Opened};
use crate::commands::tabsep::Sheet;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Interp, Obj};

/// `search ?-option value ...?`
pub(in crate::commands) fn run(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let search = table.bound.searches.find(table, interp, words)?;
    if search.dict.is_some() {
        return Err(Error::syntax("-dict goes with explain: must be -dicts or -lists for rows"));
    }
    if search.run.is_some() {
        return Err(Error::syntax("-run goes with explain"));
    }
    if let Some(listing) = search.listing {
        return list(table, interp, search, listing);
    }
    if search.only_counts() && search.change.is_none() {
        let from = &table.bound.table;
        let count = table.read(|txn| match search.asked {
            Asked::Query(query) => txn.find_count(from, query),
            Asked::Again(kept, operands) => txn.search_count_with(from, &kept.plan, operands),
        })?;
        return reply(interp, &Obj::count(count));
    }
    each(table, interp, search)
}

/// `foreach variable ?pattern? script`
pub(in crate::commands) fn foreach(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let mut search = Search::all(table, "foreach");
    let (variable, script) = match words {
        [_, _, variable, script] => (variable, script),
        [_, _, variable, pattern, script] => {
            search.asked = Asked::Query(Query::filtered(table.key_glob(pattern)?));
            (variable, script)
        }
        _ => return Err(Error::usage(interp, words, 2, c"variable ?pattern? script")),
    };
    search.targets.key = Some(variable.clone());
    search.targets.code = Some(script.clone());
    each(table, interp, search)
}

/// Calls `visit` with each row that is asked for.
pub(in crate::commands) fn visit(
    table: &Opened,
    asked: impl Into<Asked>,
    visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
) -> Result<u64, Error> {
    let from = &table.bound.table;
    Ok(table.read(|txn| match asked.into() {
        Asked::Query(query) => txn.find(from, query, visit),
        Asked::Again(kept, operands) => txn.search_with(from, &kept.plan, operands, visit),
    })?)
}

fn list(table: &Opened, interp: &Interp, search: Search, listing: Listing) -> Outcome {
    let (bound, columns) = (&*table.bound, &search.columns[..]);
    let mut listed = Vec::new();
    let mut add = |row: RowView<'_>| {
        listed.push(match listing {
            Listing::Lists => Bound::list(row, columns),
            Listing::Dicts => bound.pairs(row, columns, false),
        });
    };
    if let Some(change) = &search.change {
        let rows = change.run(table, search.asked)?;
        for place in 0..rows.count() {
            add(RowView::new(&bound.schema, rows.image(place))?);
        }
    } else {
        visit(table, search.asked, &mut |row| {
            add(row);
            ControlFlow::Continue(())
        })?;
    }
    reply(interp, &Obj::list(&listed))
}

/// Changes the rows, if they are to be, then gives each to channel, variables and script. All rows are copied out of the snapshot
/// first: the script may change the table, may run for long, and may end the database's use altogether.
fn each(table: &Opened, interp: &Interp, mut search: Search) -> Outcome {
    let bound = &*table.bound;
    let mut sheet = match &search.channel {
        Some(channel) => Some(Sheet::open(interp, bound, channel, &search.sheet)?),
        None => None,
    };
    let asked = std::mem::replace(&mut search.asked, Asked::Query(Query::all()));
    let rows = match &search.change {
        Some(change) => change.run(table, asked)?,
        None => Rows::of(table, asked)?,
    };
    if search.only_counts() {
        return reply(interp, &Obj::count(rows.count() as u64));
    }
    let mut count = 0;
    let mut flow = Flow::Next;
    for place in 0..rows.count() {
        let row = RowView::new(&bound.schema, rows.image(place))?;
        count += 1;
        if let Some(sheet) = &mut sheet {
            sheet.put(bound, row)?;
            // A script may write to the channel, too.
            if sheet.is_full() || search.targets.code.is_some() {
                sheet.flush(interp)?;
            }
        }
        flow = deliver(&search, bound, interp, row)?;
        if matches!(flow, Flow::Next) {
            flow = search.poll.run(interp, count)?;
        }
        if !matches!(flow, Flow::Next) {
            break;
        }
    }
    if let Some(sheet) = &mut sheet {
        sheet.flush(interp)?;
    }
    match flow {
        Flow::End(completion) => Ok(completion),
        Flow::Next | Flow::Stop => reply(interp, &Obj::count(count)),
    }
}

/// Row images, one behind the other.
#[derive(Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    /// Where each image ends.
    ends: Vec<usize>,
}

impl Rows {
    /// The rows that are asked for.
    pub(super) fn of(table: &Opened, asked: Asked) -> Result<Self, Error> {
        let mut rows = Self::default();
        visit(table, asked, &mut |row| {
            rows.push(row);
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: RowView<'_>) {
        self.bytes.extend_from_slice(row.bytes());
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The image of one of them.
    pub(super) fn image(&self, place: usize) -> &[u8] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.bytes[start..self.ends[place]]
    }
}
