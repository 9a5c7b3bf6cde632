//! `search`: reads its options, runs the query, gives rows to variables and scripts; `explain` says how.

mod deliver;
mod explain;
mod options;
mod run;
mod terms;

pub(super) use explain::explain;
pub(super) use options::flag;
pub(super) use run::{run, visit};
