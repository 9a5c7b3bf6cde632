//! The database as its users hold it: open, tables, transactions, background work.

mod aside;
mod batch;
mod builder;
#[cfg(test)]
mod checkpoint_tests;
mod checkpointer;
mod config;
#[cfg(test)]
mod crash_tests;
mod database;
#[cfg(all(test, not(loom)))]
mod ddl_tests;
#[cfg(test)]
mod disk_tests;
#[cfg(all(test, not(loom)))]
mod drop_tests;
mod error;
#[cfg(all(test, not(loom)))]
mod fault_tests;
mod feed;
mod get;
mod growth;
mod helpers;
mod identity;
mod indexes;
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
#[cfg(all(test, not(loom)))]
mod stop_tests;
mod sweeper;
mod table;
mod transaction;
mod typed;
mod verify;
mod watch;
mod workers;

#[cfg(all(test, not(loom)))]
mod adding_tests;
#[cfg(all(test, not(loom)))]
mod alter_tests;
#[cfg(all(test, not(loom)))]
mod feed_tests;
#[cfg(test)]
mod garbage_tests;
#[cfg(test)]
mod hash_tests;
#[cfg(test)]
mod index_tests;
#[cfg(all(test, not(loom)))]
mod newest_tests;
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

pub use aside::SetAside;
pub use batch::{Applied, Operation};
pub use builder::DatabaseBuilder;
pub use config::{CONFIG_KEYS, ConfigKey};
pub use database::{BootReport, Database, OpenMode};
pub use error::{Error, ErrorKind};
pub use lock::RowLock;
pub use retry::{RetryPolicy, Runs};
pub use status::{SlotStatus, Status};
pub use table::{Table, TableStanding};
pub use transaction::Transaction;
pub use typed::TypedTable;
pub use verify::VerifyReport;
pub use watch::{Subscription, WatchBuilder};

pub use crate::checkpoint::{CheckpointProgress, Taken};
pub use crate::feed::{ChangeOp, Commit, Event, Gap, RowChange};
pub use crate::mvcc::{CheckpointStats, SweepStats, VacuumStats};
pub use crate::recovery::{GivenUp, RecoveryProgress, RecoveryStep, Salvaged};
pub use crate::txn::{Change, IndexStats, Isolation, Savepoint, TxnOptions, Upserted};
