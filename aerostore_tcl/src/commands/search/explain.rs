//! `explain`: what a search does, step by step.
#![forbid(unsafe_code)]

use aerostore_core::query::{Explain, Step};

use super::kept::Asked;
use super::options::Search;
use crate::commands::statistics::named;
use crate::commands::table::Opened;
use crate::error::{Outcome, reply};
use crate::ffi::{Interp, Obj};

/// `explain ?-dict bool? ?-run bool? ?-option value ...?`
pub(in crate::commands) fn explain(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let search = Search::read(table, interp, &words[2..])?;
    // A search that gives its rows to nobody would only count them; asked how it would be done, it is one that gives them.
    let counting = search.count_only;
    let as_dict = search.dict == Some(true);
    let plan = match search.asked {
        Asked::Query(query) => table.bound.searches.plan(table, query)?,
        asked @ Asked::Again(..) => asked.plan(table)?,
    };
    let explain = table.read(|txn| match search.run {
        Some(false) => txn.estimate(&table.bound.table, &plan, counting),
        _ => txn.explain(&table.bound.table, &plan, counting),
    })?;
    reply(interp, &if as_dict { dict(&explain) } else { Obj::string(&explain.to_string()) })
}

fn dict(explain: &Explain) -> Obj {
    let steps: Vec<Obj> = explain.steps.iter().map(step).collect();
    // Of what was not run there is nothing to count.
    let known = |number: Option<u64>| number.map_or_else(Obj::empty, Obj::count);
    let outcome = explain.outcome;
    named([
        ("steps", Obj::list(&steps)),
        ("rows_examined", known(outcome.map(|outcome| outcome.rows_examined))),
        ("rows_matched", known(outcome.map(|outcome| outcome.rows_matched))),
        ("rows_returned", known(outcome.map(|outcome| outcome.rows_returned))),
        ("kept", Obj::boolean(explain.is_kept)),
    ])
}

fn step(step: &Step) -> Obj {
    let columns: Vec<Obj> = step.columns.iter().map(|name| Obj::string(name)).collect();
    named([
        ("step", Obj::string(step.kind.name())),
        ("depth", Obj::count(step.depth as u64)),
        ("detail", Obj::string(&step.detail)),
        ("columns", Obj::list(&columns)),
        ("estimated", Obj::count(step.estimated)),
        ("actual", step.actual.map_or_else(Obj::empty, Obj::count)),
    ])
}
