//! `ingest_tsv`: reads its options, opens the source, runs the engine's ingest, reports.

mod meter;
mod options;
mod run;
mod source;

pub(super) use run::run;
