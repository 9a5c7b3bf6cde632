//! Aerostore's engine: shared-memory tables with serializable transactions and a durable log.

#[cfg(not(loom))]
pub mod db;
#[cfg(not(loom))]
pub mod epoch;
pub mod index;
pub mod mvcc;
#[cfg(not(loom))]
pub mod query;
pub mod recovery;
pub mod row;
pub mod shm;
pub(crate) mod sync;
pub mod sys;
#[cfg(not(loom))]
pub mod txn;
pub mod wal;
