//! The database as its users hold it: open, tables, transactions, background work.

mod batch;
mod builder;
mod config;
#[cfg(test)]
mod crash_tests;
mod database;
mod error;
#[cfg(all(test, not(loom)))]
mod fault_tests;
mod growth;
mod helpers;
mod identity;
pub mod ingest;
mod lock;
mod open;
mod opening;
mod pool;
mod retry;
#[cfg(all(test, not(loom)))]
mod schedule_tests;
mod search;
mod status;
mod table;
mod transaction;
mod verify;
mod workers;

#[cfg(test)]
mod garbage_tests;
#[cfg(test)]
mod hash_tests;
#[cfg(test)]
mod index_tests;
#[cfg(test)]
mod prune_tests;
#[cfg(all(test, not(loom)))]
mod secondary_tests;
#[cfg(test)]
mod superseded_tests;
#[cfg(all(test, not(loom)))]
mod turn_tests;
#[cfg(test)]
mod unique_tests;

pub use batch::{Applied, Operation};
pub use builder::DatabaseBuilder;
pub use config::{CONFIG_KEYS, ConfigKey};
pub use database::{BootReport, Database, OpenMode};
pub use error::{Error, ErrorKind};
pub use lock::RowLock;
pub use retry::RetryPolicy;
pub use status::{SlotStatus, Status};
pub use table::Table;
pub use transaction::Transaction;
pub use verify::VerifyReport;

pub use crate::mvcc::VacuumStats;
pub use crate::txn::{Change, IndexStats, Isolation, Savepoint, TxnOptions, Upserted};
