//! What the commands do: read their words, call the engine, convert the answer.

pub(crate) mod admin;
mod index;
mod ingest;
mod search;
mod statistics;
mod table;

pub(crate) use table::TableCommand;
