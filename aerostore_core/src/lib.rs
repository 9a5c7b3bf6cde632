//! Aerostore's engine: shared-memory tables with serializable transactions and a durable log.

pub mod db;
pub mod epoch;
pub mod index;
pub mod mvcc;
pub mod query;
pub mod recovery;
pub mod row;
pub mod shm;
pub(crate) mod sync;
pub mod sys;
pub mod txn;
pub mod wal;
