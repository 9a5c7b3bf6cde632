//! Change feeds: what commits have done to the rows of a table, from the log's records to events for whoever follows it.
//!
//! [`RowChanges`] turns one record into changes of rows, [`Interest`] says which of them somebody wants to see and as what, and
//! [`Buffer`] keeps them until he does.

mod buffer;
mod change;
mod changes;
mod interest;

pub(crate) use buffer::{Buffer, End, Waker};
pub(crate) use change::RowImages;
pub use change::{ChangeOp, Commit, Event, Gap, RowChange};
pub(crate) use changes::RowChanges;
pub(crate) use interest::Interest;
