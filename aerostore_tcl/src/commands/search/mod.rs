//! `search`: reads its options, runs the query, gives rows to variables and scripts.

mod deliver;
mod options;
mod run;
mod terms;

pub(super) use options::flag;
pub(super) use run::{run, visit};
