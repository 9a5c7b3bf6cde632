//! Aerostore's engine: shared-memory tables with serializable transactions and a durable log.
//!
//! The processes of one machine map the same file on a tmpfs and work on it directly: no server, no round trip. A database is
//! that mapping, which holds the current rows, and a directory with the log, which is all that a start after a reboot needs.
//! Each process opens it with [`db::Database::builder`]; everything a user holds is in [`db`], row types in [`row`], conditions
//! in [`query`].
//!
//! # Guarantees
//!
//! *Serializable.* Committed transactions have the effect of running one after the other, in the order of their commit
//! timestamps. Readers take no locks. A transaction that does not fit in the order gets an error that
//! [says so](db::Error::is_retryable), and [`db::Database::transaction`] runs it again. [`db::Isolation::Snapshot`] asks
//! for less.
//!
//! *Killable.* A process may be killed or stopped at any instruction: no lock outlives its holder's transaction, and the others
//! undo or finish what the dead one left. A process that writes through a wild pointer is not covered: all who map the memory
//! trust each other.
//!
//! *Durable by commit mode.* With `synchronous_commit` (the default) a commit that has returned is in the log and synced to
//! disk. Without, it is visible at once and in the log soon after: killed processes lose nothing while the mapping lives, a loss
//! of power may take the last commits. In either case the log is a prefix of the commits, in their order.
//!
//! *Bounded memory, in part so far.* Versions that an update supersedes are given back once no snapshot can see them, by the
//! session that wrote the update, and deleted rows likewise; it remembers a few thousand, and what it forgets under a long snapshot, or
//! by dying, a vacuum finds. What only an old snapshot can see stays as long as that, all of it: a long reader costs every version
//! of every row since. What a dead process held is reaped. Full memory is an error ([`db::ErrorKind::Space`]), not a signal.
//! A checkpoint is taken every five minutes, and the log before the last two removed.
//!
//! # Example
//!
//! ```
//! use aerostore_core::db::{Database, TxnOptions};
//! use aerostore_core::query::{Plan, Query};
//! use aerostore_core::row::{Row, RowImage, speedtable};
//! use std::ops::ControlFlow;
//!
//! /// A departure on the board.
//! #[speedtable]
//! pub struct Departure {
//!     #[column(key, max = 8)]
//!     flight: String,
//!     #[column(default = 0)]
//!     delay_minutes: i32,
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // A place of its own; without `shm_path` the mapping is /dev/shm/aerostore.mmap.
//!     let name = format!("aerostore-example-{}", std::process::id());
//!     let dir = std::env::temp_dir().join(&name);
//!     let shm = std::path::Path::new("/dev/shm").join(name);
//!
//!     let database = Database::builder(&dir).shm_path(&shm).max_bytes(64 << 20).open()?;
//!     let board = database.create_table(Departure::schema())?;
//!
//!     // All of it or nothing, run again on a conflict.
//!     database.transaction(TxnOptions::default(), |transaction| {
//!         let mut image = RowImage::new(Departure::schema());
//!         for (flight, delay) in [("SWR8K", 0), ("BAW123", 25), ("DLH4", 70)] {
//!             let mut departure = Departure::new(flight.to_owned());
//!             departure.set_delay_minutes(delay);
//!             departure.encode(&mut image)?;
//!             transaction.upsert(&board, &image)?;
//!         }
//!         Ok(())
//!     })?;
//!
//!     let late = Query::filtered(Departure::DELAY_MINUTES.gt(15)).sort_by(Departure::DELAY_MINUTES.descending());
//!     let plan = Plan::new(board.schema(), late)?;
//!     let mut found = Vec::new();
//!     let mut transaction = database.begin(TxnOptions { read_only: true, ..TxnOptions::default() })?;
//!     transaction.search(&board, &plan, &mut |row| {
//!         found.push(row.key().to_string());
//!         ControlFlow::Continue(())
//!     })?;
//!     drop(transaction);
//!     assert_eq!(found, ["DLH4", "BAW123"]);
//!
//!     database.close()?;
//!     std::fs::remove_dir_all(&dir)?;
//!     std::fs::remove_file(&shm)?;
//!     Ok(())
//! }
//! ```
//!
//! # Layers
//!
//! Imports go strictly downward; parts separated by `|` do not know each other.
//!
//! ```text
//! db                               Database, Table, Transaction: what users hold; workers, ingest, configuration
//! feed                             what commits have done to rows, for those who follow them
//! query    |  recovery             plans and their execution; cold start
//!             checkpoint           taking checkpoints, and their files
//! txn                              snapshots, read and write sets, validation, commit, redo, reaping
//! mvcc     |  index                rows, version chains, transaction records; the hash from key to row, ordered indexes
//! epoch    |  wal     |  row       who is alive and what may be freed; the log; values, schemas, images
//! shm                              arena, relative pointers, allocation
//! sys      |  sync                 operating system; atomics (std's or loom's)
//! ```
//!
//! `docs/architecture.md` in the repository follows a row through them.

#[cfg(not(loom))]
pub mod checkpoint;
#[cfg(not(loom))]
pub mod db;
pub mod epoch;
#[cfg(not(loom))]
pub(crate) mod feed;
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
