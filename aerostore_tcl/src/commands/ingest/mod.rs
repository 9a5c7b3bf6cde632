//! `ingest_tsv`: reads its options, opens the source, runs the engine's ingest, reports.

mod options;
mod run;
mod source;
mod within;

pub(super) use options::batch_rows;
pub(super) use run::{read_lines, run};
