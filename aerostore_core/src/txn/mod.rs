//! Transactions: snapshot, read and write sets, validation, commit, and what is done for the dead.
//!
//! One function, [`Transaction::commit`], is the commit protocol in order. `mvcc::record` states its rules R1-R6.

mod adding;
mod alter;
mod commit;
mod ddl;
mod drop;
mod error;
mod giveback;
mod index_build;
mod index_ddl;
mod index_mend;
mod index_scan;
mod index_stats;
mod intents;
mod link;
mod load;
mod lock;
mod log;
mod newest;
mod numbered;
mod prune;
mod read_set;
mod reap;
mod redo;
mod remove;
mod retry;
mod revoke;
mod room;
mod savepoint;
mod scan;
mod secondary;
mod session;
mod settle;
mod source;
mod step;
mod store;
mod table;
mod transaction;
mod turn;
mod unique;
mod vacuum;
mod validate;
mod version_link;
mod watched;
mod write;

pub use alter::add_columns;
#[cfg(test)]
pub(crate) use alter::{go_on_altering, stand_still_altering};
#[cfg(test)]
pub(crate) use ddl::define_table;
pub use ddl::{LoggedTable, create_table, table, tables, tables_ever};
pub use drop::drop_table;
#[cfg(test)]
pub(crate) use drop::{go_on_dropping, log_drop_only};
pub use error::TxnError;
pub use giveback::GiveBack;
pub use index_build::Alone;
#[cfg(test)]
pub(crate) use index_ddl::log_only;
pub use index_ddl::{create_index, drop_index};
pub use index_scan::{KeySpan, RangeScan};
pub use index_stats::IndexStats;
pub(crate) use intents::blocks_of as intent_blocks;
pub use log::flush;
pub(crate) use log::ring_at;
pub use newest::Newest;
#[cfg(test)]
pub(crate) use prune::prune_between;
pub use read_set::RowPredicate;
pub use reap::{reap_dead_processes, settle_dead_processes};
pub use redo::{RedoOp, RedoReader, image_before, index_definition};
pub use retry::RetryBackoff;
pub use revoke::SnapshotWatch;
pub use savepoint::Savepoint;
pub use scan::Pass;
#[cfg(test)]
pub(crate) use secondary::RowKeys;
pub(crate) use secondary::stored_value;
pub(crate) use secondary::tree as ordered_index;
pub use session::Session;
pub use source::StoreCommits;
pub use store::{Store, SystemArea};
pub use table::TableRef;
pub(crate) use transaction::hash_key as key_hash;
pub use transaction::{Isolation, Transaction, TxnOptions};
pub use vacuum::Vacuum;
pub use watched::forget_unwatched;
pub use write::{Change, Upserted};
