//! What the commands do: read their words, call the engine, convert the answer.

pub(crate) mod admin;
pub(crate) mod define;
mod import;
mod index;
mod ingest;
mod reset;
mod row;
mod schema;
mod search;
mod statistics;
mod table;
mod tabsep;
pub(crate) mod txn;
mod watch;

pub(crate) use table::TableCommand;
pub(crate) use watch::Watches;
