//! Version chains: rows, their images over time, and the transaction records that decide which of them count.

mod clock;
mod record;
mod row;
mod table;
mod version;
mod visibility;

pub use clock::Clock;
pub use record::{RecordState, TxnRecord};
pub use row::RowHeader;
pub use table::{Catalog, TableRoot, TableState};
pub use version::{BeginWord, NEVER, TOMBSTONE, Version, VersionRef};
pub use visibility::{Resolved, Stall, StallPolicy, newest_committed, resolve_begin, visible_at};
