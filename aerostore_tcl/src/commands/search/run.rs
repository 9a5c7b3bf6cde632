//! Runs a search on one snapshot.
#![forbid(unsafe_code)]

use std::ops::ControlFlow;

use aerostore_core::query::{Plan, Query};
use aerostore_core::row::RowView;

use super::deliver::{Flow, Listing, deliver};
use super::options::Search;
use crate::commands::table::{Bound, Opened};
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Interp, Obj};

/// `search ?-option value ...?`
pub(in crate::commands) fn run(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let search = Search::read(table, interp, words)?;
    if search.dict.is_some() {
        return Err(Error::syntax("-dict goes with explain: must be -dicts or -lists for rows"));
    }
    if search.run.is_some() {
        return Err(Error::syntax("-run goes with explain"));
    }
    if let Some(listing) = search.listing {
        return list(table, interp, search, listing);
    }
    if search.only_counts() {
        let plan = Plan::new(&table.bound.schema, search.query)?;
        let outcome = table.read()?.search_count(&table.bound.table, &plan)?;
        return reply(interp, &Obj::count(outcome.rows_returned));
    }
    each(table, interp, search)
}

/// Calls `visit` with each row of the query's result.
pub(in crate::commands) fn visit(
    table: &Opened,
    query: Query,
    visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
) -> Result<u64, Error> {
    let plan = Plan::new(&table.bound.schema, query)?;
    Ok(table.read()?.search(&table.bound.table, &plan, visit)?.rows_returned)
}

fn list(table: &Opened, interp: &Interp, search: Search, listing: Listing) -> Outcome {
    let (bound, columns) = (&*table.bound, &search.columns[..]);
    let mut rows = Vec::new();
    visit(table, search.query, &mut |row| {
        rows.push(match listing {
            Listing::Lists => Bound::list(row, columns),
            Listing::Dicts => bound.pairs(row, columns, false),
        });
        ControlFlow::Continue(())
    })?;
    reply(interp, &Obj::list(&rows))
}

/// Gives each row to variables and script. All rows are copied out of the snapshot first: the script may change the
/// table, may run for long, and may end the database's use altogether.
fn each(table: &Opened, interp: &Interp, mut search: Search) -> Outcome {
    let mut rows = Rows::default();
    visit(table, std::mem::take(&mut search.query), &mut |row| {
        rows.push(row);
        ControlFlow::Continue(())
    })?;
    let bound = &*table.bound;
    let mut count = 0;
    for bytes in rows.iter() {
        let row = RowView::new(&bound.schema, bytes)?;
        count += 1;
        match deliver(&search, bound, interp, row)? {
            Flow::Next => {}
            Flow::Stop => break,
            Flow::End(completion) => return Ok(completion),
        }
    }
    reply(interp, &Obj::count(count))
}

/// Row images, one behind the other.
#[derive(Default)]
struct Rows {
    bytes: Vec<u8>,
    /// Where each image ends.
    ends: Vec<usize>,
}

impl Rows {
    fn push(&mut self, row: RowView<'_>) {
        self.bytes.extend_from_slice(row.bytes());
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}
