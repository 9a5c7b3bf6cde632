//! `search`: reads its options, runs the query, gives rows to variables and scripts; `explain` says how. `foreach` and `cursor` are
//! other ways to go through rows.

mod change;
mod cursor;
mod deliver;
mod explain;
mod kept;
mod options;
mod run;
mod terms;

pub(super) use cursor::cursor;
pub(super) use explain::explain;
pub(super) use kept::KeptSearches;
pub(super) use options::{count, flag};
pub(super) use run::{foreach, run, visit};
pub(super) use terms::all as compare_list;
