//! The log of whole databases: when it is synced, its figures, and a disk that is full.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod full_disk;
mod policy;
#[path = "../shm_common/mod.rs"]
mod shm_common;

use aerostore_core::db::{Database, Error, Table, TxnOptions};
use common::flight;

/// Commits one row; returns its timestamp.
fn commit(db: &Database, table: &Table, id: &str, synchronous: bool) -> Result<u64, Error> {
    let options = TxnOptions { synchronous_commit: Some(synchronous), ..TxnOptions::default() };
    let mut txn = db.begin(options)?;
    txn.upsert(table, &flight(table, id, 1))?;
    txn.commit()
}
